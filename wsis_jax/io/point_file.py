"""Reads, checks and writes rough cell centroids: tables of points, and regions of interest (ROIs) of ImageJ.

A point is (row, column) in pixels; the centre of the top-left pixel is (0, 0).
"""

import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from wsis_jax.core import MissingFile, UserError, area_centroid, first_of, inside, warn_about_image, write_text
from wsis_jax.io.paths import Files, Named, corrected_first, named_files, points_of_results
from wsis_jax.io.point_table import Table, read_table
from wsis_jax.io.roi_file import Rois, holds_rois, read_rois

_TABLE_SUFFIXES = (".csv", ".txt", ".tsv")
_ROI_SUFFIXES = (".roi", ".zip")
POINT_SUFFIXES = (*_TABLE_SUFFIXES, *_ROI_SUFFIXES)
_SPREADSHEETS = (".xlsx", ".xls", ".ods")

# Names of the row and the column, in small letters, in the order in which they are looked for.
_COORDINATES = (
    ("y", "x"),
    ("row", "column"),
    ("row", "col"),
    ("r", "c"),
    ("position_y", "position_x"),  # TrackMate
    ("centroid y px", "centroid x px"),  # QuPath
    ("centroid y µm", "centroid x µm"),
    ("location_center_y", "location_center_x"),  # CellProfiler
    ("areashape_center_y", "areashape_center_x"),
    ("ym", "xm"),  # ImageJ's centre of mass
)
# Columns that tell which image a point is of.
_IMAGES = ("image", "image name", "imagenumber", "filename")
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


def named_points(where: Files) -> dict[Path, str]:
    """Finds files of points as `named_files` does, of a folder or a pattern those that hold points.

    A ZIP file without ROIs is none, and ROIs are left out, with a warning, where a table has the same name. Of
    results the points count, those in folders below only if there are no others; and corrected ones beside them
    take their place.

    Raises:
        MissingFile: if there is no such file.
        UserError: if a folder or a pattern means spreadsheets alone.
    """
    found: dict[Path, str] = {}
    for each in [where] if isinstance(where, str | Path) else where:
        try:
            files = named_files(each, suffixes=POINT_SUFFIXES)
        except MissingFile:
            _refuse_spreadsheets(each)
            raise
        if list(files) != [Path(each)]:
            files = _without_doubtful(points_of_results(each, files))
            if not files:
                raise MissingFile(f"{each}: holds ZIP files without ROIs of ImageJ, and no points; give those")
        found |= files
    return corrected_first(found)


def _refuse_spreadsheets(where: str | Path) -> None:
    """Raises UserError for a folder or a pattern of spreadsheets, that says how to save them."""
    with suppress(MissingFile):
        sheet = next(iter(named_files(where, suffixes=_SPREADSHEETS)))
        raise UserError(
            f"{sheet}: spreadsheets are not read; save each as CSV (in Excel: File > Save As > CSV), and give "
            "those files"
        )


def _without_doubtful(files: Named) -> dict[Path, str]:
    """Returns files without ZIP files of other things, and without ROIs that have the name of a table."""
    tables = {name: path for path, name in files.items() if path.suffix.lower() in _TABLE_SUFFIXES}
    kept = {}
    for path, name in files.items():
        if path.suffix.lower() == ".zip" and not holds_rois(path):
            continue
        if path.suffix.lower() in _ROI_SUFFIXES and name in tables:
            warnings.warn(
                f"{path}: left out, since {tables[name]} has points of that name; remove one", stacklevel=3
            )
            continue
        kept[path] = name
    return kept


