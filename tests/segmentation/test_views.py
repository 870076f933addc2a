"""Likelihood maps averaged over the mirror images of an image."""

import jax.numpy as jnp
import numpy as np
import pytest

from wsis_jax.metrics import match_points
from wsis_jax.network.chunks import record_images
from wsis_jax.network.model import Model
from wsis_jax.network.unet import in_precision, pad_to_stride, predict
from wsis_jax.segmentation.pipeline import detect, segment, segment_batch

FLIPS = [np.s_[::-1, :], np.s_[:, ::-1], np.s_[::-1, ::-1]]


def with_settings(run: Model, *assignments: str) -> Model:
    return run.using(run.config.override(assignments))


@pytest.fixture
def scene(draw_small):
    """Of sides that are not multiples of the network's stride, so that mirror images are padded otherwise."""
    return draw_small(100, shape=(61, 70))


def test_the_average_is_that_of_the_mirror_images_predicted_alone(tiny_run, scene):
    found = detect(with_settings(tiny_run.model, "detect.views=4"), scene.image)
    views = [predict(tiny_run.model.network, tiny_run.model.variables, found.image)]
    for flip in FLIPS:
        views.append(predict(tiny_run.model.network, tiny_run.model.variables, found.image[flip])[flip])
    np.testing.assert_allclose(found.likelihood, np.mean(views, axis=0), rtol=0, atol=1e-6)
    assert max(np.abs(view - found.likelihood).max() for view in views) > 1e-3  # one view is not enough


@pytest.mark.parametrize("flip", FLIPS)
def test_the_map_of_a_mirror_image_is_the_mirrored_map(tiny_run, scene, flip):
    image = np.ascontiguousarray(scene.image[flip])
    difference = {}
    for views in (1, 4):
        run = with_settings(tiny_run.model, f"detect.views={views}")
        mirrored, map_of = detect(run, image).likelihood, detect(run, scene.image).likelihood
        difference[views] = np.abs(mirrored - map_of[flip]).max()
    assert difference[4] < 2e-6
    assert difference[1] > 1e-3


def test_one_view_is_the_map_of_the_record(tiny_run, scene):
    run = with_settings(tiny_run.model, "detect.views=1")
    found = detect(run, scene.image)
    padded, frame = pad_to_stride(found.image, run.network.stride)
    recorded = record_images(run, padded[None], padded.shape)
    np.testing.assert_array_equal(found.likelihood, np.asarray(recorded.likelihood)[0, *frame])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("sides", [(64, 72), (96, 80)])
def test_shared_sides_change_nothing_of_four_views(tiny_run, scene, sides, precision):
    run = with_settings(tiny_run.model, "detect.views=4", f"unet.precision={precision}")
    alone, shared = segment(run, scene.image), segment(run, scene.image, sides=sides)
    assert len(alone.points) >= 4
    np.testing.assert_array_equal(shared.labels, alone.labels)
    np.testing.assert_allclose(shared.detection.likelihood, alone.detection.likelihood, rtol=0, atol=1e-6)


def test_a_batch_of_four_views_gives_what_its_images_give(tiny_run, draw_small):
    run = with_settings(tiny_run.model, "detect.views=4")
    images = np.stack([draw_small(seed, shape=(61, 50)).image for seed in (102, 100)])
    for result, image in zip(segment_batch(run, images), images, strict=True):
        alone = detect(run, image)
        np.testing.assert_allclose(result.detection.likelihood, alone.likelihood, rtol=0, atol=1e-6)


def test_bfloat16_finds_the_same_cells_in_four_views(tiny_run, scene):
    run = with_settings(tiny_run.model, "detect.views=4")
    exact, rough = detect(run, scene.image), detect(with_settings(run, "unet.precision=bfloat16"), scene.image)
    assert rough.likelihood.dtype == np.float32
    assert 0 < np.abs(rough.likelihood - exact.likelihood).max() < 0.1
    assert match_points(rough.peaks.astype(float), exact.peaks.astype(float), distance=2.0).f_measure == 1
    # Each view is computed in bfloat16 but none is rounded to it, neither the record's nor the others.
    variables = in_precision(run.variables, "bfloat16")
    views = [predict(run.network, variables, rough.image)]
    for flip in FLIPS:
        views.append(predict(run.network, variables, rough.image[flip])[flip])
    np.testing.assert_allclose(rough.likelihood, np.mean(views, axis=0), rtol=0, atol=1e-6)
    for view in views:
        assert (view != np.asarray(jnp.asarray(view, jnp.bfloat16), np.float32)).any()
