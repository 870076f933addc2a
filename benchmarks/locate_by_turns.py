"""Question: how long does the network's half of a segmentation take, against an earlier commit, on this device?

It is `locate`: from the pixels of an image to its winner map. A drawn scene of --side pixels is located by the
package of --before, which git takes out of its history, and by this one, by turns, each in a process of its own:
--repeats times a turn after one that compiles, of which the least counts, --turns turns. It prints the seconds of
the processor and of the clock, their ratios in each turn, whether peaks, regions and owners are the same, and the
greatest differences of likelihood and contribution. On a machine that does other work, too, compare the ratios of
processor seconds.

Prediction: on a CPU one program from image to winner map takes as long as the two that it replaces, since passes
of the network are nearly all of it; or a little less, since the host looked for the nearest peak of every pixel.

    python -m benchmarks.locate_by_turns --before 14abce4
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

_HERE = Path(__file__).resolve()
_ROOMS = ("core", "cutting", "io", "network", "points", "segmentation", "output", "metrics.py", "synthetic.py")


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", default="HEAD", metavar="COMMIT", help="to compare with (HEAD)")
    parser.add_argument("--model", default="phase-contrast", help="run folder, or a model of the package")
    parser.add_argument("--side", nargs=2, type=int, default=(1022, 1024), help="height and width (1022 1024)")
    parser.add_argument("--cells", type=int, default=300, help="in the image (300)")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3, help="in a turn (3)")
    options = parser.parse_args(argv)
    from benchmarks.cuts_by_turns import take_out

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw(folder / "image.npy", options.model, tuple(options.side), options.cells)
        trees = {"before": take_out(options.before, folder / "before", _ROOMS), "now": _HERE.parent.parent}
        turns = [
            {which: locate_apart(tree, folder, which, options) for which, tree in trees.items()}
            for _ in range(options.turns)
        ]
        found = [np.load(folder / f"{which}.npz") for which in trees]
        tell(turns, options.before, *found)


def draw(file: Path, model: str, shape: tuple[int, int], cells: int) -> None:
    """Saves the image of a scene with cells of the size that a model learned."""
    from wsis_jax.network import load_config, model_folder
    from wsis_jax.synthetic import draw_scene

    diameter = load_config(model_folder(model)).cell_diameter
    np.save(file, draw_scene(0, shape=shape, cells=cells, diameter=diameter).image)


def locate_apart(tree: Path, folder: Path, which: str, options: argparse.Namespace) -> dict[str, float]:
    """Returns the seconds that the package of a tree takes, in a process of its own, and saves what it finds."""
    words = [
        "locate",
        str(folder / "image.npy"),
        str(folder / f"{which}.npz"),
        options.model,
        str(options.repeats),
    ]
    cache = {"JAX_COMPILATION_CACHE_DIR": str(folder / f"cache_{which}")}
    told = subprocess.run(
        [sys.executable, str(_HERE), *words],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, **cache, "PYTHONPATH": str(tree)},
    )
    return json.loads(told.stdout)


def locate(image_file: str, found_file: str, name: str, repeats: str) -> None:
    """Locates the cells of an image with the package that Python finds; saves them and prints the seconds."""
    from wsis_jax.core import use_compilation_cache
    from wsis_jax.network import load_model
    from wsis_jax.segmentation.pipeline import locate

    use_compilation_cache()
    model, images, seconds = load_model(name), np.load(image_file)[None], []
    for _ in range(1 + int(repeats)):
        start = time.process_time(), time.perf_counter()
        (located,) = locate(model, images, config=model.config)
        seconds.append((time.process_time() - start[0], time.perf_counter() - start[1]))
    detection, winner = located.detection, located.winner
    maps = {"likelihood": detection.likelihood, "value": winner.value, "owner": winner.owner}
    np.savez(found_file, peaks=detection.peaks, regions=detection.regions, **maps)
    processor, clock = (min(column) for column in zip(*seconds[1:], strict=True))
    print(json.dumps({"processor": processor, "clock": clock, "first_processor": seconds[0][0]}))


def tell(turns: list[dict[str, dict[str, float]]], before: str, theirs: Any, ours: Any) -> None:
    """Prints a line of JSON."""
    from experiments.commit import commit
    from wsis_jax.cli.measure import surroundings

    line: dict[str, Any] = {"cells": len(ours["peaks"]), "before": before}
    for name in ("peaks", "regions", "owner"):
        line[f"{name}_identical"] = np.array_equal(theirs[name], ours[name])
    for name in ("likelihood", "value"):
        line[f"{name}_greatest"] = float(theirs[name].max())
        line[f"{name}_differs_by"] = float(np.abs(theirs[name] - ours[name]).max())
    for kind in ("processor", "clock", "first_processor"):
        for which in ("before", "now"):
            line[f"{kind}_s_{which}"] = round(statistics.median(turn[which][kind] for turn in turns), 3)
        line[f"{kind}_ratios"] = [round(turn["before"][kind] / turn["now"][kind], 3) for turn in turns]
    print(json.dumps({**line, **surroundings(), "commit": commit()}), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["locate"]:
        locate(*sys.argv[2:])
    else:
        main()
