"""Images with clicks and masks, divided into folds, and a trained model for each fold.

A data folder holds `images/`, `points/` and `masks/`, files paired by name. Fold k of n tests every n-th image in
the order of names, beginning with the k-th, and trains on the others. What is trained is kept in a work folder and
used again by every experiment; an interrupted training goes on where it stopped.
"""

import json
import shutil
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int
from skimage.segmentation import relabel_sequential

from wsis_jax.cli.terminal import training_progress
from wsis_jax.core import Channels, Config, UserError, preset, replacing_folder, small_network, write_text
from wsis_jax.io import (
    IMAGE_SUFFIXES,
    LABEL_SUFFIXES,
    is_in_colours,
    list_files,
    named_points,
    read_image,
    read_labels,
    read_points,
    stem,
)
from wsis_jax.network import Model, load_config, load_model, model_folder
from wsis_jax.training import Callbacks, TrainingSet, read_metrics, train_on_set, with_uncertain


class Case(NamedTuple):
    """One image and the truth about it; the masks score, no training from clicks sees them."""

    name: str
    image: Float[np.ndarray, "height width *channels"]
    points: Float64[np.ndarray, "cells 2"]
    masks: Int[np.ndarray, "height width"]


def read_cases(data: Path, *, channel: Channels | None = None) -> list[Case]:
    """Reads a data folder, in the order of names.

    `channel` is as `read_image` takes it; None for colours where all images have them, else grey values.
    """
    images = list_files(data / "images", suffixes=IMAGE_SUFFIXES)
    if channel is None and all(map(is_in_colours, images)):
        channel = "colours"
    points = {stem(path): path for path in named_points(data / "points")}
    masks = {stem(path): path for path in list_files(data / "masks", suffixes=LABEL_SUFFIXES)}
    return [
        Case(
            stem(path),
            read_image(path, channel=channel)[0],
            next(iter(read_points(points[stem(path)]).values())),
            read_labels(masks[stem(path)]),
        )
        for path in images
    ]


def split(cases: list[Case], fold: int, folds: int) -> tuple[list[Case], list[Case]]:
    """Returns the cases to train on and those to test on; images of one slide stay together."""
    groups = sorted({_group(case) for case in cases})
    tested = set(groups[fold::folds])
    return (
        [case for case in cases if _group(case) not in tested],
        [case for case in cases if _group(case) in tested],
    )


def _group(case: Case) -> str:
    """Returns the slide of an image, `slide_02` of `slide_02_1`; of other images their own name."""
    return case.name.rpartition("_")[0] if case.name.startswith("slide_") else case.name


def halves(case: Case) -> list[Case]:
    """Returns the left and the right half of a case, of which cells that the cut divides are in both."""
    middle = case.image.shape[1] // 2
    parts = []
    is_left = case.points[:, 1] < middle - 0.5  # where the last pixel of the left half ends
    for name, columns, here in (("left", slice(0, middle), is_left), ("right", slice(middle, None), ~is_left)):
        points = case.points[here] - (0, columns.start)
        masks = relabel_sequential(np.ascontiguousarray(case.masks[:, columns]))[0]
        image = np.ascontiguousarray(case.image[:, columns])
        parts.append(Case(f"{case.name}_{name}", image, points, masks))
    return parts


def experiment_config(settings: list[str]) -> Config:
    """Returns the default settings of the small network, with changes."""
    return small_network(preset("default")).override(settings)


def trained(cases: list[Case], folder: Path, config: Config, *, tolerant: bool = False) -> Model:
    """Returns the model that is learnt from the clicks of cases, or the one that is in the folder already.

    A training that was begun goes on with the settings that it was begun with. A tolerant one leaves places that
    look like cells without a point out of the loss.
    """
    begun = (folder / "config.json").exists()
    config = load_config(folder) if begun else config
    done = [line["step"] for line in read_metrics(folder)]
    if not done or done[-1] < config.train.steps:
        print(f"training {folder} on {', '.join(case.name for case in cases)}", flush=True)
        data = TrainingSet(*([getattr(case, key) for case in cases] for key in ("image", "points", "name")))
        data = with_uncertain(data) if tolerant else data
        with training_progress() as callbacks:
            train_on_set(data, config=config, run=folder, resume=begun, callbacks=callbacks)
    return load_model(folder)


class TimedModel(NamedTuple):
    """A trained model, its run folder, and the seconds that its training took."""

    model: Model
    folder: Path
    seconds: float


def trained_in_time(cases: list[Case], folder: Path, config: Config, *, after: Path | None = None) -> TimedModel:
    """Returns the model that is learnt from the clicks of cases, or the one that is there, and how long it took.

    Seconds are those of a clock on the wall, up to the last validation, with the compilation of the programs; they
    are kept in `seconds.json`, so that an interrupted training goes on counting.

    Args:
        cases: to learn from.
        folder: the run folder.
        config: settings, of which a training that was begun takes the number of steps alone.
        after: the run folder of a training of fewer steps, of the same cases, that this one makes longer: it
            begins as a copy, and its seconds count.

    Raises:
        UserError: if the folder holds a training that started from another model.
    """
    if after is not None and not folder.exists():
        with replacing_folder(folder) as copy:
            shutil.copytree(after, copy)
    begun = (folder / "config.json").exists()
    if begun:
        kept = load_config(folder)
        if kept.train.start != config.train.start:
            raise UserError(
                f"{folder}: started from {kept.train.start or 'nothing'}, not from "
                f"{config.train.start or 'nothing'}; choose another --work"
            )
        config = kept.override([f"train.steps={config.train.steps}"])
    done = [line["step"] for line in read_metrics(folder)]
    if not done or done[-1] < config.train.steps:
        print(f"training {folder} on {', '.join(case.name for case in cases)}", flush=True)
        data = TrainingSet(*([getattr(case, key) for case in cases] for key in ("image", "points", "name")))
        before, begin = _seconds(folder), time.perf_counter()
        with training_progress() as shown:

            def on_metrics(metrics: dict[str, Any]) -> None:
                write_text(folder / "seconds.json", json.dumps(before + time.perf_counter() - begin) + "\n")
                shown.on_metrics(metrics)

            callbacks = Callbacks(shown.on_step, on_metrics)
            train_on_set(data, config=config, run=folder, resume=begun, callbacks=callbacks)
    return TimedModel(load_model(folder), folder, _seconds(folder))


def copied(start: str, work: Path) -> tuple[Model, Path]:
    """Returns a model of the package, or of a run folder, as it is, by the settings of now for its use.

    What is computed is kept beside the weights, so they are copied to a folder in `work`, which is returned, too.
    """
    folder = work / Path(start).name
    if not folder.exists():
        with replacing_folder(folder) as copy:
            shutil.copytree(model_folder(start) / "weights", copy / "weights")
            shutil.copy(model_folder(start) / "config.json", copy)
    model = load_model(folder)
    return model.using(preset("default", model.config)), folder


def _seconds(folder: Path) -> float:
    """Returns the seconds that the training in a folder took so far."""
    file = folder / "seconds.json"
    return float(json.loads(file.read_text())) if file.exists() else 0.0
