"""`wsis train`: its help, its arguments, and what it does with them."""

import argparse
import json
from contextlib import ExitStack, nullcontext, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsis_jax.cli.arguments import (
    add_axes,
    add_channel,
    add_points_in,
    add_settings,
    add_verbose,
    choosing,
    length,
    which_run,
)
from wsis_jax.cli.terminal import show_warning, training_progress, waiting
from wsis_jax.core import UserError, in_words, so_many

if TYPE_CHECKING:
    from wsis_jax.core import Channels, Config
    from wsis_jax.training import TrainingSet

_CHECKED = 16e6  # values of images that are compared with their points, half a minute's work
_NAMED = 5  # faults of points; of more their number

SUMMARY = "learn from images and clicks"

TEXT = """\
Learn to find cells from images and the rough centroids of their cells: clicks, or nuclei.

  wsis train images --points points --run run
  wsis train images --nuclei stains --run run
  wsis train stacks --channel 0 --nuclei stacks --nuclear-channel 1 --run run
  wsis train slides --points points --channel grey --run run
  wsis train images --points points --from generalist --run run

IMAGES and POINTS are files, folders or quoted patterns, paired by name: a.tif and a.csv. Images may be PNG,
TIFF or JPEG, grey or colour; the pages of a TIFF are frames. Point files may be a napari points layer
(axis-0, axis-1), an ImageJ results table (X, Y), ROIs of ImageJ (.roi, or the .zip of its ROI manager), tables of
TrackMate, QuPath or CellProfiler, or any table with columns row, column or x, y. A shape, or a ROI that is an
area, is a point at its centroid. A column frame, slice, page, plane, z, t or time, or the position of a ROI, says
which frame a point is in.

STAINS are images of a nuclear stain in the same places and of the same size, paired by name, too: images/a.tif and
stains/a.tif. Nuclei are bright and of about one size, which is estimated from each image; each stands for a
click on its cell, and an image in whose stain there is none is left out. The number of nuclei is printed: is it
about that of the cells? If not, try --nuclear-diameter; wsis points --nuclei draws what is found. The trained
model needs no stain.

IMAGES and STAINS may be channels of the same files. Channels count from 0; they are those that a TIFF names
(ImageJ, OME), or else the colours, or else the pages. Without --channel, pages are frames, images in colour are
learned from in colour (with --channel grey in grey values), and an image of several named channels is refused.
--channel 0,2 has the network see two channels at once, each stretched to 0..1 by itself; red, green and blue are
stretched alike, so that hues stay what they are. A model remembers its channels, and wsis segment reads them of
images without being told.

Points are checked first, as by wsis points: cells without a point, two points on one cell, points of another
image. After the first steps an estimate is printed of how long the training will take on this machine; validations
and other programs make it longer, an early end shorter. At the end it is printed whether the model is good enough
to use, and what would help; RUN/report.html says so, too.

POINTS may be a folder of results of wsis segment: a_points.csv belongs to a.tif. Points that you corrected, saved
beside them as a_corrections.csv, take their place; wsis segment never writes these.

--from starts from a trained model: a folder, or the name of a model of the package. That takes fewer steps and
clicks than learning from nothing. The network, the channels that it sees and how cells are cut stay those of that
model, and images are scaled so that your cells are as large as those that it knows. The model with the least
loss on held-out images is kept; if training makes none better, that is the model that it started from.

Ctrl-C ends the training after the current step and saves it. --resume goes on from there, and ends with the same
weights as a training that was never stopped. It takes the settings of RUN and needs the same images and points,
which RUN remembers (clicks.json). --resume --set train.steps=1200 makes a training longer, even a finished one:
from there on the learning rate is that of a training of 1200 steps, so it rises once more before it falls to 0.

RUN/report.html shows curves, pictures of held-out images and settings; wsis report RUN makes it while a training
runs.

All devices of the machine share the batch, with nothing to set; so do several hosts, if each starts this command
(srun, or JAX_COORDINATOR_ADDRESS=HOST:PORT, JAX_NUM_PROCESSES and JAX_PROCESS_ID) and sees the same files.
"""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    command.add_argument(
        "images", nargs="+", metavar="IMAGES", help="images to learn from: files, folders or quoted patterns"
    )
    teacher = command.add_mutually_exclusive_group(required=True)
    teacher.add_argument("--points", nargs="+", metavar="POINTS", help="point files, named like the images")
    teacher.add_argument(
        "--nuclei", nargs="+", metavar="STAINS", help="instead: images of a nuclear stain, named like the images"
    )
    add_points_in(command)
    add_channel(command, "to learn from", "colours where all images have them, else grey")
    add_axes(command)
    command.add_argument(
        "--nuclear-channel", type=int, metavar="N", help="the channel of STAINS that is the nuclear stain"
    )
    command.add_argument(
        "--nuclear-diameter",
        type=float,
        metavar="PIXELS",
        help="typical diameter of a nucleus in STAINS; without it, it is estimated from each image",
    )
    command.add_argument(
        "--diameter",
        type=length,
        metavar="PIXELS",
        help="typical diameter of the cells, in pixels of IMAGES; the width of the likelihood map and the scale "
        "of the images follow from it (default: found from images and points)",
    )
    command.add_argument("--run", type=Path, required=True, metavar="RUN", help="folder for the trained model")
    command.add_argument("--from", dest="start", metavar="NAME", help=f"start from a trained model: {which_run()}")
    command.add_argument(
        "--resume",
        action="store_true",
        help="go on with the training of RUN that was interrupted, or make it longer (--set train.steps=...)",
    )
    command.add_argument(
        "--tensorboard",
        action="store_true",
        help="also write curves and samples to RUN/tensorboard (needs wsis-jax[tensorboard])",
    )
    command.add_argument(
        "--size",
        choices=["auto", "small", "full"],
        default="auto",
        help="size of the network and length of the training: full is the paper's; small is for a computer "
        "without a GPU or TPU; auto (the default) chooses between them",
    )
    add_verbose(command)
    add_settings(command, "settings to start from", ("image", "likelihood", "unet", "train", "detect"))


