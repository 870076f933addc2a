"""Points edited and outlined again: exactly what was edited changes."""

import numpy as np
import pytest

from wsis_jax.core.types import Detection, Segmentation, WinnerMap
from wsis_jax.segmentation.pipeline import segment
from wsis_jax.segmentation.recut import Outlined, cut_again, edits_of, keep_unchanged


def found_of(labels: np.ndarray, points: list[list[float]]) -> Segmentation:
    """A segmentation of these labels, without any evidence."""
    nothing = np.zeros(labels.shape, np.float32)
    empty = np.empty((0, 2), np.int64)
    detection = Detection(nothing, nothing, empty, np.zeros(labels.shape, np.int32))
    winner = WinnerMap(nothing, np.zeros(labels.shape, np.int32), nothing)
    scores = np.ones(len(points), np.float32)
    return Segmentation(labels.astype(np.int32), np.array(points, float).reshape(-1, 2), scores, detection, winner)


def drawn(shape: tuple[int, int], **boxes: tuple[slice, slice]) -> np.ndarray:
    """Labels of boxes, such as `_1=(slice(0, 3), slice(0, 3))`."""
    labels = np.zeros(shape, np.int32)
    for number, box in boxes.items():
        labels[box] = int(number.removeprefix("_"))
    return labels


LEFT, RIGHT = (slice(2, 8), slice(2, 8)), (slice(2, 8), slice(8, 14))
FAR = (slice(12, 18), slice(2, 8))
WHOLE = (slice(2, 8), slice(2, 14))


def test_a_moved_point_is_one_removed_and_one_added_and_doubles_are_added():
    edits = edits_of(np.array([[1, 2], [3, 4], [5, 6]]), np.array([[3, 4.0004], [1, 2.5], [5, 6], [5, 6]]))
    assert edits.before.tolist() == [1, -1, 2, -1]
    assert edits.removed.tolist() == [0]
    assert edits.added.tolist() == [1, 3]
    assert edits.any
    assert not edits_of(np.array([[1, 2]]), np.array([[1, 2]])).any
    assert edits_of(np.empty((0, 2)), np.array([[1, 2]])).added.tolist() == [0]
    assert edits_of(np.array([[1, 2]]), np.empty((0, 2))).removed.tolist() == [0]


def test_others_keep_label_and_pixels_though_the_network_would_draw_them_anew():
    before = Outlined(drawn((20, 20), _7=LEFT), np.array([[4, 4]]), np.array([7]))
    slightly_larger = drawn((20, 20), _1=(slice(1, 9), slice(2, 8)), _2=FAR)
    again = keep_unchanged(before, found_of(slightly_larger, [[4, 4], [14, 4]]))
    np.testing.assert_array_equal(again.labels, drawn((20, 20), _7=LEFT, _8=FAR))
    assert again.numbers.tolist() == [7, 8]
    assert again.changed.tolist() == [8]


def test_an_added_cell_takes_no_pixel_of_one_that_stays():
    before = Outlined(drawn((20, 20), _1=LEFT), np.array([[4, 4]]), np.array([1]))
    over = found_of(
        drawn((20, 20), _1=(slice(2, 8), slice(2, 7)), _2=(slice(2, 8), slice(7, 14))), [[4, 4], [4, 11]]
    )
    again = keep_unchanged(before, over)
    np.testing.assert_array_equal(again.labels, drawn((20, 20), _1=LEFT, _2=RIGHT))
    assert again.changed.tolist() == [2]


def test_a_click_in_a_cell_divides_it():
    before = Outlined(drawn((20, 20), _3=WHOLE, _5=FAR), np.array([[4, 4], [14, 4]]), np.array([3, 5]))
    again = keep_unchanged(
        before, found_of(drawn((20, 20), _1=LEFT, _2=FAR, _3=RIGHT), [[4, 4], [14, 4], [4, 11]])
    )
    np.testing.assert_array_equal(again.labels, drawn((20, 20), _3=LEFT, _5=FAR, _6=RIGHT))
    assert again.changed.tolist() == [3, 6]


def test_what_is_left_of_a_pair_takes_the_ground_of_the_other_and_cells_beside_it_do_not():
    pair = drawn((20, 20), _1=LEFT, _2=RIGHT)
    before = Outlined(pair, np.array([[4, 4], [4, 11]]), np.array([1, 2]))
    one_cell = keep_unchanged(before, found_of(drawn((20, 20), _1=WHOLE), [[4, 4]]))
    np.testing.assert_array_equal(one_cell.labels, drawn((20, 20), _1=WHOLE))
    assert one_cell.changed.tolist() == [1, 2]
    a_pixel_more = drawn((20, 20), _1=(slice(2, 8), slice(2, 9)))
    beside = keep_unchanged(before, found_of(a_pixel_more, [[4, 4]]))
    np.testing.assert_array_equal(beside.labels, drawn((20, 20), _1=LEFT))
    assert beside.changed.tolist() == [2]


def test_of_an_added_cell_the_part_around_its_point_is_kept():
    before = Outlined(drawn((20, 20), _1=RIGHT), np.array([[4, 9]]), np.array([1]))
    across = drawn((20, 20), _2=(slice(2, 8), slice(0, 20)))
    again = keep_unchanged(before._replace(points=np.array([[4, 9]])), found_of(across, [[4, 9], [4, 17]]))
    # It would take all of the other one, which is drawn anew and vanishes under it.
    assert again.changed.tolist() == [1, 2]
    narrow = drawn((20, 20), _2=(slice(2, 3), slice(0, 20)))
    again = keep_unchanged(before, found_of(narrow, [[4, 9], [2, 17]]))
    np.testing.assert_array_equal(again.labels == 2, drawn((20, 20), _2=(slice(2, 3), slice(14, 20))) == 2)
    assert again.changed.tolist() == [2]


def test_a_point_whose_cell_had_no_pixel_is_drawn_and_labels_without_a_point_stay():
    before = Outlined(drawn((20, 20), _9=FAR), np.array([[4, 4]]), np.array([1]))
    again = keep_unchanged(before, found_of(drawn((20, 20), _1=LEFT), [[4, 4]]))
    np.testing.assert_array_equal(again.labels, drawn((20, 20), _1=LEFT, _9=FAR))


def test_nothing_is_left_where_no_point_is():
    before = Outlined(drawn((20, 20), _1=LEFT), np.array([[4, 4]]), np.array([1]))
    again = keep_unchanged(before, found_of(np.zeros((20, 20), np.int32), []))
    assert not again.labels.any()
    assert again.changed.tolist() == [1]


@pytest.mark.parametrize("removed", [0, 3])
def test_the_cells_of_edited_points_change_and_no_others(tiny_run, draw_small, removed):
    image = draw_small(100, shape=(96, 96)).image
    first = segment(tiny_run.model, image)
    before = Outlined(first.labels, first.points, np.arange(1, len(first.points) + 1))
    free = np.argwhere(first.labels == 0)
    far = np.abs(free[:, None] - first.points).max(axis=2).min(axis=1)
    added = free[np.argmax(far)].astype(float)
    points = np.concatenate([np.delete(first.points, removed, axis=0), added[None]])
    again = cut_again(tiny_run.model, image, before, points)
    np.testing.assert_array_equal(again.points, points)
    new = len(first.points) + 1
    assert again.changed.tolist() == [removed + 1, new]
    assert again.labels[tuple(added.astype(int))] == new
    others = np.isin(first.labels, [0, removed + 1], invert=True)
    np.testing.assert_array_equal(again.labels[others], first.labels[others])
    assert set(np.unique(again.labels[~others])) == {0, new}
