"""Labels of pixels from boxes."""

import numpy as np
from scipy import sparse

from experiments.baselines import box_labels
from experiments.baselines.box_labels import (
    BACKGROUND,
    CELL,
    IGNORED,
    best_proposals,
    clean_labels,
    seed_labels,
)
from experiments.baselines.proposals import Proposals

SHAPE = (20, 30)


def proposals_of(*windows):
    """Proposals that are rectangles."""
    masks = np.zeros((len(windows), *SHAPE), np.float32)
    for mask, window in zip(masks, windows, strict=True):
        mask[window] = 1
    flat = masks.reshape(len(masks), SHAPE[0] * SHAPE[1])
    return Proposals(sparse.csr_array(flat), flat.sum(axis=1), SHAPE)


def test_the_proposal_of_the_most_alike_box_is_chosen():
    proposals = proposals_of(np.s_[2:18, 2:28], np.s_[4:9, 4:9], np.s_[3:10, 5:9])
    boxes = np.array([[4, 4, 9, 10], [0, 0, 20, 30], [19, 29, 20, 30]])
    assert best_proposals(proposals, boxes).tolist() == [1, 0, -1]
    assert best_proposals(proposals_of(), boxes).tolist() == [-1, -1, -1]


def test_cell_is_where_both_agree_and_ignored_where_they_do_not(monkeypatch):
    grab = np.zeros((8, 8), bool)
    grab[1:5, 1:6] = True
    monkeypatch.setattr(box_labels, "grab_all", lambda *_, **__: [grab])
    monkeypatch.setattr(box_labels, "propose", lambda *_, **__: proposals_of(np.s_[5:11, 6:12]))
    labels = seed_labels(np.zeros(SHAPE), np.array([[4, 5, 12, 13]]), diameter=8.0)
    expected = np.zeros(SHAPE)
    expected[5:9, 6:12] = expected[9:11, 6:12] = IGNORED
    expected[5:9, 6:11] = CELL
    np.testing.assert_array_equal(labels, expected)


def cleaned(predicted, seeds, boxes=((0, 0, 4, 4),)):
    """Cleaned labels of a strip of pixels in whose box half are surely cells."""
    frame, first = np.full((6, 8), 0.0), np.zeros((6, 8), np.int8)
    frame[:2, :4], first[:2, :4] = 1.0, CELL
    frame[5, : len(predicted)], first[5, : len(seeds)] = predicted, seeds
    return clean_labels(frame, first, np.array(boxes))[5, : len(seeds)].tolist()


def test_unsure_predictions_are_ignored_but_where_seeds_are_cells():
    assert cleaned([0.3, 0.12, 0.6], [BACKGROUND, BACKGROUND, CELL]) == [IGNORED, IGNORED, CELL]


def test_seeds_win_over_sure_predictions_of_background():
    assert cleaned([0.0], [CELL]) == [CELL]


def test_what_the_network_alone_calls_cell_is_ignored():
    assert cleaned([1.0, 1.0], [BACKGROUND, IGNORED]) == [IGNORED, IGNORED]


def test_ignored_pixels_that_are_surely_background_become_it():
    assert cleaned([0.001, 0.001], [IGNORED, BACKGROUND]) == [BACKGROUND, BACKGROUND]


def test_a_box_without_enough_cell_becomes_cell():
    predicted = np.zeros((10, 10))
    predicted[0:2, 0:4] = 1.0  # half of the first box
    predicted[5, 5] = 1.0  # one of sixteen pixels of the second
    seeds = np.zeros((10, 10), np.int8)
    labels = clean_labels(predicted, seeds, np.array([[0, 0, 4, 4], [5, 5, 9, 9]]))
    assert (labels[5:9, 5:9] == CELL).all()
    assert (labels == CELL).sum() == 16
