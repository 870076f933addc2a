"""The loop that a script plays: what a look at a place finds, and what is remembered of it."""

from collections import Counter
from typing import Any

import numpy as np
import pytest

from experiments.loop import Known, Place, corrected, look, looked, random_places, shown_with
from wsis_jax.core import Segmentation

HALF = 5.0


@pytest.fixture
def found(unchecked) -> Any:
    """Four square cells in a row, of which only the points and labels are known."""
    labels = np.zeros((12, 80), np.int32)
    for cell in range(4):
        labels[1:11, 20 * cell + 1 : 20 * cell + 11] = cell + 1
    points = np.array([[5.5, 20.0 * cell + 5.5] for cell in range(4)])
    return Segmentation(labels, points, np.ones(4, np.float32), None, None)


def test_a_look_finds_what_is_wrong_with_a_cell(found):
    # Cell 0 is right, cell 1 holds two, cell 2 is none, and the point of cell 3 is too far away.
    truth = np.array([[5.5, 6.5], [5.5, 23.5], [5.5, 29.5], [9.5, 69.5]])
    shown = shown_with(found, Known(), truth, HALF)
    assert shown.right.tolist() == [True, True, False, False]
    np.testing.assert_array_equal(shown.missed, truth[2:])
    known, done = looked([shown], [Known()], iter([Place(0, cell, (0.0, 0.0)) for cell in range(4)]), 9)
    assert done == Counter({"right": 1, "split": 1, "removed": 1, "moved": 1})
    np.testing.assert_array_equal(known[0].cells, [*found.points[:2], *truth[2:]])
    np.testing.assert_array_equal(known[0].wrong, found.points[2:])
    np.testing.assert_array_equal(known[0].seen, found.points)
    np.testing.assert_array_equal(corrected(shown, known[0]), known[0].cells)


def test_a_look_beside_the_cells_adds_those_that_were_missed(found):
    truth = np.array([[5.5, 5.5], [5.5, 15.0]])
    shown = shown_with(found, Known(), truth, HALF)
    places = [Place(0, None, (5.5, column)) for column in (16.0, 35.0, 36.0)]
    known, done = looked([shown], [Known()], iter(places), 9)
    assert done == Counter({"added": 1, "right": 1})  # the third is too near to the second to be another look
    np.testing.assert_array_equal(known[0].cells, truth[1:])
    np.testing.assert_array_equal(corrected(shown, known[0]), [truth[1], *found.points])


def test_no_place_is_looked_at_twice_and_no_more_than_are_asked_for(found):
    shown = shown_with(found, Known(), found.points, HALF)
    known, done = looked(
        [shown], [Known()], iter([Place(0, 1, (0.0, 0.0))] * 3 + [Place(0, 2, (0.0, 0.0))] * 3), 9
    )
    assert done == Counter({"right": 2})
    assert look(shown, known[0], Place(0, 1, (0.0, 0.0))) is None
    assert looked([shown], [Known()], random_places([shown], np.random.default_rng(0)), 3)[1].total() == 3


def test_whoever_removes_a_second_detection_of_a_cell_keeps_the_first(found):
    doubled = found._replace(points=np.array([[5.5, 5.5], [5.5, 7.5], *found.points[2:]]))
    shown = shown_with(doubled, Known(), np.array([[5.5, 5.5]]), HALF)
    known, what = look(shown, Known(), Place(0, 1, (0.0, 0.0)))
    assert what == "removed"
    np.testing.assert_array_equal(known.cells, [[5.5, 5.5]])
    np.testing.assert_array_equal(corrected(shown, known), [[5.5, 5.5], *found.points[2:]])


def test_what_was_seen_stays_when_the_image_is_segmented_again(found):
    known = Known(np.array([[5.5, 6.5], [5.5, 15.0]]), np.array([[5.5, 24.0]]), np.array([[5.5, 5.5]]))
    shown = shown_with(found, known, np.array([[5.5, 6.5], [5.5, 15.0]]), HALF)
    # The first detection is the first cell that is known, and the second is as wrong as the one that was removed.
    np.testing.assert_array_equal(shown.points, [*known.cells, *found.points[2:]])
    assert shown.numbers.tolist() == [1, 0, 3, 4]
    assert shown.known == 2
    assert shown.right.tolist() == [True, True, False, False]
    assert [look(shown, known, Place(0, cell, (0.0, 0.0))) is None for cell in range(4)] == [
        True,
        True,
        False,
        False,
    ]
    np.testing.assert_array_equal(corrected(shown, known), shown.points)


def test_random_places_are_detections_and_pixels_in_turns(found):
    shown = shown_with(found, Known(), found.points, HALF)
    places = list(random_places([shown], np.random.default_rng(3)))
    assert sorted(place.cell for place in places[::2]) == [0, 1, 2, 3]
    for place in places[1::2]:
        row, column = (int(value) for value in place.point)
        number = found.labels[row, column]
        assert place.cell == (number - 1 if number else None)
