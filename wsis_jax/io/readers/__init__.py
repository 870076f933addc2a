"""The arrays in an image file, with their axes, read part by part: one reader for each kind of file.

`READERS` holds all kinds of files that can be read; what lists or opens image files asks it.
"""

import logging
import math
import re
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from wsis_jax.core import MissingFile, UserError, Window, check_chunks, check_values, reading

# What red, green and blue weigh in a grey value: ITU-R BT.601, as in Pillow and OpenCV. They sum to 1, so a grey
# picture saved as RGB keeps its values.
LUMINANCE = np.array([0.299, 0.587, 0.114])
WHOLE = slice(None), slice(None)
TOO_LARGE = "cut the image into parts, or segment it in tiles, as OME-Zarr"
DAMAGED = "the image is damaged"
NO_PIXELS = "the file holds no pixels; copy or export it again"

# Of a scene without a name of its own.
_NUMBER_ALONE = re.compile(r"(?:image|scene|series|xypos)?[-_]?([0-9]{1,9})", re.IGNORECASE)
_LONGEST = 80  # letters of the name of a scene

# What these log about a damaged file would be printed beside our one sentence.
_LOGGERS = ("tifffile", "bioio.bio_image", "roifile")


class Stack(NamedTuple):
    """An array in a file.

    Attributes:
        sizes: the length of each axis, in order: `Y`, `X`, `C` for channels, `S` for colours, others for frames.
            The colours of a picture are known only when it is read.
        read: takes places on axes other than `Y` and `X`, and a window; returns the values there, and the names of
            their axes.
        pixel_size: side of a pixel in µm, or None if the file does not tell.
        stored: as `read`, but the numbers in the file, as label images need them, where `read` returns how they
            are shown: brightness where 0 is white, or the colours of a palette. None where these are the same.
        place: of the array in a collection, as `A_1_0` of a plate, or the name of a scene among several; it
            becomes a part of names. Empty elsewhere.
    """

    sizes: dict[str, int]
    read: Callable[[Mapping[str, int], Window], tuple[np.ndarray, str]]
    pixel_size: float | None = None
    stored: Callable[[Mapping[str, int], Window], tuple[np.ndarray, str]] | None = None
    place: str = ""


class Reader(NamedTuple):
    """A kind of image file.

    Attributes:
        name: of the kind, in messages.
        endings: of the names of such files, in small letters.
        open: takes the path, and the names of the axes or None; a context manager yielding the arrays, of which
            nothing but the description is read. Whatever it raises becomes a `UserError`.
        starts: the first bytes of such files; none if only the ending tells.
        holds: for folders, the names of files of which one is in such a folder.
        labels: whether programs keep label images in such files.
        lossy: whether such files keep values only roughly.
    """

    name: str
    endings: tuple[str, ...]
    open: Callable[[Path, str | None], AbstractContextManager[list[Stack]]]
    starts: tuple[bytes, ...] = ()
    holds: tuple[str, ...] = ()
    labels: bool = False
    lossy: bool = False


READERS: dict[str, Reader] = {}
r"""The kinds of image files that can be read, by name.

A file is recognised by its first bytes, a folder by what it holds, and the rest by the ending of the name. To add
a kind, write what opens it, and register it here or in a program of your own. This adds the files of NumPy:

    from contextlib import contextmanager
    import numpy as np
    from wsis_jax.io.readers import Reader, add_reader, stack_of

    @contextmanager
    def open_npy(path, axes):
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        yield [stack_of(path, array, axes or "TZYX"[-array.ndim :])]

    add_reader(Reader("NPY", (".npy",), open_npy, starts=(b"\x93NUMPY",)))
"""
IMAGE_SUFFIXES: list[str] = []
"""The endings of image files."""
LABEL_SUFFIXES: list[str] = []
"""The endings of label images."""
MASK_SUFFIXES: list[str] = []
"""The endings of label images, and of masks of all cells at once, of which `components` makes label images."""


def add_reader(reader: Reader) -> None:
    """Registers a kind of image file."""
    READERS[reader.name] = reader
    IMAGE_SUFFIXES.extend(reader.endings)
    if reader.labels:
        LABEL_SUFFIXES.extend(reader.endings)
    if reader.labels or reader.lossy:
        MASK_SUFFIXES.extend(reader.endings)


