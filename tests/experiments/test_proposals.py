"""Masks that might be cells."""

import numpy as np
import pytest
from scipy import ndimage, sparse

from experiments.baselines.proposals import Proposals, merges, propose
from wsis_jax.synthetic import draw_scene


@pytest.fixture(scope="module")
def scene():
    return draw_scene(3, shape=(160, 160), cells=12, diameter=26.0)


@pytest.fixture(scope="module")
def proposals(scene):
    return propose(scene.image, diameter=26.0)


def overlaps(proposals: Proposals, masks: np.ndarray) -> np.ndarray:
    """Intersection over union of proposals and masks."""
    flat = masks.reshape(len(masks), -1).astype(np.float32)
    common = proposals.masks @ flat.T
    return common / (proposals.areas[:, None] + flat.sum(axis=1) - common)


def test_most_cells_are_among_the_proposals(scene, proposals):
    cells = np.stack([scene.labels == i for i in range(1, 13)])
    best = overlaps(proposals, cells).max(axis=0)
    assert np.mean(best > 0.7) >= 0.8


def test_proposals_are_connected_solid_unlike_and_of_a_cells_size(proposals):
    area = np.pi / 4 * 26**2
    masks = [proposals.mask(i) for i in range(len(proposals.areas))]
    assert all(ndimage.label(mask, np.ones((3, 3)))[1] == 1 for mask in masks)
    assert all((ndimage.binary_fill_holes(mask) == mask).all() for mask in masks)
    np.testing.assert_array_equal(proposals.areas, [mask.sum() for mask in masks])
    assert proposals.areas.min() >= 0.2 * area
    assert proposals.areas.max() <= 4 * area
    alike = overlaps(proposals, np.stack(masks))
    np.fill_diagonal(alike, 0)
    assert alike.max() <= 0.9


def test_the_strongest_borders_are_kept(scene, proposals):
    few = propose(scene.image, diameter=26, limit=20)
    assert few.masks.shape[0] == 20
    np.testing.assert_array_equal(few.masks.toarray(), proposals.masks[:20].toarray())


def test_regions_merge_over_the_faintest_mean_border():
    # A chain 0-1-2-3, and 0-3. First 1 and 2; then {1, 2} and 3 share strength 2, and 0 has 3 to {1, 2}.
    borders = np.array([[0, 1], [1, 2], [2, 3], [0, 3]])
    strengths, lengths = np.array([6.0, 1.0, 8.0, 9.0]), np.array([2.0, 1.0, 4.0, 1.0])
    areas = {0: 5, 1: 5, 2: 5, 3: 5}
    assert list(merges(borders, strengths, lengths, areas, 100)) == [(1, 2, 4), (3, 4, 5), (0, 5, 6)]
    assert areas == {6: 20}


def test_borders_that_become_one_are_weighed_by_their_length():
    # After 1 and 2 merge, 0 borders on them with (9 + 2) / (1 + 9) = 1.1, less than the 2 between 0 and 3.
    borders = np.array([[0, 1], [0, 2], [1, 2], [0, 3]])
    strengths, lengths = np.array([9.0, 2.0, 0.1, 2.0]), np.array([1.0, 9.0, 1.0, 1.0])
    assert next(iter(merges(borders, strengths, lengths, dict.fromkeys(range(4), 1), 9))) == (1, 2, 4)
    order = list(merges(borders, strengths, lengths, dict.fromkeys(range(4), 1), 9))
    assert order[1] == (0, 4, 5)


def test_what_would_be_larger_than_a_cell_does_not_merge():
    borders = np.array([[0, 1], [1, 2]])
    areas = {0: 90, 1: 5, 2: 5}
    assert list(merges(borders, np.array([1.0, 2.0]), np.ones(2), areas, 50)) == [(1, 2, 3)]


@pytest.mark.parametrize("shape", [(40, 31), (1, 7), (3, 3)])
def test_a_constant_image_has_no_proposals(shape):
    none = propose(np.full(shape, 0.5, np.float32), diameter=10)
    assert isinstance(none.masks, sparse.csr_array)
    assert none.masks.shape == (0, np.prod(shape))
    assert none.areas.shape == (0,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image": np.full((9, 9), np.nan), "diameter": 5}, "not numbers"),
        ({"image": np.zeros((9, 9, 3)), "diameter": 5}, "two dimensions"),
        ({"image": np.zeros((9, 9)), "diameter": 0}, "positive"),
        ({"image": np.zeros((9, 9)), "diameter": 5, "limit": 0}, "positive"),
    ],
)
def test_bad_arguments_are_refused(arguments, message, unchecked):
    with pytest.raises(ValueError, match=message):
        propose(arguments.pop("image"), **arguments)
