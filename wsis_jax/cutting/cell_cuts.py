"""Costs to a cut per cell, each in its window, and the cuts of all cells to one label image (paper §4)."""

import itertools
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int, Int32, Integer
from scipy import ndimage
from skimage.morphology import disk

from wsis_jax.core import (
    Config,
    Window,
    corner_of,
    enclose,
    grow,
    intersect,
    relative_to,
    whole_window,
    window_shape,
)
from wsis_jax.cutting.graphcut import Solver, chosen_solver, least_cut
from wsis_jax.cutting.terms import Costs
from wsis_jax.cutting.whole_costs import WholeCosts

if TYPE_CHECKING:
    from wsis_jax.cutting.pymaxflow_solver import SharedCut

_CONNECTED_8 = np.ones((3, 3), bool)
_CONNECTED_4 = ndimage.generate_binary_structure(2, 1)
# Pixels around the seeds of a cell in the windows that are tried for it where cells have no reach.
_MARGINS = (16, 32)

_Mask = Bool[np.ndarray, "rows columns"]
_Labels = Int32[np.ndarray, "height width"]
_Seeds = Integer[np.ndarray, "height width"]
_Peaks = Int[np.ndarray, "cells 2"]  # (row, column)
_Point = Int[np.ndarray, " 2"]  # (row, column)


@dataclass(frozen=True)
class CellMask:
    """The cut of one cell: a mask and the place of its window in the image."""

    window: Window
    mask: _Mask


def cut_cells(costs: Costs, peaks: _Peaks, *, config: Config) -> list[CellMask]:
    """Returns the cut of every cell, each what a cut of the whole image for that cell alone would give.

    A pixel farther than `config.cell_reach` from the peak is background by definition, so a window of that size is
    enough. Without a reach, as in the authors' code, an isolated cell may flood the image: small windows are tried
    until one proves that the rest of the image makes no difference to the cell; the cells for which none does are
    cut in the whole image, from the flow that they share. SciPy cannot share a flow: its windows grow further.

    Args:
        costs: of the image; seed i + 1 is that of `peaks[i]`, greater ones are of cells not asked for.
        config: in `config.cut`, `conflict` says which seed wins where filled seeds of two cells meet;
            `fill_others` fills holes in the union of the other cells' seeds, so that a ring of neighbours swallows
            the cell between them, as in the authors' code; `dilate` and `erode` are the radii of a dilation before
            holes in a cut are filled, and of an erosion after it.
    """
    boxes = _boxes(costs, len(peaks), config.cell_reach)

    def cell_of(number: int) -> _Cell:
        return _cell(number + 1, peaks[number], boxes[number], costs.seeds, config)

    solver = chosen_solver(config.cut.solver)
    whole = costs.whole()

    def in_windows(number: int) -> CellMask | None:
        return _cut_in_windows(cell_of(number), whole, costs.seeds, solver)

    # One after the other: PyMaxflow holds Python's lock, and threads that wait for it take longer than one alone.
    cuts = [in_windows(number) for number in range(len(peaks))]
    if any(part is None for part in cuts):
        from wsis_jax.cutting.pymaxflow_solver import SharedCut

        shared = SharedCut(whole, costs.seeds > 0)
        cuts = [part or _cut_in_image(cell_of(number), costs.seeds, shared) for number, part in enumerate(cuts)]
    limit = whole_window(costs.seeds.shape)
    return [_fill_holes(part, limit, config.cut.dilate, config.cut.erode) for part in cuts if part is not None]


def component_of(mask: _Mask, peak: _Point) -> _Mask:
    """Returns the 8-connected component that holds the peak, or else the one nearest to it."""
    box = _box_of(mask)  # cells are small in their windows
    components, count = ndimage.label(mask[box], _CONNECTED_8)
    if count <= 1:
        return mask
    place = _place(peak, box)
    own = components[tuple(place)] if mask[tuple(peak)] else 0
    if not own:
        distance = np.where(mask[box], distance_to(place, components.shape), np.inf)
        own = components.flat[np.argmin(distance)]
    alone = np.zeros(mask.shape, bool)
    alone[box] = components == own
    return alone


