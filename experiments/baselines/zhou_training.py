"""The classifier of Zhou's method, learnt from points: crops with a cell against crops without.

Every image holds cells, so that the tags of whole images, from which the paper learns, say nothing. Crops take
their place, and clicks say which hold a cell. The authors of the comparison do not say how they did it; this is
reconstructed.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Float32, Int, Real
from numpy.random import Generator, default_rng
from scipy import ndimage

from experiments.baselines.common import check_image, check_points, to_pixels
from experiments.baselines.response_maps import STRIDE, Classifier, peak_score, with_negatives

_SIDE = 3.0  # diameters, of a crop
_BATCH = 32  # half of it with a cell
_INSIDE, _OUTSIDE = 0.25, 0.75  # diameters: a cell whose point is between so far inside and outside is in doubt
_LEARNING_RATE = 2e-3
_DULL = 0.2  # share of all places, those of the least contrast, from which crops without cells are made up


class _Places(NamedTuple):
    """Top left corners of crops: (image, row, column), with a cell, without, and of little contrast."""

    positive: Int[np.ndarray, "_ 3"]
    negative: Int[np.ndarray, "_ 3"]
    dull: Int[np.ndarray, "_ 3"]


def learn(
    images: Sequence[Float[np.ndarray, "_ _"]],
    points: Sequence[Real[np.ndarray, "_ 2"]],
    *,
    diameter: float | int,
    steps: int,
    seed: int,
    on_step: Callable[[int, int], None],
) -> Mapping[str, Any]:
    """Returns the weights of a classifier of crops, a nested dictionary of arrays.

    Args:
        images: grey values, 0..1.
        points: (row, column) of the cells of each image, pixels.
        diameter: of a median cell, pixels.
        steps: batches to learn from; 300 are enough for a few images.
        seed: of the weights to begin with, and of the crops.
        on_step: called after each step with its number, from 1, and the number of steps.

    Raises:
        ValueError: for images or points that are none, or if no crop of 3 diameters holds a cell for certain.
    """
    for image, clicks in zip(images, points, strict=True):
        check_image(image)
        check_points(clicks, image.shape)
    side = STRIDE * max(round(_SIDE * diameter / STRIDE), 4)
    places, rng = find_places(images, points, side=side, diameter=diameter), default_rng(seed)
    if not len(places.positive):
        raise ValueError(f"no crop of {side} × {side} pixels holds a point; give larger images, or more points")
    optimizer = optax.adam(optax.warmup_cosine_decay_schedule(0, _LEARNING_RATE, min(50, steps // 2), steps))
    weights = Classifier().init(jax.random.key(seed), jnp.zeros((1, side, side, 2)))
    state = optimizer.init(weights)
    for step in range(1, steps + 1):
        crops = draw_crops(images, places, side, rng)
        weights, state = _step(optimizer, weights, state, jnp.asarray(crops))
        on_step(step, steps)
    return jax.tree.map(np.asarray, weights)


@partial(jax.jit, static_argnums=0)
def _step(optimizer: optax.GradientTransformation, weights, state, crops: Float[Array, "batch side side"]):
    """Returns weights and state of the optimizer after a step; the first half of the crops holds cells."""

    def loss(weights) -> Float[Array, ""]:
        scores = peak_score(jnp.asarray(Classifier().apply(weights, with_negatives(crops))))
        truth = (jnp.arange(len(crops)) < len(crops) // 2).astype(scores.dtype)
        return optax.sigmoid_binary_cross_entropy(scores, truth).mean()

    updates, state = optimizer.update(jax.grad(loss)(weights), state, weights)
    return optax.apply_updates(weights, updates), state


def find_places(
    images: Sequence[Float[np.ndarray, "_ _"]],
    points: Sequence[Real[np.ndarray, "_ 2"]],
    *,
    side: int,
    diameter: float | int,
) -> _Places:
    """Returns where crops can be cut: with a point well inside, without one anywhere near, and of little contrast.

    Images smaller than a crop have none.
    """
    positive, negative, dull = [], [], []
    for index, (image, clicks) in enumerate(zip(images, points, strict=True)):
        if min(image.shape) < side:
            continue
        far = np.full(image.shape, np.inf)
        if len(clicks):
            far = np.ones(image.shape, bool)
            far[tuple(to_pixels(clicks, image.shape).T)] = False
            far = ndimage.distance_transform_cdt(far, "chessboard")
        mean = ndimage.uniform_filter(image, side)
        contrast = ndimage.uniform_filter(image**2, side) - mean**2
        valid = tuple(slice(side // 2, n - (side - side // 2) + 1) for n in image.shape)
        far, contrast = far[valid], contrast[valid]
        for corners, chosen in (
            (positive, far < side / 2 - _INSIDE * diameter),
            (negative, far > side / 2 + _OUTSIDE * diameter),
            (dull, contrast <= np.quantile(contrast, _DULL)),
        ):
            corners.append(np.insert(np.argwhere(chosen), 0, index, axis=1))
    return _Places(*(np.concatenate([np.empty((0, 3), int), *part]) for part in (positive, negative, dull)))


def draw_crops(
    images: Sequence[Float[np.ndarray, "_ _"]], places: _Places, side: int, rng: Generator
) -> Float32[np.ndarray, "batch side side"]:
    """Returns a batch of crops, turned and mirrored at random; the first half holds cells, the others none.

    One in four of those without cells is made up, and all are if there is no place without cells: a dull crop
    blurred until no cell is left in it, with noise.
    """
    half = _BATCH // 2
    made_up = half // 4 if len(places.negative) else half
    corners = np.concatenate(
        [
            rng.choice(places.positive, half),
            rng.choice(places.negative, half - made_up) if made_up < half else places.negative,
            rng.choice(places.dull, made_up),
        ]
    )
    crops = np.stack([images[i][r : r + side, c : c + side] for i, r, c in corners]).astype(np.float32)
    for crop in crops[_BATCH - made_up :]:
        blurred = ndimage.gaussian_filter(crop, rng.uniform(0.1, 0.3) * side)
        crop[:] = np.clip(blurred + rng.normal(0, rng.uniform(0, 0.05), crop.shape), 0, 1)
    turns, flips = rng.integers(4, size=_BATCH), rng.integers(2, size=_BATCH)
    return np.stack(
        [np.rot90(crop, turn)[:: 1 - 2 * flip] for crop, turn, flip in zip(crops, turns, flips, strict=True)]
    )
