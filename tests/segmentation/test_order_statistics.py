"""Order statistics of an array in parts: to the last bit those of numpy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from wsis_jax.segmentation.tiled.order_statistics import (
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
