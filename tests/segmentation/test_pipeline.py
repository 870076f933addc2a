"""Segmentation: images of every size and content become right label images, always the same ones."""

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from wsis_jax.core.config import preset
from wsis_jax.core.images import scaled_shape
from wsis_jax.core.types import Segmentation
from wsis_jax.io.label_file import write_labels
from wsis_jax.metrics import match_labels, match_points
from wsis_jax.network.model import Model
from wsis_jax.network.unet import UNet, initial_variables
from wsis_jax.points.likelihood import find_peaks, render_likelihood
from wsis_jax.segmentation import pipeline
from wsis_jax.segmentation.pipeline import segment, segment_batch
from wsis_jax.synthetic import draw_scene


def assert_valid(result: Segmentation, image: np.ndarray) -> None:
    """Labels are 1..N, one per point, each in one piece; the points are in the image."""
    cells = len(result.points)
    assert result.labels.shape == image.shape
    assert set(np.unique(result.labels)) - {0} == set(range(1, cells + 1))
    for label, window in enumerate(ndimage.find_objects(result.labels), start=1):
        assert ndimage.label(result.labels[window] == label, np.ones((3, 3)))[1] == 1
    assert len(result.scores) == cells
    assert ((result.points >= -0.5) & (result.points < np.array(image.shape) - 0.5)).all()


def assert_equal(first: Segmentation, second: Segmentation) -> None:
    for a, b in zip(first, second, strict=True):
        for one, other in zip(a, b, strict=True) if isinstance(a, tuple) else [(a, b)]:
            np.testing.assert_array_equal(one, other)


@pytest.fixture(scope="module")
def scene(draw_small):
    return draw_small(100)


def test_cells_are_found_and_outlined(tiny_run, scene):
    result = segment(tiny_run.model, scene.image)
    assert_valid(result, scene.image)
    assert match_points(result.points, scene.points, distance=5.0).f_measure >= 0.8
    assert match_labels(result.labels, scene.labels).dice_terms.mean() >= 0.5
    assert ((result.scores > 0) & (result.scores <= 1)).all()


def test_each_label_lies_at_its_point(tiny_run, scene):
    result = segment(tiny_run.model, scene.image)
    assert len(result.points) >= 3
    at = result.labels[tuple(np.round(result.points).astype(int).T)]
    np.testing.assert_array_equal(at, np.arange(1, len(result.points) + 1))


def test_an_image_without_cells_has_no_label(tiny_run, draw_small):
    image = draw_small(50, cells=0).image
    result = segment(tiny_run.model, image)
    assert_valid(result, image)
    assert len(result.points) == 0
    assert result.points.shape == (0, 2)


def test_one_cell_is_one_label(tiny_run, draw_small):
    scene = draw_small(50, cells=1)
    result = segment(tiny_run.model, scene.image)
    assert_valid(result, scene.image)
    assert len(result.points) == 1
    assert (result.labels[scene.labels == 1] == 1).mean() > 0.7


def test_three_hundred_cells(tiny_config, monkeypatch, tmp_path):
    scene = draw_scene(0, shape=(190, 210), cells=300, diameter=9.0)
    model = UNet(encoder=(2,), decoder=())
    config = tiny_config.override(["cut.min_area=0", "image.diameter=9"])
    run = Model.of(model, initial_variables(model, 0), config)
    # A network that finds every cell; what it is made of is that of `run`.
    likelihood = render_likelihood(np.round(scene.points), scene.image.shape, sigma=1.5)
    peaks = find_peaks(likelihood, threshold=0.5, min_distance=1)
    monkeypatch.setattr(pipeline, "suits", lambda *_, **__: False)  # the peaks are the host's
    monkeypatch.setattr(pipeline, "find_peaks", lambda *_, **__: peaks)
    result = segment(run, scene.image)
    assert_valid(result, scene.image)
    assert len(result.points) > 290  # a few clicks lie side by side
    write_labels(tmp_path / "labels.tif", result.labels)
    saved = tifffile.imread(tmp_path / "labels.tif")
    assert saved.dtype == np.uint16
    np.testing.assert_array_equal(saved, result.labels)


@pytest.mark.parametrize("shape", [(61, 50), (3, 64), (1, 1), (2, 3)])
def test_any_size_will_do(tiny_run, scene, shape):
    image = np.ascontiguousarray(scene.image[: shape[0], : shape[1]])
    if shape == (1, 1):
        with pytest.warns(UserWarning, match="constant"):
            assert_valid(segment(tiny_run.model, image), image)
    else:
        assert_valid(segment(tiny_run.model, image), image)


def test_what_the_padding_shows_is_no_cell(tiny_run, draw_small):
    image = draw_small(101, cells=8, shape=(61, 50)).image
    result = segment(tiny_run.model, image)
    assert_valid(result, image)
    assert len(result.points) >= 3


@pytest.mark.parametrize("factor", [2, 3])
def test_a_scaled_model_answers_in_pixels_of_the_image(tiny_run, scene, factor):
    image = np.kron(scene.image, np.ones((factor, factor), np.float32))[:-1, :-1]
    config = tiny_run.model.config.for_diameter(12 * factor)
    assert (config.image.scale, config.likelihood.sigma) == (1 / factor, 3 * factor)
    result = segment(tiny_run.model, image, config=config)
    assert_valid(result, image)
    truth = (scene.points + 0.5) * factor - 0.5
    assert match_points(result.points, truth, distance=5.0 * factor).f_measure >= 0.7
    at = result.labels[tuple(np.round(result.points).astype(int).T)]
    np.testing.assert_array_equal(at, np.arange(1, len(result.points) + 1))


