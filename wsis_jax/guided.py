"""Contribution maps: which pixels each detection came from (paper §3.2, Eq. 1-5)."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int, Int32

from wsis_jax.unet import UNet, Variables

Rule = Literal["guided", "gradient", "deconvnet"]
Method = Literal["vmap", "loop"]


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

_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "guided": guided_relu,
    "gradient": jax.nn.relu,
    "deconvnet": deconvnet_relu,
}


class WinnerMap(NamedTuple):
    """Per pixel the cell of the greatest contribution (Eq. 4-5 in one pass).

    Attributes:
        value: the greatest contribution, at least 0.
        owner: i + 1 where cell i has it (the first of equals), 0 where no cell contributes.
        runner_up: the greatest contribution of any other cell; `value - runner_up` is a margin of confidence.
    """

    value: Float32[np.ndarray, "height width"]
    owner: Int32[np.ndarray, "height width"]
    runner_up: Float32[np.ndarray, "height width"]


def contribution_maps(
    model: UNet,
    variables: Variables,
    image: Float[np.ndarray, "height width"],
    regions: Int[np.ndarray, "height width"],
    *,
    cells: int,
    method: Method = "vmap",
    rule: Rule = "guided",
    start: Literal["likelihood", "one"] = "likelihood",
    start_at: Literal["likelihood", "logit"] = "likelihood",
    chunk: int = 8,
) -> Float32[np.ndarray, "{cells} height width"]:
    """Returns the contribution map g⁰(u) of every cell, clamped to at least 0.

    The signal of Eq. 1 starts inside the cell's centre region and is propagated back to the image. The guided
    rule is positively homogeneous but not additive, so cells cannot share a pass.

    Args:
        model: the network, with any activation: the rule replaces it.
        variables: its variables.
        image: normalised, 0..1; sides multiples of `model.stride`.
        regions: i + 1 in the centre region of cell i, 0 elsewhere.
        cells: number of cells; a cell without a region has a map of zeros.
        method: "vmap" propagates `chunk` cells at a time, "loop" one after the other. The numbers are equal.
        rule: "guided" (the paper's), "gradient" (plain), "deconvnet" (ignores the forward pass).
        start: the signal inside the region: "likelihood" y (Eq. 1) or "one" (the authors' code).
        start_at: it enters after the sigmoid ("likelihood") or before it ("logit").
        chunk: cells at a time; memory grows with it and with the image.

    Raises:
        ValueError: if a side of the image is no multiple of `model.stride`.
    """
    maps = np.zeros((cells, *image.shape), np.float32)
    options = {"method": method, "rule": rule, "start": start, "start_at": start_at, "chunk": chunk}
    for ids, values in _propagate(model, variables, image, regions, cells=cells, **options):
        maps[ids - 1] = np.asarray(values)[: len(ids)]
    return maps


def winner_map(
    model: UNet,
    variables: Variables,
    image: Float[np.ndarray, "height width"],
    regions: Int[np.ndarray, "height width"],
    *,
    cells: int,
    method: Method = "vmap",
    rule: Rule = "guided",
    start: Literal["likelihood", "one"] = "likelihood",
    start_at: Literal["likelihood", "logit"] = "likelihood",
    chunk: int = 8,
) -> WinnerMap:
    """Returns the winner map of the contribution maps without ever holding more than a chunk of them.

    Arguments and errors are those of `contribution_maps`.
    """
    zeros = jnp.zeros(image.shape, jnp.float32)
    winner = zeros, jnp.zeros(image.shape, jnp.int32), zeros
    options = {"method": method, "rule": rule, "start": start, "start_at": start_at, "chunk": chunk}
    for ids, values in _propagate(model, variables, image, regions, cells=cells, **options):
        winner = _merge(winner, values, int(ids[0]))
    return WinnerMap(*(np.asarray(part) for part in winner))


def _propagate(
    model: UNet,
    variables: Variables,
    image: Float[np.ndarray, "height width"],
    regions: Int[np.ndarray, "height width"],
    *,
    cells: int,
    method: Method,
    rule: Rule,
    start: str,
    start_at: str,
    chunk: int,
) -> Iterator[tuple[Int[np.ndarray, " ids"], Float[Array, "chunk height width"]]]:
    """Yields the ids (1-based) of a chunk of cells and their maps; after the last id, maps are zeros."""
    if not cells:
        return
    twin = model.clone(activation=_ACTIVATIONS[rule])
    logits, pullback = _record(twin, variables, jnp.asarray(image, jnp.float32))
    signal = _start_signal(logits, start=start, start_at=start_at)
    regions_on_device = jnp.asarray(regions, jnp.int32)
    # A power of two where cells are fewer than a chunk, so that a folder of images compiles a handful of programs.
    size = 1 if method == "loop" else min(chunk, 1 << (cells - 1).bit_length())
    back = _back_one if method == "loop" else _back_many
    for first in range(1, cells + 1, size):
        ids = jnp.arange(first, first + size)
        yield np.arange(first, min(first + size, cells + 1)), back(pullback, signal, regions_on_device, ids)


@partial(jax.jit, static_argnames="twin")
def _record(twin: UNet, variables: Variables, image: Float[Array, "height width"]):
    """Runs the network forward once and returns its logits and the pull-back to the image."""

    def forward(x: Float[Array, "height width"]) -> Float[Array, "height width"]:
        return jnp.asarray(twin.apply(variables, x[None, :, :, None], method="logits"))[0, :, :, 0]

    return jax.vjp(forward, image)


@partial(jax.jit, static_argnames=("start", "start_at"))
def _start_signal(
    logits: Float[Array, "height width"], *, start: str, start_at: str
) -> Float[Array, "height width"]:
    """Returns Eq. 1 for all regions at once, as a signal on the logits."""
    y = jax.nn.sigmoid(logits)
    signal = y if start == "likelihood" else jnp.ones_like(y)
    return signal if start_at == "logit" else signal * y * (1 - y)


def _back(pullback, signal, regions, cell) -> Float[Array, "height width"]:
    """Propagates one cell's share of the signal back; ids beyond the last cell select nothing."""
    (gradient,) = pullback(jnp.where(regions == cell, signal, 0))
    return jnp.maximum(gradient, 0)


@jax.jit
def _back_one(pullback, signal, regions, ids) -> Float[Array, "1 height width"]:
    return _back(pullback, signal, regions, ids[0])[None]


@jax.jit
def _back_many(pullback, signal, regions, ids) -> Float[Array, "chunk height width"]:
    return jax.vmap(partial(_back, pullback, signal, regions))(ids)


@jax.jit
def _merge(winner, maps: Float[Array, "chunk height width"], first: Int[Array, ""]):
    """Merges a chunk of maps, of cells `first`, `first` + 1, …, into the winner map."""
    value, owner, runner_up = winner
    best = jnp.max(maps, axis=0)
    index = jnp.argmax(maps, axis=0)
    others = jnp.where(jnp.arange(len(maps))[:, None, None] == index[None], 0, maps)
    second = jnp.max(others, axis=0)
    wins = best > value  # strictly: the first of equals keeps the pixel
    runner_up = jnp.where(wins, jnp.maximum(value, second), jnp.maximum(best, runner_up))
    owner = jnp.where(wins, (first + index).astype(owner.dtype), owner)
    return jnp.maximum(value, best), owner, runner_up
