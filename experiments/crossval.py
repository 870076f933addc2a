"""Question: from clicks alone, how good are cells and outlines on images that no training saw?

    python -m experiments.crossval DATA/phase_fibroblast --work runs/crossval

DATA is a folder with `images/`, `points/` and `masks/`, files paired by name. Every fold trains on the clicks of
the other folds' images and is scored on its own; then all cells are pooled. Masks score and nothing else, but for
the disc, the rival that gets the radius that suits the test masks best. The last row is a ceiling: the method at
the true peaks. F (border) forgives what is wrong or missed nearer to the border than half a diameter, F (inside)
asks whether a cell holds a peak, wherever in it. A training takes twenty core minutes; what was trained is used
again, and an interrupted one goes on. Figures go to `scores.json` in the work folder, and a picture of every test
image to `pictures/`.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int32

from experiments.baselines.common import Baseline
from experiments.baselines.simple import (
    MarkerWatershed,
    OtsuThreshold,
    RandomWalker,
    VoronoiDisc,
    VoronoiLikelihood,
)
from experiments.folds import Case, experiment_config, read_cases, split, trained
from experiments.fronts import Front, cut_front, front, match_front_points, score
from wsis_jax.core import grey, preset, resize_labels, write_text
from wsis_jax.io import write_picture
from wsis_jax.metrics import Scores
from wsis_jax.output import overlay

# × sigma: the radii among which the disc may choose.
_RADII = np.arange(0.6, 4, 0.2)

Segment = Callable[[Front], Int32[np.ndarray, "height width"]]


def main(argv: Sequence[str] | None = None) -> None:
    """Trains, segments and scores all folds, and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs/crossval"), metavar="DIR")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="for training")
    arguments = parser.parse_args(argv)
    cases, work = read_cases(arguments.data), arguments.work / arguments.data.name
    found: list[list[Front]] = []
    true: list[list[Front]] = []
    for fold in range(arguments.folds):
        training, test = split(cases, fold, arguments.folds)
        run = trained(training, work / f"fold{fold}", experiment_config(arguments.set))
        run = run.using(preset("default", run.config))
        folder = work / f"fold{fold}"
        found.append([front(run, case, folder) for case in test])
        true.append([front(run, case, folder, peaks="true") for case in test])
    half = half_diameter(cases)
    pooled, at_true = ([one for fronts in folds_of for one in fronts] for folds_of in (found, true))
    folds = [figures(fronts, ours, half) for fronts in [*found, pooled]]
    _print_folds([", ".join(one.case.name for one in fronts) for fronts in found], folds, half)
    methods = rivals(pooled, half) | {
        "wsis_jax": folds[-1],
        "wsis_jax at the true peaks": figures(at_true, ours, half),
    }
    _print_methods(methods)
    scores = {"half_diameter": half, "folds": folds, "methods": methods}
    write_text(work / "scores.json", json.dumps(scores, indent=2) + "\n")
    for one in pooled:
        picture = overlay(one.case.image, ours(one), one.points())
        (work / "pictures").mkdir(exist_ok=True)
        write_picture(work / "pictures" / f"{one.case.name}.png", picture)


def ours(one: Front) -> Int32[np.ndarray, "height width"]:
    """The method with its own settings."""
    return cut_front(one, one.config)


def half_diameter(cases: list[Case]) -> float:
    """Returns half the median diameter of the cells, as that of discs of their area, in pixels."""
    sizes = np.concatenate([np.bincount(case.masks.ravel())[1:] for case in cases])
    return float(np.sqrt(np.median(sizes[sizes > 0]) / np.pi))


def figures(fronts: list[Front], segment: Segment, half: float) -> dict[str, float]:
    """Returns the figures of one row; points are found within half a diameter, and within 10 pixels."""
    scores: Scores = score(fronts, segment, distance=half)
    matches = [match_front_points(one, 10.0) for one in fronts]
    hits, wrong = sum(m.true_positives for m in matches), sum(m.false_positives for m in matches)
    missed = sum(m.false_negatives for m in matches)
    inside = [_points_inside(one) for one in fronts]
    away = [_away_from_border(one, half) for one in fronts]
    return {
        "f_half": scores.f_measure,
        "f_10": 2 * hits / max(2 * hits + wrong + missed, 1),
        "f_border": 2 * sum(h for h, _ in away) / max(sum(2 * h + n for h, n in away), 1),
        "f_inside": 2 * sum(h for h, _, _ in inside) / max(sum(f + c for _, f, c in inside), 1),
        "mdice": scores.mdice,
        "dice_one_to_one": scores.dice_one_to_one,
        "ap50": scores.ap50,
        "pq": scores.pq,
        "cells": scores.cells,
    }


