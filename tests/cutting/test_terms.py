"""Evidence: which rims an image has, and what of it looks like the ground beyond all cells."""

from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from wsis_jax.core.geometry import nearest_peak
from wsis_jax.core.windows import grid_windows, grow, relative_to, whole_window
from wsis_jax.cutting import terms
from wsis_jax.cutting.terms import background_likeness, brighter_than_dark, likeness, look_of, margin, rim_of
from wsis_jax.synthetic import draw_scene

AROUND = {"body": 5.0, "reach": 18.0}


def drawn(seed, cells=12, shape=(160, 180)):
    """Image, peaks and labels of a scene of phase contrast, whose rims are bright."""
    scene = draw_scene(seed, shape=shape, cells=cells, diameter=18.0)
    return scene.image, np.round(scene.points).astype(int), scene.labels


# Rims


@pytest.mark.parametrize("seed", range(4))
def test_drawn_rims_are_bright_and_inverted_dark(seed):
    image, peaks, _ = drawn(seed)
    assert rim_of(image, peaks, **AROUND) == "bright"
    assert rim_of(1 - image, peaks, **AROUND) == "dark"
    assert rim_of(0.3 * image + 0.2, peaks, **AROUND) == "bright"


@pytest.mark.parametrize("body", ["as the ground", "bright", "dark"])
def test_a_rim_is_known_whatever_the_body(body):
    distance = np.hypot(*np.indices((60, 60)) - np.array([30, 30])[:, None, None])
    image = np.where(distance < 10, {"as the ground": 0.5, "bright": 0.6, "dark": 0.4}[body], 0.5)
    peak = np.array([[30, 30]])
    for grey, rim in ((0.95, "bright"), (0.05, "dark")):
        ringed = np.where((distance >= 10) & (distance < 13), grey, image)
        assert rim_of(ringed, peak, **AROUND) == rim


def test_one_cell_is_enough():
    image, peaks, _ = drawn(0, cells=1)
    assert (rim_of(image, peaks, **AROUND), rim_of(1 - image, peaks, **AROUND)) == ("bright", "dark")


def test_without_cells_rims_are_bright():
    image, nowhere = drawn(0)[0], np.empty((0, 2), int)
    assert rim_of(image, nowhere, **AROUND) == rim_of(1 - image, nowhere, **AROUND) == "bright"


@pytest.mark.parametrize("grey", [0.0, 0.3, 1.0])
def test_without_contrast_rims_are_bright(grey):
    assert rim_of(np.full((20, 30), grey, np.float32), np.array([[3, 4], [0, 29]]), **AROUND) == "bright"


@pytest.mark.parametrize("corner", [(0, 0), (0, 59), (59, 0), (59, 59), (0, 30)])
def test_a_cell_at_the_border_shows_its_rim_inside(corner):
    distance = np.hypot(*np.indices((60, 60)) - np.array(corner)[:, None, None])
    image = np.where((distance >= 10) & (distance < 13), 0.9, 0.5)
    assert rim_of(image, np.array([corner]), **AROUND) == "bright"
    assert rim_of(1 - image, np.array([corner]), **AROUND) == "dark"


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 3), st.booleans(), st.randoms(use_true_random=False))
def test_the_order_of_the_cells_makes_no_difference(seed, inverted, random):
    image, peaks, _ = drawn(seed)
    image = 1 - image if inverted else image
    shuffled = peaks[random.sample(range(len(peaks)), len(peaks))]
    assert rim_of(image, shuffled, **AROUND) == rim_of(image, peaks, **AROUND)
    likeness = background_likeness(image, shuffled, **AROUND)
    np.testing.assert_array_equal(likeness, background_likeness(image, peaks, **AROUND))


# Background


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("inverted", [False, True])
def test_the_ground_of_a_drawn_scene_is_told_from_its_bodies(seed, inverted):
    image, peaks, labels = drawn(seed)
    likeness = background_likeness(1 - image if inverted else image, peaks, **AROUND)
    assert likeness.dtype == np.float32
    assert likeness.shape == image.shape
    assert likeness.min() >= 0
    assert likeness.max() <= 1
    far = nearest_peak(peaks, image.shape)[1] > 2 * AROUND["reach"]
    assert likeness[far].mean() > 0.95
    assert likeness[labels > 0].mean() < 0.1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shift", [-0.4, 0.3])
def test_how_bright_the_whole_image_is_makes_no_difference(dtype, shift):
    image, peaks, _ = drawn(1)
    image = image.astype(dtype)
    expected = background_likeness(image, peaks, **AROUND)
    np.testing.assert_allclose(background_likeness(image + dtype(shift), peaks, **AROUND), expected, atol=1e-3)


