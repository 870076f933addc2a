"""Winner maps: the argmax of contribution maps, the first of equals, and what merging costs."""

from functools import partial

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from tests.network.golden_cells import (
    IMAGE,
    MODEL,
    REGIONS,
    VARIABLES,
    brute_force_winner,
    maps_of,
    scatter_regions,
    varied,
    winner_of,
)
from wsis_jax.network import chunks, winners
from wsis_jax.network.receptive_field import Span


@settings(deadline=None, max_examples=10, derandomize=True)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 5),
    st.sampled_from([1, 2, 3, 8]),
    st.sampled_from(["window", "vmap", "loop"]),
)
def test_the_winner_map_is_the_argmax_of_the_contribution_maps(seed, cells, chunk, method):
    arguments = MODEL, varied(seed), np.random.default_rng(seed).random(IMAGE.shape), scatter_regions(cells, seed)
    winner = winner_of(*arguments, cells=cells, chunk=chunk, method=method)
    maps = maps_of(*arguments, cells=cells, chunk=chunk, method=method)
    for part, expected in zip(winner, brute_force_winner(maps), strict=True):
        np.testing.assert_array_equal(part, expected)


def small_maps(cells):
    """Contribution maps of few different values, so that many are equal, and where their corners are."""
    maps = npst.arrays(np.float32, (cells, 3, 4), elements=st.integers(0, 3).map(float))
    return st.tuples(maps, npst.arrays(np.int32, (cells, 2), elements=st.integers(0, 2)))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 7).flatmap(small_maps))
def test_the_first_of_equals_wins_in_its_window(maps_and_corners):
    maps, corners = maps_and_corners
    ids = np.arange(1, len(maps) + 1, dtype=np.int32)
    merged = jax.jit(partial(winners.merged, span=Span(0, 3), reach=None))
    winner = winners._winner_of(*merged(winners.no_winner((5, 6), None), maps, corners, ids))
    seen = np.zeros((len(maps), 5, 6), np.float32)
    for cell, (row, column) in enumerate(corners):
        seen[cell, row : row + 3, column : column + 4] = maps[cell]
    for part, expected in zip(winner, brute_force_winner(seen), strict=True):
        np.testing.assert_array_equal(part, expected)


@pytest.mark.parametrize("side", [64, 1024])
def test_merging_copies_no_layer_of_the_image(side):
    """Otherwise a cell costs more in a larger image: 10 ms instead of 0.3 ms for 8 cells at 2048²."""
    span = Span(-8, 8)
    layers = jax.eval_shape(partial(winners.no_winner, (side, side), span))
    maps = jax.ShapeDtypeStruct((4, span.size, span.size), np.float32)
    peaks, ids = jax.ShapeDtypeStruct((4, 2), np.int32), jax.ShapeDtypeStruct((4,), np.int32)
    merge = chunks._merged_compiled.lower(layers, maps, peaks, ids, span=span, reach=None).compile()
    assert merge.memory_analysis().temp_size_in_bytes < 16 * span.size**2 * 4


def test_types_of_the_winner_map():
    winner = winner_of(MODEL, VARIABLES, IMAGE, REGIONS, cells=4)
    assert [part.dtype for part in winner] == [np.float32, np.int32, np.float32]
    assert set(np.unique(winner.owner)) == {0, 1, 2, 3, 4}
    assert (winner.value >= winner.runner_up).all()
    assert (winner.runner_up > 0).any()
