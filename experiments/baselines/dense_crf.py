"""A dense CRF (Krähenbühl, Koltun 2011) whose labels each live in a box, by mean field in a truncated window.

Every pixel takes the background or one of the cells whose crop holds it. With the potentials psi, the
probabilities q of the labels l at pixel i are iterated as

    q_i(l) ~ exp(psi_i(l) + sum over kernels of weight · sum over j ≠ i of k(i, j) q_j(l) / n_i)

where n_i is the sum of k(i, j) over j ≠ i, as CRF-RNN has it (Zheng et al. 2015), and

    appearance: k = exp(-|p_i - p_j|² / 2 alpha² - (I_i - I_j)² / 2 beta²)
    smoothness: k = exp(-|p_i - p_j|² / 2 gamma²)

for positions p and grey values I. Published code sums over all pixels, on a lattice; here the sums end at a square
window.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int


class Kernels(NamedTuple):
    """Widths and weights of the two kernels."""

    alpha: float | int  # pixels, of appearance
    beta: float | int  # grey values, of appearance
    gamma: float | int  # pixels, of smoothness
    appearance: float | int  # weight
    smoothness: float | int  # weight


class Beliefs(NamedTuple):
    """The probabilities of the labels."""

    cells: Float32[np.ndarray, "cells side side"]  # each in its crop
    background: Float32[np.ndarray, "height width"]


_SIDES = (
    16  # crops' sides and their number are rounded up to a multiple of this, so that few programs are compiled
)


def mean_field(
    image: Float[np.ndarray, "height width"],
    corners: Int[np.ndarray, "cells 2"],
    cells: Float[np.ndarray, "cells side side"],
    background: Float[np.ndarray, "height width"],
    kernels: Kernels,
    *,
    radius: int,
    iterations: int,
) -> Beliefs:
    """Returns the probabilities of the labels after so many iterations from those of the potentials alone.

    Args:
        image: grey values.
        corners: first row and column of each cell's crop, in the image.
        cells: potential psi of each cell in its crop, minus infinity where the cell cannot be (beyond the image).
        background: that of the background, finite.
        kernels: of the sums.
        radius: pixels from the middle of the window to its sides.
        iterations: of the mean field.
    """
    count, side = cells.shape[:2]
    more = -side % _SIDES
    padded = np.pad(cells, ((0, -count % _SIDES), (0, more), (0, more)), constant_values=-np.inf)
    places = np.pad(corners, ((0, -count % _SIDES), (0, 0)))
    widths = jnp.array(kernels, jnp.float32)
    own, ground = _iterated(
        *(jnp.asarray(array, jnp.float32) for array in (image, padded, background)),
        jnp.asarray(places),
        widths,
        jnp.asarray(iterations),
        radius=radius,
    )
    return Beliefs(np.asarray(own)[:count, :side, :side], np.asarray(ground))


@partial(jax.jit, static_argnames="radius")
def _iterated(
    image: Float32[Array, "height width"],
    cells: Float32[Array, "cells side side"],
    background: Float32[Array, "height width"],
    corners: Int[Array, "cells 2"],
    widths: Float32[Array, "5"],
    iterations: Int[Array, ""],
    *,
    radius: int,
) -> tuple[Float32[Array, "cells side side"], Float32[Array, "height width"]]:
    """Returns what `mean_field` does, for shapes that many images share.

    Only the messages of cells are summed, which reach `radius` pixels beyond their crops. Since probabilities sum
    to one, the background's is the sum of both weights less the messages of all cells.
    """
    frame = _Frame(corners, cells.shape[1])
    guide = frame.crops(image, around=2 * radius)
    weigh = partial(_messages, guide=guide, widths=widths, radius=radius)
    within = frame.crops(jnp.ones_like(image), around=2 * radius)
    sums = [jnp.maximum(total, 1e-12) for total in weigh(within)]  # 0 only beyond the image
    beyond = ((0, 0), (2 * radius, 2 * radius), (2 * radius, 2 * radius))
    core = (slice(None), slice(radius, -radius), slice(radius, -radius))

    def beliefs(own: Array, ground: Array) -> tuple[Array, Array]:
        own, ground = jnp.exp(own), jnp.exp(ground)
        total = ground + frame.added(own, around=0, shape=image.shape)
        return own / jnp.maximum(frame.crops(total, around=0), 1e-30), ground / total

    def iteration(_: Array, now: tuple[Array, Array]) -> tuple[Array, Array]:
        appearance, smoothness = weigh(jnp.pad(now[0], beyond))
        messages = widths[3] * appearance / sums[0] + widths[4] * smoothness / sums[1]
        of_cells = frame.added(messages, around=radius, shape=image.shape)
        return beliefs(cells + messages[core], background + widths[3:].sum() - of_cells)

    return jax.lax.fori_loop(0, iterations, iteration, beliefs(cells, background))


class _Frame(NamedTuple):
    """The crops of all cells, which may leave the image."""

    corners: Int[Array, "cells 2"]
    side: int

    def crops(self, image: Array, *, around: int) -> Array:
        """Returns the crops of an image with so many pixels around them; zeros beyond it."""
        size = (self.side + 2 * around,) * 2
        framed = jnp.pad(image, ((around, around + self.side),) * 2)
        return jax.vmap(lambda corner: jax.lax.dynamic_slice(framed, corner, size))(self.corners)

    def added(self, crops: Array, *, around: int, shape: tuple[int, ...]) -> Array:
        """Returns the sum of crops that have so many pixels around them, as an image."""
        steps = jnp.arange(self.side + 2 * around)
        rows = self.corners[:, 0, None, None] + steps[None, :, None]
        columns = self.corners[:, 1, None, None] + steps[None, None, :]
        framed = jnp.zeros([size + 2 * around + self.side for size in shape]).at[rows, columns].add(crops)
        return framed[around : around + shape[0], around : around + shape[1]]


def _messages(
    q: Float32[Array, "crops framed_height framed_width"],
    guide: Float32[Array, "crops framed_height framed_width"],
    widths: Float32[Array, "5"],
    *,
    radius: int,
) -> tuple[Float32[Array, "crops height width"], Float32[Array, "crops height width"]]:
    """Returns the sums over j ≠ i of k(i, j) q_j, of both kernels, for all i but a frame of `radius` pixels."""
    count, height, width = (size - 2 * radius for size in (len(guide) + 2 * radius, *guide.shape[1:]))
    core = (slice(None), slice(radius, radius + height), slice(radius, radius + width))
    alpha, beta, gamma = 1 / (2 * widths[:3] ** 2)

    def add(total: Array, offset: Array) -> tuple[Array, None]:
        start, size = (0, offset[0] + radius, offset[1] + radius), (count, height, width)
        there, grey = (jax.lax.dynamic_slice(array, start, size) for array in (q, guide))
        far = (offset**2).sum()
        return total + jnp.exp(-beta * (grey - guide[core]) ** 2 - alpha * far) * there, None

    steps = jnp.arange(-radius, radius + 1)
    # A loop over single offsets: written out, the compiler makes something five times as slow of it.
    offsets = jnp.stack(jnp.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)
    appearance, _ = jax.lax.scan(add, -q[core], offsets)

    def band(size: int) -> Array:
        gaps = jnp.arange(size)[:, None] + radius - jnp.arange(size + 2 * radius)[None]
        return jnp.where(jnp.abs(gaps) <= radius, jnp.exp(-gamma * gaps**2), 0)

    smoothness = jnp.einsum("nij,ri,cj->nrc", q, band(height), band(width))
    return appearance, smoothness - q[core]
