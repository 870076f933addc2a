"""The graph cut with asymmetric boundary costs, after Bensch and Ronneberger."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy import ndimage

from experiments.baselines.asymmetric_cut import OFFSETS, asymmetric_costs, contrast, directed_cut, neighbours
from experiments.baselines.bensch import Bensch, space
from experiments.baselines.joint_histogram import count, log_ratio, look_up
from wsis_jax.metrics import match_labels
from wsis_jax.synthetic import draw_scene

_NEIGHBOURS = [offset for offset in product((-1, 0, 1), repeat=2) if offset != (0, 0)]


@pytest.fixture(scope="module")
def scenes():
    """Drawn scenes of phase contrast; the first is to be segmented and the others teach."""
    return [draw_scene(seed, shape=(160, 160), cells=12, diameter=26.0) for seed in range(3)]


@pytest.fixture(scope="module")
def taught(scenes):
    """The method, taught by two scenes."""
    return Bensch(examples=tuple((scene.image, scene.labels) for scene in scenes[1:]))


def energy(mask, image, preference, *, weight, tolerance, wrong_way):
    """The cost of a mask, summed pixel by pixel as the equation has it."""
    total = np.sum(np.where(mask, np.maximum(-preference, 0), np.maximum(preference, 0)))
    height, width = image.shape
    for row, column in zip(*np.nonzero(mask), strict=True):
        for down, right in _NEIGHBOURS:
            r, c = row + down, column + right
            if 0 <= r < height and 0 <= c < width and not mask[r, c]:
                rise = float(image[r, c]) - float(image[row, column])
                price = np.exp(-(rise**2) / (2 * tolerance**2)) if rise > 0 else wrong_way
                total += weight * price / np.hypot(down, right)
    return total


def disc_with_halo(shape=(64, 64)):
    """A dark disc of radius 12 in a ring up to 16 from which the image falls by more than it rose."""
    rows, columns = np.indices(shape)
    radius = np.hypot(rows - 32, columns - 32)
    image = ndimage.gaussian_filter(np.select([radius <= 12, radius <= 16], [0.3, 0.8], 0.0), 1)
    preference = 0.1 * np.select([radius <= 8, radius >= 22], [1.0, -1.0], 0.0)
    return image, preference


@pytest.mark.parametrize("seed", range(4))
def test_the_cut_is_the_cheapest_of_all_masks(seed):
    generator = np.random.default_rng(seed)
    image, preference = generator.normal(size=(3, 3)), generator.normal(size=(3, 3))
    settings = {"weight": 0.6, "tolerance": 0.7, "wrong_way": 1.5}
    mask = directed_cut(preference, asymmetric_costs(image, **settings))
    masks = [np.array(bits).reshape(3, 3) for bits in product([False, True], repeat=9)]
    costs = [energy(one, image, preference, **settings) for one in masks]
    np.testing.assert_array_equal(mask, masks[int(np.argmin(costs))])


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (2, 3)])
def test_narrow_images_can_be_cut(shape):
    image = np.linspace(0, 1, np.prod(shape)).reshape(shape)
    costs = asymmetric_costs(image, weight=0.1, tolerance=1.0, wrong_way=1.0)
    assert directed_cut(np.ones(shape), costs).all()
    assert not directed_cut(-np.ones(shape), costs).any()


def test_neighbours_lie_at_their_offset():
    places = np.arange(20).reshape(4, 5)
    for offset in OFFSETS:
        here, there = neighbours(places, offset)
        assert (there - here == 5 * offset[0] + offset[1]).all()
        assert here.size == (4 - abs(offset[0])) * (5 - abs(offset[1]))


def test_contrast_is_the_mean_square_difference_of_all_neighbours():
    image = np.random.default_rng(0).normal(size=(4, 5))
    squares = [
        (image[r, c] - image[r + down, c + right]) ** 2
        for (r, c), (down, right) in product(np.ndindex(4, 5), _NEIGHBOURS)
        if 0 <= r + down < 4 and 0 <= c + right < 5
    ]
    assert contrast(image) == pytest.approx(np.sqrt(np.mean(squares)))
    assert contrast(image[:1, :1]) == 0


@pytest.mark.parametrize(
    ("polarity", "symmetric", "radius"), [(1, False, 11.8), (1, True, 15.9), (-1, False, 15.9)]
)
def test_only_the_asymmetric_cut_finds_the_disc_in_its_halo(polarity, symmetric, radius):
    image, preference = disc_with_halo()
    costs = asymmetric_costs(polarity * image, weight=1, tolerance=contrast(image), wrong_way=1)
    if symmetric:  # an edge is cheap whichever way it goes
        costs = tuple((np.minimum(*both),) * 2 for both in costs)
    mask = directed_cut(preference, costs)
    assert np.sqrt(mask.sum() / np.pi) == pytest.approx(radius, abs=0.4)


def test_the_histogram_prefers_what_it_learnt():
    generator = np.random.default_rng(0)
    cells = generator.random((60, 60)) < 0.3
    level = np.where(cells, -1.0, 1.0) + generator.normal(size=cells.shape)
    deviation = np.where(cells, 1.0, 0.5) + 0.1 * generator.normal(size=cells.shape)
    table = log_ratio(count(level, deviation, cells))
    odds = look_up(table, np.array([[-1.0, 1.0, -90.0]]), np.array([[1.0, 0.5, 90.0]]))
    assert odds[0, 0] > 1
    assert odds[0, 1] < -1
    assert abs(odds[0, 2]) < 1  # nothing was seen there
    np.testing.assert_allclose(log_ratio(count(level, deviation, ~cells)), -table)


def test_the_histogram_counts_every_pixel_in_its_bin():
    level, deviation = np.array([[-4.0, 0.01, 4.0]]), np.array([[0.0, 1.51, 9.0]])
    counts = count(level, deviation, np.array([[True, False, True]]))
    assert counts[1, 0, 0] == counts[0, 16, 16] == counts[1, 31, 31] == 1
    assert counts.sum() == 3


def test_the_ratio_is_that_of_densities():
    """More background than cells, in all bins alike, is not evidence."""
    counts = np.stack([np.full((32, 32), 99.0), np.full((32, 32), 9.0)])
    np.testing.assert_allclose(log_ratio(counts), 0, atol=1e-12)


@pytest.mark.parametrize(
    ("regional", "least"),
    [("histogram", 0.9), ("deviation", 0.75)],  # drawn backgrounds and cells differ in grey, hardly in texture
)
def test_most_drawn_cells_are_found(taught, scenes, regional, least):
    method = replace(taught, regional=regional, division="points")
    labels = method.segment(scenes[0].image, scenes[0].points)
    assert labels.dtype == np.int32
    assert sorted(np.unique(labels)) == list(range(labels.max() + 1))
    assert all(ndimage.label(labels == label)[1] == 1 for label in range(1, labels.max() + 1))
    assert np.mean(match_labels(labels, scenes[0].labels).dice_terms) > least


@pytest.mark.parametrize(
    ("name", "value"),
    [("smoothing", 2.0), ("window", 15), ("weight", 30.0), ("tolerance", 0.2), ("wrong_way", 4.0), ("opening", 5)],
)
def test_every_parameter_moves_the_outlines(taught, scenes, name, value):
    before, after = (one.segment(scenes[0].image) > 0 for one in (taught, replace(taught, **{name: value})))
    assert (before != after).any()


def test_a_bias_towards_cells_makes_them_larger(taught, scenes):
    areas = [(replace(taught, bias=bias).segment(scenes[0].image) > 0).sum() for bias in (-2, 0, 2)]
    assert areas[0] < areas[1] < areas[2]


def test_small_parts_go(taught, scenes):
    small, large = (replace(taught, min_area=area).segment(scenes[0].image) for area in (160, 800))
    assert np.bincount(large.ravel())[1:].min() >= 800
    assert 0 < large.max() < small.max()


def test_bright_cells_are_found_with_the_other_polarity(taught, scenes):
    labels = taught.segment(scenes[0].image)
    examples = tuple((1 - image, masks) for image, masks in taught.examples)
    inverted = Bensch(examples=examples, polarity=-1).segment(1 - scenes[0].image)
    assert ((labels > 0) == (inverted > 0)).mean() > 0.99


def test_components_are_the_cells_unless_asked_otherwise(taught, scenes):
    """Touching cells stay together, which costs the method its score; with points they do not."""
    together = taught.segment(scenes[0].image)
    assert ndimage.label(together > 0, np.ones((3, 3)))[1] == together.max() < 12
    method = replace(taught, division="points")
    assert method.segment(scenes[0].image, scenes[0].points).max() > together.max()
    with pytest.raises(ValueError, match="needs points"):
        method.segment(scenes[0].image)


def test_examples_are_known_by_their_content(scenes):
    image, masks = scenes[1].image.copy(), scenes[1].labels.copy()
    method = Bensch(examples=((image, masks),))
    before = method.segment(scenes[0].image)
    masks[:] = np.roll(masks, 40, axis=0)
    assert (method.segment(scenes[0].image) != before).any()


def test_what_shows_nothing_has_no_cells(taught):
    noise = np.random.default_rng(0).normal(0.5, 0.005, (80, 90)).clip(0, 1).astype(np.float32)
    for method in (taught, Bensch(regional="deviation")):
        assert method.segment(np.full((50, 61), 0.3, np.float32)).max() == 0
        assert method.segment(noise).max() == 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 2), (31, 17)])
def test_images_of_any_size_are_segmented(taught, shape):
    image = np.random.default_rng(0).random(shape, np.float32)
    for method in (taught, Bensch(regional="deviation")):
        assert method.segment(image).shape == shape


@pytest.mark.parametrize("image", [np.full((4, 4), np.nan), np.zeros((4, 4, 3)), np.full((4, 4), 2.0)])
def test_a_bad_image_is_refused(taught, image, unchecked):
    with pytest.raises(ValueError, match="image"):
        taught.segment(image)


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ((), "give some"),
        (((np.zeros((8, 8)), np.zeros((8, 9), np.int32)),), "shape of its image"),
        (((np.zeros((8, 8)), np.zeros((8, 8), np.int32)),), "cells and background"),
        (((np.full((8, 8), 7.0), np.ones((8, 8), np.int32)),), "grey values"),
    ],
)
def test_examples_that_teach_nothing_are_refused(examples, message, unchecked):
    with pytest.raises(ValueError, match=message):
        Bensch(examples=examples).segment(np.zeros((8, 8), np.float32))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("regional", "seeds"),
        ("polarity", 0),
        ("window", 4),
        ("tolerance", 0),
        ("weight", -1.0),
        ("smoothing", -1),
        ("opening", -1),
    ],
)
def test_parameters_without_sense_are_refused(name, value, unchecked):
    with pytest.raises(ValueError, match=name):
        Bensch(**{name: value})


@pytest.mark.parametrize("diameter", [8.0, 32.0, 100.0])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_all_that_may_be_tuned_makes_sense(diameter, share):
    settings = {name: what.at(share) for name, what in space(diameter).items()}
    method = Bensch(regional="deviation", **settings)
    assert method.segment(np.full((20, 20), 0.5, np.float32)).max() == 0
