"""`wsis bench`: its help, its arguments, and what it does with them."""

import argparse
import json
from pathlib import Path

from wsis_jax.cli.arguments import which_run
from wsis_jax.cli.terminal import print_measurements, waiting
from wsis_jax.core import UserError

SUMMARY = "measure how fast it is here"

TEXT = """\
Measure how fast contribution maps are computed here, in four ways that give the same numbers:

  window      through windows of the network, as far from the peak as a cell may reach; the default
  window-all  the same, as far as the network sees
  vmap        through the whole image, several cells at a time
  loop        through the whole image, one cell after the other

  wsis bench run
  wsis bench --width 64 --side 1024

The cells are discs around random pixels. Each time is the least of some rounds; the time to compile has a column
of its own. GFLOP/s is the least arithmetic that a cell needs, divided by its time. "In all" counts the forward
pass of the image, too.
"""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    command.add_argument("run", nargs="?", type=Path, metavar="RUN", help=which_run())
    command.add_argument(
        "--width", type=int, help="without RUN: channels of the first level of an untrained network (16)"
    )
    source = command.add_mutually_exclusive_group()
    source.add_argument("--image", type=Path, metavar="FILE", help="an image to measure with; its first frame")
    source.add_argument(
        "--side", type=int, default=512, help="side of a random image to measure with, in pixels (default 512)"
    )
    command.add_argument("--cells", type=int, default=32, help="number of cells in the image (default 32)")
    command.add_argument("--json", action="store_true", help="print one line of JSON instead of a table")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command and returns its exit code."""
    from wsis_jax.cli.measure import compare, fresh_model, noise, surroundings
    from wsis_jax.core import normalize_by, resize_image
    from wsis_jax.io import read_image
    from wsis_jax.network import load_model

    if arguments.run is None:
        model = fresh_model(16 if arguments.width is None else arguments.width)
    elif arguments.width is None:
        model = load_model(arguments.run)
    else:
        raise UserError("--width is that of a fresh network; leave it out with a RUN, which has its own")
    if arguments.image is None:
        image = noise(arguments.side, arguments.side, model.network.inputs)
    else:
        look = model.config.image
        values = read_image(arguments.image, channel=look.channels)[0]
        image = resize_image(normalize_by(look, values), look.scale or 1)
    with waiting("measuring; it takes about a minute"):
        results = compare(model, image, cells=arguments.cells)
    if arguments.json:
        print(
            json.dumps({"height": image.shape[0], "width": image.shape[1], "results": results, **surroundings()})
        )
    else:
        print_measurements(results)
    return 0