def read_points(
    path: str | Path,
    *,
    unit: PointUnit | None = None,
    pixel_size: float | None = None,
    planes: Mapping[str, int] | None = None,
) -> dict[int, Float64[np.ndarray, "_ 2"]]:
    """Reads the points of an image or of a sequence of images.

    Of a table, the first line names the columns; other columns are ignored. Fields are separated by commas,
    semicolons or tabs; where it is not commas, they may be decimal commas. The text is UTF-8, or UTF-16 with its
    mark. These are understood:

    * napari's points layer, `index,axis-0,axis-1`; axes before the last two are frames, counted from 0;
    * napari's shapes layer: the centroid of each rectangle, ellipse and polygon;
    * ImageJ's table of results, known by `X` and `Y`, or `XM` and `YM`, in capitals; its `Frame` or `Slice` counts
      from 1;
    * ImageJ's ROIs, a `.roi` or the `.zip` of its ROI manager, with the extra `imagej`: points as they are, and
      the centroid of each area, in the frame of its position;
    * TrackMate's table of spots, CellProfiler's of objects, QuPath's of detections;
    * `centroid-0,centroid-1` of scikit-image;
    * the text of the authors' code, `# frame, x, y`;
    * `row,column`, `row,col`, `r,c`, `y,x` or `x,y` in any order and case.

    A column called frame, slice, page, plane, z, t, timepoint or time counts the frames, from 0 where X and Y are
    not in capitals. It is ignored where it is the same for all points and no such count, as the place of a focus
    in µm is, and where it changes with another one, as a time in seconds does with its frame.

    Args:
        path: the file.
        unit: "pixels", or "um" for micrometres; None for what the file says of its columns, or else pixels. ROIs
            are always in pixels.
        pixel_size: side of a pixel in µm, to bring micrometres to pixels.
        planes: of the image, the lengths of the axes that are not rows and columns, as `Frames.planes` has them,
            by which positions of ROIs become frames. None: positions in a stack are frames, as of one channel.

    Returns:
        Points (row, column) in pixels, in the order of the file, by frame, counted from 0 and rising. Frames
        without a line are absent; but a file of a header alone is `{0: no points}`: an image that was found to
        hold no cell.

    Raises:
        MissingFile: If there is no such file.
        UserError: If the file is empty, damaged or of another kind, or its header is not understood; if lines have
            too many or too few fields, a value that is not a finite number, or a frame that is not a whole number;
            if two counts of frames change, or points are of several images, or a shape has no inside; if the
            points are in micrometres and `pixel_size` is None.
    """
    path = Path(path)
    if path.is_file() and (path.suffix.lower() == ".roi" or holds_rois(path)):
        rois = read_rois(path)
        points, frames = rois.points, _frames_of_rois(rois, path, planes)
    else:
        points, frames = _from_table(read_table(path), unit, pixel_size)
    if not len(points):
        return {0: np.empty((0, 2))}
    order = np.argsort(frames, kind="stable")
    found, starts = np.unique(frames[order], return_index=True)
    parts = np.split(points[order], starts[1:])
    return {int(frame): part for frame, part in zip(found, parts, strict=True)}


# Tables


def _from_table(
    table: Table, unit: PointUnit | None, pixel_size: float | None
) -> tuple[Float64[np.ndarray, "points 2"], Int64[np.ndarray, " points"]]:
    """Returns the points of a table in pixels, and the frame of each."""
    columns = _find_columns(table)
    values = table.numbers([columns.row, columns.column, *columns.counters])
    if not len(values):
        return np.empty((0, 2)), np.zeros(0, np.int64)
    points, frames = values[:, :2], _to_frames(values[:, 2:], columns, table)
    _check_one_image(table, frames)
    if "vertex-index" in table.names:
        points, frames = _centres_of_shapes(points, frames, table)
    if (unit or _unit_of(table, columns)) == "um":
        points = points / _known(pixel_size, table.path)
    return points, frames


class _Columns(NamedTuple):
    """The indices of row, column and counters of frames, and the number of the first frame."""

    row: int
    column: int
    counters: list[int]
    first: int


def _unit_of(table: Table, columns: _Columns) -> PointUnit:
    """Returns the unit that a file says its points are in; pixels where it says nothing."""
    both = (columns.row, columns.column)
    named = [table.units[column].lower() for column in both] if table.units else []
    named += [table.names[column].lower().rpartition(" ")[2] for column in both]  # as QuPath has it
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
    names, lower = table.names, [name.lower().replace("μ", "µ") for name in table.names]
    for prefix in ("axis-", "centroid-"):
        axes = [name for name in lower if name.startswith(prefix)]
        if len(axes) > 1 and axes == [f"{prefix}{number}" for number in range(len(axes))]:
            *counters, row, column = (lower.index(name) for name in axes)
            return _Columns(row, column, counters, 0)
    for row, column in _COORDINATES:
        if row in lower and column in lower:
            _check_once(table, lower, (row, column))
            counters = [lower.index(name) for name in _COUNTERS if name in lower]
            first = int({"X", "Y"} <= set(names) or {"XM", "YM"} <= set(names))
            return _Columns(lower.index(row), lower.index(column), counters, first)
    shown = ",".join(names)[:60]
    if all(_is_number(name) for name in names):
        raise UserError(
            f"{table.path}: the first line, `{shown}`, holds numbers alone; write a line above it that names the "
            "columns, as `x,y` or `row,column`"
        )
    raise UserError(f"{table.path}: the header `{shown}` is not understood; write one of {_UNDERSTOOD}")


