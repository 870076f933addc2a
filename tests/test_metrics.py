"""Point and label scores: known cases, invariances, slow obvious oracles, and numbers of other programs."""

import dataclasses
import itertools
import json
import pathlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.golden.make_metrics import SEEDS, THRESHOLDS, draw_scene
from tests.metric_oracles import iou, pixels, slow_scores
from wsis_jax.metrics import (
    LabelMatch,
    PointMatch,
    Scores,
    centroids,
    match_labels,
    match_points,
    pool_scores,
)

GOLDEN = json.loads(pathlib.Path(__file__).parent.joinpath("golden", "metrics.json").read_text())
NO_POINTS = np.empty((0, 2))
OF_POINTS = ("f_measure", "precision", "recall")

# Few values on few pixels: ties, exact halves and empty images come up often.
small_images = arrays(np.int32, (4, 5), elements=st.sampled_from([0, 0, 2, 3, 7]))
quick = settings(max_examples=80, deadline=None, derandomize=True)


def score(labels, masks, **options):
    points = match_points(centroids(labels), centroids(masks), distance=5)
    return pool_scores([match_labels(labels, masks, **options)], [points])


def disc(row, column, radius, size=64):
    return np.hypot(*(np.indices((size, size)) - np.array([row, column])[:, None, None])) <= radius


def relabel(labels, order):
    """Gives the values of an image to its cells in another order, times 10."""
    values = [v for v in np.unique(labels) if v > 0]
    result = np.zeros_like(labels)
    for old, rank in zip(values, sorted(range(len(values)), key=lambda i: order[i]), strict=True):
        result[labels == old] = 10 * (rank + 1)
    return result


# Label images.


def test_identical_labels():
    labels, masks = draw_scene(3)
    result = score(masks, masks)
    assert result.cells == len(np.unique(masks)) - 1
    assert set(result.to_dict().values()) == {1.0, result.cells}
    assert score(labels, labels).aji == 1


@pytest.mark.parametrize(("found", "true", "expected"), [(0, 0, 1), (1, 0, 0), (0, 1, 0)])
def test_labels_when_one_side_is_empty(found, true, expected):
    image = disc(20, 20, 5).astype(np.uint8)
    result = score(found * image, true * image).to_dict()
    assert result.pop("cells") == true
    assert set(result.values()) == {expected}


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
def test_images_without_pixels(shape):
    image = np.zeros(shape, np.int32)
    assert centroids(image).shape == (0, 2)
    assert score(image, image).mdice == 1


@pytest.mark.parametrize("shift", [0, 1, 4, 8, 20])
def test_shifted_disc(shift):
    masks, labels = 3 * disc(30, 20, 8), 9 * disc(30, 20 + shift, 8)
    area, overlap = np.count_nonzero(masks), np.count_nonzero(masks * labels)
    expected = overlap / (2 * area - overlap)
    result = score(labels, masks)
    assert result.mdice == result.dice_one_to_one * (1 if overlap else 0) == overlap / area
    assert result.aji == expected
    assert result.seg == (expected if 2 * overlap > area else 0)
    assert result.det == (1 if 2 * overlap > area else 0)
    assert result.pq == (expected if expected >= 0.5 else 0)
    assert result.ap == pytest.approx(sum(expected >= threshold for threshold in THRESHOLDS) / 10)
    assert result.f_measure == (shift <= 5)


def test_one_prediction_over_two_cells():
    masks = np.repeat([[1, 2, 0, 0]], 4, axis=0)
    result = score((masks > 0).astype(int), masks)
    assert result.mdice == 2 / 3  # serves both
    assert result.dice_one_to_one == 1 / 3
    assert result.ap50 == 1 / 2
    assert result.seg == 1 / 2
    assert result.det == 1 - 5 / 20  # one split
    assert result.aji == 8 / 16


def test_one_cell_in_two_halves():
    labels = np.repeat([[1, 2, 0, 0]], 4, axis=0)
    result = score(labels, (labels > 0).astype(int))
    assert result.mdice == 2 / 3
    assert result.dice_one_to_one == 1 / 3
    assert result.ap50 == 1 / 2  # IoU of exactly one half
    assert result.pq == 1 / 3
    assert result.seg == 0  # exactly half is not more than half
    assert result.det == 0  # one miss and two false cost 12, no more than the 10 from scratch
    assert result.aji == 4 / 12


def test_false_positive_costs_no_mdice():
    masks = disc(15, 15, 6).astype(int)
    result = score(masks + 2 * disc(50, 50, 6), masks)
    assert (result.mdice, result.seg) == (1, 1)
    assert (result.dice_one_to_one, result.ap, result.aji) == (0.5, 0.5, 0.5)
    assert result.det == pytest.approx(0.9)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("true_order", [(0, 1), (1, 0)])
