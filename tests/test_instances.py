"""Instances: seeds, one cut per cell in its window, and cuts fused to a label image."""

import inspect
import os
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from wsis_jax import instances
from wsis_jax.config import Config, CutConfig
from wsis_jax.instances import CellMask, cut_cells, foreground_seeds, fuse_nearest, fuse_sequentially
from wsis_jax.presets import preset
from wsis_jax.synthetic import draw_scene

NO_PEAKS = np.empty((0, 2), np.int64)


def cut_options(chosen: CutConfig, **changes: Any) -> dict[str, Any]:
    """The settings that `cut_cells` takes, whatever they are called; `reach` is one of them, in pixels."""
    parameters = inspect.signature(cut_cells).parameters.values()
    wanted = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    return {name: getattr(chosen, name) for name in wanted if hasattr(chosen, name)} | changes


def discs(peaks: np.ndarray, shape: tuple[int, int], radius: float) -> np.ndarray:
    """Seeds: a disc around each peak."""
    seeds = np.zeros(shape, np.int32)
    rows, columns = np.indices(shape)
    for cell, (row, column) in enumerate(peaks):
        seeds[np.hypot(rows - row, columns - column) <= radius] = cell + 1
    return seeds


def whole(part: CellMask, shape: tuple[int, int]) -> np.ndarray:
    """The mask of a cell in the frame of the image."""
    mask = np.zeros(shape, bool)
    mask[part.window] = part.mask
    return mask


def bar(shape: tuple[int, int], rows: slice, columns: slice) -> CellMask:
    """A rectangular cut in a window of the whole image."""
    mask = np.zeros(shape, bool)
    mask[rows, columns] = True
    return CellMask((slice(0, shape[0]), slice(0, shape[1])), mask)


# Seeds


def test_seeds_are_pixels_above_the_threshold_of_the_greatest_contribution():
    value = np.array([[4.0, 1.0, 1.01, 0.0]], np.float32)
    owner = np.array([[1, 1, 2, 0]], np.int32)
    seeds = foreground_seeds(value, owner, scale="max", threshold=0.25, min_area=1)
    np.testing.assert_array_equal(seeds, [[1, 0, 2, 0]])


def test_raw_seeds_are_relative_to_255():
    value = np.array([[2.55, 2.56, 300.0]], np.float32)
    owner = np.array([[1, 1, 1]], np.int32)
    seeds = foreground_seeds(value, owner, scale="raw", threshold=0.01, min_area=1)
    np.testing.assert_array_equal(seeds, [[0, 1, 1]])


def test_small_components_of_one_owner_are_no_seeds():
    owner = np.array([[1, 0, 2, 2, 0, 1], [0, 1, 2, 0, 0, 2], [0, 0, 0, 0, 0, 2]], np.int32)
    value = (owner > 0).astype(np.float32)
    seeds = foreground_seeds(value, owner, scale="max", threshold=0.5, min_area=2)
    # The diagonal pair of 1 is one component; the lonely 1 at the right is one pixel, though beside a 2.
    np.testing.assert_array_equal(seeds, [[1, 0, 2, 2, 0, 0], [0, 1, 2, 0, 0, 2], [0, 0, 0, 0, 0, 2]])
    larger = foreground_seeds(value, owner, scale="max", threshold=0.5, min_area=3)
    np.testing.assert_array_equal(larger, [[0, 0, 2, 2, 0, 0], [0, 0, 2, 0, 0, 0], [0, 0, 0, 0, 0, 0]])


def test_no_contribution_gives_no_seeds():
    seeds = foreground_seeds(
        np.zeros((4, 5), np.float32), np.zeros((4, 5), np.int32), scale="max", threshold=0.1, min_area=1
    )
    assert seeds.shape == (4, 5)
    assert not seeds.any()


