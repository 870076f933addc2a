"""Order statistics of an array that is read in parts: exact, in two passes whose counts add up.

The first pass counts numbers by the upper half of their bits, the second counts those of the wanted upper halves
by the lower half. So memory does not grow with the array.
"""

from collections.abc import Callable, Sequence
from functools import reduce

import numpy as np
from jaxtyping import Float32, Int64, Num, UInt32

from wsis_jax.core import ParallelMap, Plane, UserError, Window, grey

Counts = Int64[np.ndarray, "*sets 65536"]
"""Of numbers, by the upper half of their bits; of several sets of them."""

LowCounts = Int64[np.ndarray, "_ 65536"]
"""Of the numbers with each of some upper halves, by the lower half."""

Split = Callable[[np.ndarray], list[np.ndarray]]
"""An array into sets of numbers that are ranked together: `apart`, `together` or `as_grey`."""


def high_bits_of(block: Window, *, image: Plane, split: Split) -> Counts:
    """Returns the `high_bits` of the values in a block."""
    values = np.asarray(image[block], np.float32)
    if not np.isfinite(values).all():
        raise UserError("the image holds values that are not numbers (NaN or infinite); replace them first")
    return np.stack([high_bits(some) for some in split(values)])


def at_ranks(
    array: Plane,
    parts: list[Window],
    high: Counts,
    ranks: list[int],
    parallel_map: ParallelMap,
    *,
    split: Split,
) -> Float32[np.ndarray, "sets ranks"]:
    """Returns the values of given ranks in each set that an array is split into, from the `high_bits` of all."""
    tops = [tops_of(one, ranks) for one in high]
    low = reduce(_added, parallel_map(_low_bits_of, parts, array=array, tops=tops, split=split))
    return np.stack([ordered_values(one, bits, ranks) for one, bits in zip(high, low, strict=True)])


def _low_bits_of(part: Window, *, array: Plane, tops: list[list[int]], split: Split) -> list[LowCounts]:
    """Returns the `low_bits` of each set of a part of an array."""
    sets = split(np.asarray(array[part], np.float32))
    return [low_bits(values, some) for values, some in zip(sets, tops, strict=True)]


def _added(one: list[LowCounts], other: list[LowCounts]) -> list[LowCounts]:
    return [mine + theirs for mine, theirs in zip(one, other, strict=True)]


# What numbers are ranked together


def apart(values: Float32[np.ndarray, "rows columns *channels"]) -> list[Float32[np.ndarray, "rows columns"]]:
    """Returns each channel by itself."""
    return [values] if values.ndim == 2 else list(np.moveaxis(values, -1, 0))


def together(values: Float32[np.ndarray, "rows columns channels"]) -> list[Float32[np.ndarray, "_ _ _"]]:
    """Returns all channels as one set."""
    return [values]


def as_grey(values: Float32[np.ndarray, "rows columns *channels"]) -> list[Float32[np.ndarray, "rows columns"]]:
    """Returns the mean of the channels, which the cut looks at."""
    return [grey(values)]


# The two passes


def high_bits(values: Num[np.ndarray, "..."]) -> Counts:
    """Returns how many numbers have each upper half of their bits, in the order of the numbers: the first pass.

    Numbers are taken as float32 and must be finite.
    """
    return np.bincount(_ordered(values) >> 16, minlength=1 << 16)


def tops_of(high: Counts, ranks: Sequence[int]) -> list[int]:
    """Returns the upper halves that numbers of given ranks have, sorted, from the counts of all numbers."""
    return np.unique(np.searchsorted(np.cumsum(high), ranks, side="right")).tolist()


def low_bits(values: Num[np.ndarray, "..."], tops: Sequence[int]) -> LowCounts:
    """Returns how many numbers have each lower half, of those with each of some upper halves: the second pass."""
    bits = _ordered(values)
    upper = bits >> 16
    return np.stack([np.bincount(bits[upper == top] & 0xFFFF, minlength=1 << 16) for top in tops])


def ordered_values(high: Counts, low: LowCounts, ranks: Sequence[int]) -> Float32[np.ndarray, " ranks"]:
    """Returns the numbers of given ranks, exactly.

    Args:
        high: the sum of the `high_bits` of all parts.
        low: the sum of the `low_bits` of all parts, for the `tops_of` these ranks.
        ranks: 0 for the least number, up to one less than there are.
    """
    ends, tops, found = np.cumsum(high), tops_of(high, ranks), []
    for rank in ranks:
        top = int(np.searchsorted(ends, rank, side="right"))
        below = ends[top] - high[top]
        half = np.searchsorted(np.cumsum(low[tops.index(top)]), rank - below, side="right")
        found.append((top << 16) | int(half))
    return _number(np.array(found, np.uint32))


def percentile_ranks(percentile: float, total: int) -> tuple[int, int, float]:
    """Returns the ranks that a percentile of so many numbers lies between, and how far from the first, 0..1."""
    place = percentile / 100 * (total - 1)
    rank = min(int(place), total - 1)
    return rank, min(rank + 1, total - 1), place - rank


def between(low: np.floating, high: np.floating, share: float) -> float:
    """Returns what `np.percentile` makes of the numbers at both ranks."""
    return float(np.quantile(np.array([low, high], np.float64), share))


def _ordered(values: Num[np.ndarray, "..."]) -> UInt32[np.ndarray, " numbers"]:
    """Returns the bits of float32 numbers, changed so that they have the order of the numbers."""
    bits = (np.asarray(values, np.float32).ravel() + np.float32(0)).view(np.uint32)  # -0 becomes 0
    return np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))


def _number(ordered: UInt32[np.ndarray, " numbers"]) -> Float32[np.ndarray, " numbers"]:
    """Returns the numbers of changed bits."""
    return np.where(ordered >> 31, ordered & np.uint32(0x7FFFFFFF), ~ordered).astype(np.uint32).view(np.float32)
