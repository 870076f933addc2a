"""Question: how much faster are the cuts of all cells than a cut of the whole image for each? Are they the same?

A drawn scene, seeds as discs around its peaks; the default settings of the cut, once with the default reach and
once without (`reach=None`), and those of the paper, which have none. All cells are timed as `cut_cells` cuts them;
a cut of the whole image is timed on --whole-cells cells, in as many threads, and extrapolated. Of these cells the
label images must be identical. Then, with the default reach: the shares of building graphs, of solving them and
of the rest, on one thread; and the time per cell in square images of the --growth sides, with the same number of
cells. Prints one JSON line for each, with the machine, the versions and the commit. Times are the least of
--rounds; cuts of the whole image have one round.

Prediction: with a reach, a cell costs what a window of 45² pixels does, some 10⁻³ of the image, so at least 30
times less; building, from lists of edges, takes less than solving; no dependence on the image. Without, cells
whose surroundings decide little are cut in the whole image, and sharing its flow makes up for it.

Outcome (--rounds 2, two cores of an Intel Xeon with other work beside it, commit a8795bd, σ of 7 pixels then): 2.1
ms a cell, 199 times less than the 0.42 s of a cut of the whole image; the window was one of 87², and is 63² now.
Without a reach 0.060 s, 154 times less than 9.3 s; no window proved 210 of 300 cells. As the paper 21 ms, 165
times less than 3.5 s, with 44 such cells. All identical. Building takes 11 % of the time, solving 64 %, seeds and
components the rest. From 512² to 2048²: 1.07 times.

    python -m benchmarks.cuts
"""

import argparse
import json
import os
import resource
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
from scipy import ndimage

from experiments.commit import commit
from wsis_jax.cli.measure import surroundings
from wsis_jax.core import Config, CutConfig, fill_weights, preset
from wsis_jax.cutting import (
    CellMask,
    Costs,
    TermInput,
    cell_cuts,
    component_of,
    cut_cells,
    data_term,
    distance_to,
    edge_weights,
    fuse_nearest,
    graphcut,
    pymaxflow_solver,
)
from wsis_jax.cutting.whole_costs import WholeCosts
from wsis_jax.synthetic import draw_scene

SIGMA = 5.0  # of the likelihood map, in pixels of the network: images are scaled to that
_DIAMETER = 20.0  # of a cell, in the same pixels
_RADIUS = 4.0  # of the seeds


class Scene(NamedTuple):
    """What cuts are made of."""

    costs: Costs
    peaks: np.ndarray


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", nargs=2, type=int, default=(1040, 1392), help="height and width (1040 1392)")
    parser.add_argument("--cells", type=int, default=300, help="in the image (300)")
    parser.add_argument("--whole-cells", type=int, default=4, help="that cuts of the whole image are timed on (4)")
    parser.add_argument("--growth", nargs="+", type=int, default=[512, 2048], help="sides of square images")
    parser.add_argument("--growth-cells", type=int, default=80, help="in each of them (80)")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args(argv)
    about = {**surroundings(), "commit": commit()}
    reach = Config().cut.reach * SIGMA
    for name, distance in (("default", reach), ("default", None), ("paper", None)):
        scene = draw(tuple(arguments.side), arguments.cells, preset(name).cut)
        line = against_whole_image(scene, distance, arguments.whole_cells, arguments.rounds)
        tell({"preset": name, "side": arguments.side, **line, **about})
    scene = draw(tuple(arguments.side), arguments.cells, Config().cut)
    tell({"side": arguments.side, "reach": reach, "threads": 1, **shares(scene, reach), **about})
    squares = [draw((side, side), arguments.growth_cells, Config().cut) for side in arguments.growth]
    seconds = [least(lambda square=square: cuts_of(square, reach), arguments.rounds)[0] for square in squares]
    for side, taken in zip(arguments.growth, seconds, strict=True):
        growth = {"seconds_per_cell": taken / arguments.growth_cells, "over_first": taken / seconds[0]}
        tell({"side": [side, side], "reach": reach, "cells": arguments.growth_cells, **growth, **about})


def draw(shape: tuple[int, int], cells: int, chosen: CutConfig) -> Scene:
    """Returns the costs that settings make of a scene, which is one of phase contrast."""
    chosen = fill_weights(chosen, "inverse" if chosen.data == "auto" else chosen.data)
    image, points, _, _ = draw_scene(0, shape=shape, cells=cells, diameter=_DIAMETER)
    peaks = np.round(points).astype(int)
    seeds = np.zeros(shape, np.int32)
    rows, columns = np.indices(shape)
    for cell, (row, column) in enumerate(peaks):
        near = slice(max(row - 9, 0), row + 10), slice(max(column - 9, 0), column + 10)
        seeds[near][np.hypot(rows[near] - row, columns[near] - column) <= _RADIUS] = cell + 1
    right, down = edge_weights(
        image, weight=chosen.edge_weight, falloff=chosen.edge_falloff, rim="bright", pixel=chosen.edge_pixel
    )
    preference = data_term(chosen.data)(TermInput(image, np.median(image)), chosen)
    return Scene(Costs(preference, right, down, seeds), peaks)


