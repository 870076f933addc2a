"""Points from the regions of interest (ROIs) of ImageJ: a `.roi` file, or a `.zip` of its ROI manager.

Coordinates of ImageJ mean two things, as the text of its class Roi says: whole numbers are the centre of a
pixel in points, as here, but the top left corner of a pixel in areas, which therefore lie half a pixel off.
"""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from wsis_jax.core import UserError, area_centroid, check_bytes, in_short, reading, signed_area, warn_about_image
from wsis_jax.io.readers import silent_libraries

if TYPE_CHECKING:
    from roifile import ImagejRoi

_START = b"Iout"  # of a ROI
_ZIP = b"PK\x03\x04", b"PK\x05\x06"  # the second of an archive without entries
_DAMAGED = "the ROIs are damaged"
_BYTES_A_BYTE = 16  # of memory for one of a ROI, which becomes an array of several kinds
# How many numbers follow a step of a path, by its number in Java's PathIterator: move, line, two curves, close.
_MOVE, _NUMBERS = 0, {0: 2, 1: 2, 2: 4, 3: 6, 4: 0}


class Rois(NamedTuple):
    """The points of all ROIs of a file, in its order, and where in a stack each lies.

    Attributes:
        points: (row, column) in pixels.
        plane: number of the plane in the stack, counted from 1, channels first, then slices, then times; 0 where
            it is not told.
        z, t: numbers of the slice and the time, counted from 1; 0 where they are not told.
    """

    points: Float64[np.ndarray, "points 2"]
    plane: Int64[np.ndarray, " points"]
    z: Int64[np.ndarray, " points"]
    t: Int64[np.ndarray, " points"]


def holds_rois(path: Path) -> bool:
    """Tells whether a file is a ROI of ImageJ, or a ZIP file with ROIs or with nothing at all."""
    start = _start(path)
    if start not in _ZIP:
        return start == _START
    try:
        with zipfile.ZipFile(path) as archive:
            return not archive.infolist() or bool(_entries(archive))
    except Exception:  # of a damaged archive; several classes
        return path.suffix.lower() == ".zip"  # reading it says what is wrong


def read_rois(path: Path) -> Rois:
    """Reads the ROIs of a file for which `holds_rois` holds, or that is called `.roi`.

    The points of point and multi-point ROIs are taken, and the centroid of an area, also where it lies in several
    parts: then there is a warning.

    Raises:
        UserError: if the extra `imagej` is not installed, the file is damaged, or a ROI is neither points nor
            an area, as a line is.
    """
    found, divided = [Rois(np.empty((0, 2)), *np.zeros((3, 0), np.int64))], []
    for name, roi in _rois(path):
        with reading(path, damaged=_DAMAGED):
            points, parts = _points_of(path, name, roi)
            if not np.isfinite(points).all():
                raise ValueError(f"a coordinate of {name[:60]} is not a number")
            found.append(Rois(points, *_places_of(roi, len(points))))
        if parts > 1:
            divided.append(name)
    if divided:
        warn_about_image(
            f"{path}: the ROI {in_short(divided)} lies in several parts and counts as one cell; if they are "
            "several cells, split it in ImageJ (ROI Manager, More, Split)"
        )
    return Rois(*(np.concatenate(values) for values in zip(*found, strict=True)))


def _start(path: Path) -> bytes:
    """Returns the first bytes of a file."""
    with reading(path), path.open("rb") as file:
        return file.read(4)


