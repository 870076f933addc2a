"""The values that become 0 and 1 in an image that is read in blocks: exactly those of `normalize_by`."""

from collections.abc import Callable
from functools import partial, reduce
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32

from wsis_jax.core import (
    SHARE,
    ImageConfig,
    LeftOut,
    ParallelMap,
    Plane,
    Reach,
    Window,
    normalize_image,
    range_without_areas,
)
from wsis_jax.segmentation.tiled.order_statistics import (
    apart,
    at_ranks,
    between,
    high_bits_of,
    percentile_ranks,
    together,
)

_Mask = Bool[np.ndarray, "height width"]


class _Blocks(NamedTuple):
    """An image, the blocks in which it is read, and what calls a function with block after block."""

    image: Plane
    blocks: list[Window]
    parallel_map: ParallelMap

    def pixels(self, meant: Callable[[np.ndarray], _Mask]) -> tuple[int, int]:
        """Returns how many pixels are meant, and how many see the border through such pixels alone (`Reach`)."""
        reach, count = Reach.everywhere((self.image.shape[0], self.image.shape[1])), 0
        found = self.parallel_map(_pixels_in, self.blocks, image=self.image, meant=meant)
        for block, (here, part) in zip(self.blocks, found, strict=True):
            reach.add(block, part)
            count += here
        return count, reach.pixels()


def value_ranges(
    image: Plane,
    settings: ImageConfig,
    blocks: list[Window],
    parallel_map: ParallelMap,
    uncounted: ParallelMap,
) -> list[tuple[float, float]]:
    """Returns the values that become 0 and 1, of each channel or of all alike, as `normalize_by` chooses them.

    They are equal where all values are. What not all images need, since it looks at areas at their border, is done
    by the `uncounted` map.
    """
    # For its errors.
    normalize_image(
        np.zeros((1, 1), np.float32), method=settings.normalization, low=settings.low, high=settings.high
    )
    split = together if settings.channels == "colours" else apart
    high = reduce(np.add, parallel_map(high_bits_of, blocks, image=image, split=split))
    total = int(high[0].sum())
    few = int(SHARE * total)
    wanted = [0, few, total - 1 - few, total - 1, *_ranks_of_percentiles(settings, total, (0, 0))]
    found = at_ranks(image, blocks, high, wanted, parallel_map, split=split)
    least, low_value, high_value, greatest = found[:, :4].T
    if settings.normalization == "max":
        return [
            (0.0 if one < other else float(one), float(other)) for one, other in zip(least, greatest, strict=True)
        ]
    read = _Blocks(image, blocks, uncounted)
    areas = 0, 0
    if (least < greatest).any():
        values = total // (image.shape[0] * image.shape[1])  # of a pixel, that are ranked together
        areas = (
            values * read.pixels(partial(_equal, value=least))[1] if (least == low_value).all() else 0,
            values * read.pixels(partial(_equal, value=greatest))[1] if (greatest == high_value).all() else 0,
        )
    ranked: dict[LeftOut, Float32[np.ndarray, "sets 6"]] = {(0, 0): found[:, 4:]}

    def percentiles(left_out: LeftOut, *, which: int) -> tuple[float, float, float]:
        if left_out not in ranked:
            ranks = _ranks_of_percentiles(settings, total, left_out)
            ranked[left_out] = at_ranks(image, blocks, high, ranks, uncounted, split=split)
        shares = [percentile_ranks(p, total - sum(left_out))[2] for p in _percentiles_of(settings)]
        pairs = ranked[left_out][which].reshape(3, 2)
        bottom, middle, top = (between(one[0], one[1], share) for one, share in zip(pairs, shares, strict=True))
        return bottom, middle, top

    def above(value: float, *, which: int) -> tuple[int, int]:
        return read.pixels(partial(_above, value=value, channel=which))

    ranges = []
    for which in range(len(found)):
        extremes = float(least[which]), float(greatest[which])
        bottom, top = range_without_areas(
            areas,
            extremes,
            total,
            partial(percentiles, which=which),
            partial(above, which=which) if split is apart else None,
        )
        ranges.append((bottom, top) if bottom < top else extremes)
    return ranges


def _ranks_of_percentiles(settings: ImageConfig, total: int, left_out: LeftOut) -> list[int]:
    """Returns the ranks, two each, that percentiles and median lie between where some extremes are left out."""
    found = [percentile_ranks(p, total - sum(left_out))[:2] for p in _percentiles_of(settings)]
    return [rank + left_out[0] for pair in found for rank in pair]


def _percentiles_of(settings: ImageConfig) -> tuple[float, float, float]:
    """Returns which percentiles are looked at, the median among them."""
    return settings.low, 50.0, settings.high


def _pixels_in(block: Window, *, image: Plane, meant: Callable[[np.ndarray], _Mask]) -> tuple[int, Reach]:
    """Returns how many pixels of a block are meant, and how far such pixels reach into it from its sides."""
    mask = meant(np.asarray(image[block], np.float32))
    return int(np.count_nonzero(mask)), Reach.of(~mask)


def _equal(values: Float32[np.ndarray, "height width *channels"], *, value: Float32[np.ndarray, " sets"]) -> _Mask:
    """Returns which pixels have a value of each channel, or of all."""
    equal = values == value
    return equal if equal.ndim == 2 else equal.all(axis=2)


def _above(values: Float32[np.ndarray, "height width *channels"], *, value: float, channel: int) -> _Mask:
    """Returns which pixels of a channel are above a value."""
    return apart(values)[channel].astype(np.float64) > value
