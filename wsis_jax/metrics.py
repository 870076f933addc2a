"""Measures of how well cells are found and outlined, as pure functions of arrays.

`match_points` compares points, `match_labels` label images. Both return the sufficient statistics of one
image; `pool_scores` adds those of many images before any division, so that every cell weighs the same.

Scores lie in 0..1 and are never NaN. Where a score would divide by zero, it is 1.0 if there is nothing to
find and nothing found, and 0.0 otherwise.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Integer, Real
from scipy.sparse import coo_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from scipy.spatial import KDTree

Labels = Integer[np.ndarray, "height width"]  # label images; 0 is background, the values need not be contiguous
_Pairs, _Weights = Int[np.ndarray, " pairs"], Float[np.ndarray, " pairs"]

AP_THRESHOLDS = np.arange(50, 100, 5) / 100  # of the IoU; quotients, so that 11/20 reaches 0.55
CLOSENESS_DECAY = 0.01  # of what a pair of points is worth, per pixel, as in the authors' code
SPLIT_COST, MISS_COST, FALSE_COST = 5, 10, 1  # of a repair, for DET: AOGM-D, Matula et al. 2015


class PointMatch(NamedTuple):
    """Predicted points paired one to one with true points, and what is left over."""

    pairs: Int[np.ndarray, "pairs 2"]  # (index of the predicted point, index of the true point)
    true_positives: int
    false_positives: int
    false_negatives: int

    @property
    def precision(self) -> float:
        """Share of the predicted points that are true, 0..1."""
        found = self.true_positives + self.false_positives
        return _ratio(self.true_positives, found, nothing=self.false_negatives == 0)

    @property
    def recall(self) -> float:
        """Share of the true points that are found, 0..1."""
        wanted = self.true_positives + self.false_negatives
        return _ratio(self.true_positives, wanted, nothing=self.false_positives == 0)

    @property
    def f_measure(self) -> float:
        """Harmonic mean of precision and recall, 0..1."""
        both = 2 * self.true_positives + self.false_positives + self.false_negatives
        return _ratio(2 * self.true_positives, both, nothing=True)


class LabelMatch(NamedTuple):
    """Sufficient statistics of one predicted label image; the true cells are sorted by label."""

    areas: Int[np.ndarray, " cells"]  # of the true cells, in pixels
    predictions: int  # number of predicted cells
    dice_terms: Float[np.ndarray, " cells"]  # Dice with the prediction of greatest overlap, else 0
    one_to_one_terms: Float[np.ndarray, " cells"]  # Dice with the assigned prediction, else 0
    iou_terms: Float[np.ndarray, " cells"]  # IoU with the prediction that reaches one half, else 0
    seg_terms: Float[np.ndarray, " cells"]  # IoU with the prediction that covers more than half, else 0
    aji_intersection: int  # pixels
    aji_union: int  # pixels
    splits: int  # cuts needed so that each prediction covers one true cell
    misses: int  # true cells that no prediction covers by more than half
    false_detections: int  # predictions that cover no true cell by more than half

    @property
    def cells(self) -> int:
        """Number of true cells."""
        return len(self.areas)


@dataclasses.dataclass(frozen=True)
class Scores:
    """Scores pooled over images, each 0..1 and higher for better."""

    f_measure: float  # of points, like the next two
    precision: float
    recall: float
    mdice: float  # the paper's: mean over true cells, false positives cost nothing
    dice_one_to_one: float  # summed Dice of assigned cells / (true cells + unassigned predictions)
    ap50: float  # TP / (TP + FP + FN) at IoU 0.5
    ap: float  # mean of the same at IoU 0.50, 0.55 ... 0.95
    pq: float  # panoptic quality at IoU 0.5
    aji: float  # aggregated Jaccard index
    seg: float  # Cell Tracking Challenge
    det: float  # Cell Tracking Challenge, the true masks serving as markers
    cells: int  # number of true cells

    def to_dict(self) -> dict[str, float | int]:
        """Returns the fields by name, ready for JSON."""
        return dataclasses.asdict(self)


def match_points(
    predicted: Real[np.ndarray, "predicted 2"], truth: Real[np.ndarray, "truth 2"], *, distance: float | int
) -> PointMatch:
    """_Pairs predicted with true points one to one, as many as possible and then as close as possible.

    Of all pairings within `distance` pixels (inclusive; the reference takes 10 for detection and 40 for the
    centroids of segmented cells), those with most pairs are kept, and of these the one with the greatest sum
    of exp(-0.01 d). The reference's integer linear program maximises that sum alone. The two agree unless
    giving up a pair brings many others closer: more than 10 of them at 10 px, more than 3 at 40 px. Unlike
    there, points near the border count like all others, and an image without prediction counts its misses.

    Raises:
        ValueError: If the points are not finite (row, column), or `distance` is negative or NaN.
    """
    for name, points in {"predicted": predicted, "truth": truth}.items():
        if points.ndim != 2 or points.shape[1] != 2 or not np.all(np.isfinite(points)):
            raise ValueError(f"{name} must be finite points of shape (n, 2); its shape is {points.shape}.")
    if not distance >= 0:
        raise ValueError(f"distance must be 0 or more, not {distance}.")
    shape = len(predicted), len(truth)
    pairs = np.empty((0, 2), np.int64)
    if min(shape) > 0:
        near = KDTree(predicted).sparse_distance_matrix(KDTree(truth), distance, output_type="ndarray")
        # One more pair outweighs all the closeness that any pairing can gain.
        weights = min(shape) + np.exp(-CLOSENESS_DECAY * near["v"])
        chosen = np.sort(near[_assign(near["i"], near["j"], weights, shape)], order="i")
        pairs = np.stack([chosen["i"], chosen["j"]], axis=1).astype(np.int64)
    return PointMatch(pairs, len(pairs), shape[0] - len(pairs), shape[1] - len(pairs))


def match_labels(labels: Labels, masks: Labels, *, min_cell_area: int = 0) -> LabelMatch:
    """Compares predicted cells (`labels`) with true cells (`masks`), all from one table of overlaps.

    * mDice (the paper's): each true cell takes the prediction that shares most pixels with it, or 0 if none
      does; one prediction may serve several. Ties go to the smaller prediction, whose Dice is higher.
    * One-to-one Dice: the assignment with the greatest sum of Dice, ties going to more pairs; unassigned true
      cells and unassigned predictions count 0.
    * AP (as in StarDist and Cellpose) and PQ (Kirillov et al. 2019): pairs with IoU >= 0.5. These
      exclude each other only as two exact halves of a cell, which are alike: no assignment to optimise.
    * AJI (Kumar et al. 2017, Algorithm 1): each true cell takes the prediction of greatest IoU, taken before
      or not; predictions never taken add to the union. Ties go to the greater overlap, then the lower label.
    * SEG and DET (Cell Tracking Challenge): a prediction matches each true cell of which it covers more than
      half. DET is a weighted count of repairs, AOGM-D of Matula et al. 2015.

    Three habits of the reference code are left out. It counts no misses in an image without prediction. Its
    border rule has a bug: the first true id without overlapping prediction deletes, in place, all true cells
    that touch the border from then on; here the border makes no difference. And here arrays are only read.

    True cells of fewer than `min_cell_area` pixels (20 is customary with the reference) become background
    before anything else: a prediction there is a false positive.

    Raises:
        ValueError: If the shapes differ, or an array is not two-dimensional, not of integers, or negative.
    """
    _check_labels(labels=labels, masks=masks)
    if labels.shape != masks.shape:
        raise ValueError(f"labels and masks must have the same shape, not {labels.shape} and {masks.shape}.")
    starts, lengths = _runs(labels, masks)
    true_values, true_runs = np.unique(masks.ravel()[starts], return_inverse=True)
    values, runs = np.unique(labels.ravel()[starts], return_inverse=True)
    codes, code_runs = np.unique(true_runs * len(values) + runs, return_inverse=True)
    true_sizes, sizes, overlaps = (np.bincount(g, lengths).astype(int) for g in (true_runs, runs, code_runs))
    # Leave out the background and the small cells, and number the rest from 0.
    is_cell, is_prediction = (true_values > 0) & (true_sizes >= min_cell_area), values > 0
    rows, columns = np.divmod(codes, max(len(values), 1))
    kept = is_cell[rows] & is_prediction[columns]
    overlaps = overlaps[kept]
    rows, columns = np.cumsum(is_cell)[rows[kept]] - 1, np.cumsum(is_prediction)[columns[kept]] - 1
    areas, predicted_areas = true_sizes[is_cell], sizes[is_prediction]
    cells, predictions = len(areas), len(predicted_areas)

    sums = areas[rows] + predicted_areas[columns]
    dice, iou = 2 * overlaps / sums, overlaps / (sums - overlaps)

    def terms(quality: _Weights, chosen: Int[np.ndarray, " chosen"]) -> np.ndarray:
        result = np.zeros(cells)
        result[rows[chosen]] = quality[chosen]
        return result

    most = _first_of_row(rows, predicted_areas[columns], -overlaps)
    assigned = _assign(rows, columns, dice + 1e-9, (cells, predictions))  # the bonus settles ties
    half = np.flatnonzero(iou >= 0.5)
    half = half[np.unique(rows[half], return_index=True)[1]]
    half = half[np.unique(columns[half], return_index=True)[1]]
    jaccard = _first_of_row(rows, columns, -overlaps, -iou)
    taken = columns[jaccard]
    covering = np.flatnonzero(2 * overlaps > areas[rows])
    owners = len(np.unique(columns[covering]))
    # Every true cell, every untaken prediction, and the taken ones once for each cell that took them.
    sides = areas.sum() + predicted_areas[taken].sum() + np.delete(predicted_areas, taken).sum()
    return LabelMatch(
        areas=areas,
        predictions=predictions,
        dice_terms=terms(dice, most),
        one_to_one_terms=terms(dice, assigned),
        iou_terms=terms(iou, half),
        seg_terms=terms(iou, covering),
        aji_intersection=int(overlaps[jaccard].sum()),
        aji_union=int(sides - overlaps[jaccard].sum()),
        splits=len(covering) - owners,
        misses=cells - len(covering),
        false_detections=predictions - owners,
    )


def pool_scores(label_matches: Sequence[LabelMatch], point_matches: Sequence[PointMatch]) -> Scores:
    """Adds counts and terms over images (one match of each kind per image), then divides once.

    Raises:
        ValueError: If there is no image, or the two sequences differ in length.
    """
    if not 0 < len(label_matches) == len(point_matches):
        raise ValueError("label_matches and point_matches must hold one match per image, of at least 1 image.")
    points, total = PointMatch._make(_pooled(point_matches)), LabelMatch._make(_pooled(label_matches))
    cells, either, nothing = total.cells, total.cells + total.predictions, total.predictions == 0
    assigned = int(np.count_nonzero(total.one_to_one_terms))
    hits = [int(np.count_nonzero(total.iou_terms >= threshold)) for threshold in AP_THRESHOLDS]
    precisions = [_ratio(n, either - n, nothing=True) for n in hits]
    repairs = SPLIT_COST * total.splits + MISS_COST * total.misses + FALSE_COST * total.false_detections
    return Scores(
        f_measure=points.f_measure,
        precision=points.precision,
        recall=points.recall,
        mdice=_ratio(total.dice_terms.sum(), cells, nothing=nothing),
        dice_one_to_one=_ratio(total.one_to_one_terms.sum(), either - assigned, nothing=True),
        ap50=precisions[0],
        ap=float(np.mean(precisions)),
        pq=_ratio(total.iou_terms.sum(), either / 2, nothing=True),
        aji=_ratio(total.aji_intersection, total.aji_union, nothing=True),
        seg=_ratio(total.seg_terms.sum(), cells, nothing=nothing),
        det=_ratio(max(MISS_COST * cells - repairs, 0), MISS_COST * cells, nothing=nothing),
        cells=cells,
    )


def centroids(labels: Labels) -> Float[np.ndarray, "cells 2"]:
    """Returns the mean (row, column) of each cell in pixels, sorted by label.

    Raises:
        ValueError: If the array is not two-dimensional, not of integers, or negative.
    """
    _check_labels(labels=labels)
    starts, lengths = _runs(labels)
    inside = labels.ravel()[starts] > 0
    starts, lengths = starts[inside], lengths[inside]
    cells = np.unique(labels.ravel()[starts], return_inverse=True)[1]
    rows, columns = np.divmod(starts, max(labels.shape[1], 1))
    middles = rows, columns + (lengths - 1) / 2
    return np.stack([np.bincount(cells, lengths * m) / np.bincount(cells, lengths) for m in middles], axis=1)


def _check_labels(**images: np.ndarray) -> None:
    """Raises ValueError unless each image is a two-dimensional array of integers, none of them negative."""
    for name, image in images.items():
        if image.ndim != 2 or not np.issubdtype(image.dtype, np.integer):
            raise ValueError(f"{name} must be integers in two dimensions, not {image.dtype} in {image.ndim}.")
        if image.size > 0 and image.min() < 0:
            raise ValueError(f"{name} must not be negative; its minimum is {image.min()}.")


def _runs(*images: Labels) -> tuple[Int[np.ndarray, " runs"], Int[np.ndarray, " runs"]]:
    """Returns first flat index and length of each stretch of a row in which no image changes."""
    new = np.zeros(images[0].shape, bool)
    new[:, :1] = True
    for image in images:
        new[:, 1:] |= image[:, 1:] != image[:, :-1]
    starts = np.flatnonzero(new)
    return starts, np.diff(starts, append=new.size)


def _first_of_row(rows: _Pairs, *keys: Real[np.ndarray, " pairs"]) -> np.ndarray:
    """Returns, for each row that occurs, its pair with the smallest keys, the last one foremost."""
    order = np.lexsort((*keys, rows))
    return order[np.unique(rows[order], return_index=True)[1]]


def _assign(rows: _Pairs, columns: _Pairs, weights: _Weights, shape: tuple[int, int]) -> np.ndarray:
    """Returns the indices of the pairs, no row or column twice, with the greatest sum of positive weights."""
    if len(rows) == 0:
        return np.empty(0, np.int64)
    # Each row may also stay alone, in a column of its own with weight 0, so that a full matching exists.
    height, width = shape
    alone, price = np.arange(height), weights.max() + 1
    costs = np.concatenate([price - weights, np.full(height, price)])
    places = np.concatenate([rows, alone]), np.concatenate([columns, width + alone])
    # SciPy 1.14 matches only with indices of 32 bits.
    graph = coo_array((costs, tuple(axis.astype(np.int32) for axis in places)), shape=(height, width + height))
    row, partner = min_weight_full_bipartite_matching(graph.tocsr())
    partner = partner[np.argsort(row)]
    return np.flatnonzero(partner[rows] == columns)


def _pooled(matches: Sequence[tuple]) -> Iterator[np.ndarray | int]:
    """Yields each field over all matches: arrays end to end, numbers added."""
    for field in zip(*matches, strict=True):
        yield np.concatenate(field) if isinstance(field[0], np.ndarray) else sum(field)


def _ratio(part: float | int, whole: float | int, *, nothing: bool) -> float:
    """Returns part / whole; where whole is 0, 1.0 if there is nothing to find and nothing found, else 0.0."""
    return float(part / whole) if whole > 0 else float(nothing)