def run(arguments: argparse.Namespace) -> int:
    """Runs the command and returns its exit code."""
    from wsis_jax.core import is_first, join_processes

    join_processes()
    # Of all processes of a training one shows it.
    with nullcontext() if is_first() else redirect_stdout(StringIO()):
        return _train(arguments)


def _train(arguments: argparse.Namespace) -> int:
    """Trains, and shows how it goes."""
    from wsis_jax.core import is_first
    from wsis_jax.network import load_config, model_folder
    from wsis_jax.training import Callbacks, fill_in, train_on_set, training_report, writing_events

    config = _config(arguments)
    data = _training_set(arguments, config.image.channels)
    config = fill_in(data, config)
    if arguments.nuclei is None and not arguments.resume:
        _check_points(data)
    print(f"The cells are about {config.cell_diameter:.0f} pixels wide (--diameter, if that is wrong).")
    if arguments.start is not None and not arguments.resume:
        learned = load_config(model_folder(arguments.start))
        sees, knows = (one.cell_diameter * one.network_scale for one in (config, learned))
        print(f"{arguments.start} sees them {sees:.0f} pixels wide; it learned from cells of {knows:.0f}.")
    with ExitStack() as stack:
        events = arguments.tensorboard and is_first()
        write_event = stack.enter_context(writing_events(arguments.run)) if events else None
        progress = stack.enter_context(training_progress())

        def on_metrics(metrics: dict[str, Any]) -> None:
            progress.on_metrics(metrics)
            if write_event is not None:
                write_event(metrics)

        callbacks = Callbacks(progress.on_step, on_metrics)
        try:
            train_on_set(data, config=config, run=arguments.run, resume=arguments.resume, callbacks=callbacks)
        except KeyboardInterrupt:
            if is_first():
                training_report(arguments.run)
            raise
    if is_first():
        _say_how_good(arguments.run)
        print(f"A page to look at: {training_report(arguments.run)}")
    print(f"The best model is in {arguments.run}; use it with: wsis segment {arguments.run} IMAGES --out DIR")
    channels = config.image.channels
    if channels is not None and channels != "grey":
        print(f"It reads what it learned from, --channel {in_words(channels)}, of images by itself.")
    return 0


