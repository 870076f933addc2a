"""Streaming: order statistics to the last bit, and arrays in files."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from wsis_jax.core.windows import grid_windows, grow, relative_to, whole_window
from wsis_jax.segmentation.tiled.scratch import Scratch, scratch_folder
from wsis_jax.segmentation.tiled.statistics import (
    between,
    high_bits,
    low_bits,
    ordered_values,
    percentile_ranks,
    tops_of,
)


def streamed(values: np.ndarray, ranks: list[int], pieces: int = 3) -> np.ndarray:
    parts = np.array_split(values, pieces)
    high = np.sum([high_bits(part) for part in parts], axis=0)
    assert high.sum() == values.size
    low = np.sum([low_bits(part, tops_of(high, ranks)) for part in parts], axis=0)
    return ordered_values(high, low, ranks)


@settings(deadline=None)
@given(
    npst.arrays(
        np.float32, st.integers(1, 60), elements=st.floats(allow_nan=False, allow_infinity=False, width=32)
    )
)
def test_every_rank_is_that_of_the_sorted_numbers(values):
    np.testing.assert_array_equal(streamed(values, list(range(values.size))), np.sort(values))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float64])
def test_numbers_of_any_type_are_taken_as_float32(dtype):
    values = np.random.default_rng(0).integers(0, 250, 1000).astype(dtype)
    np.testing.assert_array_equal(
        streamed(values, [0, 500, 999]), np.sort(values.astype(np.float32))[[0, 500, 999]]
    )


@settings(deadline=None)
@given(
    npst.arrays(np.float32, st.integers(1, 40), elements=st.floats(-1e3, 1e3, width=32)),
    st.sampled_from([0.0, 1.0, 12.5, 50.0, 99.8, 100.0]),
)
def test_percentiles_are_those_of_numpy_to_the_last_bit(values, percentile):
    low, high, share = percentile_ranks(percentile, values.size)
    found = between(*streamed(values, [low, high]), share)
    assert found == np.percentile(values.astype(np.float64), percentile)


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 50), st.integers(1, 50), st.integers(0, 9))
def test_windows_cover_every_pixel_once_and_grow_within_the_array(height, width, rows, columns, margin):
    times, shape = np.zeros((height, width), int), (height, width)
    for window in grid_windows(shape, (rows, columns)):
        times[window] += 1
        around = grow(window, margin, whole_window(shape))
        cut = np.arange(height * width).reshape(shape)
        np.testing.assert_array_equal(cut[around][relative_to(window, around)], cut[window])
        assert all(a.start <= w.start and a.stop >= w.stop for a, w in zip(around, window, strict=True))
    assert (times == 1).all()


def test_what_is_written_to_a_file_is_read_from_it(tmp_path):
    with scratch_folder(tmp_path, room=1) as folder:
        array, expected = Scratch(folder / "a", (30, 40), np.float32, 16), np.zeros((30, 40), np.float32)
        elsewhere = pickle.loads(pickle.dumps(array))
        for window in (np.s_[16:30, 0:16], np.s_[0:16, 32:40], np.s_[16:30, 16:32]):
            array[window] = expected[window] = np.random.default_rng(0).random(expected[window].shape)
        for window in (np.s_[0:30, 0:40], np.s_[3:29, 4:39], np.s_[20:21, 33:34]):
            np.testing.assert_array_equal(elsewhere[window], expected[window])
        for window in (np.s_[0:30, 0:40], np.s_[0:16, 0:15], np.s_[8:16, 0:16]):
            with pytest.raises(ValueError, match="no window of its grid"):
                array[window] = expected[window]
        assert len(list((folder / "a").iterdir())) == 3
    assert not folder.exists()


def test_a_full_disk_is_told_before_any_work(tmp_path):
    with (
        pytest.raises(ValueError, match=r"the image needs .* of temporary files"),
        scratch_folder(tmp_path, room=1 << 70),
    ):
        pass
    assert not list(tmp_path.iterdir())
