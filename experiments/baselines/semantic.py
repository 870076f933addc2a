"""A small network that tells cells from background, learnt from labels of which some are to be ignored."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float, Float32, Int, Int8, Real

from experiments.baselines.common import remembered
from wsis_jax.core import TrainConfig, compiler_options
from wsis_jax.network import UNet, Variables, fold_batch_norm, initial_variables, predict
from wsis_jax.training import TrainState, initial_state, make_optimizer

_MODEL = UNet(encoder=(8, 16, 32, 32), decoder=(32, 16, 8))
_CROP, _BATCH = 128, 8
_LEARNING_RATE, _WARMUP = 5e-3, 10
_GAIN, _SHIFT = (0.6, 1.4), (-0.2, 0.2)  # of grey values about 0.5


def fresh(seed: int) -> Variables:
    """Returns the variables of a network that learnt nothing yet."""
    return initial_variables(_MODEL, seed)


def fit(
    variables: Variables,
    images: Sequence[Float[np.ndarray, "_ _"]],
    labels: Sequence[Int8[np.ndarray, "_ _"]],
    *,
    steps: int,
    rng: np.random.Generator,
    on_step: Callable[[int], None],
) -> Variables:
    """Returns variables that went on learning: Adam on the cross-entropy of pixels, in random crops.

    Args:
        variables: to begin with.
        images: grey values, 0..1.
        labels: 1 for cells, 0 for background; negative ones are ignored.
        steps: of gradient descent; the learning rate falls from step to step, to nothing.
        rng: draws the crops.
        on_step: is told of the number of each step done, from 1 on.
    """
    optimizer, train_step = _compiled_step(steps)
    state = initial_state(_MODEL, optimizer, 0, variables)
    images, labels = ([_at_least_a_crop(one) for one in some] for some in (images, labels))
    for step in range(steps):
        chosen = rng.integers(len(images), size=_BATCH)
        crops = [_crop(images[index], labels[index], rng) for index in chosen]
        batch, targets = (jnp.asarray(np.stack(part)) for part in zip(*crops, strict=True))
        state = train_step(state, batch.astype(jnp.float32), targets)
        on_step(step + 1)
    return {"params": state.params, "batch_stats": state.batch_stats}


def probability(
    variables: Variables, image: Float[np.ndarray, "height width"]
) -> Float32[np.ndarray, "height width"]:
    """Returns the probability of cell at each pixel, 0..1."""
    return predict(_MODEL, variables, image)


def packed(variables: Variables) -> dict[str, Float32[np.ndarray, "..."]]:
    """Returns what `cell_map` needs of the variables, as arrays with names."""
    folded = fold_batch_norm(_MODEL, variables)[1]["params"]
    return {name: np.asarray(array) for name, array in flatten_dict(folded, sep="/").items()}


@remembered
def cell_map(
    image: Float[np.ndarray, "height width"], **weights: Float[np.ndarray, "..."]
) -> Float32[np.ndarray, "height width"]:
    """Returns the probability of cell at each pixel, 0..1, by the weights that `packed` gave."""
    return predict(_MODEL.clone(batch_norm=False), {"params": unflatten_dict(weights, sep="/")}, image)


def _at_least_a_crop(array: Real[np.ndarray, "_ _"]) -> Real[np.ndarray, "_ _"]:
    """Returns an image mirrored at its bottom and right where its sides are shorter than a crop's."""
    return np.pad(array, [(0, max(_CROP - side, 0)) for side in array.shape], mode="symmetric")


def _crop(
    image: Float[np.ndarray, "height width"], labels: Int8[np.ndarray, "height width"], rng: np.random.Generator
) -> tuple[Float[np.ndarray, "crop crop"], Int8[np.ndarray, "crop crop"]]:
    """Returns a random crop of an image and its labels, mirrored, turned, and with a contrast drawn at random.

    Normalised images differ in the grey of their background: a dark object at the rim is enough.
    """
    row, column = (rng.integers(side - _CROP + 1) for side in image.shape)
    window = np.s_[row : row + _CROP, column : column + _CROP]
    turns, mirror = int(rng.integers(4)), int(rng.choice([1, -1]))
    crop, truth = (np.rot90(one[window], turns)[:, ::mirror] for one in (image, labels))
    return 0.5 + rng.uniform(*_GAIN) * (crop - 0.5) + rng.uniform(*_SHIFT), truth


def _step(
    optimizer: optax.GradientTransformation,
    state: TrainState,
    images: Float32[Array, "batch crop crop"],
    labels: Int[Array, "batch crop crop"],
) -> TrainState:
    """Does one step of gradient descent on the mean cross-entropy of the pixels that are not ignored."""
    counted = labels >= 0

    def loss_of(params: Any) -> tuple[Float[Array, ""], Any]:
        variables = {"params": params, "batch_stats": state.batch_stats}
        logits, updated = _MODEL.apply(
            variables, images[..., None], train=True, mutable=["batch_stats"], method="logits"
        )
        losses = optax.sigmoid_binary_cross_entropy(logits[..., 0], labels.astype(jnp.float32))
        mean = jnp.sum(losses * counted) / jnp.maximum(counted.sum(), 1)
        return mean, updated["batch_stats"]

    gradient, batch_stats = jax.grad(loss_of, has_aux=True)(state.params)
    updates, moments = optimizer.update(gradient, state.optimizer, state.params)
    params = optax.apply_updates(state.params, updates)
    return state._replace(step=state.step + 1, params=params, batch_stats=batch_stats, optimizer=moments)


@cache
def _compiled_step(steps: int) -> tuple[optax.GradientTransformation, Callable[..., TrainState]]:
    """Returns the optimizer of a training of so many steps, and its compiled step."""
    settings = TrainConfig(learning_rate=_LEARNING_RATE, warmup=min(_WARMUP, steps - 1), steps=steps)
    optimizer = make_optimizer(settings)
    step = jax.jit(partial(_step, optimizer), donate_argnames="state", compiler_options=compiler_options())
    return optimizer, step