def test_a_crowded_image_shows_no_background():
    image, peaks, _ = drawn(0)
    assert background_likeness(image, peaks, **AROUND).any()
    assert not background_likeness(image, peaks, body=AROUND["body"], reach=200.0).any()


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_cells_tell_nothing(count):
    image, peaks, _ = drawn(0)
    assert not background_likeness(image, peaks[:count], **AROUND).any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 2)])
def test_an_image_of_few_pixels_tells_nothing(shape):
    image, peaks = np.random.default_rng(0).random(shape, np.float32), np.zeros((1, 2), int)
    np.testing.assert_array_equal(background_likeness(image, peaks, **AROUND), np.zeros(shape))
    assert rim_of(image, peaks, **AROUND) in ("bright", "dark")


@pytest.mark.parametrize("grey", [0.0, 0.3, 1.0])
def test_without_contrast_nothing_looks_like_background(grey):
    peaks = drawn(0)[1]
    likeness = background_likeness(np.full((160, 180), grey, np.float32), peaks, **AROUND)
    np.testing.assert_array_equal(likeness, 0)


@pytest.mark.parametrize("grey", [0.0, 1.0])
def test_ground_or_bodies_of_one_grey_value_have_a_look(grey):
    """As where the normalisation cuts off what is dark or bright."""
    image, peaks, _ = drawn(0)
    distance = nearest_peak(peaks, image.shape)[1]
    flat_ground = np.where(distance > AROUND["body"] + 1, np.float32(grey), image)
    likeness = background_likeness(flat_ground, peaks, body=AROUND["body"], reach=25.0)
    assert (likeness[distance > 25] == 1).all()
    assert not likeness[distance < AROUND["body"]].any()
    flat_bodies = np.where(distance < 3 * AROUND["body"], np.float32(grey), image)
    likeness = background_likeness(flat_bodies, peaks, **AROUND)
    assert likeness[distance > 2 * AROUND["reach"]].mean() > 0.95
    assert not likeness[distance < AROUND["body"]].any()


def test_the_density_is_that_of_a_normal_distribution():
    random = np.random.default_rng(0)
    features = random.normal(size=(30, 40, 3)) @ random.normal(size=(3, 3)) + random.normal(size=3)
    sample = random.random((30, 40)) < 0.4
    chosen = features[sample]
    covariance = np.cov(chosen, rowvar=False)
    covariance += 1e-4 * np.trace(covariance) / 3 * np.eye(3)
    expected = multivariate_normal(chosen.mean(0), covariance).logpdf(features)
    difference = terms._log_density(features, terms.moments_of(chosen)) - expected
    np.testing.assert_allclose(difference, 1.5 * np.log(2 * np.pi), rtol=1e-9)


def test_arguments_are_only_read():
    image, peaks, _ = drawn(0)
    image.flags.writeable = peaks.flags.writeable = False
    rim_of(image, peaks, **AROUND)
    background_likeness(image, peaks, **AROUND)


# Parts


@pytest.mark.parametrize("tile", [40, 77])
@pytest.mark.parametrize("inverted", [False, True])
def test_parts_with_a_margin_tell_together_what_the_whole_tells(tile, inverted):
    image, peaks, _ = drawn(2)
    image = 1 - image if inverted else image
    brighter, look = 0.0, None
    parts = grid_windows(image.shape, (tile, tile))
    for part in parts:
        around = grow(part, margin(**AROUND), whole_window(image.shape))
        corner = np.array([side.start for side in part])
        inside = ((peaks >= corner) & (peaks < [side.stop for side in part])).all(1)
        own = peaks[inside] - [side.start for side in around]
        brighter += brighter_than_dark(image[around], own, **AROUND)
        distance = nearest_peak(peaks, image.shape)[1][part]
        more = look_of(image[around], distance, relative_to(part, around), **AROUND)
        look = more if look is None else look.join(more)
    assert brighter == pytest.approx(brighter_than_dark(image, peaks, **AROUND), rel=1e-5)
    expected = background_likeness(image, peaks, **AROUND)
    assert expected.any()
    for part in parts:
        around = grow(part, margin(**AROUND), whole_window(image.shape))
        alike = likeness(image[around], look, body=AROUND["body"])[relative_to(part, around)]
        np.testing.assert_allclose(alike, expected[part], rtol=0, atol=1e-6)


@settings(deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=4), st.integers(0, 2**32 - 1))
def test_moments_of_parts_add_up_to_those_of_all(counts, seed):
    features = np.random.default_rng(seed).normal(5, 2, (sum(counts), 3))
    parts = np.split(features, np.cumsum(counts)[:-1])
    found = reduce(terms._joined, map(terms.moments_of, parts))
    assert found.count == len(features)
    if len(features) > 1:
        np.testing.assert_allclose(found.mean, features.mean(0), rtol=1e-9)
        np.testing.assert_allclose(found.scatter / (len(features) - 1), np.cov(features.T), rtol=1e-7, atol=1e-9)
