"""What the baselines share."""

import numpy as np
import pytest
from scipy import ndimage

from experiments.baselines.common import (
    check_image,
    check_points,
    clean,
    divide,
    flatten,
    forget,
    remembered,
    tidy,
)
from wsis_jax.synthetic import draw_scene


def two_discs(apart: float) -> tuple[np.ndarray, np.ndarray]:
    """Two discs of radius 8 in one mask, and their centres."""
    points = np.array([[20.0, 20.0], [20.0, 20.0 + apart]])
    rows, columns = np.indices((40, 60))
    return np.min([np.hypot(rows - r, columns - c) for r, c in points], axis=0) <= 8, points


def test_a_plane_and_a_bowl_are_flattened_away():
    rows, columns = np.indices((30, 50)) / 50
    image = (0.2 + 0.3 * rows - 0.1 * columns + 0.2 * rows * columns + 0.1 * columns**2).astype(np.float32)
    np.testing.assert_allclose(flatten(image), 0, atol=1e-6)


@pytest.mark.parametrize(("how", "cells"), [("components", 1), ("distance", 2), ("points", 2)])
def test_touching_cells_are_divided(how, cells):
    mask, points = two_discs(apart=14)
    labels = divide(mask, how, points)
    assert labels.max() == cells
    np.testing.assert_array_equal(labels > 0, mask)


def test_parts_without_a_point_are_dropped():
    mask, points = two_discs(apart=25)
    labels = divide(mask, "points", points[:1])
    np.testing.assert_array_equal(labels, ndimage.label(mask)[0] == 1)


def test_points_of_one_part_share_it_by_distance():
    mask, points = two_discs(apart=14)
    labels = divide(mask, "points", points)
    assert labels[20, 26] == 1
    assert labels[20, 28] == 2


def test_cleaning_fills_small_holes_and_drops_small_parts():
    mask = np.zeros((30, 30), bool)
    mask[2:15, 2:15] = True
    mask[5, 5] = mask[8:12, 8:12] = False
    mask[20:22, 20:22] = True
    cleaned = clean(mask, min_area=5, max_hole=10)
    assert cleaned[5, 5]
    assert not cleaned[9, 9]
    assert not cleaned[20, 20]
    assert clean(mask, min_area=5, max_hole=np.inf)[9, 9]


def test_cleaning_opens_and_closes():
    mask = np.zeros((30, 30), bool)
    mask[5:15, 0:10] = mask[5:15, 12:25] = mask[9, 25:29] = True
    assert clean(mask, min_area=0, max_hole=0, closing=2)[9, 10:12].all()
    opened = clean(mask, min_area=0, max_hole=0, opening=2)
    assert not opened[9, 26]
    assert opened[9, 0]  # what touches the border is not eaten from there


def test_tidy_labels_are_connected_and_contiguous():
    labels = np.zeros((10, 10), np.int64)
    labels[0:3, 0:3] = labels[5, 5] = 7
    labels[8, 8] = labels[9, 9] = 3  # joined at a corner only
    tidied = tidy(labels)
    assert tidied.dtype == np.int32
    assert sorted(np.unique(tidied)) == [0, 1, 2]
    assert (tidied > 0).sum() == 10


def test_an_empty_mask_has_no_cells():
    nothing = np.zeros((20, 20), bool)
    for how in ("components", "distance", "points"):
        assert divide(nothing, how, np.array([[3.0, 3.0]])).max() == 0


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4, 3)), "two dimensions"),
        (np.zeros((0, 4)), "two dimensions"),
        (np.full((4, 4), np.nan), "not numbers"),
        (np.full((4, 4), 7.0), "normalise"),
    ],
)
def test_a_bad_image_is_refused(image, message, unchecked):
    with pytest.raises(ValueError, match=message):
        check_image(image)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (None, "needs points"),
        (np.zeros((3, 3)), "shape"),
        (np.array([[np.inf, 1]]), "finite"),
        (np.array([[2.0, 40.0]]), "outside"),
    ],
)
def test_bad_points_are_refused(points, message, unchecked):
    with pytest.raises(ValueError, match=message):
        check_points(points, (30, 30))


def test_a_stage_is_computed_once_until_forgotten():
    calls = []

    @remembered
    def stage(image, *, factor):
        calls.append(factor)
        return image * factor

    image = draw_scene(0, shape=(32, 32), cells=1).image
    first = stage(image, factor=2)
    np.testing.assert_array_equal(stage(image.copy(), factor=2), first)
    stage(image + 1, factor=2)
    stage(image, factor=3)
    assert calls == [2, 2, 3]
    forget()
    stage(image, factor=2)
    assert calls == [2, 2, 3, 2]
