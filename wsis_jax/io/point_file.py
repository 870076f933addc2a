"""Reads, checks and writes rough cell centroids.

A point is (row, column) in pixels; the centre of the top-left pixel is (0, 0).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from wsis_jax.core import UserError, inside, warn_about_image, write_text
from wsis_jax.io.point_table import Table, read_table

POINT_SUFFIXES = (".csv", ".txt", ".tsv")

# Names of the row and the column, in small letters, in the order in which they are looked for.
_COORDINATES = (("y", "x"), ("row", "column"), ("row", "col"), ("r", "c"), ("position_y", "position_x"))
_SURE = ("frame", "slice")
# What may count the frames of an image, the likeliest first.
_TIMES = ("t", "timepoint", "time", "position_t")
_COUNTERS = (*_SURE, "page", "plane", "z", "position_z", *_TIMES)

ByFrame = Mapping[int, Float64[np.ndarray, "_ 2"]]
"""(row, column) of points by the frame of the image that they are in, counted from 0."""

PointUnit = Literal["pixels", "um"]
"""What points are measured in: pixels of their image, or micrometres."""

_MICROMETRES = ("micron", "microns", "µm", "μm", "um")

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


def read_points(
    path: str | Path, *, unit: PointUnit | None = None, pixel_size: float | None = None
) -> dict[int, Float64[np.ndarray, "_ 2"]]:
    """Reads the points of an image or of a sequence of images.

    The first line names the columns; other columns are ignored. Fields are separated by commas, semicolons or
    tabs; where it is not commas, they may be decimal commas. The text is UTF-8, or UTF-16 with its mark. These
    tables are understood:

    * napari's points layer, `index,axis-0,axis-1`; axes before the last two are frames, counted from 0;
    * napari's shapes layer: the centroid of each rectangle, ellipse and polygon;
    * ImageJ's table of results, known by `X` and `Y` in capitals; its `Frame` or `Slice` counts from 1;
    * TrackMate's table of spots;
    * the text of the authors' code, `# frame, x, y`;
    * `row,column`, `row,col`, `r,c`, `y,x` or `x,y` in any order and case.

    A column called frame, slice, page, plane, z, t, timepoint or time counts the frames, from 0 where X and Y are
    not in capitals. It is ignored where it is the same for all points and no such count, as the place of a focus
    in µm is, and where it changes with another one, as a time in seconds does with its frame.

    Args:
        path: the file.
        unit: "pixels", or "um" for micrometres; None for what the file says of its columns, or else pixels.
        pixel_size: side of a pixel in µm, to bring micrometres to pixels.

    Returns:
        Points (row, column) in pixels, in the order of the file, by frame, counted from 0 and rising. Frames
        without a line are absent; but a file of a header alone is `{0: no points}`: an image that was found to
        hold no cell.

    Raises:
        MissingFile: If there is no such file.
        UserError: If the file is empty or no text, or its header is not understood; if a line has too many or too
            few fields, a value that is not a finite number, or a frame that is not a whole number; if two counts
            of frames change, or a shape has no inside; if the points are in micrometres and `pixel_size` is None.
    """
    table = read_table(Path(path))
    columns = _find_columns(table)
    values = np.array(
        [
            [table.number(row, column) for column in (columns.row, columns.column, *columns.counters)]
            for row in range(len(table.rows))
        ]
    )
    if not len(values):
        return {0: np.empty((0, 2))}
    points, frames = values[:, :2], _to_frames(values[:, 2:], columns, table)
    if "vertex-index" in table.names:
        points, frames = _centres_of_shapes(points, frames, table)
    if (unit or _unit_of(table, columns)) == "um":
        points = points / _known(pixel_size, table.path)
    order = np.argsort(frames, kind="stable")
    found, starts = np.unique(frames[order], return_index=True)
    parts = np.split(points[order], starts[1:])
    return {int(frame): part for frame, part in zip(found, parts, strict=True)}


class _Columns(NamedTuple):
    """The indices of row, column and counters of frames, and the number of the first frame."""

    row: int
    column: int
    counters: list[int]
    first: int


def _unit_of(table: Table, columns: _Columns) -> PointUnit:
    """Returns the unit that a file says its points are in; pixels where it says nothing."""
    named = [table.units[column].lower() for column in (columns.row, columns.column)] if table.units else []
    return "um" if any(name in _MICROMETRES for name in named) else "pixels"


def _known(pixel_size: float | None, path: Path) -> float:
    """Returns the side of a pixel in µm; UserError where it is not known."""
    if pixel_size is None:
        raise UserError(
            f"{path}: the points are in micrometres, but the size of a pixel is not known; give it "
            "(--pixel-size), or the image whose file tells it"
        )
    return pixel_size


def _find_columns(table: Table) -> _Columns:
    """Finds the columns by their names."""
    names, lower = table.names, [name.lower() for name in table.names]
    axes = [name for name in lower if name.startswith("axis-")]
    if len(axes) > 1 and axes == [f"axis-{number}" for number in range(len(axes))]:
        *counters, row, column = (lower.index(name) for name in axes)
        return _Columns(row, column, counters, 0)
    for row, column in _COORDINATES:
        if row in lower and column in lower:
            counters = [lower.index(name) for name in _COUNTERS if name in lower]
            return _Columns(lower.index(row), lower.index(column), counters, int("X" in names and "Y" in names))
    shown = ",".join(names)[:60]
    raise UserError(f"{table.path}: the header `{shown}` is not understood; write one of {_UNDERSTOOD}")


def _to_frames(counters: np.ndarray, columns: _Columns, table: Table) -> Int64[np.ndarray, " lines"]:
    """Returns the frame of each line, counted from 0, from the columns that may count it."""
    first, names = columns.first, [table.names[column] for column in columns.counters]
    changing = _changing(counters, names)
    if len(changing) > 1:
        # ImageJ writes both `Slice` and `Frame`, and the one that is not used stays 1.
        one, other = (names[number] for number in changing[:2])
        raise UserError(
            f"{table.path}: both {one} and {other} change; save the points of one plane, or delete the column "
            "that does not count the frames of the image"
        )
    if changing:
        number = changing[0]
    else:  # the same for all points: the one that says something, if it can be a count
        steady = [
            number
            for number, name in enumerate(names)
            if name.lower() in _SURE or _is_count(counters[:1, number] - first).all()
        ]
        elsewhere = [number for number in steady if counters[0, number] != first]
        if not steady:
            return np.zeros(len(counters), int)
        number = (elsewhere or steady)[0]
    frames = counters[:, number] - first
    wrong = np.flatnonzero(~_is_count(frames))
    if len(wrong):
        shown, line = frames[wrong[0]] + first, table.lines[wrong[0]]
        remedy = f"correct it{', or write `x,y`: frames then count from 0' if first else ''}"
        if names[number].lower() not in _SURE:
            remedy = f"number the frames of the image there, or delete the column {names[number]}"
        raise UserError(
            f"{table.path}: the frame {shown:g} in line {line} is not a whole number from {first} on; {remedy}"
        )
    return frames.astype(int)


def _changing(counters: np.ndarray, names: list[str]) -> list[int]:
    """Returns the counters that change, without times that only say once more what one before them does."""
    kept: list[int] = []
    for number in map(int, np.flatnonzero(np.ptp(counters, axis=0))):
        known = (
            len(np.unique(counters[:, [one, number]], axis=0)) == len(np.unique(counters[:, one])) for one in kept
        )
        if names[number].lower() not in _TIMES or not any(known):
            kept.append(number)
    return kept


def _is_count(frames: np.ndarray) -> np.ndarray:
    """Tells which values are whole numbers from 0 on."""
    return (frames >= 0) & (frames == np.round(frames))


def _centres_of_shapes(
    corners: Float64[np.ndarray, "lines 2"], frames: Int64[np.ndarray, " lines"], table: Table
) -> tuple[Float64[np.ndarray, "shapes 2"], Int64[np.ndarray, " shapes"]]:
    """Returns the centroids of the shapes of a shapes layer, a line for each corner, and their frames."""
    numbers = [row[table.names.index("index")] if "index" in table.names else "" for row in table.rows]
    kinds = [row[table.names.index("shape-type")] if "shape-type" in table.names else "" for row in table.rows]
    starts = [line for line, number in enumerate(numbers) if not line or number != numbers[line - 1]]
    centres = []
    for start, end in zip(starts, [*starts[1:], len(numbers)], strict=True):
        kind = kinds[start].strip().lower()
        if kind not in ("rectangle", "ellipse", "polygon") or end - start < 3:
            raise UserError(
                f"{table.path}: the shape in line {table.lines[start]} is no rectangle, ellipse or polygon, so it "
                "marks no cell; click the cells in a points layer of napari, and save that"
            )
        centres.append(_centroid(corners[start:end]))
    return np.array(centres), frames[starts]


def _centroid(corners: Float64[np.ndarray, "corners 2"]) -> Float64[np.ndarray, " 2"]:
    """Returns the centroid of the area of a polygon."""
    middle = corners.mean(axis=0)
    here = corners - middle
    there = np.roll(here, -1, axis=0)
    areas = here[:, 0] * there[:, 1] - there[:, 0] * here[:, 1]
    if abs(areas.sum()) < 1e-9 * np.square(here).sum() or not areas.any():
        return middle
    return middle + (areas[:, None] * (here + there)).sum(axis=0) / (3 * areas.sum())


def points_of_frames(
    path: Path, frames: int, *, image: Path, unit: PointUnit | None = None, pixel_size: float | None = None
) -> ByFrame:
    """Reads the points of an image file of so many frames; a frame without a line in the file is absent.

    `unit` and `pixel_size` are as `read_points` takes them.

    Raises:
        UserError: If there are points in frames that the image does not have, or `read_points` raises it.
    """
    by_frame = renumber_frames(read_points(path, unit=unit, pixel_size=pixel_size), frames)
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


def moved_inside(
    points: Float64[np.ndarray, "points 2"], shape: tuple[int, int], *, name: str | None
) -> Float64[np.ndarray, "points 2"]:
    """Returns points of which those less than a pixel outside of their image are moved to its border.

    There is a warning about these; errors are those of `check_points` about others.
    """
    near = ~inside(points, shape) & inside(points, shape, margin=1.0)
    if near.any():
        points = np.where(near[:, None], points.clip(0, np.array(shape) - 1.0), points)
        count = int(near.sum())
        were = "1 point was" if count == 1 else f"{count} points were"
        of = "" if name is None else f"{name}: "
        warn_about_image(f"{of}{were} less than a pixel outside of the image, and moved to its border")
    check_points(points, shape, name=name)
    return points


def check_points(points: Float64[np.ndarray, "points 2"], shape: tuple[int, int], *, name: str | None) -> None:
    """Checks that all points lie in an image.

    A pixel extends half a pixel to each side of its centre: rows from -0.5 up to, but not including, height - 0.5
    are inside. `name` is the file of the points, for the message; None where the caller names it.

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
    more = f" (and {len(outside) - 1} more)" if len(outside) > 1 else ""
    of = "" if name is None else f"{name}: "
    raise UserError(
        f"{of}point {outside[0]} (counted from 0) at row {row:g}, column {column:g} is outside the image "
        f"of {shape[0]} rows and {shape[1]} columns{more}; {remedy}"
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
