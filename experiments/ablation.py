"""Question: which settings of the cut give the best outlines on real images, of several kinds with one default?

    python -m experiments.ablation DATA/phase_fibroblast DATA/phase_nuclei_hela ... --work runs/crossval

Each DATA is a folder with `images/`, `points/` and `masks/`, files paired by name, and has a trained first fold in
the work folder (`python -m experiments.crossval` trains it). The images are those that this fold was trained on:
choose by these, and report others. Rows are changes of the default; `--rows` gives others, `--true-peaks` cuts at
the clicks, so that detection makes no difference. A row takes about a second an image on two cores, and what
precedes the cuts is kept.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.folds import experiment_config, read_cases, split, trained
from experiments.fronts import Front, cut_front, front, score
from wsis_jax.core import Config, preset

# Keys of these sections change what precedes the cuts.
_FRONT = ("detect.", "contribution.")
_ROWS = (
    "",
    "contribution.rule=gradient",
    "contribution.start=likelihood",
    "contribution.start_at=logit",
    "detect.radius=1.5",
    "detect.radius=2",
    "detect.radius=3.2",
    "cut.seed_scale=max cut.seed_threshold=0.03 cut.claim_weight=0",
    "cut.seed_threshold=0.07 cut.claim_weight=0",
    "cut.seed_threshold=0.03",
    "cut.seed_threshold=0.1",
    "cut.claim_weight=1",
    "cut.claim_weight=4",
    "cut.claim_full=0.07",
    "cut.claim_full=0.2",
    "cut.data_weight=0",
    "cut.data_weight=1.5",
    "cut.background_weight=0",
    "cut.background_weight=0.6",
    "cut.rim=bright",
    "cut.rim=dark",
    "cut.edge_falloff=0 cut.edge_weight=1",
    "cut.edge_falloff=7",
    "cut.edge_falloff=11",
    "cut.edge_weight=30",
    "cut.edge_weight=120",
    "cut.reach=4",
    "cut.reach=8",
    "cut.overlap=sequential",
    "cut.smooth=0",
    "cut.smooth=0.6",
    "preset=paper",
    "preset=reference",
)


def main(argv: Sequence[str] | None = None) -> None:
    """Prints a row per set of settings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--work", type=Path, default=Path("runs/crossval"), metavar="DIR")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--images", type=int, default=4, help="at most so many of each set")
    parser.add_argument("--rows", nargs="+", default=_ROWS, metavar="SETTINGS", help="divided by spaces")
    parser.add_argument("--true-peaks", action="store_true", help="at the clicks, not at what was found")
    arguments = parser.parse_args(argv)
    names = [data.name for data in arguments.data]
    print("| settings | " + " | ".join(names) + " | mean |\n|---|" + "---|" * (len(names) + 1))
    for row in arguments.rows:
        cells = [_score(arguments, data, row.split()) for data in arguments.data]
        mean = sum(mdice for mdice, _ in cells) / len(cells), sum(ap for _, ap in cells) / len(cells)
        figures = " | ".join(f"{mdice:.3f} / {ap50:.3f}" for mdice, ap50 in [*cells, mean])
        print(f"| {row or 'default'} | {figures} |", flush=True)


def _score(arguments: argparse.Namespace, data: Path, settings: list[str]) -> tuple[float, float]:
    """Returns mDice and AP50 of one set of images with changes of the default, or with another preset."""
    named = [words.removeprefix("preset=") for words in settings if words.startswith("preset=")]
    changes = [words for words in settings if not words.startswith("preset=")]
    early = [words for words in changes if words.startswith(_FRONT)]
    fronts, config = training_fronts(arguments, data, early, name=named[0] if named else "default")
    config = config.override(changes)
    scores = score(fronts, lambda one: cut_front(one, config), distance=20.0)
    return scores.mdice, scores.ap50


def training_fronts(
    arguments: argparse.Namespace, data: Path, changes: list[str], *, name: Any = "default"
) -> tuple[list[Front], Config]:
    """Returns the fronts of the training images of the first fold, and a preset with its model."""
    training = split(read_cases(data), 0, arguments.folds)[0]
    folder = arguments.work / data.name / "fold0"
    run = trained(training, folder, experiment_config([]))
    base = preset(name, run.config)
    peaks = "true" if arguments.true_peaks else "found"
    chosen = training[:: max(len(training) // arguments.images, 1)][: arguments.images]
    run = run.using(base)
    return [front(run, case, folder, changes, peaks=peaks) for case in chosen], base


if __name__ == "__main__":
    main()
