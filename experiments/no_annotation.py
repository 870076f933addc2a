"""Question: is a model that learns from nuclei, with no person in the loop, as good as one taught by clicks?

    python -m experiments.no_annotation DATA/phase_nuclei_hela --set train.steps=600
    python -m experiments.no_annotation DATA/phase_nuclei_macrophage --set train.steps=400

DATA is a folder with `images/`, `nuclei/` (the stains of the same fields), `points/` (clicks) and `masks/`,
files paired by name; of fewer images than folds each is cut into as many strips as there are folds, side by
side. Every fold trains one model on the clicks of the other folds and one on the nuclei that `find_nuclei` sees
in their stains with no parameter given, and tests both on the phase contrast alone. Clicks and masks only score
the second one. The first table is of the nuclei themselves, against the clicks. Both models begin with the same
weights. A training takes twenty core minutes; what was trained is used again, that of `crossval` as well.

    python -m experiments.no_annotation DATA/phase_nuclei_hela --set train.steps=600 --hide 0.2

leaves out a fifth of the nuclei, drawn at random, as if the stain had not marked them; --tolerant leaves places
that look like cells and have no nucleus out of the loss.
"""

import argparse
import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from experiments.crossval import figures, half_diameter, ours
from experiments.folds import Case, experiment_config, read_cases, split, trained
from experiments.fronts import Front, front
from wsis_jax.core import preset, write_text
from wsis_jax.io import IMAGE_SUFFIXES, list_files, read_image, stem
from wsis_jax.metrics import match_points
from wsis_jax.points import find_nuclei

_DISTANCE = 20.0  # pixels within which a nucleus is where the click is

_Points = Float64[np.ndarray, "_ 2"]


class Stained(NamedTuple):
    """A case, and the points that its stain gives."""

    case: Case
    nuclei: _Points

    def taught_by_nuclei(self) -> Case:
        """Returns the case as a training without annotation sees it."""
        return self.case._replace(points=self.nuclei)


def main(argv: Sequence[str] | None = None) -> None:
    """Trains and scores both models in all folds, and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs/crossval"), metavar="DIR")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--hide", type=float, default=0.0, metavar="SHARE", help="of the nuclei, left out")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="for training")
    parser.add_argument("--tolerant", action="store_true", help="leave cells without a nucleus out of the loss")
    arguments = parser.parse_args(argv)
    whole, work = read_stains(arguments.data), arguments.work / arguments.data.name
    _print_nuclei([(case, find_nuclei(stain).points) for case, stain in whole])
    if len(whole) < arguments.folds:
        whole = [strip for case, stain in whole for strip in strips(case, stain, arguments.folds)]
    stained = [Stained(case, find_nuclei(stain).points) for case, stain in whole]
    taught = [one._replace(nuclei=hide(one.nuclei, arguments.hide)) for one in stained]
    learnt = "tolerant" if arguments.tolerant else "nuclei"
    learnt += f"-{arguments.hide:g}-hidden-" if arguments.hide else ""
    teachers = {
        "clicks": ("fold", [one.case for one in taught]),
        learnt: (learnt, [one.taught_by_nuclei() for one in taught]),
    }
    half = half_diameter([one.case for one in stained])
    rows = {}
    for name, (prefix, lessons) in teachers.items():
        fronts: list[Front] = []
        for fold in range(arguments.folds):
            training, _ = split(lessons, fold, arguments.folds)
            _, test = split([one.case for one in stained], fold, arguments.folds)
            folder = work / f"{prefix}{fold}"
            tolerant = arguments.tolerant and name == learnt
            run = trained(training, folder, experiment_config(arguments.set), tolerant=tolerant)
            run = run.using(preset("default", run.config))
            fronts += [front(run, case, folder) for case in test]
        rows[name] = figures(fronts, ours, half)
    _print_models(rows, half)
    write_text(work / f"no_annotation_{learnt}.json", json.dumps(rows, indent=2) + "\n")


def read_stains(data: Path) -> list[tuple[Case, np.ndarray]]:
    """Reads a data folder with the stain of each image."""
    stains = {stem(path): read_image(path)[0] for path in list_files(data / "nuclei", suffixes=IMAGE_SUFFIXES)}
    return [(case, stains[case.name]) for case in read_cases(data)]


def strips(case: Case, stain: np.ndarray, count: int) -> list[tuple[Case, np.ndarray]]:
    """Cuts a case and its stain into strips, side by side; a cell that is cut goes where most of it lies."""
    edges = np.linspace(0, case.image.shape[1], count + 1).round().astype(int)
    labels = np.arange(case.masks.max() + 1)
    sizes = np.stack(
        [np.bincount(case.masks[:, left:right].ravel(), minlength=len(labels)) for left, right in pairwise(edges)]
    )
    cut = []
    for index, (left, right) in enumerate(pairwise(edges)):
        own = np.where(sizes.argmax(0) == index, labels, 0)
        inside = (case.points[:, 1] >= left - 0.5) & (case.points[:, 1] < right - 0.5)
        columns = np.s_[:, left:right]
        part = Case(
            f"{case.name}-{index}", case.image[columns], case.points[inside] - [0, left], own[case.masks[columns]]
        )
        cut.append((part, stain[columns]))
    return cut


def hide(points: _Points, share: float) -> _Points:
    """Returns the points without a share of them, drawn at random but always the same."""
    order = np.random.default_rng(0).permutation(len(points))
    return points[np.sort(order[round(share * len(points)) :])]


def _print_nuclei(found: list[tuple[Case, _Points]]) -> None:
    """Prints how the nuclei agree with the clicks, as Markdown."""
    print(f"\n| nuclei of | clicks | nuclei | F ({_DISTANCE:.0f} px) | precision | recall |")
    print("|---|---|---|---|---|---|")
    rows = {}
    for case, nuclei in found:
        hits = match_points(nuclei, case.points, distance=_DISTANCE).true_positives
        rows[case.name] = np.array([hits, len(case.points), len(nuclei)])
    for name, (hits, clicks, count) in (rows | {"all": np.sum(list(rows.values()), axis=0)}).items():
        figures_of = 2 * hits / (clicks + count), hits / count, hits / clicks
        print(f"| {name} | {clicks} | {count} | " + " | ".join(f"{figure:.3f}" for figure in figures_of) + " |")


def _print_models(rows: dict[str, dict[str, float]], half: float) -> None:
    """Prints a row for each teacher, as Markdown."""
    print(f"\n| taught by | F ({half:.0f} px) | F (10 px) | mDice | one-to-one Dice | AP50 | PQ |")
    print("|---|---|---|---|---|---|---|")
    for name, row in rows.items():
        keys = ("f_half", "f_10", "mdice", "dice_one_to_one", "ap50", "pq")
        print(f"| {name} | " + " | ".join(f"{row[key]:.3f}" for key in keys) + " |")


if __name__ == "__main__":
    main()
