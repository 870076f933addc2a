"""Order statistics of an array that is read in parts: exact, in two passes whose counts add up."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Int64, Num, UInt32


def high_bits(values: Num[np.ndarray, "..."]) -> Int64[np.ndarray, "65536"]:
    """Returns how many numbers have each upper half of their bits, in the order of the numbers: the first pass.

    Numbers are taken as float32 and must be finite.
    """
    return np.bincount(_ordered(values) >> 16, minlength=1 << 16)


def tops_of(high: Int64[np.ndarray, "65536"], ranks: Sequence[int]) -> list[int]:
    """Returns the upper halves that numbers of given ranks have, sorted, from the counts of all numbers."""
    return np.unique(np.searchsorted(np.cumsum(high), ranks, side="right")).tolist()


def low_bits(values: Num[np.ndarray, "..."], tops: Sequence[int]) -> Int64[np.ndarray, "tops 65536"]:
    """Returns how many numbers have each lower half, of those with each of some upper halves: the second pass."""
    bits = _ordered(values)
    upper = bits >> 16
    return np.stack([np.bincount(bits[upper == top] & 0xFFFF, minlength=1 << 16) for top in tops])


def ordered_values(
    high: Int64[np.ndarray, "65536"], low: Int64[np.ndarray, "tops 65536"], ranks: Sequence[int]
) -> Float32[np.ndarray, " ranks"]:
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
