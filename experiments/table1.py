"""Question: how does the method compare with those of the paper's Table 1, each tuned with the same care?

    python -m experiments.table1 DATA/phase_fibroblast --work runs/crossval

DATA is a folder with `images/`, `points/` and `masks/`, files paired by name; the models are those of
`experiments.crossval`, trained if they are not there. In every fold each method, ours included, learns what it
can from the training images, is tuned with the same number of evaluations on the same four annotated crops of
them, and segments the test images as published and as tuned. A cell is found if the centroid of its outline is
within half the median diameter of its click. Label images, chosen settings and the log of each search are kept
in the folders of the folds: an interrupted run goes on after the last method that was done. The tables go to
`table1.md`, the figures to `table1.json` and a contact sheet to `table1.png`. At the end all methods are timed
on the first test image, one after another, after a first turn that compiles; what takes our peaks or
contributions includes the time for them.
"""

import argparse
import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.progress import Progress

from experiments.baselines.common import forget
from experiments.commit import commit
from experiments.comparison import Outcome, contact_sheet, figures, matched, tables
from experiments.crossval import half_diameter
from experiments.folds import experiment_config, read_cases, split, trained
from experiments.rivals import METHODS
from experiments.tuning import Match, Settings, tune
from experiments.views import Fold, View, open_fold, view
from wsis_jax.cli.measure import surroundings
from wsis_jax.core import preset, write_text
from wsis_jax.io import read_labels, write_labels, write_picture
from wsis_jax.segmentation import detect, propagate

_STATES = ("untuned", "tuned")


class Task(NamedTuple):
    """One method in one fold."""

    name: str
    fold: Fold
    test: list[View]
    distance: float  # within which a cell is found, in pixels

    @property
    def folder(self) -> Path:
        """Where its label images and its log are kept."""
        return self.fold.folder / "table1" / re.sub(r"\W+", "_", self.name).strip("_")


def main(argv: Sequence[str] | None = None) -> None:
    """Tunes, segments and scores, and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs/crossval"), metavar="DIR")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--budget", type=int, default=60, help="evaluations for each method in each fold")
    parser.add_argument(
        "--methods",
        nargs="+",
        choices=list(METHODS),
        default=list(METHODS),
        metavar="METHOD",
        help="rows to print",
    )
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="for training")
    arguments = parser.parse_args(argv)
    cases, work = read_cases(arguments.data), arguments.work / arguments.data.name
    distance = half_diameter(cases)
    tasks: list[Task] = []
    outcomes: dict[str, list[Outcome]] = {name: [] for name in arguments.methods}
    for number in range(arguments.folds):
        training, test = split(cases, number, arguments.folds)
        run = trained(training, work / f"fold{number}", experiment_config(arguments.set))
        run = run.using(preset("default", run.config))
        fold = open_fold(run, work / f"fold{number}", training)
        views = [view(run, case, fold.folder, fold.scale) for case in test]
        tasks += [Task(name, fold, views, distance) for name in arguments.methods]
    for task in tasks:
        if task.name == arguments.methods[0]:
            forget()  # methods share stages within a fold, but no fold sees images of just this scale again
        outcomes[task.name] += run_task(task, arguments.budget)
    rows = figures(outcomes, distance)
    for task in tasks[: len(rows)]:  # those of the first fold
        rows[task.name]["seconds"] = timed(task)
    about = {"where": {**surroundings(), "commit": commit()}, "budget": arguments.budget, "distance": distance}
    text = tables(rows, distance)
    print("\n" + text)
    write_text(work / "table1.md", text + "\n")
    write_text(work / "table1.json", json.dumps({**about, "methods": rows}, indent=2) + "\n")
    write_picture(work / "table1.png", contact_sheet(outcomes, side=round(10 * distance)))


def run_task(task: Task, budget: int) -> list[Outcome]:
    """Returns the outcome of a method for each test image of a fold, computed now or kept from before."""
    file = task.folder / "log.json"
    if not (file.exists() and json.loads(file.read_text())["budget"] == budget):
        started = time.perf_counter()
        log: dict[str, Any] = {"budget": budget, **_tune_and_segment(task, budget)}
        write_text(file, json.dumps(log, indent=2) + "\n")
        found = {key: f"{log['tuning'][key]:.3f}" for key in ("untuned", "tuned", "held_out")}
        print(f"{task.folder}: {found}, {time.perf_counter() - started:.0f} s", flush=True)
    files = [{state: task.folder / state / f"{one.front.case.name}.tif" for state in _STATES} for one in task.test]
    return [
        Outcome(one, {state: read_labels(path) for state, path in paths.items()})
        for one, paths in zip(task.test, files, strict=True)
    ]


def _tune_and_segment(task: Task, budget: int) -> dict[str, Any]:
    """Tunes a method and writes its label images, as published and as tuned; returns the log."""
    method = METHODS[task.name]
    segment = method.begin(task.fold)

    def evaluate(settings: Settings) -> list[Match]:
        return [matched(segment(crop, settings), crop.front.case, task.distance) for crop in task.fold.crops]

    with Progress(transient=True) as progress:
        steps = progress.add_task(f"{task.fold.folder.name}, {task.name}", total=budget + 2 * len(task.test))
        tuned = tune(evaluate, method.space, budget=budget, on_trial=lambda *_: progress.advance(steps))
        for state, settings in zip(_STATES, ({}, tuned.settings), strict=True):
            (task.folder / state).mkdir(parents=True, exist_ok=True)
            for one in task.test:
                write_labels(task.folder / state / f"{one.front.case.name}.tif", segment(one, settings))
                progress.advance(steps)
    return {"chosen": tuned.settings, "tuning": tuned.log}


def timed(task: Task) -> float:
    """Returns the seconds that a method, as tuned in a fold, takes for its first test image."""
    method, settings = METHODS[task.name], json.loads((task.folder / "log.json").read_text())["chosen"]
    segment, run, one = method.begin(task.fold), task.fold.run, task.test[0]
    for _ in range(2):  # the first time compiles
        forget()
        started = time.perf_counter()
        if method.front != "nothing":  # which is kept in files otherwise
            detection = detect(run, one.front.case.image)
            if method.front == "winner map":
                propagate(run, detection, config=run.config)
        segment(one, settings)
        seconds = time.perf_counter() - started
    return seconds


if __name__ == "__main__":
    main()
