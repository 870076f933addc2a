"""A cut made smaller before it is solved: pixels that are decided leave the graph, whoever solves it."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

_Costs = Float64[np.ndarray, "height width"]
_Mask = Bool[np.ndarray, "height width"]


class ReducedCut(NamedTuple):
    """What is left to solve of a cut: a graph whose nodes are the open pixels, in raster order.

    Attributes:
        foreground: the pixels that are decided to be in the mask.
        open: the pixels that are left to solve.
        data: of each node: what leaving it out of the mask costs, or, where negative, what taking it in costs.
        first, second: the nodes at both ends of each edge.
        costs: of the edges, the same in both directions.
    """

    foreground: _Mask
    open: _Mask
    data: Float64[np.ndarray, " nodes"]
    first: Int64[np.ndarray, " edges"]
    second: Int64[np.ndarray, " edges"]
    costs: Float64[np.ndarray, " edges"]

    def mask(self, inside: Bool[np.ndarray, " nodes"]) -> _Mask:
        """Returns the mask of the whole cut from that of the nodes."""
        mask = self.foreground.copy()
        mask[self.open] = inside
        return mask


def reduce_cut(
    data: _Costs,
    right: Float64[np.ndarray, "height columns"],
    down: Float64[np.ndarray, "rows width"],
    foreground: _Mask,
    background: _Mask,
) -> ReducedCut:
    """Returns a cut without the decided pixels: its cheapest masks are those of the whole cut, without them.

    An edge between a decided pixel and an open one costs what it costs if the open pixel takes the other side, and
    nothing if it takes the same one. So it is a data term of the open pixel: + cost beside the foreground, - cost
    beside the background. Edges between decided pixels cost the same in every mask. What a mask costs changes by a
    constant so, and the order of masks by their costs, equal ones included, stays.

    Args:
        data, right, down: those of a `whole_costs.CutGraph`, in whole units.
        foreground, background: the decided pixels: seeds, and others that are known to be on a side.
    """
    side = foreground.astype(np.float64) - background
    settled = data.copy()
    settled[:, :-1] += right * side[:, 1:]
    settled[:, 1:] += right * side[:, :-1]
    settled[:-1] += down * side[1:]
    settled[1:] += down * side[:-1]
    is_open = ~(foreground | background)
    numbers = (np.cumsum(is_open) - 1).reshape(data.shape)
    across, below = is_open[:, :-1] & is_open[:, 1:], is_open[:-1] & is_open[1:]
    first = np.concatenate([numbers[:, :-1][across], numbers[:-1][below]])
    second = np.concatenate([numbers[:, 1:][across], numbers[1:][below]])
    return ReducedCut(
        foreground, is_open, settled[is_open], first, second, np.concatenate([right[across], down[below]])
    )
