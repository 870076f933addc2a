"""Arrays that do not fit into memory: read part by part, counted exactly, kept in files while they are needed."""

import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int64, Num, UInt32

from wsis_jax.files import replacing, telling
from wsis_jax.limits import in_words

Window = tuple[slice, slice]

Over = Callable[..., Iterable[Any]]
"""Calls `over(function, parts, **same)` a function with each part and what is the same for all, by keyword.

Returns the results in the order of the parts. The function may be called in other processes.
"""

_ELSEWHERE = "choose another disk for temporary files (TMPDIR; with --dask the folder of results)"
_THEN = f"do the same again, or {_ELSEWHERE}"


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

    def __getitem__(self, window: Any, /) -> Any:
        """Returns the values in a window."""
        ...


class Scratch:
    """An array in files, one for each of the `windows_over` it that it is written by.

    Processes, of several machines, too, may write different windows at the same time: no file is written to by
    two, and one that is there is whole. Nothing stays in memory between two accesses.

    Attributes:
        shape: of the array.
        dtype: of the array.
    """

    def __init__(self, folder: Path, shape: tuple[int, int], dtype: type, side: int) -> None:
        """Makes the folder; all is zeros. Windows are of `side` by `side`, less at the end."""
        self.shape, self.dtype, self._folder, self._side = shape, np.dtype(dtype), folder, side
        with telling(folder, then=_THEN):
            folder.mkdir()

    def beside(self, folder: Path, dtype: type) -> "Scratch":
        """Returns an array of another type, of the same shape and windows."""
        return Scratch(folder, self.shape, dtype, self._side)

    def __getitem__(self, window: Window) -> np.ndarray:
        """Returns a copy of the values in a window, of any place and size."""
        values = np.zeros(lengths(window), self.dtype)
        for part in self._parts_under(window):
            if (file := self._file(part)).exists():
                common = _common(part, window)
                values[within(common, window)] = np.load(file, mmap_mode="r")[within(common, part)]
        return values

    def __setitem__(self, window: Window, values: np.ndarray) -> None:
        """Writes the values in a window of the grid; `files.WriteError` if the disk has no room for them."""
        if self._parts_under(window) != [window]:
            raise ValueError(
                f"{self._folder}: {window} is no window of its grid of {self._side} pixels; write one"
            )
        with replacing(self._file(window), then=_THEN) as temporary, temporary.open("wb") as file:
            np.save(file, np.ascontiguousarray(values, self.dtype))

    def _parts_under(self, window: Window) -> list[Window]:
        """Returns the windows of the grid that a window touches."""
        begin = [side.start // self._side * self._side for side in window]
        end = [
            min(-(-side.stop // self._side) * self._side, n) for side, n in zip(window, self.shape, strict=True)
        ]
        local = windows_over([b - a for a, b in zip(begin, end, strict=True)], (self._side, self._side))
        return [
            (slice(y.start + begin[0], y.stop + begin[0]), slice(x.start + begin[1], x.stop + begin[1]))
            for y, x in local
        ]

    def _file(self, part: Window) -> Path:
        return self._folder / f"{part[0].start}_{part[1].start}.npy"


@contextmanager
def scratch_folder(beside: Path | None = None, *, room: int) -> Generator[Path, None, None]:
    """Lends a folder for files of `Scratch`; it is gone afterwards.

    Args:
        beside: the folder to make it in; None for where TMPDIR says.
        room: bytes that are needed at most.

    Raises:
        ValueError: if the disk has no room for them.
    """
    if beside is not None:
        beside.mkdir(parents=True, exist_ok=True)
    # Of such a name, `files.remove_leftovers` removes what a process that was killed left.
    name = {"prefix": ".wsis-", "suffix": f".{os.getpid()}.tmp"}
    with tempfile.TemporaryDirectory(**name, dir=beside) as folder:
        if (free := shutil.disk_usage(folder).free) < room:
            raise ValueError(
                f"the image needs {in_words(room)} of temporary files, and there are {in_words(free)} free; make "
                f"room, {_ELSEWHERE}, or choose a smaller image.scale"
            )
        yield Path(folder)


def one_by_one(function: Callable[..., Any], parts: Iterable[Any], **same: Any) -> Iterable[Any]:
    """Calls a function with part after part, here: the `Over` of a process that works alone."""
    return (function(part, **same) for part in parts)


class Progress:
    """Counts parts that are done, of so many, and tells."""

    def __init__(self, total: int, tell: Callable[[int, int], None]) -> None:
        """Takes the number of parts, and what is called with the number of those done, and of all."""
        self._done, self._total, self._tell = 0, total, tell
        self._coming = total

    def before(self, done: int, total: int) -> None:
        """Tells of parts that come before these; called by what counts them."""
        self._done, self._total = done, total + self._coming
        self._tell(self._done, self._total)

    def counting(self, over: Over) -> Over:
        """Returns what calls a function likewise, and tells of each part that is done."""

        def counted(function: Callable[..., Any], parts: Iterable[Any], **same: Any) -> Iterator[Any]:
            for result in over(function, parts, **same):
                yield result
                self._done += 1
                self._tell(self._done, self._total)

        return counted

    def finish(self) -> None:
        """Tells that all is done, where steps were left out."""
        if self._done < self._total:
            self._done = self._total
            self._tell(self._done, self._total)


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


def _common(one: Window, other: Window) -> Window:
    """Returns what two windows share."""
    rows, columns = (slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one, other, strict=True))
    return rows, columns


def lengths(window: Window) -> tuple[int, int]:
    """Returns the (height, width) of a window."""
    return window[0].stop - window[0].start, window[1].stop - window[1].start


# Order statistics, in two passes over parts that are counted on their own, and whose counts add up


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
