"""Checks points before a model learns from them, and reports what is wrong.

Some faults show in the points alone: points outside of the image, or two points on one cell. Others show only
beside the image. A draft of the likelihood map (`draft`) is high where there are cells: where it is high at the
points, they fit their image; where it is high at the points shifted, or with rows and columns swapped, they are
misplaced; where it is high without a point, a point may be missing.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64
from scipy.spatial import KDTree

from wsis_jax.core import ImageConfig, UserError, grey, inside, nearest_distances, normalize_by, scale_points
from wsis_jax.points.draft import Study, draft_scale, draw_draft, study
from wsis_jax.points.likelihood import find_peaks, suggest_sigma

_Points = Float64[np.ndarray, "_ 2"]
_Draft = Float32[np.ndarray, "_ _"]
_Values = Float[np.ndarray, "height width"]
_Places = Float[np.ndarray, "points 2"]

_DOUBLED = 0.8  # × sigma, a fifth of the usual spacing: points nearer than this are on one cell
_APART = 2.0  # × sigma, half the usual spacing: a place without a point this near has no point
_CHANCE = 3.5  # a fit below this may be chance
_SURE = 7.0  # a fit above this is not chance, even as the best of all shifts tried, which rarely exceeds 5
_BETTER = 1.5  # × the fit of the points as they are: points that fit so much better elsewhere are misplaced
_POOR = 0.5  # × the usual fit of so many points: points below this do not fit
_FEW = 0.2  # of the points: more missing ones than this are a fault
_MANY = 30  # so many points fit their image well above chance if they fit it at all
_CROWDED = 100  # pairs per point within the distance of doubled points; beyond, only nearest pairs are listed
_SEARCHED = 0.25  # of the shorter side: the greatest shift that is tried


class PointReport(NamedTuple):
    """The result of checking the points of one image. Places are (row, column) in pixels of the image.

    Attributes:
        name: of the image.
        points: the number of points.
        shape: (height, width) of the image; None without one: what is found with its help is then empty.
        spacing: median distance from a point to the nearest other one, in pixels; None below two points.
        outside: indices of the points outside of the image.
        border: indices of the points in the image, but within sigma of its border.
        doubled: pairs of indices of points at about the same place.
        missing: places that look like cells and have no point.
        fit: how well the points fit the image, in deviations from chance, usually above 10; None if unknown.
        faults: what is wrong, each a sentence that says what to do.
    """

    name: str
    points: int
    shape: tuple[int, int] | None
    spacing: float | None
    outside: Int64[np.ndarray, " outside"]
    border: Int64[np.ndarray, " border"]
    doubled: Int64[np.ndarray, "pairs 2"]
    missing: Float64[np.ndarray, "missing 2"]
    fit: float | None
    faults: tuple[str, ...]

    @property
    def density(self) -> float | None:
        """Points in a square of 1,000 pixels a side, or None without an image."""
        return None if self.shape is None else 1e6 * self.points / (self.shape[0] * self.shape[1])

    def to_dict(self) -> dict[str, Any]:
        """Returns all of it, ready for JSON."""
        arrays = {key: value.tolist() for key, value in self._asdict().items() if isinstance(value, np.ndarray)}
        return self._asdict() | arrays | {"density": self.density, "faults": list(self.faults)}


class Placement(NamedTuple):
    """The shift at which points fit a map best.

    Attributes:
        here: the fit of the points as they are.
        best: the greatest fit found.
        swapped: whether it is found after rows and columns are swapped.
        shift: (rows, columns) to add to the points then, in pixels of the map.
    """

    here: float
    best: float
    swapped: bool
    shift: tuple[int, int]


class _Case(NamedTuple):
    """An image with its points, and what the report is made from."""

    name: str
    points: _Points
    image: _Values | None  # normalised grey values
    draft: _Draft | None  # None if there is nothing to learn it from
    placement: Placement | None  # at which the points fit the draft best


class _Typical(NamedTuple):
    """What is typical of the images whose points fit."""

    sigma: float
    fit: float  # of one point
    level: float  # the value of a draft at a point


def inspect_points(
    names: Sequence[str],
    points: Sequence[Float[np.ndarray, "_ 2"]],
    images: Sequence[Float[np.ndarray, "_ _ *channels"] | None],
    *,
    on_image: Callable[[int, int], None] = lambda done, count: None,
) -> list[PointReport]:
    """Reports on the points of each image; it takes about two seconds for a million pixels.

    Args:
        names: of the images, for the sentences.
        points: (row, column) of the cells of each image, in its pixels.
        images: finite values of any range; of several channels their mean is looked at, each of them normalised
            first. None if there is no image to compare with.
        on_image: called with (steps done, steps in all); each image takes two steps.
    """
    places = [np.asarray(own, np.float64) for own in points]
    try:
        sigma = suggest_sigma(places)
    except UserError:  # nowhere two points
        sigma = None
    look = ImageConfig()  # what the network sees of images by default
    normalized = [
        None if image is None else grey(normalize_by(look, image.astype(np.float32))) for image in images
    ]
    drafts = [None] * len(places) if sigma is None else _drafts(places, normalized, sigma, on_image)
    cases = []
    for name, own, image, draft in zip(names, places, normalized, drafts, strict=True):
        placement = None
        if draft is not None and sigma is not None:
            placement = best_placement(draft, scale_points(own, draft_scale(sigma)))
        cases.append(_Case(name, own, image, draft, placement))
    typical = None if sigma is None else _typical(cases, sigma)
    return [_report(case, sigma or 0.0, typical, cases) for case in cases]


def _drafts(
    points: Sequence[_Points],
    images: Sequence[np.ndarray | None],
    sigma: float,
    on_image: Callable[[int, int], None],
) -> list[_Draft | None]:
    """Returns the draft of each image, made from all others whose points can be trusted.

    Points can be trusted if the quarters of their image agree with each other: of misplaced points one quarter
    teaches little about another.
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