# Cuts


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("reach", [3.0, 9.5])
def test_a_cut_in_a_window_is_the_cut_in_the_image(monkeypatch, seed, reach):
    scene = draw_scene(seed, shape=(48, 40), cells=5, diameter=12.0)
    peaks = np.round(scene.points).astype(int)
    # Ragged seeds, many of them far from their peak.
    random = np.random.default_rng(seed)
    blobs = ndimage.gaussian_filter(random.normal(size=(6, 48, 40)), (0, 2, 2))
    seeds = np.where(blobs.max(0) > 0.1, blobs.argmax(0), 0)
    options = cut_options(Config().cut, reach=reach)
    windowed = cut_cells(scene.image, peaks, seeds, **options)
    monkeypatch.setattr(instances, "_window", lambda peak, shape, reach: (slice(0, 48), slice(0, 40)))
    full = cut_cells(scene.image, peaks, seeds, **options)
    for cell, (small, large) in enumerate(zip(windowed, full, strict=True)):
        assert large.mask.shape == (48, 40)
        assert small.mask.shape != large.mask.shape
        np.testing.assert_array_equal(whole(small, (48, 40)), large.mask, err_msg=f"cell {cell}")


def test_nothing_beyond_reach_belongs_to_a_cell():
    scene = draw_scene(0, shape=(64, 64), cells=6, diameter=14.0)
    peaks = np.round(scene.points).astype(int)
    rows, columns = np.indices((64, 64))
    cuts = cut_cells(scene.image, peaks, discs(peaks, (64, 64), 3), **cut_options(Config().cut, reach=6.0))
    for (row, column), part in zip(peaks, cuts, strict=True):
        assert np.hypot(rows - row, columns - column)[whole(part, (64, 64))].max() <= 6


def test_an_isolated_cell_floods_the_image_only_without_reach():
    scene = draw_scene(2, shape=(64, 64), cells=1, diameter=16.0)
    peaks = np.round(scene.points).astype(int)
    seeds = discs(peaks, (64, 64), 3)
    (bounded,) = cut_cells(scene.image, peaks, seeds, **cut_options(Config().cut, reach=16.0))
    mask, truth = whole(bounded, (64, 64)), scene.labels == 1
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.6
    (flooded,) = cut_cells(scene.image, peaks, seeds, **cut_options(preset("reference").cut))
    assert whole(flooded, (64, 64)).mean() > 0.9


@pytest.mark.parametrize("name", ["default", "paper", "reference"])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_cell_without_seeds_near_it_keeps_its_peak(name, elsewhere):
    image = draw_scene(0, shape=(48, 48), cells=3, diameter=12.0).image
    peaks = np.array([[10, 10], [30, 30]])
    seeds = discs(peaks, (48, 48), 3)
    seeds[seeds == 2] = 0
    if elsewhere:
        seeds[2:5, 40:44] = 2
    chosen = preset(name).cut
    reach = None if chosen.reach is None else 8.0
    cuts = cut_cells(image, peaks, seeds, **cut_options(chosen, reach=reach))
    mask = whole(cuts[1], (48, 48))
    # Without reach, the seeds elsewhere decide where the cell is.
    assert mask.any() if elsewhere and reach is None else mask[30, 30]


def test_a_ring_of_seeds_wider_than_the_reach_is_filled_in_the_window_as_in_the_image(monkeypatch):
    image = draw_scene(0, shape=(48, 48), cells=3, diameter=12.0).image
    peaks = np.array([[24, 24]])
    seeds = discs(peaks, (48, 48), 15) - discs(peaks, (48, 48), 12)
    options = cut_options(Config().cut, reach=6.0)
    (windowed,) = cut_cells(image, peaks, seeds, **options)
    monkeypatch.setattr(instances, "_window", lambda peak, shape, reach: (slice(0, 48), slice(0, 48)))
    (full,) = cut_cells(image, peaks, seeds, **options)
    assert full.mask[24, 24]
    np.testing.assert_array_equal(whole(windowed, (48, 48)), full.mask)


