"""`wsis export`: its help, its arguments and what it does."""

import argparse
from pathlib import Path

from wsis_jax.cli.arguments import add_settings, changed_settings, which_run

SUMMARY = "use the model where this package is not installed"

TEXT = """\
Export a trained model for programs that have JAX, but not this package.

Writes to DIR forward.stablehlo (images to likelihood maps), contributions.stablehlo (an image and its cells to
their contribution maps, in windows around the peaks) and export.json (shapes, units, settings). Both are for CPU,
CUDA and TPU, any number of images or cells, and sides that are multiples of the stride. A new shape is compiled
when it is first used, which takes seconds: a service pads images to a few sides ("buckets" of export.json),
mirrored at the bottom and the right, and crops what comes back. Near such a border the maps differ a little from
those of the image alone. In Python, with jax and flatbuffers installed:

    import json
    from pathlib import Path
    import numpy as np
    from jax import export

    folder = Path("DIR")
    names = ("forward", "contributions")
    forward, contributions = (export.deserialize((folder / f"{n}.stablehlo").read_bytes()).call for n in names)
    likelihood = np.asarray(forward(image[None])[0])  # image: float32, 0..1, channels last if there are several
    ...  # regions: int32, i + 1 in the disc around peaks[i]; peaks: int32, (row, column)
    maps = np.asarray(contributions(image, regions, peaks))

    # The winner map: each pixel goes to the cell with the greatest contribution.
    windows = json.loads((folder / "export.json").read_text())["contributions"]
    side, margin = windows["side"], -windows["offset"]
    value = np.zeros(np.add(regions.shape, side), np.float32)
    owner = np.zeros(value.shape, np.int32)
    for cell, (row, column) in enumerate(peaks):
        window = np.s_[row : row + side, column : column + side]
        wins = maps[cell] > value[window]
        value[window][wins] = maps[cell][wins]
        owner[window][wins] = cell + 1
    inside = tuple(slice(margin, margin + n) for n in regions.shape)
    value, owner = value[inside], owner[inside]

`wsis segment` looks for peaks in the mean of the likelihood maps of an image and of its three mirror images
(detect.views); to find the same cells, average the four.

If there are many cells, take some at a time: contributions(image, regions - first, peaks[first : first + 64]). One
cell takes about "bytes_per_cell" of memory (export.json).
"""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    command.add_argument("run", type=Path, metavar="RUN", help=which_run())
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the three files")
    add_settings(command, "how to detect and propagate", ("unet", "detect", "contribution", "cut"))


def run(arguments: argparse.Namespace) -> int:
    """Runs the command and returns its exit code."""
    from wsis_jax.network import export_model, load_model

    run = load_model(arguments.run)
    export_model(run.using(changed_settings(run.config, arguments)), arguments.out)
    print(f"forward.stablehlo, contributions.stablehlo and export.json are in {arguments.out}.")
    print("Load them where jax and flatbuffers are: jax.export.deserialize(Path(FILE).read_bytes()).call(...)")
    print("Arguments and results are described in export.json; all steps are in 'wsis export --help'.")
    return 0