def _typical(cases: Sequence[_Case], sigma: float) -> _Typical | None:
    """Returns what is typical of the images whose points fit, or None if they fit nowhere."""
    fits, levels = [], []
    for case in cases:
        if case.draft is None or case.placement is None or case.placement.here < _SURE:
            continue
        fits.append(case.placement.here / np.sqrt(len(case.points)))
        levels.append(_at_points(case.draft, case.points, sigma))
    return _Typical(sigma, float(np.median(fits)), float(np.median(np.concatenate(levels)))) if fits else None


def _report(case: _Case, sigma: float, typical: _Typical | None, cases: Sequence[_Case]) -> PointReport:
    """Returns the report on one image."""
    points, shape = case.points, None if case.image is None else case.image.shape
    within = np.ones(len(points), bool) if shape is None else inside(points, shape)
    margin = np.inf if shape is None else np.minimum(points + 0.5, np.array(shape) - 0.5 - points).min(axis=1)
    misplaced = _misplaced(case, typical, cases)
    report = PointReport(
        name=case.name,
        points=len(points),
        shape=shape,
        spacing=float(np.median(nearest_distances(points))) if len(points) > 1 else None,
        outside=np.flatnonzero(~within),
        border=np.flatnonzero(within & (margin < sigma)),
        doubled=_doubled(points, _DOUBLED * sigma),
        missing=np.empty((0, 2)) if misplaced else _missing(case, typical),
        fit=case.placement.here if case.placement is not None and len(points) else None,
        faults=(),
    )
    known = bool(misplaced) and typical is not None
    return report._replace(faults=tuple(_faults(report, points, misplaced, known=known)))


def _doubled(points: _Points, distance: float) -> Int64[np.ndarray, "pairs 2"]:
    """Returns the indices of points within a distance of each other."""
    if not len(points):
        return np.empty((0, 2), np.int64)
    tree = KDTree(points)
    if tree.count_neighbors(tree, distance) > _CROWDED * len(points):  # all pairs would fill the memory
        near, nearest = tree.query(points, k=2)
        both = np.stack([np.arange(len(points)), nearest[:, 1]], axis=1)
        pairs = np.unique(np.sort(both[near[:, 1] <= distance], axis=1), axis=0)
    else:
        pairs = tree.query_pairs(distance, output_type="ndarray")
    pairs = pairs.astype(np.int64)
    return pairs[np.lexsort(pairs.T[::-1])]


def _missing(case: _Case, typical: _Typical | None) -> Float64[np.ndarray, "missing 2"]:
    """Returns the places where the draft is as high as at a typical point and there is no point."""
    if case.draft is None or case.image is None or typical is None:
        return np.empty((0, 2))
    scale = draft_scale(typical.sigma)
    level = typical.level
    if case.placement is not None and case.placement.here > _SURE:
        level = max(level, float(np.median(_at_points(case.draft, case.points, typical.sigma))))
    peaks = find_peaks(case.draft, threshold=level, min_distance=max(round(typical.sigma * scale), 1))
    places = (peaks + 0.5) * (np.array(case.image.shape) / np.array(case.draft.shape)) - 0.5
    if not len(case.points):
        return places
    return places[KDTree(case.points).query(places)[0] > _APART * typical.sigma]


def _at_points(draft: _Draft, points: _Points, sigma: float) -> Float32[np.ndarray, " inside"]:
    """Returns the values of a draft at the points that are in it."""
    places = np.round(scale_points(points, draft_scale(sigma)))
    return draft[tuple(places[inside(places, draft.shape)].astype(np.int64).T)]


