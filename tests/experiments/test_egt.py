"""The empirical gradient threshold."""

import numpy as np
import pytest
from scipy import ndimage

from experiments.baselines.egt import (
    empirical_gradient_threshold,
    foreground_percentile,
    gradient_magnitude,
    nearest_rank,
)
from wsis_jax.synthetic import draw_scene


def histogram(counts: dict[int, int]) -> np.ndarray:
    """Gradients with so many of each place, 1..1001, of the histogram; 1 and 1001 must be among them."""
    return np.repeat([1.0 + place for place in counts], list(counts.values()))


def square_on(rows: slice) -> np.ndarray:
    """Faint noise with a bright square in 90 × 100 pixels."""
    image = np.random.default_rng(0).uniform(0.2, 0.21, (90, 100)).astype(np.float32)
    image[rows, 30:70] += 0.7
    return image


def all_edges(image: np.ndarray) -> float:
    """The greed at which the threshold is the strongest gradient of the noise."""
    edges = gradient_magnitude(image)
    edges = edges[edges > 0]
    noise = np.count_nonzero(edges < 0.35)
    return foreground_percentile(edges) - 100 * (noise - 1) / len(edges)


def test_percentiles_are_values_at_the_nearest_rank():
    values = np.array([50.0, 10, 40, 20, 30])
    # round(p · 5 + 1) is 1, 2 (p · 5 = 0.5 rounds up), 3, 4, 6: the last is one too many.
    np.testing.assert_array_equal(nearest_rank(values, np.array([0.0, 10, 40, 50, 100])), [10, 20, 30, 40, 50])


def test_the_rank_of_a_half_is_rounded_up():
    # 25 % of 10 + 1 is 3.5, which is 4; rounding to even would give the same, 45 % of 10 + 1 = 5.5 the 6th.
    np.testing.assert_array_equal(nearest_rank(np.arange(10.0), np.array([25.0, 45.0])), [3, 5])


def test_the_percentile_is_read_off_the_line():
    # The fullest bins are 9, 10 and 11: the mode is 10, weak edges lie in bins 30..180, and these hold 10 %.
    gradients = histogram({1: 10, 9: 300, 10: 320, 11: 250, 29: 10, 30: 40, 180: 60, 181: 5, 1001: 5})
    assert len(gradients) == 1000
    assert foreground_percentile(gradients) == round(95 + (10 - 3) * (40 - 95) / (42 - 3)) == 85


def test_a_slow_tail_moves_the_upper_bound():
    # No bin is below 5 % of the fullest until 200, beyond 18 × 10; the first that is, counts still.
    counts = {1: 30, 1001: 1} | dict.fromkeys(range(10, 200), 30) | {9: 40, 10: 200, 11: 40, 200: 5, 201: 7}
    gradients = histogram(counts)
    share = 100 * (30 * 170 + 5) / len(gradients)
    expected = max(25, round(95 - (share - 3) * 55 / 39))
    assert foreground_percentile(gradients) == expected


def test_the_percentile_stays_within_bounds():
    background = {1: 1, 9: 310, 10: 310, 11: 310, 1001: 1}
    assert foreground_percentile(histogram(background)) == 98  # the line says 99
    assert foreground_percentile(histogram(background | dict.fromkeys(range(50, 130), 20))) == 25  # and 10


def test_one_gradient_alone_is_no_cell():
    assert foreground_percentile(np.full(7, 3.0)) == 98.0


def test_gradients_are_those_of_sobel():
    image = np.zeros((5, 6), np.float32)
    image[:, 3:] = 0.5
    expected = np.zeros((5, 6))
    expected[:, 2:4] = 4 * 0.5
    np.testing.assert_allclose(gradient_magnitude(image), expected)


def test_a_square_is_filled_and_is_found_where_its_edges_are():
    image = square_on(slice(20, 60))
    mask = empirical_gradient_threshold(image, min_cell=50, min_hole=2000, greedy=all_edges(image))
    # Sobel's edge is two pixels wide, one of them outside, and the erosion takes that.
    expected = np.zeros(mask.shape, bool)
    expected[20:60, 30:70] = True
    np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize(("min_hole", "is_filled"), [(38 * 38, True), (38 * 38 - 0.5, False)])
def test_large_holes_stay_and_small_ones_are_filled(min_hole, is_filled):
    image = square_on(slice(20, 60))  # of 40 × 40 pixels, of which one on each side is edge
    mask = empirical_gradient_threshold(image, min_cell=1, min_hole=min_hole, greedy=all_edges(image))
    assert mask[40, 50] == is_filled


def test_holes_at_the_border_of_the_image_are_never_filled():
    image = square_on(slice(0, 40))
    mask = empirical_gradient_threshold(image, min_cell=0, min_hole=5000, greedy=all_edges(image))
    assert not mask[:38].any()


def test_the_border_of_the_image_erodes_nothing():
    image = square_on(slice(20, 90))
    image[60:] = np.where(np.indices((30, 100)).sum(0) % 6 < 3, 0.9, 0.1)
    mask = empirical_gradient_threshold(image, min_cell=0, min_hole=10, greedy=all_edges(image))
    assert mask[-1].mean() > 0.9


def test_small_parts_go():
    image = square_on(slice(20, 60))
    image[75:83, 10:18] += 0.7  # 64 pixels
    greedy = all_edges(image)
    assert empirical_gradient_threshold(image, min_cell=64, greedy=greedy)[79, 14]
    mask = empirical_gradient_threshold(image, min_cell=65, greedy=greedy)
    assert not mask[79, 14]
    assert mask[40, 50]


def test_greed_enlarges_the_mask():
    image = draw_scene(1, shape=(120, 120), cells=6, diameter=26.0).image
    masks = [empirical_gradient_threshold(image, min_cell=0, min_hole=0, greedy=greedy) for greedy in (-10, 0, 30)]
    areas = [mask.sum() for mask in masks]
    assert 0 < areas[0] < areas[1] < areas[2]
    assert not (masks[0] & ~masks[2]).any()


def test_cells_of_a_drawn_scene_are_foreground():
    scene = draw_scene(3, shape=(160, 160), cells=8, diameter=26.0)
    mask = empirical_gradient_threshold(scene.image, min_cell=50, min_hole=100, greedy=10)
    cells = scene.labels > 0
    assert mask[cells].mean() > 0.8
    assert mask[~ndimage.binary_dilation(cells, iterations=8)].mean() < 0.1


def test_an_image_without_edges_is_background():
    assert not empirical_gradient_threshold(np.full((30, 41), 0.3, np.float32)).any()
    assert not empirical_gradient_threshold(np.full((1, 1), 0.3, np.float32)).any()


def test_faint_noise_is_background():
    noise = np.random.default_rng(0).normal(0.5, 0.002, (200, 200)).astype(np.float32)
    assert not empirical_gradient_threshold(noise, min_cell=50, min_hole=50).any()


def test_a_bad_image_is_refused(unchecked):
    with pytest.raises(ValueError, match="not numbers"):
        empirical_gradient_threshold(np.full((4, 4), np.nan, np.float32))
