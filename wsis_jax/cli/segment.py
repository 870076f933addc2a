"""`wsis segment`: its help, its arguments, and what it does with them."""

import argparse
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsis_jax.cli.arguments import (
    add_axes,
    add_channel,
    add_points_in,
    add_settings,
    add_verbose,
    changed_settings,
    check_order,
    choosing,
    length,
    which_run,
)
from wsis_jax.cli.terminal import one_line, progress_bar, show_error, show_warning
from wsis_jax.core import UserError, in_short, so_many, stage
from wsis_jax.io import stem
from wsis_jax.output import DEFAULT_FORMATS, choose_formats, help_lines, tiled_kinds

if TYPE_CHECKING:
    from wsis_jax.core import Config
    from wsis_jax.output import FormatChoice
    from wsis_jax.segmentation import ImageResult, Workers

_NAMED = 10  # images that failed; of more their number

SUMMARY = "find the cells of images"

TEXT = f"""\
Find the cells of images with a trained model: one of yours, or one that comes with the package, by its name:

  wsis segment phase-contrast image.tif                   phase contrast, cells about 40 pixels wide

IMAGES are TIFF (OME, ImageJ or plain), PNG, JPEG, folders of OME-Zarr, and, with wsis-jax[bioio], the files of
microscopes: czi, nd2, lif. Times, planes, pages and scenes of a file are images of their own. A model sees the
channels that it learned from (image.channels of its config.json): grey values, colours, or channels by their
numbers. --channel chooses others, as many as it learned from, and the table has the brightness of all.

  wsis segment RUN film.ome.tif --channel 1               each time point, <name>_0000, <name>_0001, …
  wsis segment RUN stack.tif --axes TZYX                  a TIFF that does not name its axes
  wsis segment RUN slide.ome.zarr                         too large for the memory: in tiles, labels as OME-Zarr

Folders are searched with the folders in them, and results are in the same folders below DIR: where plate is given,
those of plate/A1/img.tif are DIR/A1/img_labels.tif and so on.

Writes to DIR, for each image, files of the kinds that --format names, separated by commas; <name> is the image's:

{help_lines()}

  wsis segment RUN IMAGES --format labels,table,geojson

In the table, score is the likelihood at the peak of a cell, and confidence tells how far its contributions are
above those of its neighbours, from 0 to 1: 1 means that no neighbour contributes there.

With --dask, images go to the workers of a Dask cluster, one at a time to each, and so do the tiles of large ones:
--dask local:4 makes four processes here, --dask scheduler.json or tcp://HOST:8786 names a cluster. Files, manifest
and exit code are the same; a worker that dies costs the image or the tile that it was at. RUN, IMAGES and DIR must
be in folders that all machines share; docs/clusters.md has SLURM, Kubernetes and others.

Stop it when you like: called again with the same DIR, it skips the images that are finished, and does those again
whose file has changed, or all if the model, the settings or --format have (manifest.jsonl in DIR keeps count). A
bad image does not stop the others; the exit code is then 3.

With --format ctc, DIR becomes a folder of results of the Cell Tracking Challenge: maskTTT.tif for each image, with
the frame at the end of its name (mask012.tif of t012.tif; names without one are numbered in order), and
res_track.txt. Nothing is tracked: each cell is a track of one frame, which is enough for the scores SEG and DET.

  wsis segment RUN data/01 --format ctc --out data/01_RES

All devices of the machine share the cells of an image, with nothing to set.

If you know where the cells are, from clicks or from points that you corrected, --points has exactly these cells
outlined, one label for each, in their order. Point files are those that wsis train reads, tables and ROIs,
named like the images. The labels are masks that other programs can learn from:

  wsis segment RUN IMAGES --points points --format masks

A model knows cells of the size that it learned. If yours are larger or smaller, say how wide they typically are,
in pixels of the images as given, and they are shown to the network at the size that it knows. Without --diameter,
a warning tells of images whose cells look much larger or smaller; many of much smaller ones are not even found.

  wsis segment RUN IMAGES --diameter 60
"""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    command.add_argument("run", type=Path, metavar="RUN", help=which_run())
    command.add_argument("images", nargs="+", metavar="IMAGES", help="files, folders of files, or quoted patterns")
    command.add_argument(
        "--out", type=Path, default=Path("results"), metavar="DIR", help="folder for the results (default results)"
    )
    command.add_argument(
        "--points",
        nargs="+",
        metavar="POINTS",
        help="outline the cells at these points, and no others: point files, named like the images",
    )
    add_points_in(command, size=False)
    add_channel(command, "to segment", "those that the model learned from")
    add_axes(command)
    command.add_argument(
        "--diameter",
        type=length,
        metavar="PIXELS",
        help="typical diameter of the cells of IMAGES, where it is not that of the cells that RUN learned from",
    )
    command.add_argument(
        "--pixel-size",
        type=length,
        metavar="UM",
        help="side of a pixel in micrometres, for tables in µm, instead of what the files tell",
    )
    command.add_argument(
        "--tiles",
        action=argparse.BooleanOptionalAction,
        help="segment all images in tiles, so that they need not fit into memory, or none (--no-tiles). By "
        "default images of more than 16 million pixels of the network are. Of an image in tiles these formats are "
        f"written: {', '.join(tiled_kinds())}, the labels as OME-Zarr",
    )
    command.add_argument(
        "--dask",
        metavar="WHERE",
        help="have the workers of a Dask cluster do it: address of its scheduler, scheduler file, or local:N for "
        "N processes on this machine, each with its share of the cores, or a GPU",
    )
    command.add_argument(
        "--format",
        type=_format,
        metavar="KINDS",
        help="formats to write, separated by commas, or one that stands alone "
        f"(default {','.join(DEFAULT_FORMATS.kinds)})",
    )
    command.add_argument(
        "--json", type=Path, metavar="FILE", help="also write the outcome for each image to a file"
    )
    add_verbose(command)
    add_settings(command, "how to detect and cut", ("unet", "detect", "contribution", "cut"))