def _is_number(text: str) -> bool:
    """Tells whether a field is a number, with a decimal point or comma."""
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True


def _check_once(table: Table, lower: Sequence[str], coordinates: Sequence[str]) -> None:
    """Raises UserError if a coordinate has two columns that differ; warns where they may be corners of boxes."""
    for name in coordinates:
        first, *others = (column for column, own in enumerate(lower) if own == name)
        if any(row[first] != row[other] for row in table.rows for other in others):
            raise UserError(f"{table.path}: several columns are called {table.names[first]}; delete all but one")
    if "x" in table.names and {"x", "y", "width", "height"} <= set(lower):
        warn_about_image(
            f"{table.path}: has a width and a height, so x and y may be corners of boxes; if they are, give the "
            "centres"
        )


def _check_one_image(table: Table, frames: Int64[np.ndarray, " lines"]) -> None:
    """Raises UserError if a column says that the points are of several images, and they are all in one frame."""
    for column, name in enumerate(table.names):
        images = {row[column] for row in table.rows} if name.lower() in _IMAGES else set()
        if len(images) > 1 and not np.ptp(frames):
            raise UserError(
                f"{table.path}: holds the points of {len(images)} images by its column {name}; save those of each "
                "image in a file of its own"
            )


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
        more = f" (and in {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise UserError(
            f"{table.path}: the frame {shown:g} in line {line}{more} is not a whole number from {first} on; "
            f"{remedy}"
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
    centres, wrong = [], []
    for start, end in zip(starts, [*starts[1:], len(numbers)], strict=True):
        kind = kinds[start].strip().lower()
        if kind not in ("rectangle", "ellipse", "polygon") or end - start < 3:
            wrong.append(table.lines[start])
        centres.append(area_centroid([corners[start:end]]))
    if wrong:
        more = f" (and in {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise UserError(
            f"{table.path}: the shape in line {wrong[0]}{more} is not a rectangle, ellipse or polygon, so it "
            "marks no cell; click the cells in a points layer of napari, and save that"
        )
    return np.array(centres), frames[starts]


# ROIs