def test_the_number_of_threads_makes_no_difference(monkeypatch):
    scene = draw_scene(1, shape=(64, 64), cells=8, diameter=12.0)
    peaks = np.round(scene.points).astype(int)
    seeds, options = discs(peaks, (64, 64), 2), cut_options(Config().cut, reach=10.0)
    results = []
    for threads in (1, 7):
        monkeypatch.setattr(os, "cpu_count", lambda threads=threads: threads)
        results.append([whole(c, (64, 64)) for c in cut_cells(scene.image, peaks, seeds, **options)])
    np.testing.assert_array_equal(*results)


def test_arguments_are_only_read():
    scene = draw_scene(1, shape=(48, 48), cells=4, diameter=12.0)
    image, peaks = scene.image.copy(), np.round(scene.points).astype(int)
    seeds = discs(peaks, (48, 48), 2)
    for array in (image, peaks, seeds):
        array.flags.writeable = False
    cuts = cut_cells(image, peaks, seeds, **cut_options(Config().cut, reach=10.0))
    for part in cuts:
        part.mask.flags.writeable = False
    assert fuse_nearest(cuts, peaks, (48, 48)).max() == 4
    assert fuse_sequentially(cuts, peaks, (48, 48)).max() == 4


# Fusing


@pytest.mark.parametrize("fuse", [fuse_nearest, fuse_sequentially])
def test_no_cell_is_an_empty_label_image(fuse):
    cuts = cut_cells(
        np.zeros((6, 7), np.float32), NO_PEAKS, np.zeros((6, 7), np.int32), **cut_options(CutConfig(), reach=3.0)
    )
    assert cuts == []
    labels = fuse(cuts, NO_PEAKS, (6, 7))
    assert labels.shape == (6, 7)
    assert labels.dtype == np.int32
    assert not labels.any()


@pytest.mark.parametrize("fuse", [fuse_nearest, fuse_sequentially])
def test_one_cell_is_its_cut(fuse):
    part = bar((9, 9), slice(2, 5), slice(3, 8))
    np.testing.assert_array_equal(fuse([part], np.array([[3, 4]]), (9, 9)), part.mask)


@pytest.mark.parametrize("fuse", [fuse_nearest, fuse_sequentially])
def test_labels_follow_the_order_of_the_peaks(fuse):
    scene = draw_scene(3, shape=(96, 96), cells=12, diameter=14.0)
    peaks = np.random.default_rng(0).permutation(np.round(scene.points).astype(int))
    cuts = cut_cells(scene.image, peaks, discs(peaks, (96, 96), 2), **cut_options(Config().cut, reach=10.0))
    labels = fuse(cuts, peaks, (96, 96))
    np.testing.assert_array_equal(labels[tuple(peaks.T)], np.arange(1, 13))


@pytest.mark.parametrize("fuse", [fuse_nearest, fuse_sequentially])
def test_more_cells_than_eight_bits_can_count(fuse):
    peaks = np.stack(np.meshgrid(np.arange(2, 100, 5), np.arange(2, 100, 5)), axis=-1).reshape(-1, 2)
    seeds = discs(peaks, (100, 100), 1)
    cuts = cut_cells(np.full((100, 100), 0.5, np.float32), peaks, seeds, **cut_options(Config().cut, reach=2.0))
    labels = fuse(cuts, peaks, (100, 100))
    assert len(peaks) == 400
    np.testing.assert_array_equal(np.unique(labels), np.arange(401))
    np.testing.assert_array_equal(labels[tuple(peaks.T)], np.arange(1, 401))


def test_contested_pixels_go_to_the_nearest_peak():
    cuts = [bar((3, 12), slice(0, 3), slice(0, 9)), bar((3, 12), slice(0, 3), slice(4, 12))]
    labels = fuse_nearest(cuts, np.array([[1, 2], [1, 9]]), (3, 12))
    np.testing.assert_array_equal(labels, np.tile([1] * 6 + [2] * 6, (3, 1)))


def test_a_contested_pixel_midway_goes_to_the_first_peak_in_raster_order():
    cuts = [bar((1, 7), slice(0, 1), slice(0, 7))] * 2
    labels = fuse_nearest(cuts, np.array([[0, 5], [0, 1]]), (1, 7))
    np.testing.assert_array_equal(labels, [[2, 2, 2, 2, 1, 1, 1]])


