"""Folds of the experiments: an image that is halved keeps its cells, each in the half that shows its point."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.folds import Case, halves
from wsis_jax.core import inside


@settings(deadline=None, max_examples=100)
@given(st.integers(2, 40), st.lists(st.floats(-0.5, 1, exclude_max=True), max_size=9))
def test_the_points_of_a_half_lie_in_it(width, places):
    columns = np.array([place if place < 0 else place * (width - 0.5) for place in places], np.float64)
    points = np.stack([np.full(len(columns), 3.0), columns], axis=1)
    masks = np.zeros((6, width), np.int32)
    left, right = halves(Case("cells", np.zeros((6, width)), points, masks))
    assert left.image.shape[1] + right.image.shape[1] == width
    for half in (left, right):
        assert half.image.shape == half.masks.shape
        assert inside(half.points, half.masks.shape).all()
    joined = np.concatenate([left.points[:, 1], right.points[:, 1] + width // 2])
    np.testing.assert_allclose(np.sort(joined), np.sort(columns))


def test_a_point_beside_the_cut_is_in_the_half_of_its_pixel():
    points = np.array([[2.0, 3.4], [2.0, 3.5], [2.0, 3.81]])
    left, right = halves(Case("cells", np.zeros((5, 8)), points, np.zeros((5, 8), np.int32)))
    assert left.points.tolist() == [[2.0, 3.4]]
    np.testing.assert_allclose(right.points[:, 1], [-0.5, -0.19])
