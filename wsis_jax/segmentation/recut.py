"""Points that were edited, outlined again: cells whose points stayed keep labels and, where possible, pixels."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Int32, Int64, Real
from scipy import ndimage
from scipy.spatial import KDTree

from wsis_jax.core import Config, Segmentation
from wsis_jax.network import Model
from wsis_jax.segmentation.pipeline import segment

_SAME = 1e-3  # pixels between two places of one point: what is lost on the way through a viewer or a file
# Share of a cell from which another that changed has to do with it: one click in a pair that was one cell.
_SHARED = 0.2
_CONNECTED_8 = np.ones((3, 3), bool)

_Labels = Int[np.ndarray, "height width"]
_Points = Real[np.ndarray, "_ 2"]


class Outlined(NamedTuple):
    """Cells as they were outlined before their points were edited.

    Attributes:
        labels: 0 for background; numbers need not follow each other, and some may have no point.
        points: (row, column) of the cells, in pixels of `labels`.
        numbers: the label of each of them.
    """

    labels: Int[np.ndarray, "height width"]
    points: Real[np.ndarray, "cells 2"]
    numbers: Int[np.ndarray, " cells"]


class Edits(NamedTuple):
    """How points were edited.

    Attributes:
        before: of each point of now the index of the same one before; -1 where it was added, or moved here.
        removed: the indices of the points before that are no longer there, or not in that place.
    """

    before: Int64[np.ndarray, " points"]
    removed: Int64[np.ndarray, " removed"]

    @property
    def added(self) -> Int64[np.ndarray, " added"]:
        """The indices of the points of now that were added."""
        return np.flatnonzero(self.before < 0)

    @property
    def any(self) -> bool:
        """Whether there are any."""
        return bool(len(self.added) or len(self.removed))


class Recut(NamedTuple):
    """Cells that were outlined again.

    Attributes:
        labels: 0 for background.
        points: (row, column) of the cells: those given, but for a second one in the same pixel of the network.
        numbers: the label of each of them.
        changed: the labels whose pixels were drawn anew, and those that are gone.
        found: what the network found at these points; `found.points` are `points`.
    """

    labels: Int32[np.ndarray, "height width"]
    points: Float64[np.ndarray, "cells 2"]
    numbers: Int64[np.ndarray, " cells"]
    changed: Int64[np.ndarray, " labels"]
    found: Segmentation


def edits_of(before: _Points, now: _Points) -> Edits:
    """Returns which points were added and removed; a point that was moved is both."""
    partner = np.full(len(now), -1, np.int64)
    if len(before) and len(now):
        distance, index = KDTree(before).query(now)
        first = np.zeros(len(now), bool)
        close = np.flatnonzero(distance <= _SAME)
        first[close[np.unique(index[close], return_index=True)[1]]] = True
        partner[first] = index[first]
    return Edits(partner, np.setdiff1d(np.arange(len(before)), partner))


def cut_again(
    model: Model,
    image: Float[np.ndarray, "height width *channels"],
    before: Outlined,
    points: _Points,
    *,
    config: Config | None = None,
) -> Recut:
    """Outlines exactly the cells of edited points, and changes no more than the edits ask for.

    The network looks at the image anew, so that added cells are what `segment` makes of them. All others keep
    their label and their pixels, unless they share ground with an added or a removed cell: those in which a point
    was added, those that lose more than a fifth to an added cell, and those that gain more than a fifth of a
    removed one. These keep their label, and are drawn anew. Added cells have labels that none had before.

    Args:
        model, image, config: those of `segment`.
        before: the cells as they were outlined.
        points: (row, column) of the cells as they are now.

    Raises:
        UserError: as `segment` does with points.
    """
    return keep_unchanged(before, segment(model, image, config=config, points=points))


def keep_unchanged(before: Outlined, found: Segmentation) -> Recut:
    """Returns cells before, but for those that have to do with the points that `found` has more or less of.

    See `cut_again`, which this is but for `segment`.
    """
    edits = edits_of(before.points, found.points)
    kept = np.flatnonzero(edits.before >= 0)
    numbers = np.zeros(len(found.points), np.int64)
    numbers[kept] = before.numbers[edits.before[kept]]
    first = max(int(before.labels.max(initial=0)), int(before.numbers.max(initial=0))) + 1
    numbers[edits.added] = first + np.arange(len(edits.added))
    gone = before.numbers[edits.removed].astype(np.int64)
    anew = _drawn_anew(before, found, numbers, edits)
    labels = np.where(np.isin(before.labels, [*gone, *numbers[anew]]), 0, before.labels).astype(np.int32)
    for cell in np.flatnonzero(anew):
        own = (found.labels == cell + 1) & (labels == 0)
        labels[_piece_at(own, found.points[cell])] = numbers[cell]
    changed = np.union1d(gone, numbers[anew])
    return Recut(labels, found.points, numbers, changed, found)


def _drawn_anew(
    before: Outlined, found: Segmentation, numbers: Int64[np.ndarray, " cells"], edits: Edits
) -> Bool[np.ndarray, " cells"]:
    """Returns which of the found cells are drawn as they were found, and not as they were before."""
    anew = edits.before < 0
    gone = before.numbers[edits.removed]
    old, new = before.labels.ravel(), found.labels.ravel()
    pairs, counts = np.unique(np.stack([old, new]), axis=1, return_counts=True)
    sizes = dict(zip(*np.unique(old, return_counts=True), strict=True))
    cell_of = {int(number): cell for cell, number in enumerate(numbers)}
    for (one, other), pixels in zip(pairs.T, counts, strict=True):
        if not one or not other or pixels <= _SHARED * sizes[one]:
            continue
        if edits.before[other - 1] < 0 and int(one) in cell_of:
            anew[cell_of[int(one)]] = True  # it loses much to an added cell
        if one in gone:
            anew[other - 1] = True  # it gains much of a removed one
    shape = np.array(before.labels.shape)
    for cell in edits.added:
        row, column = np.clip(np.floor(found.points[cell] + 0.5).astype(int), 0, shape - 1)
        clicked = int(before.labels[row, column])
        if clicked in cell_of:
            anew[cell_of[clicked]] = True
    for cell in np.flatnonzero(~anew):
        anew[cell] = numbers[cell] not in sizes
    return anew


def _piece_at(mask: Bool[np.ndarray, "height width"], point: Float[np.ndarray, " 2"]) -> np.ndarray:
    """Returns the connected part of a mask that a point lies in, or the largest where it lies in none."""
    pieces, count = ndimage.label(mask, _CONNECTED_8)
    if count <= 1:
        return mask
    row, column = np.clip(np.floor(point + 0.5).astype(int), 0, np.array(mask.shape) - 1)
    own = pieces[row, column] or 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
    return pieces == own
