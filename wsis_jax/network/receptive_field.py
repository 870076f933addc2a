"""Which units of the network matter for one cell: windows around its peak, level by level.

Two cones decide it. The *backward cone* holds the units that the cell's detection was computed from; the
*forward cone* holds the units that the pixels in question can influence. A signal outside the first is zero,
and outside the second it ends in pixels that nobody asked for, so the intersection is all there is to compute.

Spans are pairs of whole numbers, the same for rows and columns, counted from the peak: at a level that is 2^level
times coarser than the image, from `peak >> level`. The peak's place in the pooling grid shifts the cones by
up to a unit, so a span is the hull over all places; that keeps every size a constant, and one compiled program
serves all cells. Nothing here touches an array.
"""

from collections.abc import Sequence
from functools import partial, reduce
from typing import NamedTuple

import numpy as np

from wsis_jax.core import UserError


class Span(NamedTuple):
    """The units from `low` to `high`, both included."""

    low: int
    high: int

    @property
    def size(self) -> int:
        """Number of units."""
        return self.high - self.low + 1


class Block(NamedTuple):
    """The spans of a `DoubleConv`: of its input, of its first convolution's output and of its second's."""

    input: Span
    middle: Span
    output: Span


class Windows(NamedTuple):
    """The blocks of a network, full resolution first in both; `encoder[0].input` is the span of the map itself."""

    encoder: tuple[Block, ...]
    decoder: tuple[Block, ...]


def windows(levels: int, *, half: int, reach: int | None) -> Windows:
    """Returns the windows of one cell.

    Args:
        levels: of the encoder; every level but the deepest has a decoder block.
        half: the centre region lies within this many pixels of the peak, per axis.
        reach: pixels farther than this from the peak, per axis, are not asked for; None asks for all.

    Raises:
        UserError: if `half` or `reach` is negative.
    """
    if half < 0 or (reach is not None and reach < 0):
        raise UserError(f"half and reach must be at least 0, not {half} and {reach}")

    def around(peak: int) -> Windows:
        cone = backward_cone(peak, half, levels)
        if reach is not None:
            cone = _map(_intersection, cone, forward_cone(peak, reach, levels))
        return Windows(*(tuple(_relative(b, peak >> level) for level, b in enumerate(part)) for part in cone))

    return reduce(partial(_map, _hull), map(around, range(2 ** (levels - 1))))


