"""Backward passes of cells through the whole image, by JAX's own differentiation.

Passes through windows (`windowed.py`) must give the same numbers. The cost of a cell grows with the image here, so
these passes serve to compare: `contribution.method` "vmap" and "loop". `chunks.py` drives them.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from wsis_jax.network.model import Model
from wsis_jax.network.record import start_signal
from wsis_jax.network.rules import relu_of, rule_of
from wsis_jax.network.unet import UNet, Variables, with_channels
from wsis_jax.network.windowed import clamped


class Linear(NamedTuple):
    """The network at one image, ready for backward passes through all of it: the pull-back, and Eq. 1."""

    pullback: Callable[[Array], tuple[Array]]
    signal: Float[Array, "height width"]


def linearize(
    model: Model, image: Float[np.ndarray, "height width *channels"] | Float[Array, "height width *channels"]
) -> Linear:
    """Returns what the methods "vmap" and "loop" need of the forward pass of an image."""
    settings = model.config.contribution
    twin = model.network.clone(activation=relu_of(rule_of(settings.rule)))
    likelihood, pullback = _pullback_of(twin, model.variables, jnp.asarray(image, jnp.float32))
    return Linear(pullback, start_signal(likelihood, settings))


@partial(jax.jit, static_argnames="twin")
def _pullback_of(
    twin: UNet, variables: Variables, image: Float[Array, "height width *channels"]
) -> tuple[Float[Array, "height width"], Callable[[Array], tuple[Array]]]:
    """Runs the network forward once; returns the likelihood map and the pull-back from its logits to the image.

    The type of the variables is that of the arithmetic; maps and signals outside the network are float32.
    """

    def forward(x: Float[Array, "height width *channels"]) -> Float[Array, "height width"]:
        images = with_channels(x[None]).astype(jax.tree.leaves(variables)[0].dtype)
        return jnp.asarray(twin.apply(variables, images, method="logits"), jnp.float32)[0, :, :, 0]

    logits, pullback = jax.vjp(forward, image)
    return jax.nn.sigmoid(logits), pullback


@jax.jit
def back_one(
    linear: Linear, regions: Int[Array, "height width"], cell: Int[Array, ""]
) -> Float[Array, "height width"]:
    """Returns the contribution map of a cell, by its 1-based id; zeros for ids beyond the last cell."""
    (gradient,) = linear.pullback(jnp.where(regions == cell, linear.signal, 0))
    return clamped(with_channels(gradient[None])[0])


@jax.jit
def back_many(
    linear: Linear, regions: Int[Array, "height width"], ids: Int[Array, " chunk"]
) -> Float[Array, "chunk height width"]:
    """Returns the contribution maps of a chunk of cells, as `back_one` does."""
    return jax.vmap(partial(back_one, linear, regions))(ids)