def _check_points(data: "TrainingSet") -> None:
    """Warns of what `wsis points` finds wrong; of many pixels some images alone are looked at, to begin soon."""
    from wsis_jax.output import evenly
    from wsis_jax.points import inspect_points

    count = len(data.images)
    share = min(_CHECKED / max(sum(image.size for image in data.images), 1), 1.0)
    seen = set(evenly(range(count), max(int(share * count), 1)))
    images = [image if index in seen else None for index, image in enumerate(data.images)]
    with waiting("checking the points"):
        reports = inspect_points(data.names, data.points, images)
    faults = [f"{one.name}: {fault}" for one in reports for fault in one.faults]
    for fault in faults[:_NAMED]:
        show_warning(fault)
    if faults:
        more = f" ({len(faults) - _NAMED} more)" if len(faults) > _NAMED else ""
        print(f"Points look wrong{more}: wsis points POINTS --images IMAGES draws where. Training all the same.")
    if len(seen) < count:
        print(f"{len(seen)} of {count} images were compared with their points; wsis points does so with all.")


def _say_how_good(run: Path) -> None:
    """Prints whether the model is good enough, and what would help."""
    from wsis_jax.training import read_metrics, training_verdict

    if read_metrics(run):
        verdict = training_verdict(run)
        print("\n".join([verdict.text, *(f"- {one}" for one in verdict.advice)]))


def _config(arguments: argparse.Namespace) -> "Config":
    """Returns the settings: of the run to resume, the model to start from, or a preset; and what is changed."""
    from wsis_jax.core import preset
    from wsis_jax.network import load_config
    from wsis_jax.training import check_start, going_on, name_of_start

    given = [] if arguments.diameter is None else [f"image.diameter={arguments.diameter}"]
    if arguments.start is not None and arguments.size != "auto":
        raise UserError("--size is that of a network that learns from nothing; leave it out with --from")
    if arguments.resume and arguments.preset is None and arguments.size == "auto":
        config = load_config(arguments.run)
        if arguments.start is not None:
            given.append(f"train.start={json.dumps(name_of_start(arguments.start))}")
    elif arguments.start is not None:
        config = going_on(arguments.start)
        config = config if arguments.preset is None else preset(arguments.preset, config)
    else:
        config = _from_nothing(arguments)
    config = choosing(config.override([*given, *arguments.set]), arguments.channel)
    if not arguments.resume:
        check_start(config)
    return config


def _from_nothing(arguments: argparse.Namespace) -> "Config":
    """Returns the settings of a preset, of the small network where it is asked for or there is no accelerator."""
    import jax

    from wsis_jax.core import preset, small_network

    config = preset(arguments.preset or "default")
    if arguments.size == "full" or (arguments.size == "auto" and jax.default_backend() != "cpu"):
        return config
    if arguments.size == "auto":
        print(
            "No accelerator found: training the small network (--size full for the paper's; wsis doctor says why)."
        )
    return small_network(config)


def _training_set(arguments: argparse.Namespace, channel: "Channels | None") -> "TrainingSet":
    """Reads channels of the images with their points or stains, and says how much there is to learn from."""
    from wsis_jax.training import read_stained_set, read_training_set, with_uncertain

    images = arguments.images
    nuclear = {key: getattr(arguments, key) for key in ("nuclear_channel", "nuclear_diameter")}
    if arguments.nuclei is not None:
        kind, data = (
            "nuclei",
            read_stained_set(images, arguments.nuclei, channel=channel, axes=arguments.axes, **nuclear),
        )
    elif nuclear["nuclear_channel"] is not None:
        raise UserError("--nuclear-channel is a channel of the stains of --nuclei; leave it out with --points")
    elif nuclear["nuclear_diameter"] is not None:
        raise UserError("--nuclear-diameter is of nuclei in the stains of --nuclei; leave it out with --points")
    else:
        kind, data = (
            "points",
            read_training_set(
                images,
                arguments.points,
                channel=channel,
                points_in=arguments.points_in,
                pixel_size=arguments.pixel_size,
                axes=arguments.axes,
            ),
        )
    print(f"Learning from {sum(map(len, data.points))} {kind} in {so_many(len(data.images), 'image')}.")
    if kind == "nuclei":
        with waiting("looking for cells without a nucleus"):
            data = with_uncertain(data)
        places = sum(map(len, data.uncertain or []))
        print(f"{places} places look like cells without one, and are left out of the loss.")
    return data
