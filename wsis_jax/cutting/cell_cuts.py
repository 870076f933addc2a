"""Seeds to one cut per cell, each in its window (paper §4)."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Integer
from scipy import ndimage
from skimage.morphology import disk

from wsis_jax.cutting.graphcut import SharedCut, cut
from wsis_jax.cutting.seeds import Claims

_CONNECTED_8 = np.ones((3, 3), bool)
# Pixels around the seeds of a cell in the windows that are tried for it where cells have no reach.
_MARGINS = (16, 32)

_Window = tuple[slice, slice]
_Mask = Bool[np.ndarray, "rows columns"]


@dataclass(frozen=True)
class CellMask:
    """The cut of one cell: a mask and the place of its window in the image."""

    window: tuple[slice, slice]
    mask: Bool[np.ndarray, "rows columns"]


def cut_cells(
    preference: Float[np.ndarray, "height width"],
    right: Float[np.ndarray, "height width"],
    down: Float[np.ndarray, "height width"],
    peaks: Int[np.ndarray, "cells 2"],
    seeds: Integer[np.ndarray, "height width"],
    *,
    claims: Claims | None = None,
    reach: float | None,
    conflict: Literal["foreground", "background"],
    fill_others: bool,
    dilate: int,
    erode: int,
) -> list[CellMask]:
    """Returns the cut of every cell, each what a cut of the whole image for that cell alone would give.

    A pixel farther than `reach` from the peak is background by decree, so a window of that size is enough. Without
    a reach, small windows are tried until one proves that the rest of the image makes no difference to the cell;
    the cells for which none does are cut in the whole image, from the flow that they share.

    Args:
        preference: what leaving a pixel out of a cell costs; where negative, what taking it in costs.
        right, down: what it costs to cut between pixels, as `graphcut.edge_weights` gives it.
        peaks: (row, column) of the cells.
        seeds: i + 1 at the foreground seeds of cell i; to every other cell they are background.
        claims: what is likely to be whose, beside the seeds; added to the preference of each cell.
        reach: pixels from the peak beyond which nothing belongs to the cell; None for the authors' way, in
            which an isolated cell may flood the image.
        conflict: which seed wins where filled seeds of two cells meet.
        fill_others: fill holes in the union of the other cells' seeds; a ring of neighbours then swallows the
            cell between them, as in the authors' code.
        dilate, erode: radius of a dilation before holes in a cut are filled, and of an erosion after it.
    """
    costs = _Costs(preference, right, down, claims)
    boxes = ndimage.find_objects(seeds, max(len(peaks), 1))
    if claims is not None:
        # A cell that shares a flow with others costs, beyond its box, what it costs a stranger.
        claimed = ndimage.find_objects(np.where(claims.weight > 0, claims.owner, 0), len(boxes))
        boxes = [_around(own, more) for own, more in zip(boxes, claimed, strict=True)]

    def cell_of(number: int) -> _Cell:
        return _cell(number, peaks[number], boxes[number], seeds, reach, conflict, fill_others)

    def solve(number: int) -> CellMask | None:
        return _cut_in_windows(cell_of(number), costs, seeds)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        cuts = list(pool.map(solve, range(len(peaks))))
    if any(part is None for part in cuts):
        shared = SharedCut(costs.to_strangers(), right, down, seeds > 0, greatest=costs.greatest())
        cuts = [
            _cut_in_image(cell_of(i), costs, shared, seeds) if part is None else part
            for i, part in enumerate(cuts)
        ]
    return [_tidy(part, preference.shape, dilate, erode) for part in cuts if part is not None]


def component_of(mask: _Mask, peak: Int[np.ndarray, " 2"]) -> _Mask:
    """Returns the 8-connected component that holds the peak, or else the one nearest to it."""
    components, count = ndimage.label(mask, _CONNECTED_8)
    if count <= 1:
        return mask
    own = components[tuple(peak)]
    if not own:
        distance = np.where(mask, distance_to(peak, mask.shape), np.inf)
        own = components.flat[np.argmin(distance)]
    return components == own


def distance_to(peak: Int[np.ndarray, " 2"], shape: tuple[int, ...]) -> Float32[np.ndarray, "height width"]:
    """Returns every pixel's distance to a point."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return np.hypot(rows - peak[0], columns - peak[1]).astype(np.float32)


