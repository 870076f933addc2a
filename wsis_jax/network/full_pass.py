"""Backward passes through the whole image, cell after cell or vmapped: JAX's own, which windows must equal."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from wsis_jax.core import ContributionConfig
from wsis_jax.network.record import start_signal
from wsis_jax.network.rules import ACTIVATIONS
from wsis_jax.network.unet import UNet, Variables


class Linear(NamedTuple):
    """The network at one image, ready for backward passes through all of it: the pull-back, and Eq. 1."""

    pullback: Callable[[Array], tuple[Array]]
    signal: Float[Array, "height width"]


def linearize(
    model: UNet,
    variables: Variables,
    image: Float[np.ndarray, "height width"],
    *,
    settings: ContributionConfig,
) -> Linear:
    """Returns what "vmap" and "loop" need of the forward pass; arguments are those of `contribution_maps`."""
    twin = model.clone(activation=ACTIVATIONS[settings.rule])
    likelihood, pullback = _record(twin, variables, jnp.asarray(image, jnp.float32))
    return Linear(pullback, start_signal(likelihood, start=settings.start, start_at=settings.start_at))


@partial(jax.jit, static_argnames="twin")
def _record(twin: UNet, variables: Variables, image: Float[Array, "height width"]):
    """Runs the network forward once; returns the likelihood map and the pull-back from its logits to the image."""

    def forward(x: Float[Array, "height width"]) -> Float[Array, "height width"]:
        return jnp.asarray(twin.apply(variables, x[None, :, :, None], method="logits"))[0, :, :, 0]

    logits, pullback = jax.vjp(forward, image)
    return jax.nn.sigmoid(logits), pullback


def _back(pullback, signal, regions, cell) -> Float[Array, "height width"]:
    """Propagates one cell's share of the signal back; ids beyond the last cell select nothing."""
    (gradient,) = pullback(jnp.where(regions == cell, signal, 0))
    return jnp.maximum(gradient, 0)


@jax.jit
def back_one(pullback, signal, regions, cell) -> Float[Array, "1 height width"]:
    """Returns the contribution map of one cell, by its 1-based id."""
    return _back(pullback, signal, regions, cell)[None]


@jax.jit
def back_many(pullback, signal, regions, ids) -> Float[Array, "chunk height width"]:
    """Returns the contribution maps of a chunk of cells; of ids beyond the last cell, zeros."""
    return jax.vmap(partial(_back, pullback, signal, regions))(ids)
