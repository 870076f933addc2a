"""What a cut weighs: rims, background, the data and the edge term of an image; seeds of a winner map."""

import textwrap
from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy.stats import multivariate_normal

from wsis_jax import cutting
from wsis_jax.core.config import CutConfig
from wsis_jax.core.errors import UserError
from wsis_jax.core.geometry import nearest_peak
from wsis_jax.core.types import WinnerMap
from wsis_jax.core.windows import grid_windows, grow, relative_to, whole_window
from wsis_jax.cutting import terms
from wsis_jax.cutting.appearance import Moments
from wsis_jax.cutting.label_cells import costs_of, cut_and_fuse
from wsis_jax.cutting.terms import (
    CellExtent,
    TermInput,
    background_features,
    background_score,
    data_term,
    edge_weights,
    fit_background,
    foreground_seeds,
    greatest_contributions,
    rim_contrast,
    scaled_contributions,
)
from wsis_jax.synthetic import draw_scene

EXTENT = CellExtent(body=5.0, end=18.0)


def rim_of(image, peaks):
    """The rims of an image at once."""
    return terms.rim_of(rim_contrast(image, peaks, EXTENT))


def background_likeness(image, peaks, extent=EXTENT):
    """The background score of an image by the model that is fitted to it."""
    features = background_features(image, extent)
    return background_score(features, fit_background(features, nearest_peak(peaks, image.shape)[1], extent))


def drawn(seed, cells=12, shape=(160, 180)):
    """Image, peaks and labels of a scene of phase contrast, whose rims are bright."""
    scene = draw_scene(seed, shape=shape, cells=cells, diameter=18.0)
    return scene.image, np.round(scene.points).astype(int), scene.labels


# Rims


@pytest.mark.parametrize("seed", range(4))
def test_drawn_rims_are_bright_and_inverted_dark(seed):
    image, peaks, _ = drawn(seed)
    assert rim_of(image, peaks) == "bright"
    assert rim_of(1 - image, peaks) == "dark"
    assert rim_of(0.3 * image + 0.2, peaks) == "bright"


@pytest.mark.parametrize("body", ["as the ground", "bright", "dark"])
def test_a_rim_is_known_whatever_the_body(body):
    distance = np.hypot(*np.indices((60, 60)) - np.array([30, 30])[:, None, None])
    image = np.where(distance < 10, {"as the ground": 0.5, "bright": 0.6, "dark": 0.4}[body], 0.5)
    peak = np.array([[30, 30]])
    for grey, rim in ((0.95, "bright"), (0.05, "dark")):
        ringed = np.where((distance >= 10) & (distance < 13), grey, image)
        assert rim_of(ringed, peak) == rim


def test_one_cell_is_enough():
    image, peaks, _ = drawn(0, cells=1)
    assert (rim_of(image, peaks), rim_of(1 - image, peaks)) == ("bright", "dark")


def test_without_cells_rims_are_bright():
    image, nowhere = drawn(0)[0], np.empty((0, 2), int)
    assert rim_of(image, nowhere) == rim_of(1 - image, nowhere) == "bright"


@pytest.mark.parametrize("grey", [0.0, 0.3, 1.0])
def test_without_contrast_rims_are_bright(grey):
    assert rim_of(np.full((20, 30), grey, np.float32), np.array([[3, 4], [0, 29]])) == "bright"


@pytest.mark.parametrize("corner", [(0, 0), (0, 59), (59, 0), (59, 59), (0, 30)])
def test_a_cell_at_the_border_shows_its_rim_inside(corner):
    distance = np.hypot(*np.indices((60, 60)) - np.array(corner)[:, None, None])
    image = np.where((distance >= 10) & (distance < 13), 0.9, 0.5)
    assert rim_of(image, np.array([corner])) == "bright"
    assert rim_of(1 - image, np.array([corner])) == "dark"


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 3), st.booleans(), st.randoms(use_true_random=False))
def test_the_order_of_the_cells_makes_no_difference(seed, inverted, random):
    image, peaks, _ = drawn(seed)
    image = 1 - image if inverted else image
    shuffled = peaks[random.sample(range(len(peaks)), len(peaks))]
    assert rim_of(image, shuffled) == rim_of(image, peaks)
    likeness = background_likeness(image, shuffled)
    np.testing.assert_array_equal(likeness, background_likeness(image, peaks))