def _box_of(mask: _Mask) -> Window:
    """Returns the smallest window that holds all pixels of a mask; an empty one if there are none."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def distance_to(peak: _Point, shape: tuple[int, ...]) -> Float32[np.ndarray, "height width"]:
    """Returns every pixel's distance to a point."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return np.hypot(rows - peak[0], columns - peak[1]).astype(np.float32)


class _Cell(NamedTuple):
    """One cell and what is known of it whatever its window.

    Attributes:
        label: of its seeds.
        peak: (row, column).
        reach: pixels from the peak beyond which nothing belongs to it; None: no such bound.
        limit: the part of the image that it may lie in.
        own: its seeds within reach, holes filled; the window holds the peak, too; without a reach, its claims.
        others: the seeds of all others within the limit, holes filled, if they are to be filled.
        others_win: whether a pixel in its seeds and in those of others is of the others.
    """

    label: int
    peak: _Point
    reach: float | None
    limit: Window
    own: CellMask
    others: _Mask | None
    others_win: bool

    def seeds_in(self, window: Window, seeds: _Seeds) -> tuple[_Mask, _Mask]:
        """Returns what is foreground and what is background to the cell in a window that holds its own seeds."""
        far = _out_of_reach(self.reach, self.peak, window)
        own = np.zeros(far.shape, bool)
        own[relative_to(self.own.window, window)] = self.own.mask
        if self.others is None:
            others = (seeds[window] > 0) & (seeds[window] != self.label) & ~far
        else:
            others = self.others[relative_to(window, self.limit)]
        if self.others_win:
            own &= ~others
        # Its peak is always the cell's: one without seeds, or between stronger ones, does not vanish.
        own[tuple(_place(self.peak, window))] = True
        return own, (others | far) & ~own


def _boxes(costs: Costs, cells: int, reach: float | None) -> list[Window | None]:
    """Returns the box of the seeds of each cell, and of its claims if it may share a flow; None without."""
    boxes = ndimage.find_objects(costs.seeds, max(cells, 1))
    if costs.claims is None or reach is not None:
        return boxes
    # A cell that shares a flow with others costs, beyond its box, what it costs a cell without claims.
    claimed = ndimage.find_objects(np.where(costs.claims.weight > 0, costs.claims.owner, 0), len(boxes))
    return [enclose(own, more) if own and more else own or more for own, more in zip(boxes, claimed, strict=True)]


def _cell(label: int, peak: _Point, box: Window | None, seeds: _Seeds, config: Config) -> _Cell:
    """Returns the cell of a label, from its peak and its box of `_boxes`."""
    row, column = map(int, peak)
    at_peak = slice(row, row + 1), slice(column, column + 1)
    limit, reach = whole_window(seeds.shape), config.cell_reach
    if reach is not None:
        limit = grow(at_peak, _farthest(reach), limit)
    box = intersect(enclose(box or at_peak, at_peak), limit)
    # Seeds out of reach are dropped before holes are filled: no window shows all that lies there.
    own = _filled((seeds[box] == label) & ~_out_of_reach(reach, peak, box))
    others = None
    if config.cut.fill_others:
        theirs = (seeds[limit] > 0) & (seeds[limit] != label) & ~_out_of_reach(reach, peak, limit)
        others = _filled(theirs)
    return _Cell(label, peak, reach, limit, CellMask(box, own), others, config.cut.conflict == "background")


