"""The restoration of phase contrast: kernels, the matrix, and both solvers."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage
from scipy.optimize import minimize, nnls

from experiments.baselines.common import flatten
from experiments.baselines.restoration import (
    convolve,
    eigenvalue_bound,
    fista,
    halo_kernel,
    laplacian,
    multiplicative,
    quadratic,
    restore,
)
from wsis_jax.synthetic import draw_scene

SHAPE = (9, 12)


@pytest.fixture
def kernel():
    return halo_kernel("released", radius=4, width=0.8, reach=2)


@pytest.fixture
def image():
    return flatten(draw_scene(0, shape=SHAPE, cells=1, diameter=6.0).image)


def dense(times) -> np.ndarray:
    """The matrix of a linear function of images, column by column."""
    pixels = np.eye(np.prod(SHAPE), dtype=np.float32).reshape(-1, *SHAPE)
    return np.stack([np.asarray(times(jnp.asarray(pixel))).ravel() for pixel in pixels], axis=1).astype(float)


def dense_laplacian(image: np.ndarray, evenness: float) -> np.ndarray:
    """L by its definition, pixel pair by pixel pair."""
    places = [tuple(place) for place in np.argwhere(np.ones(SHAPE, bool))]
    squares = np.zeros((len(places),) * 2)
    kind = np.zeros(squares.shape, int)
    for i, p in enumerate(places):
        for j, q in enumerate(places):
            apart = abs(p[0] - q[0]), abs(p[1] - q[1])
            if max(apart) == 1:
                kind[i, j] = sum(apart)
                squares[i, j] = (image[p] - image[q]) ** 2
    weights = np.zeros(squares.shape)
    for number, scale in ((1, 1), (2, 0.707)):
        pairs = kind == number
        weights[pairs] = scale * (evenness + np.exp(-squares[pairs] / squares[pairs].mean())) / (evenness + 1)
    return np.diag(weights.sum(axis=1)) - weights


def dense_halo(kernel: np.ndarray) -> np.ndarray:
    """H by SciPy's convolution, which mirrors images at their border as "reflect"."""
    return dense(lambda pixel: ndimage.convolve(np.asarray(pixel), kernel, mode="reflect"))


@pytest.fixture
def problem(kernel, image):
    """A and b with fixed weights of the sparsity, as the solvers take them, and dense."""
    matrix = quadratic(kernel, 0.3 * laplacian(image, 3))
    halo = dense_halo(kernel)
    full = halo.T @ halo + 0.3 * dense_laplacian(image, 3)
    linear = 0.05 - halo.T @ image.ravel()
    bound = eigenvalue_bound(kernel, 0.3, SHAPE)
    return matrix, jnp.asarray(linear.reshape(SHAPE), jnp.float32), bound, full, linear


def objective(f: np.ndarray, full: np.ndarray, linear: np.ndarray) -> float:
    flat = np.asarray(f, float).ravel()
    return 0.5 * flat @ full @ flat + linear @ flat


def test_the_released_kernel_has_its_known_values(kernel):
    quarter = [[-1, -0.392, -0.196], [-0.392, -0.151, -0.113], [-0.196, -0.113, 0.098]]
    np.testing.assert_allclose(kernel[2:, 2:], quarter, atol=6e-4)
    np.testing.assert_array_equal(kernel, kernel[::-1])
    np.testing.assert_array_equal(kernel, kernel[:, ::-1])
    np.testing.assert_array_equal(kernel, kernel.T)


@pytest.mark.parametrize(
    ("kind", "radius", "width"),
    [("released", 4000, 800), ("released", 4, 0.8), ("rings", 4000, 800), ("rings", 4, 0.8)],
)
def test_kernels_are_a_negative_point_and_its_halo(kind, radius, width):
    kernel = halo_kernel(kind, radius=radius, width=width, reach=5)
    around = kernel.copy()
    around[5, 5] = 0
    assert kernel[5, 5] == -1
    assert 0.01 < np.linalg.norm(around) <= 1
    assert np.abs(kernel[kernel != 0]).min() > (0.01 if kind == "released" else 0.001)


def test_the_physical_kernel_takes_a_ring_of_frequencies_away():
    kernel = halo_kernel("physical", radius=0.3, width=0.1, reach=60)
    assert kernel[60, 60] == pytest.approx(np.pi * (0.3**2 - 0.2**2) - 1)
    wave = np.cos(2 * np.pi * np.arange(-60, 61)[:, None] * np.array([0, 0.1, 0.25, 0.45])).T
    passed = wave @ kernel.sum(axis=1)
    np.testing.assert_allclose(passed, [-1, -1, 0, -1], atol=0.15)


@pytest.mark.parametrize(("width", "reach", "message"), [(0, 2, "width"), (5, 2, "width"), (0.8, 0, "reach")])
def test_no_kernel_of_impossible_rings(width, reach, message):
    with pytest.raises(ValueError, match=message):
        halo_kernel("released", radius=4, width=width, reach=reach)


@pytest.mark.parametrize("shape", [(17, 30), (3, 4), (1, 1)])
def test_convolution_mirrors_the_border(shape, kernel):
    image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    expected = ndimage.convolve(image, kernel, mode="reflect")
    np.testing.assert_allclose(convolve(jnp.asarray(image), jnp.asarray(kernel)), expected, atol=1e-5)


