"""Binary graph cuts of an image, from costs and seeds. The only file that imports maxflow."""

import maxflow
import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from wsis_jax.core import UserError, Window

_Costs = Float[np.ndarray, "height width"]
_Mask = Bool[np.ndarray, "height width"]
_Nodes = Int64[np.ndarray, "height width"]


def cut(data: _Costs, right: _Costs, down: _Costs, foreground: _Mask, background: _Mask) -> _Mask:
    """Returns the mask of least cost: the sum of the edges it cuts and of the data terms it goes against.

    Of several masks of that cost it is the largest, which holds all others.

    Args:
        data: unary costs. A pixel with a positive value costs that much when it is left out of the mask; one with
            a negative value costs as much when it is in.
        right, down: costs of separating a pixel from its right and its lower neighbour, at least 0, as
            `terms.edge_weights` gives them.
        foreground: pixels that must be in the mask.
        background: pixels that must not; disjoint from `foreground`.

    Raises:
        UserError: if a pixel is both foreground and background seed.
    """
    if np.any(foreground & background):
        raise UserError("a pixel is both foreground and background seed; decide which before the cut")
    seed_cost = _seed_cost(_greatest(data), right, down)
    graph, nodes = _build(data + seed_cost * (foreground.astype(np.float64) - background), right, down)
    graph.maxflow()
    return ~graph.get_grid_segments(nodes)  # on the source's side, as nodes that cost the same on either side are


class SharedCut:
    """Cuts of one image for seeds that differ in few places: each starts from the flow of the cut before.

    The masks are those that `cut` gives, whatever the order of the cuts. The graph takes about 190 bytes a pixel.

    Args:
        data, right, down, background: those of `cut`; data and background hold wherever `solve` gets no others.
        greatest: how far any data are from 0 at most, those that `solve` gets included: seeds must overrule them.

    Raises:
        UserError: if the data exceed the greatest.
    """

    def __init__(self, data: _Costs, right: _Costs, down: _Costs, background: _Mask, *, greatest: float) -> None:
        self._data, self._background, self._greatest = data, background, greatest
        self._check(data)
        self._seed_cost = _seed_cost(greatest, right, down)
        # Added to the data, not put in their place: a seed that is taken away again leaves the data behind.
        self._graph, self._nodes = _build(data - self._seed_cost * background, right, down)
        self._graph.maxflow()
        self._changed, self._changes = np.empty(0, np.int64), np.empty(0)

    def solve(self, window: Window, data: _Costs, foreground: _Mask, background: _Mask) -> None:
        """Cuts the image with other data and seeds inside a window, without those of the call before.

        Raises:
            UserError: if the data exceed the greatest of the constructor.
        """
        self._check(data)
        change = self._seed_cost * (foreground.astype(float) - background + self._background[window])
        change += data.astype(float) - self._data[window]
        self._add(self._changed, -self._changes)
        self._changed, self._changes = self._nodes[window][change != 0], change[change != 0]
        self._add(self._changed, self._changes)
        self._graph.maxflow(True)

    def mask(self, window: Window) -> _Mask:
        """Returns the part of the mask in a window."""
        return ~self._graph.get_grid_segments(np.ascontiguousarray(self._nodes[window]))

    def _check(self, data: _Costs) -> None:
        """Raises UserError for data that seeds might not overrule."""
        if _greatest(data) > self._greatest:
            raise UserError(
                f"the data go up to {_greatest(data):g}, above {self._greatest:g}; "
                "give a `greatest` that holds for all"
            )

    def _add(self, nodes: Int64[np.ndarray, " pixels"], amounts: Float64[np.ndarray, " pixels"]) -> None:
        """Adds to the cost of leaving pixels out of the mask."""
        if not len(nodes):  # PyMaxflow refuses an empty list
            return
        self._graph.add_grid_tedges(nodes, amounts, np.zeros_like(amounts))
        self._graph.mark_grid_nodes(nodes)


def _greatest(data: _Costs) -> float:
    """Returns how far data are from 0 at most."""
    return float(np.abs(data).max(initial=0))


def _seed_cost(greatest: float, right: _Costs, down: _Costs) -> float:
    """Returns a cost above the data term of any pixel and its four edges; a power of two, which rounds least."""
    highest = 4 * max(right.max(initial=0), down.max(initial=0)) + greatest
    return float(2 ** np.ceil(np.log2(highest + 1)))


def _build(data: _Costs, right: _Costs, down: _Costs) -> tuple[maxflow.GraphFloat, _Nodes]:
    """Returns the graph of an image, from data that hold its seeds, and the numbers of its pixels' nodes."""
    graph = maxflow.GraphFloat(data.size, 2 * data.size)
    nodes = graph.add_grid_nodes(data.shape)
    # Lists of edges are added faster than PyMaxflow's structured grids.
    for here, there, costs in ((nodes[:, :-1], nodes[:, 1:], right[:, :-1]), (nodes[:-1], nodes[1:], down[:-1])):
        both = costs.astype(np.float64).ravel()
        graph.add_edges(here.ravel(), there.ravel(), both, both)
    graph.add_grid_tedges(nodes, np.maximum(data, 0), np.maximum(-data, 0))
    return graph, nodes
