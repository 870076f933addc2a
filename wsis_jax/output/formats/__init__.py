"""The kinds of files that segmentations are written as.

A kind is a function that writes the files of one result. Kinds combine to a format, which opens a folder with a
context manager: it takes the folder and the names of all images that may come, refuses what cannot be written, and
lends a function that writes one result. The format of the Cell Tracking Challenge tells of all images at its end,
and stands alone.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from wsis_jax.core import Segmentation, UserError, check_inside
from wsis_jax.io import Frame, write_labels, write_picture, write_points
from wsis_jax.output.cell_table import Columns, contribution_margins, measure_cells
from wsis_jax.output.formats.cellpose import write_masks, write_outlines, write_seg
from wsis_jax.output.formats.ctc import writing_ctc
from wsis_jax.output.formats.imagej import write_rois
from wsis_jax.output.formats.omezarr import write_evidence, write_ome_zarr
from wsis_jax.output.formats.qupath import cell_features, write_features
from wsis_jax.output.formats.tables import write_csv, write_parquet
from wsis_jax.output.pictures import cell_colours, overlay
from wsis_jax.output.report.gallery import SHOWN, evenly, write_layers

Write = Callable[[Frame, Segmentation], list[Path]]
"""Writes the result of an image, and returns the files written."""

Writing = Callable[[Path, Sequence[str]], AbstractContextManager[Write]]
"""Opens a folder for the results of the images of these names."""

Kind = Callable[[Path, Frame, Segmentation], list[Path]]
"""Writes the files of one kind for the result of an image into a folder, and returns them."""


class Format(NamedTuple):
    """What is written of images.

    Attributes:
        kinds: the names of the kinds, in the order in which they are written.
        writing: opens a folder for them.
        resumable: whether a batch that stopped can go on in the same folder.
    """

    kinds: tuple[str, ...]
    writing: Writing
    resumable: bool


def _labels(out: Path, frame: Frame, result: Segmentation) -> list[Path]:
    write_labels(file := out / f"{frame.name}_labels.tif", result.labels)
    return [file]


def _overlay(out: Path, frame: Frame, result: Segmentation) -> list[Path]:
    picture = overlay(frame.image, result.labels, result.points)
    write_picture(file := out / f"{frame.name}_overlay.png", picture)
    return [file]


def _points(out: Path, frame: Frame, result: Segmentation) -> list[Path]:
    write_points(file := out / f"{frame.name}_points.csv", result.points)
    return [file]


def _table(out: Path, frame: Frame, result: Segmentation) -> list[Path]:
    write_csv(file := out / f"{frame.name}_cells.csv", _measured(frame, result))
    return [file]


def _parquet(out: Path, frame: Frame, result: Segmentation) -> list[Path]:
    write_parquet(file := out / f"{frame.name}_cells.parquet", _measured(frame, result))
    return [file]


def _rois(out: Path, frame: Frame, result: Segmentation) -> list[Path]:
    write_rois(file := out / f"{frame.name}_rois.zip", result.labels)
    return [file]


def _geojson(out: Path, frame: Frame, result: Segmentation) -> list[Path]:
    file = out / f"{frame.name}_cells.geojson"
    write_features(file, cell_features(frame.name, result.labels, _measured(frame, result)))
    return [file]


def _outlines(out: Path, frame: Frame, result: Segmentation) -> list[Path]:
    write_outlines(file := out / f"{frame.name}_outlines.txt", result.labels)
    return [file]


def _masks(out: Path, frame: Frame, result: Segmentation) -> list[Path]:
    return [write_masks(out / frame.name, result.labels)]


def _seg(out: Path, frame: Frame, result: Segmentation) -> list[Path]:
    colours = cell_colours(int(result.labels.max()))[1:]
    write_seg(file := out / f"{frame.name}_seg.npy", frame.name, frame.image, result.labels, colours)
    return [file]


def _zarr(out: Path, frame: Frame, result: Segmentation) -> list[Path]:
    folder, colours = out / f"{frame.name}.ome.zarr", cell_colours(int(result.labels.max()))[1:]
    write_ome_zarr(folder, frame.name, frame.channels, result.labels, colours=colours, pixel_size=frame.pixel_size)
    return [folder]


def _contributions(out: Path, frame: Frame, result: Segmentation) -> list[Path]:
    write_evidence(folder := out / f"{frame.name}_contributions.zarr", result)
    return [folder]


def _measured(frame: Frame, result: Segmentation) -> Columns:
    """Returns the table of the cells of an image."""
    return measure_cells(
        result.labels,
        channels=frame.channels,
        scores=result.scores,
        confidence=contribution_margins(result.labels, result.winner, len(result.points)),
        pixel_size=frame.pixel_size,
    )


# The labels are written last: where they are, all is.
KINDS: dict[str, Kind] = {
    "overlay": _overlay,
    "points": _points,
    "table": _table,
    "parquet": _parquet,
    "rois": _rois,
    "outlines": _outlines,
    "geojson": _geojson,
    "masks": _masks,
    "seg": _seg,
    "zarr": _zarr,
    "contributions": _contributions,
    "labels": _labels,
}

REPORT = "report"
"""The kind of which an image has files only if it is among the few in the gallery of the page."""

# What a kind needs that is not always installed: the package, and our extra that installs it.
_NEEDS = {
    "parquet": ("pyarrow", "parquet"),
    "rois": ("roifile", "imagej"),
    "zarr": ("zarr", "zarr"),
    "contributions": ("zarr", "zarr"),
}


@contextmanager
def _writing_kinds(out: Path, names: Sequence[str], *, kinds: Sequence[str]) -> Generator[Write, None, None]:
    """Writes files of several kinds, whose names begin with that of the image."""
    for kind in kinds:
        package, extra = _NEEDS.get(kind, (None, None))
        if package and find_spec(package) is None:
            raise UserError(
                f"files of the kind {kind} need the package {package}, which is not installed; "
                f"pip install 'wsis-jax[{extra}]'"
            )
    check_inside(out, out / "report")
    shown = set(evenly(names, SHOWN)) if REPORT in kinds else set()

    def write(frame: Frame, result: Segmentation) -> list[Path]:
        layers = write_layers(out / "report", frame, result) if frame.name in shown else []
        return layers + [file for kind in kinds if kind in KINDS for file in KINDS[kind](out, frame, result)]

    yield write


@contextmanager
def _writing_masks(out: Path, names: Sequence[str]) -> Generator[Write, None, None]:
    """Writes `mask<frame>.tif` for an image, and `res_track.txt`; see `writing_ctc`."""
    with writing_ctc(out, names) as write:
        yield lambda frame, result: [write(frame.name, result.labels)]


# Labels are unique only among masks that are written together.
CTC = Format(("ctc",), _writing_masks, resumable=False)


def format_of(kinds: Sequence[str]) -> Format:
    """Returns the format that writes files of all these kinds, or results of the Cell Tracking Challenge.

    Args:
        kinds: names of `KINDS` or `REPORT`, in any order, or `ctc` alone.

    Raises:
        UserError: If one is not known, or there is none, or `ctc` is among others.
    """
    if list(kinds) == ["ctc"]:
        return CTC
    known = ", ".join(sorted([*KINDS, REPORT]))
    if not kinds:
        raise UserError(f"there is no kind of file; choose of {known}, or ctc alone")
    for kind in kinds:
        if kind == "ctc":
            raise UserError("ctc is written alone, in a folder of its own; leave out the others")
        if kind not in (*KINDS, REPORT):
            raise UserError(f"there is no kind of file called '{kind}'; choose of {known}, or ctc alone")
    ordered = tuple(kind for kind in (REPORT, *KINDS) if kind in kinds)
    return Format(ordered, partial(_writing_kinds, kinds=ordered), resumable=True)


FILES = format_of(("labels", "overlay", "points", "table", REPORT))
