"""`wsis train`: its help, its arguments, and what it does with them."""

import argparse
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
)
from wsis_jax.cli.terminal import training_progress, waiting
from wsis_jax.core import UserError, in_words, so_many

if TYPE_CHECKING:
    from wsis_jax.core import Channels, Config
    from wsis_jax.training import TrainingSet

SUMMARY = "learn from images and clicks"

TEXT = """\
Learn to find cells from images and the rough centroids of their cells: clicks, or nuclei.

  wsis train images --points points --run run
  wsis train images --nuclei stains --run run
  wsis train stacks --channel 0 --nuclei stacks --nuclear-channel 1 --run run
  wsis train slides --channel colours --points points --run run

IMAGES and POINTS are files, folders or quoted patterns, paired by name: a.tif and a.csv. Images may be PNG,
TIFF or JPEG, grey or colour; the pages of a TIFF are frames. Point files may be a napari points layer
(axis-0, axis-1), an ImageJ results table (X, Y), or any table with columns row, column or x, y; of a napari shapes
layer the centroids count. A column frame, slice, page, plane, z, t or time says which frame a point is in.

STAINS are images of a nuclear stain in the same places and of the same size, paired by name, too: images/a.tif and
stains/a.tif. Nuclei are bright and of about one size, which is estimated from each image; each stands for a
click on its cell, and an image in whose stain there is none is left out. The number of nuclei is printed: is it
about that of the cells? If not, try --nuclear-diameter; wsis points --nuclei draws what is found. The trained
model needs no stain.

IMAGES and STAINS may be channels of the same files. Channels count from 0; they are those that a TIFF names
(ImageJ, OME), or else the colours, or else the pages. Without --channel, pages are frames, colours become grey,
and an image of several named channels is refused. --channel 0,2 has the network see two channels at once, each
stretched to 0..1 by itself, and --channel colours red, green and blue, all stretched alike, so that hues stay what
they are: for histology. A model remembers its channels, and wsis segment reads them of images without being told.

Ctrl-C ends the training after the step under way and saves it; --resume goes on from there, to the very weights
that it would have had. RUN/report.html shows curves, pictures of held-out images and settings; wsis report RUN
makes it while a training runs.

All devices of the machine share the batch, with nothing to set; so do several hosts, if each starts this command
(srun, or JAX_COORDINATOR_ADDRESS=HOST:PORT, JAX_NUM_PROCESSES and JAX_PROCESS_ID) and sees the same files.
"""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    command.add_argument("images", nargs="+", metavar="IMAGES")
    teacher = command.add_mutually_exclusive_group(required=True)
    teacher.add_argument("--points", nargs="+", metavar="POINTS", help="point files, named like the images")
    teacher.add_argument(
        "--nuclei", nargs="+", metavar="STAINS", help="instead: images of a nuclear stain, named like the images"
    )
    add_points_in(command)
    add_channel(command, "to learn from", "grey")
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
        help="typical diameter of the cells, in pixels of IMAGES, which the width of the likelihood map and the "
        "scale of the images follow from; by default it is found from images and points",
    )
    command.add_argument("--run", type=Path, required=True, metavar="RUN", help="folder for the trained model")
    command.add_argument("--resume", action="store_true", help="go on with an interrupted training of RUN")
    command.add_argument(
        "--tensorboard", action="store_true", help="write curves and samples to RUN/tensorboard, too (an extra)"
    )
    command.add_argument(
        "--size",
        choices=["auto", "small", "full"],
        default="auto",
        help="of the network and its training: full is the paper's; small is for a computer without an "
        "accelerator; auto (the default) chooses between them",
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
    from wsis_jax.training import Callbacks, fill_in, train_on_set, training_report, writing_events

    config = _config(arguments)
    data = _training_set(arguments, config.image.channels)
    config = fill_in(data, config)
    print(f"The cells are about {config.cell_diameter:.0f} pixels wide (--diameter, if that is wrong).")
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
        print(f"A page to look at: {training_report(arguments.run)}")
    print(f"The best model is in {arguments.run}; use it with: wsis segment {arguments.run} IMAGES --out DIR")
    if config.image.channels != "grey":
        print(f"It reads what it learned from, --channel {in_words(config.image.channels)}, of images by itself.")
    return 0


def _config(arguments: argparse.Namespace) -> "Config":
    """Returns the settings, of the small network where it is asked for or there is no accelerator."""
    import jax

    from wsis_jax.core import preset, small_network

    config = preset(arguments.preset or "default")
    small = arguments.size == "small" or (arguments.size == "auto" and jax.default_backend() == "cpu")
    diameter = [] if arguments.diameter is None else [f"image.diameter={arguments.diameter}"]
    config = (small_network(config) if small else config).override([*diameter, *arguments.set])
    config = choosing(config, arguments.channel)
    if small and arguments.size == "auto":
        print(
            "No accelerator found: training the small network (--size full for the paper's; wsis doctor says why)."
        )
    return config


def _training_set(arguments: argparse.Namespace, channel: "Channels") -> "TrainingSet":
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
