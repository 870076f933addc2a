"""Which cells of a result to look at first: the order of the panel in the viewer, and of scripts that play it."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int, Real
from scipy.spatial import KDTree

from wsis_jax.core import Config, Segmentation, nearest_distances
from wsis_jax.output import margin_sums, mean_margins
from wsis_jax.points import find_peaks

_FAINT = 0.5  # times the threshold: peaks above are told
_LEAST = 0.05  # doubts below are not told
_FEWEST = 5  # cells to tell a usual area from


class CellEvidence(NamedTuple):
    """What is known of the cells of an image.

    Attributes:
        labels: 0 for background, else the number of a cell.
        points: (row, column) of the cells, in pixels of `labels`.
        numbers: the label of each of them.
        scores: the likelihood at each point, 0..1; NaN where unknown.
        confidence: `mean_margins` of the contributions of each, 0..1; NaN where unknown.
        likelihood: the likelihood map, of any size; None: peaks without a cell cannot be told.
    """

    labels: Int[np.ndarray, "height width"]
    points: Real[np.ndarray, "cells 2"]
    numbers: Int[np.ndarray, " cells"]
    scores: Float[np.ndarray, " cells"]
    confidence: Float[np.ndarray, " cells"]
    likelihood: Float[np.ndarray, "rows columns"] | None = None


class Doubt(NamedTuple):
    """A place to look at.

    Attributes:
        score: how doubtful it is, 0..1; see `cells_to_look_at`.
        point: (row, column), in pixels of the image.
        number: the label of the cell; 0 for a place where none was found.
        reasons: in words, the strongest first.
        second: where a second cell may be in the same outline; None: nothing says so.
    """

    score: float
    point: tuple[float, float]
    number: int
    reasons: tuple[str, ...]
    second: tuple[float, float] | None = None


class _Reason(NamedTuple):
    doubt: float  # 0..1
    words: str


def doubts_in(found: Segmentation, *, config: Config) -> list[Doubt]:
    """Returns `cells_to_look_at` of a segmentation, made with these settings."""
    sigma = config.network_sigma / config.network_scale
    return cells_to_look_at(evidence_of(found), threshold=config.detect.threshold, sigma=sigma)


def evidence_of(found: Segmentation) -> CellEvidence:
    """Returns what a segmentation knows of its cells."""
    numbers = np.arange(1, len(found.points) + 1)
    return CellEvidence(
        found.labels,
        found.points,
        numbers,
        found.scores.astype(np.float64),
        confidence_of(found),
        found.detection.likelihood,
    )


def confidence_of(found: Segmentation) -> Float64[np.ndarray, " cells"]:
    """Returns how far the contributions of each cell are above those of any other, 0..1; NaN without any."""
    height, width = found.winner.owner.shape
    rows, columns = (
        ((np.arange(small) + 0.5) * large / small).astype(int)
        for small, large in zip((height, width), found.labels.shape, strict=True)
    )
    return mean_margins(*margin_sums(found.labels[np.ix_(rows, columns)], found.winner, len(found.points)))


def cells_to_look_at(evidence: CellEvidence, *, threshold: float, sigma: float) -> list[Doubt]:
    """Returns the doubtful places of an image, the most doubtful first.

    Each reason is a doubt, about how often a cell of that kind is wrong (in fluorescence, phase contrast and
    yeast, segmented by the generalist). The score of a place is 1 - Π (1 - doubt), so that two reasons count more
    than one. With t the threshold of detection, and m the median area of the cells, where there are at least five:

    * a low score s: ((1 - s) / (1 - t))³ / 2;
    * a low confidence c: (1 - c)² / 2;
    * an unusual area a: log₂(a / m) / 3 where it is large, (log₂(a / m) / 5)² where it is small, as debris and
      cells at the border are; 1 for a cell without pixels;
    * the point of another cell at a distance d, less than the diameter D of the area m: (1 - d / D)²;
    * a peak p of the likelihood without a cell, from t / 2 on: 2 p / t - 1: a cell that was missed;
    * such a peak in the outline of a cell, more than sigma from its point, likewise: a label that two peaks share;
      1 where the other peak is the point of another cell.

    Scores of several images may be compared. Doubts below 0.05 are left out; equal ones come in raster order.

    Args:
        evidence: of the image.
        threshold: of detection, `detect.threshold`.
        sigma: `likelihood.sigma`, in pixels of the image.
    """
    second = _second_points(evidence) | _second_peaks(evidence, threshold, sigma)
    usual, nearest = _usual_area(evidence), nearest_distances(evidence.points)
    areas = np.bincount(evidence.labels.ravel(), minlength=int(evidence.numbers.max(initial=0)) + 1)
    doubts = []
    for cell, number in enumerate(evidence.numbers.tolist()):
        reasons = [
            _of_score(float(evidence.scores[cell]), threshold),
            _of_confidence(float(evidence.confidence[cell])),
            _of_area(int(areas[number]), usual),
            _of_distance(float(nearest[cell]), usual),
        ]
        other = second.get(number)
        if other is not None:
            reasons.append(other[0])
        place = (float(evidence.points[cell, 0]), float(evidence.points[cell, 1]))
        doubts.append(_doubt(place, number, reasons, None if other is None else other[1]))
    doubts += [
        _doubt(place, 0, [_Reason(_of_peak(value, threshold), f"a peak of {value:.2f} without a cell")])
        for place, value in _missed(evidence, threshold, sigma)
    ]
    return sorted((one for one in doubts if one.score >= _LEAST), key=lambda one: (-one.score, one.point))


def halves_of(labels: Int[np.ndarray, "height width"], number: int) -> Float64[np.ndarray, "halves 2"]:
    """Returns the centres of the halves of a cell, divided across its longest axis; none of a single pixel."""
    pixels = np.argwhere(labels == number).astype(np.float64)
    if len(pixels) < 2:
        return np.empty((0, 2))
    middle = pixels.mean(axis=0)
    _, axes = np.linalg.eigh(np.cov((pixels - middle).T))
    side = (pixels - middle) @ axes[:, -1] > 0
    if not 0 < side.sum() < len(side):
        return np.empty((0, 2))
    halves = np.stack([pixels[side].mean(axis=0), pixels[~side].mean(axis=0)])
    return halves[np.lexsort(halves.T[::-1])]


def _doubt(
    point: tuple[float, float],
    number: int,
    reasons: Sequence[_Reason],
    second: tuple[float, float] | None = None,
) -> Doubt:
    """Returns a place with its reasons, of which those that say next to nothing are left out."""
    told = sorted((one for one in reasons if one.doubt >= _LEAST), key=lambda one: -one.doubt)
    score = 1 - math.prod(1 - one.doubt for one in told)
    return Doubt(score, point, number, tuple(one.words for one in told), second)


def _of_score(score: float, threshold: float) -> _Reason:
    doubt = (1 - score) / (1 - threshold) if threshold < 1 else 0.0
    return _Reason(0.0 if math.isnan(score) else _part(doubt) ** 3 / 2, f"low score, {score:.2f}")


def _of_confidence(confidence: float) -> _Reason:
    doubt = 0.0 if math.isnan(confidence) else _part(1 - confidence) ** 2 / 2
    return _Reason(doubt, f"low confidence, {confidence:.2f}")


def _of_area(area: int, usual: float | None) -> _Reason:
    if not area:
        return _Reason(1.0, "no outline")
    if usual is None:
        return _Reason(0.0, "")
    ratio = area / usual
    words = f"{ratio:.1f} times as large as most" if ratio > 1 else f"{100 * ratio:.0f} % as large as most"
    return _Reason(_part(math.log2(ratio) / 3 if ratio > 1 else (math.log2(ratio) / 5) ** 2), words)


def _of_distance(distance: float, usual: float | None) -> _Reason:
    near = 0.0 if usual is None else _part(1 - distance / math.sqrt(4 / math.pi * usual))
    return _Reason(near**2, f"another point {distance:.0f} pixels away")


def _of_peak(value: float, threshold: float) -> float:
    return _part(value / threshold / (1 - _FAINT) - _FAINT / (1 - _FAINT)) if threshold > 0 else 1.0


def _part(value: float) -> float:
    return min(max(value, 0.0), 1.0)


def _usual_area(evidence: CellEvidence) -> float | None:
    """Returns the median area of the cells, in pixels; None where they are too few to tell."""
    areas = np.bincount(evidence.labels.ravel())[1:]
    areas = areas[areas > 0]
    return float(np.median(areas)) if len(areas) >= _FEWEST else None


def _lone_peaks(evidence: CellEvidence, threshold: float, sigma: float) -> list[tuple[tuple[float, float], float]]:
    """Returns the peaks farther than sigma from every point, in pixels of the image, with their values."""
    likelihood = evidence.likelihood
    if likelihood is None:
        return []
    ratio = np.array(evidence.labels.shape) / np.array(likelihood.shape)
    least = max(round(sigma / float(ratio.max())), 1)
    peaks = find_peaks(likelihood.astype(np.float32), threshold=_FAINT * threshold, min_distance=least)
    places = (peaks + 0.5) * ratio - 0.5
    if len(peaks) and len(evidence.points):
        far = KDTree(evidence.points).query(places)[0] > sigma
        peaks, places = peaks[far], places[far]
    values = likelihood[tuple(peaks.T)]
    return [((float(row), float(col)), float(value)) for (row, col), value in zip(places, values, strict=True)]


def _number_at(evidence: CellEvidence, place: tuple[float, float]) -> int:
    """Returns the label at a place."""
    row, column = np.clip(np.floor(np.array(place) + 0.5).astype(int), 0, np.array(evidence.labels.shape) - 1)
    return int(evidence.labels[row, column])


def _missed(evidence: CellEvidence, threshold: float, sigma: float) -> list[tuple[tuple[float, float], float]]:
    """Returns the peaks where no cell was found."""
    return [one for one in _lone_peaks(evidence, threshold, sigma) if not _number_at(evidence, one[0])]


_Second = dict[int, tuple[_Reason, tuple[float, float]]]


def _second_peaks(evidence: CellEvidence, threshold: float, sigma: float) -> _Second:
    """Returns the greatest peak in the outline of each cell that is not its own."""
    second: _Second = {}
    for place, value in sorted(_lone_peaks(evidence, threshold, sigma), key=lambda one: one[1]):
        if number := _number_at(evidence, place):
            reason = _Reason(_of_peak(value, threshold), f"a second peak of {value:.2f}")
            second[number] = reason, place
    return second


def _second_points(evidence: CellEvidence) -> _Second:
    """Returns the points of other cells that lie in the outline of a cell."""
    second: _Second = {}
    for (row, column), number in zip(evidence.points.tolist(), evidence.numbers.tolist(), strict=True):
        there = _number_at(evidence, (row, column))
        if there and there != number:
            second[there] = _Reason(1.0, "the point of another cell in it"), (row, column)
    return second
