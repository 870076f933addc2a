"""Graph cuts whose boundary costs depend on its direction, as dark cells in bright halos need them.

A pixel p in the mask next to a pixel q outside costs w(p → q), which need not be w(q → p). As no cost is negative,
one maximum flow finds the mask of least cost (Boykov and Funka-Lea 2006).
"""

from typing import TypeAlias

import maxflow
import numpy as np
from jaxtyping import Bool, Float, Float64

OFFSETS = ((0, 1), (1, 0), (1, 1), (1, -1))
"""From a pixel to half of its eight neighbours, (rows, columns); it is the neighbour of the other half."""

BoundaryCosts: TypeAlias = tuple[tuple[Float64[np.ndarray, "_ _"], Float64[np.ndarray, "_ _"]], ...]
"""For each of `OFFSETS`: what it costs if only the pixel is in the mask, and if only its neighbour is."""


def neighbours(values: np.ndarray, offset: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the pixels that have a neighbour at an offset of `OFFSETS`, and those neighbours."""
    height, width = values.shape
    down, right = offset
    here = slice(0, height - down), slice(max(-right, 0), width - max(right, 0))
    there = slice(down, height), slice(max(right, 0), width - max(-right, 0))
    return values[here], values[there]


def contrast(image: Float[np.ndarray, "height width"]) -> float:
    """Returns the root mean square of the differences between neighbours; 0 for an image of one pixel."""
    differences = [np.subtract(*neighbours(image, offset)).ravel() for offset in OFFSETS]
    squares = np.concatenate(differences).astype(np.float64) ** 2
    return float(np.sqrt(squares.mean())) if squares.size else 0.0


def asymmetric_costs(
    image: Float[np.ndarray, "height width"],
    *,
    weight: float | int,
    tolerance: float | int,
    wrong_way: float | int,
) -> BoundaryCosts:
    """Returns costs under which the mask likes to end where the image becomes brighter outwards.

    w(p → q) = `weight` · B(I(q) - I(p)) / |p - q|, where B(d) = exp(-d² / (2 `tolerance`²)) for d > 0, and
    B(d) = `wrong_way` else.

    Args:
        image: grey values I in any unit.
        weight: of a boundary, where nothing favours it.
        tolerance: difference of neighbours from which on a boundary is cheap, in the unit of the image; above 0.
        wrong_way: price where the image does not become brighter outwards, in units of `weight`.
    """

    def costs(rise: Float64[np.ndarray, "rows columns"], length: float) -> Float64[np.ndarray, "rows columns"]:
        price = np.where(rise > 0, np.exp(-(rise**2) / (2 * tolerance**2)), wrong_way)
        return weight / length * price

    result = []
    for offset in OFFSETS:
        here, there = neighbours(image.astype(np.float64), offset)
        length = float(np.hypot(*offset))
        result.append((costs(there - here, length), costs(here - there, length)))
    return tuple(result)


def directed_cut(
    preference: Float[np.ndarray, "height width"], costs: BoundaryCosts
) -> Bool[np.ndarray, "height width"]:
    """Returns the mask of least cost: that of its boundary and of the preferences it goes against.

    Args:
        preference: a pixel with a positive value costs that much when it is left out of the mask; one with a
            negative value costs as much when it is in.
        costs: of the boundary, as `asymmetric_costs` gives them; none negative.
    """
    graph = maxflow.GraphFloat(preference.size, len(OFFSETS) * preference.size)
    nodes = graph.add_grid_nodes(preference.shape)
    for offset, (forward, backward) in zip(OFFSETS, costs, strict=True):
        if forward.size:  # PyMaxflow does not take empty lists
            here, there = (part.ravel() for part in neighbours(nodes, offset))
            graph.add_edges(here, there, forward.ravel(), backward.ravel())
    data = preference.astype(np.float64)
    graph.add_grid_tedges(nodes, np.maximum(data, 0), np.maximum(-data, 0))
    graph.maxflow()
    return ~graph.get_grid_segments(nodes)