# Background


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("inverted", [False, True])
def test_the_ground_of_a_drawn_scene_is_told_from_its_bodies(seed, inverted):
    image, peaks, labels = drawn(seed)
    likeness = background_likeness(1 - image if inverted else image, peaks)
    assert likeness.dtype == np.float32
    assert likeness.shape == image.shape
    assert likeness.min() >= 0
    assert likeness.max() <= 1
    far = nearest_peak(peaks, image.shape)[1] > 2 * EXTENT.end
    assert likeness[far].mean() > 0.95
    assert likeness[labels > 0].mean() < 0.1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shift", [-0.4, 0.3])
def test_how_bright_the_whole_image_is_makes_no_difference(dtype, shift):
    image, peaks, _ = drawn(1)
    image = image.astype(dtype)
    expected = background_likeness(image, peaks)
    np.testing.assert_allclose(background_likeness(image + dtype(shift), peaks), expected, atol=1e-3)


def test_a_crowded_image_shows_no_background():
    image, peaks, _ = drawn(0)
    assert background_likeness(image, peaks).any()
    assert not background_likeness(image, peaks, CellExtent(EXTENT.body, 200.0)).any()


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_cells_tell_nothing(count):
    image, peaks, _ = drawn(0)
    assert not background_likeness(image, peaks[:count]).any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 2)])
def test_an_image_of_few_pixels_tells_nothing(shape):
    image, peaks = np.random.default_rng(0).random(shape, np.float32), np.zeros((1, 2), int)
    np.testing.assert_array_equal(background_likeness(image, peaks), np.zeros(shape))
    assert rim_of(image, peaks) in ("bright", "dark")


@pytest.mark.parametrize("grey", [0.0, 0.3, 1.0])
def test_without_contrast_nothing_looks_like_background(grey):
    peaks = drawn(0)[1]
    likeness = background_likeness(np.full((160, 180), grey, np.float32), peaks)
    np.testing.assert_array_equal(likeness, 0)


@pytest.mark.parametrize("grey", [0.0, 1.0])
def test_ground_or_bodies_of_one_grey_value_are_told_apart(grey):
    """As where the normalisation cuts off what is dark or bright."""
    image, peaks, _ = drawn(0)
    distance = nearest_peak(peaks, image.shape)[1]
    flat_ground = np.where(distance > EXTENT.body + 1, np.float32(grey), image)
    likeness = background_likeness(flat_ground, peaks, CellExtent(EXTENT.body, 25.0))
    assert (likeness[distance > 25] == 1).all()
    assert not likeness[distance < EXTENT.body].any()
    flat_bodies = np.where(distance < 3 * EXTENT.body, np.float32(grey), image)
    likeness = background_likeness(flat_bodies, peaks)
    assert likeness[distance > 2 * EXTENT.end].mean() > 0.95
    assert not likeness[distance < EXTENT.body].any()


def test_the_density_is_that_of_a_normal_distribution():
    random = np.random.default_rng(0)
    features = random.normal(size=(30, 40, 3)) @ random.normal(size=(3, 3)) + random.normal(size=3)
    sample = random.random((30, 40)) < 0.4
    chosen = features[sample]
    covariance = np.cov(chosen, rowvar=False)
    covariance += 1e-4 * np.trace(covariance) / 3 * np.eye(3)
    expected = multivariate_normal(chosen.mean(0), covariance).logpdf(features)
    difference = Moments.of(chosen).log_density(features) - expected
    np.testing.assert_allclose(difference, 1.5 * np.log(2 * np.pi), rtol=1e-9)


def test_arguments_are_only_read():
    image, peaks, _ = drawn(0)
    image.flags.writeable = peaks.flags.writeable = False
    rim_of(image, peaks)
    background_likeness(image, peaks)


# Parts