@pytest.mark.parametrize("reach", [2, 5])
def test_the_halo_is_its_own_adjoint(reach):
    kernel = jnp.asarray(halo_kernel("released", radius=4000, width=800, reach=reach))
    f, g = np.random.default_rng(1).normal(size=(2, 13, 18)).astype(np.float32)
    forth = np.vdot(convolve(jnp.asarray(f), kernel), g)
    np.testing.assert_allclose(np.vdot(f, convolve(jnp.asarray(g), kernel)), forth, rtol=1e-4)


def test_the_matrix_is_that_of_the_objective(problem):
    matrix, _, _, full, _ = problem
    ours = dense(matrix.times)
    np.testing.assert_allclose(ours, ours.T, atol=1e-5)
    np.testing.assert_allclose(ours, full, atol=1e-4)


def test_the_laplacian_of_a_constant_image_is_plain():
    weights = laplacian(np.zeros(SHAPE, np.float32), 1)
    np.testing.assert_allclose(weights[:, :, 4, 4].sum(), 0, atol=1e-6)
    np.testing.assert_allclose(weights[1, 1, 4, 4], 4 + 4 * 0.707, rtol=1e-6)
    np.testing.assert_allclose(weights[1, 1, 0, 0], 2 + 0.707, rtol=1e-6)


def test_the_bound_holds_and_is_close(problem):
    *_, bound, full, _ = problem
    greatest = np.linalg.eigvalsh(full).max()
    assert greatest / (1 + 1e-5) <= bound <= 1.1 * greatest


@pytest.mark.parametrize("solver", ["fista", "multiplicative"])
def test_solvers_lower_the_objective(solver, problem):
    matrix, linear, bound, full, b = problem
    f, before = jnp.ones(SHAPE, jnp.float32), np.inf
    for _ in range(8):
        assert objective(f, full, b) < before
        before = objective(f, full, b)
        f = fista(matrix, linear, f, bound, 3, 0.0) if solver == "fista" else multiplicative(matrix, linear, f, 1)


def test_solvers_agree_with_generic_ones(problem):
    matrix, linear, bound, full, b = problem
    start = jnp.ones(SHAPE, jnp.float32)
    ours = fista(matrix, linear, start, bound, 500, 1e-7)
    published = multiplicative(matrix, linear, start, 5000)
    root = np.linalg.cholesky(full)  # ‖Rᵀf + R⁻¹b‖² / 2 is the objective, but for a constant
    exact, _ = nnls(root.T, -np.linalg.solve(root, b))
    generic = minimize(
        objective, np.ones(b.size), (full, b), "L-BFGS-B", lambda f, *_: full @ f + b, bounds=[(0, None)] * b.size
    )
    best = objective(exact, full, b)
    assert best < 0
    np.testing.assert_allclose(generic.fun, best, rtol=1e-3)
    np.testing.assert_allclose(objective(ours, full, b), best, rtol=1e-4)
    np.testing.assert_allclose(objective(published, full, b), best, rtol=1e-3)
    assert objective(ours, full, b) <= objective(published, full, b) + 1e-4 * abs(best)
    np.testing.assert_allclose(np.ravel(ours), exact, atol=2e-3 * exact.max())


@pytest.mark.parametrize(
    ("kind", "radius", "width"), [("released", 4000, 800), ("rings", 4000, 800), ("physical", 0.4, 0.08)]
)
@pytest.mark.parametrize("solver", ["fista", "multiplicative"])
def test_dark_cells_are_restored(kind, radius, width, solver):
    scene = draw_scene(0, shape=(64, 64), cells=1, diameter=26.0)
    kernel = halo_kernel(kind, radius=radius, width=width, reach=5)
    weights = {"smoothness": 1, "sparsity": 0.05, "evenness": 100, "gamma": 3}
    phase = restore(flatten(scene.image), kernel, **weights, solver=solver)
    inside = scene.labels > 0
    assert phase.min() >= 0
    assert phase[inside].mean() > 5 * phase[~inside].mean()


def test_more_sparsity_leaves_less(kernel, image):
    def phase(sparsity: float) -> np.ndarray:
        return restore(image, kernel, smoothness=1, sparsity=sparsity, evenness=100, gamma=3, solver="fista")

    assert (phase(0.001) > 0).sum() > (phase(0.3) > 0).sum()
    assert not phase(100.0).any()


def test_the_restored_image_is_where_the_reweighted_objective_is_least(kernel, image):
    phase = restore(image, kernel, smoothness=0.3, sparsity=0.02, evenness=3, gamma=0.5, solver="fista").ravel()
    halo = dense_halo(kernel)
    slope = (
        (halo.T @ halo + 0.3 * dense_laplacian(image, 3)) @ phase - halo.T @ image.ravel() + 0.02 / (phase + 0.5)
    )
    scale = np.abs(halo.T @ image.ravel()).max()
    assert 0 < (phase > 0).sum() < phase.size
    np.testing.assert_allclose(slope[phase > 0], 0, atol=0.01 * scale)
    assert slope[phase == 0].min() > -0.01 * scale
