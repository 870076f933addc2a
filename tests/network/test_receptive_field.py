"""Windows: the units that matter, found again by following every signal of small networks."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsis_jax.network.receptive_field import (
    Span,
    backward_cone,
    channels,
    forward_cone,
    full_multiply_adds,
    multiply_adds,
    windows,
    working_bytes,
)

# Along one axis, since both are alike: every layer is a matrix of which unit depends on which.


def layers():
    """Returns functions of a size to the dependencies of a layer: rows are outputs, columns are inputs."""

    def conv(size):
        return np.abs(np.subtract.outer(np.arange(size), np.arange(size))) <= 1

    def pool(size):
        return np.arange(size)[None, :] // 2 == np.arange(size // 2)[:, None]

    def double(size):
        source = np.clip((np.arange(2 * size) - 0.5) / 2, 0, size - 1)
        return np.abs(np.subtract.outer(source, np.arange(size))) < 1

    return conv, pool, double


@cache
def influence(n, levels):
    """Returns, for every tensor of the network, which pixels each of its units sees."""
    conv, pool, double = layers()
    sees = {}
    x = np.eye(n, dtype=bool)
    for level in range(levels):
        x = pool(n >> (level - 1)) @ x if level else x
        sees["encoder", level, "input"] = x
        for name in ("middle", "output"):
            x = conv(n >> level) @ x
            sees["encoder", level, name] = x
    for level in reversed(range(levels - 1)):
        x = (double(n >> (level + 1)) @ x) | sees["encoder", level, "output"]
        sees["decoder", level, "input"] = x
        for name in ("middle", "output"):
            x = conv(n >> level) @ x
            sees["decoder", level, name] = x
    return sees


@cache
def used(n, levels):
    """Returns, for every tensor, which of its units each output pixel is computed from."""
    conv, pool, double = layers()
    uses, skip = {}, {}
    y = np.eye(n, dtype=bool)
    for level in range(levels - 1):
        for name in ("output", "middle"):
            uses["decoder", level, name] = y
            y = y @ conv(n >> level)
        uses["decoder", level, "input"] = skip[level] = y
        y = y @ double(n >> (level + 1))
    for level in reversed(range(levels)):
        for name in ("output", "middle"):
            uses["encoder", level, name] = y
            y = y @ conv(n >> level)
        uses["encoder", level, "input"] = y
        if level:
            y = (y @ pool(n >> (level - 1))) | skip[level - 1]
    return uses


def block_of(cone, key):
    part, level, name = key
    return getattr(getattr(cone, part)[level], name)


def extent(units):
    return Span(int(np.flatnonzero(units)[0]), int(np.flatnonzero(units)[-1]))


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_cones_are_the_units_that_signals_pass(levels):
    n = 256
    sees, uses = influence(n, levels), used(n, levels)
    for peak in range(128, 128 + 2 ** (levels - 1)):
        for half in (0, 2, 5):
            region = slice(peak - half, peak + half + 1)
            back, forth = backward_cone(peak, half, levels), forward_cone(peak, half, levels)
            for key in sees:
                assert extent(uses[key][region].any(axis=0)) == block_of(back, key), key
                assert extent(sees[key][:, region].any(axis=1)) == block_of(forth, key), key


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 4), st.integers(0, 9), st.none() | st.integers(0, 12), st.integers(0, 63))
def test_windows_hold_every_unit_that_matters_at_any_place(levels, half, reach, place):
    peak, n = 96 + place, 256
    spans = windows(levels, half=half, reach=reach)
    sees, uses = influence(n, levels), used(n, levels)
    region = slice(peak - half, peak + half + 1)
    pixels = slice(None) if reach is None else slice(peak - reach, peak + reach + 1)
    for key in sees:
        matters = uses[key][region].any(axis=0) & sees[key][:, pixels].any(axis=1)
        span = block_of(spans, key)
        low, high = extent(matters)
        assert span.low <= low - (peak >> key[1])
        assert high - (peak >> key[1]) <= span.high


def test_windows_are_no_larger_than_needed_at_one_place_or_another():
    spans = windows(3, half=4, reach=6)

    def limits(key, peak):
        both = [block_of(cone, key) for cone in (backward_cone(peak, 4, 3), forward_cone(peak, 6, 3))]
        return max(s.low for s in both) - (peak >> key[1]), min(s.high for s in both) - (peak >> key[1])

    for key in influence(64, 3):
        lows, highs = zip(*(limits(key, peak) for peak in range(4)), strict=True)
        assert block_of(spans, key) == (min(lows), max(highs))


def test_the_five_level_network():
    # The counts of a region of 24 pixels, and of 31 pixels of reach.
    encoder, decoder = (64, 128, 256, 512, 512), (256, 128, 64, 64)
    receptive, reached = windows(5, half=12, reach=None), windows(5, half=12, reach=31)
    assert receptive.encoder[0].input.size == 269
    assert [block.input.size for block in reached.encoder] == [63, 35, 21, 13, 9]
    assert 14e9 < multiply_adds(receptive, encoder, decoder) < 16e9
    assert 3.0e9 < multiply_adds(reached, encoder, decoder) < 3.2e9
    assert working_bytes(reached, encoder, decoder) < 20e6


def test_costs_are_those_of_the_convolutions():
    spans = windows(2, half=1, reach=None)
    (enc, mid), (dec,) = spans.encoder, spans.decoder
    assert channels(spans, (3, 5), (7,)) == [(enc, 1, 3), (mid, 3, 5), (dec, 3 + 5, 7)]
    convolutions = [(enc.middle, 3, 3), (enc.input, 1, 3), (mid.middle, 5, 5), (mid.input, 3, 5)]
    convolutions += [(dec.middle, 7, 7), (dec.input, 8, 7)]
    assert multiply_adds(spans, (3, 5), (7,)) == sum(9 * a * b * span.size**2 for span, a, b in convolutions)


def test_a_pass_through_the_whole_image_takes_the_same_convolutions_everywhere():
    inside, halved = 16 * 24, 8 * 12
    convolutions = [(inside, 1, 3), (inside, 3, 3), (halved, 3, 5), (halved, 5, 5), (inside, 8, 7), (inside, 7, 7)]
    assert full_multiply_adds((16, 24), (3, 5), (7,)) == sum(9 * n * a * b for n, a, b in convolutions)
    full = full_multiply_adds((1040, 1392), (64, 128, 256, 512, 512), (256, 128, 64, 64))
    assert 670e9 < full < 690e9


@pytest.mark.parametrize(("half", "reach"), [(-1, None), (3, -2)])
def test_negative_lengths_are_refused(half, reach):
    with pytest.raises(ValueError, match="half and reach must be at least 0"):
        windows(3, half=half, reach=reach)