def _cut_in_windows(cell: _Cell, costs: WholeCosts, seeds: _Seeds, solver: Solver) -> CellMask | None:
    """Returns the cut of a cell, holes and all, from the first window that proves it; None if none does.

    Windows are as wide as `_MARGINS`, where PyMaxflow can go on in the whole image; those of SciPy double until
    they are the image.

    Whatever the cut of the whole image is outside a window, inside it is no smaller than the window's cut with all
    outside as background, and no larger than that with all outside as foreground: of the cheapest cuts
    `least_cut` gives the largest, and that grows with its surroundings. Where the two agree on the component of
    the peak, it is that of the whole image. The outermost pixels of the window stand for the outside. The first
    cut leaves them out, so a component in which the two agree ends within the window.
    """

    def component(foreground: _Mask, background: _Mask) -> _Mask:
        graph = costs.graph_of(cell.label, window, foreground, background)
        return component_of(least_cut(graph, solver=solver), _place(cell.peak, window))

    margins = _MARGINS if solver == "pymaxflow" else (_MARGINS[0] << step for step in itertools.count())
    windows = (grow(cell.own.window, margin, cell.limit) for margin in margins)
    for window in windows if cell.reach is None else [cell.limit]:
        foreground, background = cell.seeds_in(window, seeds)
        border = _border(window, cell.limit)
        least = component(foreground, background | border)
        if window == cell.limit:
            return CellMask(window, least)
        if np.array_equal(least, component(foreground | (border & ~background), background)):
            return CellMask(window, least)
    return None


def _cut_in_image(cell: _Cell, seeds: _Seeds, shared: "SharedCut") -> CellMask:
    """Returns the cut of a cell without a reach, holes and all, from the cut of the whole image."""
    # Elsewhere the seeds are those of all cells, if holes between them are not filled.
    window = cell.own.window if cell.others is None else cell.limit
    shared.solve(cell.label, window, *cell.seeds_in(window, seeds))
    margin = _MARGINS[0]
    while True:
        window = grow(cell.own.window, margin, cell.limit)
        mask = component_of(shared.mask(window), _place(cell.peak, window))
        if not (mask & _border(window, cell.limit)).any():
            return CellMask(window, mask)
        margin *= 2


def _place(point: _Point, window: Window) -> _Point:
    """Returns where a point of the image lies in a window."""
    return point - corner_of(window)


def _border(window: Window, limit: Window) -> _Mask:
    """Returns the outermost pixels of a window on those of its sides that are not the limit's."""
    (rows, columns), (height, width) = relative_to(window, limit), window_shape(limit)
    border = np.zeros(window_shape(window), bool)
    border[:1] |= rows.start > 0
    border[-1:] |= rows.stop < height
    border[:, :1] |= columns.start > 0
    border[:, -1:] |= columns.stop < width
    return border


def _out_of_reach(reach: float | None, peak: _Point, window: Window) -> _Mask:
    """Returns the pixels of a window that are farther from the peak than the cell reaches.

    With a reach, the window lies within the limit of the cell.
    """
    if reach is None:
        return np.zeros(window_shape(window), bool)
    row, column = map(int, peak)
    beyond = _beyond(reach)
    far = len(beyond) // 2
    return beyond[relative_to(window, (slice(row - far, row + far + 1), slice(column - far, column + far + 1)))]


@lru_cache(maxsize=8)
def _beyond(reach: float) -> _Mask:
    """Returns which pixels around a peak, in the middle, are out of its reach; all cells share it."""
    far = _farthest(reach)
    beyond = distance_to(np.array([far, far]), (2 * far + 1, 2 * far + 1)) > reach
    beyond.flags.writeable = False
    return beyond


def _farthest(reach: float) -> int:
    """Returns how far the limit of a cell goes: a pixel more than it reaches, so that all around is background."""
    return int(np.ceil(reach)) + 1


def _filled(mask: _Mask) -> _Mask:
    """Returns a mask with its holes: what is not connected, by pixel sides, to what lies around the array."""
    outside = np.ones((mask.shape[0] + 2, mask.shape[1] + 2), bool)
    outside[1:-1, 1:-1] = ~mask
    parts, count = ndimage.label(outside, _CONNECTED_4)
    return mask if count == 1 else parts[1:-1, 1:-1] != parts[0, 0]


