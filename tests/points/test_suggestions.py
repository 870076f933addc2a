"""What points suggest: sigma from their spacing, the scale from sigma."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wsis_jax.points.suggestions import suggest, suggest_scale, suggest_sigma


def grid(spacing: float, *, side: int = 5) -> np.ndarray:
    """Points on a square grid."""
    return np.stack(np.meshgrid(*[np.arange(side) * float(spacing)] * 2), axis=-1).reshape(-1, 2)


@settings(deadline=None, max_examples=20)
@given(spacing=st.floats(1, 500), shift=st.floats(-100, 100))
def test_sigma_is_a_quarter_of_the_spacing(spacing, shift):
    assert suggest_sigma([grid(spacing) + shift]) == pytest.approx(spacing / 4, rel=1e-6)


def test_sigma_is_the_median_over_all_images():
    # 50 distances of 10 against 25 of 100; the mean over images would be another.
    assert suggest_sigma([grid(10), grid(10) + 7, grid(100)]) == pytest.approx(2.5)


def test_images_with_fewer_than_two_points_do_not_contribute():
    lonely, empty = np.zeros((1, 2)), np.empty((0, 2))
    assert suggest_sigma([lonely, grid(10), empty]) == pytest.approx(2.5)


def test_points_clicked_twice_count_once():
    assert suggest_sigma([np.concatenate([grid(10), grid(10)])]) == pytest.approx(2.5)


@pytest.mark.parametrize("images", [[], [np.empty((0, 2))], [np.zeros((1, 2))] * 3, [np.ones((4, 2))]])
def test_sigma_needs_two_points_in_an_image(images):
    with pytest.raises(ValueError, match=r"no image has two points .*; give the sigma .* `likelihood\.sigma`"):
        suggest_sigma(images)


@example(sigma=16.0)  # 0.3125, rounded to three digits
@given(sigma=st.floats(5, 500))
def test_sigma_becomes_five_pixels_of_the_network(sigma):
    assert suggest_scale(sigma) * sigma == pytest.approx(5, abs=5.1e-4 * sigma)


@given(sigma=st.floats(0.1, 5))
def test_images_are_never_enlarged(sigma):
    assert suggest_scale(sigma) == 1


def test_sigma_and_scale_are_suggested_together():
    assert suggest([grid(40), np.empty((0, 2))]) == (10.0, 0.5)
    assert suggest([np.zeros((1, 2))]) is None
