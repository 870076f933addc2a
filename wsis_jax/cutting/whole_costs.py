"""A binary cut of an image in whole numbers: its costs as multiples of a unit.

The unit is a power of two. Sums of whole numbers are exact, so the cut of a graph does not depend on the solver,
on the order of its pixels, or on the window in which a cell is cut. SciPy counts in 32 bits. So the cost of an
edge has a bound, and that of a pixel has one by its edges: a pixel that prefers a side by more than all its edges
cost is on that side, whatever its neighbours do, and to prefer it still more makes no difference.

Whole numbers are kept as floats of 64 bits, which count exactly to 2⁵³: PyMaxflow takes them as they are.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from wsis_jax.core import UserError, Window, whole_window

UNIT = 2.0**-22
"""The unit of costs where none is given: enough for edges that cost up to 64."""
MOST_UNITS = 2**28
"""The greatest cost of an edge, in units: four edges and a unit are below 2³¹, as are both directions of one."""
_LEAST_EDGE = 2.0**-20  # below it, units do not become finer

_Costs = Float[np.ndarray, "height width"]
_Mask = Bool[np.ndarray, "height width"]
_Owners = Int[np.ndarray, "height width"]
_Whole = Float64[np.ndarray, "height width"]


class WholeEdges(NamedTuple):
    """What separating a pixel from its right and its lower neighbour costs, in whole units, 0 to `MOST_UNITS`."""

    right: Float64[np.ndarray, "height columns"]
    down: Float64[np.ndarray, "rows width"]

    def within(self, window: Window) -> "WholeEdges":
        """Returns the edges between the pixels of a window."""
        rows, columns = window
        last_row, last_column = slice(rows.start, rows.stop - 1), slice(columns.start, columns.stop - 1)
        return WholeEdges(self.right[rows, last_column], self.down[last_row, columns])


class CutGraph(NamedTuple):
    """A binary cut of an image, in whole numbers of a unit.

    Attributes:
        data: what leaving a pixel out of the mask costs; where negative, what taking it in costs. Within its
            bound.
        edges: between the pixels.
        bound: at least one unit beyond the sum of the pixel's edges, which is what seeds have: they are decided.
    """

    data: _Whole
    edges: WholeEdges
    bound: _Whole


class WholeCosts(NamedTuple):
    """What cutting the cells of an image costs, in whole units, rounded once for all of them.

    Attributes:
        edges: between the pixels.
        bound: one unit beyond the sum of the pixel's edges.
        data: what leaving a pixel out of a cell costs that does not claim it; where negative, what taking it in
            costs. Within its bound.
        claimed: the same for the cell that claims the pixel; None if no cell claims any.
        owner: the label of the cell that claims the pixel.
    """

    edges: WholeEdges
    bound: _Whole
    data: _Whole
    claimed: _Whole | None = None
    owner: _Owners | None = None

    def data_of(self, label: int | None, window: Window, foreground: _Mask, background: _Mask) -> _Whole:
        """Returns the data of a cell in a window, where seeds have their bounds; None: of one that claims nothing.

        Raises:
            UserError: if a pixel is both foreground and background seed.
        """
        if np.any(foreground & background):
            raise UserError("a pixel is both foreground and background seed; decide which before the cut")
        data, bound = self.data[window], self.bound[window]
        if label is not None and self.claimed is not None and self.owner is not None:
            data = np.where(self.owner[window] == label, self.claimed[window], data)
        return np.where(foreground, bound, np.where(background, -bound, data))

    def graph_of(self, label: int | None, window: Window, foreground: _Mask, background: _Mask) -> CutGraph:
        """Returns the graph of a cell in a window; its errors are those of `data_of`."""
        data = self.data_of(label, window, foreground, background)
        return CutGraph(data, self.edges.within(window), self.bound[window])


def unit_for(edge: float) -> float:
    """Returns the finest unit, a power of two, in which edges may cost as much as `edge`, which is at least 0."""
    mantissa, exponent = math.frexp(max(edge, _LEAST_EDGE))
    return math.ldexp(1.0, exponent - (mantissa == 0.5)) / MOST_UNITS  # 0.5 is the mantissa of powers of two


def cut_graph(
    data: _Costs, right: _Costs, down: _Costs, foreground: _Mask, background: _Mask, *, unit: float = UNIT
) -> CutGraph:
    """Returns the graph of an image.

    Args:
        data: unary costs. A pixel with a positive value costs that much when it is left out of the mask; one with
            a negative value costs as much when it is in. They are rounded away from 0, so that no sign is lost.
        right, down: costs of separating a pixel from its right and its lower neighbour, at least 0, as
            `terms.edge_weights` gives them. Those of the last column, and of the last row, are not read.
        foreground: pixels that must be in the mask.
        background: pixels that must not; disjoint from `foreground`.
        unit: costs are rounded to multiples of it; a power of two.

    Raises:
        UserError: if a pixel is both foreground and background seed, or an edge costs more than 2²⁸ units.
    """
    costs = whole_costs(data, right, down, unit=unit)
    return costs.graph_of(None, whole_window(data.shape), foreground, background)


def whole_costs(
    data: _Costs, right: _Costs, down: _Costs, *, unit: float, claims: tuple[_Owners, _Costs] | None = None
) -> WholeCosts:
    """Returns costs in whole units; data and edges, and the error of the edges, are those of `cut_graph`.

    Args:
        claims: the label of the cell that claims each pixel, and what it costs to go against that; it is added
            to the data of that cell, and taken from those of all others.
    """
    edges = _whole_edges(right, down, unit)
    bound = _edge_sums(edges) + 1
    if claims is None:
        return WholeCosts(edges, bound, _bounded(data, bound, unit))
    owner, weight = claims
    others, claimed = _bounded(data - weight, bound, unit), _bounded(data + weight, bound, unit)
    return WholeCosts(edges, bound, others, claimed, owner)


def _whole_edges(right: _Costs, down: _Costs, unit: float) -> WholeEdges:
    """Returns the costs of the edges in whole units.

    Raises:
        UserError: if one costs more than 2²⁸ units.
    """
    rounded = tuple(np.rint(costs.astype(np.float64) / unit) for costs in (right[:, :-1], down[:-1]))
    greatest = max(costs.max(initial=0) for costs in rounded)
    if greatest > MOST_UNITS:
        raise UserError(
            f"an edge costs {greatest * unit:g}, which is more than {MOST_UNITS * unit:g}; give a greater unit"
        )
    return WholeEdges(*rounded)


def _edge_sums(edges: WholeEdges) -> _Whole:
    """Returns what the edges of each pixel cost together."""
    right, down = edges
    sums = np.zeros((len(right), down.shape[1]))
    sums[:, :-1] += right
    sums[:, 1:] += right
    sums[:-1] += down
    sums[1:] += down
    return sums


def _bounded(data: _Costs, bound: _Whole, unit: float) -> _Whole:
    """Returns the data in whole units, rounded away from 0, none farther from it than its bound."""
    away = np.ceil(np.abs(data.astype(np.float64)) / unit)
    return np.copysign(np.minimum(away, bound), data)
