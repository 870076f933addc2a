"""Mean field of the dense CRF."""

import numpy as np
import pytest
from scipy.special import softmax

from experiments.baselines.dense_crf import Kernels, mean_field

KERNELS = Kernels(alpha=4.0, beta=0.15, gamma=1.5, appearance=3.0, smoothness=2.0)


def brute_force(image, potentials, kernels, radius, iterations):
    """Mean field with whole matrices, one per kernel; `potentials` has a label, background first, per row."""
    places = np.argwhere(np.ones_like(image))
    step = places[:, None] - places[None]
    square = (step**2).sum(axis=2)
    grey = (image.ravel()[:, None] - image.ravel()[None]) ** 2
    matrices = []
    for matrix, weight in (
        (np.exp(-square / (2 * kernels.alpha**2) - grey / (2 * kernels.beta**2)), kernels.appearance),
        (np.exp(-square / (2 * kernels.gamma**2)), kernels.smoothness),
    ):
        matrix = np.where(np.abs(step).max(axis=2) <= radius, matrix, 0)
        np.fill_diagonal(matrix, 0)
        matrices.append(weight * matrix / matrix.sum(axis=1, keepdims=True))
    q = softmax(potentials, axis=0)
    for _ in range(iterations):
        q = softmax(potentials + q @ sum(matrices).T, axis=0)
    return q


def scene(shape=(9, 11), cells=3, side=6, seed=0):
    """An image, crops of cells of which some leave the image, and their potentials."""
    rng = np.random.default_rng(seed)
    image = rng.random(shape).astype(np.float32)
    corners = np.array([[0, 0], [2, 3], [5, 7]])[:cells]
    own = np.log(rng.random((cells, side, side)))
    own[0, :, 4] = -np.inf
    whole = np.full((cells, *(np.array(shape) + side)), -np.inf)
    for cell, (row, column) in zip(own, corners, strict=True):
        cell[shape[0] - row :] = cell[:, shape[1] - column :] = -np.inf
    for one, cell, (row, column) in zip(whole, own, corners, strict=True):
        one[row : row + side, column : column + side] = cell
    background = np.log(rng.random(shape))
    potentials = np.stack([background, *whole[:, : shape[0], : shape[1]]]).reshape(cells + 1, -1)
    return image, corners, own, background, potentials


@pytest.mark.parametrize(("radius", "iterations"), [(11, 1), (11, 4), (2, 3), (2, 0)])
def test_it_equals_mean_field_with_whole_matrices(radius, iterations):
    image, corners, own, background, potentials = scene()
    beliefs = mean_field(image, corners, own, background, KERNELS, radius=radius, iterations=iterations)
    expected = brute_force(image, potentials, KERNELS, radius, iterations).reshape(-1, *image.shape)
    np.testing.assert_allclose(beliefs.background, expected[0], atol=1e-5)
    for q, label, (row, column) in zip(beliefs.cells, expected[1:], corners, strict=True):
        part = label[row : row + 6, column : column + 6]
        np.testing.assert_allclose(q[: part.shape[0], : part.shape[1]], part, atol=1e-5)
        assert q.sum() == pytest.approx(part.sum(), abs=1e-4)


def test_noise_within_a_region_of_one_grey_value_is_smoothed_away():
    rows, columns = np.indices((24, 24))
    disc = np.hypot(rows - 12, columns - 12) < 7
    rng = np.random.default_rng(0)
    likely = np.clip(np.where(disc, 0.65, 0.35) + rng.normal(0, 0.2, disc.shape), 0.02, 0.98)
    image = np.where(disc, 0.3, 0.7)
    kernels = Kernels(alpha=10.0, beta=0.1, gamma=2.0, appearance=4.0, smoothness=3.0)
    beliefs = mean_field(
        image, np.zeros((1, 2), int), np.log(likely)[None], np.log(1 - likely), kernels, radius=5, iterations=5
    )
    assert ((likely > 0.5) != disc).sum() > 80
    assert ((beliefs.cells[0] > 0.5) != disc).sum() < 5


def test_without_cells_all_is_background():
    image = np.full((8, 8), 0.5)
    nothing = np.zeros((0, 4, 4))
    beliefs = mean_field(image, np.zeros((0, 2), int), nothing, image, KERNELS, radius=2, iterations=2)
    assert beliefs.cells.shape == (0, 4, 4)
    np.testing.assert_allclose(beliefs.background, 1)
