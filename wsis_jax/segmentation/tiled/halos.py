"""Halos: the margin around a part of an image that each step needs, and the views that the network is shown."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64

from wsis_jax.core import Config, Plane, UserError, Window, mirror, rounded_up, widest_smooth
from wsis_jax.cutting import CellExtent
from wsis_jax.network import UNet, half_of, windows


class Halos(NamedTuple):
    """Margins around a part of an image, in pixels of the network: what a step makes of the part needs no more.

    A cell takes pixels up to its reach. So the pixels that a cell wins depend on its neighbours, its cut depends
    on their neighbours, too, and a contested pixel on cells even farther away. Each step is done for the whole
    image before the next begins, so that these distances do not add up.

    Attributes:
        field: the receptive field of a pixel of the likelihood map.
        half: half the width of centre regions, as `winner_map` takes it.
        contributors: the peaks of all cells that may contribute to a pixel.
        record: all that the contributions of these cells depend on: their distance and the receptive field of
            their centre regions.
        masks: the peaks of all cells whose cut may hold a pixel: the reach, and what cuts grow by.
        cuts: all that these cuts depend on: their distance, their windows, and the seeds of neighbours, of which
            small parts are dropped, or the surroundings that the background is modelled from.
        labels: all that the label of a pixel depends on after cuts are fused: the rest of its cell, the fragments
            of other cells beside that, and the cells beside those. Longer chains of fragments are not followed.
    """

    field: int
    half: int
    contributors: int
    record: int
    masks: int
    cuts: int
    labels: int


def halos_of(network: UNet, config: Config) -> Halos:
    """Returns the margins that a network and settings need.

    Raises:
        UserError: if cells have no reach.
    """
    reach = config.cell_reach
    if reach is None:
        raise UserError("cut.reach=null lets a cell reach anywhere; set cut.reach, or do without tiles")
    levels, half, whole = len(network.encoder), half_of(config.region_radius), int(np.ceil(reach))
    masks = whole + 1 + config.cut.dilate + config.cut.erode
    return Halos(
        field=_radius(levels, 0),
        half=half,
        contributors=whole,
        record=whole + _radius(levels, half),
        masks=masks,
        cuts=2 * masks + max(2 * whole + 1, CellExtent.of(config).margin),
        labels=6 * masks + int(np.ceil(3 * widest_smooth(config.cut) * config.network_sigma)) + 3,
    )


def _radius(levels: int, half: int) -> int:
    """Returns the greatest distance from a peak of the pixels that its centre region is computed from."""
    span = windows(levels, half=half, reach=None).encoder[0].input
    return max(-span.low, span.high)


class View(NamedTuple):
    """The pixels of an image, or of its mirror image, that the network is shown for a part of it.

    They have the same place in the grid of poolings as when the network is shown the whole image.

    Attributes:
        rows: of the image, one for each row of the view; beyond its end they are mirrored as by `pad_to_stride`.
        columns: likewise.
        part: where in the view the part is.
        flip: steps (1 or -1) that turn the part of the view into that of the image.
    """

    rows: Int64[np.ndarray, " height"]
    columns: Int64[np.ndarray, " width"]
    part: Window
    flip: tuple[int, int]

    def of(self, image: Plane) -> Float32[np.ndarray, "height width *channels"]:
        """Returns the pixels of the view; no others are read."""
        (top, bottom), (left, right) = ((int(s.min()), int(s.max()) + 1) for s in (self.rows, self.columns))
        return image[top:bottom, left:right][np.ix_(self.rows - top, self.columns - left)]

    def shown(self, seen: Float32[np.ndarray, "height width"]) -> Float32[np.ndarray, "rows columns"]:
        """Returns the part of the image from the network's output for the view."""
        return mirror(seen[self.part], self.flip)


def view_sides(shape: tuple[int, int], tile: int, halo: int, stride: int) -> tuple[int, int]:
    """Returns the (height, width) of all views of an image, for parts of up to `tile` and a `halo` around them."""
    padded, side = rounded_up(shape, stride), rounded_up((tile + 2 * halo + stride - 1,) * 2, stride)[0]
    return min(side, padded[0]), min(side, padded[1])


def view_of(
    part: Window, shape: tuple[int, int], *, sides: tuple[int, int], halo: int, stride: int, flip: tuple[int, int]
) -> View:
    """Returns the view of a part of an image of (height, width) `shape`; `sides` are those of `view_sides`."""
    (rows, in_rows), (columns, in_columns) = (
        _along(side, length, extent, halo, stride, step)
        for side, length, extent, step in zip(part, shape, sides, flip, strict=True)
    )
    return View(rows, columns, (in_rows, in_columns), flip)


def _along(
    side: slice, length: int, extent: int, halo: int, stride: int, step: int
) -> tuple[Int64[np.ndarray, " extent"], slice]:
    """Returns the places along one axis that a view shows, and the slice of them that is the part."""
    low, high = (side.start, side.stop) if step > 0 else (length - side.stop, length - side.start)
    last = length + -length % stride - extent
    start = min(max((low - halo) // stride * stride, 0), last)
    places = np.arange(start, start + extent) % (2 * length)
    places = np.where(places < length, places, 2 * length - 1 - places)
    return places if step > 0 else length - 1 - places, slice(low - start, high - start)