class _Costs(NamedTuple):
    """What cutting an image costs; attributes are arguments of `cut_cells`."""

    preference: Float[np.ndarray, "height width"]
    right: Float[np.ndarray, "height width"]
    down: Float[np.ndarray, "height width"]
    claims: Claims | None

    def to_strangers(self) -> Float[np.ndarray, "height width"]:
        """Returns the preference for a cell that owns no pixel."""
        return self.preference if self.claims is None else self.preference - self.claims.weight

    def greatest(self) -> float:
        """Returns what no preference, of whatever cell, exceeds."""
        weight = 0 if self.claims is None else self.claims.weight
        return float((np.abs(self.preference) + weight).max(initial=0))

    def of(self, label: int, window: _Window) -> Float[np.ndarray, "rows columns"]:
        """Returns the preference for a cell in a window."""
        if self.claims is None:
            return self.preference[window]
        weight = self.claims.weight[window]
        return self.preference[window] + np.where(self.claims.owner[window] == label, weight, -weight)


class _Cell(NamedTuple):
    """One cell and what is known of it whatever its window.

    Attributes:
        label: of its seeds.
        peak: (row, column).
        reach: pixels from the peak beyond which nothing belongs to it.
        limit: the part of the image that it may lie in.
        own: its seeds within reach, holes filled; the window holds the peak, too, and all that it claims.
        others: the seeds of all others within the limit, holes filled, if they are to be filled.
        yields: where it has to give way to seeds of others.
    """

    label: int
    peak: Int[np.ndarray, " 2"]
    reach: float | None
    limit: _Window
    own: CellMask
    others: _Mask | None
    yields: bool

    def seeds_in(self, window: _Window, seeds: Integer[np.ndarray, "height width"]) -> tuple[_Mask, _Mask]:
        """Returns what is foreground and what is background to the cell in a window that holds its own seeds."""
        far = _beyond(self.reach, self.peak, window)
        own = np.zeros(far.shape, bool)
        own[_within(self.own.window, window)] = self.own.mask
        if self.others is None:
            others = (seeds[window] > 0) & (seeds[window] != self.label) & ~far
        else:
            others = self.others[_within(window, self.limit)]
        if self.yields:
            own &= ~others
        # Its peak is the cell's whatever else is: one without seeds, or between stronger ones, does not vanish.
        own[tuple(_place(self.peak, window))] = True
        return own, (others | far) & ~own


def _cell(
    number: int,
    peak: Int[np.ndarray, " 2"],
    box: _Window | None,
    seeds: Integer[np.ndarray, "height width"],
    reach: float | None,
    conflict: Literal["foreground", "background"],
    fill_others: bool,
) -> _Cell:
    """Returns the cell of a number, from its peak and the box around its seeds and claims (None without)."""
    row, column = map(int, peak)
    at_peak = slice(row, row + 1), slice(column, column + 1)
    image = slice(0, seeds.shape[0]), slice(0, seeds.shape[1])
    # One pixel more than it reaches, so that all around it is background.
    limit = image if reach is None else _grown(at_peak, int(np.ceil(reach)) + 1, image)
    rows, columns = (
        slice(max(min(a.start, p.start), n.start), min(max(a.stop, p.stop), n.stop))
        for a, p, n in zip(box or at_peak, at_peak, limit, strict=True)
    )
    box = rows, columns
    # Seeds out of reach are dropped before holes are filled: no window shows all that lies there.
    own = ndimage.binary_fill_holes((seeds[box] == number + 1) & ~_beyond(reach, peak, box))
    others = None
    if fill_others:
        theirs = (seeds[limit] > 0) & (seeds[limit] != number + 1) & ~_beyond(reach, peak, limit)
        others = ndimage.binary_fill_holes(theirs)
    return _Cell(number + 1, peak, reach, limit, CellMask(box, own), others, conflict == "background")