@pytest.mark.parametrize("tile", [40, 77])
@pytest.mark.parametrize("inverted", [False, True])
def test_parts_with_a_margin_tell_together_what_the_whole_tells(tile, inverted):
    image, peaks, _ = drawn(2)
    image = 1 - image if inverted else image
    contrast, model = 0.0, None
    parts = grid_windows(image.shape, (tile, tile))
    for part in parts:
        around = grow(part, EXTENT.margin, whole_window(image.shape))
        corner = np.array([side.start for side in part])
        inside = ((peaks >= corner) & (peaks < [side.stop for side in part])).all(1)
        own = peaks[inside] - [side.start for side in around]
        contrast += rim_contrast(image[around], own, EXTENT)
        distance = nearest_peak(peaks, image.shape)[1][part]
        features = background_features(image[around], EXTENT)[relative_to(part, around)]
        more = fit_background(features, distance, EXTENT)
        model = more if model is None else model.join(more)
    assert contrast == pytest.approx(rim_contrast(image, peaks, EXTENT), rel=1e-5)
    expected = background_likeness(image, peaks)
    assert expected.any()
    for part in parts:
        around = grow(part, EXTENT.margin, whole_window(image.shape))
        score = background_score(background_features(image[around], EXTENT), model)[relative_to(part, around)]
        np.testing.assert_allclose(score, expected[part], rtol=0, atol=1e-6)


@settings(deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=4), st.integers(0, 2**32 - 1))
def test_moments_of_parts_add_up_to_those_of_all(counts, seed):
    features = np.random.default_rng(seed).normal(5, 2, (sum(counts), 3))
    parts = np.split(features, np.cumsum(counts)[:-1])
    found = reduce(Moments.join, map(Moments.of, parts))
    assert found.count == len(features)
    if len(features) > 1:
        np.testing.assert_allclose(found.mean, features.mean(0), rtol=1e-9)
        np.testing.assert_allclose(found.scatter / (len(features) - 1), np.cov(features.T), rtol=1e-7, atol=1e-9)


# Data terms


@pytest.mark.parametrize(("name", "expected"), [("inverse", [[0.5, 0, -1]]), ("flat", [[-2, -2, -2]])])
def test_a_data_term_is_what_leaving_a_pixel_out_costs(name, expected):
    image = np.array([[0.25, 0.5, 1.0]], np.float32)
    cost = data_term(name)(TermInput(image, np.float32(0.5)), CutConfig(data_weight=2.0))
    assert cost.dtype == np.float32
    np.testing.assert_array_equal(cost, expected)


def test_an_unknown_data_term_is_refused_with_those_known():
    with pytest.raises(UserError, match=r"cut\.data must be one of auto, inverse, flat, levels, not 'invers'"):
        data_term("invers")


def test_the_data_term_of_the_docstring_works(monkeypatch):
    """Bright cells in the image cost by it what dark cells in the inverted image cost."""
    monkeypatch.setattr(terms, "DATA_TERMS", dict(terms.DATA_TERMS))
    monkeypatch.setattr(cutting, "DATA_TERMS", terms.DATA_TERMS, raising=False)
    lines = [line for line in terms.__doc__.splitlines() if line.startswith("    ") or not line]
    example = textwrap.dedent("\n".join(lines)).strip()
    assert len(example.splitlines()) <= 15
    found = {}
    exec(example, found)
    config = found["config"].override(["image.scale=1", "likelihood.sigma=5", "cut.background_weight=0"])
    image, peaks, labels = drawn(0)
    image = np.round(image * 256) / np.float32(256)  # exact when inverted
    winner = WinnerMap((labels > 0).astype(np.float32), labels.astype(np.int32), np.zeros_like(image))
    costs = costs_of(1 - image, peaks, winner, config=config)
    dark = costs_of(image, peaks, winner, config=config.override(["cut.data=inverse"]))
    np.testing.assert_array_equal(costs.preference, dark.preference)
    assert cut_and_fuse(1 - image, peaks, winner, config=config).labels.max() == len(peaks)


# Edge term


