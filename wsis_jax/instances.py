"""Winner map to seeds, seeds to one cut per cell, cuts to one label image (paper §4)."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int32, Integer
from scipy import ndimage
from skimage.morphology import disk

from wsis_jax.graphcut import cut, edge_weights

_CONNECTED_8 = np.ones((3, 3), bool)


@dataclass(frozen=True)
class CellMask:
    """The cut of one cell: a mask and the place of its window in the image."""

    window: tuple[slice, slice]
    mask: Bool[np.ndarray, "rows columns"]


def foreground_seeds(
    value: Float[np.ndarray, "height width"],
    owner: Int[np.ndarray, "height width"],
    *,
    scale: Literal["max", "raw"],
    threshold: float,
    min_area: int,
) -> Int32[np.ndarray, "height width"]:
    """Returns i + 1 at the foreground seeds of cell i: the pixels whose contribution it wins clearly.

    Args:
        value, owner: of the winner map, see `guided.WinnerMap`.
        scale: contributions are divided by the greatest one in the image ("max"), or by 255 ("raw", as in the
            authors' code, where the result depends on the scale of the weights).
        threshold: scaled contributions above this are seeds.
        min_area: 8-connected components of seeds with fewer pixels are dropped.
    """
    greatest = float(value.max(initial=0)) if scale == "max" else 255.0
    return _without_small_components(np.where(value > threshold * greatest, owner, 0), min_area)


def cut_cells(
    image: Float[np.ndarray, "height width"],
    peaks: Int[np.ndarray, "cells 2"],
    seeds: Integer[np.ndarray, "height width"],
    *,
    reach: float | None,
    data: Literal["inverse", "flat"],
    data_weight: float,
    edge_weight: float,
    edge_bright: float,
    edge_step: float,
    edge_pixel: Literal["max", "first"],
    conflict: Literal["foreground", "background"],
    fill_others: bool,
    dilate: int,
    erode: int,
) -> list[CellMask]:
    """Returns the cut of every cell, each solved alone in its window.

    A pixel farther than `reach` from the peak is background by decree, so a window of that size gives exactly
    what a cut over the whole image would. Without a reach the window is the image.

    Args:
        image: normalised, 0..1.
        peaks: (row, column) of the cells.
        seeds: i + 1 at the foreground seeds of cell i; to every other cell they are background.
        reach: pixels from the peak beyond which nothing belongs to the cell; None for the authors' way, in
            which an isolated cell may flood the image.
        data: "inverse" prefers pixels darker than the image's median for the cell, in proportion (the paper's
            inverse image); "flat" charges every pixel of the cell the same.
        data_weight: cost of a pixel one unit of intensity from the median; or the flat charge.
        edge_weight, edge_bright, edge_step, edge_pixel: see `graphcut.edge_weights`.
        conflict: which seed wins where filled seeds of two cells meet.
        fill_others: fill holes in the union of the other cells' seeds; a ring of neighbours then swallows the
            cell between them, as in the authors' code.
        dilate, erode: radius of a dilation before holes in a cut are filled, and of an erosion after it.
    """
    if data == "inverse":
        preference = data_weight * (np.median(image) - image)
    else:
        preference = np.full(image.shape, -data_weight)
    right, down = edge_weights(image, weight=edge_weight, bright=edge_bright, step=edge_step, pixel=edge_pixel)

    def solve(cell: int) -> CellMask:
        window = _window(peaks[cell], image.shape, reach)
        peak = peaks[cell] - [window[0].start, window[1].start]
        far = _distance(peak, seeds[window].shape) > (np.inf if reach is None else reach)
        # Seeds out of reach are dropped before holes are filled: the window does not show all that lies there.
        own, others = ~far & (seeds[window] == cell + 1), ~far & (seeds[window] > 0) & (seeds[window] != cell + 1)
        own = ndimage.binary_fill_holes(own)
        if fill_others:
            others = ndimage.binary_fill_holes(others)
        own, others = (own & ~others, others) if conflict == "background" else (own, others & ~own)
        # Its peak is the cell's whatever else is: one without seeds, or between stronger ones, does not vanish.
        own[tuple(peak)], others[tuple(peak)] = True, False
        mask = cut(preference[window], right[window], down[window], own, others | far)
        return CellMask(window, _tidy(mask, peak, dilate, erode))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(solve, range(len(peaks))))


def fuse_nearest(
    cuts: list[CellMask], peaks: Int[np.ndarray, "cells 2"], shape: tuple[int, int]
) -> Int32[np.ndarray, "height width"]:
    """Returns one label image; a pixel in several cuts goes to the nearest of their peaks.

    Then every cell keeps the part that holds its peak, and a part cut off from it goes to the cell that it
    touches along most pixel sides, or to the background. Of equals the one whose peak comes first in raster order
    is taken, so that no step depends on the order of the cells.
    """
    labels = np.zeros(shape, np.int32)
    nearest = np.full(shape, np.inf, np.float32)
    order = np.lexsort(peaks.T[::-1])
    for rank, cell in enumerate(order, start=1):
        window, mask = cuts[cell].window, cuts[cell].mask
        distance = _distance(peaks[cell] - [window[0].start, window[1].start], mask.shape)
        closer = mask & (distance < nearest[window])
        labels[window][closer] = rank
        nearest[window][closer] = distance[closer]
    return np.concatenate([[0], order + 1]).astype(np.int32)[_settle_orphans(labels, peaks[order])]


def fuse_sequentially(
    cuts: list[CellMask], peaks: Int[np.ndarray, "cells 2"], shape: tuple[int, int]
) -> Int32[np.ndarray, "height width"]:
    """Returns one label image as the authors' code does: cell after cell, in the order of the peaks.

    Where a cut meets an earlier cell's pixels they are divided by the distance to the two peaks; parts of the
    earlier cell that this cuts off go to the new one. The result depends on the order of the cells.
    """
    labels = np.zeros(shape, np.int32)
    distances = [_distance(peak, shape) for peak in peaks]
    for cell, part in enumerate(cuts):
        new = np.zeros(shape, bool)
        new[part.window] = part.mask
        for other in np.unique(labels[new & (labels > 0)]) - 1:
            shared = new & (labels == other + 1)
            new[shared & (distances[other] <= distances[cell])] = False
            labels[shared & new] = 0
            rest = labels == other + 1
            detached = rest & ~_component_of(rest, peaks[other])
            labels[detached] = 0
            new |= detached
        labels[new] = cell + 1
    return labels


def _window(peak: Int[np.ndarray, " 2"], shape: tuple[int, int], reach: float | None) -> tuple[slice, slice]:
    """Returns the part of the image within `reach` of a peak and a rim of background around it."""
    if reach is None:
        return slice(0, shape[0]), slice(0, shape[1])
    half = int(np.ceil(reach)) + 1
    rows, columns = (
        slice(max(int(p) - half, 0), min(int(p) + half + 1, n)) for p, n in zip(peak, shape, strict=True)
    )
    return rows, columns


def _distance(peak: Int[np.ndarray, " 2"], shape: tuple[int, ...]) -> Float32[np.ndarray, "height width"]:
    """Returns every pixel's distance to a point."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return np.hypot(rows - peak[0], columns - peak[1]).astype(np.float32)


