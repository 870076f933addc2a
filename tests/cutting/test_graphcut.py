"""One binary cut: its energy against every mask there is, its seeds, its edges."""

import dataclasses
import itertools
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import ndimage

from tests.cutting.drawn_cuts import cut_config, cut_drawn, discs, whole
from wsis_jax.core import UserError
from wsis_jax.core.config import CutConfig, preset
from wsis_jax.cutting.cell_cuts import component_of, cut_cells, fuse_nearest
from wsis_jax.cutting.graphcut import chosen_solver, cut, least_cut
from wsis_jax.cutting.pymaxflow_solver import SharedCut
from wsis_jax.cutting.terms import Claims, Costs, edge_weights
from wsis_jax.cutting.whole_costs import MOST_UNITS, cut_graph, unit_for
from wsis_jax.synthetic import draw_scene

MASKS_3X3 = np.array(list(itertools.product([False, True], repeat=9))).reshape(-1, 3, 3)


def energy(masks, data, right, down):
    """What masks (…, height, width) cost, as `cut` documents it."""
    against = np.where(masks, np.maximum(-data, 0), np.maximum(data, 0)).sum(axis=(-2, -1))
    sideways = (right[:, :-1] * (masks[..., :, :-1] != masks[..., :, 1:])).sum(axis=(-2, -1))
    downwards = (down[:-1] * (masks[..., :-1, :] != masks[..., 1:, :])).sum(axis=(-2, -1))
    return against + sideways + downwards


def grid(low, high):
    return npst.arrays(np.float64, (3, 3), elements=st.integers(low, high).map(lambda n: n / 8))


@settings(deadline=None, max_examples=200)
@given(grid(-40, 40), grid(0, 40), grid(0, 40), npst.arrays(np.int8, (3, 3), elements=st.integers(-2, 1)))
def test_the_cut_is_the_cheapest_of_all_masks_that_hold_the_seeds(data, right, down, seeds):
    foreground, background = seeds == 1, seeds == -1
    mask = cut(data, right, down, foreground, background)
    allowed = MASKS_3X3[(MASKS_3X3 | ~foreground).all((1, 2)) & ~(MASKS_3X3 & background).any((1, 2))]
    assert mask[foreground].all()
    assert not mask[background].any()
    assert energy(mask, data, right, down) == energy(allowed, data, right, down).min()


def test_seeds_hold_against_data_and_edges():
    foreground, background = np.zeros((2, 7, 9), bool)
    foreground[3, 4] = background[0, 0] = True
    data, edges = np.full((7, 9), -50.0), np.full((7, 9), 20.0)
    data[0, 0] = 50
    mask = cut(data, edges, edges, foreground, background)
    assert mask[3, 4]
    assert not mask[0, 0]


def test_two_blocks_are_cut_where_they_meet():
    image = np.zeros((6, 10))
    image[:, 5] = 1
    right, down = edge_weights(image, weight=20.0, falloff=10.0, rim="bright", pixel="first")
    foreground, background = np.zeros((2, 6, 10), bool)
    foreground[3, 1] = background[3, 8] = True
    mask = cut(np.zeros((6, 10)), right, down, foreground, background)
    np.testing.assert_array_equal(mask, np.broadcast_to(np.arange(10) <= 5, (6, 10)))


def test_without_background_seeds_or_data_the_cell_takes_everything():
    foreground, edges = np.zeros((5, 6), bool), np.ones((5, 6))
    foreground[2, 2] = True
    assert cut(np.zeros((5, 6)), edges, edges, foreground, np.zeros((5, 6), bool)).all()


def test_without_seeds_and_edges_the_data_decide():
    data, nothing = np.array([[1.0, -1.0], [-2.0, 3.0]]), np.zeros((2, 2))
    mask = cut(data, nothing, nothing, nothing > 0, nothing > 0)
    np.testing.assert_array_equal(mask, data > 0)