def cuts_of(scene: Scene, reach: float | None, solver: str = "pymaxflow") -> list[CellMask]:
    """Returns what is measured."""
    settings = [f"cut.reach={json.dumps(reach)}", f"cut.solver={solver}"]
    assignments = ["image.scale=1", "likelihood.sigma=1", *settings]
    return cut_cells(scene.costs, scene.peaks, config=Config().override(assignments))


def cut_whole_image(scene: Scene, cell: int, reach: float | None) -> CellMask:
    """Returns the cut of a cell as it is without windows."""
    preference, right, down, seeds = scene.costs[:4]
    peak, own = scene.peaks[cell], seeds == cell + 1
    background = (seeds > 0) & ~own
    if reach is not None:
        background |= distance_to(peak, seeds.shape) > reach
    own[tuple(peak)], background[tuple(peak)] = True, False
    mask = component_of(graphcut.cut(preference, right, down, own, background & ~own), peak)
    everything = slice(0, seeds.shape[0]), slice(0, seeds.shape[1])
    return CellMask(everything, ndimage.binary_fill_holes(mask))


def against_whole_image(scene: Scene, reach: float | None, whole_cells: int, rounds: int) -> dict[str, Any]:
    """Returns seconds per cell of both, and whether their label images are the same."""
    cells, some = len(scene.peaks), np.linspace(0, len(scene.peaks) - 1, whole_cells).astype(int)
    with patch.object(cell_cuts, "_cut_in_image", wraps=cell_cuts._cut_in_image) as in_image:
        seconds, cuts = least(lambda: cuts_of(scene, reach), rounds)
    start = time.perf_counter()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        whole = list(pool.map(lambda cell: cut_whole_image(scene, cell, reach), some))
    whole_seconds = time.perf_counter() - start
    shape = scene.costs.seeds.shape
    ours, theirs = (fuse_nearest(masks, scene.peaks[some], shape) for masks in ([cuts[i] for i in some], whole))
    return {
        "reach": reach,
        "cells": cells,
        "cells_that_no_window_proved": in_image.call_count // rounds,
        "seconds": seconds,
        "seconds_per_cell": seconds / cells,
        "whole_image_seconds_per_cell": whole_seconds / whole_cells,
        "whole_image_cells_timed": whole_cells,
        "ratio_extrapolated": whole_seconds / whole_cells * cells / seconds,
        "identical": bool((ours == theirs).all()),
        "peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def shares(scene: Scene, reach: float) -> dict[str, float]:
    """Returns the shares of building, of solving (with reading the mask) and of the rest, on one thread."""
    spent = {"round": 0.0, "build": 0.0, "cut": 0.0}

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            start = time.perf_counter()
            result = function(*arguments, **options)
            spent[name] += time.perf_counter() - start
            return result

        return call

    cuts_of(scene, reach)
    with (
        patch.object(os, "cpu_count", lambda: 1),
        patch.object(Costs, "whole", timed("round", Costs.whole)),
        patch.object(WholeCosts, "graph_of", timed("round", WholeCosts.graph_of)),
        patch.object(pymaxflow_solver, "_build", timed("build", pymaxflow_solver._build)),
        patch.object(cell_cuts, "least_cut", timed("cut", graphcut.least_cut)),
    ):
        seconds, _ = least(lambda: cuts_of(scene, reach), 1)
    build, solve = spent["round"] + spent["build"], spent["cut"] - spent["build"]
    return {
        "seconds_per_cell": seconds / len(scene.peaks),
        "building": build / seconds,
        "solving": solve / seconds,
        "rest": 1 - (spent["round"] + spent["cut"]) / seconds,
    }


def least(run: Callable[[], Any], rounds: int) -> tuple[float, Any]:
    """Returns the least seconds of several rounds, and the result of the last."""
    seconds, result = [], None
    for _ in range(rounds):
        start = time.perf_counter()
        result = run()
        seconds.append(time.perf_counter() - start)
    return min(seconds), result


def tell(line: dict[str, Any]) -> None:
    """Prints a line of JSON, with numbers rounded to four digits."""
    print(json.dumps({k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in line.items()}), flush=True)


if __name__ == "__main__":
    main()
