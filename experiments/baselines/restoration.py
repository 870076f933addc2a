"""Restoration of phase contrast: from the grey values of an image to the phase that cells add (Yin et al. 2012).

A flattened image g is taken for H f + noise, where H convolves the phase f ≥ 0 with what the rings of the
microscope make of a point. f minimises

    ½ ‖H f - g‖² + ½ ω_s fᵀ L f + ω_r Σ Λ f,    L = D - W,    Λ = 1 / (f + gamma),

where W is large between neighbours of like grey value. Λ, which stands in for counting the pixels that are not 0,
is taken from the f before; while it is fixed the problem is convex. (The paper writes no ½ and halves ω_r; this is
the scale of the weights in the authors' code.) With A = HᵀH + ω_s L and b = ω_r Λ - Hᵀg it is ½ fᵀA f + bᵀf.

Images go on beyond their border as their own mirror image. The kernels are symmetric, so that Hᵀ = H, borders
included: cosine transforms (type II) diagonalise H.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Float64, Int
from scipy import fft, signal, special

Kernel = Literal["released", "rings", "physical"]
Solver = Literal["fista", "multiplicative"]

_PRUNED = {"released": 0.01, "rings": 0.001, "physical": 0.001}  # entries up to this are dropped
_DIAGONAL = 0.707  # weight of diagonal neighbours, in the released code
_FISTA_STEPS, _FISTA_ROUNDS = 100, 10  # steps with one Λ, and how often Λ is taken anew
_MULTIPLICATIVE_STEPS = 100  # as released; Λ is taken anew after every one
_SETTLED = 3e-4  # relative change of f in a step, or a round, below which it has converged
_CONSTANT = 1e-6  # spread of grey values that is rounding, less than 16 bits resolve


def halo_kernel(
    kind: Kernel, *, radius: float | int, width: float | int, reach: int
) -> Float64[np.ndarray, "taps taps"]:
    """Returns what a point that delays the light adds to the image: -δ, and the diffraction by the phase ring.

    The ring is the disc of its outer radius R less the one of its inner radius R - W; a disc of radius Q diffracts
    into π Q² somb(2 Q r), somb(x) = 2 J₁(πx) / (πx). The published radii are so large that the sampled functions
    are not smooth discs: aliasing makes the values, and they are kept as they are.

    Args:
        kind: "released" divides the ring by its root sum of squares, with the authors' somb(0) = 0 (with 1 the
            ring would be a δ, and the kernel 0); "rings", as in an independent version, divides each disc and
            then the ring by the sum of its absolute values; "physical" is the ring as it is.
        radius, width: R and W; cycles per pixel if "physical", otherwise in the units of the published tables.
        reach: pixels from the middle to the border of the kernel.

    Raises:
        ValueError: for a width outside 0..R, or a reach below 1.
    """
    if not 0 < width < radius:
        raise ValueError(f"the width of the ring must lie between 0 and its radius, {radius:g}, not be {width:g}")
    if reach < 1:
        raise ValueError(f"reach, of the kernel, must be at least 1 pixel, not {reach}")
    offsets = np.arange(-reach, reach + 1)
    distance = np.hypot(offsets[:, None], offsets)
    middle = 1 if kind == "physical" else 0
    outer, inner = (np.pi * q**2 * _somb(2 * q * distance, middle) for q in (radius, radius - width))
    ring = outer - inner
    if kind == "released":
        ring /= np.linalg.norm(ring)
    elif kind == "rings":
        ring = outer / np.abs(outer).sum() - inner / np.abs(inner).sum()
        ring /= np.abs(ring).sum()
    ring[reach, reach] -= 1
    ring[np.abs(ring) <= _PRUNED[kind]] = 0
    return ring


def _somb(x: Float64[np.ndarray, "taps taps"], middle: float | int) -> Float64[np.ndarray, "taps taps"]:
    """Returns 2 J₁(πx) / (πx), and what it is told at 0."""
    return np.divide(2 * special.j1(np.pi * x), np.pi * x, out=np.full_like(x, middle), where=x > 0)


def convolve(
    image: Float[Array, "height width"], stencil: Float[Array, "taps taps"]
) -> Float[Array, "height width"]:
    """Returns the image, mirrored at its border, convolved with a symmetric stencil."""
    reach = stencil.shape[0] // 2
    shape = tuple(side + 2 * reach for side in image.shape)
    fast = tuple(fft.next_fast_len(side, real=True) for side in shape)
    spectrum = jnp.fft.rfft2(jnp.pad(image, reach, mode="symmetric"), fast) * jnp.fft.rfft2(stencil, fast)
    return jnp.fft.irfft2(spectrum, fast)[2 * reach : shape[0], 2 * reach : shape[1]]


def laplacian(
    image: Float[np.ndarray, "height width"], evenness: float | int
) -> Float32[np.ndarray, "3 3 height width"]:
    """Returns L, as the weights of every pixel's 3×3 neighbours; those beyond the border have none.

    Between neighbours W = s (ε + exp(-d² / mean d²)) / (ε + 1), where d is their difference in grey value, the
    mean is over all pairs in a line or all diagonal ones, and s is 1 or, on diagonals, 0.707.

    Args:
        image: flattened.
        evenness: ε; the larger, the less edges count.
    """
    height, width = image.shape
    weights = np.zeros((3, 3, height, width), np.float32)
    for directions, scale in ((((0, 1), (1, 0)), 1.0), (((1, 1), (1, -1)), _DIAGONAL)):
        pairs = []
        for down, right in directions:
            left = max(-right, 0)
            here = np.s_[: height - down, left : width - max(right, 0)]
            there = np.s_[down:, left + right : width - left]
            pairs.append((down, right, here, there, (image[here] - image[there]) ** 2))
        count = max(sum(squares.size for *_, squares in pairs), 1)
        mean = sum(squares.sum() for *_, squares in pairs) / count
        for down, right, here, there, squares in pairs:
            likeness = np.exp(-squares / max(mean, np.finfo(np.float32).tiny))
            weight = scale * (evenness + likeness) / (evenness + 1)
            weights[1 + down, 1 + right][here] = weights[1 - down, 1 - right][there] = -weight
    weights[1, 1] = -weights.sum(axis=(0, 1))
    return weights


class Matrix(NamedTuple):
    """A symmetric matrix of pixels by pixels: a stencil that is the same everywhere, and weights that are not."""

    stencil: Float[Array, "taps taps"]  # even in both directions
    near: Float[Array, "3 3 height width"]  # for every pixel, the weights of its neighbours in addition

    def times(self, f: Float[Array, "height width"]) -> Float[Array, "height width"]:
        """Returns the product with an image, mirrored at its border."""
        height, width = f.shape
        padded = jnp.pad(f, 1, mode="edge")
        shifted = (self.near[i, j] * padded[i : i + height, j : j + width] for i in range(3) for j in range(3))
        return convolve(f, self.stencil) + sum(shifted, jnp.zeros_like(f))


def quadratic(
    kernel: Float64[np.ndarray, "taps taps"],
    smooth: Float32[np.ndarray, "3 3 height width"],
) -> Matrix:
    """Returns A = HᵀH + ω_s L, from the kernel of H and ω_s L.

    The middle of the stencil of HᵀH is put with L, so that an entry has one sign wherever it can.
    """
    stencil = signal.convolve2d(kernel, kernel)
    middle = (slice(len(kernel) - 2, len(kernel) + 1),) * 2
    near = stencil[middle][:, :, None, None] + smooth
    stencil[middle] = 0
    return Matrix(jnp.asarray(stencil, jnp.float32), jnp.asarray(near, jnp.float32))


def eigenvalue_bound(
    kernel: Float64[np.ndarray, "taps taps"], smoothness: float | int, shape: tuple[int, int]
) -> float:
    """Returns what no eigenvalue of A exceeds: the greatest of HᵀH + ω_s L, were all neighbours alike."""
    line, corner = -1.0, -_DIAGONAL
    even = np.array([[corner, line, corner], [line, -4 * (line + corner), line], [corner, line, corner]])
    return float((_symbol(kernel, shape) ** 2 + smoothness * _symbol(even, shape)).max())


def _symbol(
    stencil: Float64[np.ndarray, "taps taps"], shape: tuple[int, int]
) -> Float64[np.ndarray, "height width"]:
    """Returns the eigenvalues of convolution with a symmetric stencil, by the frequencies of cosine transforms."""
    offsets = np.arange(len(stencil)) - len(stencil) // 2
    rows, columns = (np.cos(np.pi * np.outer(np.arange(side), offsets) / side) for side in shape)
    return rows @ stencil @ columns.T


@jax.jit
def fista(
    matrix: Matrix,
    linear: Float[Array, "height width"],
    start: Float[Array, "height width"],
    bound: Float[Array, ""] | float,
    steps: Int[Array, ""] | int,
    settled: Float[Array, ""] | float,
) -> Float[Array, "height width"]:
    """Returns the f ≥ 0 that minimises ½ fᵀA f + bᵀf, by projected gradients with momentum.

    This is FISTA (Beck and Teboulle 2009). Momentum starts again from nothing where it points uphill (O'Donoghue
    and Candès 2015).

    Args:
        matrix, linear: A and b.
        start: f to begin with.
        bound: of the eigenvalues of A; a step goes down 1 / bound of the gradient.
        steps: at most.
        settled: relative change of f at which to stop before.
    """

    def going_on(state: tuple[Array, ...]) -> Array:
        return (state[3] > settled) & (state[4] < steps)

    def step(state: tuple[Array, ...]) -> tuple[Array, ...]:
        f, ahead, momentum, _, count = state
        new = jnp.maximum(ahead - (matrix.times(ahead) + linear) / bound, 0)
        momentum = jnp.where(jnp.vdot(ahead - new, new - f) > 0, 1.0, momentum)
        grown = (1 + jnp.sqrt(1 + 4 * momentum**2)) / 2
        return new, new + (momentum - 1) / grown * (new - f), grown, _change(new, f), count + 1

    first: tuple[Array, ...] = (start, start, jnp.array(1.0), jnp.array(jnp.inf), jnp.array(0))
    return jax.lax.while_loop(going_on, step, first)[0]


@jax.jit
def multiplicative(
    matrix: Matrix,
    linear: Float[Array, "height width"],
    start: Float[Array, "height width"],
    steps: Int[Array, ""] | int,
) -> Float[Array, "height width"]:
    """Returns an f ≥ 0 where ½ fᵀA f + bᵀf is lower, by the updates of Sha et al. 2007, which the paper uses.

    f ← f (-b + √(b² + 4 A⁺f A⁻f)) / (2 A⁺f), where A = A⁺ - A⁻ with no negative entry in either. Where f is 0 it
    stays so, and it comes near to 0 slowly.

    Args:
        matrix, linear: A and b.
        start: f to begin with, above 0.
        steps: how many.
    """
    positive = jax.tree.map(lambda part: jnp.maximum(part, 0), matrix)
    negative = jax.tree.map(lambda part: jnp.maximum(-part, 0), matrix)

    def step(_: Array, f: Array) -> Array:
        # Sums of nothing negative, but for the rounding of their transforms.
        up, down = (jnp.maximum(part.times(f), 0) for part in (positive, negative))
        root = jnp.sqrt(linear**2 + 4 * up * down)
        return f * (root - linear) / (2 * up + jnp.finfo(f.dtype).eps)

    return jax.lax.fori_loop(0, steps, step, start)


@jax.jit
def _change(new: Float[Array, "height width"], old: Float[Array, "height width"]) -> Float[Array, ""]:
    """Returns the change relative to the new values, or 0 if both are nothing."""
    return jnp.linalg.norm(new - old) / jnp.maximum(jnp.linalg.norm(new), jnp.finfo(new.dtype).tiny)


def restore(
    image: Float32[np.ndarray, "height width"],
    kernel: Float64[np.ndarray, "taps taps"],
    *,
    smoothness: float | int,
    sparsity: float | int,
    evenness: float | int,
    gamma: float | int,
    solver: Solver,
) -> Float32[np.ndarray, "height width"]:
    """Returns the phase f ≥ 0 of a flattened image; dark cells, where phase contrast is positive, have some.

    Begins with f = 1 everywhere, and so with the same small Λ everywhere.

    Args:
        image: g.
        kernel: of H, from `halo_kernel`.
        smoothness, sparsity, evenness, gamma: ω_s, ω_r, ε and gamma of the objective.
        solver: "multiplicative" as published, 100 steps at most, which are too few where smoothness is much above
            1; or "fista", which gets to the minimum.
    """
    if np.ptp(image) < _CONSTANT:
        return np.zeros_like(image)  # the minimum, which multiplicative updates only tend to
    matrix = quadratic(kernel, smoothness * laplacian(image, evenness))
    seen = np.asarray(convolve(jnp.asarray(image), jnp.asarray(kernel, jnp.float32)))
    f = jnp.ones(image.shape, jnp.float32)
    bound = eigenvalue_bound(kernel, smoothness, image.shape)
    for _ in range(_FISTA_ROUNDS if solver == "fista" else _MULTIPLICATIVE_STEPS):
        linear = sparsity / (f + gamma) - seen
        if solver == "fista":
            new = fista(matrix, linear, f, bound, _FISTA_STEPS, _SETTLED)
        else:
            new = multiplicative(matrix, linear, f, 1)
        settled = float(_change(new, f)) < _SETTLED
        f = new
        if settled:
            break
    return np.asarray(f)
