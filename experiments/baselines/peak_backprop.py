"""Peak back-propagation (Zhou et al., CVPR 2018, Eq. 2-3): which pixels a peak of a class map came from.

A top-down walk: the probability P(V) at the output of a convolution goes to its inputs as P(U) = Σ_V P(V) P(U|V),
where P(U|V) = Û W⁺ / Σ Û W⁺ with the positive weights W⁺ and the input Û above its lowest value. Only convolutions
have this rule; ReLU, pooling and the rest pass the signal as in ordinary back-propagation, as in the authors'
released code. Biases take no part. Batch norm is to be folded into the convolutions: as the released code passes
it, its scale would change the sum of the probabilities.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float

from wsis_jax.core import Config, Detection, WinnerMap
from wsis_jax.network import (
    Cells,
    Linear,
    Model,
    UNet,
    Variables,
    pad_to_stride,
    start_signal,
    winner_map_in_chunks,
)

_NOTHING = 1e-10  # a unit with less evidence passes nothing on, as in the released code

Features = Float[Array, "batch height width inputs"]
Outputs = Float[Array, "batch height width outputs"]
Kernel = Float[Array, "rows columns inputs outputs"]


def _plain(x: Features, kernel: Kernel) -> Outputs:
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


@jax.custom_vjp
def relevance_convolution(x: Features, kernel: Kernel) -> Outputs:
    """Returns the convolution, zeros beyond the border; its backward pass has the rule of peak back-propagation.

    The kernel has no gradient.
    """
    return _plain(x, kernel)


def _forward(x: Features, kernel: Kernel) -> tuple[Outputs, tuple[Features, Kernel, Outputs]]:
    # Per image: what passes through a batch must not depend on the batch.
    raised, positive = x - x.min((1, 2, 3), keepdims=True), jnp.maximum(kernel, 0)
    return _plain(x, kernel), (raised, positive, _plain(raised, positive))


def _backward(kept: tuple[Features, Kernel, Outputs], signal: Outputs) -> tuple[Features, Kernel]:
    raised, positive, evidence = kept
    share = jnp.where(evidence > _NOTHING, signal / jnp.maximum(evidence, _NOTHING), 0)
    (back,) = jax.linear_transpose(lambda x: _plain(x, positive), raised)(share)
    return raised * back, jnp.zeros_like(positive)


relevance_convolution.defvjp(_forward, _backward)


def with_relevance(apply: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a call of a Flax network, such as `model.apply`, in which every `nn.Conv` has the backward rule.

    Raises:
        ValueError: at the call, if a convolution has a stride, is dilated or grouped, or does not keep the size.
    """

    def exchange(following: Callable[..., Any], args: tuple, kwargs: dict, context: nn.module.InterceptorContext):
        layer = context.module
        if not isinstance(layer, nn.Conv) or context.method_name != "__call__":
            return following(*args, **kwargs)
        steps = (layer.strides, layer.kernel_dilation, layer.input_dilation, layer.feature_group_count)
        if layer.padding != "SAME" or any(np.any(np.array(step) != 1) for step in steps if step is not None):
            raise ValueError(f"the convolution {layer.name} has strides or padding that the rule is not made for")
        outputs = relevance_convolution(args[0], layer.get_variable("params", "kernel"))
        return outputs + layer.get_variable("params", "bias")[None, None, None] if layer.use_bias else outputs

    def call(*args: Any, **kwargs: Any) -> Any:
        with nn.intercept_methods(exchange):
            return apply(*args, **kwargs)

    return call


def normalized(relevance: Float[Array, "*axes"], axes: tuple[int, ...]) -> Float[Array, "*axes"]:
    """Returns relevance clamped to at least 0 and divided by its sum over axes, as in the released code."""
    relevance = jnp.maximum(relevance, 0)
    return relevance / jnp.maximum(relevance.sum(axes, keepdims=True), _NOTHING)


def relevance_winners(run: Model, detection: Detection, *, config: Config) -> WinnerMap:
    """Returns the winner map of detected cells whose centre regions went back by this rule, not the guided ReLU's.

    What the detection U-Net and its graph cuts give with the rule of peak response maps, all else equal; it is in
    no paper.

    Args:
        run: a trained model, batch norm folded.
        detection: of an image.
        config: the settings to use; those of contributions say what starts the signal.
    """
    padded, frame = pad_to_stride(detection.image, run.network.stride)
    margin = [(0, p - n) for p, n in zip(padded.shape, detection.image.shape, strict=True)]
    likelihood, pullback = _record(run.network, run.variables, jnp.asarray(padded, jnp.float32))
    settings = config.contribution
    signal = start_signal(likelihood, settings)
    cells = Cells(padded, np.pad(detection.regions, margin), detection.peaks, reach=config.cell_reach)
    winner = winner_map_in_chunks(
        run.using(replace(config, contribution=replace(settings, method="vmap"))),
        cells,
        linear=Linear(Partial(_normalized_back, pullback), signal),
    )
    return WinnerMap(*(part[frame] for part in winner))


@partial(jax.jit, static_argnames="model")
def _record(model: UNet, variables: Variables, image: Float[Array, "height width"]):
    """Runs the network forward once; returns the likelihood map and the pull-back from its logits to the image."""
    logits_of = with_relevance(partial(model.apply, method="logits"))
    logits, pullback = jax.vjp(lambda x: logits_of(variables, x[None, :, :, None])[0, :, :, 0], image)
    return jax.nn.sigmoid(logits), pullback


def _normalized_back(pullback, signal: Float[Array, "height width"]) -> tuple[Float[Array, "height width"]]:
    """Returns what a signal on the logits becomes in the image; its scale, as that of a region, is taken away."""
    (relevance,) = pullback(signal)
    return (normalized(relevance, (0, 1)),)
