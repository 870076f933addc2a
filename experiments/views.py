"""What the methods see of an image, may learn from and are tuned on.

Every rival sees images as the method does, normalised to 0..1, resized so that the median cell of the annotated
crops has a diameter of 32 pixels: the size for which published parameters that count pixels were made. What needs
points gets the peaks that the method's network found.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int32

from experiments.folds import Case
from experiments.fronts import Front, front
from wsis_jax.core import normalize_image, resize_image, resize_labels, scale_points
from wsis_jax.network import Model

DIAMETER = 32.0
"""Of the median cell in the images that rivals see, in pixels."""

_CROPS = 4
_CELLS = 20  # in each crop, about: little to annotate, yet 80 cells in all


class View(NamedTuple):
    """What the methods see of an image."""

    front: Front  # the method's own way up to the cuts, in pixels of the network
    image: Float32[np.ndarray, "height width"]  # 0..1, in pixels of the rivals
    points: Float64[np.ndarray, "cells 2"]  # the peaks found, in pixels of the rivals


class Fold(NamedTuple):
    """What the methods may learn from, and be tuned on."""

    run: Model
    folder: Path  # of the run; what rivals learn is kept in it, too
    training: list[Case]
    crops: list[View]  # annotated
    scale: float  # from pixels of the images to those of the rivals


def view(run: Model, case: Case, folder: Path, scale: float) -> View:
    """Returns what the methods see of an image."""
    one = front(run, case, folder)
    return View(one, normalized(run, case, scale), scale_points(one.points(), scale))


def normalized(run: Model, case: Case, scale: float) -> Float32[np.ndarray, "height width"]:
    """Returns an image as rivals see it, 0..1."""
    low, high = run.config.image.low, run.config.image.high
    grey = normalize_image(case.image.astype(np.float32), method="percentile", low=low, high=high)
    return np.clip(resize_image(grey, scale), 0, 1)


def masks_of(case: Case, shape: tuple[int, int]) -> Int32[np.ndarray, "height width"]:
    """Returns the true masks of an image in pixels of the rivals, of which it has this (height, width)."""
    return resize_labels(case.masks, shape)


def open_fold(run: Model, folder: Path, training: list[Case]) -> Fold:
    """Returns the fold of a trained model and its training images, with crops of them to tune on."""
    crops = annotated_crops(training)
    areas = np.concatenate([np.bincount(crop.masks.ravel())[1:] for crop in crops])
    scale = DIAMETER / float(2 * np.sqrt(np.median(areas[areas > 0]) / np.pi))
    return Fold(run, folder, training, [view(run, crop, folder, scale) for crop in crops], scale)


def annotated_crops(cases: Sequence[Case]) -> list[Case]:
    """Returns four crops of about 15 cells each, from as many images as there are, of another quarter each."""
    density = sum(len(case.points) for case in cases) / sum(case.image.size for case in cases)
    crops = []
    for number in range(_CROPS):
        case = cases[number * len(cases) // _CROPS]
        half = min(round(np.sqrt(_CELLS / density)), *(side // 2 for side in case.image.shape)) // 2
        middle = [
            side * (1 + 2 * place) // 4 for side, place in zip(case.image.shape, divmod(number, 2), strict=True)
        ]
        crops.append(_cropped(case, tuple(slice(at - half, at + half) for at in middle), f"{case.name}-{number}"))
    return crops


def _cropped(case: Case, window: tuple[slice, ...], name: str) -> Case:
    """Returns a part of an image and of the truth about it."""
    points = case.points - [side.start for side in window]
    image = case.image[window]
    inside = ((points >= 0) & (points < image.shape)).all(axis=1)
    return Case(name, image, points[inside], case.masks[window])
