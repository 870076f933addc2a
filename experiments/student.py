"""Question: does a network that learns from the method's own label images outline cells better than the method?

    python -m experiments.student DATA/phase_fibroblast --work runs/crossval --labels own
    python -m experiments.student DATA/phase_fibroblast --work runs/crossval --labels masks

For every fold of `experiments.crossval`, whose networks must be there, a second network of the same size, which
begins as a copy of the first, learns to draw the inside of cells. With `own` it learns from the label images that
the method cuts in the training images at the clicks: still no outline by hand. With `masks` it learns from
hand-made masks: the ceiling for a network of this size on these images. At test time the peaks of the first
network are flooded in the map of the second one: two passes forward, no contribution maps and no cuts.
"""

import argparse
import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Int, Int32
from scipy import ndimage
from skimage.segmentation import expand_labels, find_boundaries, watershed

from experiments.folds import Case, experiment_config, read_cases, split, trained
from experiments.fronts import Front, cut_front, front, score
from wsis_jax.cli.terminal import training_progress
from wsis_jax.core import Config, preset, resize_labels, scale_points, write_text
from wsis_jax.network import Model, load_model, predict
from wsis_jax.segmentation import propagate
from wsis_jax.training import Sample, name_of_start, read_metrics, train_on_samples

_INSIDE = 0.5  # of the map above which a pixel is inside of a cell


def main(argv: Sequence[str] | None = None) -> None:
    """Trains a student for each fold, and prints its figures beside those of the method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs/crossval"), metavar="DIR")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--labels", choices=["own", "masks"], default="own", help="what the student learns from")
    parser.add_argument("--steps", type=int, default=300)
    arguments = parser.parse_args(argv)
    cases, work = read_cases(arguments.data), arguments.work / arguments.data.name
    fronts: dict[str, list[Front]] = {"found": [], "true": []}
    maps: dict[str, Float32[np.ndarray, "_ _"]] = {}
    pairs: list[tuple[Model, Model]] = []
    for fold in range(arguments.folds):
        training, test = split(cases, fold, arguments.folds)
        folder = work / f"fold{fold}"
        teacher = trained(training, folder, experiment_config([]))
        teacher = teacher.using(preset("default", teacher.config))
        student = _student(teacher, folder, training, arguments)
        pairs.append((teacher, student))
        fronts["found"] += [front(teacher, case, folder) for case in test]
        fronts["true"] += [front(teacher, case, folder, peaks="true") for case in test]
        maps |= {one.case.name: inside_map(student, one) for one in fronts["found"][-len(test) :]}
    figures = {}
    print("\n| method | peaks | mDice | one-to-one Dice | AP50 | PQ |\n|---|---|---|---|---|---|")
    for peaks, ones in fronts.items():
        for name, segment in {
            "wsis_jax": lambda one: cut_front(one, one.config),
            f"student of {arguments.labels} labels": lambda one: flood(one, maps[one.case.name]),
        }.items():
            scores = score(ones, segment, distance=20.0)
            row = scores.mdice, scores.dice_one_to_one, scores.ap50, scores.pq
            figures[f"{name}, {peaks} peaks"] = dict(zip(("mdice", "dice", "ap50", "pq"), row, strict=True))
            print(f"| {name} | {peaks} | " + " | ".join(f"{figure:.3f}" for figure in row) + " |", flush=True)
    ours, theirs = _seconds(*pairs[-1], fronts["found"][-1])
    print(f"\nAfter the detection, processor seconds an image: wsis_jax {ours:.2f}, student {theirs:.2f}")
    write_text(work / f"student_{arguments.labels}.json", json.dumps(figures, indent=2) + "\n")


def flood(one: Front, inside: Float[np.ndarray, "height width"]) -> Int32[np.ndarray, "height width"]:
    """Returns the label image of a student's map, flooded from the peaks; pixels of the image as given."""
    peaks = one.detection.peaks
    markers = np.zeros(inside.shape, np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    smooth = ndimage.gaussian_filter(inside, 1)
    labels = watershed(-smooth, markers, mask=(inside > _INSIDE) | (markers > 0))
    # The student draws cells without their outermost pixels, so that touching ones stay apart.
    return resize_labels(expand_labels(labels, 1), one.case.masks.shape)


def _seconds(teacher: Model, student: Model, one: Front) -> tuple[float, float]:
    """Returns what contributions and cuts of an image take, and what a student's map and flooding take."""

    def least(work: Callable[[], object]) -> float:
        times = []
        for _ in range(3):  # the first compiles
            started = time.process_time()
            work()
            times.append(time.process_time() - started)
        return min(times)

    def method() -> None:
        cut_front(one._replace(winner=propagate(teacher, one.detection, config=one.config)), one.config)

    return least(method), least(lambda: flood(one, inside_map(student, one)))


def inside_map(student: Model, one: Front) -> Float32[np.ndarray, "height width"]:
    """Returns the student's map, averaged over the image and its mirror images as the detection is."""
    image = one.detection.image
    views = [np.s_[::a, ::b] for a in (1, -1) for b in (1, -1)]
    maps = [predict(student.network, student.variables, np.ascontiguousarray(image[view]))[view] for view in views]
    return np.asarray(np.mean(maps, axis=0, dtype=np.float32))


def _student(teacher: Model, folder: Path, training: list[Case], arguments: argparse.Namespace) -> Model:
    """Returns the student of a fold, trained or from its folder."""
    place = folder / f"student_{arguments.labels}"
    done = read_metrics(place)
    if done and done[-1]["step"] == arguments.steps:
        return load_model(place)
    config = drawing_settings(teacher.config, arguments.steps)
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, start=name_of_start(folder)))
    samples = []
    for case in training:
        one = front(teacher, case, folder, peaks="true")
        labels = cut_front(one, one.config) if arguments.labels == "own" else case.masks
        small = resize_labels(labels, one.detection.image.shape)
        inside = insides(small)
        points = scale_points(case.points, config.network_scale)
        samples.append(Sample(one.detection.image, points, inside, name=case.name))
    started = time.perf_counter()
    with training_progress() as callbacks:
        run = train_on_samples(
            samples,
            config=config,
            run=place,
            resume=(place / "config.json").exists(),
            callbacks=callbacks,
        )
    print(f"{place}: {time.perf_counter() - started:.0f} s", flush=True)
    return run


def drawing_settings(config: Config, steps: int) -> Config:
    """Returns the settings of a student's training.

    Quarter turns alone: zooming would sharpen maps as it does Gaussians. A student's map has no peaks to count.
    """
    training = dataclasses.replace(config.train, steps=steps, warmup=20, augment="exact")
    return dataclasses.replace(config, train=training)


def insides(labels: Int[np.ndarray, "height width"]) -> Float32[np.ndarray, "height width"]:
    """Returns 1 inside of cells and 0 on their outermost pixels and beyond."""
    return ((labels > 0) & ~find_boundaries(labels, mode="inner")).astype(np.float32)


if __name__ == "__main__":
    main()