def _lazily(module: str, function: str) -> Callable[[Path, str | None], AbstractContextManager[list[Stack]]]:
    """Returns a function that opens files by a module of this folder, imported when it is first needed."""

    def open_with(path: Path, axes: str | None) -> AbstractContextManager[list[Stack]]:
        return getattr(import_module(f"wsis_jax.io.readers.{module}"), function)(path, axes)

    return open_with


_STARTS_OF_TIFF = b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"
add_reader(Reader("TIFF", (".tif", ".tiff"), _lazily("tiff", "open_tiff"), starts=_STARTS_OF_TIFF, labels=True))
add_reader(Reader("PNG", (".png",), _lazily("picture", "open_png"), starts=(b"\x89PNG\r\n\x1a\n",), labels=True))
add_reader(
    Reader("JPEG", (".jpg", ".jpeg"), _lazily("picture", "open_jpeg"), starts=(b"\xff\xd8\xff",), lossy=True)
)
_FILES_OF_ZARR = "zarr.json", ".zgroup", ".zarray"
add_reader(Reader("OME-Zarr", (".zarr",), _lazily("zarr", "open_zarr"), holds=_FILES_OF_ZARR))
add_reader(Reader("bioio", (".czi", ".nd2", ".lif"), _lazily("bioio", "open_scenes")))


# Opening


def is_image_folder(path: Path) -> bool:
    """Tells whether a path is a folder that is read as one image file, such as one of Zarr."""
    return any((path / name).is_file() for reader in READERS.values() for name in reader.holds)


def reader_of(path: Path) -> Reader:
    """Returns the reader of a file or folder.

    Raises:
        MissingFile: if there is no such file.
        UserError: if the file cannot be read, is empty, or is of no kind in `READERS`.
    """
    for reader in READERS.values():
        if any((path / name).is_file() for name in reader.holds):
            return reader
    if not path.is_file():
        raise MissingFile(f"{path}: there is no such image file; check the path")
    for reader in READERS.values():
        if not (reader.starts or reader.holds) and path.suffix.lower() in reader.endings:
            return reader
    with reading(path), path.open("rb") as file:
        start = file.read(16)
    if not start:
        raise UserError(f"{path}: the file is empty (0 bytes); copy or export it again")
    for reader in READERS.values():
        if reader.starts and start.startswith(reader.starts):
            return reader
    *names, last = (reader.name for reader in READERS.values() if reader.starts or reader.holds)
    raise UserError(f"{path}: this is not an image of a known kind; give a {', '.join(names)} or {last}")


@contextmanager
def open_stacks(path: Path, *, axes: str | None = None) -> Generator[list[Stack], None, None]:
    """Context manager yielding the arrays of an image file, of which nothing but the description is read.

    Args:
        path: a file or folder of a kind in `READERS`.
        axes: names for the axes of a TIFF, in order, instead of those that the file gives.

    Yields:
        At least one array, each with pixels. Reading one raises UserError if the file is damaged.

    Raises:
        MissingFile: if there is no such file.
        UserError: if the file is empty, damaged or not an image, or its axes are not known; if the package that
            reads it is not installed.
    """
    check_axes(axes)
    reader = reader_of(path)
    with ExitStack() as opened:
        with reading(path, damaged=DAMAGED), silent_libraries():
            stacks = opened.enter_context(reader.open(path, axes))
        yield stacks


def check_axes(axes: str | None) -> None:
    """Raises UserError if the names of axes are not capital letters, one occurs twice, or Y or X is missing."""
    if axes is None:
        return
    if not (axes.isalpha() and axes.isupper() and len(set(axes)) == len(axes) and {"Y", "X"} <= set(axes)):
        raise UserError(
            f"axes '{axes}' do not describe an image; "
            "give a capital letter for each axis, Y and X among them, as in TZCYX"
        )


