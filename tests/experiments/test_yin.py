"""Segmentation by the restoration of phase contrast."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from experiments.baselines import yin
from experiments.baselines.common import forget
from experiments.baselines.yin import Yin, space
from wsis_jax.metrics import match_labels
from wsis_jax.synthetic import draw_scene

GOOD = Yin(sparsity=0.05, threshold=0.5)


@pytest.fixture(scope="module")
def scene():
    return draw_scene(3, shape=(160, 160), cells=12, diameter=26.0)


def dice(labels: np.ndarray, masks: np.ndarray) -> float:
    return match_labels(labels, masks).dice_terms.mean()


@pytest.mark.parametrize("solver", ["fista", "multiplicative"])
def test_most_drawn_cells_are_found(solver, scene):
    labels = replace(GOOD, solver=solver, division="points").segment(scene.image, scene.points)
    assert dice(labels, scene.labels) > 0.6


def test_cells_brighter_than_the_background_are_not(scene):
    labels = GOOD.segment(1 - scene.image)
    assert dice(labels, scene.labels) < 0.3


def test_labels_are_contiguous_and_connected(scene):
    labels = GOOD.segment(scene.image)
    assert labels.dtype == np.int32
    assert labels.max() > 3
    np.testing.assert_array_equal(np.unique(labels), np.arange(labels.max() + 1))
    assert all(ndimage.label(labels == label)[1] == 1 for label in range(1, labels.max() + 1))


def test_points_divide_what_touches(scene):
    together = GOOD.segment(scene.image)
    apart = replace(GOOD, division="points").segment(scene.image, scene.points)
    assert apart.max() > together.max()


def test_a_higher_threshold_leaves_less(scene):
    areas = [(replace(GOOD, threshold=t).segment(scene.image) > 0).sum() for t in (0.3, 0.7, 1.5)]
    assert areas[0] > areas[1] > areas[2]


@pytest.mark.parametrize("solver", ["fista", "multiplicative"])
@pytest.mark.parametrize("shape", [(40, 37), (1, 1), (2, 3)])
def test_a_constant_image_has_no_cells(shape, solver):
    labels = Yin(solver=solver, min_area=0, sparsity=0.001).segment(np.full(shape, 0.4, np.float32))
    assert labels.shape == shape
    assert labels.max() == 0


@pytest.mark.parametrize("solver", ["fista", "multiplicative"])
def test_faint_noise_has_no_cells(solver):
    noise = np.random.default_rng(0).normal(0.5, 0.02, (160, 160)).astype(np.float32)
    assert Yin(solver=solver, min_area=0).segment(noise).max() == 0


def test_images_of_any_size_are_segmented():
    for shape in ((1, 1), (3, 40), (37, 61)):
        image = np.random.default_rng(0).random(shape, np.float32)
        assert Yin().segment(image).shape == shape


def test_a_sweep_of_thresholds_restores_once(scene, monkeypatch):
    calls = []
    true = yin.restore
    monkeypatch.setattr(
        yin, "restore", lambda *args, **settings: calls.append(settings) or true(*args, **settings)
    )
    forget()
    for threshold in (0.3, 0.6):
        replace(GOOD, threshold=threshold).segment(scene.image)
    assert len(calls) == 1
    replace(GOOD, smoothness=0.3).segment(scene.image)
    assert len(calls) == 2


def test_the_space_holds_fields_that_are_valid():
    for share in (0.0, 0.5, 1.0):
        Yin(**{name: values.at(share) for name, values in space(32.0).items()})
    assert space(64.0)["min_area"].at(1) == pytest.approx(4 * space(32.0)["min_area"].at(1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kernel": "round"}, "kernel must be one of"),
        ({"solver": "newton"}, "solver must be one of"),
        ({"division": "none"}, "division must be one of"),
        ({"smoothness": -1}, "smoothness must be at least 0"),
        ({"min_area": np.nan}, "min_area must be at least 0"),
        ({"gamma": 0}, "gamma must be above 0"),
        ({"reach": 0}, "reach"),
    ],
)
def test_parameters_without_sense_are_refused(settings, message, unchecked):
    with pytest.raises(ValueError, match=message):
        Yin(**settings)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.full((8, 8), np.nan, np.float32), "NaN"),
        (np.zeros((8, 8, 3), np.float32), "two dimensions"),
        (np.full((8, 8), 2, np.float32), "0..1"),
    ],
)
def test_bad_images_are_refused(image, message, unchecked):
    with pytest.raises(ValueError, match=message):
        Yin().segment(image)


def test_division_by_points_needs_points(scene):
    with pytest.raises(ValueError, match="points"):
        replace(GOOD, division="points").segment(scene.image)
