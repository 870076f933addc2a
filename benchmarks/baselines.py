"""Question: how long do the compared methods take for an image of 1022 × 1024 pixels?

A drawn scene of 80 cells of 40 pixels, published settings; each method once to compile and once to be timed, with
nothing remembered. Prints one JSON line for each, with the machine, the versions and the commit.

Prediction: Yin's restoration is 1,000 steps at most of one FFT convolution of a megapixel, some 0.1 s each, but
settles in a tenth of them: 10 s. One maximum flow over a megapixel with eight neighbours takes 2 to 5 s, and 21
levels of fog, each a labelling and a watershed, 3 s. All below the minute that was set.

Outcome (two cores with two other measurements beside it): Yin 3.7 s, and 14.6 s with the published solver; Bensch
2.0 s; FogBank 1.5 s with the tool's settings, 2.7 s with those for such cells, where fog falls by single
percentiles.

    python -m benchmarks.baselines
"""

import argparse
import json
import time
from collections.abc import Sequence

import numpy as np

from experiments.baselines.bensch import Bensch
from experiments.baselines.common import Baseline, forget
from experiments.baselines.fogbank import FogBank
from experiments.baselines.simple import MarkerWatershed, RandomWalker, VoronoiDisc
from experiments.baselines.yin import Yin
from experiments.commit import commit
from wsis_jax.cli.measure import surroundings
from wsis_jax.synthetic import draw_scene


def main(argv: Sequence[str] | None = None) -> None:
    """Times the methods one after another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", nargs=2, type=int, default=(1022, 1024), help="height and width (1022 1024)")
    parser.add_argument("--cells", type=int, default=80, help="in the image (80)")
    options = parser.parse_args(argv)
    shape = tuple(options.side)
    scene, example = (draw_scene(seed, shape=shape, cells=options.cells, diameter=40.0) for seed in range(2))
    methods: dict[str, Baseline] = {
        "Bensch": Bensch(examples=((example.image, example.labels),)),
        "Chalfoun (FogBank)": FogBank(),
        "Chalfoun (FogBank), settings for cells of 800 pixels": FogBank(
            greedy=-9, min_cell=100, min_hole=650, fog_on="background", direction="max2min", bin=1, min_peak=200
        ),
        "Yin": Yin(),
        "Yin, published solver": Yin(solver="multiplicative"),
        "disc in Voronoi cells": VoronoiDisc(),
        "marker watershed": MarkerWatershed(),
        "random walker": RandomWalker(),
    }
    about = {**surroundings(), "commit": commit()}
    for name, method in methods.items():
        seconds = []
        for _ in range(2):
            forget()
            started = time.perf_counter()
            labels = method.segment(scene.image, scene.points)
            seconds.append(time.perf_counter() - started)
        line = {"method": name, "seconds": round(seconds[1], 2), "seconds_first": round(seconds[0], 2)}
        print(json.dumps({**line, "cells": int(np.max(labels)), **about}), flush=True)


if __name__ == "__main__":
    main()
