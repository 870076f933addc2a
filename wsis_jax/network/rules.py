"""The ReLU and its backward rules: guided, deconvnet, and the plain gradient."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


@jax.custom_vjp
def guided_relu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """ReLU whose backward signal passes where both the input and the signal are positive (Eq. 2-3)."""
    return jnp.maximum(x, 0)


def _guided_forward(x: Float[Array, "..."]) -> tuple[Float[Array, "..."], Bool[Array, "..."]]:
    return jnp.maximum(x, 0), x > 0  # the record is one boolean per unit, not its value


def _guided_backward(active: Bool[Array, "..."], signal: Float[Array, "..."]) -> tuple[Float[Array, "..."]]:
    return (jnp.where(active, jnp.maximum(signal, 0), 0),)


guided_relu.defvjp(_guided_forward, _guided_backward)


@jax.custom_vjp
def deconvnet_relu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """ReLU whose backward signal passes where the signal is positive (Zeiler and Fergus, ECCV 2014)."""
    return jnp.maximum(x, 0)


def _deconvnet_forward(x: Float[Array, "..."]) -> tuple[Float[Array, "..."], None]:
    return jnp.maximum(x, 0), None


def _deconvnet_backward(_: None, signal: Float[Array, "..."]) -> tuple[Float[Array, "..."]]:
    return (jnp.maximum(signal, 0),)


deconvnet_relu.defvjp(_deconvnet_forward, _deconvnet_backward)

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "guided": guided_relu,
    "gradient": jax.nn.relu,
    "deconvnet": deconvnet_relu,
}
"""The ReLU of each rule; forward, they are the same."""
