"""Images with clicks and masks, divided into folds, and a trained model for each fold.

A data folder holds `images/`, `points/` and `masks/`, files paired by name. Fold k of n tests every n-th image in
the order of names, beginning with the k-th, and trains on the others. What is trained is kept in a work folder and
used again by every experiment; an interrupted training goes on where it stopped.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int
from skimage.segmentation import relabel_sequential

from wsis_jax.cli.terminal import training_progress
from wsis_jax.core import Channels, Config, preset, small_network
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
from wsis_jax.network import Model, load_config, load_model
from wsis_jax.training import TrainingSet, read_metrics, train_on_set, with_uncertain


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
    for name, columns in (("left", slice(0, middle)), ("right", slice(middle, None))):
        start = columns.start
        here = (case.points[:, 1] >= start) & (case.points[:, 1] < (columns.stop or np.inf))
        points = case.points[here] - (0, start)
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
