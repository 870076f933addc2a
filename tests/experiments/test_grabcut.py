"""GrabCut in boxes."""

import numpy as np
import pytest

from experiments.baselines.grabcut import features, grab, grab_all


def disc_scene(*, cell: float, ground: float, noise: float = 0.03, center: tuple[int, int] = (30, 34)):
    """A disc of radius 10, its image, and a box around it."""
    rows, columns = np.indices((64, 70))
    disc = np.hypot(rows - center[0], columns - center[1]) <= 10
    image = np.where(disc, cell, ground) + np.random.default_rng(0).normal(0, noise, disc.shape)
    box = np.array([center[0] - 15, center[1] - 15, center[0] + 15, center[1] + 15])
    return np.clip(image, 0, 1), disc, box


def iou(first, second):
    return (first & second).sum() / (first | second).sum()


@pytest.mark.parametrize(("cell", "ground"), [(0.3, 0.7), (0.8, 0.5)])
def test_a_disc_on_a_plain_ground_is_recovered(cell, ground):
    image, disc, box = disc_scene(cell=cell, ground=ground)
    (mask,) = grab_all(image, box[None], sigma=1.0)
    assert mask.shape == (30, 30)
    assert iou(mask, disc[box[0] : box[2], box[1] : box[3]]) > 0.9


def test_texture_tells_where_grey_values_do_not():
    image, disc, box = disc_scene(cell=0.5, ground=0.5, noise=0.0)
    noise = np.random.default_rng(1).normal(0, 0.1, image.shape)
    image = np.clip(image + np.where(disc, noise, noise / 10), 0, 1)
    (mask,) = grab_all(image, box[None], sigma=2.0)
    assert iou(mask, disc[box[0] : box[2], box[1] : box[3]]) > 0.75


def test_the_border_of_a_box_is_background_but_not_at_the_border_of_the_image():
    image, disc, box = disc_scene(cell=0.3, ground=0.7, center=(5, 34))
    inside = np.array([0, box[1], box[2], box[3]])
    (mask,) = grab_all(image, inside[None], sigma=1.0)
    assert not mask[-1].any()
    assert not mask[:, 0].any()
    assert mask[0, 11:20].all()  # the disc leaves the image there
    assert iou(mask, disc[: box[2], box[1] : box[3]]) > 0.9


def test_cells_in_other_boxes_do_not_count_as_background():
    image, disc, box = disc_scene(cell=0.3, ground=0.7)
    top, left, bottom, right = np.add(box, [-1, -1, 1, 1])
    around = np.ones_like(disc)
    around[top:bottom, left:right] = False
    image[around] = 0.3  # dark neighbours on all sides, a pixel away
    others = np.array([[0, 0, top, 70], [bottom, 0, 64, 70], [top, 0, bottom, left], [top, right, bottom, 70]])
    mask = grab_all(image, np.stack([box, *others]), sigma=1.0)[0]
    assert iou(mask, disc[box[0] : box[2], box[1] : box[3]]) > 0.9


def test_a_plain_box_ends_without_an_error():
    image = np.full((30, 30), 0.5)
    (mask,) = grab_all(image, np.array([[5, 5, 25, 25]]), sigma=2.0)
    assert mask.shape == (20, 20)
    (mask,) = grab_all(image, np.array([[5, 5, 6, 6]]), sigma=2.0)
    assert not mask.any()


def test_only_what_is_allowed_is_taken():
    image, disc, _ = disc_scene(cell=0.3, ground=0.7)
    allowed = np.zeros_like(disc)
    allowed[20:30, 20:50] = True
    mask = grab(features(image, sigma=1.0), allowed, known=np.ones_like(disc), rounds=3)
    assert not mask[~allowed].any()
    assert mask[disc & allowed].any()
