"""`wsis report`: its help, its arguments and what it does."""

import argparse
from pathlib import Path

from wsis_jax.core import MissingFile

SUMMARY = "write the page of a training or of results again"

TEXT = """\
Write report.html again: a page that needs no network and no other file, so that it can be kept and sent.

  wsis report run                                         of a training, even while it runs
  wsis report results                                     of a folder that wsis segment wrote

The page of a training says whether the model is good enough and what would help, and shows the output of the
network and the outlines for held-out images from step to step, the curves of loss and F-measure, what was chosen,
the points, the settings and the versions. The page of results shows a gallery of up to 24 images
with layers to switch between (image, likelihood, contribution, outlines, labels), histograms of areas, scores and
numbers of cells, and what failed. wsis train and wsis segment write the page when they end.
"""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    command.add_argument("folder", type=Path, metavar="DIR", help="a run folder, or a folder of results")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command and returns its exit code."""
    print(write_report(arguments.folder))
    return 0


def write_report(folder: Path) -> Path:
    """Writes `report.html` in a run folder or a folder of results, and returns its path.

    Raises:
        MissingFile: if the folder is neither.
        UserError: if what it holds cannot be read.
    """
    from wsis_jax.output import read_summary, segmentation_report
    from wsis_jax.training import training_report

    if (folder / "config.json").is_file():
        return training_report(folder)
    if (summary := read_summary(folder)) is not None:
        return segmentation_report(folder, summary)
    raise MissingFile(
        f"{folder}: neither a run folder nor a folder of results with a report; give one that 'wsis train' or "
        "'wsis segment' wrote"
    )