def _entries(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Returns the ROIs of an archive, without what macOS adds to archives for each file."""
    return [
        entry
        for entry in archive.infolist()
        if entry.filename.lower().endswith(".roi") and not entry.filename.rpartition("/")[2].startswith("._")
    ]


def _rois(path: Path) -> Iterator[tuple[str, "ImagejRoi"]]:
    """Yields the name and the ROI of each entry of a file; two entries of one name are two ROIs."""
    try:
        from roifile import ImagejRoi
    except ImportError as error:
        raise UserError(
            f"{path}: ROIs of ImageJ need roifile; install it with: pip install 'wsis-jax[imagej]'"
        ) from error
    for name, data in _contents(path):
        with reading(path, damaged=_DAMAGED), silent_libraries():
            roi = ImagejRoi.frombytes(data)
        yield name, roi


def _contents(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yields the name and the bytes of each ROI of a file."""
    with reading(path, damaged=_DAMAGED):
        if path.suffix.lower() == ".roi" or _start(path) == _START:
            _check_size(path, path.stat().st_size)
            yield path.stem, path.read_bytes()
            return
        with zipfile.ZipFile(path) as archive:
            entries = _entries(archive)
            _check_size(path, sum(entry.file_size for entry in entries))
            for entry in entries:
                yield entry.filename.rpartition("/")[2][:-4], archive.read(entry)


def _check_size(path: Path, size: int) -> None:
    """Raises UserError for ROIs of more bytes than fit into memory."""
    check_bytes(str(path), _BYTES_A_BYTE * size, remedy="save fewer ROIs in a file")


def _points_of(path: Path, name: str, roi: "ImagejRoi") -> tuple[Float64[np.ndarray, "points 2"], int]:
    """Returns the points that a ROI stands for, and the number of parts in which its area lies."""
    from roifile import ROI_SUBTYPE, ROI_TYPE

    kind, drawn = roi.roitype, roi.subtype not in (ROI_SUBTYPE.TEXT, ROI_SUBTYPE.IMAGE)
    if kind == ROI_TYPE.POINT:
        return _corners(roi), 0
    if kind == ROI_TYPE.RECT and roi.composite:
        rings = _rings(np.asarray(roi.multi_coordinates, np.float64))
        areas = np.array([signed_area(ring) for ring in rings])
        outer = areas * areas[np.abs(areas).argmax()] > 0  # holes run the other way round
        return area_centroid(rings)[None] - 0.5, int(outer.sum())
    if kind in (ROI_TYPE.RECT, ROI_TYPE.OVAL) and drawn:
        if roi.subpixelrect:
            middle = roi.yd + roi.heightd / 2, roi.xd + roi.widthd / 2
        else:
            middle = (roi.top + roi.bottom) / 2, (roi.left + roi.right) / 2
        return np.array([middle]) - 0.5, 1
    if kind in (ROI_TYPE.POLYGON, ROI_TYPE.FREEHAND, ROI_TYPE.TRACED) and drawn and roi.n_coordinates:
        return area_centroid([_corners(roi)])[None] - 0.5, 1
    called = kind.name.lower() if drawn else roi.subtype.name.lower()
    raise UserError(
        f"{path}: the ROI {name[:60]} is neither points nor an area (but of the kind {called}), so it marks no "
        "cell; delete it, or mark the cells with the multi-point tool"
    )


def _corners(roi: "ImagejRoi") -> Float64[np.ndarray, "corners 2"]:
    """Returns the (row, column) that a ROI lists."""
    return np.asarray(roi.coordinates(), np.float64).reshape(-1, 2)[:, ::-1]


def _rings(path: Float64[np.ndarray, " numbers"]) -> list[Float64[np.ndarray, "corners 2"]]:
    """Returns the (row, column) of the corners of each closed part of a path.

    Curves are taken as lines between their ends and the points that bend them: close enough for a centroid.
    """
    rings: list[list[float]] = []
    at = 0
    while at < len(path):
        step = int(path[at])
        if step == _MOVE:
            rings.append([])
        rings[-1].extend(path[at + 1 : at + 1 + _NUMBERS[step]])
        at += 1 + _NUMBERS[step]
    return [np.array(ring).reshape(-1, 2)[:, ::-1] for ring in rings]


def _places_of(roi: "ImagejRoi", count: int) -> list[Int64[np.ndarray, " points"]]:
    """Returns plane, slice and time of so many points of a ROI, as `Rois` has them."""
    planes = roi.counter_positions  # each point's own, where a multi-point ROI was clicked in a stack
    if planes is not None and np.any(planes) and len(planes) == count:
        return [planes.astype(np.int64), *np.zeros((2, count), np.int64)]
    return [np.full(count, max(number, 0)) for number in (roi.position, roi.z_position, roi.t_position)]
