"""The methods side by side: what each learns from, how it segments an image, and what is tuned of it."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import flax.serialization
import numpy as np
from jaxtyping import Float32, Int32
from rich.progress import Progress

from experiments.baselines import bensch, fogbank, li, yin, zhou, zhou_training
from experiments.baselines.bensch import Bensch
from experiments.baselines.boxes import boxes_around, boxes_of
from experiments.baselines.common import Baseline, Division, remembered
from experiments.baselines.fogbank import FogBank
from experiments.baselines.li import Li
from experiments.baselines.peak_backprop import relevance_winners
from experiments.baselines.simple import MarkerWatershed, RandomWalker, VoronoiDisc
from experiments.baselines.yin import Yin
from experiments.baselines.zhou import Zhou
from experiments.fronts import cut_front
from experiments.space import Range, Space
from experiments.tuning import Settings
from experiments.views import DIAMETER, Fold, View, masks_of, normalized
from wsis_jax.core import Config, Detection, WinnerMap, replacing, resize_labels, scale_points

Segment = Callable[[View, Settings], Int32[np.ndarray, "height width"]]
"""From an image, and settings that differ from the published ones, to its label image in pixels as given."""


class Method(NamedTuple):
    """One row of the table."""

    sees: str  # what it learns from beside the crops that tune it
    begin: Callable[[Fold], Segment]  # learns what there is to learn
    space: Space
    front: Literal["nothing", "peaks", "winner map"] = "nothing"  # what it takes of the method's own way


def _rival(make: Callable[[Fold], Baseline]) -> Callable[[Fold], Segment]:
    """Returns the beginning of a rival: its dataclass is made for a fold, and changed by settings."""

    def begin(fold: Fold) -> Segment:
        method: Any = make(fold)

        def segment(seen: View, settings: Settings) -> Int32[np.ndarray, "height width"]:
            labels = dataclasses.replace(method, **settings).segment(seen.image, seen.points)
            return resize_labels(labels, seen.front.case.masks.shape)

        return segment

    return begin


def _bensch(division: Division) -> Callable[[Fold], Segment]:
    """Bensch's method, which looks up in the annotated crops what cells and background look like."""
    return _rival(lambda fold: Bensch(examples=tuple(map(_annotation, fold.crops)), division=division))


def _annotation(crop: View) -> tuple[Float32[np.ndarray, "height width"], Int32[np.ndarray, "height width"]]:
    """Returns image and masks of a crop, in pixels of the rivals."""
    return crop.image, masks_of(crop.front.case, crop.image.shape)


def _zhou(fold: Fold) -> Zhou:
    """Zhou's method, whose classifier learns from crops of the training images with and without clicks."""
    images = _training_images(fold)

    def learn(on_step: Callable[[int, int], None]) -> Mapping[str, Any]:
        points = [scale_points(case.points, fold.scale) for case in fold.training]
        return zhou_training.learn(images, points, diameter=DIAMETER, steps=300, seed=0, on_step=on_step)

    return Zhou(weights=_kept(fold.folder / "table1" / "zhou.msgpack", learn), diameter=DIAMETER)


def _li(fold: Fold, boxes: Literal["around points", "of masks"]) -> Li:
    """Li's method, whose network learns from boxes in the training images."""
    images = _training_images(fold)

    def learn(on_step: Callable[[int, int], None]) -> Mapping[str, Any]:
        if boxes == "of masks":
            found = [
                boxes_of(masks_of(case, image.shape)) for case, image in zip(fold.training, images, strict=True)
            ]
        else:
            points = [scale_points(case.points, fold.scale) for case in fold.training]
            side = Li.box * DIAMETER
            found = [boxes_around(p, image.shape, side=side) for p, image in zip(points, images, strict=True)]
        return li.learn(images, found, diameter=DIAMETER, on_step=on_step)

    name = boxes.replace(" ", "_")
    return Li(weights=_kept(fold.folder / "table1" / f"li_{name}.msgpack", learn), diameter=DIAMETER)


