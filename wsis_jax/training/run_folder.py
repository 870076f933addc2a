"""Run folders: `config.json`, the best model's weights, the state of an unfinished training, `metrics.jsonl`.

Numbers are saved as numbers (`weights.py`) and settings as JSON; nothing is pickled.

    run/
      config.json       every setting, with what was chosen from the data filled in
      metrics.jsonl     one line per validation
      training.json     what it learned from, and with which versions
      weights/<step>/   variables of the best model so far
      state/<step>/     everything a training needs to go on from there
"""

import json
import re
from pathlib import Path
from typing import Any

from wsis_jax.core import (
    Config,
    UserError,
    append_text,
    by_first,
    check_inside,
    read_json,
    read_text,
    remove_leftovers,
    write_text,
)
from wsis_jax.network import GO_ON, Variables, keep, latest, load, remove_halves, save


@by_first
def save_config(folder: Path, config: Config) -> None:
    """Writes `config.json`."""
    write_text(folder / "config.json", json.dumps(config.to_dict(), indent=2) + "\n")


@by_first
def save_facts(folder: Path, facts: dict[str, Any]) -> None:
    """Writes `training.json`: what there is to know of a training beside its settings."""
    write_text(folder / "training.json", json.dumps(facts, indent=2) + "\n")


def load_facts(folder: Path) -> dict[str, Any]:
    """Reads `training.json`; empty where a run folder has none, such as one of an earlier version.

    Raises:
        UserError: if it is no JSON of that kind.
    """
    file = folder / "training.json"
    facts = read_json(file, remedy="delete it to do without it") if file.is_file() else {}
    if not isinstance(facts, dict):
        raise UserError(
            f"{file}: not readable as JSON (it holds a {type(facts).__name__}); delete it to do without it"
        )
    return facts


def saved_step(folder: Path) -> int | None:
    """Returns the step that a resumed training would begin after, or None where no state was saved."""
    return latest(folder / "state")


def save_weights(folder: Path, step: int, variables: Variables) -> None:
    """Saves the variables of the best model so far, beside earlier ones; see `keep_weights`."""
    save(folder / "weights", step, dict(variables))


@by_first
def keep_weights(folder: Path, step: int) -> None:
    """Removes the weights of other steps than that of the best model, once a saved state tells of it."""
    if step == 0 or (folder / "weights" / str(step)).is_dir():
        keep(folder / "weights", step)


def save_state(folder: Path, step: int, state: Any) -> None:
    """Saves the state of a training in place of earlier ones."""
    save(folder / "state", step, state)
    keep(folder / "state", step)


def load_state(folder: Path, template: Any) -> Any | None:
    """Returns the latest saved state in the form of `template`, or None where there is none."""
    step = latest(folder / "state")
    return None if step is None else load(folder / "state" / str(step), template)


@by_first
def append_metrics(folder: Path, metrics: dict[str, Any]) -> None:
    """Adds one line to `metrics.jsonl`."""
    append_text(check_inside(folder, folder / "metrics.jsonl"), json.dumps(metrics) + "\n", then=GO_ON)


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Returns the lines of `metrics.jsonl`; a line that a crash cut short is left out.

    Raises:
        UserError: if another line is damaged, or the file is no text.
    """
    file = folder / "metrics.jsonl"
    if not file.is_file():
        return []
    try:
        lines = [json.loads(line) for line in read_text(file).split("\n")[:-1]]
        if not all(isinstance(line, dict) and type(line["step"]) is int for line in lines):
            raise TypeError("a line is not of a step")
        return lines
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UserError(f"{file}: is damaged ({error}); delete it to do without it") from error


@by_first
def rewind_metrics(folder: Path, step: int) -> None:
    """Drops the lines of `metrics.jsonl` after `step`, which a resumed training will write again."""
    kept = [json.dumps(line) + "\n" for line in read_metrics(folder) if line["step"] <= step]
    write_text(folder / "metrics.jsonl", "".join(kept))


def check_folder(folder: Path) -> None:
    """Raises UserError for a folder that nothing should be written to.

    The library that stores weights takes a pair of brackets in a path for a pattern, and could not read them
    again. Links would have us write to, or delete, what is not ours.
    """
    for name in ("weights", "state", "samples", "tensorboard", "metrics.jsonl"):
        check_inside(folder, folder / name)
    if re.search(r"\[.*\]", str(folder.resolve())):
        raise UserError(f"{folder}: weights cannot be kept below a folder with [brackets] in its name; rename it")


def is_begun(folder: Path) -> bool:
    """Tells whether a training has saved anything but its settings in a folder."""
    return (folder / "weights").exists() or (folder / "state").exists()


@by_first
def tidy(folder: Path) -> None:
    """Removes what a training that was killed left half-written."""
    remove_leftovers(folder)
    for kind in ("weights", "state"):
        remove_halves(folder / kind)