def test_equal_sums_of_dice_go_to_more_pairs(order, true_order):
    # Pixels of (true, predicted): all four cells have 8; Dice 1/2 for (1, 1), 1/4 for (1, 2) and for (2, 1).
    pixels_of = {(1, 1): 4, (1, 2): 2, (1, 0): 2, (2, 1): 2, (2, 0): 6, (0, 1): 2, (0, 2): 6}
    masks, labels = np.repeat(list(pixels_of), list(pixels_of.values()), axis=0).T[:, None]
    assert score(relabel(labels, order), relabel(masks, true_order)).dice_one_to_one == pytest.approx(0.5 / 2)


def test_iou_on_a_threshold_counts():
    masks = np.ones((1, 20), int)
    labels = (np.arange(20)[None] < 11).astype(int)  # IoU 0.55
    assert score(labels, masks).ap == 2 / 10


def test_small_cells_become_background():
    labels, masks = disc(15, 15, 6).astype(int), disc(15, 15, 6).astype(int)
    small = disc(50, 50, 2)
    labels[small], masks[small] = 2, 2
    area = int(np.count_nonzero(small))
    assert match_labels(labels, masks, min_cell_area=area).cells == 2
    match = match_labels(labels, masks, min_cell_area=area + 1)
    assert (match.cells, match.predictions, match.false_detections) == (1, 2, 1)
    assert match.areas.tolist() == [np.count_nonzero(disc(15, 15, 6))]


def test_missed_cell_leaves_border_cells_alone():
    # The reference's border rule loses cells 3 and 4 here.
    masks = np.zeros((20, 20), int)
    masks[:4, :4], masks[8:12, 8:12], masks[:4, 16:], masks[16:, :4] = 1, 2, 3, 4
    assert match_labels(np.where(masks == 2, 0, masks), masks).dice_terms.tolist() == [1, 0, 1, 1]


@quick
@given(small_images, small_images)
def test_labels_agree_with_slow_oracle(labels, masks):
    if masks.any():
        expected = slow_scores(labels, masks)
        actual = score(labels, masks).to_dict()
        assert {name: actual[name] for name in expected} == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(3))
def test_larger_scenes_agree_with_slow_oracle(seed):
    labels, masks = draw_scene(seed + 100, size=40, cells=6)
    labels[~np.isin(labels, np.unique(labels)[:8])] = 0
    expected = slow_scores(labels, masks)
    actual = score(labels, masks).to_dict()
    assert {name: actual[name] for name in expected} == pytest.approx(expected)


@quick
@given(small_images, small_images)
def test_scores_are_finite_and_in_range(labels, masks):
    result = score(labels, masks).to_dict()
    assert result.pop("cells") == len(centroids(masks))
    assert all(isinstance(value, float) and 0 <= value <= 1 for value in result.values())
    json.dumps(result, allow_nan=False)


@quick
@given(small_images, small_images, st.permutations(range(3)), st.permutations(range(3)))
def test_order_of_labels_and_of_axes_is_irrelevant(labels, masks, order, true_order):
    expected = score(labels, masks).to_dict()
    permuted = score(relabel(labels, order), relabel(masks, true_order)).to_dict()
    ties = any(
        iou(t, p) == iou(t, q) > 0 for t in pixels(masks) for p, q in itertools.combinations(pixels(labels), 2)
    )
    if ties:  # which of two equal predictions AJI takes is arbitrary
        del expected["aji"], permuted["aji"]
    assert permuted == pytest.approx(expected)
    assert score(labels.T, masks.T).to_dict() == pytest.approx(score(labels, masks).to_dict())


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64, np.uint64])
def test_every_integer_type_and_huge_labels(dtype):
    labels, masks = draw_scene(5)
    compact = [np.unique(image, return_inverse=True)[1].reshape(image.shape) for image in (labels, masks)]
    expected = score(*compact)
    top = np.iinfo(dtype).max
    huge = [np.where(image > 0, top - image.astype(dtype), 0).astype(dtype) for image in compact]
    assert dataclasses.asdict(score(*huge)) == pytest.approx(dataclasses.asdict(expected))


