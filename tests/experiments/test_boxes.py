"""Boxes around points and of masks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.baselines.boxes import boxes_around, boxes_of, check_boxes, inside_boxes, window_of


def test_a_lone_point_has_a_square_around_it():
    assert boxes_around(np.array([[20.0, 30.0]]), (60, 60), side=10).tolist() == [[15, 25, 25, 35]]


def test_boxes_end_half_way_to_neighbours():
    points = np.array([[20.0, 20.0], [20.0, 26.0], [27.0, 21.0]])
    boxes = boxes_around(points, (60, 60), side=20)
    assert boxes[0].tolist() == [10, 10, 24, 23]  # beside the second point, above the third
    assert boxes[1, 1] == 23
    assert boxes[2, 0] == 24


def test_boxes_stay_inside_the_image():
    boxes = boxes_around(np.array([[1.0, 2.0], [38.4, 29.0]]), (39, 30), side=12)
    assert boxes.tolist() == [[0, 0, 7, 8], [33, 23, 39, 30]]


def test_equal_points_share_their_pixel():
    boxes = boxes_around(np.array([[5.0, 5.0], [5.0, 5.0]]), (10, 10), side=6)
    assert all(inside_boxes(box[None], (10, 10))[5, 5] for box in boxes)


def test_no_points_have_no_boxes():
    assert boxes_around(np.zeros((0, 2)), (10, 10), side=6).shape == (0, 4)


@given(st.lists(st.tuples(st.integers(0, 39), st.integers(0, 29)), max_size=12, unique=True), st.integers(2, 25))
def test_boxes_of_different_points_never_overlap(places, side):
    points = np.array(places, float).reshape(-1, 2)
    boxes = check_boxes(boxes_around(points, (40, 30), side=side), (40, 30))
    times = np.zeros((40, 30), int)
    for box, point in zip(boxes, points.astype(int), strict=True):
        times[window_of(box, times.shape)] += 1
        assert (box[:2] <= point).all()
        assert (point < box[2:]).all()
    assert times.max(initial=0) <= 1


def test_boxes_of_masks_hold_them_just():
    labels = np.zeros((20, 20), np.int32)
    labels[3:7, 2:5] = 1
    labels[6:12, 10] = 4
    assert boxes_of(labels).tolist() == [[3, 2, 7, 5], [6, 10, 12, 11]]


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        (np.zeros((2, 3), int), "shape"),
        (np.array([[0.0, 0.0, 2.0, 2.0]]), "whole numbers"),
        (np.array([[0, 0, 2, 2], [4, 4, 4, 6]]), r"\[4, 4, 4, 6\] has no pixels"),
        (np.array([[0, 0, 11, 2]]), "leaves the image"),
    ],
)
def test_bad_boxes_are_refused(boxes, message, unchecked):
    with pytest.raises(ValueError, match=message):
        check_boxes(boxes, (10, 10))