def run(arguments: argparse.Namespace) -> int:
    """Runs the command and returns its exit code."""
    with stage("import"):
        from wsis_jax.core import write_text
        from wsis_jax.io import named_images
        from wsis_jax.network import load_model
        from wsis_jax.output import segmentation_report
        from wsis_jax.segmentation import BatchOptions, segment_files

    format = arguments.format or DEFAULT_FORMATS
    check_order(arguments.run, arguments.images)
    with ExitStack() as stack:
        workers = stack.enter_context(_workers(arguments.dask, arguments.run)) if arguments.dask else None
        with stage("read"):
            run = load_model(arguments.run) if workers is None else workers.model
        config = choosing(changed_settings(run.config, arguments), arguments.channel)
        if arguments.diameter is not None:
            config = config.for_diameter(arguments.diameter)
        files = named_images(arguments.images)
        bar = stack.enter_context(progress_bar(rate="images"))
        task = bar.add_task("segmenting", total=None)

        def on_image(outcome: "ImageResult", total: int) -> None:
            bar.update(task, advance=1, total=total)
            for message in outcome.warnings:
                show_warning(f"{outcome.name}: {message}")
            if outcome.error is not None:
                show_error(outcome.error)
            elif not outcome.skipped:
                cells = f"{so_many(outcome.cells or 0, 'cell')}{_dropped(outcome.dropped)}"
                bar.console.print(f"{one_line(outcome.name)}: {cells}", highlight=False, markup=False)

        tiles = bar.add_task("tiles", total=None, visible=False)

        def on_tile(name: str, done: int, total: int) -> None:
            bar.update(tiles, description=f"tiles of {name}", completed=done, total=total, visible=done < total)

        outcomes = segment_files(
            run,
            files,
            arguments.out,
            options=BatchOptions(
                config=config,
                kinds=format.kinds,
                axes=arguments.axes,
                pixel_size=arguments.pixel_size,
                tiles=arguments.tiles,
                points=arguments.points,
                points_in=arguments.points_in,
                workers=workers,
            ),
            on_image=on_image,
            on_tile=on_tile,
        )
    summary = _summary(outcomes, arguments.run, config)
    if arguments.json:
        skipped_names = [one.name for one in outcomes if one.skipped]
        write_text(arguments.json, json.dumps(summary | {"skipped": skipped_names}, indent=2) + "\n")
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    skipped = sum(outcome.skipped for outcome in outcomes)
    before = f", {skipped} of them before" if skipped else ""
    done = f"{len(outcomes) - len(failed)} of {so_many(len(outcomes), 'image')} segmented{before}"
    print(f"{done}; results are in {arguments.out}")
    if failed:
        print(f"Failed: {in_short([*map(_called, failed)], _NAMED)}; the errors are above.")
    if "report" in format.kinds and len(failed) < len(outcomes):
        with stage("files"):
            page = segmentation_report(arguments.out, summary)
        print(f"A page to look at: {page}")
    return 3 if failed else 0


@contextmanager
def _workers(where: str, run: Path) -> Iterator["Workers"]:
    """Context manager yielding the workers of a cluster."""
    import jax

    from wsis_jax.segmentation import Workers, connecting

    jax.config.update("jax_platforms", "cpu")  # what other devices there are is for the workers
    with connecting(where) as client:
        yield Workers(client, run)


def _format(text: str) -> "FormatChoice":
    """Returns the format that an argument names."""
    try:
        return choose_formats([kind.strip() for kind in text.split(",")])
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _called(outcome: "ImageResult") -> str:
    """Returns the name of an image's file, or, for one of several in a file, that of the image."""
    return outcome.source.name if stem(outcome.source) == outcome.name else outcome.name


def _dropped(count: int) -> str:
    """Returns what to say of so many cells that were too small to be any."""
    return f", {count} {'speck' if count == 1 else 'specks'} dropped" if count else ""


def _summary(outcomes: Sequence["ImageResult"], run: Path, config: "Config") -> dict[str, Any]:
    """Returns what became of all images, for the page and for machines; that of an earlier batch, too."""
    return {
        "run": str(run),
        "images": [
            {
                "name": one.name,
                "source": str(one.source),
                "cells": one.cells,
                "dropped": one.dropped,
                "warnings": one.warnings,
            }
            for one in outcomes
            if one.error is None
        ],
        "failed": [
            {"name": one.name, "source": str(one.source), "warnings": one.warnings, "error": one.error}
            for one in outcomes
            if one.error is not None
        ],
        "config": config.to_dict(),
    }