def _oracle(fold: Fold) -> Segment:
    """Li's method with the boxes of true masks, in the training images and in the one that is segmented."""
    method = _li(fold, "of masks")

    def segment(seen: View, settings: Settings) -> Int32[np.ndarray, "height width"]:
        boxes = boxes_of(masks_of(seen.front.case, seen.image.shape))
        labels = dataclasses.replace(method, **settings, boxes=boxes).segment(seen.image)
        return resize_labels(labels, seen.front.case.masks.shape)

    return segment


def _training_images(fold: Fold) -> list[Float32[np.ndarray, "_ _"]]:
    """Returns the training images as rivals see them."""
    return [normalized(fold.run, case, fold.scale) for case in fold.training]


def _peak_rule(fold: Fold) -> Segment:
    """The method itself, but contributions come from the rule of peak response maps."""

    @remembered
    def winner(*detection: np.ndarray) -> WinnerMap:
        return relevance_winners(fold.run, Detection(*detection), config=fold.run.config)

    def segment(seen: View, settings: Settings) -> Int32[np.ndarray, "height width"]:
        one = seen.front._replace(winner=winner(*seen.front.detection))
        return cut_front(one, _with_cut(one.config, settings))

    return segment


def _ours(fold: Fold) -> Segment:
    """The method itself, with changes of its cut."""
    return lambda seen, settings: cut_front(seen.front, _with_cut(seen.front.config, settings))


def _with_cut(config: Config, settings: Settings) -> Config:
    return dataclasses.replace(config, cut=dataclasses.replace(config.cut, **settings))


def _kept(file: Path, learn: Callable[[Callable[[int, int], None]], Mapping[str, Any]]) -> Mapping[str, Any]:
    """Returns what a rival learnt, from its file if it learnt before."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        with Progress(transient=True) as progress:
            bar = progress.add_task(f"learning {file.stem}", total=None)
            learnt = learn(lambda done, total: progress.update(bar, completed=done, total=total))
        with replacing(file) as temporary:
            temporary.write_bytes(flax.serialization.msgpack_serialize(dict(learnt)))
    kept: Any = flax.serialization.msgpack_restore(file.read_bytes())
    return kept


_CUT: Space = {
    "seed_threshold": Range(0.03, 0.5, log=True),
    "claim_weight": Range(0.3, 10, log=True),
    "claim_full": Range(0.03, 0.4, log=True),
    "data_weight": Range(0.0, 2),
    "background_weight": Range(0.0, 1),
    "edge_weight": Range(5, 200, log=True),
    "edge_falloff": Range(4, 16),
    "reach": Range(3, 9),
    "smooth": Range(0.0, 0.4),
}

METHODS: dict[str, Method] = {
    "Bensch": Method("annotated crops", _bensch("components"), bensch.space(DIAMETER)),
    "Chalfoun (FogBank)": Method("nothing", _rival(lambda fold: FogBank()), fogbank.space(DIAMETER)),
    "Yin": Method("nothing", _rival(lambda fold: Yin()), yin.space(DIAMETER)),
    "Zhou": Method("clicks, as crops with and without cells", _rival(_zhou), zhou.space(DIAMETER)),
    "wsis_jax": Method("clicks", _ours, _CUT, "winner map"),
    "wsis_jax with Zhou's backward rule": Method("clicks", _peak_rule, _CUT, "peaks"),
    "Bensch, divided at our peaks": Method(
        "annotated crops, clicks", _bensch("points"), bensch.space(DIAMETER), "peaks"
    ),
    "Yin, divided at our peaks": Method(
        "clicks", _rival(lambda fold: Yin(division="points")), yin.space(DIAMETER), "peaks"
    ),
    "Li, boxes around our peaks": Method(
        "clicks", _rival(lambda fold: _li(fold, "around points")), li.space(DIAMETER), "peaks"
    ),
    "Li, true boxes": Method("boxes, also of the test image", _oracle, li.space(DIAMETER)),
    "disc in Voronoi cells": Method(
        "clicks", _rival(lambda fold: VoronoiDisc()), VoronoiDisc.space(DIAMETER), "peaks"
    ),
    "marker watershed": Method(
        "clicks", _rival(lambda fold: MarkerWatershed()), MarkerWatershed.space(DIAMETER), "peaks"
    ),
    "random walker": Method("clicks", _rival(lambda fold: RandomWalker()), RandomWalker.space(DIAMETER), "peaks"),
}