def _misplaced(case: _Case, typical: _Typical | None, cases: Sequence[_Case]) -> list[str]:
    """Returns the fault of points that do not fit their image; none if they fit, or if it is unknown."""
    placement, count = case.placement, len(case.points)
    if placement is None or case.draft is None or not count:
        return []
    if typical is None:
        if count < _MANY or placement.here > _CHANCE:
            return []
        look = "nothing in the image tells why the points are where they are; look at the picture"
        return [f"{look}, and check that they are of this image"]
    scale, expected = draft_scale(typical.sigma), typical.fit * np.sqrt(count)
    misfit = placement.swapped or np.hypot(*placement.shift) > typical.sigma * scale
    if misfit and placement.best > max(_SURE, _BETTER * placement.here, _POOR * expected):
        if placement.swapped:
            return ["rows and columns look swapped; swap their names in the header"]
        down, right = (round(step / scale) for step in placement.shift)
        return [
            f"the points look shifted, since they fit the image much better when moved by {down:+d} rows and "
            f"{right:+d} columns; move them"
        ]
    if placement.here > _CHANCE or expected < _SURE:
        return []
    scaled = scale_points(case.points, scale)
    fitting = [
        other.name
        for other in cases
        if other.draft is not None and fit(other.draft, scaled) > max(_SURE, _POOR * expected)
    ]
    whose = f"they fit {fitting[0]}, so the files may be mixed up" if fitting else "give those of this image"
    return [f"the points fit the image no better than chance; {whose}"]


def _faults(report: PointReport, points: _Points, misplaced: list[str], *, known: bool) -> Iterator[str]:
    """Yields what is wrong with points, each a sentence; `known`: the misplacement explains points outside."""
    if len(report.outside) and report.shape is not None:
        row, column = points[report.outside[0]]
        swapped = inside(points[:, ::-1], report.shape).all()
        remedy = (
            "rows and columns look swapped, so swap their names in the header" if swapped else "correct or delete"
        )
        points_are = _count(len(report.outside), "point is", "points are")
        yield (
            f"{points_are} outside of the image of {report.shape[0]} rows and {report.shape[1]} columns, "
            f"the first (number {report.outside[0]}, counted from 0) at row {row:g}, "
            f"column {column:g}" + ("" if known else f"; {remedy}")
        )
    yield from misplaced
    if len(report.doubled):
        first, second = report.doubled[0]
        (row, column), distance = points[first], np.linalg.norm(points[first] - points[second])
        cells_look = _count(len(report.doubled), "cell looks", "cells look")
        yield (
            f"{cells_look} marked twice, the first at row {row:g}, column {column:g} "
            f"(points {first} and {second}, {distance:.1f} pixels apart); delete one of the two"
        )
    count = len(report.missing)
    if not report.points:
        seen = f", but {_count(count, 'place looks like a cell', 'places look like cells')}" if count else ""
        yield f"the image has no points{seen}; add some, or leave the image out if it shows cells"
    elif count > _FEW * report.points:
        places = _count(count, "place looks like a cell and has", "places look like cells and have")
        yield f"{places} no point; look at the picture, and add what is missing"


def _count(number: int, one: str, many: str) -> str:
    """Returns a number with the word for one or for many."""
    return f"{number} {one if number == 1 else many}"


def fit(values: _Values, points: _Places) -> float:
    """Returns how far the values of a map at points are above chance, in standard deviations of chance.

    It is Σ z / √n, where z are the standardised values at the n points: about -1..1 for points at random. A point
    outside of the map counts as 0.
    """
    return float(_fits_of_shifts(values, points, 0)[0, 0])


def best_placement(values: _Values, points: _Places) -> Placement:
    """Returns the best of all shifts by up to a quarter of the shorter side, of points as they are or swapped."""
    reach = int(_SEARCHED * min(values.shape))
    straight, swapped = (_fits_of_shifts(values, own, reach) for own in (points, points[:, ::-1]))
    best = max(straight, swapped, key=np.max)
    row, column = (int(index) for index in np.unravel_index(best.argmax(), best.shape))
    return Placement(
        float(straight[reach, reach]), float(best.max()), best is swapped, (row - reach, column - reach)
    )


def _fits_of_shifts(values: _Values, points: _Places, reach: int) -> Float64[np.ndarray, "shifts shifts"]:
    """Returns the fit of points shifted by -reach..reach rows and columns: a correlation of map and points."""
    deviation = values.std()
    if not len(points) or deviation == 0:
        return np.zeros((2 * reach + 1, 2 * reach + 1))
    standard = np.pad((values - values.mean()).astype(np.float64) / deviation, 2 * reach)
    counts = np.zeros(np.array(values.shape) + 2 * reach)
    # Points farther outside do not reach the map by any shift.
    places = np.round(points).astype(np.int64) + reach
    near = ((places >= 0) & (places < np.array(counts.shape))).all(axis=1)
    np.add.at(counts, tuple(places[near].T), 1.0)
    from scipy.signal import fftconvolve  # slow to import, and rarely needed

    return fftconvolve(standard, counts[::-1, ::-1], mode="valid") / np.sqrt(len(points))
