"""Invented scenes: what is drawn is what the truth says."""

import numpy as np
import pytest
from scipy import ndimage

from wsis_jax.synthetic import Scene, draw_scene


@pytest.fixture(scope="module")
def scene() -> Scene:
    return draw_scene(3, shape=(200, 240), cells=30)


def centroids(labels: np.ndarray) -> np.ndarray:
    return np.array(ndimage.center_of_mass(labels > 0, labels, np.arange(1, labels.max() + 1)))


def touching_pairs(labels: np.ndarray) -> int:
    sides = [(labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1])]
    pairs = np.concatenate(
        [np.sort(np.stack([a[m], b[m]], 1)) for a, b in sides for m in [(a != b) & (a * b > 0)]]
    )
    return len(np.unique(pairs, axis=0))


def test_the_seed_decides(scene: Scene):
    again = draw_scene(3, shape=(200, 240), cells=30)
    other = draw_scene(4, shape=(200, 240), cells=30)
    for same, mine, different in zip(again, scene, other, strict=True):
        np.testing.assert_array_equal(same, mine)
        assert not np.array_equal(different, mine)


@pytest.mark.parametrize(("shape", "cells"), [((64, 48), 0), ((64, 48), 1), ((256, 256), 60), ((450, 450), 300)])
def test_as_many_connected_cells_as_asked(shape: tuple[int, int], cells: int):
    diameter = 18.0
    drawn = draw_scene(0, shape=shape, cells=cells, diameter=diameter)
    assert drawn.points.shape == (cells, 2)
    assert drawn.image.shape == drawn.nuclei.shape == drawn.labels.shape == shape
    np.testing.assert_array_equal(np.unique(drawn.labels[drawn.labels > 0]), np.arange(1, cells + 1))
    for number in range(1, cells + 1):
        assert ndimage.label(drawn.labels == number)[1] == 1
    areas = np.bincount(drawn.labels.ravel())[1:]
    disc = np.pi * diameter**2 / 4
    assert np.all(areas > 0.3 * disc)
    assert np.all(areas < 1.5 * disc)


@pytest.mark.parametrize("jitter", [0.0, 1.0, 3.0])
def test_points_are_rough_centroids_in_label_order(jitter: float):
    drawn = draw_scene(5, shape=(200, 200), cells=25, jitter=jitter)
    assert np.all(drawn.points >= 0)
    assert np.all(drawn.points <= 199)
    distance = np.linalg.norm(drawn.points - centroids(drawn.labels), axis=1)
    assert distance.max() <= 4 * jitter
    assert distance.mean() >= jitter / 2


def test_images_are_in_range(scene: Scene):
    for image in (scene.image, scene.nuclei):
        assert image.dtype == np.float32
        assert image.min() >= 0
        assert image.max() <= 1


def test_bodies_are_darker_than_background_and_background_than_halos(scene: Scene):
    cell = scene.labels > 0
    halo = ndimage.binary_dilation(cell, iterations=2) & ~cell
    background = ~ndimage.binary_dilation(cell, iterations=10)
    for number in range(1, scene.labels.max() + 1):
        own = scene.labels == number
        around = ndimage.binary_dilation(own, iterations=2) & halo
        assert not around.any() or scene.image[own].mean() < scene.image[around].mean()
    assert scene.image[cell].mean() + 0.05 < scene.image[background].mean() < scene.image[halo].mean() - 0.05


def share_found(mask: np.ndarray, labels: np.ndarray) -> float:
    """Share of the cells that a connected part of the mask overlaps by more than half (over union)."""
    parts, count = ndimage.label(mask)
    shared = np.zeros((labels.max() + 1, count + 1))
    np.add.at(shared, (labels, parts), 1)
    union = shared.sum(1, keepdims=True) + shared.sum(0) - shared
    return (shared / union > 0.5)[1:, 1:].any(1).mean()


def test_no_threshold_separates_touching_cells():
    drawn = draw_scene(1, shape=(256, 256), cells=50, touching=0.9)
    smooth = ndimage.gaussian_filter(drawn.image, 1)
    assert max(share_found(smooth < level, drawn.labels) for level in np.arange(0.2, 0.5, 0.02)) < 0.5


def test_each_nucleus_lies_in_its_own_cell(scene: Scene):
    background = scene.nuclei[scene.labels == 0]
    for number in range(1, scene.labels.max() + 1):
        inside = scene.nuclei[scene.labels == number]
        # The brightest tenth, since a nucleus is small; not the brightest pixel, which may be a neighbour's.
        assert np.quantile(inside, 0.9) > background.mean() + 5 * background.std()


def test_touching_is_what_it_says():
    apart, crowded = (draw_scene(2, shape=(256, 256), cells=25, touching=share).labels for share in (0.0, 1.0))
    assert touching_pairs(apart) == 0
    assert touching_pairs(crowded) >= 24  # every cell but the first was placed against another


def test_noise_is_the_only_grain_of_an_empty_image():
    empty = draw_scene(0, shape=(100, 100), cells=0, noise=0.02)
    detrended = empty.image - ndimage.gaussian_filter(empty.image, 5)
    assert detrended.std() == pytest.approx(0.02, rel=0.1)
    assert empty.nuclei.mean() == pytest.approx(0.03, abs=0.01)


def test_too_many_cells_are_refused():
    with pytest.raises(ValueError, match="50 cells of diameter 24 do not fit into an image of"):
        draw_scene(0, shape=(64, 64), cells=50)
