"""Boxes, a semantic network and a CRF."""

import dataclasses

import numpy as np
import pytest
from flax.serialization import msgpack_restore, msgpack_serialize
from scipy import ndimage

from experiments.baselines import box_labels, semantic
from experiments.baselines.boxes import boxes_around, boxes_of
from experiments.baselines.common import to_pixels
from experiments.baselines.li import Li, learn, space
from experiments.baselines.semantic import cell_map, fresh, packed, probability
from wsis_jax.metrics import match_labels
from wsis_jax.synthetic import draw_scene

DIAMETER = 26.0


def scene(seed):
    return draw_scene(seed, shape=(144, 144), cells=10, diameter=DIAMETER)


@pytest.fixture(scope="module")
def weights():
    """Of a network that learnt from one scene, in small crops."""
    drawn, told = scene(1), []
    boxes = boxes_around(drawn.points, drawn.image.shape, side=1.3 * DIAMETER)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(semantic, "_CROP", 64)
        patch.setattr(semantic, "_BATCH", 2)
        learnt = learn(
            [drawn.image],
            [boxes],
            diameter=DIAMETER,
            rounds=2,
            steps=60,
            on_step=lambda *step: told.append(step),
        )
    assert told == [(step, 120) for step in range(1, 121)]
    return msgpack_restore(msgpack_serialize(learnt))


def mdice(labels, masks):
    match = match_labels(labels, masks)
    return np.sum(match.dice_terms) / match.cells


def test_cells_of_a_drawn_scene_are_found(weights):
    drawn = scene(3)
    labels = Li(weights, DIAMETER).segment(drawn.image, drawn.points)
    assert mdice(labels, drawn.labels) > 0.6
    assert labels.dtype == np.int32
    assert np.unique(labels).tolist() == list(range(labels.max() + 1))
    assert all(ndimage.label(labels == label)[1] == 1 for label in range(1, labels.max() + 1))


def test_boxes_of_masks_may_take_the_place_of_points(weights):
    drawn = scene(3)
    method = Li(weights, DIAMETER, boxes=boxes_of(drawn.labels))
    labels = method.segment(drawn.image)
    assert mdice(labels, drawn.labels) > 0.6
    np.testing.assert_array_equal(labels, method.segment(drawn.image, drawn.points))


def test_cells_stay_within_the_margin_of_their_boxes(weights):
    drawn = scene(3)
    chance = cell_map(drawn.image, **weights)[tuple(to_pixels(drawn.points, drawn.image.shape).T)]
    point = drawn.points[[np.argmax(chance)]]
    method = Li(weights, DIAMETER, box=0.5, margin=0.0)
    taken = np.argwhere(method.segment(drawn.image, point))
    assert len(taken) > 0
    assert np.abs(taken - point).max() <= 0.25 * DIAMETER + 1
    wider = dataclasses.replace(method, margin=0.3, global_weight=1.0)
    assert (wider.segment(drawn.image, point) > 0).sum() > len(taken)


def test_packed_weights_give_the_map_of_the_network():
    variables, image = fresh(0), scene(0).image[:50, :61]
    np.testing.assert_allclose(cell_map(image, **packed(variables)), probability(variables, image), atol=1e-5)


def test_without_points_or_contrast_there_are_no_cells(weights):
    drawn, method = scene(3), Li(weights, DIAMETER)
    assert not method.segment(drawn.image, np.zeros((0, 2))).any()
    assert not method.segment(np.full((60, 50), 0.4, np.float32), np.array([[20.0, 20.0]])).any()


def test_a_tiny_image_is_no_trouble(weights):
    image = np.random.default_rng(0).random((5, 3)).astype(np.float32)
    assert Li(weights, DIAMETER).segment(image, np.array([[2.0, 1.0]])).shape == (5, 3)


def test_neither_points_nor_boxes_are_refused(weights):
    with pytest.raises(ValueError, match="needs points"):
        Li(weights, DIAMETER).segment(scene(3).image)


@pytest.mark.parametrize("image", [np.zeros((9, 9, 3)), np.full((9, 9), np.nan), np.full((9, 9), 2.0)])
def test_a_bad_image_is_refused(image, weights, unchecked):
    with pytest.raises(ValueError, match="the image"):
        Li(weights, DIAMETER).segment(image, np.array([[2.0, 2.0]]))


def test_boxes_outside_of_the_image_are_refused(weights):
    with pytest.raises(ValueError, match="leaves the image"):
        Li(weights, DIAMETER, boxes=np.array([[0, 0, 200, 20]])).segment(scene(3).image)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"box": 0.0}, "box must be positive"),
        ({"beta": -1.0}, "beta must be positive"),
        ({"margin": -0.1}, "margin must lie in"),
        ({"global_weight": 1.5}, r"0\.\.1"),
        ({"window": 10}, "odd"),
        ({"iterations": -1}, "iterations"),
    ],
)
def test_senseless_parameters_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Li({}, DIAMETER, **change)


def test_all_that_is_tuned_is_a_parameter_and_makes_sense():
    for share in (0.0, 0.5, 1.0):
        Li({}, DIAMETER, **{name: values.at(share) for name, values in space(DIAMETER).items()})


def test_learning_needs_boxes_for_every_image():
    image = scene(0).image
    with pytest.raises(ValueError, match="boxes for every image"):
        learn([image], [], diameter=DIAMETER)
    with pytest.raises(ValueError, match="leaves the image"):
        learn([image], [np.array([[0, 0, 5, 145]])], diameter=DIAMETER)
    with pytest.raises(ValueError, match="at least 1"):
        learn([image], [np.array([[0, 0, 5, 5]])], diameter=DIAMETER, rounds=0)


def test_seeds_of_a_drawn_scene_are_mostly_right():
    drawn = scene(1)
    boxes = boxes_around(drawn.points, drawn.image.shape, side=1.3 * DIAMETER)
    seeds = box_labels.seed_labels(drawn.image, boxes, diameter=DIAMETER)
    cell = drawn.labels > 0
    assert cell[seeds == box_labels.CELL].mean() > 0.75
    assert (~cell)[seeds == box_labels.BACKGROUND].mean() > 0.9
    assert (seeds[cell] == box_labels.CELL).mean() > 0.5
