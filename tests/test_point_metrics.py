"""Detection scores: points paired one to one, as many as possible and then as close as possible."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.metric_oracles import assignments
from wsis_jax.metrics import match_points

NO_POINTS = np.empty((0, 2))
small_points = st.integers(0, 5).flatmap(lambda n: arrays(np.int64, (n, 2), elements=st.integers(0, 30)))
quick = settings(max_examples=80, deadline=None, derandomize=True)


def test_identical_points():
    points = np.array([[3.5, 4], [0, 0], [60, 2]])
    match = match_points(points, points[::-1], distance=0)
    assert match.pairs.tolist() == [[0, 2], [1, 1], [2, 0]]
    assert (match.precision, match.recall, match.f_measure) == (1, 1, 1)


@pytest.mark.parametrize(("found", "true", "expected"), [(0, 0, 1), (2, 0, 0), (0, 2, 0)])
def test_points_when_one_side_is_empty(found, true, expected):
    match = match_points(np.zeros((found, 2)), np.zeros((true, 2)), distance=10)
    assert match.pairs.shape == (0, 2)
    assert match[1:] == (0, found, true)
    assert (match.precision, match.recall, match.f_measure) == (expected,) * 3


def test_distance_is_inclusive_and_may_be_infinite():
    origin, away = np.array([[0, 0]]), np.array([[6, 8]])
    assert match_points(origin, away, distance=10).true_positives == 1
    assert match_points(origin, away, distance=9.999).true_positives == 0
    assert match_points(origin, 1000 * away, distance=np.inf).true_positives == 1


def test_counts_and_measures():
    predicted, truth = np.array([[0, 0], [50, 50], [99, 0], [0, 99]]), np.array([[52, 50], [0, 3], [30, 0]])
    match = match_points(predicted, truth, distance=10)
    assert match.pairs.tolist() == [[0, 1], [1, 0]]
    assert match[1:] == (2, 2, 1)
    assert match.precision == 1 / 2
    assert match.recall == 2 / 3
    assert match.f_measure == pytest.approx(4 / 7)


def test_more_pairs_come_before_closer_pairs():
    # A chain: three true points lie on predicted ones, but only four pairs of 40 px each use every point.
    truth = np.stack([np.zeros(4), 40.0 * np.arange(4)], axis=1)
    predicted = truth + np.array([0, 40])
    assert 4 * np.exp(-0.01 * 40) < 3  # the reference would take the three
    assert match_points(predicted, truth, distance=40).pairs.tolist() == [[i, i] for i in range(4)]
    assert match_points(predicted, truth, distance=39).true_positives == 3


@quick
@given(small_points, small_points, st.sampled_from([0, 5, 10, 40]))
def test_points_agree_with_all_assignments(predicted, truth, distance):
    gaps = np.hypot(*np.moveaxis(predicted[:, None] - truth[None], -1, 0))

    def value(pairs):
        near = [gaps[i, j] for i, j in pairs if gaps[i, j] <= distance]
        return len(near), sum(np.exp(-0.01 * gap) for gap in near)

    count, closeness = max(value(pairs) for pairs in assignments(*gaps.shape))
    match = match_points(predicted, truth, distance=distance)
    assert match.true_positives == len(match.pairs) == count
    assert value(match.pairs) == (count, pytest.approx(closeness))
    assert all(len(set(side)) == count for side in match.pairs.T.tolist())
    assert match.false_positives == len(predicted) - count
    assert match.false_negatives == len(truth) - count


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "points", [np.zeros((2, 3)), np.zeros(2), np.array([[0, np.nan]]), np.array([[np.inf, 0]])]
)
def test_bad_points(points):
    with pytest.raises(ValueError, match="predicted must be finite points"):
        match_points(points, NO_POINTS, distance=1)
    with pytest.raises(ValueError, match="truth must be finite points"):
        match_points(NO_POINTS, points, distance=1)


@pytest.mark.parametrize("distance", [-1.0, np.nan])
def test_bad_distance(distance):
    with pytest.raises(ValueError, match="distance must be 0 or more"):
        match_points(NO_POINTS, NO_POINTS, distance=distance)
