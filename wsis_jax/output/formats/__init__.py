"""The formats that a segmentation is written as: one table, `FORMATS`.

The help and the completion of `wsis segment`, the table in the documentation, both ways to segment (in memory and
in tiles) and the viewer read it. To add a format, write a function and an entry:

    from wsis_jax.output import FORMATS, Format

    def write_count(path, result):
        path.write_text(f"{len(result.points)} cells")

    FORMATS["count"] = Format(
        file="<name>_count.txt",
        content="how many cells there are",
        opens_in="every editor",
        write=write_count,
        tiled=True,
    )

The function takes a path and a `Result`, or, for an image in tiles, a `TiledResult`, which has less. Heavy
libraries are imported when a file is written, so that help comes at once.
"""

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, NamedTuple

from wsis_jax.core import UserError

if TYPE_CHECKING:
    from wsis_jax.core import Segmentation
    from wsis_jax.io import SourceImage
    from wsis_jax.output.result import Result, TiledResult

_AT_ONCE = 2  # formats: compressing pictures takes one core, measuring cells another

Write = Callable[[Path, "Result"], Sequence[Path] | None]
"""Writes a result to a path; if it writes other files than that one, it returns them."""

WriteImage = Callable[["SourceImage", "Segmentation"], list[Path]]
"""Writes a segmented image in all chosen formats, and returns the files."""


class Format(NamedTuple):
    """An output format.

    Attributes:
        file: the name of the file, in which `<name>` stands for that of the image.
        content: what the file contains, for help and documentation.
        opens_in: programs that open it.
        write: the function that writes it.
        tiled: whether it can be written of an image in tiles; or the name of its file then, if that differs.
        default: whether it is written without --format.
        measures_cells: whether cells are measured for it, which takes more passes over an image in tiles.
        gallery_only: whether it is written only of images in the gallery of the page of results.
        needs: a package that may not be installed, and the extra of wsis_jax that installs it.
        opening: instead of `write`, for a format that stands alone, as it writes of all images in the end: context
            manager yielding the writer for a folder and images of these names.
    """

    file: str
    content: str
    opens_in: str
    write: Write | None = None
    tiled: bool | str = False
    default: bool = False
    measures_cells: bool = False
    gallery_only: bool = False
    needs: tuple[str, str] | None = None
    opening: Callable[[Path, Sequence[str]], AbstractContextManager[Write]] | None = None

    @property
    def ending(self) -> str:
        """The part of the file's name after that of the image."""
        return self.file.removeprefix("<name>")

    def path(self, out: Path, name: str, *, tiled: bool = False) -> Path:
        """Returns the file of an image in a folder; it may be another for an image in tiles."""
        file = self.tiled if tiled and isinstance(self.tiled, str) else self.file
        return out / file.replace("<name>", name)

    def write_to(self, out: Path, result: "Result", *, tiled: bool = False) -> Sequence[Path]:
        """Writes a result into a folder, and returns the files."""
        path = self.path(out, result.name, tiled=tiled)
        files = self.write(path, result) if self.write else []
        return [path] if files is None else files


