"""Reads, checks and writes rough cell centroids.

A point is (row, column) in pixels; the centre of the top-left pixel is (0, 0). Coordinates are never scaled:
a table in micrometres has to be brought to pixels before it is saved.
"""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float64

from wsis_jax.core import MissingFile, UserError, inside, read_text, reading, write_text

POINT_SUFFIXES = (".csv", ".txt", ".tsv")

# Names of the row and the column, in small letters, in the order in which they are looked for.
_COORDINATES = (("y", "x"), ("row", "column"), ("row", "col"), ("r", "c"))

_FARTHEST = 1e9  # no image has so many pixels a side, or frames; squares of it can still be summed

ByFrame = Mapping[int, Float64[np.ndarray, "_ 2"]]
"""(row, column) of points by the frame of the image that they are in, counted from 0."""

PointFormat = Literal["napari", "imagej", "csv"]
"""What `write_points` writes."""

# The header and the line of a point, of one image and of a sequence; `number` and `page` count from 1.
_TABLES: dict[PointFormat, tuple[tuple[str, str], tuple[str, str]]] = {
    "napari": (
        ("index,axis-0,axis-1", "{index},{row:.2f},{column:.2f}"),
        ("index,axis-0,axis-1,axis-2", "{index},{frame},{row:.2f},{column:.2f}"),
    ),
    "imagej": (
        (" ,X,Y", "{number},{column:.2f},{row:.2f}"),
        (" ,X,Y,Frame", "{number},{column:.2f},{row:.2f},{page}"),
    ),
    "csv": (
        ("row,column", "{row:.2f},{column:.2f}"),
        ("frame,row,column", "{frame},{row:.2f},{column:.2f}"),
    ),
}

_UNDERSTOOD = (
    "`index,axis-0,axis-1` (napari), ` ,X,Y` (ImageJ), `# frame, x, y`, `row,column`, `r,c`, `y,x` and `x,y`"
)


