"""Which cells to look at first."""

import numpy as np
import pytest

from wsis_jax.segmentation.pipeline import segment
from wsis_jax.segmentation.review import CellEvidence, cells_to_look_at, confidence_of, doubts_in, halves_of

NAN = float("nan")


def squares(*sides: int) -> CellEvidence:
    """A row of square cells, of which nothing is doubtful but their size."""
    labels, points = np.zeros((24, 24 * len(sides)), np.int32), []
    for number, side in enumerate(sides, start=1):
        left = 24 * (number - 1) + 2
        labels[2 : 2 + side, left : left + side] = number
        points.append([2 + (side - 1) / 2, left + (side - 1) / 2])
    sure = np.ones(len(sides))
    return CellEvidence(labels, np.array(points), np.arange(1, len(sides) + 1), sure, sure)


def look(evidence: CellEvidence, *, threshold: float = 0.5):
    return cells_to_look_at(evidence, threshold=threshold, sigma=3.0)


def test_nothing_is_doubtful_of_sure_cells_of_one_size():
    assert look(squares(8, 8, 8, 8, 8)) == []


def test_low_scores_and_confidence_come_first_by_how_low_they_are():
    cells = squares(8, 8, 8, 8, 8)
    scores = np.array([1, 0.5, 0.75, NAN, 0.95])
    doubts = look(cells._replace(scores=scores, confidence=np.array([1, 1, 0, NAN, 1])))
    assert [one.number for one in doubts] == [3, 2]
    # ((1 - 0.75) / 0.5)³ / 2 = 1 / 16 and (1 - 0)² / 2 = 0.5: 1 - 15 / 16 × 0.5
    assert doubts[0].score == pytest.approx(17 / 32)
    assert doubts[0].reasons == ("low confidence, 0.00", "low score, 0.75")
    assert doubts[0].point == (5.5, 24 * 2 + 5.5)
    assert doubts[1].score == 0.5
    assert doubts[1].reasons == ("low score, 0.50",)


def test_unusual_areas_are_told_of_five_cells_and_more():
    doubts = look(squares(8, 16, 8, 4, 8))
    assert [(one.number, one.reasons) for one in doubts] == [
        (2, ("4.0 times as large as most",)),
        (4, ("25 % as large as most",)),
    ]
    assert [one.score for one in doubts] == pytest.approx([2 / 3, (2 / 5) ** 2])
    assert look(squares(8, 16, 8, 4)) == []


def test_points_nearer_than_a_diameter_are_told():
    cells = squares(8, 8, 8, 8, 8)
    points = cells.points.copy()
    points[1] = points[0] + [0, 3]
    diameter = np.sqrt(4 / np.pi * 64)
    doubts = {one.number: one for one in look(cells._replace(points=points))}
    assert doubts[2].reasons == ("another point 3 pixels away",)
    assert doubts[2].score == pytest.approx((1 - 3 / diameter) ** 2)


def test_a_cell_without_pixels_is_told():
    cells = squares(8, 8)
    (one,) = look(cells._replace(labels=np.where(cells.labels == 1, 0, cells.labels)))
    assert (one.number, one.score, one.reasons) == (1, 1.0, ("no outline",))


def test_peaks_without_a_cell_are_told_in_pixels_of_the_image():
    cells = squares(8, 8)
    likelihood = np.zeros((12, 24), np.float32)
    likelihood[9, 3], likelihood[10, 14], likelihood[9, 20] = 0.45, 0.2, 0.3
    likelihood[2, 2] = 0.9  # at the point of the first cell
    doubts = look(cells._replace(likelihood=likelihood))
    assert [(one.number, one.point) for one in doubts] == [(0, (18.5, 6.5)), (0, (18.5, 40.5))]
    assert [one.score for one in doubts] == pytest.approx([0.8, 0.2])
    assert doubts[0].reasons == ("a peak of 0.45 without a cell",)


def test_a_second_peak_in_an_outline_is_told_with_its_place():
    cells = squares(16, 8)
    likelihood = np.zeros((24, 48), np.float32)
    likelihood[9, 9], likelihood[4, 4], likelihood[16, 16] = 0.9, 0.3, 0.4
    (one,) = look(cells._replace(likelihood=likelihood))
    assert (one.number, one.second) == (1, (16.0, 16.0))
    assert one.score == pytest.approx(0.6)
    assert one.reasons == ("a second peak of 0.40",)


def test_two_points_in_one_outline_are_told():
    cells = squares(8, 8)
    points = cells.points.copy()
    points[1] = [8, 8]
    (one,) = look(cells._replace(points=points))
    assert (one.number, one.score, one.second) == (1, 1.0, (8.0, 8.0))


def test_halves_divide_a_cell_across_its_longest_axis():
    labels = np.zeros((9, 20), np.int32)
    labels[2:6, 3:15] = 4
    np.testing.assert_allclose(halves_of(labels, 4), [[3.5, 5.5], [3.5, 11.5]])
    np.testing.assert_allclose(halves_of(labels.T, 4), [[5.5, 3.5], [11.5, 3.5]])
    labels[7, 7] = 2
    assert halves_of(labels, 2).shape == halves_of(labels, 3).shape == (0, 2)


def test_of_a_segmentation_a_drawn_cell_in_doubt_comes_before_sure_ones(tiny_run, draw_small):
    scene = draw_small(101, shape=(96, 96))
    config = tiny_run.model.config
    found = segment(tiny_run.model, scene.image)
    doubts = doubts_in(found, config=config)
    assert [one.score for one in doubts] == sorted((one.score for one in doubts), reverse=True)
    assert {one.number for one in doubts} <= set(range(len(found.points) + 1))
    confidence = confidence_of(found)
    assert confidence.shape == (len(found.points),)
    assert np.nanmax(confidence) <= 1.0
    # With a higher threshold a cell is missed, and its peak is told: as one without a cell, or the second of one.
    least = float(found.scores.min())
    strict = config.override([f"detect.threshold={least + 1e-3}"])
    missed = segment(tiny_run.model, scene.image, config=strict)
    places = [one.second if one.number else one.point for one in doubts_in(missed, config=strict)]
    lost = found.points[np.argmin(found.scores)]
    assert any(np.hypot(*(np.array(place) - lost)) < 3 for place in places if place is not None)