def _fill_holes(part: CellMask, limit: Window, dilate: int, erode: int) -> CellMask:
    """Returns a cut without holes, dilated before and eroded after, in a window just large enough for both."""
    found, (top, left) = _box_of(part.mask), corner_of(part.window)
    box = slice(found[0].start + top, found[0].stop + top), slice(found[1].start + left, found[1].stop + left)
    window = grow(box, dilate + erode, limit)
    mask = np.zeros(window_shape(window), bool)
    mask[relative_to(box, window)] = part.mask[found]
    if dilate:
        mask = ndimage.binary_dilation(mask, disk(dilate))
    mask = _filled(mask)
    if erode:
        mask = ndimage.binary_erosion(mask, disk(erode), border_value=True)
    return CellMask(window, mask)


# Fusing


def fuse_nearest(cuts: list[CellMask], peaks: _Peaks, shape: tuple[int, int]) -> _Labels:
    """Returns one label image; a pixel in several cuts goes to the nearest of their peaks.

    Then every cell keeps the part that holds its peak, and a part cut off from it goes to the cell that it
    touches along most pixel sides, or to the background. Of equals the one whose peak comes first in raster order
    is taken, so that no step depends on the order of the cells.
    """
    return reassign_fragments(label_nearest(cuts, peaks, shape), peaks)


def label_nearest(cuts: list[CellMask], peaks: _Peaks, shape: tuple[int, int]) -> _Labels:
    """Returns the first step of `fuse_nearest`: labels of which parts may be cut off from their peak."""
    labels = np.zeros(shape, np.int32)
    nearest = np.full(shape, np.inf, np.float32)
    for cell in np.lexsort(peaks.T[::-1]):
        window, mask = cuts[cell].window, cuts[cell].mask
        distance = distance_to(_place(peaks[cell], window), mask.shape)
        closer = mask & (distance < nearest[window])
        labels[window][closer] = cell + 1
        nearest[window][closer] = distance[closer]
    return labels


def reassign_fragments(labels: _Labels, peaks: _Peaks) -> _Labels:
    """Returns the second step of `fuse_nearest`: labels in which each cell is in one piece, around its peak."""
    order = np.lexsort(peaks.T[::-1])
    ranks = np.zeros(len(peaks) + 1, np.int32)
    ranks[order + 1] = np.arange(1, len(peaks) + 1)
    return np.concatenate([[0], order + 1]).astype(np.int32)[_reassign(ranks[labels], peaks[order])]


def _reassign(labels: _Labels, peaks: _Peaks) -> _Labels:
    """Returns labels with parts cut off from their peak given to the cell that they touch most."""
    kept = np.zeros_like(labels)
    for label, window in enumerate(ndimage.find_objects(labels), start=1):
        if window is None:
            continue
        own = labels[window] == label
        inside = np.clip(_place(peaks[label - 1], window), 0, np.array(own.shape) - 1)
        kept[window][component_of(own, inside)] = label
    fragments, count = ndimage.label((labels > 0) & (kept == 0))
    settled = kept.copy()
    for part, window in zip(range(1, count + 1), ndimage.find_objects(fragments), strict=True):
        around = grow(window, 1, whole_window(labels.shape))
        own, neighbours = fragments[around] == part, np.pad(kept[around], 1)
        beside = [neighbours[:-2, 1:-1], neighbours[2:, 1:-1], neighbours[1:-1, :-2], neighbours[1:-1, 2:]]
        sides = np.concatenate([labels_beside[own] for labels_beside in beside])
        votes = np.bincount(sides[sides > 0])
        if len(votes):
            settled[around][own] = np.argmax(votes)
    return settled


def fuse_sequentially(cuts: list[CellMask], peaks: _Peaks, shape: tuple[int, int]) -> _Labels:
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
