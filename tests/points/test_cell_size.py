"""How large cells are: discs drawn with clicks, of which the diameter is known."""

import numpy as np
import pytest
from scipy import ndimage

from wsis_jax.core import ImageConfig, UserError, normalize_image
from wsis_jax.points import CellSize, measure_cells
from wsis_jax.synthetic import draw_scene
from wsis_jax.training import find_size, suggest
from wsis_jax.training.size import are_stained, sigma_of


def discs(seed, *, diameter, apart, inside=0.5, rim=0.0, side=320):
    """An image of discs on a grid, each with a click near its centre."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(apart / 2, side, apart)] * 2, indexing="ij"), -1).reshape(-1, 2)
    centres = grid + rng.uniform(-0.1, 0.1, grid.shape) * apart
    rows, columns = np.mgrid[:side, :side]
    image = np.full((side, side), 0.3)
    for row, column in centres:
        radius = np.hypot(rows - row, columns - column)
        image += inside * (radius < diameter / 2) + rim * np.exp(-((radius - diameter / 2) ** 2) / 3)
    image = ndimage.gaussian_filter(image, 0.7) + rng.normal(0, 0.02, image.shape)
    return image.astype(np.float32), centres + rng.normal(0, 1, centres.shape)


def measured(scenes):
    return find_size([image for image, _ in scenes], [points for _, points in scenes], ImageConfig())


@pytest.mark.parametrize("inside", [0.5, -0.3])
@pytest.mark.parametrize(("diameter", "apart"), [(16, 24), (20, 100), (36, 44), (60, 160)])
def test_discs_are_seen_at_their_size(diameter, apart, inside):
    found = measured([discs(seed, diameter=diameter, apart=apart, inside=inside) for seed in range(2)])
    assert found.stained
    assert found.diameter == pytest.approx(diameter, rel=0.25)


def test_a_dark_nucleus_in_a_granular_body_is_not_taken_for_a_stained_cell():
    image, points = discs(0, diameter=12, apart=48, inside=-0.2)
    _, body = discs(0, diameter=36, apart=48)
    rows, columns = np.mgrid[:320, :320]
    away = np.min([np.hypot(rows - row, columns - column) for row, column in body], axis=0)
    grain = ndimage.gaussian_filter(np.random.default_rng(1).normal(0, 1, image.shape), 1.5)
    image = image + (0.08 * (away < 18) * (away > 6) * grain / grain.std()).astype(np.float32)
    found = measured([(image, points)])
    assert are_stained([image], [points], found.measures.diameter(stained=True), ImageConfig())
    assert not found.stained
    assert found.diameter == pytest.approx(36, rel=0.35)


def test_sparse_cells_with_a_bright_rim_are_not_as_large_as_their_spacing():
    found = measured([discs(seed, diameter=20, apart=100, inside=0, rim=0.4) for seed in range(3)])
    assert not found.stained
    assert found.measures.spacing == pytest.approx(100, rel=0.1)
    assert found.diameter == pytest.approx(20, rel=0.35)


def test_crowded_phase_contrast_is_seen_by_its_spacing():
    scenes = [draw_scene(seed, shape=(256, 256), cells=60, diameter=24.0) for seed in range(2)]
    found = measured([(one.image, one.points) for one in scenes])
    assert not found.stained
    assert found.diameter == pytest.approx(24, rel=0.35)


def test_the_size_grows_with_the_image():
    scenes = [discs(seed, diameter=20, apart=50) for seed in range(2)]
    once = measured(scenes).diameter
    twice = measured([(ndimage.zoom(image, 2, order=1), 2 * points + 0.5) for image, points in scenes]).diameter
    assert twice == pytest.approx(2 * once, rel=0.15)


def test_points_outside_an_image_do_not_count():
    image, points = discs(0, diameter=20, apart=50)
    image = normalize_image(image, method="percentile", low=1.0, high=99.8)
    more = np.concatenate([points, [[-50.0, 10.0], [10.0, 1000.0]]])
    assert measure_cells([image], [more]).blob == measure_cells([image], [points]).blob


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_an_image_that_shows_nothing_leaves_the_spacing(value):
    _, points = discs(0, diameter=20, apart=50)
    found = measure_cells([np.full((320, 320), value, np.float32)], [points])
    assert found[1:] == (None, None, None)
    assert found.diameter(stained=True) == found.diameter(stained=False) == found.spacing


@pytest.mark.parametrize(
    ("measures", "stained", "unstained"),
    [
        ((None, 12.0, None, None), 12, 12),
        ((40.0, 12.0, None, None), 12, 40),
        ((40.0, 12.0, 25.0, 50.0), 12, 40),
        ((40.0, 70.0, 25.0, 30.0), 40, 30),
        ((40.0, None, 25.0, None), 25, 25),
    ],
)
def test_the_diameter_is_of_the_measures_that_suit_the_image(measures, stained, unstained):
    size = CellSize(*measures)
    assert size.diameter(stained=True) == stained
    assert size.diameter(stained=False) == unstained


def test_no_measure_is_refused():
    with pytest.raises(UserError, match="from so few points"):
        measure_cells([np.zeros((8, 8), np.float32)], [np.zeros((0, 2))]).diameter(stained=True)


def test_what_is_suggested_is_what_a_training_chooses():
    image, points = discs(0, diameter=20, apart=100)
    found = suggest([points], [image])
    assert found.diameter == pytest.approx(measured([(image, points)]).diameter, abs=0.05)
    assert found.sigma == pytest.approx(found.diameter / 4, abs=0.01)
    assert found.scale == pytest.approx(5 / found.sigma, abs=1e-3)


def test_points_without_an_image_suggest_by_their_spacing():
    grid = 40.0 * np.argwhere(np.ones((5, 5)))
    assert suggest([grid, np.empty((0, 2))], [None, None]) == (40.0, 8.0, 0.625)
    assert suggest([np.zeros((1, 2))], [None]) is None


def test_sigma_is_a_quarter_of_the_diameter_of_stained_cells_and_a_fifth_of_others():
    assert sigma_of(40.0, stained=True) == 10.0
    assert sigma_of(40.0, stained=False) == 8.0
    image, points = discs(0, diameter=20, apart=50)
    assert are_stained([image], [points], 20.0, ImageConfig())
    assert not are_stained([np.zeros_like(image), None], [points, points], 20.0, ImageConfig())
