"""Windows of arrays, their arithmetic, and functions called with one part of an array after the other."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

Window = tuple[slice, slice]
"""The part of an image between two rows and two columns, as slices."""

ParallelMap = Callable[..., Iterable[Any]]
"""`parallel_map(function, parts, **same)` calls `function(part, **same)` for each part.

It returns the results in the order of the parts. The function may be called in other processes.
"""


@runtime_checkable
class Plane(Protocol):
    """An array of rows and columns, and perhaps channels, that is read by slices of rows and columns.

    It may be a NumPy array, a memory map, or a zarr array.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """(height, width), or (height, width, channels)."""
        ...

    @property
    def dtype(self) -> Any:
        """Of the values."""
        ...

    def __getitem__(self, window: Any, /) -> Any:
        """Returns the values in a window."""
        ...


def serial_map(function: Callable[..., Any], parts: Iterable[Any], **same: Any) -> Iterable[Any]:
    """Calls a function with one part after the other in this process: the `ParallelMap` without parallel work."""
    return (function(part, **same) for part in parts)


class Progress:
    """Counts the finished parts of some work, and reports each."""

    def __init__(self, total: int, tell: Callable[[int, int], None]) -> None:
        """Takes the number of parts, and a function that is called with the numbers of those done and of all."""
        self._done, self._total, self._tell = 0, total, tell
        self._coming = total

    def before(self, done: int, total: int) -> None:
        """Reports parts of work that comes before this one; to be called by the `Progress` of that work."""
        self._done, self._total = done, total + self._coming
        self._tell(self._done, self._total)

    def counting(self, parallel_map: ParallelMap) -> ParallelMap:
        """Returns the same `ParallelMap`, which also counts each part that is done."""

        def counted(function: Callable[..., Any], parts: Iterable[Any], **same: Any) -> Iterator[Any]:
            for result in parallel_map(function, parts, **same):
                yield result
                self._done += 1
                self._tell(self._done, self._total)

        return counted

    def finish(self) -> None:
        """Reports that all parts are done, where some were left out."""
        if self._done < self._total:
            self._done = self._total
            self._tell(self._done, self._total)


def whole_window(shape: Sequence[int]) -> Window:
    """Returns the window of all rows and columns of an array of (height, width) `shape`."""
    return slice(0, shape[0]), slice(0, shape[1])


def window_shape(window: Window) -> tuple[int, int]:
    """Returns the (height, width) of a window."""
    return window[0].stop - window[0].start, window[1].stop - window[1].start


def corner_of(window: Window) -> tuple[int, int]:
    """Returns the (row, column) of the first pixel of a window."""
    return window[0].start, window[1].start


def grid_windows(shape: Sequence[int], sides: tuple[int, int]) -> list[Window]:
    """Returns windows of (height, width) `sides`, less at the end, that cover an array; row after row."""
    return [
        (slice(row, min(row + sides[0], shape[0])), slice(column, min(column + sides[1], shape[1])))
        for row in range(0, shape[0], sides[0])
        for column in range(0, shape[1], sides[1])
    ]


def grow(window: Window, margin: int, limit: Window) -> Window:
    """Returns a window with a margin of so many pixels around it, as far as the limit allows."""
    rows, columns = (slice(side.start - margin, side.stop + margin) for side in window)
    return intersect((rows, columns), limit)


def intersect(one: Window, other: Window) -> Window:
    """Returns what two windows share; it has no pixels, or a negative side, where they share none."""
    rows, columns = (slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one, other, strict=True))
    return rows, columns


def enclose(one: Window, other: Window) -> Window:
    """Returns the smallest window that holds two windows."""
    rows, columns = (slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True))
    return rows, columns


def relative_to(inner: Window, outer: Window) -> Window:
    """Returns a window of an array in the coordinates of another window of the same array."""
    rows, columns = (slice(i.start - o.start, i.stop - o.start) for i, o in zip(inner, outer, strict=True))
    return rows, columns
