"""How far around a part of an image each step of a segmentation looks, and what the network is shown for it."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64

from wsis_jax.core import Config, Plane, UserError, Window, mirror, rounded_up
from wsis_jax.cutting import CellExtent
from wsis_jax.network import UNet, half_of, windows


class Halos(NamedTuple):
    """Margins around a part of an image, in pixels of the network, outside of which nothing matters to it.

    A cell takes pixels up to its reach, so that neighbours decide: which pixels a cell wins, what its cut is and
    whose a contested pixel is depend on cells farther and farther away. Each step is done for all of the image
    before the next begins, so that these distances do not add up.

    Attributes:
        field: the receptive field of a pixel of the likelihood map goes this far.
        half: how far centre regions go from their peaks, as `winner_map` takes it.
        contributors: peaks of the cells that may contribute to a pixel are within this.
        record: what all contributions of these cells depend on is within this: their distance and the receptive
            field of their centre regions.
        masks: peaks of the cells whose cut may hold a pixel are within this: the reach, and what cuts grow by.
        cuts: what these cuts depend on: their distance, their windows, and the seeds of neighbours, of which
            small parts are dropped, or the surroundings that background is known by.
        labels: what the label of a pixel depends on when cuts were fused: the rest of its cell, the parts cut off
            from others beside that, and the cells beside those. Longer chains of such parts are not followed.
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
        UserError: if cells have no reach; names the setting.
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
        labels=6 * masks + int(np.ceil(3 * config.cut.smooth * config.network_sigma)) + 3,
    )


def _radius(levels: int, half: int) -> int:
    """Returns how far the pixels are from a peak that its centre region of a half width is computed from."""
    span = windows(levels, half=half, reach=None).encoder[0].input
    return max(-span.low, span.high)


class View(NamedTuple):
    """What the network is shown of an image, or of a mirror image, for a part of it.

    All has the place in the grid of the poolings that it has when the network is shown the whole.

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

    def of(self, image: Plane) -> Float32[np.ndarray, "height width"]:
        """Returns the view, reading no more of the image than it shows."""
        (top, bottom), (left, right) = ((int(s.min()), int(s.max()) + 1) for s in (self.rows, self.columns))
        return image[top:bottom, left:right][np.ix_(self.rows - top, self.columns - left)]

    def shown(self, seen: Float32[np.ndarray, "height width"]) -> Float32[np.ndarray, "rows columns"]:
        """Returns the part of the image in what the network made of the view."""
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
    """Returns the places along one axis that a view shows, and where in it a side of the part is."""
    low, high = (side.start, side.stop) if step > 0 else (length - side.stop, length - side.start)
    last = length + -length % stride - extent
    start = min(max((low - halo) // stride * stride, 0), last)
    places = np.arange(start, start + extent) % (2 * length)
    places = np.where(places < length, places, 2 * length - 1 - places)
    return places if step > 0 else length - 1 - places, slice(low - start, high - start)
