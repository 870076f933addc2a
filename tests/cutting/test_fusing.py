"""Fusing: cuts to one label image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tests.cutting.drawn_cuts import cut_drawn, discs, whole
from wsis_jax.core.config import Config
from wsis_jax.cutting.cell_cuts import CellMask
from wsis_jax.cutting.fusing import fuse_nearest, fuse_sequentially
from wsis_jax.synthetic import draw_scene

NO_PEAKS = np.empty((0, 2), np.int64)


def bar(shape: tuple[int, int], rows: slice, columns: slice) -> CellMask:
    """A rectangular cut in a window of the whole image."""
    mask = np.zeros(shape, bool)
    mask[rows, columns] = True
    return CellMask((slice(0, shape[0]), slice(0, shape[1])), mask)


@pytest.mark.parametrize("fuse", [fuse_nearest, fuse_sequentially])
def test_no_cell_is_an_empty_label_image(fuse):
    image, seeds = np.zeros((6, 7), np.float32), np.zeros((6, 7), np.int32)
    cuts = cut_drawn(image, NO_PEAKS, seeds, Config().cut, reach=3.0)
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
    cuts = cut_drawn(scene.image, peaks, discs(peaks, (96, 96), 2), Config().cut, reach=10.0)
    labels = fuse(cuts, peaks, (96, 96))
    np.testing.assert_array_equal(labels[tuple(peaks.T)], np.arange(1, 13))


@pytest.mark.parametrize("fuse", [fuse_nearest, fuse_sequentially])
def test_more_cells_than_eight_bits_can_count(fuse):
    peaks = np.stack(np.meshgrid(np.arange(2, 100, 5), np.arange(2, 100, 5)), axis=-1).reshape(-1, 2)
    seeds = discs(peaks, (100, 100), 1)
    cuts = cut_drawn(np.full((100, 100), 0.5, np.float32), peaks, seeds, Config().cut, reach=2.0)
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


@pytest.mark.parametrize("fuse", [fuse_nearest, fuse_sequentially])
def test_arguments_are_only_read(fuse):
    peaks = np.array([[1, 2], [1, 9]])
    cuts = [bar((3, 12), slice(0, 3), slice(0, 9)), bar((3, 12), slice(0, 3), slice(4, 12))]
    peaks.flags.writeable = False
    for part in cuts:
        part.mask.flags.writeable = False
    assert fuse(cuts, peaks, (3, 12)).max() == 2
