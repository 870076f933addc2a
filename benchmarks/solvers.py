"""Question: what does it cost to cut cells by SciPy instead of PyMaxflow, and are the cells the same?

A drawn scene as in `benchmarks.cuts`, cut by each solver: with the default settings and reach, with the default
settings and no reach, and with those of the paper, which have no reach. Without a reach PyMaxflow cuts the cells
that no small window proves in the whole image, each from the flow of the one before; SciPy has no such thing, and
cuts them in windows that double. Prints one JSON line for each, with the machine, the versions and the commit.
Times are the least of --rounds. The label images must be identical.

Prediction: with a reach, some times slower; without, tens of times, as no flow is shared.

Outcome (--rounds 2, two cores of an Intel Xeon with much other work beside it, 2026-11-29; 75 cells in 520 × 696
for the first, 19 in 260 × 348 for the others): with the reach 1.7 ms a cell by PyMaxflow and 3.3 ms by SciPy,
twice as long. Without, 0.18 s and 4.0 s, 23 times as long; as the paper 0.029 s and 0.95 s, 33 times. All
identical.

    python -m benchmarks.solvers
"""

import argparse
from collections.abc import Sequence

from benchmarks.cuts import SIGMA, cuts_of, draw, least, tell
from experiments.commit import commit
from wsis_jax.cli.measure import surroundings
from wsis_jax.core import Config, preset
from wsis_jax.cutting import fuse_nearest


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", nargs=2, type=int, default=(260, 348), help="height and width (260 348)")
    parser.add_argument("--cells", type=int, default=19, help="in the image (19)")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args(argv)
    shape, about = tuple(arguments.side), {**surroundings(), "commit": commit()}
    for name, reach in (("default", Config().cut.reach * SIGMA), ("default", None), ("paper", None)):
        scene = draw(shape, arguments.cells, preset(name).cut)
        seconds, labels = {}, {}
        for solver in ("pymaxflow", "scipy"):
            seconds[solver], cuts = least(lambda s=scene, r=reach, by=solver: cuts_of(s, r, by), arguments.rounds)
            labels[solver] = fuse_nearest(cuts, scene.peaks, shape)
        line = {f"{solver}_seconds_per_cell": taken / arguments.cells for solver, taken in seconds.items()}
        line["scipy_over_pymaxflow"] = seconds["scipy"] / seconds["pymaxflow"]
        line["identical"] = bool((labels["scipy"] == labels["pymaxflow"]).all())
        tell({"preset": name, "reach": reach, "side": shape, "cells": arguments.cells, **line, **about})


if __name__ == "__main__":
    main()
