"""Layers of the network whose backward pass XLA would otherwise make slow, above all on a CPU.

Each has the variables and the numbers of its namesake in `flax.linen`; only how they are computed differs.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

_MOMENTUM, _EPSILON = 0.9, 1e-5  # PyTorch's defaults

Features = Float[Array, "batch height width channels"]
Kernel = Float[Array, "3 3 inputs outputs"]
PerChannel = Float[Array, " channels"]


# Convolution


def _plain(
    x: Float[Array, "batch height width inputs"], kernel: Kernel
) -> Float[Array, "batch height width outputs"]:
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


_convolve = jax.custom_vjp(_plain)


def _convolve_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _plain(x, kernel), (x, kernel)


def _convolve_backward(kept: tuple[Array, Array], signal: Array) -> tuple[Array, Array]:
    x, kernel = kept
    (to_input,) = jax.linear_transpose(lambda x: _plain(x, kernel), x)(signal)
    # A CPU packs nine shifted copies of the left operand, so the one of fewer channels should stand there.
    if x.shape[-1] > signal.shape[-1]:
        return to_input, jax.lax.platform_dependent(
            x, signal, cpu=_kernel_gradient_swapped, default=_kernel_gradient
        )
    return to_input, _kernel_gradient(x, signal)


def _kernel_gradient(x: Array, signal: Array) -> Array:
    kernel = jax.ShapeDtypeStruct((3, 3, x.shape[-1], signal.shape[-1]), x.dtype)
    return jax.linear_transpose(lambda kernel: _plain(x, kernel), kernel)(signal)[0]


def _kernel_gradient_swapped(x: Array, signal: Array) -> Array:
    """The same with features and signal exchanged: the shifts change sign, inputs and outputs places."""
    numbers = ("CHWN", "IHWO", "HWNC")
    shifted = jax.lax.conv_general_dilated(signal, x, (1, 1), ((1, 1), (1, 1)), dimension_numbers=numbers)
    return shifted[::-1, ::-1].swapaxes(2, 3)


_convolve.defvjp(_convolve_forward, _convolve_backward)


def convolve(
    x: Float[Array, "batch height width inputs"], kernel: Kernel, *_: Any, **__: Any
) -> Float[Array, "batch height width outputs"]:
    """Returns the 3 × 3 convolution whose border sees zeros; `conv_general_dilated` of a `flax.linen.Conv`.

    What Flax would set besides (strides and the like) is left at its default and ignored.
    """
    return _convolve(x, kernel)


# Max pooling


@jax.custom_vjp
def max_pool(x: Features) -> Float[Array, "batch height//2 width//2 channels"]:
    """Returns the greatest value of every 2 × 2 pixels.

    The gradient goes to the first of equals, as in `flax.linen.max_pool`, whose backward pass searches all windows
    and scatters; here the forward pass remembers the winners.
    """
    return _pool_forward(x)[0]


def _pool_forward(
    x: Features,
) -> tuple[Float[Array, "batch height//2 width//2 channels"], UInt8[Array, "batch height//2 width//2 channels"]]:
    """Returns the greatest value of every 2 × 2 pixels and which of the four it was, row by row."""
    greatest, winner = x[:, ::2, ::2], jnp.uint8(0)
    for place, (row, column) in enumerate(((0, 1), (1, 0), (1, 1)), start=1):
        other = x[:, row::2, column::2]
        winner = jnp.where(other > greatest, jnp.uint8(place), winner)
        greatest = jnp.maximum(greatest, other)
    return greatest, winner


def _pool_backward(winner: UInt8[Array, "batch height width channels"], signal: Features) -> tuple[Array]:
    batch, height, width, channels = signal.shape
    place = jnp.arange(4, dtype=jnp.uint8).reshape(1, 1, 2, 1, 2, 1)
    here = jnp.where(winner[:, :, None, :, None] == place, signal[:, :, None, :, None], 0)
    return (here.reshape(batch, 2 * height, 2 * width, channels),)


max_pool.defvjp(_pool_forward, _pool_backward)


# Batch norm


class BatchNorm(nn.Module):
    """Batch norm over all but the channels."""

    @nn.compact
    def __call__(self, x: Features, *, train: bool) -> Features:
        """Returns the features normalised by the running statistics or, to train, by those of the batch.

        The latter update the running ones.
        """
        channels = x.shape[-1:]
        scale = jnp.asarray(self.param("scale", nn.initializers.ones, channels))
        bias = jnp.asarray(self.param("bias", nn.initializers.zeros, channels))
        mean = self.variable("batch_stats", "mean", jnp.zeros, channels)
        variance = self.variable("batch_stats", "var", jnp.ones, channels)
        if not train:
            return _affine(x, scale * jax.lax.rsqrt(variance.value + _EPSILON), jnp.asarray(mean.value), bias)
        normalized, batch_mean, batch_variance = _normalize(x, scale, bias)
        if not self.is_initializing():
            mean.value = _MOMENTUM * mean.value + (1 - _MOMENTUM) * batch_mean
            variance.value = _MOMENTUM * variance.value + (1 - _MOMENTUM) * batch_variance
        return normalized


def _affine(x: Features, gain: PerChannel, mean: PerChannel, bias: PerChannel) -> Features:
    """Returns (x - mean) · gain + bias.

    Multiplied out, since the backward pass needs x - mean again and XLA would write it to memory for it.
    """
    return x * gain[None, None, None] + (bias - mean * gain)[None, None, None]


@jax.custom_vjp
def _normalize(x: Features, scale: PerChannel, bias: PerChannel) -> tuple[Features, PerChannel, PerChannel]:
    """Returns the features normalised by their own statistics, and these; only the features have a gradient."""
    return _normalize_forward(x, scale, bias)[0]


def _normalize_forward(
    x: Features, scale: PerChannel, bias: PerChannel
) -> tuple[tuple[Features, PerChannel, PerChannel], tuple[Features, PerChannel, PerChannel, PerChannel]]:
    mean = x.mean((0, 1, 2))
    variance = jnp.maximum((x * x).mean((0, 1, 2)) - mean * mean, 0)
    inverse = jax.lax.rsqrt(variance + _EPSILON)
    gain = scale * inverse
    return (_affine(x, gain, mean, bias), mean, variance), (x, mean, inverse, scale)


def _normalize_backward(
    kept: tuple[Features, PerChannel, PerChannel, PerChannel], signals: tuple[Features, PerChannel, PerChannel]
) -> tuple[Features, PerChannel, PerChannel]:
    (x, mean, inverse, scale), signal = kept, signals[0]
    count, gain = x.size // x.shape[-1], scale * inverse
    to_bias = signal.sum((0, 1, 2))
    to_scale = (signal * (x - mean[None, None, None])).sum((0, 1, 2)) * inverse
    slope = gain * inverse * to_scale / count
    to_features = _affine(signal, gain, to_bias / count, mean * slope) - x * slope[None, None, None]
    return to_features, to_scale, to_bias


_normalize.defvjp(_normalize_forward, _normalize_backward)
