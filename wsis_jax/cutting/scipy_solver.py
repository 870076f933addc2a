"""Cuts by SciPy's maximum flow (Dinic 1970): slower than PyMaxflow, and with no licence but SciPy's own."""

import numpy as np
from jaxtyping import Bool
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

from wsis_jax.cutting.reduction import ReducedCut


def solve(reduced: ReducedCut) -> Bool[np.ndarray, " nodes"]:
    """Returns which nodes are in the mask of least cost; of several masks, in the largest."""
    size = len(reduced.data)
    source, sink = size, size + 1
    capacities = _capacities(reduced, source, sink)
    # What is left of the capacities: the mask is all from which no more could flow to the sink.
    left = csr_matrix(capacities - maximum_flow(capacities, source, sink).flow)
    left.eliminate_zeros()
    reaching = breadth_first_order(left.T.tocsr(), sink, return_predecessors=False)
    mask = np.ones(size + 2, bool)
    mask[reaching] = False
    return mask[:size]


def _capacities(reduced: ReducedCut, source: int, sink: int) -> csr_matrix:
    """Returns the capacities between nodes, from the source to them, and from them to the sink."""
    data, costs = reduced.data, reduced.costs
    here, there = reduced.first.astype(np.int32), reduced.second.astype(np.int32)
    inside, outside = (np.flatnonzero(side).astype(np.int32) for side in (data > 0, data < 0))
    starts = np.concatenate([here, there, np.full_like(inside, source), outside])
    ends = np.concatenate([there, here, inside, np.full_like(outside, sink)])
    amounts = np.concatenate([costs, costs, data[data > 0], -data[data < 0]])
    return csr_matrix((amounts.astype(np.int32), (starts, ends)), shape=(sink + 1, sink + 1))
