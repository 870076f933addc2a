"""The page of a folder of results: figures, failures, a gallery, histograms and a table."""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wsis_jax.core import Config, UserError, check_inside, check_place, in_short, read_json, write_text
from wsis_jax.output.cell_table import read_columns
from wsis_jax.output.formats import FORMATS
from wsis_jax.output.report.gallery import SHOWN, Item, evenly, gallery, layer_files
from wsis_jax.output.report.html import (
    and_more,
    cards,
    folded,
    histogram,
    number,
    page,
    section,
    settings,
    table,
    text,
)

_ROWS = 2000  # of the table of images: with more, browsers slow down
_SAID = 100  # failures or warnings, likewise


def read_summary(folder: Path) -> dict[str, Any] | None:
    """Returns the summary that `segmentation_report` kept in a folder of results; None where there is none.

    Raises:
        UserError: if it cannot be read, or is no such summary.
    """
    file = folder / "report" / "summary.json"
    if not file.is_file():
        return None
    summary = read_json(file, remedy="segment the images again")
    try:
        return _checked(summary)
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{file}: not readable as JSON ({error}); segment the images again") from error


def _checked(summary: Any) -> dict[str, Any]:
    """Returns a summary from a file if it is of the form that `segmentation_report` takes."""
    if not isinstance(summary, dict):
        raise TypeError(f"it holds a {type(summary).__name__}")
    for image in summary["images"]:
        check_place(image["name"])
        if type(image["cells"]) is not int:
            raise TypeError("a number of cells is none")
    texts = [summary["run"], *(one["error"] for one in summary["failed"])]
    texts += [message for one in summary["images"] for message in one["warnings"]]
    texts += [one["source"] for one in (*summary["images"], *summary["failed"])]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a text is none")
    Config.from_dict(summary["config"])
    if not isinstance(summary.get("versions", {}), dict):
        raise TypeError("the versions have no names")
    return summary


def segmentation_report(out: Path, summary: dict[str, Any]) -> Path:
    """Writes `report.html` in a folder of results, and returns its path.

    The gallery shows the images of which `gallery.write_layers` wrote pictures to `report/`; histograms come from
    the tables of cells, where these are. The summary is kept in `report/summary.json`.

    Args:
        out: the folder of results.
        summary: `images`, a list of dictionaries with name, source, cells and warnings; `failed`, a list with
            source and error; `config`, as `Config.to_dict` returns it; `run`, the trained model; `versions`, as
            `facts.versions` returns them (filled in where missing).
    """
    if "versions" not in summary:
        from wsis_jax.core import versions

        summary = summary | {"versions": versions()}
    check_inside(out, out / "report")
    images, failed = summary["images"], summary["failed"]
    body = [
        cards(_result_figures(images, failed)),
        _failures(failed),
        _warnings(images),
        _result_gallery(out, images),
        _histograms(out, images),
        _result_table(images),
        settings(summary["config"], Config().to_dict(), summary["versions"]),
    ]
    lede = f"Segmented with {summary['run']}."
    html = page(kind="Segmentation report", title=out.resolve().name, lede=lede, body=body)
    write_text(out / "report" / "summary.json", json.dumps(summary, indent=1) + "\n")
    write_text(out / "report.html", html)
    return out / "report.html"


def _result_figures(
    images: Sequence[dict[str, Any]], failed: Sequence[dict[str, Any]]
) -> list[tuple[str, str, str]]:
    """Returns the key figures of a folder of results."""
    cells = [image["cells"] for image in images]
    warned = sum(bool(image["warnings"]) for image in images)
    return [
        ("Images", number(len(images)), "segmented"),
        ("Cells", number(sum(cells)), "in all of them"),
        ("Cells per image", number(float(np.median(cells)), 4) if cells else "-", "median"),
        ("Failed", number(len(failed)), "named below" if failed else "none"),
        ("Warnings", number(warned), "image with one" if warned == 1 else "images with some"),
    ]


def _failures(failed: Sequence[dict[str, Any]]) -> str:
    """Returns the section of images that failed, each with its error."""
    if not failed:
        return ""
    lines = [
        f"<li>{text(one['error'])}"
        + ("" if str(one["source"]) in one["error"] else f'<span class="who">{text(one["source"])}</span>')
        + "</li>"
        for one in failed[:_SAID]
    ]
    return section("Failed", f'<ul class="said">{"".join(lines)}</ul>', and_more(len(failed), _SAID))


def _warnings(images: Sequence[dict[str, Any]]) -> str:
    """Returns the section of warnings, each with the names of its images."""
    named: dict[str, list[str]] = defaultdict(list)
    for image in images:
        for message in image["warnings"]:
            named[message].append(image["name"])
    if not named:
        return ""
    lines = [
        f'<li>{text(message)}<span class="who">{text(in_short(names, 5))}</span></li>'
        for message, names in list(named.items())[:_SAID]
    ]
    return section("Warnings", f'<ul class="said mild">{"".join(lines)}</ul>', and_more(len(named), _SAID))


def _result_gallery(out: Path, images: Sequence[dict[str, Any]]) -> str:
    """Returns the section with the gallery, of those images that have pictures."""
    items, filled = [], []
    for image in images:
        there = {
            layer: check_inside(out, path)
            for layer, path in layer_files(out / "report", image["name"]).items()
            if path.is_file()
        }
        if there:
            items.append(
                Item(
                    image["name"], f"{number(image['cells'])} {'cell' if image['cells'] == 1 else 'cells'}", there
                )
            )
            filled.append(image["cells"] > 0)
    items, filled = evenly(items, SHOWN), evenly(filled, SHOWN)
    if not items:
        return ""
    which = f"{len(items)} of {len(images)} images. " if len(items) < len(images) else ""
    first = filled.index(True) if True in filled else 0  # an image without cells says little at first sight
    note = f"{which}The arrow keys go from image to image, numbers choose what is shown."
    return section("Images", gallery(items, layer="outlines", first=first), note=note)


def _histograms(out: Path, images: Sequence[dict[str, Any]]) -> str:
    """Returns the section with histograms of the cells."""
    files = (FORMATS["table"].path(out, image["name"]) for image in images)
    columns = read_columns(files, names=("area", "score", "confidence"))
    drawn = [
        histogram("Area of cells, in pixels", columns["area"]),
        histogram("Score: the likelihood at the detection", columns["score"], limit=1),
        histogram("Confidence: the margin of its contribution", columns["confidence"], limit=1),
        histogram("Cells per image", np.array([image["cells"] for image in images]), whole=True),
    ]
    return section("Cells", f'<div class="pair">{"".join(drawn)}</div>') if any(drawn) else ""


def _result_table(images: Sequence[dict[str, Any]]) -> str:
    """Returns the table of all images."""
    if not images:
        return ""
    rows = [(one["name"], number(one["cells"]), one["source"]) for one in images[:_ROWS]]
    listed = table(("image", "cells", "file"), rows, numbers=(1,))
    title = "The image" if len(images) == 1 else f"All {number(len(images))} images"
    return folded(title, listed + and_more(len(images), _ROWS))
