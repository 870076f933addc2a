"""Cuts by SciPy's maximum flow (Dinic 1970): slower than PyMaxflow, and with no licence but SciPy's own."""

import numpy as np
from jaxtyping import Bool
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

from wsis_jax.cutting.graphcut import CutGraph


def least_cut(graph: CutGraph) -> Bool[np.ndarray, "height width"]:
    """Returns the mask of least cost; of several, the largest."""
    size = graph.data.size
    source, sink = size, size + 1
    capacities = _capacities(graph, source, sink)
    # What is left of the capacities: the mask is all from which no more could flow to the sink.
    left = csr_matrix(capacities - maximum_flow(capacities, source, sink).flow)
    left.eliminate_zeros()
    reaching = breadth_first_order(left.T.tocsr(), sink, return_predecessors=False)
    mask = np.ones(size + 2, bool)
    mask[reaching] = False
    return mask[:size].reshape(graph.data.shape)


def _capacities(graph: CutGraph, source: int, sink: int) -> csr_matrix:
    """Returns the capacities between pixels, from the source to them, and from them to the sink."""
    pixels = np.arange(graph.data.size, dtype=np.int32).reshape(graph.data.shape)
    data = graph.data
    here = np.concatenate([pixels[:, :-1].ravel(), pixels[:-1].ravel()])
    there = np.concatenate([pixels[:, 1:].ravel(), pixels[1:].ravel()])
    costs = np.concatenate([graph.right.ravel(), graph.down.ravel()])
    inside, outside = pixels[data > 0], pixels[data < 0]
    starts = np.concatenate([here, there, np.full_like(inside, source), outside])
    ends = np.concatenate([there, here, inside, np.full_like(outside, sink)])
    amounts = np.concatenate([costs, costs, data[data > 0], -data[data < 0]])
    return csr_matrix((amounts.astype(np.int32), (starts, ends)), shape=(sink + 1, sink + 1))
