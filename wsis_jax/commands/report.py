"""`wsis report`: its help, its arguments, and what it does with them."""

import argparse
from pathlib import Path

SUMMARY = "make the page of a training or of results anew"

TEXT = """\
Make report.html anew: one page to look at, which needs no network and no file beside it, to keep or to send.

  wsis report run                                         of a training, even while it runs
  wsis report results                                     of a folder that wsis segment wrote

Of a training it shows the curves of loss and F-measure, what the network makes of held-out images from step to
step, the points, the settings and versions. Of results it shows a gallery of up to 24 images with layers to switch
between (image, likelihood, contribution, outlines, labels), how areas, scores and numbers of cells are spread, and
what failed. wsis train and wsis segment make the page at their end; this makes it again.
"""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    command.add_argument("folder", type=Path, metavar="DIR", help="a run folder, or a folder of results")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command and returns its exit code."""
    from wsis_jax.report import write_report

    print(write_report(arguments.folder))
    return 0
