"""From detection and winner map to labels: what each setting of the cut does, on winner maps made by hand."""

import numpy as np
import pytest

from wsis_jax.core.config import Config, preset
from wsis_jax.core.geometry import nearest_peak
from wsis_jax.core.types import Detection, WinnerMap
from wsis_jax.cutting import label_cells
from wsis_jax.cutting.terms import CellExtent, background_features, background_score, fit_background
from wsis_jax.synthetic import draw_scene

# Sigma in pixels of the network, and edges and data so weak that what a test adds decides.
PLAIN = ["image.scale=1", "likelihood.sigma=5", "cut.data=flat", "cut.data_weight=0.01", "cut.edge_weight=0.001"]
OFF = ["cut.claim_weight=0", "cut.background_weight=0", "cut.min_seed_area=0", "cut.dilate=0", "cut.erode=0"]


def cut_and_fuse(detection, winner, *, config):
    return label_cells.cut_and_fuse(detection.image, detection.peaks, winner, config=config).labels


def configured(*assignments: str) -> Config:
    return Config().override([*PLAIN, *OFF, *assignments])


@pytest.fixture(scope="module")
def scene():
    return draw_scene(3, shape=(120, 130), cells=10, diameter=18.0)


@pytest.fixture(scope="module")
def detection(scene):
    """The cells of the scene, of whose image grey values are such that inverting it is exact."""
    image = np.round(scene.image * 256) / np.float32(256)
    peaks = np.array([np.argwhere(scene.labels == i).mean(0) for i in range(1, 11)]).round().astype(np.int64)
    assert (scene.labels[tuple(peaks.T)] == range(1, 11)).all()
    return Detection(image, np.zeros_like(image), peaks, np.zeros(image.shape, np.int32))


@pytest.fixture(scope="module")
def winner(scene):
    """Contributions of a tenth, all over the bodies, and of a whole at the pixels in their middle."""
    value = np.where(scene.labels > 0, np.float32(0.1), np.float32(0))
    for label in range(1, 11):
        row, column = np.argwhere(scene.labels == label).mean(0).round().astype(int)
        value[row - 1 : row + 2, column - 1 : column + 2] = 1
    value = np.where(scene.labels > 0, value, np.float32(0))
    return WinnerMap(value, scene.labels.astype(np.int32), np.zeros_like(value))


def test_without_claims_the_seeds_are_the_cells_where_data_prefer_background(detection, winner):
    labels = cut_and_fuse(detection, winner, config=configured("cut.seed_threshold=0.5"))
    np.testing.assert_array_equal(labels, np.where(winner.value > 0.5, winner.owner, 0))


def test_heavy_claims_give_pixels_to_those_that_contribute_to_them(detection, winner):
    settings = ["cut.seed_threshold=0.5", "cut.claim_weight=10", "cut.claim_full=0.1"]
    labels = cut_and_fuse(detection, winner, config=configured(*settings))
    np.testing.assert_array_equal(labels, winner.owner)


def test_claims_weigh_in_proportion_up_to_the_full_contribution(detection, winner, monkeypatch):
    seen = []

    def spy(costs, *arguments, **options):
        seen.append(costs.claims)
        return cut_cells(costs, *arguments, **options)

    cut_cells = label_cells.cut_cells
    monkeypatch.setattr(label_cells, "cut_cells", spy)
    settings = ["cut.claim_weight=3", "cut.claim_full=0.4", "cut.seed_scale=cell"]
    cut_and_fuse(detection, winner, config=configured(*settings))
    cut_and_fuse(detection, winner, config=configured("cut.claim_weight=0"))
    claims, none = seen
    assert none is None
    np.testing.assert_array_equal(claims.owner, winner.owner)
    faint, clear = winner.value == np.float32(0.1), winner.value == 1
    np.testing.assert_allclose(claims.weight[faint], 3 * 0.1 / 0.4, rtol=1e-6)
    assert (claims.weight[clear] == 3).all()
    assert not claims.weight[winner.owner == 0].any()


