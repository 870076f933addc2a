"""The methods side by side: what each may see and learn from, how it segments an image, what is tuned of it.

Every rival sees images as the method does, normalised to 0..1, resized so that the median cell of the annotated
crops has a diameter of 32 pixels: the size for which published parameters that count pixels were made. What needs
points gets the peaks that the method's network found.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import flax.serialization
import numpy as np
from jaxtyping import Float32, Float64, Int32

from experiments.baselines import bensch, fogbank, yin
from experiments.baselines.bensch import Bensch
from experiments.baselines.common import Baseline, Division
from experiments.baselines.fogbank import FogBank
from experiments.baselines.simple import MarkerWatershed, RandomWalker, VoronoiDisc
from experiments.baselines.yin import Yin
from experiments.folds import Case
from experiments.fronts import Front, cut_front, front
from experiments.space import Range, Space
from experiments.tuning import Settings
from wsis_jax.checkpoint import Run
from wsis_jax.config import Config
from wsis_jax.files import replacing
from wsis_jax.imageio import normalize_image
from wsis_jax.scaling import resize_image, resize_labels, scale_points

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

    run: Run
    folder: Path  # of the run; what rivals learn is kept in it, too
    training: list[Case]
    crops: list[View]  # annotated
    scale: float  # from pixels of the images to those of the rivals


Segment = Callable[[View, Settings], Int32[np.ndarray, "height width"]]
"""From an image, and settings that differ from the published ones, to its label image in pixels as given."""


class Method(NamedTuple):
    """One row of the table."""

    sees: str  # what it learns from beside the crops that tune it
    begin: Callable[[Fold], Segment]  # learns what there is to learn
    space: Space
    front: Literal["nothing", "peaks", "winner map"] = "nothing"  # what it takes of the method's own way


def view(run: Run, case: Case, folder: Path, scale: float) -> View:
    """Returns what the methods see of an image."""
    one = front(run, case, folder)
    settings = run.config.image
    grey = normalize_image(
        case.image.astype(np.float32), method="percentile", low=settings.low, high=settings.high
    )
    return View(one, np.clip(resize_image(grey, scale), 0, 1), scale_points(one.points(), scale))


def open_fold(run: Run, folder: Path, training: list[Case]) -> Fold:
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


def _rival(make: Callable[[Fold], Baseline]) -> Callable[[Fold], Segment]:
    """Returns the beginning of a rival: its dataclass is made for a fold, and changed by settings."""

    def begin(fold: Fold) -> Segment:
        method: Any = make(fold)

        def segment(seen: View, settings: Settings) -> Int32[np.ndarray, "height width"]:
            labels = dataclasses.replace(method, **settings).segment(seen.image, seen.points)
            return resize_labels(labels, seen.front.case.image.shape)

        return segment

    return begin


def _bensch(division: Division) -> Callable[[Fold], Segment]:
    """Bensch's method, which looks up in the annotated crops what cells and background look like."""
    return _rival(lambda fold: Bensch(examples=tuple(map(_annotation, fold.crops)), division=division))


def _annotation(crop: View) -> tuple[Float32[np.ndarray, "height width"], Int32[np.ndarray, "height width"]]:
    """Returns image and masks of a crop, in pixels of the rivals."""
    return crop.image, resize_labels(crop.front.case.masks, crop.image.shape)


def _ours(fold: Fold) -> Segment:
    """The method itself, with changes of its cut."""
    return lambda seen, settings: cut_front(seen.front, _with_cut(seen.front.config, settings))


def _with_cut(config: Config, settings: Settings) -> Config:
    return dataclasses.replace(config, cut=dataclasses.replace(config.cut, **settings))


def _kept(file: Path, learn: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    """Returns what a rival learnt, from its file if it learnt before."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        learnt = learn()
        with replacing(file) as temporary:
            temporary.write_bytes(flax.serialization.msgpack_serialize(dict(learnt)))
    return flax.serialization.msgpack_restore(file.read_bytes())


_CUT: Space = {
    "seed_threshold": Range(0.03, 0.5, log=True),
    "claim_weight": Range(0.3, 3, log=True),
    "claim_full": Range(0.03, 0.4, log=True),
    "data_weight": Range(0.0, 2),
    "background_weight": Range(0.0, 1),
    "edge_weight": Range(5, 60, log=True),
    "edge_falloff": Range(4, 16),
    "reach": Range(3, 9),
    "smooth": Range(0.0, 0.4),
}

METHODS: dict[str, Method] = {
    "Bensch": Method("annotated crops", _bensch("components"), bensch.space(DIAMETER)),
    "Chalfoun (FogBank)": Method("nothing", _rival(lambda fold: FogBank()), fogbank.space(DIAMETER)),
    "Bensch, divided at our peaks": Method(
        "annotated crops, clicks", _bensch("points"), bensch.space(DIAMETER), "peaks"
    ),
    "Yin": Method("nothing", _rival(lambda fold: Yin()), yin.space(DIAMETER)),
    "Yin, divided at our peaks": Method(
        "clicks", _rival(lambda fold: Yin(division="points")), yin.space(DIAMETER), "peaks"
    ),
    "disc in Voronoi cells": Method(
        "clicks", _rival(lambda fold: VoronoiDisc()), VoronoiDisc.space(DIAMETER), "peaks"
    ),
    "marker watershed": Method(
        "clicks", _rival(lambda fold: MarkerWatershed()), MarkerWatershed.space(DIAMETER), "peaks"
    ),
    "random walker": Method("clicks", _rival(lambda fold: RandomWalker()), RandomWalker.space(DIAMETER), "peaks"),
    "wsis_jax": Method("clicks", _ours, _CUT, "winner map"),
}
