"""Points to likelihood map and back, and the regions around the peaks, each against a slow way of saying it.

And what points suggest: sigma from their spacing, the scale from sigma.
"""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image
from scipy import ndimage

from wsis_jax.core import geometry
from wsis_jax.core.config import preset
from wsis_jax.core.geometry import nearest_peak
from wsis_jax.points.likelihood import (
    centre_regions,
    find_peaks,
    plateau_centres,
    render_likelihood,
    suggest_scale,
    suggest_sigma,
)

SAMPLE = Path(__file__).parents[3] / "shared" / "data" / "wsispdr_sample"


def points_of(*pairs: tuple[float, float]) -> np.ndarray:
    return np.array(pairs, np.float64).reshape(-1, 2)


def distances(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Distance of every pixel to every point, (points, height, width)."""
    rows, columns = np.indices(shape)
    return np.hypot(rows - points[:, 0, None, None], columns - points[:, 1, None, None])


def separated_points(gap: float, shape: tuple[int, int]) -> st.SearchStrategy[np.ndarray]:
    """Whole-numbered points in raster order, any two of them at least `gap` apart."""

    def thin(pairs):
        kept = []
        for pair in pairs:
            if all(np.hypot(pair[0] - row, pair[1] - column) >= gap for row, column in kept):
                kept.append(pair)
        return np.array(sorted(kept), np.int64).reshape(-1, 2)

    pair = st.tuples(st.integers(0, shape[0] - 1), st.integers(0, shape[1] - 1))
    return st.lists(pair, max_size=15).map(thin)


# Points to likelihood map


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.floats(-20, 50), st.floats(-20, 60)), max_size=6).map(lambda pairs: points_of(*pairs)),
    st.floats(0.5, 9),
)
def test_the_map_is_the_greatest_gaussian_at_every_pixel(points, sigma):
    likelihood = render_likelihood(points, (30, 40), sigma=sigma)
    gaussians = np.exp(-(distances(points, (30, 40)) ** 2) / (2 * sigma**2))
    np.testing.assert_allclose(likelihood, gaussians.max(axis=0, initial=0), rtol=1e-5, atol=4e-6)


def test_a_point_on_a_pixel_gives_exactly_1_there():
    points = points_of((0, 0), (7, 3), (15, 19))
    likelihood = render_likelihood(points, (16, 20), sigma=1.3)
    assert (likelihood == 1).sum() == 3
    assert all(likelihood[int(row), int(column)] == 1 for row, column in points)


def test_no_points_give_zeros():
    np.testing.assert_array_equal(render_likelihood(points_of(), (4, 5), sigma=2.0), np.zeros((4, 5)))


def test_points_beyond_the_border_reach_in_and_far_ones_do_not():
    near = render_likelihood(points_of((-3, 5), (8.5, 12.4)), (9, 12), sigma=2.0)
    assert near[0, 5] == pytest.approx(np.exp(-9 / 8))
    assert near[8, 11] == pytest.approx(np.exp(-(0.5**2 + 1.4**2) / 8))
    far = points_of((-500, 5), (5, -500), (900, 5), (5, 900))
    assert not render_likelihood(far, (9, 12), sigma=2.0).any()


@pytest.mark.parametrize("sigma", [0.0, -1.0, np.nan])
def test_sigma_must_be_positive(sigma):
    with pytest.raises(ValueError, match="sigma must be positive, not"):
        render_likelihood(points_of((1, 1)), (4, 4), sigma=sigma)


# Likelihood map to peaks


@settings(deadline=None, max_examples=60)
@given(separated_points(10, (48, 64)), st.booleans())
def test_separated_points_are_recovered_exactly(points, quantize):
    likelihood = render_likelihood(points.astype(float), (48, 64), sigma=3.0)
    peaks = find_peaks(likelihood, threshold=0.49, min_distance=3, quantize=quantize)
    np.testing.assert_array_equal(peaks, points)


@settings(deadline=None, max_examples=60)
@given(separated_points(12, (48, 64)), st.integers(0, 2**32 - 1))
def test_points_between_pixels_are_recovered_to_the_pixel(points, seed):
    moved = points + np.random.default_rng(seed).uniform(-0.45, 0.45, points.shape)
    likelihood = render_likelihood(moved, (48, 64), sigma=3.0)
    np.testing.assert_array_equal(find_peaks(likelihood, threshold=0.49, min_distance=3), points)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(0, 5))
def test_peaks_of_noise_are_the_greatest_of_their_squares(seed, distance, border):
    noise = np.random.default_rng(seed).permutation(15 * 18).reshape(15, 18) / 270
    expected = []
    for row, column in np.ndindex(noise.shape):
        around = noise[
            max(row - distance, 0) : row + distance + 1, max(column - distance, 0) : column + distance + 1
        ]
        inside = border <= row < 15 - border and border <= column < 18 - border
        if inside and noise[row, column] > 0.6 and noise[row, column] == around.max():
            expected.append((row, column))
    peaks = find_peaks(noise, threshold=0.6, min_distance=distance, exclude_border=border)
    assert list(map(tuple, peaks)) == expected


def test_a_plateau_is_one_peak_at_its_middle():
    likelihood = np.zeros((20, 20))
    likelihood[4:7, 10:15] = 0.8
    likelihood[15, 3] = likelihood[16, 4] = 0.9  # joined at a corner
    peaks = find_peaks(likelihood, threshold=0.5, min_distance=1)
    np.testing.assert_array_equal(peaks, [[5, 12], [15, 3]])


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_a_constant_map_has_a_peak_only_above_the_threshold(value):
    peaks = find_peaks(np.full((9, 13), value, np.float32), threshold=0.3, min_distance=2)
    np.testing.assert_array_equal(peaks, [[4, 6]] if value == 1 else np.zeros((0, 2)))


def test_a_map_of_one_pixel():
    np.testing.assert_array_equal(find_peaks(np.ones((1, 1)), threshold=0.5, min_distance=3), [[0, 0]])


@pytest.mark.parametrize(("border", "kept"), [(0, [0, 1, 2, 3]), (1, [1, 2, 3]), (2, [2, 3]), (3, [3]), (8, [])])
def test_peaks_at_the_border_are_kept_unless_excluded(border, kept):
    likelihood = np.zeros((16, 40))
    for n in range(4):
        likelihood[n, 8 * n + 5] = 1
    peaks = find_peaks(likelihood, threshold=0.5, min_distance=2, exclude_border=border)
    np.testing.assert_array_equal(peaks, np.array([[n, 8 * n + 5] for n in kept]).reshape(-1, 2))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("quantize", [False, True])
def test_the_threshold_itself_is_not_above_the_threshold(dtype, quantize):
    likelihood = np.zeros((5, 20), dtype)
    likelihood[2, 4], likelihood[2, 14] = 125 / 255, 126 / 255
    peaks = find_peaks(likelihood, threshold=125 / 255, min_distance=2, quantize=quantize)
    np.testing.assert_array_equal(peaks, [[2, 14]])


def test_quantizing_rounds_down_and_makes_plateaus():
    likelihood = np.zeros((5, 12), np.float32)
    likelihood[2, 2:5] = np.array([200.1, 200.9, 200.5]) / 255
    likelihood[2, 9] = 125.9 / 255
    options = {"threshold": 125 / 255, "min_distance": 1}
    np.testing.assert_array_equal(find_peaks(likelihood, **options), [[2, 3], [2, 9]])
    likelihood[2, 4] = 200.95 / 255
    np.testing.assert_array_equal(find_peaks(likelihood, **options), [[2, 4], [2, 9]])
    np.testing.assert_array_equal(find_peaks(likelihood, quantize=True, **options), [[2, 3]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_quantizing_leaves_values_of_8_bits(dtype):
    # Peaks of 200 values, each beside one a level lower: were one rounded down, the two would be a plateau.
    # Divided by multiplication, as some readers do, a few come back below their level.
    levels, one = np.arange(50, 250), dtype(1 / 255)
    likelihood = np.zeros((3, 4 * len(levels)), dtype)
    likelihood[1, 1::4], likelihood[1, 0::4] = levels.astype(dtype) * one, (levels - 1).astype(dtype) * one
    peaks = find_peaks(likelihood, threshold=0.1, min_distance=1, quantize=True)
    np.testing.assert_array_equal(peaks, [[1, 4 * n + 1] for n in range(len(levels))])


@pytest.mark.skipif(not SAMPLE.exists(), reason="needs the sample of the authors' release")
def test_the_reference_preset_finds_the_peaks_that_the_authors_shipped():
    with Image.open(SAMPLE / "likelihood_predicted.png") as file:
        likelihood = np.asarray(file, np.float32) / 255
    table = np.loadtxt(SAMPLE / "peaks.txt", delimiter=",", skiprows=1, dtype=int)[1:]  # the first is background
    detect = preset("reference").detect
    peaks = find_peaks(
        likelihood,
        threshold=detect.threshold,
        min_distance=detect.min_distance,
        exclude_border=detect.exclude_border,
        quantize=detect.quantize,
    )
    assert len(peaks) == 31
    assert sorted(map(tuple, peaks)) == sorted(map(tuple, table[:, [2, 1]]))


# Peaks to centre regions


@settings(deadline=None, max_examples=40)
@given(separated_points(1, (13, 17)).filter(len))
def test_nearest_peak_against_all_distances(peaks):
    index, distance = nearest_peak(peaks, (13, 17))
    order = np.lexsort(peaks.T[::-1])
    rows, columns = np.indices((13, 17))
    # Whole numbers, so that equal distances are equal; of these argmin takes the first.
    squares = np.array([(rows - row) ** 2 + (columns - column) ** 2 for row, column in peaks[order]])
    np.testing.assert_allclose(distance, np.sqrt(squares.min(axis=0)), rtol=1e-6)
    np.testing.assert_array_equal(index, order[squares.argmin(axis=0)])


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(-2, 14), st.integers(-2, 18)), min_size=1, max_size=40), st.booleans())
def test_nearest_of_peaks_in_one_pixel_or_outside(peaks, within):
    """Of peaks in one pixel it is the first; peaks outside of the image count as those in it."""
    peaks = np.array(peaks)
    peaks = peaks.clip(0, (12, 16)) if within else peaks
    index, distance = nearest_peak(peaks, (13, 17))
    order = np.lexsort(peaks.T[::-1])
    places = np.moveaxis(np.indices((13, 17)), 0, -1)
    squares = ((places - peaks[order][:, None, None]) ** 2).sum(-1)
    np.testing.assert_allclose(distance, np.sqrt(squares.min(axis=0)), rtol=1e-6)
    np.testing.assert_array_equal(index, order[squares.argmin(axis=0)])


@pytest.mark.parametrize("strip", [1, 60, 10**6])
def test_of_peaks_at_the_same_distance_the_first_in_raster_order_is_nearest(strip, monkeypatch):
    """On a grid many pixels are as far from two peaks, or four; peaks far away do not matter."""
    monkeypatch.setattr(geometry, "_AT_ONCE", strip)
    grid = np.stack(np.meshgrid(np.arange(0, 64, 4), np.arange(0, 64, 4), indexing="ij"), -1).reshape(-1, 2)
    index, _ = nearest_peak(grid, (64, 64))
    rows, columns = ((np.arange(64) + 1) // 4 for _ in range(2))
    np.testing.assert_array_equal(index, np.minimum(rows, 15)[:, None] * 16 + np.minimum(columns, 15)[None])
    near = np.flatnonzero((abs(grid - np.array([20, 36])) <= 20).all(1))
    shuffled = np.random.default_rng(0).permutation(near)
    part, _ = nearest_peak(grid[shuffled] - [8, 24], (24, 24))
    np.testing.assert_array_equal(shuffled[part], index[8:32, 24:48])


def test_points_on_a_circle_are_as_near_to_its_centre():
    circle = np.array([[0, 5], [3, 4], [4, 3], [5, 0], [4, -3], [3, -4], [0, -5], [-3, -4], [-4, -3], [-5, 0]])
    index, distance = nearest_peak(circle[::-1] + 6, (13, 13))
    assert (index[6, 6], distance[6, 6]) == (0, 5)


def test_nearest_of_no_peaks():
    index, distance = nearest_peak(np.zeros((0, 2), int), (3, 4))
    assert index.shape == distance.shape == (3, 4)
    assert (index == -1).all()
    assert np.isinf(distance).all()


@settings(deadline=None, max_examples=40)
@given(separated_points(1, (20, 25)), st.floats(0, 12))
def test_disc_regions_are_voronoi_cells_within_the_radius(peaks, radius):
    regions = centre_regions(np.zeros((20, 25)), peaks, region="disc", radius=radius, response=0.1)
    every = distances(peaks, (20, 25))
    nearest = every.min(axis=0, initial=np.inf)
    assume(not np.isclose(nearest, radius).any())
    np.testing.assert_array_equal(regions > 0, nearest <= radius)
    rows, columns = np.nonzero(regions)
    np.testing.assert_allclose(every[regions[rows, columns] - 1, rows, columns], nearest[rows, columns])
    assert set(np.unique(regions)) >= set(range(1, len(peaks) + 1))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), separated_points(4, (24, 28)))
def test_response_regions_are_components_divided_among_the_peaks_they_hold(seed, peaks):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(24, 28)), 1.5)
    regions = centre_regions(noise, peaks, region="response", radius=1.0, response=0.05)
    components, _ = ndimage.label(noise > 0.05, structure=np.ones((3, 3)))
    every = distances(peaks, noise.shape)
    own = np.array([components[tuple(peak)] for peak in peaks], int)
    for row, column in np.ndindex(noise.shape):
        rivals = np.flatnonzero(own == components[row, column]) if components[row, column] else []
        if len(rivals) == 0:
            assert regions[row, column] == 0
        else:
            assert regions[row, column] - 1 in rivals
            best = every[rivals, row, column].min()
            assert every[regions[row, column] - 1, row, column] == pytest.approx(best)


def test_response_regions_of_a_map():
    likelihood = np.zeros((12, 30))
    likelihood[2:6, 2:6] = 0.5  # a peak of its own
    likelihood[2:6, 10:20] = 0.5  # two peaks
    likelihood[2:6, 24:28] = 0.5  # no peak
    likelihood[9, 2] = 0.1  # a peak that is not above the response
    peaks = np.array([[3, 3], [4, 11], [4, 18], [9, 2]])
    expected = np.zeros((12, 30), int)
    expected[2:6, 2:6], expected[2:6, 10:15], expected[2:6, 15:20] = 1, 2, 3
    regions = centre_regions(likelihood, peaks, region="response", radius=1.0, response=0.1)
    np.testing.assert_array_equal(regions, expected)


def test_a_component_belongs_to_its_own_peak_even_where_another_is_nearer():
    likelihood = np.zeros((9, 20))
    likelihood[2, 2:18] = likelihood[4, 17] = 0.5
    regions = centre_regions(likelihood, np.array([[2, 3], [4, 17]]), region="response", radius=1.0, response=0.1)
    np.testing.assert_array_equal(regions[2, 2:18], np.ones(16))
    assert regions[4, 17] == 2


@pytest.mark.parametrize("region", ["disc", "response"])
def test_no_peaks_have_no_regions(region):
    regions = centre_regions(np.ones((5, 6)), np.zeros((0, 2), np.int64), region=region, radius=3.0, response=0.1)
    np.testing.assert_array_equal(regions, np.zeros((5, 6)))


# Parts of images


@settings(deadline=None)
@given(npst.arrays(bool, npst.array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_plateaus_are_those_that_scipy_labels(mask):
    plateaus, count = ndimage.label(mask, structure=np.ones((3, 3)))
    centres = ndimage.center_of_mass(mask, plateaus, range(1, count + 1))
    expected = np.array(centres, np.float64).reshape(-1, 2).astype(np.int64)
    np.testing.assert_array_equal(plateau_centres(np.argwhere(mask)), expected)


def test_a_part_has_the_nearest_peaks_of_the_whole():
    peaks = np.random.default_rng(0).integers(0, 40, (30, 2))
    index, distance = nearest_peak(peaks, (40, 50))
    part_index, part_distance = nearest_peak(peaks, (11, 20), corner=(7, 25))
    np.testing.assert_array_equal(part_index, index[7:18, 25:45])
    np.testing.assert_array_equal(part_distance, distance[7:18, 25:45])


# What points suggest


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
    with pytest.raises(ValueError, match=r"no image has two points; give it in pixels as `likelihood\.sigma`"):
        suggest_sigma(images)


@example(sigma=16.0)  # 0.3125, rounded to three digits
@given(sigma=st.floats(5, 500))
def test_sigma_becomes_five_pixels_of_the_network(sigma):
    assert suggest_scale(sigma) * sigma == pytest.approx(5, abs=5.1e-4 * sigma)


@given(sigma=st.floats(0.1, 5))
def test_images_are_never_enlarged(sigma):
    assert suggest_scale(sigma) == 1
