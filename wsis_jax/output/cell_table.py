"""A table of cells: where each is, its shape, its brightness, and how sure it is; measured, written, read back."""

import csv
import math
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Float64, Int, Shaped

from wsis_jax.core import UserError, WinnerMap, replacing, resize_labels, write_text

Columns = dict[str, Shaped[np.ndarray, " cells"]]
"""A table: a column under each name."""

_LARGEST = float(np.finfo(np.float32).max)
# What scikit-image measures, and the columns that come of it, in the same order; of the centroid there are two.
_SHAPES = ("label", "centroid", "area", "perimeter", "axis_major_length", "axis_minor_length", "eccentricity")
_COLUMNS = ("label", "row", "column", "area", "perimeter", "major_axis", "minor_axis", "eccentricity")


def measure_cells(
    labels: Int[np.ndarray, "height width"],
    *,
    channels: Float[np.ndarray, "channels height width"] | None = None,
    scores: Float[np.ndarray, " detections"] | None = None,
    confidence: Float[np.ndarray, " detections"] | None = None,
    pixel_size: float | int | None = None,
) -> Columns:
    """Returns a table with a row for each cell, by rising label.

    Lengths are in pixels and `row` and `column` those of the centroid, as of points; the axes are those of the
    ellipse with the same second moments. The columns are `label`, `row`, `column`, `area`, `perimeter`,
    `major_axis`, `minor_axis`, `eccentricity` (0..1), then `mean_intensity_0`, … for each channel, `score` and
    `confidence`, as far as these are given, then `touches_border` and, with a pixel size, `row_um`, `column_um`,
    `area_um2`, `perimeter_um`, `major_axis_um` and `minor_axis_um`.

    Args:
        labels: 0 for background, any other number for a cell. A cell without pixels has no row.
        channels: grey values of every channel.
        scores: the likelihood at the peak of cell i + 1, 0..1, as `Segmentation.scores`.
        confidence: how sure cell i + 1 is, as `contribution_margins` returns it.
        pixel_size: side of a pixel in µm.

    Raises:
        UserError: if a label has no score or no confidence.
    """
    from skimage.measure import regionprops_table

    measured = regionprops_table(
        labels,
        None if channels is None else np.moveaxis(channels, 0, -1).astype(np.float64),
        properties=(*_SHAPES, "bbox") if channels is None else (*_SHAPES, "bbox", "intensity_mean"),
    )
    table = dict(zip(_COLUMNS, measured.values(), strict=False))
    for index in range(0 if channels is None else len(channels)):
        table[f"mean_intensity_{index}"] = measured[f"intensity_mean-{index}"]
    present = table["label"]
    for name, values in (("score", scores), ("confidence", confidence)):
        if values is None:
            continue
        if len(present) and present[-1] > len(values):
            raise UserError(
                f"the label {present[-1]} has none of the {len(values)} values of {name}; "
                "give a value for each label"
            )
        table[name] = values[present - 1].astype(np.float64)
    low, high = (np.stack([measured[f"bbox-{i}"] for i in pair], axis=1) for pair in ((0, 1), (2, 3)))
    table["touches_border"] = (low == 0).any(axis=1) | (high == labels.shape).any(axis=1)
    return table if pixel_size is None else in_micrometres(table, pixel_size)


def in_micrometres(table: Columns, pixel_size: float | int) -> Columns:
    """Returns a table of `measure_cells` with the columns that a pixel size gives, a side of a pixel in µm."""
    more = {}
    for name in ("row", "column", "area", "perimeter", "major_axis", "minor_axis"):
        unit, power = ("um2", 2) if name == "area" else ("um", 1)
        more[f"{name}_{unit}"] = table[name] * pixel_size**power
    return table | more


def contribution_margins(
    labels: Int[np.ndarray, "height width"], winner: WinnerMap, cells: int
) -> Float64[np.ndarray, " {cells}"]:
    """Returns how far the contributions of each cell are above those of any other, 0..1.

    The mean of (value - runner-up) / value over those pixels of a cell that it owns in the winner map: 1 where no
    other cell contributes, towards 0 where another contributes as much, NaN for a cell that owns none of them.

    Args:
        labels: 0 for background, i + 1 for cell i; of any size.
        winner: the winner map of the cells, in pixels of the network.
        cells: how many there are; none of `labels` is greater.
    """
    sums, pixels = margin_sums(resize_labels(labels, winner.owner.shape), winner, cells)
    return mean_margins(sums, pixels)


def margin_sums(
    seen: Int[np.ndarray, "height width"], winner: WinnerMap, cells: int
) -> tuple[Float64[np.ndarray, " {cells}"], Int[np.ndarray, " {cells}"]]:
    """Returns, for each cell, the sum of its margins and the number of pixels that it owns.

    `contribution_margins` is their quotient. The sums of the parts of an image add up to those of the whole.
    Arguments are those of `contribution_margins`, but for the labels, which are in pixels of the network.
    """
    own = (seen > 0) & (seen == winner.owner) & (winner.value > 0)
    owners, value = seen[own], winner.value[own].astype(np.float64)
    sums = np.bincount(owners, (value - winner.runner_up[own]) / value, minlength=cells + 1)[1:]
    # Of no pixels the sums are integers.
    return sums.astype(np.float64), np.bincount(owners, minlength=cells + 1)[1:]


def mean_margins(
    sums: Float64[np.ndarray, " cells"], pixels: Int[np.ndarray, " cells"]
) -> Float64[np.ndarray, " cells"]:
    """Returns the `contribution_margins` of cells from `margin_sums`."""
    return np.where(pixels > 0, sums / np.maximum(pixels, 1), np.nan)


def write_csv(path: str | Path, table: Columns) -> None:
    """Writes a table as CSV: a header, then a line for each row.

    Numbers have six significant digits, booleans are True or False, and an unknown number (NaN) is an empty field.
    """
    columns = [_texts(values) for values in table.values()]
    lines = [",".join(table), *map(",".join, zip(*columns, strict=True)), ""]
    write_text(path, "\n".join(lines))


def write_parquet(path: str | Path, table: Columns) -> None:
    """Writes a table as Parquet, in full precision; a number that is not known is NaN."""
    import pyarrow
    import pyarrow.parquet

    with replacing(path) as temporary:
        pyarrow.parquet.write_table(pyarrow.table(table), temporary)


def _texts(values: Shaped[np.ndarray, " rows"]) -> list[str]:
    """Returns the fields of a column."""
    if values.dtype.kind != "f":
        return [str(value) for value in values.tolist()]
    return ["" if np.isnan(value) else f"{value:.6g}" for value in values.tolist()]


def read_columns(files: Iterable[Path], *, names: Sequence[str]) -> dict[str, Float32[np.ndarray, " _"]]:
    """Reads the columns of these names of many tables of cells, CSV with a heading, one after the other.

    Missing files and columns, and what is not a finite number, are left out: a report shows what there is.

    Raises:
        UserError: if a file is not a table.
    """
    columns = {name: array("f") for name in names}
    for file in files:
        if not file.is_file():
            continue
        with file.open(encoding="utf-8", newline="") as lines:
            try:
                for row in csv.DictReader(lines):
                    for name, values in columns.items():
                        value = _number(row.get(name))
                        if abs(value) < _LARGEST:
                            values.append(value)
            except (csv.Error, ValueError) as error:
                raise UserError(f"{file}: is not a table of cells ({error}); segment the image again") from error
    return {name: np.array(values, np.float32) for name, values in columns.items()}


def _number(field: str | None) -> float:
    """Returns the number in a field, or NaN."""
    try:
        return float(field or "nan")
    except ValueError:
        return math.nan
