"""Seeds: contributions on the three scales, and the pixels that clearly belong to a cell."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from wsis_jax.cutting.seeds import foreground_seeds, greatest_contributions, scaled_contributions

SCALES = ["cell", "max", "raw"]
VALUE = np.array([[4.0, 1.0, 1.02, 0.0], [0.5, 2.0, 0.0, 0.51]], np.float32)
OWNER = np.array([[1, 1, 3, 0], [3, 1, 0, 3]], np.int32)  # cell 2 wins nothing


@st.composite
def winner_maps(draw):
    """Value and owner of a winner map of up to four cells, some of which win nothing."""
    owner = draw(npst.arrays(np.int32, (5, 6), elements=st.integers(0, 4)))
    value = draw(npst.arrays(np.float32, (5, 6), elements=st.floats(2**-20, 2**10, width=32)))
    return np.where(owner > 0, value, np.float32(0)), owner


# Scales


@pytest.mark.parametrize(("scale", "divisor"), [("cell", [4, 1, 1.02]), ("max", [4] * 3), ("raw", [255] * 3)])
def test_contributions_are_relative_to(scale, divisor):
    scaled = scaled_contributions(VALUE, OWNER, scale=scale)
    by_pixel = np.array([1, *divisor])[OWNER]
    np.testing.assert_allclose(scaled, VALUE / by_pixel, rtol=1e-6)
    assert scaled.dtype == np.float32


@pytest.mark.parametrize("scale", SCALES)
def test_without_cells_there_is_no_contribution(scale):
    nothing = np.zeros((3, 4), np.float32)
    scaled = scaled_contributions(nothing, np.zeros((3, 4), np.int32), scale=scale)
    np.testing.assert_array_equal(scaled, nothing)


@given(winner_maps())
def test_the_greatest_of_every_cell_is_one_on_its_own_scale(maps):
    value, owner = maps
    scaled = scaled_contributions(value, owner, scale="cell")
    assert ((scaled >= 0) & (scaled <= 1)).all()
    assert not scaled[owner == 0].any()
    for cell in set(owner[owner > 0]):
        assert scaled[owner == cell].max() == 1


@given(winner_maps(), st.integers(1, 4), st.sampled_from([2.0**-8, 0.5, 4.0]))
def test_how_strong_a_cell_is_makes_no_difference_on_its_own_scale(maps, cell, factor):
    value, owner = maps
    stronger = np.where(owner == cell, np.float32(factor) * value, value)
    np.testing.assert_array_equal(
        scaled_contributions(stronger, owner, scale="cell"), scaled_contributions(value, owner, scale="cell")
    )


@given(winner_maps(), st.sampled_from([2.0**-8, 0.5, 4.0]))
def test_how_strong_all_cells_are_matters_on_the_raw_scale_alone(maps, factor):
    value, owner = maps
    stronger = np.float32(factor) * value
    for scale in SCALES:
        before, after = (scaled_contributions(v, owner, scale=scale) for v in (value, stronger))
        np.testing.assert_array_equal(after, factor * before if scale == "raw" else before)


# Seeds


def test_seeds_are_pixels_above_the_threshold():
    scaled = np.array([[1.0, 0.25, 0.26, 0.0]], np.float32)
    owner = np.array([[1, 1, 2, 0]], np.int32)
    seeds = foreground_seeds(scaled, owner, threshold=0.25, min_area=1)
    np.testing.assert_array_equal(seeds, [[1, 0, 2, 0]])
    assert seeds.dtype == np.int32


def test_a_faint_cell_has_seeds_on_its_own_scale():
    own, shared = (
        foreground_seeds(scaled_contributions(VALUE, OWNER, scale=scale), OWNER, threshold=0.3, min_area=1)
        for scale in ("cell", "max")
    )
    np.testing.assert_array_equal(own, [[1, 0, 3, 0], [3, 1, 0, 3]])
    np.testing.assert_array_equal(shared, [[1, 0, 0, 0], [0, 1, 0, 0]])


def test_small_components_of_one_owner_are_no_seeds():
    owner = np.array([[1, 0, 2, 2, 0, 1], [0, 1, 2, 0, 0, 2], [0, 0, 0, 0, 0, 2]], np.int32)
    scaled = (owner > 0).astype(np.float32)
    seeds = foreground_seeds(scaled, owner, threshold=0.5, min_area=2)
    # The diagonal pair of 1 is one component; the lonely 1 at the right is one pixel, though beside a 2.
    np.testing.assert_array_equal(seeds, [[1, 0, 2, 2, 0, 0], [0, 1, 2, 0, 0, 2], [0, 0, 0, 0, 0, 2]])
    larger = foreground_seeds(scaled, owner, threshold=0.5, min_area=3)
    np.testing.assert_array_equal(larger, [[0, 0, 2, 2, 0, 0], [0, 0, 2, 0, 0, 0], [0, 0, 0, 0, 0, 0]])


@settings(deadline=None)
@given(winner_maps(), st.floats(0, 1, width=32), st.integers(0, 4))
def test_seeds_against_components_grown_pixel_by_pixel(maps, threshold, min_area):
    value, owner = maps
    scaled = scaled_contributions(value, owner, scale="cell")
    seeds = foreground_seeds(scaled, owner, threshold=threshold, min_area=min_area)
    clear = np.where(scaled > threshold, owner, 0)
    for place in np.ndindex(clear.shape):
        grown, waiting = {place}, [place]
        while waiting and clear[place]:
            row, column = waiting.pop()
            for near in ((row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)):
                inside = 0 <= near[0] < clear.shape[0] and 0 <= near[1] < clear.shape[1]
                if inside and near not in grown and clear[near] == clear[place]:
                    grown.add(near)
                    waiting.append(near)
        assert seeds[place] == (clear[place] if len(grown) >= min_area else 0)


def test_no_contribution_gives_no_seeds():
    seeds = foreground_seeds(np.zeros((4, 5), np.float32), np.zeros((4, 5), np.int32), threshold=0.1, min_area=1)
    assert seeds.shape == (4, 5)
    assert not seeds.any()


def test_a_part_is_scaled_by_what_cells_win_in_the_whole():
    random = np.random.default_rng(0)
    owner, value = random.integers(0, 5, (20, 30)), random.random((20, 30), np.float32)
    value[owner == 0] = 0
    whole = scaled_contributions(value, owner, scale="cell")
    greatest = greatest_contributions(value, owner, owners=6)
    assert list(greatest) == [0, *(value[owner == cell].max() for cell in range(1, 5)), 0]
    part = np.s_[3:9, 2:8]
    found = scaled_contributions(value[part], owner[part], scale="cell", greatest=greatest)
    np.testing.assert_array_equal(found, whole[part])
