"""How well points fit a map: zero by chance, and greatest where they belong."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsis_jax.points.fitting import best_place, fit
from wsis_jax.points.likelihood import render_likelihood

SHAPE = (90, 120)
# No two of them are as far apart as two others.
POINTS = np.array([[30.0, 40.0], [33.0, 71.0], [50.0, 52.0], [61.0, 88.0], [44.0, 33.0], [58.0, 60.0]])
MAP = render_likelihood(POINTS, SHAPE, sigma=3.0)


def plain_fit(values: np.ndarray, points: np.ndarray) -> float:
    """The definition, point by point."""
    total = 0.0
    for row, column in np.round(points).astype(int):
        if 0 <= row < values.shape[0] and 0 <= column < values.shape[1]:
            total += (values[row, column] - values.mean()) / values.std()
    return total / len(points) ** 0.5


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000), count=st.integers(1, 30))
def test_the_fit_is_that_of_its_definition(seed, count):
    rng = np.random.default_rng(seed)
    values, points = rng.random((20, 30)), rng.uniform(-10, 40, (count, 2))
    assert fit(values, points) == pytest.approx(plain_fit(values, points), abs=1e-8)


def test_points_at_random_fit_by_chance():
    rng = np.random.default_rng(0)
    fits = [fit(rng.random(SHAPE), rng.uniform(0, 89, (50, 2))) for _ in range(400)]
    assert abs(np.mean(fits)) < 0.2
    assert np.std(fits) == pytest.approx(1, abs=0.15)


@settings(deadline=None, max_examples=20)
@given(rows=st.integers(-22, 22), columns=st.integers(-22, 22))
def test_shifted_points_are_found_where_they_belong(rows, columns):
    place = best_place(MAP, POINTS + np.array([rows, columns]))
    assert not place.swapped
    assert place.shift == (-rows, -columns)
    assert place.best == pytest.approx(fit(MAP, POINTS))


@settings(deadline=None, max_examples=10)
@given(rows=st.integers(-22, 22), columns=st.integers(-22, 22))
def test_the_best_place_is_that_of_all_places_tried(rows, columns):
    moved = POINTS + np.array([rows, columns])
    reach = range(-22, 23)  # a quarter of 90
    fits = [
        plain_fit(MAP, own + np.array([r, c])) for own in (moved, moved[:, ::-1]) for r in reach for c in reach
    ]
    assert best_place(MAP, moved).best == pytest.approx(max(fits))


def test_swapped_points_are_known():
    place = best_place(MAP, POINTS[:, ::-1])
    assert place.swapped
    assert place.shift == (0, 0)
    assert place.here < 0.3 * place.best


def test_points_that_fit_stay():
    place = best_place(MAP, POINTS)
    assert place[1:] == (place.here, False, (0, 0))


@pytest.mark.parametrize(("values", "points"), [(MAP, np.empty((0, 2))), (np.ones(SHAPE), POINTS)])
def test_where_there_is_nothing_to_compare_the_fit_is_zero(values, points):
    assert fit(values, points) == 0
    assert best_place(values, points).best == 0
