"""Question: how much faster are the cuts of all cells than at an earlier commit? Are the label images the same?

A dense drawn scene, cells of 20 pixels, with seeds and claims of contributions that fall with the distance from
each peak, and the default settings of the cut. The package of --before, which git takes out of its history, and
this one cut the same costs by turns, each in a process of its own: --repeats times a turn, of which the least
counts, --turns turns. It prints the seconds of the processor and of the clock for a cell, and the median of their
ratios over the turns. On a machine that does other work, too, compare the ratio of processor seconds.

Prediction: pixels that are decided leave the graph, which saves a third of the solver's time; discs that all cells
share, and holes and components found in boxes, save half of the rest: 1.5 times.

    python -m benchmarks.cuts_by_turns --before 4b2fd58
"""

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

_HERE = Path(__file__).resolve()
_SIGMA = 5.0  # of the likelihood map, in pixels
_SETTINGS = ["image.scale=1", f"likelihood.sigma={_SIGMA}"]


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", default="HEAD", metavar="COMMIT", help="to compare with (HEAD)")
    parser.add_argument("--side", nargs=2, type=int, default=(520, 696), help="height and width (520 696)")
    parser.add_argument("--cells", type=int, default=300, help="in the image (300)")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=4, help="of all cuts in a turn (4)")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        count = draw(folder / "costs.npz", tuple(options.side), options.cells)
        trees = {"before": take_out(options.before, folder / "before"), "now": _HERE.parent.parent}
        turns = [
            {which: cut_apart(tree, folder, which, options.repeats) for which, tree in trees.items()}
            for _ in range(options.turns)
        ]
        labels = [np.load(folder / f"{which}.npy") for which in trees]
    tell(turns, count, options.before, identical=bool((labels[0] == labels[1]).all()))


def draw(file: Path, shape: tuple[int, int], cells: int) -> int:
    """Saves the costs of a scene and its peaks; returns how many cells there are."""
    from wsis_jax.core import Config, WinnerMap, nearest_peak
    from wsis_jax.cutting import costs_of
    from wsis_jax.synthetic import draw_scene

    scene = draw_scene(0, shape=shape, cells=cells, diameter=4 * _SIGMA)
    peaks = np.round(scene.points).astype(int)
    index, distance = nearest_peak(peaks, shape)
    value = np.exp(-((distance / _SIGMA) ** 2) / 2).astype(np.float32)
    winner = WinnerMap(value, np.where(value > 0.01, index + 1, 0).astype(np.int32), np.zeros(shape, np.float32))
    costs = costs_of(scene.image, peaks, winner, config=Config().override(_SETTINGS))
    assert costs.claims is not None
    maps = {name: getattr(costs, name) for name in ("preference", "right", "down", "seeds")}
    np.savez(file, peaks=peaks, owner=costs.claims.owner, weight=costs.claims.weight, unit=costs.unit, **maps)
    return len(peaks)


def take_out(commit: str, folder: Path, rooms: Sequence[str] = ("core", "cutting")) -> Path:
    """Returns a folder with rooms of the package as they were at a commit, and its single files."""
    paths = [f"wsis_jax/{room}" for room in rooms]
    singles = ["wsis_jax/__init__.py", "wsis_jax/__init__.pyi"]
    command = ["git", "-C", str(_HERE.parent.parent), "archive", commit, *paths, *singles]
    packed = subprocess.run(command, capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def cut_apart(tree: Path, folder: Path, which: str, repeats: int) -> dict[str, float]:
    """Returns the seconds that the package of a tree takes for all cuts, in a process of its own."""
    words = ["cut", str(folder / "costs.npz"), str(folder / f"{which}.npy"), str(repeats)]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    command = [sys.executable, str(_HERE), *words]
    told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return json.loads(told.stdout)


def cut(costs_file: str, labels_file: str, repeats: str) -> None:
    """Cuts the cells of a scene with the package that Python finds; saves the labels and prints the seconds."""
    from wsis_jax.core import Config
    from wsis_jax.cutting.cell_cuts import cut_cells, fuse_nearest
    from wsis_jax.cutting.terms import Claims, Costs

    given, config, seconds = np.load(costs_file), Config().override(_SETTINGS), []
    maps = (given[name] for name in ("preference", "right", "down", "seeds"))
    unit = {"unit": float(given["unit"])} if "unit" in Costs._fields else {}  # an earlier package rounds nothing
    costs = Costs(*maps, Claims(given["owner"], given["weight"]), **unit)
    for _ in range(int(repeats)):
        start = time.process_time(), time.perf_counter()
        cells = cut_cells(costs, given["peaks"], config=config)
        seconds.append((time.process_time() - start[0], time.perf_counter() - start[1]))
    np.save(labels_file, fuse_nearest(cells, given["peaks"], given["seeds"].shape))
    processor, clock = (min(column) for column in zip(*seconds, strict=True))
    print(json.dumps({"processor": processor, "clock": clock}))


def tell(turns: list[dict[str, dict[str, float]]], cells: int, before: str, *, identical: bool) -> None:
    """Prints a line of JSON."""
    from experiments.commit import commit
    from wsis_jax.cli.measure import surroundings

    line: dict[str, Any] = {"cells": cells, "before": before, "identical": identical}
    for kind in ("processor", "clock"):
        for which in ("before", "now"):
            seconds = statistics.median(turn[which][kind] for turn in turns)
            line[f"{kind}_ms_per_cell_{which}"] = round(1000 * seconds / cells, 4)
        ratios = [turn["before"][kind] / turn["now"][kind] for turn in turns]
        line[f"{kind}_ratios"] = [round(ratio, 3) for ratio in ratios]
        line[f"{kind}_ratio"] = round(statistics.median(ratios), 3)
    print(json.dumps({**line, **surroundings(), "commit": commit()}), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["cut"]:
        cut(*sys.argv[2:])
    else:
        main()
