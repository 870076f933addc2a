"""The tree against components labelled one threshold at a time, and the choice against all choices."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.measure import label, regionprops

from wsis_jax.points.component_tree import ComponentTree, best_components, component_tree, pixels_of

THRESHOLDS = np.linspace(-1.0, 1.5, 7)


def drawn(seed: int, shape: tuple[int, int] = (14, 17)) -> np.ndarray:
    """Smoothed noise of deviation 1."""
    image = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.2)
    return image / image.std()


def ancestors(tree: ComponentTree, node: int) -> list[int]:
    """The nodes in which a node lies, itself first."""
    found = []
    while node >= 0:
        found.append(node)
        node = int(tree.parents[node])
    return found


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000), least=st.sampled_from([1.0, 4.0, 9.5]))
def test_nodes_are_the_components_above_each_threshold(seed: int, least: float):
    image = drawn(seed)
    tree = component_tree(image, THRESHOLDS, least_area=least)
    wanted = []
    for threshold in THRESHOLDS:
        for region in regionprops(label(image > threshold, connectivity=1), image):
            if region.area >= least:
                spread = np.cov(region.coords.T, bias=True) + np.eye(2) / 12  # and that within a pixel
                lengths = np.sqrt(np.linalg.eigvalsh(spread))
                ellipticity = min(region.area / (4 * np.pi * lengths.prod()), 1)
                shape = (region.area, *region.centroid, region.intensity_max, ellipticity, lengths[1] / lengths[0])
                wanted.append((threshold, *shape))
    shown = np.column_stack(
        [tree.thresholds, tree.areas, tree.centres, tree.peaks, tree.ellipticities, tree.aspects]
    )
    assert len(shown) == len(wanted) == tree.starts[-1]
    np.testing.assert_allclose(sorted(shown.round(6).tolist()), np.array(sorted(np.round(wanted, 6).tolist())))


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000))
def test_a_node_lies_in_its_ancestors(seed: int):
    image = drawn(seed)
    tree = component_tree(image, THRESHOLDS, least_area=3.0)
    counts = np.zeros(len(tree.areas))
    for node in tree.deepest[tree.deepest >= 0]:
        counts[ancestors(tree, int(node))] += 1
    np.testing.assert_array_equal(counts, tree.areas)
    assert [ancestors(tree, node)[-1] for node in range(len(counts))] == tree.roots.tolist()
    for node in range(len(counts)):
        only = np.arange(len(counts)) == node
        assert pixels_of(tree, only).sum() == tree.areas[node]
        assert image[pixels_of(tree, only)].max() == pytest.approx(tree.thresholds[node] + tree.rises[node])


def worth(tree: ComponentTree, quality: np.ndarray, chosen: frozenset[int], node: int) -> float:
    """What a node is worth by a choice: its own quality, or the mean of those in it by area."""
    if node in chosen:
        return quality[node]
    inside = np.flatnonzero(tree.parents == node)
    if not len(inside):
        return 0.0
    return float(
        np.average([worth(tree, quality, chosen, int(one)) for one in inside], weights=tree.areas[inside])
    )


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000))
def test_no_other_choice_is_worth_more(seed: int):
    tree = component_tree(drawn(seed, (9, 9)), np.linspace(-0.5, 1.5, 4), least_area=4.0)
    count = len(tree.areas)
    quality = np.random.default_rng(seed).random(count)
    chosen = frozenset(np.flatnonzero(best_components(tree, quality)).tolist())
    assert all(not chosen & set(ancestors(tree, node)[1:]) for node in chosen)
    if count <= 10:
        choices = [frozenset(np.flatnonzero(bits).tolist()) for bits in product([False, True], repeat=count)]
        for root in np.flatnonzero(tree.parents < 0).tolist():
            best = max(worth(tree, quality, choice, root) for choice in choices)
            assert worth(tree, quality, chosen, root) == pytest.approx(best)


def test_the_ellipticity_of_a_pair_of_discs_is_less_than_that_of_an_ellipse():
    rows, columns = np.indices((60, 120))
    ellipse = np.hypot((rows - 30) / 10, (columns - 25) / 20) < 1
    pair = (np.hypot(rows - 30, columns - 70) <= 10) | (np.hypot(rows - 30, columns - 90) <= 10)
    tree = component_tree((ellipse | pair).astype(float), np.array([0.5]), least_area=1.0)
    np.testing.assert_allclose(tree.ellipticities, [0.89, 1], atol=0.01)
    np.testing.assert_allclose(tree.aspects, [5**0.5, 2], rtol=0.03)


def test_nothing_above_a_threshold_is_an_empty_tree():
    tree = component_tree(np.zeros((5, 6)), np.array([0.5, 0.7]), least_area=1.0)
    assert len(tree.areas) == len(best_components(tree, tree.areas)) == 0
    assert not pixels_of(tree, np.zeros(0, bool)).any()
