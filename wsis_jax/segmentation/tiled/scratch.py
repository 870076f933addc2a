"""Arrays in files, for what does not fit into memory."""

import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from wsis_jax.core import (
    Window,
    explaining_write_errors,
    format_bytes,
    grid_windows,
    intersect,
    relative_to,
    replacing,
    window_shape,
)
from wsis_jax.core.errors import UserError

_ELSEWHERE = "choose another disk for temporary files (TMPDIR; with --dask the folder of results)"


_THEN = f"do the same again, or {_ELSEWHERE}"


class Scratch:
    """An array in files, one for each of the `grid_windows` it that it is written by.

    Processes, of several machines, too, may write different windows at the same time: no file is written to by
    two, and one that is there is whole. Nothing stays in memory between two accesses.

    Attributes:
        shape: of the array.
        dtype: of the array.
    """

    def __init__(self, folder: Path, shape: tuple[int, int], dtype: type, side: int) -> None:
        """Makes the folder; all is zeros. Windows are of `side` by `side`, less at the end."""
        self.shape, self.dtype, self._folder, self._side = shape, np.dtype(dtype), folder, side
        with explaining_write_errors(folder, then=_THEN):
            folder.mkdir()

    def beside(self, folder: Path, dtype: type) -> "Scratch":
        """Returns an array of another type, of the same shape and windows."""
        return Scratch(folder, self.shape, dtype, self._side)

    def __getitem__(self, window: Window) -> np.ndarray:
        """Returns a copy of the values in a window, of any place and size."""
        values = np.zeros(window_shape(window), self.dtype)
        for part in self._parts_under(window):
            if (file := self._file(part)).exists():
                common = intersect(part, window)
                values[relative_to(common, window)] = np.load(file, mmap_mode="r")[relative_to(common, part)]
        return values

    def __setitem__(self, window: Window, values: np.ndarray) -> None:
        """Writes the values in a window of the grid; `files.WriteError` if the disk has no room for them."""
        if self._parts_under(window) != [window]:
            raise UserError(f"{self._folder}: {window} is no window of its grid of {self._side} pixels; write one")
        with replacing(self._file(window), then=_THEN) as temporary, temporary.open("wb") as file:
            np.save(file, np.ascontiguousarray(values, self.dtype))

    def _parts_under(self, window: Window) -> list[Window]:
        """Returns the windows of the grid that a window touches."""
        begin = [side.start // self._side * self._side for side in window]
        end = [
            min(-(-side.stop // self._side) * self._side, n) for side, n in zip(window, self.shape, strict=True)
        ]
        local = grid_windows([b - a for a, b in zip(begin, end, strict=True)], (self._side, self._side))
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
        UserError: if the disk has no room for them.
    """
    if beside is not None:
        beside.mkdir(parents=True, exist_ok=True)
    # Of such a name, `files.remove_leftovers` removes what a process that was killed left.
    name = {"prefix": ".wsis-", "suffix": f".{os.getpid()}.tmp"}
    with tempfile.TemporaryDirectory(**name, dir=beside) as folder:
        if (free := shutil.disk_usage(folder).free) < room:
            raise UserError(
                f"the image needs {format_bytes(room)} of temporary files, and there are {format_bytes(free)} "
                f"free; make room, {_ELSEWHERE}, or choose a smaller image.scale"
            )
        yield Path(folder)
