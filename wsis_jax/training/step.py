"""One step of a training, and the state that it carries to the next."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, Key

from wsis_jax.core import TrainConfig, compiler_options, in_copies, in_parts
from wsis_jax.network import UNet, Variables, initial_variables
from wsis_jax.training.patches import Batch, Pixels, draw_batch


class TrainState(NamedTuple):
    """Everything a training needs to go on; a pytree."""

    step: Int[Array, ""]  # number of steps done
    params: Any  # of the network, as the next
    batch_stats: Any
    optimizer: Any  # the state of optax
    best: Float[Array, " 2"]  # (f_measure, -loss) of the validation with the least loss so far
    best_step: Int[Array, ""]  # the step of that validation
    loss_sum: Float[Array, ""]  # of all steps since the last validation


TrainStep = Callable[[TrainState, Key[Array, ""], Pixels], tuple[TrainState, Float[Array, ""]]]
"""Takes a state (which is used up), the key of the training and its pixels; returns the new state and the loss."""


# Trainings with the same settings in one process, as of several folds, share the optimizer and the compiled step.
_KEPT = 8


@lru_cache(maxsize=_KEPT)
def make_optimizer(settings: TrainConfig) -> optax.GradientTransformation:
    """Returns Adam with linear warm-up and, unless the schedule is constant, a cosine decay to 0."""
    rate, warmup = settings.learning_rate, settings.warmup
    if settings.schedule == "constant":
        after: optax.Schedule = optax.constant_schedule(rate)
    else:
        after = optax.cosine_decay_schedule(rate, max(settings.steps - warmup, 1))
    if not warmup:
        return optax.adam(after)
    ramp = optax.linear_schedule(rate / warmup, rate, warmup)
    return optax.adam(optax.join_schedules([ramp, after], [warmup]))


def initial_state(
    network: UNet, optimizer: optax.GradientTransformation, seed: int, variables: Variables | None = None
) -> TrainState:
    """Returns the state before the first step, with random variables where none are given."""
    variables = initial_variables(network, seed) if variables is None else variables
    state = TrainState(
        step=jnp.array(0, jnp.int32),
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        optimizer=optimizer.init(variables["params"]),
        best=jnp.full(2, -jnp.inf, jnp.float32),
        best_step=jnp.array(0, jnp.int32),
        loss_sum=jnp.array(0.0, jnp.float32),
    )
    # The arrays are committed to a device, as are those that a step returns or that are read from a file.
    # Otherwise the second step, and a resumed training, would compile the step again.
    return jax.device_put(state, state.loss_sum.device)


@lru_cache(maxsize=_KEPT)
def make_train_step(
    network: UNet, optimizer: optax.GradientTransformation, mesh: Mesh, settings: TrainConfig
) -> TrainStep:
    """Returns the compiled step of a training: draw a batch, descend on it.

    Both are one program, so that no step waits for its data. Every device draws the patches that it descends on.

    Args:
        mesh: the devices that share a batch.
        settings: `batch`, `patch` (rounded up to a multiple of the network's stride) and `augment`.
    """
    patch = -(-settings.patch // network.stride) * network.stride

    def train_step(state: TrainState, key: Key[Array, ""], pixels: Pixels) -> tuple[TrainState, Float[Array, ""]]:
        batch = draw_batch(
            key, pixels, state.step + 1, batch=settings.batch, patch=patch, augment=settings.augment
        )
        batch = jax.lax.with_sharding_constraint(batch, in_parts(mesh))
        state, loss = descend(network, optimizer, state, batch)
        state = state._replace(loss_sum=state.loss_sum + loss)
        return jax.lax.with_sharding_constraint((state, loss), in_copies(mesh))

    return jax.jit(train_step, donate_argnames="state", compiler_options=compiler_options())


def descend(
    network: UNet, optimizer: optax.GradientTransformation, state: TrainState, batch: Batch
) -> tuple[TrainState, Float[Array, ""]]:
    """Does one step of gradient descent on the mean squared error; returns the new state and the loss.

    The loss is mean((w (y - t))²) over all pixels, with weights w of 0 where the target t is not known, else 1.
    """

    def loss_of(params: Any) -> tuple[Float[Array, ""], Any]:
        variables = {"params": params, "batch_stats": state.batch_stats}
        predicted, updated = network.apply(variables, batch.images, train=True, mutable=["batch_stats"])
        error = predicted - batch.targets
        if batch.weights is not None:
            error = error * batch.weights
        return jnp.mean(error**2), updated["batch_stats"]

    (loss, batch_stats), gradient = jax.value_and_grad(loss_of, has_aux=True)(state.params)
    updates, optimizer_state = optimizer.update(gradient, state.optimizer, state.params)
    params = optax.apply_updates(state.params, updates)
    new = state._replace(step=state.step + 1, params=params, batch_stats=batch_stats, optimizer=optimizer_state)
    return new, loss
