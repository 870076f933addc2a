"""Boxes, a semantic network and a CRF (Li, Arnab, Torr, ECCV 2018), brought from street scenes to cells.

From boxes come labels of pixels (`box_labels.py`), from these a network that tells cells from background
(`semantic.py`), and its map is divided among the boxes by a dense CRF (`dense_crf.py`). The paper finds its boxes
by a detector; here they are squares around points. Multiscale combinatorial grouping, which needs learnt contours,
gave way to `proposals.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Float32, Float64, Int, Int32, Integer, Real

from experiments.baselines.box_labels import clean_labels, seed_labels
from experiments.baselines.boxes import boxes_around, check_boxes, window_of
from experiments.baselines.common import check_image, tidy
from experiments.baselines.dense_crf import Beliefs, Kernels, mean_field
from experiments.baselines.semantic import cell_map, fit, fresh, packed, probability
from experiments.space import Choice, Range, Space

_LEAST_CHANCE = 1e-6  # epsilon of the potentials: keeps logarithms finite


@dataclass(frozen=True)
class Li:
    """A semantic map divided among boxes by a dense CRF.

    The potential of cell k at pixel i is log(w1 [i in box k] Q_i + w2 Q_i + epsilon), where Q is the map,
    w1 + w2 = 1, and the scores of boxes are 1; the background, whose box is the image, has log(1 - Q_i + epsilon).
    Values without a source are reconstructed.

    Attributes:
        weights: of the semantic network, from `learn`.
        diameter: of a median cell, pixels.
        box: side of the box around a point, diameters.
        margin: how far beyond its box a cell may reach, diameters. In the paper it may be anywhere.
        global_weight: w2, the weight of the map outside of the box.
        alpha: width of the appearance kernel, pixels.
        beta: width of the appearance kernel, grey values.
        gamma: width of the smoothness kernel, pixels; 3 in code for dense CRFs.
        appearance: weight of that kernel; 4 for photographs.
        smoothness: weight of that kernel; 3 for photographs.
        window: side of the window that the kernels end at, pixels, odd.
        iterations: of the mean field; 5 to 10 in the paper.
        boxes: given boxes (first row, first column, row past the last, column past the last) in place of those
            around points. Boxes of true masks are a stronger supervision than points.

    Raises:
        ValueError: for parameters that make no sense.
    """

    weights: Mapping[str, np.ndarray] = field(repr=False, compare=False)
    diameter: float | int
    box: float | int = 1.3
    margin: float | int = 0.25
    global_weight: float | int = 0.5
    alpha: float | int = 16.0
    beta: float | int = 0.1
    gamma: float | int = 3.0
    appearance: float | int = 4.0
    smoothness: float | int = 3.0
    window: int = 11
    iterations: int = 5
    boxes: Integer[np.ndarray, "cells 4"] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("diameter", "box", "alpha", "beta", "gamma"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, not {getattr(self, name):g}")
        for name, most in (("margin", np.inf), ("global_weight", 1), ("appearance", 30), ("smoothness", 30)):
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"{name} must lie in 0..{most:g}, not be {getattr(self, name):g}")
        if self.window < 3 or self.window % 2 == 0:
            raise ValueError(f"window must be an odd number of pixels, 3 or more, not {self.window}")
        if self.iterations < 0:
            raise ValueError(f"iterations must be 0 or more, not {self.iterations}")

    def segment(
        self, image: Float32[np.ndarray, "height width"], points: Real[np.ndarray, "cells 2"] | None = None
    ) -> Int32[np.ndarray, "height width"]:
        """Returns the label image; points are not looked at where boxes are given.

        Raises:
            ValueError: for an image, points or boxes that are not such, or without points and boxes.
        """
        check_image(image)
        boxes = self._boxes_in(points, image.shape)
        if not len(boxes) or image.min() == image.max():
            return np.zeros(image.shape, np.int32)
        chance = cell_map(image.astype(np.float32), **self.weights)
        windows = [window_of(box, image.shape, margin=round(self.margin * self.diameter)) for box in boxes]
        corners = np.array([[side.start for side in window] for window in windows])
        kernels = Kernels(self.alpha, self.beta, self.gamma, self.appearance, self.smoothness)
        beliefs = mean_field(
            image,
            corners,
            self._potentials(chance, boxes, windows),
            np.log(1 - chance + _LEAST_CHANCE),
            kernels,
            radius=self.window // 2,
            iterations=self.iterations,
        )
        return tidy(_likeliest(beliefs, windows))

    def _boxes_in(
        self, points: Real[np.ndarray, "cells 2"] | None, shape: tuple[int, int]
    ) -> Int[np.ndarray, "cells 4"]:
        """Returns the boxes given, or those around points."""
        if self.boxes is not None:
            return check_boxes(self.boxes, shape)
        if points is None:
            raise ValueError("this method needs points, (row, column) of the cells, or boxes; there are neither")
        return boxes_around(points, shape, side=self.box * self.diameter)

    def _potentials(
        self,
        chance: Float32[np.ndarray, "height width"],
        boxes: Int[np.ndarray, "cells 4"],
        windows: Sequence[tuple[slice, slice]],
    ) -> Float64[np.ndarray, "cells side side"]:
        """Returns the potential of each cell in its window, at the top left of squares that hold all windows."""
        side = max(one.stop - one.start for window in windows for one in window)
        potentials = np.full((len(boxes), side, side), -np.inf)
        for potential, box, window in zip(potentials, boxes, windows, strict=True):
            weight = np.full(chance.shape, float(self.global_weight))
            weight[window_of(box, chance.shape)] = 1
            part = np.log(weight[window] * chance[window] + _LEAST_CHANCE)
            potential[: part.shape[0], : part.shape[1]] = part
        return potentials


def _likeliest(beliefs: Beliefs, windows: Sequence[tuple[slice, slice]]) -> Int32[np.ndarray, "height width"]:
    """Returns which label is the likeliest at each pixel: 0 for background, or one more than a cell's place."""
    best, labels = beliefs.background.copy(), np.zeros(beliefs.background.shape, np.int32)
    for label, (cell, window) in enumerate(zip(beliefs.cells, windows, strict=True), start=1):
        height, width = best[window].shape
        wins = cell[:height, :width] > best[window]
        best[window][wins] = cell[:height, :width][wins]
        labels[window][wins] = label
    return labels


