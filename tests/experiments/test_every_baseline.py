"""Every baseline refuses bad input, finds nothing where nothing is, and returns a proper label image."""

import numpy as np
import pytest
from scipy import ndimage

from experiments.baselines.bensch import Bensch
from experiments.baselines.fogbank import FogBank
from experiments.baselines.simple import MarkerWatershed, OtsuThreshold, RandomWalker, VoronoiDisc
from experiments.baselines.yin import Yin
from wsis_jax.synthetic import draw_scene

SCENE = draw_scene(3, shape=(97, 130), cells=8, diameter=26.0)
BASELINES = [
    Bensch(examples=((SCENE.image, SCENE.labels),)),
    Bensch(regional="deviation", division="points"),
    FogBank(),
    FogBank(min_cell=100, min_hole=100, min_peak=30, min_object=100),
    Yin(),
    Yin(solver="multiplicative", division="points"),
    VoronoiDisc(),
    MarkerWatershed(),
    OtsuThreshold(),
    RandomWalker(),
]
TAKES_POINTS = [
    one for one in BASELINES if not isinstance(one, FogBank) and getattr(one, "division", "points") == "points"
]


def name_of(baseline) -> str:
    return type(baseline).__name__


@pytest.mark.parametrize("baseline", BASELINES, ids=name_of)
def test_labels_are_whole_cells_numbered_from_one(baseline):
    labels = baseline.segment(SCENE.image, SCENE.points)
    assert labels.shape == SCENE.image.shape
    assert labels.dtype == np.int32
    cells = labels.max()
    assert sorted(np.unique(labels[labels > 0])) == list(range(1, cells + 1))
    for cell in range(1, cells + 1):
        assert ndimage.label(labels == cell)[1] == 1


@pytest.mark.parametrize("baseline", BASELINES, ids=name_of)
@pytest.mark.parametrize("grey", [0.0, 0.4, 1.0])
def test_an_even_image_has_no_cells(baseline, grey):
    labels = baseline.segment(np.full((50, 61), grey, np.float32), np.array([[20.0, 20.0]]))
    assert labels.shape == (50, 61)
    assert not labels.any()


@pytest.mark.parametrize("baseline", BASELINES, ids=name_of)
def test_ground_without_cells_has_no_cells(baseline):
    noise = np.random.default_rng(0).normal(0.4, 0.003, (120, 120)).astype(np.float32)
    labels = baseline.segment(noise, np.zeros((0, 2)))
    assert labels.shape == noise.shape
    assert not labels.any()


@pytest.mark.parametrize("baseline", TAKES_POINTS, ids=name_of)
def test_no_points_are_no_cells(baseline):
    assert not baseline.segment(SCENE.image, np.zeros((0, 2))).any()


@pytest.mark.parametrize("baseline", BASELINES, ids=name_of)
@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((20, 20, 3), np.float32), "two dimensions"),
        (np.full((20, 20), np.nan, np.float32), "not numbers"),
        (np.full((20, 20), 255, np.float32), "normalise"),
    ],
)
def test_what_is_no_image_is_refused(baseline, image, message, unchecked):
    with pytest.raises(ValueError, match=message):
        baseline.segment(image, np.zeros((0, 2)))


@pytest.mark.parametrize("baseline", TAKES_POINTS, ids=name_of)
@pytest.mark.parametrize(
    ("points", "message"),
    [
        (None, "needs points"),
        (np.array([[5.0, 500.0]]), "outside"),
        (np.array([[np.nan, 5.0]]), "finite"),
        (np.array([5.0, 5.0]), "shape"),
    ],
)
def test_what_are_no_points_is_refused(baseline, points, message, unchecked):
    with pytest.raises(ValueError, match=message):
        baseline.segment(SCENE.image, points)