class FormatChoice(NamedTuple):
    """The formats that a batch writes."""

    kinds: tuple[str, ...]  # their names in `FORMATS`, in its order

    @property
    def resumable(self) -> bool:
        """Whether a batch that stopped can go on in the same folder."""
        return all(FORMATS[kind].opening is None for kind in self.kinds)

    @contextmanager
    def writing(self, out: Path, names: Sequence[str]) -> Generator[WriteImage, None, None]:
        """Context manager yielding the function that writes one image to a folder, `out`.

        `names` are those of all images that may come, in order.

        Raises:
            UserError: if a package is missing, or images of these names cannot be written to the folder.
        """
        from wsis_jax.core import check_inside
        from wsis_jax.output.report.gallery import SHOWN, evenly
        from wsis_jax.output.result import Result

        for kind in self.kinds:
            package, extra = FORMATS[kind].needs or ("", "")
            if package and find_spec(package) is None:
                raise UserError(
                    f"files of the kind {kind} need the package {package}, which is not installed; "
                    f"pip install 'wsis-jax[{extra}]'"
                )
        check_inside(out, out / "report")
        shown = set(evenly(names, SHOWN))
        with ExitStack() as stack:
            formats = [
                one._replace(write=stack.enter_context(one.opening(out, names))) if one.opening else one
                for one in (FORMATS[kind] for kind in self.kinds)
            ]

            def write(source: "SourceImage", found: "Segmentation") -> list[Path]:
                result = Result(source, found)
                written = [one for one in formats if source.name in shown or not one.gallery_only]
                with ThreadPoolExecutor(_AT_ONCE) as pool:
                    files = list(pool.map(lambda one: one.write_to(out, result), written[:-1]))
                # The last one, the labels by default, only where all others are there.
                return [*chain(*files), *(file for one in written[-1:] for file in one.write_to(out, result))]

            yield write

    def write_tiled(self, out: Path, result: "TiledResult", *, shown: bool) -> list[Path]:
        """Writes the files of an image in tiles to a folder; the labels were written as they were found.

        `shown` tells whether the page of results shows the image.
        """
        formats = [FORMATS[kind] for kind in self.kinds if FORMATS[kind].tiled and kind != "labels"]
        written = [one for one in formats if shown or not one.gallery_only]
        return [file for one in written for file in one.write_to(out, result, tiled=True)]


def choose_formats(kinds: Sequence[str]) -> FormatChoice:
    """Returns the choice of the formats of these names, in any order.

    Raises:
        UserError: if a name is unknown, there is no name, or a format that stands alone is combined with others.
    """
    alone = [kind for kind, format in FORMATS.items() if format.opening]
    known = f"choose of {', '.join(sorted(set(FORMATS) - {*alone}))}, or {' or '.join(alone)} alone"
    if not kinds:
        raise UserError(f"there is no kind of file; {known}")
    for kind in kinds:
        if kind not in FORMATS:
            raise UserError(f"there is no kind of file called '{kind}'; {known}")
        if kind in alone and len(kinds) > 1:
            raise UserError(f"{kind} is written alone, in a folder of its own; leave out the others")
    return FormatChoice(tuple(kind for kind in FORMATS if kind in kinds))


def tiled_kinds() -> list[str]:
    """Returns the names of the formats that are written of an image in tiles."""
    return [kind for kind, format in FORMATS.items() if format.tiled]


def listed() -> dict[str, Format]:
    """Returns `FORMATS` in the order to show them in: first those that are written by default."""
    return dict(sorted(FORMATS.items(), key=lambda one: not one[1].default))


def help_lines() -> str:
    """Returns a line for each format, for the help of the command line."""
    lines = []
    for kind, format in listed().items():
        needs = f" (wsis-jax[{format.needs[1]}])" if format.needs else ""
        content = f"{format.content}, alone" if format.opening else format.content
        lines.append(f"  {kind:<14} {format.file}: {content}; for {format.opens_in}{needs}")
    return "\n".join(lines)


def formats_table() -> str:
    """Returns a table of the formats, in Markdown, for the documentation."""
    lines = ["| `--format` | file | content | opens in |", "|---|---|---|---|"]
    for kind, format in listed().items():
        when = ", by default" if format.default else ", alone" if format.opening else ""
        needs = f" (needs `wsis-jax[{format.needs[1]}]`)" if format.needs else ""
        lines.append(f"| `{kind}`{when} | `{format.file}` | {format.content} | {format.opens_in}{needs} |")
    return "\n".join(lines)


# What writes each format


def _writer(function: str, *parts: str) -> Write:
    """Returns what calls a function with a path and parts of a result; it is imported only then."""
    return lambda path, result: resolve_name(function)(path, *(getattr(result, part) for part in parts))


_points = _writer("wsis_jax.io:write_points", "points")
_table = _writer("wsis_jax.output.cell_table:write_csv", "table")
_parquet = _writer("wsis_jax.output.cell_table:write_parquet", "table")
_rois = _writer("wsis_jax.output.formats.imagej:write_rois", "labels")
_outlines = _writer("wsis_jax.output.formats.cellpose:write_outlines", "labels")
_seg = _writer("wsis_jax.output.formats.cellpose:write_seg", "name", "image", "labels", "colours")
_contributions = _writer("wsis_jax.output.formats.omezarr:write_evidence", "found")
_zarr = _writer("wsis_jax.output.formats.omezarr:write_ome_zarr", "source", "label_plane", "colours")
_labels = _writer("wsis_jax.io:write_labels", "labels")


