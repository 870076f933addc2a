"""Question: how long does a user wait for `wsis segment`, against an earlier commit? Are the labels the same?

A drawn image of --side pixels, and a folder of --images such, are segmented by the command of the package of
--before, which git takes out of its history, and by that of this one, by turns: --turns turns after one that fills
the cache of compiled programs. It prints the seconds on the clock from the start of the process to its end for one
image, and for each further image of the folder, with the median of their ratios; and the stages of the one image
now, as --verbose prints them. The model is one of now for both.

Prediction: models that were used before are ready without orbax and without a program that prepares them (0.5 s of
import and loading); cuts one after the other take half as long, since threads only waited for each other; at its
end Python looks at no object (0.4 s). One image: 1.3 times faster.

    python -m benchmarks.segment_by_turns --before 6cd7d1d
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from benchmarks.cuts_by_turns import take_out
from experiments.commit import commit
from wsis_jax.cli.measure import surroundings
from wsis_jax.network import load_config, model_folder
from wsis_jax.synthetic import draw_scene

_ROOT = Path(__file__).resolve().parent.parent


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", default="HEAD", metavar="COMMIT", help="to compare with (HEAD)")
    parser.add_argument("--model", default="phase-contrast", help="run folder, or a model of the package")
    parser.add_argument("--side", nargs=2, type=int, default=(1022, 1024), help="height and width (1022 1024)")
    parser.add_argument("--cells", type=int, default=250, help="in each image (250)")
    parser.add_argument("--images", type=int, default=5, help="in the folder (5)")
    parser.add_argument("--turns", type=int, default=3, help="0: only the one that fills the cache (3)")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw(folder, options)
        trees = {"before": take_out(options.before, folder / "before", rooms=("",)), "now": _ROOT}
        model = model_folder(options.model).resolve()
        turns = [
            {which: segment(tree, folder, which, model) for which, tree in trees.items()}
            for _ in range(options.turns + 1)
        ]
        files = sorted((folder / "out_now").glob("*_labels.tif"))
        labels = [(file.read_bytes(), (folder / "out_before" / file.name).read_bytes()) for file in files]
        same = bool(labels) and all(now == before for now, before in labels)
    tell(turns[1:] or turns, options, identical=same)


def draw(folder: Path, options: argparse.Namespace) -> None:
    """Draws an image, and a folder of images, with cells of the size that the model learned."""
    diameter = load_config(model_folder(options.model)).cell_diameter
    (folder / "many").mkdir()
    for seed in range(options.images):
        image = draw_scene(seed, shape=tuple(options.side), cells=options.cells, diameter=diameter).image
        pixels = np.round(image * 65535).astype(np.uint16)
        tifffile.imwrite(folder / "many" / f"image_{seed}.tif", pixels)


def segment(tree: Path, folder: Path, which: str, model: Path) -> dict[str, Any]:
    """Returns the seconds that the command of a tree takes for one image and for all, and the stages of one."""
    seconds: dict[str, Any] = {}
    for kind, images in (("one", folder / "many" / "image_0.tif"), ("all", folder / "many")):
        out = folder / f"out_{which}"
        shutil.rmtree(out, ignore_errors=True)
        cache = {"JAX_COMPILATION_CACHE_DIR": str(folder / f"cache_{which}"), "PYTHONPATH": str(tree)}
        cache["PYTHONDONTWRITEBYTECODE"] = ""  # as users have it: the package is compiled once
        words = ["segment", str(model), str(images), "--out", str(out), "--verbose"]
        start = time.perf_counter()
        # Elsewhere than in this checkout, in which Python would find its package first.
        elsewhere = {"cwd": folder, "env": {**os.environ, **cache}}
        command = [sys.executable, "-m", "wsis_jax", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=True, **elsewhere)
        seconds[kind] = time.perf_counter() - start
        if kind == "one":
            stages = re.findall(r"^  (\S.*?) +([0-9.]+) s +\S+%$", done.stderr, re.MULTILINE)
            seconds["stages"] = {stage: float(taken) for stage, taken in stages}
    return seconds


def tell(turns: list[dict[str, dict[str, Any]]], options: argparse.Namespace, *, identical: bool) -> None:
    """Prints a line of JSON."""
    line: dict[str, Any] = {"before": options.before, "images": options.images, "identical": identical}

    def further(seconds: dict[str, Any]) -> float:
        return (seconds["all"] - seconds["one"]) / max(options.images - 1, 1)

    for name, value in (("one_image", lambda seconds: seconds["one"]), ("further_image", further)):
        for which in ("before", "now"):
            line[f"{name}_s_{which}"] = [round(value(turn[which]), 2) for turn in turns]
        line[f"{name}_ratio"] = round(
            statistics.median(value(turn["before"]) / value(turn["now"]) for turn in turns), 3
        )
    stages = [turn["now"]["stages"] for turn in turns]
    line["stages_s_now"] = {name: statistics.median(one.get(name, 0.0) for one in stages) for name in stages[0]}
    print(json.dumps({**line, **surroundings(), "commit": commit()}), flush=True)


if __name__ == "__main__":
    main()
