"""Is anything wrong with the points? What a careful person would notice before learning from them.

Some faults show in the points alone: they lie outside, or two on one cell. Others show only beside the image. A
draft of the likelihood map (`draft`) is high where there are cells: at the points, if they fit their image; if
not, perhaps at the points moved a little, or with rows and columns swapped; and where it is high without a
point, one may be missing.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64
from scipy.spatial import KDTree

from wsis_jax.core import ImageConfig, inside, normalize_image, scale_points
from wsis_jax.core.errors import UserError
from wsis_jax.points.draft import Study, draft_scale, draw_draft, study
from wsis_jax.points.fitting import Place, best_place, fit
from wsis_jax.points.likelihood import find_peaks
from wsis_jax.points.suggestions import suggest_sigma

_Points = Float64[np.ndarray, "_ 2"]
_Draft = Float32[np.ndarray, "_ _"]

_DOUBLED = 0.8  # × sigma, a fifth of the usual spacing: nearer points are of one cell
_APART = 2.0  # × sigma, half the usual spacing: no point within means that none is of this place
_CHANCE = 3.5  # a fit below may be chance
_SURE = 7.0  # a fit above is none, even if it is the best of all places tried; that rarely exceeds 5
_BETTER = 1.5  # × the fit of the points as they are: where they fit that much better they belong
_POOR = 0.5  # × the usual fit of so many points: what is below does not fit
_FEW = 0.2  # of the points: more missing ones are a fault
_MANY = 30  # points that fit their image well above chance, if they fit it at all
_CROWDED = 100  # pairs a point within that distance beyond which only the nearest of each is told


class PointReport(NamedTuple):
    """What there is to know of the points of one image. Places are (row, column) in pixels of the image."""

    name: str
    points: int
    shape: tuple[int, int] | None  # of the image; None without one, and then what needs it is empty
    spacing: float | None  # median distance to the nearest other point, in pixels; None below two points
    outside: Int64[np.ndarray, " outside"]  # indices of the points outside of the image
    border: Int64[np.ndarray, " border"]  # indices of those inside, but within sigma of its border
    doubled: Int64[np.ndarray, "pairs 2"]  # indices of two points at about the same place
    missing: Float64[np.ndarray, "missing 2"]  # places that look like cells and have no point
    fit: float | None  # in deviations from chance, usually above 10; None where it cannot be told
    faults: tuple[str, ...]  # what is wrong, each with what to do

    @property
    def density(self) -> float | None:
        """Points in a square of 1,000 pixels a side, or None without an image."""
        return None if self.shape is None else 1e6 * self.points / (self.shape[0] * self.shape[1])

    def to_dict(self) -> dict[str, Any]:
        """Returns all of it, ready for JSON."""
        arrays = {key: value.tolist() for key, value in self._asdict().items() if isinstance(value, np.ndarray)}
        return self._asdict() | arrays | {"density": self.density, "faults": list(self.faults)}


class _Case(NamedTuple):
    """One image on its way to the report."""

    name: str
    points: _Points
    image: np.ndarray | None  # normalised
    draft: _Draft | None  # None where there is nothing to learn from
    place: Place | None  # where the points fit the draft best


class _Usual(NamedTuple):
    """What is usual of all images."""

    sigma: float
    fit: float  # of one point
    level: float  # of a draft at a point


def inspect_points(
    names: Sequence[str],
    points: Sequence[Float[np.ndarray, "_ 2"]],
    images: Sequence[Float[np.ndarray, "_ _"] | None],
    *,
    on_image: Callable[[int, int], None] = lambda done, count: None,
) -> list[PointReport]:
    """Reports on the points of each image; takes about two seconds of computing for a million pixels.

    Args:
        names: of the images, for the sentences.
        points: (row, column) of each image's cells, in its pixels.
        images: finite grey values of any range; None where there is no image to compare with.
        on_image: called with (done, in all) as images are looked at, each twice.
    """
    places = [np.asarray(own, np.float64) for own in points]
    try:
        sigma = suggest_sigma(places)
    except UserError:  # nowhere two points
        sigma = None
    looked_at = [None if image is None else _normalize(image) for image in images]
    drafts = [None] * len(places) if sigma is None else _drafts(places, looked_at, sigma, on_image)
    cases = []
    for name, own, image, draft in zip(names, places, looked_at, drafts, strict=True):
        place = (
            None if draft is None or sigma is None else best_place(draft, scale_points(own, draft_scale(sigma)))
        )
        cases.append(_Case(name, own, image, draft, place))
    usual = None if sigma is None else _usual(cases, sigma)
    return [_report(case, sigma or 0.0, usual, cases) for case in cases]


def _normalize(image: Float[np.ndarray, "height width"]) -> Float32[np.ndarray, "height width"]:
    """Brings grey values to 0..1, as the network sees them by default."""
    look = ImageConfig()
    return normalize_image(image.astype(np.float32), method=look.normalization, low=look.low, high=look.high)


def _drafts(
    points: Sequence[_Points],
    images: Sequence[np.ndarray | None],
    sigma: float,
    on_image: Callable[[int, int], None],
) -> list[_Draft | None]:
    """Returns the draft of each image, made from all others whose points can be trusted.

    Those are images whose quarters agree with each other: where points are misplaced, the quarters of an image
    have little to learn from each other.
    """
    scale, count = draft_scale(sigma), 2 * len(images)
    studies: list[Study | None] = []
    for image, own in zip(images, points, strict=True):
        studies.append(None if image is None or not len(own) else study(image, own, sigma=sigma))
        on_image(len(studies), count)
    agreement = [
        -np.inf if one is None else fit(one.draft, scale_points(own, scale)) / np.sqrt(len(own))
        for one, own in zip(studies, points, strict=True)
    ]
    trusted = [i for i, value in enumerate(agreement) if value > 0 and value >= _POOR * max(agreement)]
    drafts: list[_Draft | None] = []
    for index, (image, own_study) in enumerate(zip(images, studies, strict=True)):
        others = [one.moments for i in trusted if i != index and (one := studies[i]) is not None]
        if image is not None and others:
            drafts.append(draw_draft(image, others, sigma=sigma))
        else:
            drafts.append(None if own_study is None else own_study.draft)
        on_image(len(images) + len(drafts), count)
    return drafts


def _usual(cases: Sequence[_Case], sigma: float) -> _Usual | None:
    """Returns what is usual where points fit at all, or None where they do so nowhere."""
    fits, levels = [], []
    for case in cases:
        if case.draft is None or case.place is None or case.place.here < _SURE:
            continue
        fits.append(case.place.here / np.sqrt(len(case.points)))
        levels.append(_at_points(case.draft, case.points, sigma))
    return _Usual(sigma, float(np.median(fits)), float(np.median(np.concatenate(levels)))) if fits else None


def _report(case: _Case, sigma: float, usual: _Usual | None, cases: Sequence[_Case]) -> PointReport:
    """Returns the report on one image."""
    points, shape = case.points, None if case.image is None else case.image.shape
    within = np.ones(len(points), bool) if shape is None else inside(points, shape)
    margin = np.inf if shape is None else np.minimum(points + 0.5, np.array(shape) - 0.5 - points).min(axis=1)
    misplaced = _misplaced(case, usual, cases)
    report = PointReport(
        name=case.name,
        points=len(points),
        shape=shape,
        spacing=_spacing(points),
        outside=np.flatnonzero(~within),
        border=np.flatnonzero(within & (margin < sigma)),
        doubled=_doubled(points, _DOUBLED * sigma),
        missing=np.empty((0, 2)) if misplaced else _missing(case, usual),
        fit=case.place.here if case.place is not None and len(points) else None,
        faults=(),
    )
    faults = (
        *_say_outside(report, points, known=bool(misplaced) and usual is not None),
        *misplaced,
        *_say_doubled(report, points),
        *_say_missing(report),
    )
    return report._replace(faults=faults)


def _spacing(points: _Points) -> float | None:
    """Returns the median distance of a point to the nearest other one."""
    return float(np.median(KDTree(points).query(points, k=2)[0][:, 1])) if len(points) > 1 else None


def _doubled(points: _Points, distance: float) -> Int64[np.ndarray, "pairs 2"]:
    """Returns the indices of points within a distance of each other."""
    if not len(points):
        return np.empty((0, 2), np.int64)
    tree = KDTree(points)
    if tree.count_neighbors(tree, distance) > _CROWDED * len(points):  # a heap has more pairs than memory holds
        near, nearest = tree.query(points, k=2)
        both = np.stack([np.arange(len(points)), nearest[:, 1]], axis=1)
        pairs = np.unique(np.sort(both[near[:, 1] <= distance], axis=1), axis=0)
    else:
        pairs = tree.query_pairs(distance, output_type="ndarray")
    pairs = pairs.astype(np.int64)
    return pairs[np.lexsort(pairs.T[::-1])]


def _missing(case: _Case, usual: _Usual | None) -> Float64[np.ndarray, "missing 2"]:
    """Returns the places where the draft is as high as at a typical point and there is no point."""
    if case.draft is None or case.image is None or usual is None:
        return np.empty((0, 2))
    scale = draft_scale(usual.sigma)
    level = usual.level
    if case.place is not None and case.place.here > _SURE:
        level = max(level, float(np.median(_at_points(case.draft, case.points, usual.sigma))))
    peaks = find_peaks(case.draft, threshold=level, min_distance=max(round(usual.sigma * scale), 1))
    places = (peaks + 0.5) * (np.array(case.image.shape) / np.array(case.draft.shape)) - 0.5
    if not len(case.points):
        return places
    return places[KDTree(case.points).query(places)[0] > _APART * usual.sigma]


def _at_points(draft: _Draft, points: _Points, sigma: float) -> Float32[np.ndarray, " inside"]:
    """Returns the values of a draft at the points that are in it."""
    places = np.round(scale_points(points, draft_scale(sigma)))
    return draft[tuple(places[inside(places, draft.shape)].astype(np.int64).T)]


def _misplaced(case: _Case, usual: _Usual | None, cases: Sequence[_Case]) -> list[str]:
    """Returns what to say of points that do not fit their image; nothing where they do, or nobody knows."""
    place, count = case.place, len(case.points)
    if place is None or case.draft is None or not count:
        return []
    if usual is None:
        if count < _MANY or place.here > _CHANCE:
            return []
        look = "nothing in the image tells why the points are where they are; look at the picture"
        return [f"{look}, and check that they are of this image"]
    scale, expected = draft_scale(usual.sigma), usual.fit * np.sqrt(count)
    moved = place.swapped or np.hypot(*place.shift) > usual.sigma * scale
    if moved and place.best > max(_SURE, _BETTER * place.here, _POOR * expected):
        if place.swapped:
            return ["rows and columns look swapped; swap their names in the header"]
        down, right = (round(step / scale) for step in place.shift)
        return [
            f"the points look shifted, since they fit the image much better when moved by {down:+d} rows and "
            f"{right:+d} columns; move them"
        ]
    if place.here > _CHANCE or expected < _SURE:
        return []
    scaled = scale_points(case.points, scale)
    fitting = [
        other.name
        for other in cases
        if other.draft is not None and fit(other.draft, scaled) > max(_SURE, _POOR * expected)
    ]
    whose = f"they fit {fitting[0]}, so the files may be mixed up" if fitting else "give those of this image"
    return [f"the points fit the image no better than chance; {whose}"]


def _say_outside(report: PointReport, points: _Points, *, known: bool) -> list[str]:
    """Returns what to say of points outside of the image; `known`: a reason will be given."""
    if not len(report.outside) or report.shape is None:
        return []
    row, column = points[report.outside[0]]
    swapped = inside(points[:, ::-1], report.shape).all()
    remedy = "rows and columns look swapped, so swap their names in the header" if swapped else "correct or delete"
    points_are = _count(len(report.outside), "point is", "points are")
    return [
        f"{points_are} outside of the image of {report.shape[0]} rows and {report.shape[1]} columns, "
        f"the first (number {report.outside[0]}, counted from 0) at row {row:g}, "
        f"column {column:g}" + ("" if known else f"; {remedy}")
    ]


def _say_doubled(report: PointReport, points: _Points) -> list[str]:
    """Returns what to say of two points at about the same place."""
    if not len(report.doubled):
        return []
    first, second = report.doubled[0]
    (row, column), distance = points[first], np.linalg.norm(points[first] - points[second])
    cells_look = _count(len(report.doubled), "cell looks", "cells look")
    return [
        f"{cells_look} marked twice, the first at row {row:g}, column {column:g} "
        f"(points {first} and {second}, {distance:.1f} pixels apart); delete one of the two"
    ]


def _say_missing(report: PointReport) -> list[str]:
    """Returns what to say where many places look like cells and have no point."""
    count = len(report.missing)
    if not report.points:
        seen = f", but {_count(count, 'place looks like a cell', 'places look like cells')}" if count else ""
        return [f"the image has no points{seen}; add some, or leave the image out if it shows cells"]
    if count <= _FEW * report.points:
        return []
    places = _count(count, "place looks like a cell and has", "places look like cells and have")
    return [f"{places} no point; look at the picture, and add what is missing"]


def _count(number: int, one: str, many: str) -> str:
    """Returns a number with the word that it asks for."""
    return f"{number} {one if number == 1 else many}"
