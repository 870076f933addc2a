"""Shared sides: every image fits, programs are few, and no more is padded than that takes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsis_jax.core.shapes import fitting, rounded_up, shared_sides

SHAPES = st.lists(st.tuples(st.integers(1, 3000), st.integers(1, 3000)), min_size=1, max_size=30)


@given(SHAPES, st.sampled_from([1, 4, 16]), st.integers(1, 5))
def test_every_shape_fits_into_few_sides(shapes, stride, programs):
    sides = shared_sides(shapes, stride=stride, programs=programs)
    assert len(sides) <= programs
    for pair in sides:
        assert pair[0] % stride == pair[1] % stride == 0
    for shape in shapes:
        found = fitting(rounded_up(shape, stride), sides)
        assert found is not None
        assert found[0] >= shape[0]
        assert found[1] >= shape[1]


@given(st.lists(st.tuples(st.integers(1, 900), st.integers(1, 900)), min_size=1, max_size=4), st.just(16))
def test_few_sizes_are_only_rounded(shapes, stride):
    assert set(shared_sides(shapes, stride=stride)) == {rounded_up(shape, stride) for shape in shapes}


def test_the_cheapest_merge_comes_first():
    # Two that are nearly alike become one, although a third occurs more often.
    shapes = [(512, 512), (512, 528), (1024, 1024), (1024, 1024), (64, 2048)]
    assert shared_sides(shapes, stride=16, programs=3) == [(64, 2048), (512, 528), (1024, 1024)]


def test_hundreds_of_sizes_take_no_time():
    shapes = [(200 + 3 * i, 900 - 2 * i) for i in range(400)]
    assert len(shared_sides(shapes, stride=16)) == 4


@pytest.mark.parametrize(
    ("shape", "expected"), [((10, 10), (16, 32)), ((17, 10), (32, 32)), ((64, 10), (64, 64)), ((65, 10), None)]
)
def test_the_smallest_that_fits(shape, expected):
    assert fitting(shape, [(64, 64), (16, 32), (32, 32)]) == expected


def test_no_images():
    assert shared_sides([], stride=16) == []
