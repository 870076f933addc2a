"""Cuts without the pixels that are decided: against every mask there is."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from tests.cutting.test_graphcut import energy
from wsis_jax.cutting.reduction import reduce_cut

MASKS = np.array(list(itertools.product([False, True], repeat=9))).reshape(-1, 3, 3)


def grid(low, high):
    return npst.arrays(np.int64, (3, 3), elements=st.integers(low, high)).map(lambda whole: whole.astype(float))


@settings(deadline=None, max_examples=100)
@given(grid(-40, 40), grid(0, 40), grid(0, 40), npst.arrays(np.int8, (3, 3), elements=st.integers(-1, 1)))
def test_masks_cost_the_same_but_for_a_constant(data, right, down, seeds):
    """So the cheapest masks of the reduced cut are those of the whole one, and the largest of them is, too."""
    foreground, background = seeds == 1, seeds == -1
    reduced = reduce_cut(data, right[:, :-1], down[:-1], foreground, background)
    allowed = MASKS[(MASKS | ~foreground).all((1, 2)) & ~(MASKS & background).any((1, 2))]
    nodes = allowed[:, reduced.open]
    costs = np.where(nodes, np.maximum(-reduced.data, 0), np.maximum(reduced.data, 0)).sum(1)
    costs += (reduced.costs * (nodes[:, reduced.first] != nodes[:, reduced.second])).sum(1)
    assert len({*(energy(allowed, data, right, down) - costs)}) == 1
    for mask, inside in zip(allowed, nodes, strict=True):
        np.testing.assert_array_equal(reduced.mask(inside), mask)


def test_only_what_is_open_is_left():
    foreground, background = np.zeros((2, 4, 5), bool)
    foreground[1, 1], background[:, 3:] = True, True
    ones = np.ones((4, 5))
    reduced = reduce_cut(-ones, ones[:, :-1], ones[:-1], foreground, background)
    # 11 pixels of a grid of 4 × 3 without one: 17 edges less its 4.
    assert (len(reduced.data), len(reduced.costs)) == (11, 13)
    np.testing.assert_array_equal(reduced.data, [-1, 0, -2, 0, -1, -1, 0, -2, -1, -1, -2])


def test_decided_pixels_alone_leave_nothing_to_solve():
    foreground = np.array([[True, False]])
    ones = np.ones((1, 2))
    reduced = reduce_cut(ones, ones[:, :-1], ones[:-1], foreground, ~foreground)
    assert not len(reduced.data)
    assert not len(reduced.costs)
    np.testing.assert_array_equal(reduced.mask(np.zeros(0, bool)), foreground)