def test_inputs_are_only_read():
    labels, masks = draw_scene(6)
    points = centroids(masks)
    for array in (labels, masks, points):
        array.flags.writeable = False
    copies = labels.copy(), masks.copy()
    score(labels, masks, min_cell_area=20)
    match_points(points, points, distance=3)
    np.testing.assert_array_equal(labels, copies[0])
    np.testing.assert_array_equal(masks, copies[1])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((3, 4), np.int32), "same shape"),
        (np.zeros((3, 3)), "must be integers"),
        (np.zeros((3, 3), bool), "must be integers"),
        (np.zeros((3, 3, 1), np.int32), "in two dimensions"),
        (np.full((3, 3), -1), "must not be negative"),
    ],
)
def test_bad_labels(labels, message):
    masks = np.zeros((3, 3), np.int32)
    for pair in ((labels, masks), (masks, labels)):
        with pytest.raises(ValueError, match=message):
            match_labels(*pair)
    if "shape" not in message:
        with pytest.raises(ValueError, match=message):
            centroids(labels)


# Pooling and centroids.


def test_pooling_weighs_cells_not_images():
    one, none = disc(20, 20, 8).astype(int), np.zeros((64, 64), int)
    three = one + 2 * disc(50, 20, 8) + 3 * disc(50, 50, 8)
    images = [(one, one), (none, three), (none, none)]
    labels = [match_labels(*pair) for pair in images]
    points = [match_points(*map(centroids, pair), distance=5) for pair in images]
    result = pool_scores(labels, points).to_dict()
    assert (result.pop("cells"), result.pop("f_measure"), result.pop("precision")) == (4, 2 / 5, 1)
    assert list(result.values()) == pytest.approx(
        [1 / 4] * 2 + [1 / 4] * 3 + [2 / 5] + [result["aji"]] + [1 / 4] * 2
    )
    assert result["aji"] == pytest.approx(1 / 4, abs=0.01)


@quick
@given(st.lists(st.tuples(small_images, small_images), min_size=1, max_size=3))
def test_pooling_equals_one_large_image(pairs):
    # Side by side with distinct labels, and far apart for the points.
    labels, masks = (
        np.concatenate([np.pad(np.where(a > 0, a + 10 * i, 0), (0, 9)) for i, a in enumerate(side)], axis=1)
        for side in zip(*pairs, strict=True)
    )
    points = [match_points(centroids(a), centroids(b), distance=5) for a, b in pairs]
    pooled = pool_scores([match_labels(a, b) for a, b in pairs], points)
    assert pooled.to_dict() == pytest.approx(score(labels, masks).to_dict())


def test_bad_pools():
    label, point = match_labels(*draw_scene(1)), match_points(NO_POINTS, NO_POINTS, distance=1)
    assert isinstance(label, LabelMatch)
    assert isinstance(point, PointMatch)
    for labels, points in (([], []), ([label], []), ([label], [point, point])):
        with pytest.raises(ValueError, match="one match per image"):
            pool_scores(labels, points)


def test_fields_of_scores():
    names = [field.name for field in dataclasses.fields(Scores)]
    assert names[:3] == list(OF_POINTS)
    assert names[3:] == ["mdice", "dice_one_to_one", "ap50", "ap", "pq", "aji", "seg", "det", "cells"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        score(*draw_scene(1)).seg = 1.0


def test_centroids_follow_label_values():
    image = np.zeros((6, 9), np.uint16)
    image[0, 0], image[2:5, 3:7], image[5, 8] = 40, 7, 300
    assert centroids(image).tolist() == [[3, 4.5], [0, 0], [5, 8]]


@quick
@given(small_images)
def test_centroids_agree_with_loop(image):
    expected = [np.argwhere(image == value).mean(axis=0) for value in np.unique(image) if value > 0]
    np.testing.assert_allclose(centroids(image), np.array(expected).reshape(-1, 2))
    np.testing.assert_allclose(centroids(image.T), centroids(image)[:, ::-1])


# Other programs.


@pytest.mark.parametrize("name", [*map(str, SEEDS), "all"])
def test_agrees_with_stardist_and_cell_tracking_challenge(name):
    expected = GOLDEN["scores"][name]
    scenes = [draw_scene(seed) for seed in (SEEDS if name == "all" else [int(name)])]
    labels = [match_labels(*scene) for scene in scenes]
    result = pool_scores(labels, [match_points(NO_POINTS, NO_POINTS, distance=1)] * len(scenes))
    assert result.seg == pytest.approx(expected["seg"], abs=1e-12)
    assert result.det == pytest.approx(expected["det"], abs=1e-12)
    assert result.ap50 == pytest.approx(expected["ap"][0], abs=1e-12)
    assert result.ap == pytest.approx(np.mean(expected["ap"]), abs=1e-12)
    assert result.pq == pytest.approx(expected["pq"], abs=1e-6)  # StarDist's IoU are float32
    pairs = sum(m.cells + m.predictions for m in labels)
    hits = [sum(np.count_nonzero(m.iou_terms >= threshold) for m in labels) for threshold in THRESHOLDS]
    assert [n / (pairs - n) for n in hits] == pytest.approx(expected["ap"], abs=1e-12)
