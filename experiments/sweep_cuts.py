"""Question: which settings of the cut give the best outlines on real images?

Detects the cells and propagates them once per image, then cuts and scores them once per row of settings.

    python -m experiments.sweep_cuts RUN DATA --images set1 --try '' 'cut.reach=2.8' 'cut.edge_step=0 cut.reach=4'

RUN is the folder of a trained model, DATA one with `images/`, `points/` and `masks/`. Each row starts from the
default settings of the cut. Choose on images that the model was trained on, and report others. Half a minute to
three minutes per image on two cores for the propagation, then a second per row.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from wsis_jax.checkpoint import load_run
from wsis_jax.config import Config
from wsis_jax.guided import WinnerMap
from wsis_jax.imageio import read_image, read_labels
from wsis_jax.metrics import match_labels, match_points, pool_scores
from wsis_jax.points import read_points
from wsis_jax.presets import preset
from wsis_jax.scaling import resize_labels, scale_points
from wsis_jax.segmentation import Detection, cut_and_fuse, detect, propagate


class Front(NamedTuple):
    """One image on its way to the cuts, and the truth about it."""

    detection: Detection
    winner: WinnerMap
    masks: Int[np.ndarray, "height width"]
    points: Float[np.ndarray, "cells 2"]


def main() -> None:
    """Prints a row per set of settings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", nargs="+", required=True, metavar="NAME")
    parser.add_argument(
        "--try", nargs="+", default=[""], dest="rows", metavar="SETTINGS", help="divided by spaces"
    )
    arguments = parser.parse_args()
    run = load_run(arguments.run)
    base = preset("default", run.config)
    fronts = []
    for name in arguments.images:
        image = read_image(next((arguments.data / "images").glob(f"{name}.*")))[0]
        detection = detect(run, image, config=base)
        winner = propagate(run, detection, config=base)
        masks = read_labels(next((arguments.data / "masks").glob(f"{name}.*")))
        points = read_points(next((arguments.data / "points").glob(f"{name}.*")))[0]
        fronts.append(Front(detection, winner, masks, points))
    print("| settings | F-measure (20 px) | mDice | one-to-one Dice | AP50 |\n|---|---|---|---|---|")
    for row in arguments.rows:
        print(f"| {row or 'default'} | {score(fronts, base.override(row.split()))} |", flush=True)


def score(fronts: list[Front], config: Config) -> str:
    """Returns the scores of one set of settings as cells of a table."""
    assert config.image.scale is not None
    labels = [
        resize_labels(cut_and_fuse(front.detection, front.winner, config=config), front.masks.shape)
        for front in fronts
    ]
    peaks = [scale_points(front.detection.peaks, 1 / config.image.scale) for front in fronts]
    scores = pool_scores(
        [match_labels(own, front.masks) for own, front in zip(labels, fronts, strict=True)],
        [match_points(own, front.points, distance=20.0) for own, front in zip(peaks, fronts, strict=True)],
    )
    figures = scores.f_measure, scores.mdice, scores.dice_one_to_one, scores.ap50
    return " | ".join(f"{figure:.3f}" for figure in figures)


if __name__ == "__main__":
    main()
