"""Areas at the border of an image that show no cells: corners of a turned scan, the bright edge of a well.

They stay out of the percentiles by which grey values are normalised, or else these would tell of the areas and
not of the cells. Of an image in parts the rules say the same, to the last bit. Of several channels, an area is not
scanned where none of them shows anything.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64

from wsis_jax.core.windows import Window

SHARE = 0.05
"""An unscanned area is more than this share of an image, and so is the rest."""

_APART = 0.25  # of the range of the rest: how far from it the value of an unscanned area is at least
# An edge is bright if so much of what is above the middle of the range sees the border, and so much of the range
# is below the median. The first was 0.96 for the edge of a well and at most 0.13 in 22 images of phase contrast
# without one; the second was 0.18 there, and at most 0.13 in fluorescence, where cells at the border may be all
# that is bright.
_SEEN, _DARK = 0.9, 0.15
_STRIP = 1 << 22  # pixels that are counted at a time

LeftOut = tuple[int, int]
"""How many of the least values, and of the greatest, stay out of the percentiles."""

Percentiles = Callable[[LeftOut], tuple[float, float, float]]
"""Returns the lower percentile, the median and the upper percentile of what is not left out."""

Above = Callable[[float], tuple[int, int]]
"""Returns how many pixels are above a value, and how many of these see the border through such pixels alone."""


class Reach(NamedTuple):
    """How far pixels of one value reach into an image, or a part of it, from its four sides.

    Attributes:
        left, right: of each row, the first and the last column with another value.
        top, bottom: of each column, the first and the last row with another value.

    Where all pixels have the value, the first are beyond the last pixel, and the last are -1.
    """

    left: Int64[np.ndarray, " height"]
    right: Int64[np.ndarray, " height"]
    top: Int64[np.ndarray, " width"]
    bottom: Int64[np.ndarray, " width"]

    @classmethod
    def of(cls, others: Bool[np.ndarray, "height width"]) -> "Reach":
        """Returns the reach of the pixels that are not `others`."""
        sides = []
        for array in (others, others.T):
            some, length = array.any(axis=1), array.shape[1]
            first, last = array.argmax(axis=1), length - 1 - array[:, ::-1].argmax(axis=1)
            sides += [np.where(some, first, length), np.where(some, last, -1)]
        return cls(*(side.astype(np.int64) for side in sides))

    @classmethod
    def everywhere(cls, shape: tuple[int, int]) -> "Reach":
        """Returns that of an image of (height, width) `shape` all of whose pixels have the value."""
        return cls.of(np.zeros(shape, bool))

    def add(self, window: Window, part: "Reach") -> None:
        """Adds the pixels of a part of the image, which lies in the given window."""
        for (first, last), (own, others), along, across in (
            ((self.left, self.right), (part.left, part.right), window[0], window[1]),
            ((self.top, self.bottom), (part.top, part.bottom), window[1], window[0]),
        ):
            some = others >= 0
            first[along] = np.where(some, np.minimum(first[along], own + across.start), first[along])
            last[along] = np.where(some, np.maximum(last[along], others + across.start), last[along])

    def pixels(self) -> int:
        """Returns how many pixels see a side of the image along their row or column through that value alone."""
        height, width = len(self.left), len(self.top)
        columns, total, strip = np.arange(width), 0, max(_STRIP // max(width, 1), 1)
        for begin in range(0, height, strip):
            rows = np.arange(begin, min(begin + strip, height))[:, None]
            along = (columns < self.left[rows]) | (columns > self.right[rows])
            total += int((along | (rows < self.top) | (rows > self.bottom)).sum())
        return total


def range_without_areas(
    areas: LeftOut,
    extremes: tuple[float, float],
    total: int,
    percentiles: Percentiles,
    above: Above | None,
) -> tuple[float, float]:
    """Returns the lower and the upper percentile of an image without its unscanned areas, or its bright edge.

    An area is unscanned if each of its pixels sees the border of the image (`Reach.pixels`), it is more than a
    twentieth of the image, as is the rest, and its value is far from those of the rest: by more than a quarter of
    the range between their percentiles. So a stained slide keeps its white, and fluorescence its black: there grey
    values lead up to that of the background.

    Where all is scanned, a bright edge is left out: pixels above the middle of the range, at most a twentieth of
    the image, nine tenths of which see the border through such pixels alone. It becomes white, and the cells keep
    their contrast. It is no edge where less than 0.15 of the range is below the median: so in fluorescence, with a
    few cells at the border, these count. All else stays as it is.

    Args:
        areas: pixels that see the border through the least value alone, and through the greatest.
        extremes: the least and the greatest value.
        total: of all pixels.
        percentiles: of all values.
        above: of all pixels; None where a bright edge may be the ground, as of a stained slide in colours.
    """
    (least, greatest), most = extremes, SHARE * total
    areas = areas[0] if areas[0] > most else 0, areas[1] if areas[1] > most else 0
    if any(areas) and total - sum(areas) > most:
        bottom, _, top = percentiles(areas)
        apart = _APART * (top - bottom)
        kept = areas[0] if bottom - least > apart else 0, areas[1] if greatest - top > apart else 0
        if bottom < top and kept == areas:
            return bottom, top
        if bottom < top and any(kept):
            bottom, _, top = percentiles(kept)
            return bottom, top
    bottom, middle, top = percentiles((0, 0))
    if above and bottom < top and middle - bottom > _DARK * (top - bottom):
        bright, seen = above((bottom + top) / 2)
        if _SEEN * bright <= seen and bright <= most:
            bottom, _, top = percentiles((0, bright))
    return bottom, top