def _away_from_border(one: Front, half: float) -> tuple[int, int]:
    """Returns the hits, and what is wrong or missed farther than half a diameter from the border of the image.

    Whoever drew the masks left out many cells that the border cuts; the authors' evaluation has such a rule, too.
    """
    match, side = match_front_points(one, half), np.array(one.case.masks.shape) - 1
    lonely = np.concatenate(
        [np.delete(one.points(), match.pairs[:, 0], axis=0), np.delete(one.case.points, match.pairs[:, 1], axis=0)]
    )
    return match.true_positives, int(((lonely >= half) & (lonely <= side - half)).all(axis=1).sum())


def _points_inside(one: Front) -> tuple[int, int, int]:
    """Returns how many true cells hold a peak, and the numbers of peaks and of true cells.

    It asks whether a cell was found, not whether the peak is at its centroid, which in a long cell is far away.
    """
    shape = one.case.masks.shape
    places = np.clip(np.round(one.points()).astype(int), 0, np.array(shape) - 1)
    hit = np.unique(one.case.masks[tuple(places.T)])
    return int(np.count_nonzero(hit)), len(places), len(np.unique(one.case.masks)) - 1


def rivals(fronts: list[Front], half: float) -> dict[str, dict[str, float]]:
    """Returns the figures of the simple rivals, at the same peaks."""

    def in_network_pixels(segment: Segment) -> Segment:
        return lambda one: resize_labels(segment(one), one.case.masks.shape)

    def disc(radius: float) -> Segment:
        def segment(one: Front) -> Int32[np.ndarray, "height width"]:
            pixels = radius * one.config.network_sigma
            return VoronoiDisc(pixels).segment(grey(one.detection.image), one.detection.peaks)

        return in_network_pixels(segment)

    discs = {radius: figures(fronts, disc(radius), half) for radius in _RADII}
    best = max(discs, key=lambda radius: discs[radius]["mdice"])
    likelihood = in_network_pixels(
        lambda one: VoronoiLikelihood().segment(one.detection.likelihood, one.detection.peaks)
    )
    simple = {
        "marker watershed": lambda one: MarkerWatershed(),
        "random walker": lambda one: RandomWalker(
            inner=one.config.network_sigma, outer=6 * one.config.network_sigma
        ),
        "Otsu's threshold in Voronoi cells": lambda one: OtsuThreshold(),
        "Otsu's threshold, marker watershed": lambda one: OtsuThreshold(division="watershed"),
    }

    def by(make: Callable[[Front], Baseline]) -> Segment:
        return in_network_pixels(lambda one: make(one).segment(grey(one.detection.image), one.detection.peaks))

    return {
        f"disc of radius {best:.1f} σ in Voronoi cells": discs[best],
        "likelihood > 0.3 in Voronoi cells": figures(fronts, likelihood, half),
        **{name: figures(fronts, by(make), half) for name, make in simple.items()},
    }


def _print_folds(names: list[str], folds: list[dict[str, float]], half: float) -> None:
    """Prints a row for each fold and one for all, as Markdown."""
    found = f"F ({half:.0f} px) | F (10 px) | F (border) | F (inside)"
    print(
        f"\n| test images | {found} | mDice | one-to-one Dice | AP50 | PQ |\n|---|---|---|---|---|---|---|---|---|"
    )
    keys = ("f_half", "f_10", "f_border", "f_inside", "mdice", "dice_one_to_one", "ap50", "pq")
    for name, row in zip([*names, "all"], folds, strict=True):
        print(f"| {name} | " + " | ".join(f"{row[key]:.3f}" for key in keys) + " |")


def _print_methods(methods: dict[str, dict[str, float]]) -> None:
    """Prints a row for each method, as Markdown."""
    print("\n| method | mDice | one-to-one Dice | AP50 | PQ |\n|---|---|---|---|---|")
    for name, row in methods.items():
        keys = ("mdice", "dice_one_to_one", "ap50", "pq")
        print(f"| {name} | " + " | ".join(f"{row[key]:.3f}" for key in keys) + " |")


if __name__ == "__main__":
    main()
