"""Streaming: order statistics to the last bit, and arrays in files."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from wsis_jax.streaming import (
    HighBits,
    Scratch,
    between,
    grown,
    ordered_values,
    percentile_ranks,
    scratch_folder,
    windows_over,
    within,
)


def streamed(values: np.ndarray, ranks: list[int], pieces: int = 3) -> np.ndarray:
    parts, high = np.array_split(values, pieces), HighBits()
    for part in parts:
        high.add(part)
    assert high.total == values.size
    return ordered_values(high, parts, ranks)


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
    for window in windows_over(shape, (rows, columns)):
        times[window] += 1
        around = grown(window, margin, shape)
        cut = np.arange(height * width).reshape(shape)
        np.testing.assert_array_equal(cut[around][within(window, around)], cut[window])
        assert all(a.start <= w.start and a.stop >= w.stop for a, w in zip(around, window, strict=True))
    assert (times == 1).all()


def test_what_is_written_to_a_file_is_read_from_it():
    with scratch_folder() as folder:
        array, expected = Scratch(folder / "a", (30, 40), np.float32), np.zeros((30, 40), np.float32)
        for window in (np.s_[3:9, 4:30], np.s_[0:1, 0:40], np.s_[5:30, 20:40]):
            array[window] = expected[window] = np.random.default_rng(0).random(expected[window].shape)
        np.testing.assert_array_equal(array[:, :], expected)
        part = array[2:5, 2:6]
        part[:] = 7
        assert not (array[:, :] == 7).any()
    assert not folder.exists()
