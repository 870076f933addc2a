"""One step of gradient descent, and the state that it carries from one to the next."""

from functools import cache
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from wsis_jax.network import UNet, Variables, initial_variables


class TrainState(NamedTuple):
    """Everything a training needs to go on; a pytree.

    Attributes:
        step: number of steps done.
        params, batch_stats, optimizer: of the network and of optax.
        best: (f_measure, -loss) of the best validation so far, compared by the loss, then by the F-measure.
        best_step: the step of that validation.
        loss_sum: of all steps since the last validation; whoever trains adds to it.
    """

    step: Int[Array, ""]
    params: Any
    batch_stats: Any
    optimizer: Any
    best: Float[Array, " 2"]
    best_step: Int[Array, ""]
    loss_sum: Float[Array, ""]


@cache  # a second training of the same settings need not compile its step anew
def make_optimizer(
    *, learning_rate: float, schedule: Literal["cosine", "constant"], warmup: int, steps: int
) -> optax.GradientTransformation:
    """Returns Adam with linear warm-up and, unless the schedule is constant, a cosine decay to nothing."""
    if schedule == "constant":
        after: optax.Schedule = optax.constant_schedule(learning_rate)
    else:
        after = optax.cosine_decay_schedule(learning_rate, max(steps - warmup, 1))
    if not warmup:
        return optax.adam(after)
    ramp = optax.linear_schedule(learning_rate / warmup, learning_rate, warmup)
    return optax.adam(optax.join_schedules([ramp, after], [warmup]))


def initial_state(
    model: UNet, optimizer: optax.GradientTransformation, seed: int, variables: Variables | None = None
) -> TrainState:
    """Returns the state before the first step, with random variables where none are given."""
    variables = initial_variables(model, seed) if variables is None else variables
    state = TrainState(
        step=jnp.array(0, jnp.int32),
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        optimizer=optimizer.init(variables["params"]),
        best=jnp.full(2, -jnp.inf, jnp.float32),
        best_step=jnp.array(0, jnp.int32),
        loss_sum=jnp.array(0.0, jnp.float32),
    )
    # Of the types and on the device, for good, that a step returns and a saved state is read to: else the program
    # of a step would be compiled anew for the second step, and again for a training that goes on.
    return jax.device_put(state, state.loss_sum.device)


def descend(
    model: UNet,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    images: Float[Array, "batch height width 1"],
    targets: Float[Array, "batch height width 1"],
) -> tuple[TrainState, Float[Array, ""]]:
    """Does one step of gradient descent on the mean squared error; returns the new state and the loss.

    Where a target is NaN nobody knows what is right, and the error is 0.
    """

    def loss_of(params: Any) -> tuple[Float[Array, ""], Any]:
        variables = {"params": params, "batch_stats": state.batch_stats}
        predicted, updated = model.apply(variables, images, train=True, mutable=["batch_stats"])
        wrong = jnp.where(jnp.isnan(targets), 0, predicted - targets)
        return jnp.mean(wrong**2), updated["batch_stats"]

    (loss, batch_stats), gradient = jax.value_and_grad(loss_of, has_aux=True)(state.params)
    updates, optimizer_state = optimizer.update(gradient, state.optimizer, state.params)
    params = optax.apply_updates(state.params, updates)
    new = state._replace(step=state.step + 1, params=params, batch_stats=batch_stats, optimizer=optimizer_state)
    return new, loss