def stack_of(
    path: Path, array: Any, axes: str, *, pixel_size: float | None = None, chunks: tuple[int, ...] | None = None
) -> Stack:
    """Returns the stack of an array that is read by slices.

    Args:
        path: the file, for messages.
        array: has a shape, and values for an index of whole numbers and slices; whatever it raises then becomes a
            `UserError`.
        axes: a capital letter for each axis, in order.
        pixel_size: side of a pixel in µm, or None.
        chunks: the shape of the parts that are decoded one by one, where each takes a while.

    Raises:
        UserError: if the array has no pixels, or axes that are too long or no letters.
    """
    sizes = dict(zip(axes, array.shape, strict=True))
    if not {"Y", "X"} <= set(axes) or 0 in sizes.values():
        raise UserError(f"{path}: {NO_PIXELS}")
    if max(sizes.values()) >= 2**31:
        raise UserError(
            f"{path}: one of its axes is {max(sizes.values()):.3g} long, which no image is; write the file again"
        )
    if not (axes.isascii() and axes.isalpha()):  # they become a part of file names
        raise UserError(f"{path}: the names of its axes, {axes!r}, are not letters; give others (--axes)")

    def read(at: Mapping[str, int], window: Window) -> tuple[np.ndarray, str]:
        where: dict[str, Any] = {"Y": window[0], "X": window[1], **at}
        taken = [len(range(n)[where.get(axis, slice(None))]) for axis, n in sizes.items() if axis not in at]
        check_values(path, math.prod(taken), remedy=TOO_LARGE)
        if chunks is not None:
            sides = [side for axis, side in zip(axes, chunks, strict=True) if axis not in at]
            check_chunks(path, math.prod(n // side + 1 for n, side in zip(taken, sides, strict=True)))
        with reading(path, damaged=DAMAGED), silent_libraries():
            values = np.asarray(array[tuple(where.get(axis, slice(None)) for axis in axes)])
        return values, "".join(axis for axis in axes if axis not in at)

    return Stack(sizes, read, pixel_size)


def of_scenes(stacks: Sequence[Stack], names: Sequence[str]) -> list[Stack]:
    """Returns the arrays of the scenes of a file, with the names that it gives them as their places.

    They are as they were where there is one, or the names say no more than a number, as `Series_1`, or two are the
    same. What is not a letter, digit, point, plus or underscore becomes a hyphen, since names become names
    of files.
    """
    places = ["-".join(re.findall(r"[\w.+]+", name))[:_LONGEST].strip(".-") for name in names]
    counted = [
        (match := _NUMBER_ALONE.fullmatch(place)) is not None and int(match[1]) - index in (0, 1)
        for index, place in enumerate(places)
    ]
    distinct = {place.casefold() for place in places if place}
    if len(stacks) == 1 or len(distinct) < len(stacks) or all(counted):
        return list(stacks)
    return [stack._replace(place=place) for stack, place in zip(stacks, places, strict=True)]


@contextmanager
def silent_libraries() -> Generator[None, None, None]:
    """Context manager that drops what the libraries of the readers log, in this thread and this block alone."""
    thread = threading.get_ident()

    def of_others(record: logging.LogRecord) -> bool:
        return record.thread != thread

    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addFilter(of_others)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(of_others)


# The side of a pixel

# In micrometres: the units that OME-XML, NGFF and ImageJ name.
_UNITS = {
    **dict.fromkeys(("å", "angstrom"), 1e-4),
    **dict.fromkeys(("nm", "nanometer", "nanometre"), 1e-3),
    **dict.fromkeys(("µm", "μm", "um", "micron", "microns", "micrometer", "micrometre"), 1.0),
    **dict.fromkeys(("mm", "millimeter", "millimetre"), 1e3),
    **dict.fromkeys(("cm", "centimeter", "centimetre"), 1e4),
    **dict.fromkeys(("m", "meter", "metre"), 1e6),
    **dict.fromkeys(("in", "inch"), 25400.0),
}


def in_micrometres(size: float | int, unit: str) -> float | None:
    """Returns a length in micrometres, or None if the unit is not one of length."""
    factor = _UNITS.get(unit.strip().lower().replace("\\u00b5", "µ"))
    return None if factor is None else size * factor


def side_of_square(sides: Sequence[float | int | None]) -> float | None:
    """Returns the side of a pixel from its height and width; None if one is unknown, or they differ by 0.1 %."""
    height, width = sides
    if height is None or width is None or not height > 0 or abs(height - width) > 1e-3 * height:
        return None
    return float(width)
