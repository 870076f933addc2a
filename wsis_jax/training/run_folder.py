"""The run folder of a training: what is saved as it goes on, and read to resume it or to report on it.

Arrays are saved as numbers (`network/weights.py`) and settings as JSON; nothing is pickled. The trained model in a
run folder is read by `load_model`.

    run/
      config.json       every setting, with what was chosen from the data filled in
      metrics.jsonl     one line per validation
      training.json     facts about what it learned from, and with which versions
      clicks.json       the images that it learned from, by name and digest, and their points; see `learned.py`
      weights/<step>/   variables of the best model so far
      state/<step>/     everything a training needs to go on from there
      samples/          pictures of held-out images, or else of training images, at some steps
"""

import dataclasses
import json
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wsis_jax.core import (
    Config,
    UserError,
    append_text,
    by_first,
    check_inside,
    nearest_distances,
    read_json,
    read_text,
    remove_leftovers,
    versions,
    write_text,
)
from wsis_jax.network import RESUME, Variables, keep, latest, load, load_config, remove_unfinished, save
from wsis_jax.training.learned import LearnedImage, differences, read_clicks, save_clicks
from wsis_jax.training.patches import Sample

# The folder


def prepare(folder: Path, config: Config, learned: Sequence[LearnedImage], *, resume: bool) -> None:
    """Makes the run folder of a training, or checks that the training in it can be resumed.

    A resumed training learns from the same images and points, by the same settings; but `train.steps` and
    `train.patience` may be more than they were, and are written to `config.json` then. There is a warning if the
    folder, as one of an earlier version, does not tell what the training learned from.

    Raises:
        UserError: if weights cannot be kept there; if it holds a training already or, with `resume`, one of other
            images, points or settings, each of which is named.
        MissingFile: with `resume`, if it is not a run folder.
    """
    check_folder(folder)
    _remove_unfinished(folder)
    if not resume:
        if is_begun(folder):
            raise UserError(
                f"{folder}: holds a training already; give --resume to go on with it, or another folder"
            )
        save_config(folder, config)
        save_clicks(folder, learned)
        return
    begun = load_config(folder)
    if begun.image.diameter is None:  # begun before there was this setting
        begun = begun.override([f"image.diameter={config.image.diameter or 'null'}"])
    before = read_clicks(folder)
    told = _other_settings(begun, config) + ([] if before is None else differences(before, learned))
    if told:
        raise UserError(
            f"{folder}: was started with other images, points or settings ({'; '.join(told)}); resume it with the "
            f"same, or start another training from it (--from {folder})"
        )
    if before is None and is_begun(folder):
        warnings.warn(
            f"{folder}: does not tell the images and points that it was started with, since an earlier version "
            "began it; it goes on with those of now",
            stacklevel=4,
        )
    elif before is None:
        save_clicks(folder, learned)
    if begun.train != config.train:
        save_config(folder, dataclasses.replace(begun, train=config.train))


_LONGER = ("train.steps", "train.patience")  # settings of which a resumed training may have more
_OF_USE = ("contribution", "cut")  # settings for the use of a trained model have no part in its training


def _other_settings(begun: Config, now: Config) -> list[str]:
    """Returns a phrase for each setting in which a training cannot be resumed."""
    before, after = begun.to_dict(), now.to_dict()
    told = []
    for section in before.keys() - set(_OF_USE):
        for key, old in before[section].items():
            name, new = f"{section}.{key}", after[section][key]
            if new != old and not (name in _LONGER and new > old):
                told.append(f"{name}: {json.dumps(old)}, {json.dumps(new)} now")
    return sorted(told)


def check_folder(folder: Path) -> None:
    """Raises UserError for a folder that nothing should be written to.

    orbax takes a pair of brackets in a path for a pattern, and could not read the weights again. Through links,
    files outside would be written or deleted.
    """
    for name in ("weights", "state", "samples", "tensorboard", "metrics.jsonl"):
        check_inside(folder, folder / name)
    if re.search(r"\[.*\]", str(folder.resolve())):
        raise UserError(f"{folder}: weights cannot be kept below a folder with [brackets] in its name; rename it")


def is_begun(folder: Path) -> bool:
    """Tells whether a training has saved anything but its settings in a folder."""
    return (folder / "weights").exists() or (folder / "state").exists()