def _frames_of_rois(rois: Rois, path: Path, planes: Mapping[str, int] | None) -> Int64[np.ndarray, " points"]:
    """Returns the frame of each point of ROIs, counted from 0, from their positions in the stack.

    A position is 0 where a ROI belongs to no plane, or to all.
    """
    told = np.stack([rois.plane, rois.z, rois.t], axis=1)
    if told.max(initial=0) <= 1:
        return np.zeros(len(told), np.int64)
    if ((told > 0) != (told[:1] > 0)).any():
        raise UserError(
            f"{path}: some ROIs have a position in the stack and others none, or one of another kind; give all "
            "one, or none (in ImageJ: ROI Manager, More, Remove Positions)"
        )
    if planes is None or not set(planes) <= set("CZT"):
        if planes is None and np.ptp(rois.plane):
            warn_about_image(
                f"{path}: positions in the stack were taken for frames, as they are of an image of one channel; "
                "give the image, too, if it has several"
            )
        return rois.plane - 1 if rois.plane.any() else _frames_by_changing(rois, path, None)
    times, slices = planes.get("T", 1), planes.get("Z", 1)
    if rois.plane.any():
        time, depth = np.divmod((rois.plane - 1) // planes.get("C", 1), slices)
    elif times > 1 and slices > 1:
        time, depth = rois.t - 1, rois.z - 1
    else:
        return _frames_by_changing(rois, path, "T" if times > 1 else "Z" if slices > 1 else "")
    if min(time.min(), depth.min()) < 0 or (slices > 1 and depth.max() >= slices):
        raise UserError(
            f"{path}: a ROI is in no slice, or in no time, of the {slices} slices and {times} times of the image; "
            "give the ROIs of this image, each with its position"
        )
    slices_first = times > 1 and slices > 1 and list(planes).index("Z") < list(planes).index("T")
    return depth * times + time if slices_first else time * slices + depth


def _frames_by_changing(rois: Rois, path: Path, axis: str | None) -> Int64[np.ndarray, " points"]:
    """Returns the frames of ROIs by slice or time, whichever changes, or else by the only axis of the image.

    `axis` is Z, T, none where the image has no frames, or None where it is not known.
    """
    if np.ptp(rois.z) and np.ptp(rois.t):
        raise UserError(f"{path}: both slice and time of the ROIs change; save those of one slice, or of one time")
    if np.ptp(rois.t) or np.ptp(rois.z):
        axis = "T" if np.ptp(rois.t) else "Z"
    elif axis is None:
        axis = "T" if rois.t.max() > 1 else "Z"
    counts = {"T": rois.t, "Z": rois.z, "": np.ones(len(rois.t), np.int64)}
    return np.maximum(counts[axis] - 1, 0)


# Frames and borders


def points_of_frames(
    path: Path,
    frames: int,
    *,
    image: Path,
    unit: PointUnit | None = None,
    pixel_size: float | None = None,
    planes: Mapping[str, int] | None = None,
) -> ByFrame:
    """Reads the points of an image file of so many frames; a frame without a line in the file is absent.

    `unit`, `pixel_size` and `planes` are as `read_points` takes them.

    Raises:
        UserError: If there are points in frames that the image does not have, or `read_points` raises it.
    """
    by_frame = renumber_frames(read_points(path, unit=unit, pixel_size=pixel_size, planes=planes), frames)
    if fault := frames_beyond(by_frame, path, frames, image=image):
        raise UserError(fault)
    return by_frame


def renumber_frames(by_frame: ByFrame, frames: int) -> ByFrame:
    """Returns the points by frame; the only points of an image of one frame are in frame 0, whatever they say."""
    return {0: next(iter(by_frame.values()))} if frames == len(by_frame) == 1 else by_frame


def frames_beyond(by_frame: ByFrame, points: Path, frames: int, *, image: Path) -> str | None:
    """Returns a message about points in frames that their image does not have; None if there are none."""
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
    """Returns points as `moved_near` does, and raises the errors of `check_points` for points farther outside."""
    points = moved_near(points, shape, name=name)
    check_points(points, shape, name=name)
    return points


def moved_near(
    points: Float64[np.ndarray, "points 2"], shape: tuple[int, int], *, name: str | None
) -> Float64[np.ndarray, "points 2"]:
    """Returns points after moving those less than one pixel outside the image to its border.

    Warns about the moved points, unless others are farther outside, which is the error to report first. `name` is
    that of the points in the warning; None where the caller adds it.
    """
    within = inside(points, shape, margin=1.0)
    near = within & ~inside(points, shape)
    if not near.any():
        return points
    if within.all():
        count = int(near.sum())
        were = "1 point was" if count == 1 else f"{count} points were"
        of = "" if name is None else f"{name}: "
        warn_about_image(f"{of}{were} less than a pixel outside of the image, and moved to its border")
    return np.where(near[:, None], points.clip(0, np.array(shape) - 1.0), points)


def check_points(points: Float64[np.ndarray, "points 2"], shape: tuple[int, int], *, name: str | None) -> None:
    """Checks that all points lie in an image.

    A pixel extends half a pixel to each side of its centre: rows from -0.5 up to, but not including, height - 0.5
    are inside. `name` is the file of the points, for the message; None where the caller names it.

    Raises:
        UserError: If a point lies outside; the message tells where ten are, how many more there are, and if rows
            and columns look swapped.
    """
    outside = np.flatnonzero(~inside(points, shape))
    if not len(outside):
        return
    if inside(points[:, ::-1], shape).all():
        remedy = "rows and columns look swapped, so swap their names in the header"
    else:
        remedy = "correct it, or check that the points are in pixels and belong to this image"
    of = "" if name is None else f"{name}: "
    image = f"outside the image of {shape[0]} rows and {shape[1]} columns"
    (row, column), others = points[outside[0]], outside[1:]
    if len(others):
        told = [f"{number} at row {points[number][0]:g}, column {points[number][1]:g}" for number in others]
        image += f", and so {'is' if len(others) == 1 else 'are'} {'; '.join(first_of(told))}"
        remedy = remedy.replace("correct it", "correct them")
    raise UserError(
        f"{of}point {outside[0]} (counted from 0) at row {row:g}, column {column:g} is {image}; {remedy}"
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
