"""Drafts of the likelihood map: learnt from one drawn scene, right about another."""

import numpy as np
import pytest

from wsis_jax.core.images import normalize_image, scale_points
from wsis_jax.metrics import match_points
from wsis_jax.points import draft
from wsis_jax.points.draft import draft_scale, draw_draft, study
from wsis_jax.points.likelihood import find_peaks, render_likelihood, suggest_sigma
from wsis_jax.synthetic import draw_scene

SCENES = [draw_scene(seed, shape=(200, 240), cells=25, diameter=24.0) for seed in (1, 2)]
IMAGES = [normalize_image(scene.image, method="percentile", low=1.0, high=99.8) for scene in SCENES]
SIGMA = suggest_sigma([scene.points for scene in SCENES])


@pytest.fixture(scope="module")
def studies():
    return [study(image, scene.points, sigma=SIGMA) for image, scene in zip(IMAGES, SCENES, strict=True)]


def agreement(drawn: np.ndarray, points: np.ndarray) -> float:
    """The correlation of a draft with the likelihood map of points."""
    scale = draft_scale(SIGMA)
    target = render_likelihood(scale_points(points, scale), drawn.shape, sigma=SIGMA * scale)
    return float(np.corrcoef(drawn.ravel(), target.ravel())[0, 1])


def test_a_draft_of_an_image_never_seen_shows_its_cells(studies):
    drawn = draw_draft(IMAGES[1], [studies[0].moments], sigma=SIGMA)
    assert drawn.dtype == np.float32
    assert agreement(drawn, SCENES[1].points) > 0.6
    peaks = find_peaks(drawn, threshold=0.3, min_distance=3)
    found = scale_points(peaks.astype(np.float64), 1 / draft_scale(SIGMA))
    match = match_points(found, SCENES[1].points, distance=2 * SIGMA)
    assert 2 * match.true_positives > 0.85 * (len(peaks) + len(SCENES[1].points))


def test_quarters_draft_each_other(studies):
    for own, scene in zip(studies, SCENES, strict=True):
        assert agreement(own.draft, scene.points) > 0.5


def test_quarters_have_nothing_to_say_of_misplaced_points():
    points = np.random.default_rng(0).uniform(0, 200, SCENES[0].points.shape)
    assert agreement(study(IMAGES[0], points, sigma=SIGMA).draft, points) < 0.2


def test_a_quarter_does_not_learn_from_its_own_points():
    points = SCENES[0].points
    others = points[(points[:, 0] > 130) | (points[:, 1] > 150)]  # all but those well inside of the first quarter
    full, partial = (study(IMAGES[0], own, sigma=SIGMA).draft for own in (points, others))
    inner = np.s_[: full.shape[0] // 4, : full.shape[1] // 4]
    assert len(others) < len(points)
    # The Gaussians of the points left out end before they reach another quarter.
    near = points[(points[:, 0] <= 130) & (points[:, 1] <= 150)]
    kept = np.concatenate([near[(near[:, 0] > 70) | (near[:, 1] > 90)], others])
    assert np.array_equal(full[inner], study(IMAGES[0], kept, sigma=SIGMA).draft[inner])
    assert not np.array_equal(full[inner], partial[inner])


def test_the_weights_are_those_of_ridge_regression_on_all_terms(studies):
    features = draft._features(IMAGES[0].astype(np.float32))[::16, ::16].astype(np.float64)
    target = np.random.default_rng(0).random(features.shape[:2]).astype(np.float32)
    # Looks are every second pixel only where moments are taken; here all are wanted.
    spread = np.repeat(np.repeat(features, 2, 0), 2, 1).astype(np.float32)
    moments = draft._moments(spread, np.repeat(np.repeat(target, 2, 0), 2, 1))
    flat = features.reshape(-1, features.shape[-1])
    pairs = [flat[:, i] * flat[:, j] for i in range(flat.shape[1]) for j in range(i, flat.shape[1])]
    terms = np.column_stack([flat, *pairs, np.ones(len(flat))])
    # The price of squared weights is as good as more pixels, which ask for weights of 0.
    more = np.sqrt(1e-3 * len(flat)) * np.eye(terms.shape[1])
    wanted = np.concatenate([target.ravel(), np.zeros(terms.shape[1])])
    expected = np.linalg.lstsq(np.concatenate([terms, more]), wanted)[0]
    np.testing.assert_allclose(draft._weights([moments]), expected, atol=2e-3)


def test_a_turned_image_has_the_turned_draft(studies):
    straight = draw_draft(IMAGES[1], [studies[0].moments], sigma=SIGMA)
    turned = draw_draft(np.rot90(IMAGES[1]).copy(), [studies[0].moments], sigma=SIGMA)
    np.testing.assert_allclose(np.rot90(straight), turned, atol=0.02)


def test_a_constant_image_has_a_constant_draft(studies):
    drawn = draw_draft(np.zeros((60, 80), np.float32), [studies[0].moments], sigma=SIGMA)
    assert np.isfinite(drawn).all()
    assert np.ptp(drawn) < 1e-5


@pytest.mark.parametrize("shape", [(1, 1), (3, 50), (7, 5)])
def test_tiny_images_are_studied(shape):
    tiny = study(np.zeros(shape, np.float32), np.zeros((1, 2)), sigma=2.0)
    assert np.isfinite(tiny.draft).all()
