"""Backward passes through windows of a record: exact, and at a cost that does not grow with the image.

Cells are propagated in chunks, as the batch of ordinary convolutions. Each cell has its own place, but the sizes
of the windows are the same for all (`receptive_field.py`). The steps between two levels are the same too, but for
one bit per axis: where the peak is in the grid of the pooling. Beyond the image's border a record says "inactive",
so that nothing comes back from there.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from wsis_jax.core import compiler_options
from wsis_jax.network.receptive_field import Block, Span, Windows
from wsis_jax.network.record import RecordedImage, unpack
from wsis_jax.network.rules import BackwardRule, passed
from wsis_jax.network.unet import UNet, Variables


class Views(NamedTuple):
    """The windows of a chunk of cells, cut from a record and packed as there, and where they are."""

    signal: Float[Array, "cells side side"]  # what starts in the centre region, at the logits
    active: tuple[Array, ...]  # of every ReLU
    lower: tuple[Array, ...]  # of every pooling
    right: tuple[Array, ...]
    peaks: Int[Array, "cells 2"]  # (row, column)
    frame: Int[Array, "2"]  # (height, width) of the image


@partial(jax.jit, static_argnames="spans")
def cut_views(
    image: RecordedImage, ids: Int[Array, " cells"], peaks: Int[Array, "cells 2"], *, spans: Windows
) -> Views:
    """Returns the windows of cells `ids` (1-based) around their peaks; zeros and "inactive" beyond the border."""
    record, signal, regions, frame = image
    start = spans.decoder[0].output if spans.decoder else spans.encoder[0].output
    mine = _view(regions, peaks, start, 0) == ids[:, None, None]
    relus = [(level, span) for level, block in enumerate(spans.encoder) for span in (block.middle, block.output)]
    for level, block in reversed(list(enumerate(spans.decoder))):
        relus += [(level, block.middle), (level, block.output)]
    pooled = [(level, block.input) for level, block in enumerate(spans.encoder)][1:]
    return Views(
        signal=jnp.where(mine, _view(signal, peaks, start, 0), 0),
        active=tuple(_view(x, peaks, s, level) for x, (level, s) in zip(record.active, relus, strict=True)),
        lower=tuple(_view(x, peaks, s, level) for x, (level, s) in zip(record.lower, pooled, strict=True)),
        right=tuple(_view(x, peaks, s, level) for x, (level, s) in zip(record.right, pooled, strict=True)),
        peaks=peaks,
        frame=frame,
    )


def _view(x: Array, peaks: Int[Array, "cells 2"], span: Span, level: int) -> Array:
    """Returns a window of x per cell, at a level; zeros beyond the border."""
    places = (peaks >> level)[:, :, None] + jnp.arange(span.low, span.high + 1)[None, None]
    rows, columns = places[:, 0, :, None], places[:, 1, None, :]
    # Python's meaning of negative indices would wrap them around.
    rows, columns = (jnp.where(i < 0, n, i) for i, n in zip((rows, columns), x.shape, strict=False))
    return x.at[rows, columns].get(mode="fill", fill_value=0)


Kernels = dict[str, Array]
"""What `backward_kernels` returns."""


@jax.jit
def backward_kernels(variables: Variables) -> Kernels:
    """Returns the kernels of the convolutions that carry signals back: mirrored, inputs and outputs exchanged."""
    kernels = {}
    for name, block in variables["params"].items():
        for part, conv in block.items() if name != "output" else ():
            kernels[f"{name}/{part}"] = jnp.flip(conv["kernel"], (0, 1)).swapaxes(2, 3)
    kernels["output"] = variables["params"]["output"]["kernel"][0, 0, :, 0]
    return kernels


@cache
def compiled_back() -> Callable[..., Float[Array, "cells side side"]]:
    """Returns `back`, compiled; no image's sides are in it, so that one program serves all images."""
    return jax.jit(back, static_argnames=("network", "spans", "rule"), compiler_options=compiler_options())


