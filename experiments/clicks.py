"""Question: how many clicks are enough, and does it pay to start from a trained model?

    python -m experiments.clicks DATA/phase_nuclei_hela --from phase-contrast
    python -m experiments.clicks DATA/fluo_u2os --from nuclei --folds 3 --counts --steps 300 900

DATA is a folder with `images/`, `points/` and `masks/`, files paired by name. Every second image (`--folds 2`) is
held out. From the clicks of the first 1, 2, 4 and of all other images, in the order of names, a model learns from
nothing, and another one from the weights of `--from`, a model of the package or a run folder. Both are scored on
the held-out images, the second one after 50, 100 and 150 steps. The last table says after how many of these it is
as good as the first one at its end, by the F-measure within half the median diameter.

Each number of steps is a training that makes the one before it longer, as `--resume` does: its learning rate has
gone down to 0 before, and goes on as that of a training of so many steps. A share of the images is kept apart to
choose the weights (`train.validation`), but of fewer than five none. Seconds are those on the wall. The row of 0
steps is the model as it is, told the diameter that the clicks of all training images tell.

It is no fair test to start from a model that learned the very images, or others of the kind. `phase-contrast`
learned fibroblasts, large fibroblasts and yeast; `nuclei` U2OS, small nuclei and mouse tissue; `histology` H&E and
stained tissue, in colours; `generalist` all of these and dark nuclei: two of three images of each. With
`--folds 3` the held-out images are those that none has seen, but the kind they have. HeLa cells are new to all of
them. For a model that has not seen a kind, train one without it (`experiments.generalist --kinds`), and start from
its run folder.

What was trained is used again, and an interrupted training goes on; figures go to `scores.json` in the work
folder.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from experiments.crossval import figures, half_diameter, ours
from experiments.every_kind import cases_of
from experiments.folds import Case, TimedModel, copied, experiment_config, split, trained_in_time
from experiments.fronts import front
from experiments.generalist import diameter
from wsis_jax.core import Config, preset, write_text
from wsis_jax.network import Model, load_config, model_folder
from wsis_jax.training import going_on

_COUNTS = (1, 2, 4)


class Row(NamedTuple):
    """One model on the held-out images."""

    images: int  # that it learned from
    clicks: int
    start: str | None  # the model that it started from
    steps: int
    seconds: float
    scores: dict[str, float]


def main(argv: Sequence[str] | None = None) -> None:
    """Trains and scores, and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs/clicks"), metavar="DIR")
    parser.add_argument("--from", dest="start", metavar="MODEL", help="to start from: a run folder, or a name")
    parser.add_argument("--folds", type=int, default=2, metavar="N", help="every N-th image is held out (2)")
    parser.add_argument(
        "--counts", type=int, nargs="*", default=_COUNTS, metavar="N", help="images (1 2 4), besides all of them"
    )
    parser.add_argument("--steps", type=int, nargs="+", default=[300], metavar="N", help="from nothing (300)")
    parser.add_argument(
        "--warm-steps", type=int, nargs="+", default=[50, 100, 150], metavar="N", help="from MODEL (50 100 150)"
    )
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="for training")
    arguments = parser.parse_args(argv)
    start, channel = arguments.start, None
    if start is not None:
        channel = load_config(model_folder(start)).image.channels or "grey"
    cases = cases_of(arguments.data, channel=channel)
    training, test = split(cases, 0, arguments.folds)
    half, work = half_diameter(cases), arguments.work / arguments.data.name / f"1of{arguments.folds}"

    def scored(model: Model, folder: Path) -> dict[str, float]:
        return figures([front(model, case, folder) for case in test], ours, half)

    rows = []
    if start is not None:
        model, folder = copied(start, work)
        model = model.using(model.config.for_diameter(diameter(training)))
        rows.append(Row(0, 0, start, 0, 0.0, scored(model, folder)))
    for taught, begun, one in _trained(training, work, arguments):
        model = one.model.using(preset("default", one.model.config))
        clicks, steps = sum(len(case.points) for case in taught), model.config.train.steps
        rows.append(Row(len(taught), clicks, begun, steps, one.seconds, scored(model, one.folder)))
        write_text(work / "scores.json", json.dumps([row._asdict() for row in rows], indent=2) + "\n")
    print(f"\n{len(test)} images held out: {', '.join(case.name for case in test)}")
    _print(rows, half)
    if start is not None:
        _print_reached(rows)


def _trained(
    training: list[Case], work: Path, arguments: argparse.Namespace
) -> Iterator[tuple[list[Case], str | None, TimedModel]]:
    """Yields each model, trained anew or from its folder, with what it learned from, and what it started from."""
    start, ways = arguments.start, [(None, "cold", experiment_config(arguments.set), arguments.steps)]
    if start is not None:
        ways.append((start, Path(start).name, going_on(start).override(arguments.set), arguments.warm_steps))
    for count in sorted({min(count, len(training)) for count in (*arguments.counts, len(training))}):
        for begun, name, config, steps in ways:
            for one in _at_steps(training[:count], work / f"{count}-images" / name, config, steps):
                yield training[:count], begun, one


def _at_steps(cases: list[Case], folder: Path, config: Config, steps: list[int]) -> list[TimedModel]:
    """Returns the models of a training after some numbers of steps."""
    models: list[TimedModel] = []
    for count in sorted(set(steps)):
        own = folder.with_name(f"{folder.name}-{count}")
        after = models[-1].folder if models else None
        models.append(trained_in_time(cases, own, config.override([f"train.steps={count}"]), after=after))
    return models


def _print(rows: list[Row], half: float) -> None:
    """Prints a row for each model, as Markdown."""
    print(f"\n| images | clicks | starts from | steps | seconds | F ({half:.0f} px) | mDice | AP50 |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        shown = " | ".join(f"{row.scores[key]:.3f}" for key in ("f_half", "mdice", "ap50"))
        begun = "nothing" if row.start is None else row.start
        print(f"| {row.images} | {row.clicks} | {begun} | {row.steps} | {row.seconds:.0f} | {shown} |")


def _print_reached(rows: list[Row]) -> None:
    """Prints for each number of images when the model from `--from` is as good as the one from nothing."""
    print(
        "\n| images | from nothing: F, steps, seconds | as good from the model: F, steps, seconds |\n|---|---|---|"
    )
    for count in sorted({row.images for row in rows if row.images}):
        own = [row for row in rows if row.images == count or not row.images]
        cold = max((row for row in own if row.start is None), key=lambda row: row.steps)
        warm = [row for row in own if row.start is not None]
        reached = [row for row in warm if row.scores["f_half"] >= cold.scores["f_half"]]
        best = reached[0] if reached else max(warm, key=lambda row: row.scores["f_half"])
        there = "" if reached else "not reached: "
        print(f"| {count} | {_in_short(cold)} | {there}{_in_short(best)} |")


def _in_short(row: Row) -> str:
    return f"{row.scores['f_half']:.3f}, {row.steps}, {row.seconds:.0f}"


if __name__ == "__main__":
    main()