@pytest.mark.parametrize("rim", ["bright", "dark"])
@pytest.mark.parametrize("falloff", [0.0, 3.0])
@pytest.mark.parametrize("pixel", ["max", "first"])
def test_edge_weights_against_loops(rim, falloff, pixel):
    image = np.random.default_rng(0).random((5, 4)).astype(np.float32)
    right, down = edge_weights(image, weight=3.0, falloff=falloff, rim=rim, pixel=pixel)

    def cost(here, there):
        if rim == "bright":
            intensity = max(here, there) if pixel == "max" else here
            return 3 * np.exp(-falloff * intensity)
        darkness = 1 - (min(here, there) if pixel == "max" else here)
        return 3 * np.exp(-falloff * darkness)

    for row, column in np.ndindex(image.shape):
        if column + 1 < 4:
            assert right[row, column] == pytest.approx(cost(image[row, column], image[row, column + 1]))
        if row + 1 < 5:
            assert down[row, column] == pytest.approx(cost(image[row, column], image[row + 1, column]))


@pytest.mark.parametrize("pixel", ["max", "first"])
def test_dark_rims_are_the_bright_ones_of_the_inverted_image(pixel):
    image = np.random.default_rng(0).integers(0, 257, (5, 4)) / np.float32(256)  # exact when inverted
    dark = edge_weights(image, weight=3.0, falloff=2.0, rim="dark", pixel=pixel)
    bright = edge_weights(1 - image, weight=3.0, falloff=2.0, rim="bright", pixel=pixel)
    np.testing.assert_array_equal(dark, bright)
    assert not np.array_equal(dark, edge_weights(image, weight=3.0, falloff=2.0, rim="bright", pixel=pixel))


# Seeds: contributions on the three scales, and the pixels that clearly belong to a cell

SCALES = ["cell", "max", "raw"]
VALUE = np.array([[4.0, 1.0, 1.02, 0.0], [0.5, 2.0, 0.0, 0.51]], np.float32)
OWNER = np.array([[1, 1, 3, 0], [3, 1, 0, 3]], np.int32)  # cell 2 wins nothing


@st.composite
def winner_maps(draw):
    """Value and owner of a winner map of up to four cells, some of which win nothing."""
    owner = draw(npst.arrays(np.int32, (5, 6), elements=st.integers(0, 4)))
    value = draw(npst.arrays(np.float32, (5, 6), elements=st.floats(2**-20, 2**10, width=32)))
    return np.where(owner > 0, value, np.float32(0)), owner


# Scales


@pytest.mark.parametrize(("scale", "divisor"), [("cell", [4, 1, 1.02]), ("max", [4] * 3), ("raw", [255] * 3)])
def test_contributions_are_relative_to(scale, divisor):
    scaled = scaled_contributions(VALUE, OWNER, scale=scale)
    by_pixel = np.array([1, *divisor])[OWNER]
    np.testing.assert_allclose(scaled, VALUE / by_pixel, rtol=1e-6)
    assert scaled.dtype == np.float32


@pytest.mark.parametrize("scale", SCALES)
def test_without_cells_there_is_no_contribution(scale):
    nothing = np.zeros((3, 4), np.float32)
    scaled = scaled_contributions(nothing, np.zeros((3, 4), np.int32), scale=scale)
    np.testing.assert_array_equal(scaled, nothing)


@given(winner_maps())
def test_the_greatest_of_every_cell_is_one_on_its_own_scale(maps):
    value, owner = maps
    scaled = scaled_contributions(value, owner, scale="cell")
    assert ((scaled >= 0) & (scaled <= 1)).all()
    assert not scaled[owner == 0].any()
    for cell in set(owner[owner > 0]):
        assert scaled[owner == cell].max() == 1


@given(winner_maps(), st.integers(1, 4), st.sampled_from([2.0**-8, 0.5, 4.0]))
def test_how_strong_a_cell_is_makes_no_difference_on_its_own_scale(maps, cell, factor):
    value, owner = maps
    stronger = np.where(owner == cell, np.float32(factor) * value, value)
    np.testing.assert_array_equal(
        scaled_contributions(stronger, owner, scale="cell"), scaled_contributions(value, owner, scale="cell")
    )