def back(
    network: UNet, kernels: Kernels, views: Views, *, spans: Windows, rule: BackwardRule
) -> Float[Array, "cells side side"]:
    """Propagates the signals back to the image, clamped to at least 0; of several channels, the sum of that.

    The network has no batch norm, and the type of its `backward_kernels` is that of the arithmetic. The rule says
    what the ReLUs do to a signal; which units are active is in the record already.
    """
    peaks, depth = views.peaks, len(spans.decoder)
    widths = (n for n in (*network.encoder, *network.decoder) for _ in range(2))
    active = [unpack(bits, n) for bits, n in zip(views.active, widths, strict=True)]

    def through(signal: Array, name: str, block: Block, relus: int) -> Array:
        """Passes a signal behind a block to in front of it."""
        steps = ((1, block.output, block.middle), (0, block.middle, block.input))
        for conv, behind, before in steps:
            signal = passed(signal, active[relus + conv], rule)
            signal = _convolve(signal, kernels[f"{name}/conv_{conv}"], behind, before)
        return signal

    precision = kernels["output"].dtype
    signal = views.signal[..., None].astype(precision) * kernels["output"][None, None, None]
    skips: list[Array] = []
    for level, block in enumerate(spans.decoder):
        # The decoder's blocks are numbered from the deepest.
        number = depth - 1 - level
        signal = through(signal, f"decoder_{number}", block, 2 * (depth + 1 + number))
        skips.append(signal[..., : network.encoder[level]])
        below = spans.decoder[level + 1] if level + 1 < depth else spans.encoder[depth]
        rows, columns = (
            _weights(place, size, block.input, below.output, align_corners=network.align_corners)
            for place, size in zip((peaks >> level).T, views.frame >> level, strict=True)
        )
        signal = _halve(signal[..., network.encoder[level] :], rows.astype(precision), columns.astype(precision))
    for level, block in reversed(list(enumerate(spans.encoder))):
        signal = through(signal, f"encoder_{level}", block, 2 * level)
        if level:
            lower, right = (unpack(bits[level - 1], signal.shape[-1]) for bits in (views.lower, views.right))
            above = spans.encoder[level - 1].output
            signal = _unpool(signal, lower, right, (peaks >> (level - 1)) & 1, block.input, above)
            signal += _fit(skips.pop(), spans.decoder[level - 1].input, above)
    return clamped(signal.astype(jnp.float32))


def clamped(signal: Float[Array, "*axes channels"]) -> Float[Array, "*axes"]:
    """Returns what each pixel contributes, g⁰ = Σ_c max(0, s_c), of the signals s_c that reach its channels.

    A unit of the input contributes what is positive of its signal, and a pixel what its units contribute. Clamping
    the sum, max(0, Σ_c s_c), would lose cells that a hue tells of: what speaks for red there speaks against blue.
    """
    return jnp.maximum(signal, 0).sum(-1)


def _convolve(signal: Array, kernel: Array, behind: Span, before: Span) -> Array:
    """Convolves a window, giving another: units that the first does not hold are zero."""
    side = (behind.low - before.low + 1, before.high + 1 - behind.high)
    return jax.lax.conv_general_dilated(
        signal, kernel, (1, 1), (side, side), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _fit(x: Array, have: Span, want: Span, axes: tuple[int, ...] = (1, 2)) -> Array:
    """Returns another span of a window along axes, with zeros where it holds nothing."""
    side = (have.low - want.low, want.high - have.high, 0)
    return jax.lax.pad(x, jnp.zeros((), x.dtype), [side if axis in axes else (0, 0, 0) for axis in range(4)])


def _unpool(
    signal: Array, lower: Array, right: Array, odd: Int[Array, "cells 2"], pooled: Span, above: Span
) -> Array:
    """Returns each pooling window's signal at its winner, in the span of the level above.

    A pooling window is at twice its place, and the peak there at twice its place or one beside it: `odd`.
    """
    cells, side, _, channels = signal.shape
    signal = jnp.stack([jnp.where(lower, 0, signal), jnp.where(lower, signal, 0)], axis=2)
    right = right[:, :, None]
    signal = jnp.stack([jnp.where(right, 0, signal), jnp.where(right, signal, 0)], axis=4)
    signal = signal.reshape(cells, 2 * side, 2 * side, channels)
    even, shifted = (Span(2 * pooled.low - bit, 2 * pooled.high + 1 - bit) for bit in (0, 1))
    for axis in (1, 2):
        bit = odd[:, axis - 1, None, None, None] == 1
        signal = jnp.where(bit, _fit(signal, shifted, above, (axis,)), _fit(signal, even, above, (axis,)))
    return signal


def _weights(
    place: Int[Array, " cells"], size: Int[Array, ""], fine: Span, coarse: Span, *, align_corners: bool
) -> Float[Array, "cells coarse fine"]:
    """Returns the part that each coarse unit has in each fine one by bilinear doubling, along one axis.

    Fine units beyond the border take no part, and the border itself is repeated.
    """
    at = (place[:, None] + jnp.arange(fine.low, fine.high + 1)[None])[:, None, :]
    units = ((place >> 1)[:, None] + jnp.arange(coarse.low, coarse.high + 1)[None])[:, :, None]
    last = size // 2 - 1
    if align_corners:  # the source of `at` is at · last / (size - 1); the difference first, so that it is exact
        distance = (at * last - units * (size - 1)) / (size - 1)
    else:
        distance = jnp.clip((at - 0.5) / 2, 0, last) - units
    return jnp.where((at >= 0) & (at < size), jnp.maximum(1 - jnp.abs(distance), 0), 0)


def _halve(signal: Array, rows: Array, columns: Array) -> Array:
    """Carries signals back through the bilinear doubling: the transpose of its weights."""
    signal = jnp.einsum("bij,bjkc->bikc", rows, signal)
    return jnp.einsum("bjk,bikc->bijc", columns, signal)
