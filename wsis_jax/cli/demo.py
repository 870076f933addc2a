"""`wsis demo`: its help, its arguments, and what it does with them."""

import argparse
from pathlib import Path

from wsis_jax.cli.arguments import add_verbose, which_run
from wsis_jax.cli.terminal import print_scores, training_progress, waiting

SUMMARY = "try everything on drawn cells"

TEXT = """\
Train on drawn cells, segment others, score them; it takes a few minutes.

With --model nothing is trained: a model that comes with the package, or the folder of one of yours, segments a
drawn scene whose cells are as large as those that the model learned. The scores are those of drawn cells; they say
nothing about real images.

  wsis demo --out demo
  wsis demo --out demo --model phase-contrast
"""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    command.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for pictures and scores.json"
    )
    command.add_argument("--model", metavar="NAME", help=f"segment with this instead: {which_run()}")
    command.add_argument("--seed", type=int, default=0, help="another seed draws other cells (default 0)")
    add_verbose(command)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command and returns its exit code."""
    from wsis_jax.cli.run_demo import run_demo

    if arguments.model is None:
        with training_progress() as callbacks:
            scores = run_demo(arguments.out, seed=arguments.seed, callbacks=callbacks)
    else:
        with waiting("segmenting a drawn scene"):
            scores = run_demo(arguments.out, model=arguments.model, seed=arguments.seed)
    print_scores(scores)
    print(f"Pictures and scores are in {arguments.out}; begin with {arguments.out / 'stages.png'}.")
    return 0
