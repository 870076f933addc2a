"""FogBank: its growth, levels and peaks, and the method as a whole."""

from collections import deque
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from experiments.baselines.fogbank import (
    FogBank,
    add_peaks,
    fall,
    fog_image,
    fog_levels,
    grow,
    reconnect,
    share_out_small,
    space,
)
from tests.text_labels import labels_of
from wsis_jax.metrics import match_labels
from wsis_jax.synthetic import draw_scene

SMALL = FogBank(min_cell=100, min_hole=100, min_peak=60, min_object=150)  # for cells of 500 pixels


def ways(mask: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Breadth first: the number of 4-connected steps through the mask from the nearest pixel of a label."""
    steps = np.full(mask.shape, np.inf)
    steps[label] = 0
    queue = deque(map(tuple, np.argwhere(label)))
    while queue:
        row, column = queue.popleft()
        for place in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
            inside = 0 <= place[0] < mask.shape[0] and 0 <= place[1] < mask.shape[1]
            if inside and mask[place] and steps[place] == np.inf:
                steps[place] = steps[row, column] + 1
                queue.append(place)
    return steps


@pytest.mark.parametrize("seed", range(12))
def test_growth_is_geodesic(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 28, 2))
    mask = rng.random(shape) < rng.uniform(0.5, 0.9)
    labels = np.where(rng.random(shape) < 0.03, rng.integers(1, 9, shape), 0).astype(np.int32)
    grown = grow(labels, mask)
    steps = np.array([ways(mask & (labels == 0), labels == each) for each in range(1, 9)])
    free = mask & (labels == 0)
    np.testing.assert_array_equal(grown[~free], labels[~free])
    np.testing.assert_array_equal(grown[free] == 0, np.isinf(steps.min(0))[free])
    rows, columns = np.nonzero(free & (grown > 0))
    own = steps[grown[rows, columns] - 1, rows, columns]
    np.testing.assert_array_equal(own, steps.min(0)[rows, columns])


def test_nothing_grows_without_labels_or_room():
    nothing = np.zeros((4, 5), np.int32)
    np.testing.assert_array_equal(grow(nothing, np.ones((4, 5), bool)), nothing)
    np.testing.assert_array_equal(grow(nothing + 3, np.zeros((4, 5), bool)), 3)


def test_the_fog_falls_by_percentiles_of_the_foreground():
    terrain = np.array([[9.0, 1, 2, 3, 4, 4, 4, 8]])
    foreground = np.array([[False, True, True, True, True, True, True, True]])
    # Of the seven values the 1st, round(0.4 · 7 + 1) = 4th, round(0.8 · 7 + 1) = 7th and last: 1, 4 and 8.
    rising = [m[0].tolist() for m in fog_levels(terrain, foreground, bin=40, direction="min2max")]
    values = terrain[0]
    assert rising == [((values <= level) & foreground[0]).tolist() for level in (1, 4, 8)]
    falling = [m[0].tolist() for m in fog_levels(terrain, foreground, bin=40, direction="max2min")]
    assert falling == [((values >= level) & foreground[0]).tolist() for level in (8, 4, 1)]


def test_peaks_are_large_8_connected_parts():
    labels = labels_of("11......", "........", "........")
    mask = labels_of("1111..1.", ".....1..", "..1.....") > 0
    np.testing.assert_array_equal(add_peaks(labels, mask, 2), labels_of("1122..3.", ".....3..", "........"))
    np.testing.assert_array_equal(add_peaks(labels, mask, np.inf), labels)


@pytest.mark.parametrize(("min_peak", "expected"), [(4, "1111111222222"), (5, "1111111111111")])
def test_valleys_that_are_large_enough_before_they_meet_are_cells(min_peak, expected):
    # The right one has four pixels, up to 6.5, when the left one, larger already, comes over the pass at 7.
    terrain = np.array([[1.0, 1, 1, 2, 3, 4, 7, 6, 5, 5, 6.5, 8, 9]])
    everywhere = np.ones(terrain.shape, bool)
    visible = fog_levels(terrain, everywhere, bin=1, direction="min2max")
    labels = fall(visible, everywhere, np.zeros(terrain.shape, np.int32), min_peak=min_peak)
    assert "".join(map(str, labels[0])) == expected


def test_known_cells_grow_without_new_ones():
    terrain = np.array([[1.0, 2, 9, 2, 1]])
    everywhere = np.ones(terrain.shape, bool)
    visible = fog_levels(terrain, everywhere, bin=5, direction="min2max")
    labels = fall(visible, everywhere, labels_of("5...."), min_peak=np.inf)
    np.testing.assert_array_equal(labels, [[5, 5, 5, 5, 5]])


def test_small_labels_are_dropped_and_grown_into():
    labels = labels_of("1111223333", "..........", "44........")
    foreground = labels > 0
    shared = share_out_small(labels, foreground, 2)
    np.testing.assert_array_equal(shared, labels_of("1111133333", "..........", ".........."))
    np.testing.assert_array_equal(share_out_small(labels, foreground, 1.5), labels)


def test_parts_that_came_off_go_to_the_label_they_touch_most():
    labels = labels_of(
        "1111222..1",
        "1111222...",
        "1111212...",
        "3333333...",
        "3331133...",
    )
    # The 1 inside 2 has three sides with 2 and one with 3; the two below have four with 3; one touches nothing.
    expected = labels_of(
        "1111222...",
        "1111222...",
        "1111222...",
        "3333333...",
        "3333333...",
    )
    np.testing.assert_array_equal(reconnect(labels), expected)


@pytest.mark.parametrize("seed", range(5))
def test_labels_are_connected_whatever_they_were(seed):
    labels = np.random.default_rng(seed).integers(0, 4, (20, 23)).astype(np.int32)
    connected = reconnect(labels)
    assert set(np.unique(connected)) <= set(np.unique(labels))
    assert not connected[labels == 0].any()
    for each in range(1, 4):
        parts, _ = ndimage.label(labels == each)
        assert ndimage.label(connected == each)[1] == 1
        assert (connected[parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])] == each).all()
    lost = (labels > 0) & (connected == 0)
    beside = ndimage.binary_dilation(connected > 0)
    assert not (lost & beside).any()


def test_the_fog_falls_on_distances_too():
    foreground = labels_of("......", ".1111.", "......", "....11") > 0
    none = np.zeros(foreground.shape, bool)
    image = np.full(foreground.shape, 0.5)
    assert fog_image(image, foreground, none, "intensity") is image
    np.testing.assert_array_equal(fog_image(image, foreground, none, "gradient"), 0)
    np.testing.assert_array_equal(fog_image(image, foreground, none, "background"), foreground)
    np.testing.assert_array_equal(fog_image(image, ~none, none, "background"), 0)
    np.testing.assert_array_equal(fog_image(image, foreground, none, "seeds"), 0)
    seeds = labels_of("......", ".1....", "......", "......") > 0
    distance = fog_image(image, foreground, seeds, "seeds")
    np.testing.assert_array_equal(distance[1, 1:5], [0, 1, 2, 3])
    np.testing.assert_array_equal(distance[3, 4:], 3)  # not to be reached: as far as the farthest


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"fog_on": "gradient", "direction": "max2min", "bin": 1},
        {"fog_on": "background", "direction": "max2min"},
        {"fog_on": "seeds", "border": "gradient"},
        {"seeded": True, "border": "gradient"},
        {"border": "intensity"},
    ],
)
def test_labels_are_connected_and_contiguous(changes):
    scene = draw_scene(2, shape=(121, 140), cells=9, diameter=26.0)
    labels = FogBank(**({"min_cell": 60, "min_hole": 60, "min_peak": 20, "min_object": 60} | changes)).segment(
        scene.image
    )
    assert labels.dtype == np.int32
    assert sorted(np.unique(labels)) == list(range(labels.max() + 1))
    assert labels.max() > 2
    for each in range(1, labels.max() + 1):
        assert ndimage.label(labels == each)[1] == 1


def test_most_drawn_cells_are_found():
    scores = []
    for seed in range(3):
        scene = draw_scene(seed, shape=(160, 160), cells=12, diameter=26.0)
        scores.append(match_labels(SMALL.segment(scene.image), scene.labels).dice_terms)
    assert np.concatenate(scores).mean() > 0.75


def test_a_constant_image_has_no_cells():
    for image in (np.full((40, 31), 0.4, np.float32), np.zeros((1, 1), np.float32)):
        labels = FogBank(min_cell=1, min_peak=1, min_object=0).segment(image)
        assert labels.dtype == np.int32
        assert labels.shape == image.shape
        assert not labels.any()


def test_faint_noise_has_no_cells():
    noise = np.random.default_rng(0).normal(0.5, 0.003, (160, 160)).astype(np.float32)
    assert not FogBank().segment(noise).any()
    assert not FogBank(min_cell=80, min_hole=80, min_peak=20, min_object=80).segment(noise).any()


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4, 3), np.float32), "two dimensions"),
        (np.full((4, 4), np.nan, np.float32), "not numbers"),
        (np.full((4, 4), 7.0, np.float32), "normalise"),
    ],
)
def test_a_bad_image_is_refused(image, message, unchecked):
    with pytest.raises(ValueError, match=message):
        FogBank().segment(image)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bin": 0}, "bin"),
        ({"border_percentile": 101}, "border_percentile"),
        ({"seed_low": 10}, "seed_low"),
        ({"min_peak": 0}, "min_peak"),
    ],
)
def test_senseless_parameters_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        FogBank(**changes)


def test_all_of_the_space_is_valid():
    for share in np.linspace(0, 1, 7):
        parameters: dict[str, Any] = {name: values.at(share) for name, values in space(32.0).items()}
        FogBank(**parameters)