def _tidy(
    mask: Bool[np.ndarray, "rows columns"], peak: Int[np.ndarray, " 2"], dilate: int, erode: int
) -> Bool[np.ndarray, "rows columns"]:
    """Returns the component of the peak, without holes."""
    mask = _component_of(mask, peak)
    if dilate:
        mask = ndimage.binary_dilation(mask, disk(dilate))
    mask = ndimage.binary_fill_holes(mask)
    if erode:
        mask = ndimage.binary_erosion(mask, disk(erode), border_value=True)
    return mask


def _component_of(
    mask: Bool[np.ndarray, "rows columns"], peak: Int[np.ndarray, " 2"]
) -> Bool[np.ndarray, "rows columns"]:
    """Returns the 8-connected component that holds the peak, or else the one nearest to it."""
    components, count = ndimage.label(mask, _CONNECTED_8)
    if count <= 1:
        return mask
    own = components[tuple(peak)]
    if not own:
        distance = np.where(mask, _distance(peak, mask.shape), np.inf)
        own = components.flat[np.argmin(distance)]
    return components == own


def _without_small_components(
    owner: Int[np.ndarray, "height width"], min_area: int
) -> Int32[np.ndarray, "height width"]:
    """Returns the owners without the 8-connected components of one owner that are smaller than `min_area`."""
    components = _components(owner)
    small = np.bincount(components.ravel()) < min_area
    return np.where(small[components], 0, owner).astype(np.int32)


def _components(labels: Int[np.ndarray, "height width"]) -> Int32[np.ndarray, "height width"]:
    """Returns the number of each 8-connected component of equal labels; 0 is background."""
    components = np.zeros(labels.shape, np.int32)
    count = 0
    for label, window in enumerate(ndimage.find_objects(labels), start=1):
        if window is None:
            continue
        own, parts = ndimage.label(labels[window] == label, _CONNECTED_8)
        components[window] += np.where(own > 0, own + count, 0)
        count += parts
    return components


def _settle_orphans(
    labels: Int32[np.ndarray, "height width"], peaks: Int[np.ndarray, "cells 2"]
) -> Int32[np.ndarray, "height width"]:
    """Gives the parts of cells that are cut off from their peak to the cells that they touch most."""
    kept = np.zeros_like(labels)
    for label, window in enumerate(ndimage.find_objects(labels), start=1):
        if window is None:
            continue
        peak = peaks[label - 1] - [window[0].start, window[1].start]
        own = labels[window] == label
        inside = np.clip(peak, 0, np.array(own.shape) - 1)
        kept[window][_component_of(own, inside)] = label
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
