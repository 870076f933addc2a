"""Arithmetic and memory traffic as counted, against plain counts and those of the programs."""

import jax
import jax.numpy as jnp
import pytest

from benchmarks.floors import Rates, Work, prefixed, work_of_cell, work_of_pass
from wsis_jax.network import UNet, windows
from wsis_jax.network.record import RecordedImage, record
from wsis_jax.network.rules import rule_of
from wsis_jax.network.windowed import back, backward_kernels, cut_views

SHAPE = (96, 96)
NETWORKS = [UNet((8, 16), (8,), batch_norm=False), UNet((4, 8, 16), (8, 4), batch_norm=False)]


def test_a_network_of_one_level_by_hand():
    # A signal of one unit reaches 3² units of the middle, and of the 5² pixels behind them the reach leaves 3².
    spans = windows(1, half=0, reach=1)
    numbers = 3 * 1 + 3 * 9 + 3 * 9 + 1 * 9  # read and written by both convolutions
    bits, kernels = 3 * 1 + 3 * 9, 9 * (3 * 3 + 3 * 1)
    work = work_of_cell(UNet((3,), ()), spans, precision="float32", chunk=2)
    assert work == Work(2 * 9 * (9 * 3 * 3 + 9 * 3 * 1), 4 * (numbers + kernels / 2) + bits / 8)
    half = work_of_cell(UNet((3,), ()), spans, precision="bfloat16", chunk=2)
    assert half == Work(work.flop, 2 * (numbers + kernels / 2) + bits / 8)


def test_a_network_of_two_levels_by_hand():
    spans = windows(2, half=1, reach=None)
    (enc, low), (dec,) = spans.encoder, spans.decoder
    convolutions = [(enc.output, 3, enc.middle, 3), (enc.middle, 3, enc.input, 1)]
    convolutions += [(low.output, 5, low.middle, 5), (low.middle, 5, low.input, 3)]
    convolutions += [(dec.output, 7, dec.middle, 7), (dec.middle, 7, dec.input, 3 + 5)]
    numbers = sum(n * a.size**2 + m * b.size**2 for a, n, b, m in convolutions)
    bits = sum(n * a.size**2 for a, n, _, _ in convolutions) + 2 * 3 * low.input.size**2
    kernels = sum(9 * n * m for _, n, _, m in convolutions)
    work = work_of_cell(UNet((3, 5), (7,)), spans, precision="float32", chunk=1)
    assert work == Work(
        sum(18 * n * m * b.size**2 for _, n, b, m in convolutions), 4 * (numbers + kernels) + bits / 8
    )


def test_a_pass_forward_by_hand():
    convolutions = [(96, 1, 3), (96, 3, 3), (24, 3, 5), (24, 5, 5), (96, 3 + 5, 7), (96, 7, 7)]  # 8 × 12 and 4 × 6
    numbers = sum(pixels * (n + m) + 9 * n * m for pixels, n, m in convolutions)
    work = work_of_pass(UNet((3, 5), (7,)), (8, 12), precision="float32")
    assert work == Work(sum(18 * pixels * n * m for pixels, n, m in convolutions), 4 * numbers)


@pytest.mark.parametrize("network", NETWORKS)
def test_a_pass_forward_is_what_jax_counts_to_within_3_percent(network):
    program = jax.jit(lambda variables, image: network.apply(variables, image, method="logits"))
    counted = program.lower(_variables(network), _array(1, *SHAPE, 1)).cost_analysis()
    work = work_of_pass(network, SHAPE, precision="float32")
    assert counted["flops"] == pytest.approx(work.flop, rel=0.03)
    assert counted["bytes accessed"] >= work.bytes


@pytest.mark.parametrize("network", NETWORKS)
def test_a_pass_back_is_what_jax_counts_to_within_15_percent(network):
    # JAX leaves out the products with the zeros around a window, and counts what lies between convolutions.
    spans, rule = windows(len(network.encoder), half=6, reach=20), rule_of("guided")
    variables, images = _variables(network), _array(1, *SHAPE)
    records = jax.eval_shape(lambda v, x: record(network, v, x, jnp.array(SHAPE), rule=rule), variables, images)
    one = jax.tree.map(lambda x: _array(*x.shape[1:], dtype=x.dtype), records)
    image = RecordedImage(one, _array(*SHAPE), _array(*SHAPE, dtype=jnp.int32), _array(2, dtype=jnp.int32))
    cells = _array(2, dtype=jnp.int32), _array(2, 2, dtype=jnp.int32)
    views = jax.eval_shape(lambda *of: cut_views(*of, spans=spans), image, *cells)
    kernels = jax.eval_shape(backward_kernels, variables)
    program = jax.jit(lambda kernels, views: back(network, kernels, views, spans=spans, rule=rule))
    counted = program.lower(kernels, views).cost_analysis()
    work = work_of_cell(network, spans, precision="float32", chunk=2).times(2)
    assert counted["flops"] == pytest.approx(work.flop, rel=0.15)
    assert counted["bytes accessed"] >= work.bytes


def test_the_floor_is_the_longer_of_arithmetic_and_traffic():
    rates = Rates({"float32": 5.0, "bfloat16": 50.0}, 10.0)
    assert Work(100, 20).seconds(rates, "float32") == 20
    assert Work(100, 20).seconds(rates, "bfloat16") == 2
    assert Work(100, 30).times(2).seconds(rates, "bfloat16") == 6


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0 B"), (0.5, "0.5 B"), (999, "999 B"), (2_895_360, "2.9 MB"), (6.4e21, "6.4e+03 EB")]
)
def test_numbers_have_prefixes(value, text):
    assert prefixed(value, "B") == text


def _array(*shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


def _variables(network):
    return jax.eval_shape(network.init, jax.random.key(0), _array(1, 32, 32, 1))
