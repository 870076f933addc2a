"""`wsis points`: its help, its arguments and what it does."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from wsis_jax.cli.arguments import add_axes, add_channel, add_components, add_points_in
from wsis_jax.cli.terminal import print_point_reports, print_suggestion, progress_bar, show_error
from wsis_jax.core import UserError, first_of, so_many

if TYPE_CHECKING:
    from wsis_jax.io import Named
    from wsis_jax.training import PointFiles

SUMMARY = "make, convert and check points"

TEXT = """\
Make, convert and check points: the rough centroids of cells.

  wsis points clicks --images images                      check these points
  wsis points --nuclei stains --images images             points from a nuclear stain
  wsis points --nuclei stains --diameter 30               the same, for nuclei 30 pixels wide
  wsis points --labels masks                              points from label images
  wsis points --ctc data/01                               points from the markers in data/01_GT/TRA
  wsis points clicks --format imagej                      the same points for ImageJ
  wsis points RoiSet.zip --images image.tif               points from ROIs of ImageJ; centroids of areas

POINTS are the files that `wsis train` takes; its help lists them. The command writes a table of points for each
image to DIR and prints a report. With images it also draws each image with its points: a cyan cross for each
point, an orange ring around two points on one cell, a magenta ring around what looks like a cell and has no point.

  per Mpixel   points in a million pixels
  spacing      median distance to the nearest other point, in pixels
  at border    points within sigma of the border of the image
  doubled      pairs nearer than a fifth of the usual spacing
  missing?     places that look like a cell and have no point
  fit          how much better than chance the points fit their image: usually above 10, and about 0 for points of
               another image

For missing points and the fit, a quick regression learns from the points of all other images what cells look like.
That takes about two seconds for a million pixels. The exit code is 3 if something is wrong.
"""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    command.add_argument("points", nargs="*", metavar="POINTS", help="point files, folders or quoted patterns")
    command.add_argument("--nuclei", nargs="+", metavar="STAINS", help="images of a nuclear stain")
    command.add_argument(
        "--nuclear-channel",
        type=int,
        metavar="N",
        help="the channel of STAINS that is the nuclear stain, counted from 0",
    )
    command.add_argument(
        "--diameter",
        type=float,
        metavar="PIXELS",
        help="typical diameter of a nucleus in STAINS; without it, it is estimated from each image",
    )
    command.add_argument("--labels", nargs="+", metavar="LABELS", help="label images")
    add_components(command, "LABELS")
    command.add_argument(
        "--ctc", type=Path, metavar="SEQUENCE", help="a sequence of the Cell Tracking Challenge, as data/01"
    )
    command.add_argument("--images", nargs="+", metavar="IMAGES", help="images, named like the points")
    add_points_in(command)
    add_channel(command, "to compare with", "grey")
    add_axes(command)
    command.add_argument(
        "--format",
        choices=["napari", "imagej", "csv"],
        default="napari",
        help="format of the files: a points layer of napari (default), a results table of ImageJ, or row,column",
    )
    command.add_argument(
        "--out",
        type=Path,
        default=Path("points_out"),
        metavar="DIR",
        help="folder to write to (default points_out)",
    )
    command.add_argument("--json", type=Path, metavar="FILE", help="also write the report to a file")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command and returns its exit code."""
    from wsis_jax.core import write_text
    from wsis_jax.points import inspect_points
    from wsis_jax.training import pair_points_with_images, suggest, write_point_files, write_point_pictures

    points, given, images = _point_source(arguments)
    write_point_files(arguments.out, points, format=arguments.format, keep=given)
    known = arguments.points_in if arguments.points else "pixels"
    sets, errors = pair_points_with_images(
        points, images, channel=arguments.channel, points_in=known, axes=arguments.axes
    )
    with progress_bar() as bar:
        task = bar.add_task("checking points", total=len(sets))

        def on_image(done: int, count: int) -> None:
            bar.update(task, completed=done, total=count)

        reports = inspect_points(
            [one.name for one in sets],
            [one.points for one in sets],
            [one.image for one in sets],
            on_image=on_image,
        )
    print_point_reports(reports)
    suggested = suggest([one.points for one in sets], [one.image for one in sets])
    if suggested is not None:
        print_suggestion(suggested)
    write_point_pictures(arguments.out, sets, reports, radius=2 * suggested.sigma if suggested else 10.0)
    if arguments.json:
        tree = {
            "suggested": suggested and suggested._asdict(),
            "errors": errors,
            "images": [one.to_dict() for one in reports],
        }
        write_text(arguments.json, json.dumps(tree, indent=2) + "\n")
    for error in first_of(errors):
        show_error(error)
    pictures = "" if images is None else " and pictures of them on their images"
    print(f"{arguments.out} holds the points of {so_many(len(points.by_file), 'file')}{pictures}.")
    return 3 if errors or any(one.faults for one in reports) else 0


def _point_source(arguments: argparse.Namespace) -> "tuple[PointFiles, list[Path], Named | None]":
    """Returns the points asked for, the point files among what was given, and the images with their names."""
    from wsis_jax.io import named_images, named_points
    from wsis_jax.training import points_from_ctc, points_from_files, points_from_labels, points_from_stains

    ways = {"POINTS": arguments.points, "--nuclei": arguments.nuclei, "--labels": arguments.labels}
    ways["--ctc"] = arguments.ctc
    if len(chosen := [way for way, value in ways.items() if value]) != 1:
        raise UserError(f"give one of POINTS, --nuclei, --labels and --ctc, not {' and '.join(chosen) or 'none'}")
    if arguments.nuclear_channel is not None and not arguments.nuclei:
        raise UserError("--nuclear-channel is the channel of the stains; give them by --nuclei")
    if arguments.diameter is not None and not arguments.nuclei:
        raise UserError("--diameter is that of the nuclei in the stains; give them by --nuclei")
    if arguments.components and not arguments.labels:
        raise UserError("--components is of masks; give them by --labels")
    if arguments.ctc:
        points, own = points_from_ctc(arguments.ctc)
        return points, [], named_images(arguments.images or own)
    files = named_points(arguments.points) if arguments.points else {}
    images = None if arguments.images is None else named_images(arguments.images)
    if arguments.nuclei:
        channel, diameter = arguments.nuclear_channel, arguments.diameter
        return (
            points_from_stains(arguments.nuclei, channel=channel, diameter=diameter, axes=arguments.axes),
            [],
            images,
        )
    if arguments.labels:
        return points_from_labels(arguments.labels, components=arguments.components), [], images
    points = points_from_files(
        files,
        images=images,
        channel=arguments.channel,
        points_in=arguments.points_in,
        pixel_size=arguments.pixel_size,
        axes=arguments.axes,
    )
    return points, [*files], images
