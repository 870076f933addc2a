"""One binary graph cut, from seeds and an image. The only file that imports maxflow."""

from typing import Literal

import maxflow
import numpy as np
from jaxtyping import Bool, Float, Float32

# Dearer than any cut through the edges of a window, so that no seed is ever overruled.
_HARD = 1e6

_RIGHT = np.array([[0, 0, 0], [0, 0, 1], [0, 0, 0]])
_DOWN = np.array([[0, 0, 0], [0, 0, 0], [0, 1, 0]])


def edge_weights(
    image: Float[np.ndarray, "height width"],
    *,
    weight: float,
    bright: float,
    step: float,
    pixel: Literal["max", "first"],
) -> tuple[Float32[np.ndarray, "height width"], Float32[np.ndarray, "height width"]]:
    """Returns what it costs to cut between each pixel and its right, and its lower, neighbour.

    The cost is `weight` · exp(-`bright` · I - `step` · |ΔI|), where I is the intensity of the pair and ΔI the
    difference of its pixels: outlines run along the bright halo of phase contrast, and along steps.

    Args:
        image: 0..1.
        weight: cost between two black pixels.
        bright: how fast the cost falls with the intensity.
        step: how fast it falls with the difference.
        pixel: I is that of the brighter pixel ("max"), or of the upper or left one ("first", as in the authors'
            code, which shifts outlines by up to half a pixel).

    Returns:
        Costs to the right and down; the last column and the last row, which have no neighbour, are of no use.
    """

    def cost(axis: int) -> Float32[np.ndarray, "height width"]:
        neighbour = np.roll(image, -1, axis=axis)
        intensity = np.maximum(image, neighbour) if pixel == "max" else image
        return (weight * np.exp(-bright * intensity - step * np.abs(image - neighbour))).astype(np.float32)

    return cost(1), cost(0)


def cut(
    data: Float[np.ndarray, "height width"],
    right: Float[np.ndarray, "height width"],
    down: Float[np.ndarray, "height width"],
    foreground: Bool[np.ndarray, "height width"],
    background: Bool[np.ndarray, "height width"],
) -> Bool[np.ndarray, "height width"]:
    """Returns the mask of least cost: the sum of the edges it cuts and of the data it goes against.

    Args:
        data: a pixel with a positive value costs that much when it is left out of the mask; one with a
            negative value costs as much when it is in.
        right, down: costs of separating a pixel from its right and its lower neighbour, as `edge_weights` gives.
        foreground: pixels that must be in the mask.
        background: pixels that must not; disjoint from `foreground`.

    Raises:
        ValueError: if a pixel is in both seeds.
    """
    if np.any(foreground & background):
        raise ValueError("a pixel is both foreground and background seed; decide which before the cut")
    graph = maxflow.Graph[float]()
    nodes = graph.add_grid_nodes(data.shape)
    graph.add_grid_edges(nodes, weights=right, structure=_RIGHT, symmetric=True)
    graph.add_grid_edges(nodes, weights=down, structure=_DOWN, symmetric=True)
    graph.add_grid_tedges(
        nodes,
        np.where(foreground, _HARD, np.maximum(data, 0)),
        np.where(background, _HARD, np.maximum(-data, 0)),
    )
    graph.maxflow()
    return ~graph.get_grid_segments(nodes)  # False is the source's side, and the source is the cell