def test_a_part_cut_off_from_its_peak_goes_to_the_cell_it_touches_most():
    shape, peaks = (10, 16), np.array([[5, 2], [5, 8], [8, 12]])
    cuts = [
        bar(shape, slice(5, 6), slice(0, 15)),  # cut in two by the next
        bar(shape, slice(3, 8), slice(6, 11)),
        bar(shape, slice(6, 10), slice(11, 15)),  # lies along the four pixels that are cut off
    ]
    labels = fuse_nearest(cuts, peaks, shape)
    assert (labels[5, :6] == 1).all()
    assert (labels[5, 6:11] == 2).all()
    assert (labels[5, 11:15] == 3).all()
    alone = fuse_nearest([*cuts[:1], bar(shape, slice(0, 10), slice(6, 9))], peaks[:2], shape)
    assert (alone[5, 9:15] == 2).all()  # the only neighbour it has


@st.composite
def random_cuts(draw: st.DrawFn) -> tuple[list[CellMask], np.ndarray, list[int]]:
    """Up to seven overlapping ragged cuts in an image of 12 × 14, their peaks, and another order of them."""
    count = draw(st.integers(1, 7))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    places = random.choice(12 * 14, count, replace=False)
    peaks = np.stack(np.divmod(places, 14), axis=1)
    cuts = []
    for row, column in peaks:
        window = slice(max(row - 5, 0), min(row + 6, 12)), slice(max(column - 5, 0), min(column + 6, 14))
        shape = window[0].stop - window[0].start, window[1].stop - window[1].start
        cuts.append(CellMask(window, random.random(shape) < random.uniform(0.3, 1)))
        cuts[-1].mask[row - window[0].start, column - window[1].start] = True
    return cuts, peaks, draw(st.permutations(range(count)))


@settings(deadline=None, max_examples=150)
@given(random_cuts())
def test_fusing_does_not_depend_on_the_order_of_the_cells(case):
    cuts, peaks, order = case
    labels = fuse_nearest(cuts, peaks, (12, 14))
    shuffled = fuse_nearest([cuts[i] for i in order], peaks[order], (12, 14))
    renamed = np.array([0, *(i + 1 for i in order)])[shuffled]
    np.testing.assert_array_equal(renamed, labels)


@settings(deadline=None, max_examples=60)
@given(random_cuts())
def test_fused_cells_are_whole_and_lie_in_the_cuts(case):
    cuts, peaks, _ = case
    labels = fuse_nearest(cuts, peaks, (12, 14))
    np.testing.assert_array_equal(labels[tuple(peaks.T)], np.arange(1, len(peaks) + 1))
    assert not labels[~np.any([whole(part, (12, 14)) for part in cuts], axis=0)].any()
    for label in range(1, len(peaks) + 1):
        assert ndimage.label(labels == label, np.ones((3, 3)))[1] == 1


def test_fusing_sequentially_divides_by_distance_and_the_later_cell_takes_what_is_cut_off():
    cuts = [bar((9, 15), slice(5, 6), slice(0, 15)), bar((9, 15), slice(3, 8), slice(6, 11))]
    peaks = np.array([[5, 2], [5, 8]])
    labels = fuse_sequentially(cuts, peaks, (9, 15))
    expected = np.zeros((9, 15), int)
    expected[3:8, 6:11] = 2
    expected[5] = [1] * 6 + [2] * 9  # of the contested 6..10 all are nearer to 8; 11..14 are cut off
    np.testing.assert_array_equal(labels, expected)


def test_fusing_sequentially_leaves_ties_to_the_earlier_cell():
    cuts = [bar((1, 7), slice(0, 1), slice(0, 7))] * 2
    labels = fuse_sequentially(cuts, np.array([[0, 5], [0, 1]]), (1, 7))
    np.testing.assert_array_equal(labels, [[2, 2, 2, 1, 1, 1, 1]])
