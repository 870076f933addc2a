"""Question: from clicks alone, how good are outlines on real images, and do they beat simple rivals?

Trains, segments and evaluates through the command line of the package, then scores two rivals on the same peaks.

    python -m experiments.clicks DATA --test set34 set35 --work runs/fibroblast

DATA is a folder with `images/`, `points/` and `masks/`, files paired by name; images that are not named by
`--test` are trained on. Masks are used for scoring alone. An interrupted run goes on where it stopped, and a
trained model is used again. Results are in README.md beside this file, with time, machine and commit.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

from experiments.baselines.simple import MarkerWatershed, VoronoiDisc
from wsis_jax.cli import main as wsis
from wsis_jax.files import list_files
from wsis_jax.imageio import IMAGE_SUFFIXES, normalize_image, read_image, read_labels
from wsis_jax.metrics import Scores, match_labels, match_points, pool_scores
from wsis_jax.points import POINT_SUFFIXES, read_points

# The rival with a free parameter gets the value that suits the test masks best: it could not do better.
_RADII = np.arange(6, 60, 2)


def main() -> None:
    """Runs the experiment and prints its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--test", nargs="+", required=True, metavar="NAME", help="images to score")
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="model and results are kept here")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="for training")
    arguments = parser.parse_args()
    images = list_files(arguments.data / "images", suffixes=IMAGE_SUFFIXES)
    held_out = [path for path in images if path.stem in arguments.test]
    run, results = arguments.work / "run", arguments.work / "results"

    _train(arguments, [path for path in images if path not in held_out], run)
    shutil.rmtree(results, ignore_errors=True)
    _call("segment", run, *held_out, "--out", results, "--preset", "default")
    scores = {}
    for distance in (10, 20):
        file = arguments.work / f"scores_{distance}.json"
        masks, points = arguments.data / "masks", arguments.data / "points"
        _call("evaluate", results, masks, "--points", points, "--distance", distance, "--json", file)
        scores[distance] = json.loads(file.read_text())["pooled"]
    rivals = _score_rivals(arguments.data, held_out, results)
    _print_table(scores, rivals)
    (arguments.work / "table.json").write_text(json.dumps({"ours": scores, "rivals": rivals}, indent=2) + "\n")


def _train(arguments: argparse.Namespace, images: list[Path], run: Path) -> None:
    """Trains a model, goes on with one, or leaves a finished one as it is."""
    settings = [part for assignment in arguments.set for part in ("--set", assignment)]
    points = list_files(arguments.data / "points", suffixes=POINT_SUFFIXES)
    points = [path for path in points if path.stem in {image.stem for image in images}]
    resume = ["--resume"] if (run / "config.json").exists() else []
    _call("train", *images, "--points", *points, "--run", run, *resume, *settings)


def _call(*words: Any) -> None:
    """Calls the command line and stops where it fails."""
    words = tuple(map(str, words))
    print("$ wsis", *words, flush=True)
    if code := wsis(words):
        sys.exit(code)


def _score_rivals(data: Path, images: list[Path], results: Path) -> dict[str, dict[str, Any]]:
    """Scores the rivals on the peaks that the method found."""
    loaded = []
    for path in images:
        image = normalize_image(read_image(path)[0], method="percentile", low=1.0, high=99.8)
        found = read_points(results / f"{path.stem}_points.csv")[0]
        peaks = np.clip(np.round(found).astype(int), 0, np.array(image.shape) - 1)
        truth = read_points(next((data / "points").glob(f"{path.stem}.*")))[0]
        loaded.append((image, peaks, read_labels(data / "masks" / path.name), truth))

    def score(rival: VoronoiDisc | MarkerWatershed) -> Scores:
        return pool_scores(
            [match_labels(rival.segment(image, peaks), masks) for image, peaks, masks, _ in loaded],
            [match_points(peaks.astype(float), truth, distance=10.0) for _, peaks, _, truth in loaded],
        )

    discs = {radius: score(VoronoiDisc(float(radius))) for radius in _RADII}
    best = max(discs, key=lambda radius: discs[radius].mdice)
    return {
        f"disc of radius {best} in Voronoi cells": discs[best].to_dict(),
        "marker watershed": score(MarkerWatershed()).to_dict(),
    }


def _print_table(ours: dict[int, dict[str, Any]], rivals: dict[str, dict[str, Any]]) -> None:
    """Prints the results as Markdown."""
    near, far = ours[10]["f_measure"], ours[20]["f_measure"]
    print(f"\nDetection: F-measure {near:.3f} within 10 px, {far:.3f} within 20 px")
    print("\n| method | mDice | one-to-one Dice | AP50 | PQ |\n|---|---|---|---|---|")
    for name, row in {"wsis_jax": ours[10], **rivals}.items():
        print(
            f"| {name} | " + " | ".join(f"{row[k]:.3f}" for k in ("mdice", "dice_one_to_one", "ap50", "pq")) + " |"
        )


if __name__ == "__main__":
    main()
