"""Cuts by PyMaxflow (Boykov and Kolmogorov 2004, TPAMI), whose licence is the GPL. No other module imports it."""

import maxflow
import numpy as np
from jaxtyping import Bool, Float64, Int64

from wsis_jax.core import Window, whole_window
from wsis_jax.cutting.reduction import ReducedCut
from wsis_jax.cutting.whole_costs import WholeCosts, WholeEdges

_Data = Float64[np.ndarray, "height width"]
_Mask = Bool[np.ndarray, "height width"]
_Nodes = Int64[np.ndarray, "height width"]


def solve(reduced: ReducedCut) -> Bool[np.ndarray, " nodes"]:
    """Returns which nodes are in the mask of least cost; of several masks, in the largest."""
    solved, nodes = _build(reduced)
    solved.maxflow()
    return ~solved.get_grid_segments(nodes)  # on the source's side, as nodes that cost the same on either side are


def _build(reduced: ReducedCut) -> tuple[maxflow.GraphFloat, Int64[np.ndarray, " nodes"]]:
    """Returns the graph as PyMaxflow has it, and the numbers of its nodes.

    In floats, as costs are kept: PyMaxflow's whole numbers have 32 bits on Windows.
    """
    solved = maxflow.GraphFloat(len(reduced.data), len(reduced.costs))
    nodes = solved.add_nodes(len(reduced.data))
    if len(reduced.costs):  # PyMaxflow refuses an empty list
        solved.add_edges(reduced.first, reduced.second, reduced.costs, reduced.costs)
    solved.add_grid_tedges(nodes, np.maximum(reduced.data, 0), np.maximum(-reduced.data, 0))
    return solved, nodes


class SharedCut:
    """Cuts of one image for seeds that differ in few places: each starts from the flow of the cut before.

    The masks are those of `graphcut.least_cut`, whatever the order of the cuts. The graph takes about 200 bytes a
    pixel.

    Args:
        costs: of the image.
        background: pixels that are background wherever `solve` gets no other seeds.
    """

    def __init__(self, costs: WholeCosts, background: _Mask) -> None:
        self._costs = costs
        everything, nothing = whole_window(background.shape), np.zeros_like(background)
        self._data = costs.data_of(None, everything, nothing, background)
        self._graph, self._nodes = _build_image(self._data, costs.edges)
        self._graph.maxflow()
        self._changed, self._changes = np.empty(0, np.int64), np.empty(0)

    def solve(self, label: int, window: Window, foreground: _Mask, background: _Mask) -> None:
        """Cuts the image for a cell, with seeds of its own inside a window, without those of the call before."""
        within = self._costs.data_of(label, window, foreground, background)
        change = within - self._data[window]
        self._add(self._changed, -self._changes)
        self._changed, self._changes = self._nodes[window][change != 0], change[change != 0]
        self._add(self._changed, self._changes)
        self._graph.maxflow(True)

    def mask(self, window: Window) -> _Mask:
        """Returns the part of the mask in a window."""
        return ~self._graph.get_grid_segments(np.ascontiguousarray(self._nodes[window]))

    def _add(self, nodes: Int64[np.ndarray, " pixels"], amounts: Float64[np.ndarray, " pixels"]) -> None:
        """Adds to the cost of leaving pixels out of the mask."""
        if not len(nodes):  # PyMaxflow refuses an empty list
            return
        self._graph.add_grid_tedges(nodes, amounts, np.zeros_like(amounts))
        self._graph.mark_grid_nodes(nodes)


def _build_image(data: _Data, edges: WholeEdges) -> tuple[maxflow.GraphFloat, _Nodes]:
    """Returns the graph of an image, no pixel left out, as PyMaxflow has it, and the numbers of its nodes."""
    size = data.size
    solved = maxflow.GraphFloat(size, 2 * size)
    nodes = solved.add_grid_nodes(data.shape)
    # Lists of edges are added faster than PyMaxflow's structured grids.
    for here, there, costs in ((nodes[:, :-1], nodes[:, 1:], edges.right), (nodes[:-1], nodes[1:], edges.down)):
        both = costs.ravel()
        solved.add_edges(here.ravel(), there.ravel(), both, both)
    solved.add_grid_tedges(nodes, np.maximum(data, 0), np.maximum(-data, 0))
    return solved, nodes