def test_the_edges_behind_the_last_row_and_column_are_of_no_use():
    random = np.random.default_rng(0)
    data, right, down = random.normal(size=(3, 6, 8))
    right, down, no_seeds = np.abs(right), np.abs(down), np.zeros((6, 8), bool)
    mask = cut(data, right, down, no_seeds, no_seeds)
    right[:, -1] = down[-1] = 1e5
    np.testing.assert_array_equal(cut(data, right, down, no_seeds, no_seeds), mask)
    assert 0 < mask.sum() < mask.size


def test_a_pixel_cannot_be_both_seeds():
    seeds, edges = np.eye(3, dtype=bool), np.ones((3, 3))
    with pytest.raises(ValueError, match="both foreground and background seed; decide which before the cut"):
        cut(np.zeros((3, 3)), edges, edges, seeds, seeds)


@st.composite
def windows_and_seeds(draw):
    """The label of a cell, a window of 6 × 7 pixels and seeds in it."""
    rows, columns = (sorted(draw(st.permutations(range(n + 1)))[:2]) for n in (6, 7))
    shape = rows[1] - rows[0], columns[1] - columns[0]
    seeds = draw(npst.arrays(np.int8, shape, elements=st.integers(-1, 1)))
    return draw(st.integers(1, 3)), (slice(*rows), slice(*columns)), seeds


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 2**32 - 1), st.lists(windows_and_seeds(), min_size=1, max_size=5))
def test_cuts_that_share_a_flow_are_the_cuts_alone(seed, cells):
    """A cell has its claims inside its window; elsewhere it pays as one that claims nothing."""
    random = np.random.default_rng(seed)
    preference, right, down, weight = random.integers([[[-20]], [[0]], [[0]], [[0]]], 21, (4, 6, 7)) / 8
    background, owner = random.random((6, 7)) < 0.2, random.integers(0, 4, (6, 7))
    costs = Costs(preference, right, down, np.zeros((6, 7), int), Claims(owner, weight), unit=1 / 8)
    shared = SharedCut(costs.whole(), background)
    for label, window, seeds in cells:
        data, both = preference - weight, -background.astype(int)
        data[window] = np.where(owner == label, preference + weight, data)[window]
        both[window] = seeds
        shared.solve(label, window, seeds == 1, seeds == -1)
        expected = cut(data, right, down, both == 1, both == -1)
        np.testing.assert_array_equal(shared.mask((slice(0, 6), slice(0, 7))), expected)
        np.testing.assert_array_equal(shared.mask(window), expected[window])


def test_edges_too_dear_for_the_unit_are_refused():
    data, edges, nothing = np.ones((1, 2)), np.full((1, 2), 65.0), np.zeros((1, 2), bool)
    with pytest.raises(UserError, match="an edge costs 65, which is more than 64; give a greater unit"):
        cut_graph(data, edges, edges, nothing, nothing)
    graph = cut_graph(data, edges, edges, nothing, nothing, unit=unit_for(65.0))
    assert graph.edges.right.max() == 65 * 2**21


@given(st.floats(2.0**-20, 1e30))
def test_a_unit_is_the_finest_power_of_two(edge):
    unit = unit_for(edge)
    assert np.frexp(unit)[0] == 0.5
    assert MOST_UNITS / 2 < edge / unit <= MOST_UNITS


# Solvers


@pytest.mark.parametrize("rounded", [True, False])
def test_both_solvers_find_the_same_masks(rounded):
    """In a thousand graphs; with costs of few values many masks cost the same, and the largest is asked for."""
    random = np.random.default_rng(int(rounded))
    for _ in range(500):
        shape = tuple(random.integers(1, 10, 2))
        data, right, down = random.normal(size=(3, *shape)) * random.choice([0.1, 1, 10], (3, 1, 1))
        if rounded:
            data, right, down = np.round(data), np.round(right), np.round(down)
        seeds = random.choice([-1, 0, 1], shape, p=[0.1, 0.8, 0.1])
        graph = cut_graph(data, np.abs(right), np.abs(down), seeds == 1, seeds == -1, unit=2.0**-22)
        masks = [least_cut(graph, solver=solver) for solver in ("pymaxflow", "scipy")]
        np.testing.assert_array_equal(*masks)


