"""Cuts by PyMaxflow (Boykov and Kolmogorov 2004, TPAMI), whose licence is the GPL. No other module imports it."""

import maxflow
import numpy as np
from jaxtyping import Bool, Float, Int64

from wsis_jax.core import Window
from wsis_jax.cutting.reduction import ReducedCut
from wsis_jax.cutting.whole_costs import WholeEdges, bounded_data, edge_sums, whole_edges

_Costs = Float[np.ndarray, "height width"]
_Mask = Bool[np.ndarray, "height width"]
_Nodes = Int64[np.ndarray, "height width"]


def solve(reduced: ReducedCut) -> Bool[np.ndarray, " nodes"]:
    """Returns which nodes are in the mask of least cost; of several masks, in the largest."""
    solved, nodes = _build(reduced)
    solved.maxflow()
    return ~solved.get_grid_segments(nodes)  # on the source's side, as nodes that cost the same on either side are


def _build(reduced: ReducedCut) -> tuple[maxflow.GraphFloat, Int64[np.ndarray, " nodes"]]:
    """Returns the graph as PyMaxflow has it, and the numbers of its nodes; floats as in `_build_image`."""
    solved = maxflow.GraphFloat(len(reduced.data), len(reduced.costs))
    nodes = solved.add_nodes(len(reduced.data))
    if len(reduced.costs):  # PyMaxflow refuses an empty list
        both = reduced.costs.astype(np.float64)
        solved.add_edges(reduced.first, reduced.second, both, both)
    data = reduced.data.astype(np.float64)
    solved.add_grid_tedges(nodes, np.maximum(data, 0), np.maximum(-data, 0))
    return solved, nodes


class SharedCut:
    """Cuts of one image for seeds that differ in few places: each starts from the flow of the cut before.

    The masks are those of `graphcut.least_cut`, whatever the order of the cuts. The graph takes about 200 bytes a
    pixel.

    Args:
        data, right, down, background, unit: those of `whole_costs.cut_graph`, whose errors these are; data and
            background hold wherever `solve` gets no others.
    """

    def __init__(self, data: _Costs, right: _Costs, down: _Costs, background: _Mask, *, unit: float) -> None:
        edges, self._unit = whole_edges(right, down, unit), unit
        self._bound = edge_sums(edges) + 1
        self._data = bounded_data(data, self._bound, np.zeros_like(background), background, unit)
        self._graph, self._nodes = _build_image(self._data, edges)
        self._graph.maxflow()
        self._changed, self._changes = np.empty(0, np.int64), np.empty(0)

    def solve(self, window: Window, data: _Costs, foreground: _Mask, background: _Mask) -> None:
        """Cuts the image with other data and seeds inside a window, without those of the call before."""
        within = bounded_data(data, self._bound[window], foreground, background, self._unit)
        change = within - self._data[window]
        self._add(self._changed, -self._changes)
        self._changed, self._changes = self._nodes[window][change != 0], change[change != 0].astype(np.float64)
        self._add(self._changed, self._changes)
        self._graph.maxflow(True)

    def mask(self, window: Window) -> _Mask:
        """Returns the part of the mask in a window."""
        return ~self._graph.get_grid_segments(np.ascontiguousarray(self._nodes[window]))

    def _add(self, nodes: Int64[np.ndarray, " pixels"], amounts: Float[np.ndarray, " pixels"]) -> None:
        """Adds to the cost of leaving pixels out of the mask."""
        if not len(nodes):  # PyMaxflow refuses an empty list
            return
        self._graph.add_grid_tedges(nodes, amounts, np.zeros_like(amounts))
        self._graph.mark_grid_nodes(nodes)


def _build_image(data: Int64[np.ndarray, "height width"], edges: WholeEdges) -> tuple[maxflow.GraphFloat, _Nodes]:
    """Returns the graph of an image, no pixel left out, as PyMaxflow has it, and the numbers of its pixels' nodes.

    In floats, which count exactly to 2⁵³: PyMaxflow's whole numbers have 32 bits on Windows.
    """
    size = data.size
    solved = maxflow.GraphFloat(size, 2 * size)
    nodes = solved.add_grid_nodes(data.shape)
    # Lists of edges are added faster than PyMaxflow's structured grids.
    for here, there, costs in ((nodes[:, :-1], nodes[:, 1:], edges.right), (nodes[:-1], nodes[1:], edges.down)):
        both = costs.astype(np.float64).ravel()
        solved.add_edges(here.ravel(), there.ravel(), both, both)
    whole = data.astype(np.float64)
    solved.add_grid_tedges(nodes, np.maximum(whole, 0), np.maximum(-whole, 0))
    return solved, nodes
