"""What passes through the network take at least: arithmetic and memory traffic, and how fast a device does both.

The 3 × 3 convolutions count, which read their input once and write their output once, and of the record the bits
that a pass back reads. What lies between (poolings, doubling, merging of cells) is left out. A program
that keeps features in the chip between two convolutions could move less than is counted here.

What the device can do is measured: the product of two large matrices, and a copy of a large array.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from benchmarks.cuts import least
from wsis_jax.network import UNet, full_multiply_adds, multiply_adds
from wsis_jax.network.receptive_field import Windows, channels, widths

BYTES = {"float32": 4, "bfloat16": 2}
"""Bytes of a number, by precision."""


class Rates(NamedTuple):
    """What a device does at best.

    Attributes:
        flop: floating point operations a second, by precision; float32 in the device's default way.
        bytes: read from memory and written to it, a second.
    """

    flop: dict[str, float]
    bytes: float


class Work(NamedTuple):
    """Floating point operations, a multiply-add being two, and bytes read from and written to memory."""

    flop: float
    bytes: float

    def times(self, count: float) -> "Work":
        """Returns the work of so many."""
        return Work(self.flop * count, self.bytes * count)

    def seconds(self, rates: Rates, precision: str) -> float:
        """Returns the seconds a device takes at least: for the arithmetic or for the traffic, the longer one."""
        return max(self.flop / rates.flop[precision], self.bytes / rates.bytes)


def work_of_cell(network: UNet, spans: Windows, *, precision: str, chunk: int) -> Work:
    """Returns the work of the pass back of a cell in windows; `chunk` cells share one reading of the kernels."""
    encoder, decoder, inputs = network.encoder, network.decoder, network.inputs
    numbers = bits = kernels = 0
    for block, incoming, outputs in channels(spans, encoder, decoder, inputs=inputs):
        outer, middle, inner = (span.size**2 for span in (block.output, block.middle, block.input))
        numbers += outputs * (outer + 2 * middle) + incoming * inner
        bits += outputs * (outer + middle)
        kernels += 9 * outputs * (outputs + incoming)
    for block, pooled in zip(spans.encoder[1:], encoder, strict=False):
        bits += 2 * pooled * block.input.size**2  # where the winners of the pooling are
    flop = 2 * multiply_adds(spans, encoder, decoder, inputs=inputs)
    return Work(flop, (numbers + kernels / chunk) * BYTES[precision] + bits / 8)


def work_of_pass(network: UNet, shape: Sequence[int], *, precision: str) -> Work:
    """Returns the work of a pass forward of an image of (height, width) pixels."""
    encoder, decoder, inputs = network.encoder, network.decoder, network.inputs
    levels, numbers = (*range(len(encoder)), *range(len(decoder))), 0
    for level, (incoming, outputs) in zip(levels, widths(encoder, decoder, inputs=inputs), strict=True):
        pixels = (shape[0] >> level) * (shape[1] >> level)
        numbers += pixels * (incoming + 3 * outputs) + 9 * outputs * (incoming + outputs)
    return Work(2 * full_multiply_adds(shape, encoder, decoder, inputs=inputs), numbers * BYTES[precision])


def measured_rates(*, side: int, numbers: int, rounds: int) -> Rates:
    """Returns what the first device does: products of matrices of side², and copies of so many float32 numbers.

    Each is compiled and done once before, and the least of the rounds counts.
    """
    multiply, copy = jax.jit(jnp.matmul), jax.jit(lambda x: x + 1)  # a mere copy would be left out
    flop = {}
    for precision in BYTES:
        matrix = jax.random.uniform(jax.random.key(0), (side, side)).astype(precision)
        flop[precision] = 2 * side**3 / _seconds(multiply, matrix, matrix, rounds=rounds)
    array = jnp.zeros(numbers, jnp.float32)
    return Rates(flop, 2 * array.nbytes / _seconds(copy, array, rounds=rounds))


def prefixed(value: float, unit: str) -> str:
    """Returns a number with its unit, as in 2.9 MB."""
    power = min(int(math.log10(max(value, 1)) / 3), 6)
    return f"{value / 1000**power:.3g} {('', 'k', 'M', 'G', 'T', 'P', 'E')[power]}{unit}".strip()


def _seconds(function, *arguments: jax.Array, rounds: int) -> float:
    """Returns the least seconds of a compiled function."""
    jax.block_until_ready(function(*arguments))
    return least(lambda: jax.block_until_ready(function(*arguments)), rounds)[0]