@pytest.mark.parametrize("name", ["default", "paper", "reference"])
def test_both_solvers_cut_the_drawn_scene_alike(name):
    scene = draw_scene(4, shape=(72, 60), cells=8, diameter=12.0)
    peaks, reach = np.round(scene.points).astype(int), preset(name).cut.reach
    labels = []
    for solver in ("pymaxflow", "scipy"):
        chosen = dataclasses.replace(preset(name).cut, solver=solver)
        cuts = cut_drawn(scene.image, peaks, discs(peaks, (72, 60), 3), chosen, reach=reach and reach * 4)
        labels.append(fuse_nearest(cuts, peaks, (72, 60)))
    np.testing.assert_array_equal(*labels)
    assert labels[0].max() == 8


def test_the_greatest_costs_are_within_what_scipy_counts_to():
    shape = (3, 3)
    edges = np.full(shape, 64.0)
    seeds = np.array([[1, 0, -1], [0, 0, 0], [0, 1, 0]])
    graph = cut_graph(np.full(shape, -1e9), edges, edges, seeds == 1, seeds == -1)
    assert abs(graph.data).max() == 4 * MOST_UNITS + 1
    for solver in ("pymaxflow", "scipy"):
        np.testing.assert_array_equal(least_cut(graph, solver=solver), seeds == 1)


def test_without_pymaxflow_scipy_is_chosen(monkeypatch):
    assert [chosen_solver(name) for name in ("auto", "scipy", "pymaxflow")] == ["pymaxflow", "scipy", "pymaxflow"]
    monkeypatch.setitem(sys.modules, "maxflow", None)
    assert [chosen_solver(name) for name in ("auto", "scipy")] == ["scipy", "scipy"]
    with pytest.raises(UserError, match=r"cut\.solver is pymaxflow, which is not installed; run 'pip install"):
        chosen_solver("pymaxflow")


@settings(deadline=None, max_examples=100)
@given(
    grid(-40, 40), grid(0, 40), grid(0, 40), grid(0, 80), npst.arrays(np.int32, (3, 3), elements=st.integers(0, 2))
)
def test_claims_are_what_it_costs_to_go_against_them(preference, right, down, weight, owner):
    """Against every mask there is: a cell's must hold its peak, and pays for each claim that it goes against."""
    peaks, seeds = np.array([[0, 0], [2, 1]]), np.zeros((3, 3), np.int32)
    costs = Costs(preference, right, down, seeds, Claims(owner, weight))
    cells = cut_cells(costs, peaks, config=cut_config(CutConfig(), None))
    for cell, (peak, part) in enumerate(zip(peaks, cells, strict=True), start=1):
        holds_peak = MASKS_3X3[:, *peak]
        against = np.where(owner == cell, weight * ~MASKS_3X3, weight * MASKS_3X3).sum((1, 2))
        all_costs = np.where(holds_peak, energy(MASKS_3X3, preference, right, down) + against, np.inf)
        largest = MASKS_3X3[all_costs == all_costs.min()].any(axis=0)
        expected = ndimage.binary_fill_holes(component_of(largest, peak))
        np.testing.assert_array_equal(whole(part, (3, 3)), expected)


@settings(deadline=None, max_examples=50)
@given(grid(-40, 40), grid(0, 40), grid(0, 40))
def test_of_equal_masks_the_cut_is_the_largest(data, right, down):
    nothing = np.zeros((3, 3), bool)
    costs = energy(MASKS_3X3, data, right, down)
    np.testing.assert_array_equal(
        cut(data, right, down, nothing, nothing), MASKS_3X3[costs == costs.min()].any(axis=0)
    )