@given(winner_maps(), st.sampled_from([2.0**-8, 0.5, 4.0]))
def test_how_strong_all_cells_are_matters_on_the_raw_scale_alone(maps, factor):
    value, owner = maps
    stronger = np.float32(factor) * value
    for scale in SCALES:
        before, after = (scaled_contributions(v, owner, scale=scale) for v in (value, stronger))
        np.testing.assert_array_equal(after, factor * before if scale == "raw" else before)


# Seeds


def test_seeds_are_pixels_above_the_threshold():
    scaled = np.array([[1.0, 0.25, 0.26, 0.0]], np.float32)
    owner = np.array([[1, 1, 2, 0]], np.int32)
    seeds = foreground_seeds(scaled, owner, threshold=0.25, min_area=1)
    np.testing.assert_array_equal(seeds, [[1, 0, 2, 0]])
    assert seeds.dtype == np.int32


def test_a_faint_cell_has_seeds_on_its_own_scale():
    own, shared = (
        foreground_seeds(scaled_contributions(VALUE, OWNER, scale=scale), OWNER, threshold=0.3, min_area=1)
        for scale in ("cell", "max")
    )
    np.testing.assert_array_equal(own, [[1, 0, 3, 0], [3, 1, 0, 3]])
    np.testing.assert_array_equal(shared, [[1, 0, 0, 0], [0, 1, 0, 0]])


def test_small_components_of_one_owner_are_no_seeds():
    owner = np.array([[1, 0, 2, 2, 0, 1], [0, 1, 2, 0, 0, 2], [0, 0, 0, 0, 0, 2]], np.int32)
    scaled = (owner > 0).astype(np.float32)
    seeds = foreground_seeds(scaled, owner, threshold=0.5, min_area=2)
    # The diagonal pair of 1 is one component; the lonely 1 at the right is one pixel, though beside a 2.
    np.testing.assert_array_equal(seeds, [[1, 0, 2, 2, 0, 0], [0, 1, 2, 0, 0, 2], [0, 0, 0, 0, 0, 2]])
    larger = foreground_seeds(scaled, owner, threshold=0.5, min_area=3)
    np.testing.assert_array_equal(larger, [[0, 0, 2, 2, 0, 0], [0, 0, 2, 0, 0, 0], [0, 0, 0, 0, 0, 0]])


@settings(deadline=None)
@given(winner_maps(), st.floats(0, 1, width=32), st.integers(0, 4))
def test_seeds_against_components_grown_pixel_by_pixel(maps, threshold, min_area):
    value, owner = maps
    scaled = scaled_contributions(value, owner, scale="cell")
    seeds = foreground_seeds(scaled, owner, threshold=threshold, min_area=min_area)
    clear = np.where(scaled > threshold, owner, 0)
    for place in np.ndindex(clear.shape):
        grown, waiting = {place}, [place]
        while waiting and clear[place]:
            row, column = waiting.pop()
            for near in ((row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)):
                inside = 0 <= near[0] < clear.shape[0] and 0 <= near[1] < clear.shape[1]
                if inside and near not in grown and clear[near] == clear[place]:
                    grown.add(near)
                    waiting.append(near)
        assert seeds[place] == (clear[place] if len(grown) >= min_area else 0)


def test_no_contribution_gives_no_seeds():
    seeds = foreground_seeds(np.zeros((4, 5), np.float32), np.zeros((4, 5), np.int32), threshold=0.1, min_area=1)
    assert seeds.shape == (4, 5)
    assert not seeds.any()


def test_a_part_is_scaled_by_what_cells_win_in_the_whole():
    random = np.random.default_rng(0)
    owner, value = random.integers(0, 5, (20, 30)), random.random((20, 30), np.float32)
    value[owner == 0] = 0
    whole = scaled_contributions(value, owner, scale="cell")
    greatest = greatest_contributions(value, owner, owners=6)
    assert list(greatest) == [0, *(value[owner == cell].max() for cell in range(1, 5)), 0]
    part = np.s_[3:9, 2:8]
    found = scaled_contributions(value[part], owner[part], scale="cell", greatest=greatest)
    np.testing.assert_array_equal(found, whole[part])