def test_what_looks_like_background_is_left_out(detection, winner):
    """Though cells claim it: contributions do not end where bodies do."""
    index, distance = nearest_peak(detection.peaks, detection.image.shape)
    spread = WinnerMap(np.maximum(winner.value, np.float32(0.1)), index + 1, winner.runner_up)
    settings = ["cut.seed_threshold=0.5", "cut.claim_weight=1", "cut.claim_full=0.1", "cut.reach=5"]
    everything = cut_and_fuse(detection, spread, config=configured(*settings))
    np.testing.assert_array_equal(everything, np.where(distance <= 25, index + 1, 0))
    bounded = cut_and_fuse(detection, spread, config=configured(*settings, "cut.background_weight=2"))
    extent = CellExtent(body=5.0, end=20.0)
    features = background_features(detection.image, extent)
    score = background_score(features, fit_background(features, distance, extent))
    assert not bounded[score > 0.55].any()
    # But for single pixels that are cut off from their cell.
    assert (bounded == everything)[score < 0.45].mean() > 0.999
    assert 0 < (bounded > 0).sum() < 0.8 * (everything > 0).sum()


def test_the_rim_is_told_from_the_image_unless_it_is_given(detection, winner):
    inverted = detection._replace(image=1 - detection.image)
    labels = {
        (rim, name): cut_and_fuse(
            case,
            winner,
            config=configured(f"cut.rim={rim}", "cut.edge_weight=20", "cut.edge_falloff=8", "cut.reach=3"),
        )
        for rim in ("auto", "bright", "dark")
        for name, case in (("as drawn", detection), ("inverted", inverted))
    }
    outlines = labels["bright", "as drawn"]
    np.testing.assert_array_equal(labels["dark", "inverted"], outlines)
    for name in ("as drawn", "inverted"):
        np.testing.assert_array_equal(labels["auto", name], outlines)
    assert not np.array_equal(labels["dark", "as drawn"], outlines)
    assert not np.array_equal(labels["bright", "inverted"], outlines)


@pytest.mark.parametrize("name", ["default", "paper", "reference"])
@pytest.mark.parametrize("cells", [0, 1])
@pytest.mark.parametrize("grey", [None, 0.0, 0.5])
def test_no_cell_and_one_cell_in_images_with_and_without_contrast(name, cells, grey, detection):
    image = detection.image if grey is None else np.full_like(detection.image, grey)
    peaks = detection.peaks[:cells]
    owner = np.zeros(image.shape, np.int32)
    for row, column in peaks:
        owner[row - 3 : row + 4, column - 3 : column + 4] = 1
    winner = WinnerMap(owner.astype(np.float32), owner, np.zeros_like(image))
    config = preset(name, Config()).override(["image.scale=1", "likelihood.sigma=5"])
    labels = cut_and_fuse(Detection(image, image, peaks, owner), winner, config=config)
    assert labels.dtype == np.int32
    assert set(np.unique(labels)) - {0} == set(range(1, cells + 1))
    assert (labels[tuple(peaks.T)] == 1).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (3, 2)])
@pytest.mark.parametrize("name", ["default", "paper", "reference"])
def test_images_of_few_pixels(name, shape):
    image, owner = np.random.default_rng(0).random(shape, np.float32), np.ones(shape, np.int32)
    winner = WinnerMap(image, owner, np.zeros_like(image))
    config = preset(name, Config()).override(["image.scale=1", "likelihood.sigma=5"])
    labels = cut_and_fuse(Detection(image, image, np.zeros((1, 2), int), owner), winner, config=config)
    assert labels.shape == shape
    assert labels[0, 0] == 1


def test_arguments_are_only_read(detection, winner):
    for part in (*detection, *winner):
        part.flags.writeable = False
    cut_and_fuse(detection, winner, config=configured("cut.claim_weight=1", "cut.background_weight=1"))