def learn(
    images: Sequence[Float[np.ndarray, "_ _"]],
    boxes: Sequence[Int[np.ndarray, "_ 4"]],
    *,
    diameter: float | int,
    rounds: int = 3,
    steps: int = 100,
    seed: int = 0,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Float[np.ndarray, "..."]]:
    """Returns the weights of a semantic network that learnt from boxes.

    The first round learns where GrabCut and the best proposal agree; each later one goes on from labels that the
    network's own predictions cleaned. The paper takes 3 to 5 rounds.

    Args:
        images: grey values, 0..1.
        boxes: of all cells of each image; those of `boxes_around` add nothing to points.
        diameter: of a median cell, pixels.
        rounds: of learning.
        steps: of gradient descent in each round.
        seed: of the network and the crops it learns from.
        on_step: is told of the number of steps done, and of all.

    Raises:
        ValueError: for images or boxes that are not such, or nothing to learn from.
    """
    if not images or len(images) != len(boxes):
        raise ValueError(f"learning needs boxes for every image, not {len(boxes)} for {len(images)} images")
    if rounds < 1 or steps < 1:
        raise ValueError(f"rounds and steps must be at least 1, not {rounds} and {steps}")
    for image, some in zip(images, boxes, strict=True):
        check_image(image)
        check_boxes(some, image.shape)
    rng, variables = np.random.default_rng(seed), fresh(seed)
    seeds = [seed_labels(image, some, diameter=diameter) for image, some in zip(images, boxes, strict=True)]
    labels = seeds
    for turn in range(rounds):
        if turn:
            labels = [
                clean_labels(probability(variables, image), first, some)
                for image, first, some in zip(images, seeds, boxes, strict=True)
            ]
        done, total = turn * steps, rounds * steps
        variables = fit(
            variables,
            images,
            labels,
            steps=steps,
            rng=rng,
            on_step=lambda step, done=done, total=total: on_step(done + step, total),
        )
    return packed(variables)


def space(diameter: float | int) -> Space:
    """Returns what is tuned."""
    return {
        "box": Range(0.8, 1.6),
        "margin": Range(0.1, 0.7),
        "global_weight": Range(0.1, 1.0),
        "alpha": Range(0.1 * diameter, 1.25 * diameter, log=True),
        "beta": Range(0.03, 0.3, log=True),
        "gamma": Range(0.03 * diameter, 0.2 * diameter, log=True),
        "appearance": Range(0.5, 20.0, log=True),
        "smoothness": Range(0.5, 20.0, log=True),
        "window": Choice((7, 11, 15)),
    }
