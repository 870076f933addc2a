"""`wsis evaluate`: its help, its arguments and what it does."""

import argparse
import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

from wsis_jax.cli.arguments import add_components, add_points_in
from wsis_jax.cli.terminal import METRICS, print_scores
from wsis_jax.core import UserError

if TYPE_CHECKING:
    from wsis_jax.segmentation import Evaluation

SUMMARY = "compare results with hand-made masks"

_METRICS = "\n".join(f"  {name:<11}{meaning}" for name, meaning in METRICS.values())

TEXT = f"""\
Compare label images with hand-made masks, paired by name: a_labels.tif and
a.tif. Endings of names do not count: _labels, _mask, _masks and _cp_masks of
label images, _points of point files.

Scores are of all cells of all images together, from 0 to 1; higher is better:

{_METRICS}

Dice is 2 x shared pixels / (pixels of the cell + pixels of the label), and
IoU is shared pixels / pixels of either. An F-measure of 0.9 or more means that
few cells are missed or invented; a mDice of 0.7 or more that outlines are good.

F-measure, precision and recall compare points: the detected cells saved beside
the labels (or the centroids of the labels, if there are none) with those of
--points (or the centroids of the masks). A point finds a cell within half the
median diameter of the true cells, unless --distance says otherwise.
"""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    command.add_argument(
        "labels", metavar="LABELS", help="label images to score: a file, a folder or a quoted pattern"
    )
    command.add_argument(
        "masks", metavar="MASKS", help="hand-made label images: a file, a folder or a quoted pattern"
    )
    command.add_argument(
        "--points", metavar="POINTS", help="the true centroids of the cells: point files, as of wsis train"
    )
    add_points_in(command)
    command.add_argument(
        "--distance",
        type=float,
        metavar="PIXELS",
        help="greatest distance of a detected point from the true one (default: half the median diameter of the "
        "true cells)",
    )
    add_components(command, "MASKS")
    command.add_argument("--json", type=Path, metavar="FILE", help="also write all scores to a file")
    command.add_argument("--csv", type=Path, metavar="FILE", help="also write a table with a line for each image")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command and returns its exit code."""
    from wsis_jax.core import write_text
    from wsis_jax.segmentation import evaluate

    if arguments.points_in == "um" and arguments.pixel_size is None:
        raise UserError("--points-in um needs the side of a pixel; give it (--pixel-size)")
    if arguments.pixel_size is not None and arguments.points_in != "um":
        raise UserError("--pixel-size is of points in micrometres; give --points-in um, too, or leave it out")
    scores = evaluate(
        arguments.labels,
        arguments.masks,
        points=arguments.points,
        distance=arguments.distance,
        components=arguments.components,
        pixel_size=arguments.pixel_size,
    )
    print_scores(scores)
    if arguments.json:
        write_text(arguments.json, json.dumps(scores.to_dict(), indent=2) + "\n")
    if arguments.csv:
        write_text(arguments.csv, _table(scores))
    return 0


def _table(scores: "Evaluation") -> str:
    """Returns the scores of each image as CSV."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["image", *scores.pooled.to_dict()])
    table.writerows([name, *row.to_dict().values()] for name, row in scores.images.items())
    return text.getvalue()
