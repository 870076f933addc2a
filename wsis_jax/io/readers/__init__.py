"""The arrays in an image file, with their axes, read part by part.

A file is recognised by its first bytes, not by its name; a folder of Zarr and the files of microscopes by their
endings.
"""

import logging
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
import tifffile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from wsis_jax.core import MissingFile, UserError, check_chunks, check_values
from wsis_jax.io.paths import is_zarr
from wsis_jax.io.pixel_sizes import pixel_size_of_tiff
from wsis_jax.io.readers.bioio import ENDINGS, open_scenes
from wsis_jax.io.readers.tiff import check_other_files, check_pages
from wsis_jax.io.readers.zarr import open_omezarr

Window = tuple[slice, slice]
WHOLE = slice(None), slice(None)

# A file is known by how it starts.
_STARTS = {
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "PNG": b"\x89PNG\r\n\x1a\n",
    "JPEG": b"\xff\xd8\xff",
}

# Opened by their own classes: `Image.open` has a limit of its own, the same for all machines.
_PICTURES = {"PNG": PngImageFile, "JPEG": JpegImageFile}

TOO_LARGE = "cut the image into parts, or segment it in tiles, as OME-Zarr"

# Tifffile's remarks on a damaged file would be printed beside our one sentence.
logging.getLogger("tifffile").propagate = False
logging.getLogger("tifffile").addHandler(logging.NullHandler())


class Stack(NamedTuple):
    """An array in a file.

    Attributes:
        sizes: the length of each axis, in order: `Y`, `X`, `C` for channels, `S` for colours, others for frames.
            The colours of a picture are known only when it is read.
        read: takes places on axes other than `Y` and `X`, and a window; returns the values there, and what axes
            they have.
        pixel_size: side of a pixel in µm, if the file tells.
    """

    sizes: dict[str, int]
    read: Callable[[Mapping[str, int], Window], tuple[np.ndarray, str]]
    pixel_size: float | None = None


def check_axes(axes: str | None) -> None:
    """Checks the names of axes as far as one can without a file.

    Raises:
        UserError: if they are no letters, one is there twice, or rows or columns are missing.
    """
    if axes is None:
        return
    if not (axes.isalpha() and axes.isupper() and len(set(axes)) == len(axes) and {"Y", "X"} <= set(axes)):
        raise UserError(
            f"axes '{axes}' name no image; give a capital letter for each, Y and X among them, as in TZCYX"
        )


@contextmanager
def open_stacks(path: Path, *, axes: str | None = None) -> Generator[list[Stack], None, None]:
    """Opens the arrays of an image file, of which nothing but the description is read.

    Args:
        path: a TIFF, PNG or JPEG, a folder of OME-Zarr, or a file of a microscope that bioio reads.
        axes: names for the axes of a TIFF, in order, instead of those that the file gives.

    Yields:
        At least one array, each with pixels. Reading one raises UserError where the file is damaged.

    Raises:
        MissingFile: if there is no such file.
        UserError: if the file is empty, damaged or not an image, or its axes are not known.
        UserError: if the package that reads it is not installed.
    """
    check_axes(axes)
    if is_zarr(path):
        array, names, pixel_size = open_omezarr(path)
        yield [_stack(path, array, names.upper(), pixel_size, chunks=array.chunks)]
    elif path.suffix.lower() in ENDINGS and path.is_file():
        try:
            scenes = open_scenes(path)
        except UserError:
            raise
        except Exception as error:
            raise _damaged(path, error) from error
        yield [_stack(path, *scene) for scene in scenes]
    elif (kind := _kind(path)) == "TIFF":
        with _opened(path) as tiff:
            yield _tiff_stacks(path, tiff, axes)
    else:
        yield [_picture(path, kind)]


