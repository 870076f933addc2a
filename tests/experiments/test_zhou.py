"""Zhou's method: classifier, peaks, retrieval of proposals, suppression and painting."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.serialization import msgpack_restore, msgpack_serialize
from scipy import ndimage, sparse

from experiments.baselines import zhou_training
from experiments.baselines.peak_backprop import with_relevance
from experiments.baselines.proposals import Proposals, propose
from experiments.baselines.response_maps import (
    STRIDE,
    Classifier,
    find_class_peaks,
    peak_score,
    respond,
    with_negatives,
)
from experiments.baselines.zhou import Zhou, background, borders, find_overlaps, paint, space
from experiments.baselines.zhou_training import draw_crops, find_places, learn
from wsis_jax.metrics import match_labels
from wsis_jax.synthetic import draw_scene


@pytest.fixture(scope="module")
def scenes():
    """Scenes with room for crops without cells."""
    return [draw_scene(seed, shape=(192, 192), cells=6, diameter=24.0, touching=0.0) for seed in range(4)]


@pytest.fixture(scope="module")
def weights(scenes):
    images, points = [s.image for s in scenes[1:]], [s.points for s in scenes[1:]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zhou_training, "_BATCH", 12)
        return learn(images, points, diameter=24.0, steps=50, seed=0, on_step=lambda *_: None)


@pytest.fixture(scope="module")
def method(weights):
    return Zhou(weights, diameter=24.0, inside=0.3, background=3e-3, min_area=200)


def slow_peaks(classes: np.ndarray, window: int) -> np.ndarray:
    """The units that are the first of the greatest of the window around them."""
    peaks, half = np.zeros(classes.shape, bool), window // 2
    for row, column in np.ndindex(classes.shape):
        around = {
            (i, j): classes[i, j]
            for i in range(max(row - half, 0), min(row + half + 1, classes.shape[0]))
            for j in range(max(column - half, 0), min(column + half + 1, classes.shape[1]))
        }
        peaks[row, column] = max(around, key=around.__getitem__) == (row, column)
    return peaks


@jax.jit  # operation by operation takes seconds
def walk_back(weights, image, peak):
    """The classes of a whole image, and the relevance of its pixels for one unit."""
    apply = with_relevance(Classifier().apply)
    classes, pullback = jax.vjp(lambda x: apply(weights, x)[0], with_negatives(image[None]))
    return classes, pullback(jnp.zeros_like(classes).at[tuple(peak)].set(1))[0][0].sum(axis=-1)


def as_proposals(masks: np.ndarray) -> Proposals:
    flat = sparse.csr_array(masks.reshape(len(masks), -1).astype(np.float32))
    return Proposals(flat, flat.sum(axis=1).astype(np.float32), masks.shape[1:])


# Peaks


@pytest.mark.parametrize("window", [3, 5])
def test_peaks_are_the_greatest_of_their_windows(window):
    classes = np.random.default_rng(0).integers(0, 6, (12, 9)).astype(float)  # with plateaus
    np.testing.assert_array_equal(find_class_peaks(classes, window), slow_peaks(classes, window))


def test_peak_stimulation_reaches_only_peaks():
    classes = np.random.default_rng(1).normal(size=(1, 9, 9)).astype(np.float32)
    gradient = np.asarray(jax.grad(lambda x: peak_score(x)[0])(jnp.asarray(classes)))[0]
    peaks = slow_peaks(classes[0], 3) & (classes[0] >= np.median(classes))
    np.testing.assert_allclose(gradient, peaks / peaks.sum(), rtol=1e-6)
    np.testing.assert_allclose(peak_score(jnp.asarray(classes))[0], classes[0][peaks].mean(), rtol=1e-5)


# Peak response maps


def test_a_peak_response_map_sums_to_one_near_its_peak(scenes, weights):
    responses = respond(scenes[0].image, msgpack_serialize(dict(weights)))
    cells = responses.classes[tuple(responses.peaks.T)] > 0
    assert cells.any()
    for peak, relevance in zip(responses.peaks[cells], responses.maps[cells].toarray(), strict=True):
        np.testing.assert_allclose(relevance.sum(), 1, atol=1e-4)
        distance = np.abs(np.argwhere(relevance.reshape(192, 192)) - STRIDE * peak - STRIDE / 2).max()
        assert distance <= 34  # half the field of a unit


def test_a_window_is_as_good_as_the_image(scenes, weights):
    image = scenes[0].image.copy()
    image[::16, ::16], image[8::16, ::16] = 0, 1  # the lowest value, above which relevance is shared out, is 0
    responses = respond(image, msgpack_serialize(dict(weights)))
    middle = [i for i, peak in enumerate(responses.peaks) if np.all(np.abs(peak - 11.5) < 6)][:2]
    assert middle
    for index in middle:
        classes, relevance = walk_back(weights, image, responses.peaks[index])
        np.testing.assert_allclose(responses.classes, classes, rtol=1e-3, atol=1e-4)
        windowed = responses.maps[[index]].toarray().reshape(image.shape)
        expected = relevance / max(float(relevance.sum()), 1e-10)
        np.testing.assert_allclose(windowed, expected, atol=1e-3 * float(expected.max()))


# Retrieval


def test_scores_are_those_of_dense_maps(scenes, weights, method):
    image, stored = scenes[0].image, msgpack_serialize(dict(weights))
    responses, proposals = respond(image, stored), propose(image, diameter=24.0)
    overlaps = find_overlaps(image, stored, 24.0)
    choice, scores = method._retrieve(responses, proposals, overlaps)
    masks = np.stack([proposals.mask(i) for i in range(len(proposals.areas))])
    square = np.ones((1, 5, 5))
    edges = ndimage.binary_dilation(masks, square) & ~ndimage.binary_erosion(masks, square)
    unlikely = background(responses.classes, image.shape, method.likely)
    peaks, found = find_class_peaks(responses.classes, 3) & (responses.classes > 0), []
    for peak, relevance in zip(responses.peaks, responses.maps.toarray(), strict=True):
        distance = np.hypot(*(np.indices(image.shape) - np.minimum(STRIDE * peak + 4, 191)[:, None, None]))
        near = masks[:, distance <= 12].any(axis=1) & (proposals.areas >= 200)
        if peaks[tuple(peak)] and near.any():
            within, border = (part.reshape(len(part), -1) @ relevance for part in (masks, edges))
            outside = (masks & unlikely).sum(axis=(1, 2))
            score = np.where(near, 0.3 * within + border - 3e-3 * outside, -np.inf)
            found.append((score.max(), score.argmax()))
    assert len(found) > 3
    np.testing.assert_allclose(np.sort(scores), np.sort([score for score, _ in found]), rtol=1e-3, atol=1e-4)
    assert sorted(choice) == sorted(index for _, index in found)


def test_the_border_of_a_proposal_is_its_morphological_gradient():
    masks = np.zeros((2, 20, 24), bool)
    masks[0, 5:15, 8:18] = masks[1, 0:8, 16:24] = True  # the second one at the border of the image
    result = borders(as_proposals(masks)).toarray().reshape(masks.shape)
    for edge, mask in zip(result, masks, strict=True):
        large, small = (f(mask, size=5, mode="constant") for f in (ndimage.maximum_filter, ndimage.minimum_filter))
        np.testing.assert_array_equal(edge > 0, large & ~small)


# Suppression and painting


def test_the_lower_of_two_alike_goes_and_the_higher_lies_on_top():
    masks = np.zeros((4, 20, 20), bool)
    masks[0, 2:8, 2:8] = masks[1, 2:8, 2:7] = masks[2, 6:16, 6:16] = masks[3, 12:16, 0:4] = True
    labels = paint(as_proposals(masks), np.array([1, 2, 0, 3]), overlap=0.3)
    assert labels.max() == 3
    np.testing.assert_array_equal(labels == labels[3, 7], masks[0])
    np.testing.assert_array_equal(labels == labels[10, 10], masks[2] & ~masks[0])
    kept = paint(as_proposals(masks), np.array([1, 2, 0, 3]), overlap=0.9)
    assert kept.max() == 3  # the smaller of the two alike is painted over


def test_what_a_suppressed_proposal_overlaps_stays():
    # 0 and 1 are alike, 1 and 2 too, but not 0 and 2: 1 goes, and so 2 stays.
    masks = np.zeros((3, 10, 30), bool)
    masks[0, :, 0:10] = masks[1, :, 4:14] = masks[2, :, 8:18] = True
    labels = paint(as_proposals(masks), np.array([2, 1, 0]), overlap=0.3)
    assert labels.max() == 2
    np.testing.assert_array_equal(labels > 0, masks[0] | masks[2])


# Training


def test_crops_hold_cells_or_none(scenes):
    images, points = [s.image for s in scenes], [s.points for s in scenes]
    places = find_places(images, points, side=72, diameter=24.0)
    for corners, holds in ((places.positive, True), (places.negative, False)):
        assert len(corners)
        for index, row, column in corners[:: len(corners) // 50 + 1]:
            inside = np.abs(points[index] - np.array([row, column]) - 36).max(axis=1)
            assert (inside.min() < 36 - 0.25 * 24 + 1.5) if holds else (inside.min() > 36 + 0.75 * 24 - 1.5)


def test_crops_without_cells_are_made_up_where_there_are_none():
    image = draw_scene(0, shape=(96, 96), cells=10, diameter=22.0).image
    everywhere = np.argwhere(np.ones((12, 12))) * 8.0
    places = find_places([image], [everywhere], side=64, diameter=22.0)
    assert not len(places.negative)
    crops = draw_crops([image], places, 64, np.random.default_rng(0))
    assert crops.shape == (32, 64, 64)
    smooth = np.array([ndimage.gaussian_filter(crop, 2).std() for crop in crops])
    assert smooth[16:].mean() < 0.5 * smooth[:16].mean()


def test_training_needs_a_place_for_crops():
    with pytest.raises(ValueError, match="larger images"):
        learn([np.zeros((20, 20))], [np.ones((1, 2))], diameter=24.0, steps=2, seed=0, on_step=lambda *_: None)


# The method


def test_most_cells_of_a_drawn_scene_are_found(scenes, method):
    labels = method.segment(scenes[0].image)
    match = match_labels(labels, scenes[0].labels)
    assert match.dice_terms.mean() > 0.45
    assert labels.dtype == np.int32
    assert sorted(np.unique(labels)) == list(range(labels.max() + 1))
    assert all(ndimage.label(labels == i)[1] == 1 for i in range(1, labels.max() + 1))


def test_weights_can_be_stored(scenes, method):
    again = replace(method, weights=msgpack_restore(msgpack_serialize(dict(method.weights))))
    np.testing.assert_array_equal(again.segment(scenes[0].image), method.segment(scenes[0].image))


@pytest.mark.parametrize("shape", [(1, 1), (33, 50)])
def test_a_constant_image_has_no_cells(shape, method):
    assert method.segment(np.full(shape, 0.4, np.float32)).max() == 0


def test_faint_noise_has_no_cells(method):
    noise = np.random.default_rng(0).normal(0.4, 0.01, (97, 65))
    assert method.segment(noise.astype(np.float32)).max() == 0


def test_a_tiny_image_is_segmented(scenes, method):
    assert method.segment(scenes[0].image[:5, :7].copy()).shape == (5, 7)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.full((9, 9), np.nan, np.float32), "not numbers"),
        (np.zeros((9, 9, 3), np.float32), "two dimensions"),
        (np.full((9, 9), 2, np.float32), "normalise"),
    ],
)
def test_a_bad_image_is_refused(image, message, unchecked, method):
    with pytest.raises(ValueError, match=message):
        method.segment(image)


@pytest.mark.parametrize("setting", [{"window": 4}, {"diameter": 0.0}, {"overlap": 0.0}])
def test_parameters_without_sense_are_refused(setting, weights):
    with pytest.raises(ValueError, match=next(iter(setting))):
        Zhou(weights, **setting)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_space_holds_settings(share, weights):
    Zhou(weights, **{name: values.at(share) for name, values in space(32.0).items()})
