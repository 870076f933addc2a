"""Peaks and centre regions inside a compiled program: those of the host, whatever is equal to what."""

import jax
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from wsis_jax.points.device_peaks import (
    PeakSearch,
    _squared_distances,
    disc_regions,
    farthest,
    most_room,
    peaks_of_map,
)
from wsis_jax.points.likelihood import centre_regions, find_peaks

SIDES = [(12, 14), (5, 37)]  # few, since programs are compiled for them
ROOM = 256

find = jax.jit(peaks_of_map, static_argnames=("quantize", "room"))
place = jax.jit(disc_regions, static_argnames=("sides", "radius"))


def in_frame(values: np.ndarray, sides: tuple[int, int]) -> np.ndarray:
    """A map in the corner of a larger one, of which the rest is higher than any peak."""
    framed = np.full(sides, 2, np.float32)
    framed[: values.shape[0], : values.shape[1]] = values
    return framed


def maps(levels: int, divisor: float):
    """Sides, and maps of few different values that fit into them, so that many are equal."""

    def of_sides(sides):
        shape = st.tuples(*(st.integers(1, n) for n in sides))
        values = npst.arrays(np.int32, shape, elements=st.integers(0, levels))
        return st.tuples(st.just(sides), values.map(lambda v: (v / divisor).astype(np.float32)))

    return st.sampled_from(SIDES).flatmap(of_sides)


def assert_found(values, sides, *, room=ROOM, **search):
    """The peaks of a program are those of the host."""
    expected = find_peaks(values, **search)
    found = find(
        in_frame(values, sides),
        np.array(values.shape, np.int32),
        PeakSearch.of(**search),
        quantize=search.get("quantize", False),
        room=room,
    )
    assert int(found.count) == len(expected)
    np.testing.assert_array_equal(found.peaks[: len(expected)], expected)
    assert not np.asarray(found.peaks)[len(expected) :].any()
    return found


@settings(deadline=None, max_examples=60)
@given(maps(4, 4), st.integers(1, 4), st.integers(0, 3), st.sampled_from([0.0, 0.3, 0.5, 0.75]))
def test_peaks_and_plateaus_are_those_of_the_host(sides_and_values, distance, border, threshold):
    sides, values = sides_and_values
    search = {"threshold": threshold, "min_distance": distance, "exclude_border": border}
    assert_found(values, sides, **search)


@settings(deadline=None, max_examples=40)
@given(maps(2**12, 2**12), st.integers(1, 2), st.sampled_from([0.0, 0.49, 125 / 255, 1.0]))
def test_peaks_of_a_map_of_256_levels_are_those_of_the_host(sides_and_values, distance, threshold):
    sides, values = sides_and_values
    assert_found(values, sides, threshold=threshold, min_distance=distance, quantize=True)


@pytest.mark.parametrize("threshold", [0.1, 124.9 / 255, 125 / 255, 0.999])
def test_values_at_the_borders_of_levels_are_rounded_as_on_the_host(threshold):
    """Beside each peak is the value a level lower: were one rounded otherwise, the two would be a plateau."""
    least = np.arange(1, 256) / 255 - 1e-3 / 255
    about = (least.astype(np.float32).view(np.int32)[:, None] + np.arange(-3, 4, dtype=np.int32)).view(np.float32)
    for column in about.T:
        values = np.zeros((3, 2 * 255), np.float32)
        values[1, ::2] = column
        assert_found(values, (3, 510), threshold=threshold, min_distance=1, quantize=True, room=512)


@settings(deadline=None, max_examples=60)
@given(npst.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 14))))
def test_plateaus_of_any_form_are_one_peak_each(mask):
    assert_found(mask.astype(np.float32), (12, 14), threshold=0.5, min_distance=1)


def test_a_long_plateau():
    snake = np.zeros((12, 14), np.float32)
    snake[::2], snake[1::4, -1], snake[3::4, 0] = 1, 1, 1
    found = assert_found(snake, (12, 14), threshold=0.5, min_distance=1)
    assert int(found.count) == 1


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_a_constant_map(value):
    assert_found(np.full((9, 13), value, np.float32), (12, 14), threshold=0.3, min_distance=2)


def test_that_there_is_no_room_is_told():
    values = np.zeros((12, 14), np.float32)
    values[::3, ::3] = 1
    number = np.count_nonzero(values)
    for room in (4, 32):
        found = find(
            values, np.array([12, 14]), PeakSearch.of(threshold=0.5, min_distance=1), quantize=False, room=room
        )
        assert int(found.pixels) == number
        assert int(found.count) == (number if number <= room else 0)


def raster(pixels: set[tuple[int, int]]) -> np.ndarray:
    return np.array(sorted(pixels), np.int64).reshape(-1, 2)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(SIDES),
    st.sets(st.tuples(st.integers(0, 11), st.integers(0, 36)), max_size=20).map(raster),
    st.sampled_from([0.4, 2**0.5, 5.0, 40.0]),
    st.randoms(use_true_random=False),
    st.data(),
)
def test_discs_are_those_of_the_host(sides, peaks, radius, random, data):
    shape = tuple(data.draw(st.integers(1, n)) for n in sides)
    peaks = peaks[(peaks < shape).all(axis=1)]
    order = list(range(len(peaks)))
    random.shuffle(order)  # clicks are in any order
    peaks = peaks[order]
    assert_placed(peaks, sides, shape, radius)


def assert_placed(peaks, sides, shape, radius):
    """The discs of a program are those of the host."""
    expected = np.zeros(sides, np.int32)
    frame = tuple(map(slice, shape))
    expected[frame] = centre_regions(np.zeros(shape), peaks, region="disc", radius=radius, response=0.1)
    room = np.zeros((32, 2), np.int32)
    room[: len(peaks)] = peaks
    found = place(room, np.int32(len(peaks)), np.array(shape, np.int32), sides=sides, radius=radius)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, expected)


def test_of_peaks_in_one_pixel_the_first_has_the_disc():
    """A plateau around another may have the same centre."""
    assert_placed(np.array([[5, 5], [2, 3], [5, 5]]), (12, 14), (11, 14), 3.0)


@settings(deadline=None, max_examples=30)
@given(st.floats(0.01, 60), st.integers(-2, 2))
@example(5.0, -1)
def test_a_disc_ends_where_that_of_the_host_does(radius, steps):
    """Of radii that are distances of pixels, and of those next to them."""
    near = np.float32(np.sqrt(np.round(radius**2))).view(np.int32) + np.int32(steps)
    radius = float(near.view(np.float32))
    assume(radius > 0)
    far = farthest(radius)
    peak = np.array([[far, far]])
    expected = centre_regions(np.zeros((2 * far + 3,) * 2), peak, region="disc", radius=radius, response=0.1)
    assert not expected[2 * far + 1 :].any()
    np.testing.assert_array_equal(_squared_distances(radius) >= 0, expected[: 2 * far + 1, : 2 * far + 1] > 0)


@pytest.mark.parametrize("radius", [0.1, 12.9, 60.0, 300.0, 1e4, 1e9])
def test_keys_of_the_discs_fit_into_32_bits(radius):
    room, far = most_room(radius), farthest(radius)
    assert room == 0 or room & (room - 1) == 0
    assert far**2 * room + room - 1 < np.iinfo(np.int32).max
    assert (room > 0) == (radius < 4000)
    assert room * (2 * far + 1) ** 2 <= 2**26
