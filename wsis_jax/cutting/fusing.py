"""Cuts of many cells to one label image (paper §4)."""

import numpy as np
from jaxtyping import Int, Int32
from scipy import ndimage

from wsis_jax.cutting.cell_cuts import CellMask, component_of, distance_to


def fuse_nearest(
    cuts: list[CellMask], peaks: Int[np.ndarray, "cells 2"], shape: tuple[int, int]
) -> Int32[np.ndarray, "height width"]:
    """Returns one label image; a pixel in several cuts goes to the nearest of their peaks.

    Then every cell keeps the part that holds its peak, and a part cut off from it goes to the cell that it
    touches along most pixel sides, or to the background. Of equals the one whose peak comes first in raster order
    is taken, so that no step depends on the order of the cells.
    """
    return settle_orphans(label_nearest(cuts, peaks, shape), peaks)


def label_nearest(
    cuts: list[CellMask], peaks: Int[np.ndarray, "cells 2"], shape: tuple[int, int]
) -> Int32[np.ndarray, "height width"]:
    """Returns the first step of `fuse_nearest`: labels of which parts may be cut off from their peak."""
    labels = np.zeros(shape, np.int32)
    nearest = np.full(shape, np.inf, np.float32)
    for cell in np.lexsort(peaks.T[::-1]):
        window, mask = cuts[cell].window, cuts[cell].mask
        distance = distance_to(peaks[cell] - [window[0].start, window[1].start], mask.shape)
        closer = mask & (distance < nearest[window])
        labels[window][closer] = cell + 1
        nearest[window][closer] = distance[closer]
    return labels


def settle_orphans(
    labels: Int32[np.ndarray, "height width"], peaks: Int[np.ndarray, "cells 2"]
) -> Int32[np.ndarray, "height width"]:
    """Returns the second step of `fuse_nearest`: labels in which all of a cell hangs together with its peak."""
    order = np.lexsort(peaks.T[::-1])
    ranks = np.zeros(len(peaks) + 1, np.int32)
    ranks[order + 1] = np.arange(1, len(peaks) + 1)
    return np.concatenate([[0], order + 1]).astype(np.int32)[_settle(ranks[labels], peaks[order])]


def fuse_sequentially(
    cuts: list[CellMask], peaks: Int[np.ndarray, "cells 2"], shape: tuple[int, int]
) -> Int32[np.ndarray, "height width"]:
    """Returns one label image as the authors' code does: cell after cell, in the order of the peaks.

    Where a cut meets an earlier cell's pixels they are divided by the distance to the two peaks; parts of the
    earlier cell that this cuts off go to the new one. The result depends on the order of the cells.
    """
    labels = np.zeros(shape, np.int32)
    distances = [distance_to(peak, shape) for peak in peaks]
    for cell, part in enumerate(cuts):
        new = np.zeros(shape, bool)
        new[part.window] = part.mask
        for other in np.unique(labels[new & (labels > 0)]) - 1:
            shared = new & (labels == other + 1)
            new[shared & (distances[other] <= distances[cell])] = False
            labels[shared & new] = 0
            rest = labels == other + 1
            detached = rest & ~component_of(rest, peaks[other])
            labels[detached] = 0
            new |= detached
        labels[new] = cell + 1
    return labels


def _settle(
    labels: Int32[np.ndarray, "height width"], peaks: Int[np.ndarray, "cells 2"]
) -> Int32[np.ndarray, "height width"]:
    """Gives parts of cells cut off from their peak to the cells that they touch most; peaks in raster order."""
    kept = np.zeros_like(labels)
    for label, window in enumerate(ndimage.find_objects(labels), start=1):
        if window is None:
            continue
        peak = peaks[label - 1] - [window[0].start, window[1].start]
        own = labels[window] == label
        inside = np.clip(peak, 0, np.array(own.shape) - 1)
        kept[window][component_of(own, inside)] = label
    orphans, count = ndimage.label((labels > 0) & (kept == 0))
    settled = kept.copy()
    for part, window in zip(range(1, count + 1), ndimage.find_objects(orphans), strict=True):
        around = tuple(slice(max(s.start - 1, 0), s.stop + 1) for s in window)
        own, neighbours = orphans[around] == part, kept[around]
        padded = np.pad(neighbours, 1)
        beside = [padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]]
        sides = np.concatenate([labels_beside[own] for labels_beside in beside])
        votes = np.bincount(sides[sides > 0])
        if len(votes):
            settled[around][own] = np.argmax(votes)
    return settled