@by_first
def _remove_unfinished(folder: Path) -> None:
    """Removes what a training that was killed left half-written."""
    remove_leftovers(folder)
    for kind in ("weights", "state"):
        remove_unfinished(folder / kind)


def sample_file(folder: Path, step: int) -> Path:
    """Returns the file of the sample pictures of a step."""
    return folder / "samples" / f"step_{step:06d}.png"


# Settings and facts


@by_first
def save_config(folder: Path, config: Config) -> None:
    """Writes `config.json`."""
    write_text(folder / "config.json", json.dumps(config.to_dict(), indent=2) + "\n")


@by_first
def save_facts(folder: Path, samples: Sequence[Sample], held_out: Sequence[int], config: Config) -> None:
    """Writes `training.json`: what a training learns from, and with which versions.

    `images` holds of each its name, its height and width in pixels of the network, the number of its points,
    their `spacing` (median distance to the nearest other one, in pixels of the image; None below two points), and
    whether it is held out: its index is in `held_out`. Where it was asked and seen how cells look, it has
    `separation`, `contrast` and `rim`, see `Appearance`, and whether cells are `stained`.
    """
    images = [
        {
            "name": sample.name,
            "height": sample.image.shape[0],
            "width": sample.image.shape[1],
            "points": len(sample.points),
            "spacing": _spacing(sample, config.network_scale),
            "held_out": index in held_out,
            **_look(sample),
        }
        for index, sample in enumerate(samples)
    ]
    write_text(folder / "training.json", json.dumps({"images": images, "versions": versions()}, indent=2) + "\n")


def _look(sample: Sample) -> dict[str, float | bool]:
    """Returns how cells look in a sample; empty where that is not known."""
    look = sample.appearance
    if look is None:
        return {}
    told = {"separation": look.separation, "contrast": look.axis.contrast}
    told |= {"rim": look.rim, "texture": look.texture}
    return {name: round(value, 3) for name, value in told.items()} | {"stained": look.is_stained}


def _spacing(sample: Sample, scale: float) -> float | None:
    """Returns the median distance of a point to the nearest other one, in pixels of the image."""
    if len(sample.points) < 2:
        return None
    return round(float(np.median(nearest_distances(sample.points))) / scale, 2)


def load_facts(folder: Path) -> dict[str, Any]:
    """Reads `training.json`; empty where a run folder has none, such as one of an earlier version.

    Raises:
        UserError: if it is not JSON of that kind.
    """
    file = folder / "training.json"
    facts = read_json(file, remedy="delete it to do without it") if file.is_file() else {}
    if not isinstance(facts, dict):
        raise UserError(
            f"{file}: not readable as JSON (it holds a {type(facts).__name__}); delete it to do without it"
        )
    return facts


# Weights and states


def saved_step(folder: Path) -> int | None:
    """Returns the step that a resumed training would begin after, or None where no state was saved."""
    return latest(folder / "state")


def save_weights(folder: Path, step: int, variables: Variables) -> None:
    """Saves the variables of the best model so far, beside earlier ones; see `keep_weights`."""
    save(folder / "weights", step, dict(variables))


@by_first
def keep_weights(folder: Path, step: int) -> None:
    """Removes the weights of other steps than that of the best model, once a saved state names it."""
    if step == 0 or (folder / "weights" / str(step)).is_dir():
        keep(folder / "weights", step)


def save_state(folder: Path, step: int, state: Any) -> None:
    """Saves the state of a training in place of earlier ones."""
    save(folder / "state", step, state)
    keep(folder / "state", step)


def load_state(folder: Path, template: Any) -> Any | None:
    """Returns the latest saved state in the form of `template`, or None where there is none."""
    step = saved_step(folder)
    return None if step is None else load(folder / "state" / str(step), template)


# Metrics


@by_first
def append_metrics(folder: Path, metrics: dict[str, Any]) -> None:
    """Adds one line to `metrics.jsonl`."""
    append_text(check_inside(folder, folder / "metrics.jsonl"), json.dumps(metrics) + "\n", then=RESUME)


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Returns the lines of `metrics.jsonl`; a line that a crash cut short is left out.

    Raises:
        UserError: if another line is damaged, or the file is not text.
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