@pytest.mark.parametrize("shape", [(3, 3), (5, 7), (63, 65)])
def test_points_of_a_scaled_model_are_in_the_image_when_its_sides_are_rounded(tiny_run, monkeypatch, shape):
    config = tiny_run.model.config.override(["image.scale=0.5", "likelihood.sigma=4", "cut.min_area=0"])
    random = np.random.default_rng(0).random(shape, np.float32)

    corner = np.array([scaled_shape(shape, 0.5)]) - 1
    monkeypatch.setattr(pipeline, "suits", lambda *_, **__: False)  # the peaks are the host's
    monkeypatch.setattr(pipeline, "find_peaks", lambda *_, **__: corner)
    result = segment(tiny_run.model, random, config=config)
    assert_valid(result, random)
    assert len(result.points) == 1


def test_a_constant_image_is_warned_of_and_holds_no_cell(tiny_run):
    with pytest.warns(UserWarning, match="the image is constant"):
        result = segment(tiny_run.model, np.full((61, 50), 7, np.float32))
    assert result.labels.shape == (61, 50)
    assert not result.labels.any()
    assert len(result.points) == 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused(tiny_run, scene, value):
    image = scene.image.copy()
    image[3, 4] = value
    with pytest.raises(ValueError, match="not numbers"):
        segment(tiny_run.model, image)


@pytest.mark.filterwarnings("ignore:the cells look about")  # without a bound, cells flood the image
@pytest.mark.parametrize("name", ["paper", "reference"])
def test_presets_run(tiny_run, scene, name):
    result = segment(tiny_run.model, scene.image, config=preset(name, tiny_run.model.config))
    assert result.labels.shape == scene.image.shape
    assert len(result.points) >= 3
    assert match_points(result.points, scene.points, distance=5.0).f_measure >= 0.7
    assert set(np.unique(result.labels)) - {0} <= set(range(1, len(result.points) + 1))
    assert result.labels.any()


def test_grey_values_of_any_range_and_type_give_the_same(tiny_run, scene):
    expected = segment(tiny_run.model, scene.image).labels
    np.testing.assert_array_equal(segment(tiny_run.model, scene.image.astype(np.float64)).labels, expected)
    # Not to the last bit: percentiles of other numbers are rounded otherwise.
    assert (segment(tiny_run.model, 5000 * scene.image + 300).labels == expected).mean() > 0.99


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64])
def test_whole_numbers_are_grey_values_as_well(unchecked, tiny_run, scene, dtype):
    image = np.round(scene.image * 255).astype(dtype)
    expected = segment(tiny_run.model, image.astype(np.float32))
    assert len(expected.points) >= 4
    assert_equal(segment(tiny_run.model, image), expected)


def test_the_result_depends_on_the_image_alone(tiny_run, scene, draw_small):
    first = segment(tiny_run.model, scene.image)
    segment(tiny_run.model, draw_small(102).image)
    segment(tiny_run.model, draw_small(103, shape=(61, 50)).image, config=preset("paper", tiny_run.model.config))
    assert_equal(segment(tiny_run.model, scene.image), first)


def test_a_batch_gives_what_its_images_give(tiny_run, draw_small):
    images = np.stack([draw_small(seed, cells=seed - 100).image for seed in (102, 100, 106)])
    together = segment_batch(tiny_run.model, images)
    assert len(together) == 3
    for result, image in zip(together, images, strict=True):
        alone = segment(tiny_run.model, image)
        np.testing.assert_array_equal(result.labels, alone.labels)
        np.testing.assert_array_equal(result.points, alone.points)
        np.testing.assert_allclose(result.winner.value, alone.winner.value, rtol=0, atol=1e-5)


def test_shared_sides_change_nothing(tiny_run, scene):
    alone, shared = segment(tiny_run.model, scene.image), segment(tiny_run.model, scene.image, sides=(128, 80))
    assert len(alone.points) >= 4
    np.testing.assert_array_equal(shared.labels, alone.labels)
    np.testing.assert_allclose(shared.detection.likelihood, alone.detection.likelihood, rtol=0, atol=1e-6)


def test_sides_that_are_too_small_are_refused(tiny_run, scene):
    with pytest.raises(ValueError, match="sides 60 × 64 are less than those of the image"):
        segment(tiny_run.model, scene.image, sides=(60, 64))


def test_bfloat16_finds_the_same_cells(tiny_run, scene):
    exact = segment(tiny_run.model, scene.image)
    config = tiny_run.model.config.override(["unet.precision=bfloat16"])
    rough = segment(tiny_run.model, scene.image, config=config)
    assert rough.winner.value.dtype == rough.detection.likelihood.dtype == np.float32
    assert match_points(rough.points, exact.points, distance=2.0).f_measure == 1
    assert match_labels(rough.labels, exact.labels).dice_terms.mean() > 0.9
    assert (rough.detection.likelihood != exact.detection.likelihood).any()


def test_the_image_is_only_read(tiny_run, scene):
    image = scene.image.copy()
    image.flags.writeable = False
    segment(tiny_run.model, image)
    np.testing.assert_array_equal(image, scene.image)


def test_settings_of_an_untrained_configuration_are_refused(tiny_run, scene):
    with pytest.raises(ValueError, match=r"image\.scale must be a number; take the config of a trained run"):
        segment(tiny_run.model, scene.image, config=preset("default"))