def _stack(
    path: Path, array: Any, axes: str, pixel_size: float | None, *, chunks: tuple[int, ...] | None = None
) -> Stack:
    """Returns an array that is read by slices, with its axes named; its chunks are given if each takes a while."""
    sizes = dict(zip(axes, array.shape, strict=True))
    if not {"Y", "X"} <= set(axes) or 0 in sizes.values():
        raise _without_pixels(path)
    if max(sizes.values()) >= 2**31:
        raise UserError(f"{path}: an axis has a length of {max(sizes.values()):.3g}; write it again")
    if not (axes.isascii() and axes.isalpha()):  # they become a part of file names
        raise UserError(f"{path}: the names of its axes, {axes!r}, are no letters; give others (--axes)")

    def read(at: Mapping[str, int], window: Window) -> tuple[np.ndarray, str]:
        where: dict[str, Any] = {"Y": window[0], "X": window[1], **at}
        taken = [len(range(n)[where.get(axis, slice(None))]) for axis, n in sizes.items() if axis not in at]
        check_values(path, math.prod(taken), remedy=TOO_LARGE)
        if chunks is not None:
            sides = [side for axis, side in zip(axes, chunks, strict=True) if axis not in at]
            check_chunks(path, math.prod(n // side + 1 for n, side in zip(taken, sides, strict=True)))
        try:
            values = np.asarray(array[tuple(where.get(axis, slice(None)) for axis in axes)])
        except UserError:
            raise
        except Exception as error:  # The decoders raise a dozen unrelated classes for a damaged file.
            raise _damaged(path, error) from error
        return values, "".join(axis for axis in axes if axis not in at)

    return Stack(sizes, read, pixel_size)


# Pictures


def _picture(path: Path, kind: str) -> Stack:
    """Returns the one array of a PNG or JPEG, decoded when it is read."""
    try:
        with _PICTURES[kind](path) as picture:
            sizes, colours = {"Y": picture.height, "X": picture.width}, len(picture.getbands())
    except Exception as error:
        raise _damaged(path, error) from error
    check_values(path, picture.height * picture.width * colours, remedy=TOO_LARGE)

    @cache
    def decoded() -> np.ndarray:
        try:
            array = _decode_picture(path, kind)
        except Exception as error:
            raise _damaged(path, error) from error
        if array.size == 0:
            raise _without_pixels(path)
        return array

    def read(_: Mapping[str, int], window: Window) -> tuple[np.ndarray, str]:
        return decoded()[window], "YXS"[: decoded().ndim]

    return Stack(sizes, read)


def _decode_picture(path: Path, kind: str) -> np.ndarray:
    """Returns the array of a PNG or JPEG."""
    if kind == "PNG":
        return imagecodecs.png_decode(path.read_bytes())  # Pillow would cut 16-bit colours down to 8 bits.
    with JpegImageFile(path) as picture:
        # A grey one has a single channel; of the others, CMYK among them, we know the colours of RGB.
        return np.asarray(picture if picture.mode == "L" else picture.convert("RGB"))


# TIFF


@contextmanager
def _opened(path: Path) -> Generator[tifffile.TiffFile, None, None]:
    """Opens a TIFF of which no page is missing."""
    try:
        tiff = tifffile.TiffFile(path)
    except Exception as error:
        raise _damaged(path, error) from error
    with tiff:
        yield tiff


def _tiff_stacks(path: Path, tiff: tifffile.TiffFile, axes: str | None) -> list[Stack]:
    """Returns the series of a TIFF: one array for each run of pages of the same kind."""
    try:
        check_pages(tiff)
        check_other_files(path, tiff)
        series = [(one, one.get_axes(), tuple(one.get_shape())) for one in tiff.series]
        pixel_size = pixel_size_of_tiff(tiff)
        if not series:
            raise _without_pixels(path)
        if not all(isinstance(side, int) for _, _, shape in series for side in shape):
            raise ValueError("the length of an axis is no whole number")
        named = [(one, _named(path, given, shape, axes), shape) for one, given, shape in series]
        return [_stack(path, _sliceable(path, one, shape), names, pixel_size) for one, names, shape in named]
    except UserError:
        raise
    except Exception as error:
        raise _damaged(path, error) from error


def _named(path: Path, given: str, shape: Sequence[int], axes: str | None) -> str:
    """Returns the names of the axes of a series; None stands for those that the file gives."""
    if axes is not None:
        if len(axes) != len(shape):
            have = f"{len(shape)} axes of lengths {', '.join(map(str, shape))}"
            raise UserError(f"{path}: axes '{axes}' do not fit its {have}; name each of them once")
        return axes
    if len(set(given)) < len(given):
        raise UserError(
            f"{path}: the file does not name its {len(shape)} axes, of lengths {', '.join(map(str, shape))}; "
            "name them, as in --axes TZYX"
        )
    return given


def _sliceable(path: Path, series: tifffile.TiffPageSeries, shape: tuple[int, ...]) -> Any:
    """Returns what reads parts of a series: a memory map, page after page, or in the last resort all at once."""
    page = series.keyframe
    if series.kind == "ome" and any(one is None for one in series.pages):
        raise ValueError("some of its pages are in files that are not beside it")
    in_one_piece = page.is_memmappable and series.dataoffset is not None and not series.is_multifile
    if in_one_piece and page.dtype is not None and 0 not in shape:
        dtype, offset = np.dtype(page.parent.byteorder + page.dtype.char), series.dataoffset or 0
        if offset + math.prod(shape) * dtype.itemsize <= path.stat().st_size:
            return np.memmap(path, dtype, "r", offset, shape)
        raise ValueError("it ends before its pixels do")
    return _Pages(path, series, shape)


class _Pages:
    """The array of a series, of which a page is decoded at a time; the last one is kept."""

    def __init__(self, path: Path, series: tifffile.TiffPageSeries, shape: tuple[int, ...]) -> None:
        self.shape, self._path, self._series = shape, path, series
        inner = tuple(series.keyframe.shape)
        self._outer = shape[: len(shape) - len(inner)]
        whole = shape[len(self._outer) :] == inner and math.prod(self._outer) == len(series)
        self._by_page = whole and not series.is_multifile
        self._kept: tuple[int | None, np.ndarray] | None = None

    def __getitem__(self, index: tuple[Any, ...]) -> np.ndarray:
        outer, inner = index[: len(self._outer)], index[len(self._outer) :]
        if not self._by_page or any(isinstance(place, slice) for place in outer):
            return self._page(None)[index]
        return self._page(int(np.ravel_multi_index(outer, self._outer)) if outer else 0)[inner]

    def _page(self, number: int | None) -> np.ndarray:
        """Returns the values of a page, or of all."""
        if self._kept is None or self._kept[0] != number:
            page, pages = self._series.keyframe, 1 if number is not None else len(self._series)
            # A piece that is compressed may be larger than its page.
            check_values(self._path, pages * max(page.size, math.prod(page.chunks)), remedy=TOO_LARGE)
            if len(page.dataoffsets) < math.prod(page.chunked):  # what is missing would be zeros
                raise ValueError(f"{len(page.dataoffsets)} of {math.prod(page.chunked)} parts of a page are there")
            if number is None:
                values = self._series.asarray().reshape(self.shape)
            elif (page := self._series[number]) is None:
                raise ValueError(f"page {number} is missing")
            else:
                values = page.asarray()
            self._kept = number, values
        return self._kept[1]


# What is wrong with a file


def _kind(path: Path) -> str:
    """Returns the kind of an image file by its first bytes."""
    if not path.is_file():
        raise MissingFile(f"{path}: there is no such image file; check the path")
    with path.open("rb") as file:
        start = file.read(8)
    if not start:
        raise UserError(f"{path}: the file is empty (0 bytes); copy or export it again")
    kind = next((kind for kind, starts in _STARTS.items() if start.startswith(starts)), None)
    if kind is None:
        raise UserError(f"{path}: this is not an image of a known kind; give a {', '.join(_STARTS)} or OME-Zarr")
    return kind


def _damaged(path: Path, error: Exception) -> UserError:
    """Returns what to tell of a file that a decoder gave up on."""
    reason = str(error).partition("\n")[0]
    return UserError(f"{path}: the image is damaged ({reason}); copy or export it again")


def _without_pixels(path: Path) -> UserError:
    return UserError(f"{path}: the file holds no pixels; copy or export it again")