def _report(path: Path, result: "Result") -> Sequence[Path]:
    return result.write_pictures(path.parent / "report")  # the page itself is made when all images are done


def _overlay(path: Path, result: "Result") -> None:
    from wsis_jax.io import write_picture
    from wsis_jax.output.pictures import overlay

    write_picture(path, overlay(result.image, result.labels, result.points))


def _geojson(path: Path, result: "Result") -> None:
    from wsis_jax.output.formats.qupath import cell_features, write_features

    write_features(path, result.for_cells(cell_features, name=result.name))


def _masks(path: Path, result: "Result") -> Sequence[Path]:
    from wsis_jax.output.formats.cellpose import write_masks

    return [write_masks(path, result.labels)]


@contextmanager
def _ctc(out: Path, names: Sequence[str]) -> Generator[Write, None, None]:
    from wsis_jax.output.formats.ctc import writing_ctc

    with writing_ctc(out, names) as write:
        yield lambda path, result: [write(result.name, result.labels)]


_PAGE = "a page with gallery, histograms and failures (pictures in report/)"
_ROWS = "place, shape, brightness, score and confidence of each cell"
_RINGS = "exact outlines, with holes and measurements"
_MASKS = "labels as Cellpose calls them (.tif above 65,535 cells)"
_PYRAMID = "image and labels in all resolutions"
_EVIDENCE = "likelihood and winner map, the evidence for each cell"
_NUMBERS = "0 is background, 1, 2, 3 … are cells"
_DATA, _BROWSERS = "pandas, Polars, R, DuckDB", "napari, web viewers"
_TRACKING = "programs of the Cell Tracking Challenge"
_ROIFILE, _PYARROW = ("roifile", "imagej"), ("pyarrow", "parquet")

# All formats by name. The last one that is chosen is written when all others are: where the labels are, all is.
FORMATS: dict[str, Format] = {
    "report": Format("report.html", _PAGE, "every browser", _report, tiled=True, default=True, gallery_only=True),
    "overlay": Format("<name>_overlay.png", "the image with outlines", "every viewer", _overlay, default=True),
    "points": Format("<name>_points.csv", "the detected cells", "napari", _points, tiled=True, default=True),
    "table": Format(
        "<name>_cells.csv", _ROWS, "spreadsheets", _table, tiled=True, default=True, measures_cells=True
    ),
    "parquet": Format(
        "<name>_cells.parquet", "the same table", _DATA, _parquet, tiled=True, measures_cells=True, needs=_PYARROW
    ),
    "rois": Format("<name>_rois.zip", "exact regions of interest", "ImageJ and Fiji", _rois, needs=_ROIFILE),
    "outlines": Format("<name>_outlines.txt", "a line for each cell, x,y,x,y,…", "Cellpose", _outlines),
    "geojson": Format("<name>_cells.geojson", _RINGS, "QuPath", _geojson, tiled=True, measures_cells=True),
    "masks": Format("<name>_cp_masks.png", _MASKS, "Cellpose", _masks),
    "seg": Format("<name>_seg.npy", "image, labels and outlines", "the window of Cellpose", _seg),
    "zarr": Format("<name>.ome.zarr", _PYRAMID, _BROWSERS, _zarr, tiled=True, needs=("ome_zarr", "ome-zarr")),
    "contributions": Format("<name>_contributions.zarr", _EVIDENCE, "napari, zarr", _contributions),
    "labels": Format(
        "<name>_labels.tif", _NUMBERS, "every program", _labels, tiled="<name>_labels.ome.zarr", default=True
    ),
    "ctc": Format("mask<frame>.tif", "masks, and res_track.txt", _TRACKING, opening=_ctc),
}

DEFAULT_FORMATS = choose_formats([kind for kind, format in FORMATS.items() if format.default])
"""What is written where nothing is chosen."""
