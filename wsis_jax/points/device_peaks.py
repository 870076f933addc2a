"""Peaks and centre regions as functions of JAX arrays: the numbers of `likelihood.py`, inside a compiled program.

A map may be larger than its image: `shape`, (height, width), is the top left part that counts. Nothing depends on
the number of peaks but the room that a program has for them. Comparisons are of whole numbers, or of numbers that
are not computed anew, so that no rounding of a device matters.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int

_BLOCK = 32  # pixels in a row that are counted together
_NONE = np.int32(np.iinfo(np.int32).max)
# More peaks than this, or discs of so many pixels together, are left to the host.
_MOST_ROOM, _MOST_VALUES = 1 << 15, 1 << 26

_Shape = Int[Array, "2"]


class PeakSearch(NamedTuple):
    """Which pixels are peaks, as numbers that may differ from call to call of one program; see `find_peaks`.

    Attributes:
        threshold: a peak's value is greater than this; of a map that is quantized, its level, 0..255.
        min_distance: half the side of the square around a peak, in pixels.
        exclude_border: peaks fewer than this many pixels from the border are dropped.
    """

    threshold: Float[Array, ""]
    min_distance: Int[Array, ""]
    exclude_border: Int[Array, ""]

    @classmethod
    def of(
        cls, *, threshold: float, min_distance: int, exclude_border: int = 0, quantize: bool = False
    ) -> "PeakSearch":
        """Returns the search that these arguments of `find_peaks` describe."""
        if quantize:  # the greatest level that is not above the threshold
            levels = np.arange(256, dtype=np.float32) / 255
            threshold = float(np.count_nonzero(levels <= threshold) - 1)
        of_host: Callable[..., PeakSearch] = cls
        numbers = np.float32(threshold), np.int32(min_distance), np.int32(exclude_border)
        return of_host(*map(np.asarray, numbers))


class FoundPeaks(NamedTuple):
    """Peaks in an array with room for more.

    Attributes:
        peaks: (row, column), in raster order of the first pixels of their plateaus; zeros after the last.
        count: how many there are.
        pixels: how many pixels are part of a peak. More than there is room for: the peaks are none.
    """

    peaks: Int[Array, "room 2"]
    count: Int[Array, ""]
    pixels: Int[Array, ""]


def peaks_of_map(
    likelihood: Float[Array, "height width"], shape: _Shape, search: PeakSearch, *, quantize: bool, room: int
) -> FoundPeaks:
    """Returns the peaks of a likelihood map, 0..1, as `find_peaks` does.

    Args:
        likelihood: the map; what is outside of `shape` may be anything.
        shape: (height, width) of the image.
        search: which pixels are peaks.
        quantize: search the map rounded down to 256 levels, 0..255; `search` must be of such a map, too.
        room: for how many pixels of peaks there is room.
    """
    values = _levels(likelihood) if quantize else likelihood
    values = jnp.where(_within(likelihood.shape, shape, 0), values, -1)
    greatest = jax.lax.fori_loop(0, search.min_distance, lambda _, x: _greatest_around(x), values)
    kept = _within(likelihood.shape, shape, search.exclude_border)
    places, pixels = _first_of((values == greatest) & (values > search.threshold) & kept, room)
    rows, columns = jnp.divmod(places, likelihood.shape[1])
    there = jnp.arange(room) < jnp.where(pixels > room, 0, pixels)
    peaks, count = _plateau_centres(jnp.stack([rows, columns], axis=1), there, likelihood.shape[1])
    return FoundPeaks(peaks, count, pixels)


def disc_regions(
    peaks: Int[Array, "room 2"], count: Int[Array, ""], shape: _Shape, *, sides: tuple[int, ...], radius: float
) -> Int[Array, "height width"]:
    """Returns the centre regions of the first `count` peaks, as `centre_regions` does of "disc"; 0 elsewhere.

    Args:
        peaks: (row, column), inside of `shape`, in any order.
        count: how many there are.
        shape: (height, width) of the image.
        sides: (height, width) of the array to return.
        radius: of the discs, in pixels. There must be room for so many peaks, see `most_room`.
    """
    room, far, number = len(peaks), farthest(radius), jnp.arange(len(peaks))
    there = number < count
    # Of peaks at the same distance the first in raster order counts; of peaks in one pixel the first in theirs.
    order = jnp.argsort(jnp.where(there, peaks[:, 0] * sides[1] + peaks[:, 1], _NONE), stable=True)
    squares = _squared_distances(radius)
    keys = np.where(squares < 0, 0, squares * room).astype(np.int32)[None] + number[:, None, None]
    least = jax.lax.scatter_min(
        jnp.full((sides[0] + 2 * far, sides[1] + 2 * far), _NONE),
        peaks[order],  # with a margin of `far`, the window of a peak begins there
        jnp.where(there[:, None, None] & (squares >= 0)[None], keys, _NONE),
        jax.lax.ScatterDimensionNumbers((1, 2), (), (0, 1)),
        mode=jax.lax.GatherScatterMode.PROMISE_IN_BOUNDS,
    )[far : far + sides[0], far : far + sides[1]]
    found = (least < _NONE) & _within(sides, shape, 0)
    return jnp.where(found, order[least % room] + 1, 0)


def farthest(radius: float) -> int:
    """Returns how far a disc goes from its peak along an axis, in pixels."""
    return int(np.float32(radius))


def most_room(radius: float) -> int:
    """Returns for how many peaks there may be room: a power of two, or 0."""
    far = farthest(radius)
    most = min(_MOST_ROOM, int(_NONE) // (far**2 + 1), _MOST_VALUES // (2 * far + 1) ** 2)
    return 1 << (most.bit_length() - 1) if most else 0


# Pixels of peaks


def _within(sides: tuple[int, ...], shape: _Shape, border: int | Int[Array, ""]) -> Bool[Array, "height width"]:
    """Returns which pixels of an array are in the image, at least `border` pixels from its border."""
    rows, columns = (jnp.arange(n) for n in sides)
    rows, columns = ((at >= border) & (at < n - border) for at, n in zip((rows, columns), shape, strict=True))
    return rows[:, None] & columns[None]


def _greatest_around(x: Float[Array, "height width"]) -> Float[Array, "height width"]:
    """Returns the greatest value of each pixel and its eight neighbours."""
    for window in ((3, 1), (1, 3)):
        x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, (1, 1), "SAME")
    return x


def _levels(likelihood: Float[Array, "height width"]) -> Float[Array, "height width"]:
    """Returns values rounded down to 256 levels, as `find_peaks` does it."""
    return jnp.searchsorted(_least_of_levels(), likelihood, side="right").astype(jnp.float32)


@cache
def _least_of_levels() -> Float32[np.ndarray, " 255"]:
    """Returns the least float32 number that is rounded down to each level from 1 on, by NumPy's arithmetic.

    A device may multiply and add in one step, which rounds differently.
    """
    levels = np.arange(1, 256)
    about = ((levels - 1e-3) / 255).astype(np.float32).view(np.int32)
    near = (about[:, None] + np.arange(-64, 64, dtype=np.int32)).view(np.float32)
    return near[np.arange(255), (np.floor(near * 255 + 1e-3) >= levels[:, None]).argmax(axis=1)]


def _first_of(mask: Bool[Array, "height width"], room: int) -> tuple[Int[Array, " room"], Int[Array, ""]]:
    """Returns the places of the first pixels of a mask, row by row, and how many it has; any place after the last.

    Pixels are counted in blocks, since to sum up or to scatter as many numbers as an image has takes a CPU long.
    """
    blocks = jnp.pad(mask.ravel(), (0, -mask.size % _BLOCK)).reshape(-1, _BLOCK)
    counts = blocks.sum(axis=1, dtype=jnp.int32)
    ends, wanted = jnp.cumsum(counts), jnp.arange(room)
    block = jnp.minimum(jnp.searchsorted(ends, wanted, side="right"), len(counts) - 1)
    before = wanted - (ends - counts)[block]  # pixels of the same block before the one that is wanted
    place = (jnp.cumsum(blocks[block], axis=1) > before[:, None]).argmax(axis=1)
    return block * _BLOCK + place, ends[-1]


def _plateau_centres(
    pixels: Int[Array, "room 2"], there: Bool[Array, " room"], width: int
) -> tuple[Int[Array, "room 2"], Int[Array, ""]]:
    """Returns what `plateau_centres` does of the pixels that are there, the first ones, and how many centres."""
    own, neighbours = jnp.arange(len(pixels)), _neighbours(pixels, there, width)

    def spread(state: tuple[Array, Array]) -> tuple[Array, Array]:
        first, _ = state
        least = jnp.minimum(first, first[neighbours].min(axis=1))
        least = least[least]  # what the first one knows is sooner there
        return least, (least != first).any()

    first, _ = jax.lax.while_loop(lambda state: state[1], spread, (own, jnp.array(True)))
    sums = jnp.zeros_like(pixels).at[first].add(jnp.where(there[:, None], pixels, 0))
    sizes = jnp.zeros_like(own).at[first].add(there.astype(own.dtype))
    begins = there & (first == own)
    centres = sums // jnp.maximum(sizes, 1)[:, None]
    place = jnp.where(begins, jnp.cumsum(begins) - 1, len(own))
    return jnp.zeros_like(pixels).at[place].set(centres, mode="drop"), begins.sum()


def _neighbours(pixels: Int[Array, "room 2"], there: Bool[Array, " room"], width: int) -> Int[Array, "room 8"]:
    """Returns which of the pixels, in raster order, are the eight neighbours of each; itself where one is not."""
    line = width + 1  # a column that no pixel is in keeps the ends of lines apart
    steps = np.array([row * line + column for row in (-1, 0, 1) for column in (-1, 0, 1) if row or column])
    numbers = pixels[:, 0] * line + pixels[:, 1]
    at, wanted = jnp.where(there, numbers, _NONE), jnp.where(there, numbers, -2 * line)[:, None] + steps[None]
    found = jnp.minimum(jnp.searchsorted(at, wanted), len(pixels) - 1)
    return jnp.where(at[found] == wanted, found, jnp.arange(len(pixels))[:, None])


# Discs


def _squared_distances(radius: float) -> Int[np.ndarray, "side side"]:
    """Returns the squared distance of each pixel around a peak; -1 where it is outside of the disc."""
    steps = np.arange(-farthest(radius), farthest(radius) + 1)
    squares = steps[:, None] ** 2 + steps[None] ** 2
    # As the host compares: a float32 distance with the radius.
    return np.where(np.sqrt(squares).astype(np.float32) <= radius, squares, -1)