def read_points(path: str | Path) -> dict[int, Float64[np.ndarray, "_ 2"]]:
    """Reads the points of an image or of a sequence of images.

    The first line names the columns; other columns are ignored. Fields are separated by commas, semicolons or
    tabs. These tables are understood:

    * napari's points layer, `index,axis-0,axis-1`; of three axes the first is the frame, counted from 0;
    * ImageJ's table of results, known by `X` and `Y` in capitals; its `Frame` or `Slice` counts from 1;
    * the text of the authors' code, `# frame, x, y`;
    * `row,column`, `row,col`, `r,c`, `y,x` or `x,y` in any order and case, and `frame`, counted from 0.

    Returns:
        Points (row, column) in the order of the file, by frame, counted from 0 and rising. Frames without a line
        are absent; but a file of a header alone is `{0: no points}`: an image that was found to hold no cell.

    Raises:
        MissingFile: If there is no such file.
        UserError: If the file is empty or no text, or its header is not understood; if a line has too many or too
            few fields, a value that is not a finite number, or a frame that is not a whole number; if both `Frame`
            and `Slice` change.
    """
    path = Path(path)
    table = _lines(path)
    _, names = next(table, (0, []))
    names = [name.strip(" #") for name in names]
    columns, first = _find_columns(names, path)
    values, numbers = [], []
    for number, fields in table:
        if len(fields) != len(names):
            raise UserError(
                f"{path}: line {number} has {len(fields)} fields and the header {len(names)}; correct it"
            )
        values.append([_to_number(fields[column], names[column], number, path) for column in columns])
        numbers.append(number)
    if not values:
        return {0: np.empty((0, 2))}
    array = np.array(values)
    frames = _to_frames(array[:, 2:], first, numbers, path)
    order = np.argsort(frames, kind="stable")
    found, starts = np.unique(frames[order], return_index=True)
    parts = np.split(array[order, :2], starts[1:])
    return {int(frame): part for frame, part in zip(found, parts, strict=True)}


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yields the number, counted from 1, and the fields of each line that is not blank, header included."""
    if not path.exists():
        raise MissingFile(f"{path}: there is no such file of points; check the path")
    if not path.is_file():  # reading a pipe would never end
        raise UserError(f"{path}: this is a {'folder' if path.is_dir() else 'device'}; give a file of points")
    # Labels of ImageJ may hold letters in another encoding; numbers are the same in all encodings.
    with reading(path):
        text = read_text(path, encoding="utf-8-sig", errors="replace")
    if "\0" in text:
        raise UserError(f"{path}: this is not a text file in UTF-8; save the points as a CSV file in UTF-8")
    if not text.strip():
        raise UserError(
            f"{path}: the file is empty; save the points again, with a header even if there is no cell"
        )
    header = next(line for line in text.splitlines() if line.strip())
    reader = csv.reader(text.splitlines(), delimiter=next((mark for mark in "\t;" if mark in header), ","))
    try:
        for fields in reader:
            if "".join(fields).strip() or len(fields) > 1:
                yield reader.line_num, fields
    except csv.Error as error:
        raise UserError(f"{path}: line {reader.line_num} is no table ({error}); correct it") from error


def _find_columns(names: list[str], path: Path) -> tuple[list[int], int]:
    """Returns the indices of row, column and possible counters of frames, and the number of the first frame."""
    lower = [name.lower() for name in names]
    axes = [name for name in lower if name.startswith("axis-")]
    if axes == ["axis-0", "axis-1"]:
        return [lower.index("axis-0"), lower.index("axis-1")], 0
    if axes == ["axis-0", "axis-1", "axis-2"]:
        return [lower.index("axis-1"), lower.index("axis-2"), lower.index("axis-0")], 0
    for row, column in _COORDINATES:
        if row in lower and column in lower:
            counters = [lower.index(name) for name in ("frame", "slice") if name in lower]
            return [lower.index(row), lower.index(column), *counters], int("X" in names and "Y" in names)
    shown = ",".join(names)[:60]
    raise UserError(f"{path}: the header `{shown}` is not understood; write one of {_UNDERSTOOD}")


def _to_number(field: str, name: str, number: int, path: Path) -> float:
    """Returns the finite number in a field."""
    try:
        value = float(field)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise UserError(
            f"{path}: `{field.strip()[:60]}` in line {number}, column {name}, is not a number; correct the line"
        )
    if abs(value) > _FARTHEST:
        raise UserError(f"{path}: {value:g} in line {number}, column {name}, is too large; correct the line")
    return value


def _to_frames(counters: np.ndarray, first: int, numbers: list[int], path: Path) -> np.ndarray:
    """Returns the frame of each line, counted from 0, from up to two columns that may count it."""
    if counters.shape[1] == 0:
        return np.zeros(len(counters), int)
    # ImageJ writes both `Slice` and `Frame`, and the one that is not used stays 1.
    changing = np.flatnonzero(np.ptp(counters, axis=0))
    if len(changing) > 1:
        raise UserError(f"{path}: both Frame and Slice change; save the points of one plane")
    frames = counters[:, changing[0] if len(changing) else 0] - first
    wrong = np.flatnonzero((frames < 0) | (frames != np.round(frames)))
    if len(wrong):
        shown, number = frames[wrong[0]] + first, numbers[wrong[0]]
        raise UserError(
            f"{path}: the frame {shown:g} in line {number} is not a whole number "
            f"from {first} on; correct it{', or write `x,y`: frames then count from 0' if first else ''}"
        )
    return frames.astype(int)


def points_of_frames(path: Path, frames: int, *, image: Path) -> ByFrame:
    """Reads the points of an image file of so many frames; a frame without a line in the file is absent.

    Raises:
        UserError: If there are points in frames that the image does not have, or `read_points` raises it.
    """
    by_frame = renumber_frames(read_points(path), frames)
    if fault := frames_beyond(by_frame, path, frames, image=image):
        raise UserError(fault)
    return by_frame


def renumber_frames(by_frame: ByFrame, frames: int) -> ByFrame:
    """Returns the points by frame; the only points of an image of one frame are in frame 0, whatever they say."""
    return {0: next(iter(by_frame.values()))} if frames == len(by_frame) == 1 else by_frame


def frames_beyond(by_frame: ByFrame, points: Path, frames: int, *, image: Path) -> str | None:
    """Returns what to say of points in frames that their image does not have; None if there are none."""
    beyond = [frame for frame in by_frame if frame >= frames]
    if not beyond:
        return None
    return (
        f"{points}: has points in frame {beyond[0]}, but {image} has {frames} frame(s), counted from 0; "
        "correct the frame numbers"
    )


def check_points(points: Float64[np.ndarray, "points 2"], shape: tuple[int, int], *, name: str) -> None:
    """Checks that all points lie in an image.

    A pixel extends half a pixel to each side of its centre: rows from -0.5 up to, but not including, height - 0.5
    are inside. `name` is the file of the points, for the message.

    Raises:
        UserError: If a point lies outside; the message says so if rows and columns look swapped.
    """
    outside = np.flatnonzero(~inside(points, shape))
    if not len(outside):
        return
    row, column = points[outside[0]]
    if inside(points[:, ::-1], shape).all():
        remedy = "rows and columns look swapped, so swap their names in the header"
    else:
        remedy = "correct it, or check that the points are in pixels and belong to this image"
    raise UserError(
        f"{name}: point {outside[0]} (counted from 0) at row {row:g}, column {column:g} is outside the image "
        f"of {shape[0]} rows and {shape[1]} columns; {remedy}"
    )


def write_points(
    path: str | Path,
    points: Float64[np.ndarray, "_ 2"] | Mapping[int, Float64[np.ndarray, "_ 2"]],
    *,
    format: PointFormat = "napari",
) -> None:
    """Writes points, rounded to a hundredth of a pixel, as a table that `read_points` reads.

    A frame without a point has no line, so it is absent when the table is read. A table without any point is read
    as `{0: no points}`.

    Args:
        points: Points (row, column) in pixels, of one image; or those of a sequence, by frame, counted from 0.
        format: `napari` is a points layer, `imagej` a table of results, whose frames count from 1, and `csv` a
            table of rows and columns.
    """
    framed = isinstance(points, Mapping)
    header, line = _TABLES[format][framed]
    by_frame = sorted(points.items()) if framed else [(0, points)]
    places = [(frame, row, column) for frame, of_frame in by_frame for row, column in of_frame]
    lines = [
        line.format(index=i, number=i + 1, frame=frame, page=frame + 1, row=row, column=column)
        for i, (frame, row, column) in enumerate(places)
    ]
    write_text(path, "\n".join([header, *lines, ""]))
