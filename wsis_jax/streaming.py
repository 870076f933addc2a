"""Arrays that do not fit into memory: read part by part, counted exactly, kept in files while they are needed."""

import os
import tempfile
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Num, UInt32

from wsis_jax.files import telling

Window = tuple[slice, slice]


@runtime_checkable
class Plane(Protocol):
    """What is two-dimensional and read by slices: a NumPy array, a memory map, a zarr array."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(height, width)."""
        ...

    @property
    def dtype(self) -> Any:
        """Of the values."""
        ...

    def __getitem__(self, window: Any) -> Any:
        """Returns the values in a window."""
        ...


class Scratch:
    """An array in a file, read and written by slices; nothing of it stays in memory between two accesses.

    Attributes:
        shape: of the array.
        dtype: of the array.
    """

    def __init__(self, path: Path, shape: tuple[int, int], dtype: type) -> None:
        """Makes the file, all zeros; `files.WriteError` if the disk has no room for it."""
        self.shape, self.dtype, self._path = shape, np.dtype(dtype), path
        size = max(self.dtype.itemsize * shape[0] * shape[1], 1)
        then = "do the same again, or set TMPDIR to a folder on another disk"
        with telling(path, then=then), path.open("wb") as file:
            # A memory map that finds the disk full ends the process without a word.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            file.truncate(size)

    def __getitem__(self, window: Window) -> np.ndarray:
        """Returns a copy of the values in a window."""
        return np.array(self._open("r")[window])

    def __setitem__(self, window: Window, values: np.ndarray) -> None:
        """Writes the values in a window."""
        self._open("r+")[window] = values

    def _open(self, mode: Any) -> np.ndarray:
        return np.memmap(self._path, self.dtype, mode, shape=self.shape)


@contextmanager
def scratch_folder() -> Generator[Path, None, None]:
    """Lends a folder for files of `Scratch`, where TMPDIR says; it is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="wsis-") as folder:
        yield Path(folder)


def windows_over(shape: Sequence[int], sides: tuple[int, int]) -> list[Window]:
    """Returns windows of (height, width) `sides`, less at the end, that cover an array; row after row."""
    return [
        (slice(row, min(row + sides[0], shape[0])), slice(column, min(column + sides[1], shape[1])))
        for row in range(0, shape[0], sides[0])
        for column in range(0, shape[1], sides[1])
    ]


def grown(window: Window, margin: int, shape: Sequence[int]) -> Window:
    """Returns a window with a margin around it, as far as the array goes."""
    rows, columns = (
        slice(max(side.start - margin, 0), min(side.stop + margin, n))
        for side, n in zip(window, shape, strict=True)
    )
    return rows, columns


def within(inner: Window, outer: Window) -> Window:
    """Returns where one window lies in another."""
    rows, columns = (slice(i.start - o.start, i.stop - o.start) for i, o in zip(inner, outer, strict=True))
    return rows, columns


# Order statistics


class HighBits:
    """Counts of numbers by the upper half of their bits, in the order of the numbers: the first of two passes."""

    def __init__(self) -> None:
        self.counts = np.zeros(1 << 16, np.int64)

    @property
    def total(self) -> int:
        """How many numbers were added."""
        return int(self.counts.sum())

    def add(self, values: Num[np.ndarray, "..."]) -> None:
        """Counts numbers in; they are taken as float32 and must be finite."""
        self.counts += np.bincount(_ordered(values) >> 16, minlength=1 << 16)


def ordered_values(
    high: HighBits, parts: Iterable[Num[np.ndarray, "..."]], ranks: Sequence[int]
) -> Float32[np.ndarray, " ranks"]:
    """Returns the numbers of given ranks, exactly, in the second pass over the numbers.

    Args:
        high: of all the numbers.
        parts: the same numbers again.
        ranks: 0 for the least number, up to one less than there are.
    """
    ends = np.cumsum(high.counts)
    tops = np.searchsorted(ends, ranks, side="right")
    counts = {int(top): np.zeros(1 << 16, np.int64) for top in tops}
    for values in parts:
        bits = _ordered(values)
        upper = bits >> 16
        for top, count in counts.items():
            count += np.bincount(bits[upper == top] & 0xFFFF, minlength=1 << 16)
    found = []
    for rank, top in zip(ranks, tops, strict=True):
        below = ends[top] - high.counts[top]
        low = np.searchsorted(np.cumsum(counts[int(top)]), rank - below, side="right")
        found.append((int(top) << 16) | int(low))
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