def half_of(farthest: float | int | np.integer) -> int:
    """Returns how far regions go from their peaks, per axis, rounded up so that few different values occur."""
    return -(-int(farthest) // 6) * 6


def backward_cone(peak: int, half: int, levels: int) -> Windows:
    """Returns the units that a region within `half` of the peak is computed from, in absolute positions."""
    encoder: list[Block] = []
    decoder: list[Block] = []
    span = Span(peak - half, peak + half)
    for _ in range(levels - 1):
        decoder.append(Block(_grown(_grown(span)), _grown(span), span))
        low, high = decoder[-1].input
        # Bilinear doubling: unit o is made of the units (o - 1) // 2 and (o - 1) // 2 + 1 of the level below.
        span = Span((low - 1) // 2, (high - 1) // 2 + 1)
    for level in reversed(range(levels)):
        encoder.insert(0, Block(_grown(_grown(span)), _grown(span), span))
        if level:
            pooled = encoder[0].input
            span = _hull(Span(2 * pooled.low, 2 * pooled.high + 1), decoder[level - 1].input)
    return Windows(tuple(encoder), tuple(decoder))


def forward_cone(peak: int, reach: int, levels: int) -> Windows:
    """Returns the units that the pixels within `reach` of the peak can influence, in absolute positions."""
    encoder: list[Block] = []
    decoder: list[Block] = []
    span = Span(peak - reach, peak + reach)
    for _ in range(levels):
        encoder.append(Block(span, _grown(span), _grown(_grown(span))))
        low, high = encoder[-1].output
        span = Span(low // 2, high // 2)
    span = encoder[-1].output
    for level in reversed(range(levels - 1)):
        span = _hull(Span(2 * span.low - 1, 2 * span.high + 2), encoder[level].output)
        decoder.insert(0, Block(span, _grown(span), _grown(_grown(span))))
        span = decoder[0].output
    return Windows(tuple(encoder), tuple(decoder))


def multiply_adds(spans: Windows, encoder: tuple[int, ...], decoder: tuple[int, ...], *, inputs: int = 1) -> int:
    """Returns how many multiply-adds the backward pass of one cell takes in these windows.

    It counts the 3 × 3 convolutions, of `encoder`, `decoder` and `inputs` channels as in `UNet`; the rest is
    negligible.
    """
    return sum(
        9 * outputs * (outputs * block.middle.size**2 + incoming * block.input.size**2)
        for block, incoming, outputs in channels(spans, encoder, decoder, inputs=inputs)
    )


def full_multiply_adds(
    shape: Sequence[int], encoder: tuple[int, ...], decoder: tuple[int, ...], *, inputs: int = 1
) -> int:
    """Returns how many multiply-adds a backward pass takes through a whole image of (height, width) pixels.

    A forward pass takes as many. Like `multiply_adds`, it counts the 3 × 3 convolutions alone.
    """
    levels = (*range(len(encoder)), *range(len(decoder)))
    return sum(
        9 * outputs * (incoming + outputs) * (shape[0] >> level) * (shape[1] >> level)
        for level, (incoming, outputs) in zip(levels, widths(encoder, decoder, inputs=inputs), strict=True)
    )


def working_bytes(spans: Windows, encoder: tuple[int, ...], decoder: tuple[int, ...], *, inputs: int = 1) -> int:
    """Returns roughly how much memory the backward pass of one cell takes, in bytes.

    Every signal (4 bytes a unit) and record (unpacked, 1 byte) is counted as if all lived at once, which is
    more than any schedule needs.
    """
    return sum(
        5 * (outputs * (block.output.size**2 + block.middle.size**2) + incoming * block.input.size**2)
        for block, incoming, outputs in channels(spans, encoder, decoder, inputs=inputs)
    )


def channels(
    spans: Windows, encoder: tuple[int, ...], decoder: tuple[int, ...], *, inputs: int = 1
) -> list[tuple[Block, int, int]]:
    """Returns each block with its numbers of input and output channels, encoder first."""
    blocks = (*spans.encoder, *spans.decoder)
    return [(block, *pair) for block, pair in zip(blocks, widths(encoder, decoder, inputs=inputs), strict=True)]


def widths(encoder: tuple[int, ...], decoder: tuple[int, ...], *, inputs: int = 1) -> list[tuple[int, int]]:
    """Returns the numbers of input and output channels of the blocks, in the order of `Windows`."""
    pairs = list(zip((inputs, *encoder[:-1]), encoder, strict=True))
    doubled = (encoder[-1], *decoder)  # what a decoder block doubles, deepest first
    for level, skip in enumerate(encoder[:-1]):
        depth = len(decoder) - 1 - level
        pairs.append((skip + doubled[depth], decoder[depth]))
    return pairs


def _grown(span: Span) -> Span:
    """Returns the span with what a 3 × 3 convolution reaches on both sides."""
    return Span(span.low - 1, span.high + 1)


def _hull(a: Span, b: Span) -> Span:
    return Span(min(a.low, b.low), max(a.high, b.high))


def _intersection(a: Span, b: Span) -> Span:
    return Span(max(a.low, b.low), min(a.high, b.high))


def _relative(block: Block, origin: int) -> Block:
    return Block(*(Span(span.low - origin, span.high - origin) for span in block))


def _map(operation, a: Windows, b: Windows) -> Windows:
    """Applies an operation of two spans to all pairs of them."""
    return Windows(
        *(
            tuple(Block(*map(operation, x, y)) for x, y in zip(mine, theirs, strict=True))
            for mine, theirs in zip(a, b, strict=True)
        )
    )
