"""`wsis evaluate`: its help, its arguments and what it does."""

import argparse
import json
from pathlib import Path

from wsis_jax.cli.arguments import add_components, add_points_in
from wsis_jax.cli.terminal import print_scores
from wsis_jax.core import UserError

SUMMARY = "compare results with hand-made masks"

TEXT = """\
Compare label images with hand-made masks, paired by name (a_labels.tif and a.tif).

F-measure, precision and recall compare points: the detected cells saved beside the labels (or the centroids of the
labels, if there are none) with those of --points (or the centroids of the masks).
"""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    command.add_argument("labels", metavar="LABELS", help="a file, a folder or a quoted pattern")
    command.add_argument("masks", metavar="MASKS", help="a file, a folder or a quoted pattern")
    command.add_argument(
        "--points", metavar="POINTS", help="the true centroids of the cells: point files, as of wsis train"
    )
    add_points_in(command)
    command.add_argument(
        "--distance", type=float, default=10.0, help="pixels within which a point finds its cell (default 10)"
    )
    add_components(command, "MASKS")
    command.add_argument("--json", type=Path, metavar="FILE", help="also write the scores to a file")


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
    return 0
