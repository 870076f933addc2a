"""Winner maps: per pixel the greatest contribution, its owner and the runner-up (paper §3.2, Eq. 4-5 in one pass).

`winner_map` is a pure function of JAX arrays, for `jax.jit` (with `reach` static), `jax.vmap` over images and
`jax.export`. The contribution maps of cells are merged one after the other into layers, which are as large as the
image.
"""

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Int32

from wsis_jax.core import WinnerMap
from wsis_jax.network.contributions import chunk_of, in_reach, recorded_image, windows_back, windows_of_model
from wsis_jax.network.model import Model
from wsis_jax.network.receptive_field import Span, Windows
from wsis_jax.network.record import RecordedImage

# The layers of a winner map while cells are merged: best value, owner, runner-up. They are one array, the values
# by their bits, because XLA updates it in place; three arrays it copies as a whole for every cell.
Layers: TypeAlias = Int[Array, "3 height width"]


def winner_map(
    model: Model,
    image: Float[Array, "height width *channels"],
    regions: Int[Array, "height width"],
    peaks: Int[Array, "cells 2"],
    *,
    reach: float | None,
) -> WinnerMap:
    """Returns the winner map of the contribution maps, as JAX arrays.

    Arguments and errors are those of `contributions`. A chunk of cells at a time goes back and is merged, so the
    memory does not grow with the number of cells.
    """
    spans, count = windows_of_model(model, reach=reach), len(peaks)
    if not count:
        return _winner_of(*no_winner(regions.shape, None))
    seen, chunk = recorded_image(model, image, regions), min(chunk_of(model, spans), count)
    return _winner_of(*merged_in_chunks(model, seen, peaks, count, spans=spans, chunk=chunk, reach=reach))


def merged_in_chunks(
    model: Model,
    image: RecordedImage,
    peaks: Int[Array, "_ 2"],
    count: int | Int[Array, ""],
    *,
    spans: Windows,
    chunk: int,
    reach: float | None,
) -> Layers:
    """Returns the layers of the winner map of the first `count` peaks, a chunk of cells after the other.

    Args:
        model: a trained model; of its settings the backward rule counts.
        image: what the cells share.
        peaks: (row, column); what comes after the first `count` does not matter.
        count: how many cells there are.
        spans: the windows of a cell.
        chunk: how many cells go back at a time.
        reach: contributions farther than this from the peak are left out, in pixels; None: none are.
    """
    span, shape = spans.encoder[0].input, image.regions.shape

    def step(i: Array, winner: Layers) -> Layers:
        ids = i * chunk + jnp.arange(1, chunk + 1, dtype=jnp.int32)
        places = peaks[jnp.minimum(ids, count) - 1]
        maps = windows_back(model, image, ids, places, spans=spans)
        return merged(winner, maps, places, ids, span=span, reach=reach)

    winner = jax.lax.fori_loop(0, -(-count // chunk), step, no_winner(shape, span))
    return winner[:, *place_of_image(shape, span)]


# The layers of a winner map: made, extended, and read


def no_winner(shape: tuple[int, ...], span: Span | None) -> Layers:
    """Returns the layers of no cells, with room around them for the windows of peaks at the border."""
    beyond = span.size - 1 if span else 0
    return jnp.zeros((3, *(n + beyond for n in shape)), jnp.int32)


def place_of_image(shape: tuple[int, ...], span: Span | None) -> tuple[slice, ...]:
    """Returns where the image is in a winner map with room around it."""
    margin = -span.low if span else 0
    return tuple(slice(margin, margin + n) for n in shape)


def merged(
    winner: Layers,
    maps: Float[Array, "cells _ _"],
    peaks: Int[Array, "cells 2"],
    ids: Int[Array, " cells"],
    *,
    span: Span | None,
    reach: float | None,
) -> Layers:
    """Returns the layers of a winner map with further cells in it, one after the other.

    Args:
        winner: of the cells before, from `no_winner` at first.
        maps: at least 0; those of ids beyond the last cell are 0 everywhere.
        peaks: of the cells.
        ids: of the cells, counted from 1.
        span: of the windows that the maps are; None if they are of the whole image.
        reach: contributions farther than this from the peak are left out; None: none are.
    """
    maps = in_reach(maps, peaks, span=span, reach=reach)
    # A peak is where its window begins, given the room.
    corners = jnp.pad(jnp.zeros_like(peaks) if span is None else peaks, ((0, 0), (1, 0)))

    def merge(i: Array, winner: Layers) -> Layers:
        best, owner, second = jax.lax.dynamic_slice(winner, corners[i], (3, *maps.shape[1:]))
        values = _as_bits(maps[i])  # of numbers of at least 0 the bits are in the order of the numbers
        wins = values > best  # strictly: the first of equals keeps the pixel
        new = (
            jnp.where(wins, values, best),
            jnp.where(wins, ids[i], owner),
            jnp.where(wins, best, jnp.maximum(second, values)),
        )
        return jax.lax.dynamic_update_slice(winner, jnp.stack(new), corners[i])

    return jax.lax.fori_loop(0, maps.shape[0], merge, winner)


def winner_of_layers(layers: Int32[np.ndarray, "3 _ _"], shape: tuple[int, int]) -> WinnerMap:
    """Returns the winner map of an image of (height, width) `shape`, in arrays of its own, from its layers."""
    best, owner, second = layers[:, : shape[0], : shape[1]].copy()
    return WinnerMap(best.view(np.float32), owner, second.view(np.float32))


_as_bits = partial(jax.lax.bitcast_convert_type, new_dtype=jnp.int32)
_as_values = partial(jax.lax.bitcast_convert_type, new_dtype=jnp.float32)


def _winner_of(best: Array, owner: Array, second: Array) -> WinnerMap:
    """Returns a winner map of JAX arrays from its layers."""
    of_device: Callable[..., WinnerMap] = WinnerMap
    return of_device(_as_values(best), owner, _as_values(second))