def _cut_in_windows(cell: _Cell, costs: _Costs, seeds: Integer[np.ndarray, "height width"]) -> CellMask | None:
    """Returns the cut of a cell before it is tidied, from the first window that proves it; None if none does.

    Whatever the cut of the whole image is outside a window, inside it is no smaller than the window's cut with all
    outside as background, and no larger than that with all outside as foreground: of the cheapest cuts `cut` gives
    the largest, and that grows with its surroundings. Where the two agree on the component of the peak, it is that
    of the whole image. Outside is stood for by the outermost pixels of the window, which the first cut leaves out:
    a component in which the two agree ends within the window.
    """

    def component(foreground: _Mask, background: _Mask) -> _Mask:
        data = costs.of(cell.label, window)
        mask = cut(data, costs.right[window], costs.down[window], foreground, background)
        return component_of(mask, _place(cell.peak, window))

    margins = _MARGINS if cell.reach is None else (max(seeds.shape),)
    for window in (_grown(cell.own.window, margin, cell.limit) for margin in margins):
        foreground, background = cell.seeds_in(window, seeds)
        rim = _rim(window, cell.limit)
        least = component(foreground, background | rim)
        if window == cell.limit or np.array_equal(least, component(foreground | (rim & ~background), background)):
            return CellMask(window, least)
    return None


def _cut_in_image(
    cell: _Cell, costs: _Costs, shared: SharedCut, seeds: Integer[np.ndarray, "height width"]
) -> CellMask:
    """Returns the cut of a cell without a reach before it is tidied, from the cut of the whole image."""
    # Elsewhere the seeds are those of all cells, if holes between them are not filled.
    window = cell.own.window if cell.others is None else cell.limit
    shared.solve(window, costs.of(cell.label, window), *cell.seeds_in(window, seeds))
    margin = _MARGINS[0]
    while True:
        window = _grown(cell.own.window, margin, cell.limit)
        mask = component_of(shared.mask(window), _place(cell.peak, window))
        if not (mask & _rim(window, cell.limit)).any():
            return CellMask(window, mask)
        margin *= 2


def _around(one: _Window | None, other: _Window | None) -> _Window | None:
    """Returns the box around two boxes."""
    if one is None or other is None:
        return one or other
    rows, columns = (slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True))
    return rows, columns


def _grown(window: _Window, margin: int, limit: _Window) -> _Window:
    """Returns a window with a margin around it, as far as the limit allows."""
    rows, columns = (
        slice(max(w.start - margin, n.start), min(w.stop + margin, n.stop))
        for w, n in zip(window, limit, strict=True)
    )
    return rows, columns


def _within(inner: _Window, outer: _Window) -> _Window:
    """Returns where one window lies in another."""
    rows, columns = (slice(i.start - o.start, i.stop - o.start) for i, o in zip(inner, outer, strict=True))
    return rows, columns


def _place(point: Int[np.ndarray, " 2"], window: _Window) -> Int[np.ndarray, " 2"]:
    """Returns where a point of the image lies in a window."""
    return point - [window[0].start, window[1].start]


def _rim(window: _Window, limit: _Window) -> _Mask:
    """Returns the outermost pixels of a window on those of its sides that are not the limit's."""
    rows, columns = _within(window, limit)
    height, width = (s.stop - s.start for s in limit)
    inner = np.zeros((rows.stop - rows.start, columns.stop - columns.start), bool)
    inner[:1] |= rows.start > 0
    inner[-1:] |= rows.stop < height
    inner[:, :1] |= columns.start > 0
    inner[:, -1:] |= columns.stop < width
    return inner


def _beyond(reach: float | None, peak: Int[np.ndarray, " 2"], window: _Window) -> _Mask:
    """Returns the pixels of a window that are farther from the peak than cells reach."""
    shape = window[0].stop - window[0].start, window[1].stop - window[1].start
    return np.zeros(shape, bool) if reach is None else distance_to(_place(peak, window), shape) > reach


def _tidy(part: CellMask, shape: tuple[int, ...], dilate: int, erode: int) -> CellMask:
    """Returns a cut without holes, in a window just large enough for what it is dilated and eroded by."""
    (found,) = ndimage.find_objects(part.mask.astype(np.int8))
    top, left = (s.start for s in part.window)
    box = slice(found[0].start + top, found[0].stop + top), slice(found[1].start + left, found[1].stop + left)
    window = _grown(box, dilate + erode, (slice(0, shape[0]), slice(0, shape[1])))
    mask = np.zeros((window[0].stop - window[0].start, window[1].stop - window[1].start), bool)
    mask[_within(box, window)] = part.mask[found]
    if dilate:
        mask = ndimage.binary_dilation(mask, disk(dilate))
    mask = ndimage.binary_fill_holes(mask)
    if erode:
        mask = ndimage.binary_erosion(mask, disk(erode), border_value=True)
    return CellMask(window, mask)
