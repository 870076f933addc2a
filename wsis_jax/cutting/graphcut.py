"""Binary graph cuts of an image, and who solves them.

Costs are in whole numbers (`whole_costs.py`), and decided pixels, such as seeds, are left out first
(`reduction.py`). What is left is solved by one of two solvers, each a function `solve`: `pymaxflow_solver`, the
fast one, on PyMaxflow, whose licence is the GPL; and `scipy_solver`, for those who must go without.
"""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from wsis_jax.core import UserError
from wsis_jax.cutting.reduction import ReducedCut, reduce_cut
from wsis_jax.cutting.whole_costs import CutGraph, cut_graph

Solver = Literal["auto", "pymaxflow", "scipy"]

_Costs = Float[np.ndarray, "height width"]
_Mask = Bool[np.ndarray, "height width"]


def cut(
    data: _Costs, right: _Costs, down: _Costs, foreground: _Mask, background: _Mask, *, solver: Solver = "auto"
) -> _Mask:
    """Returns the mask of least cost: the sum of the edges it cuts and of the data terms it goes against.

    Of several masks of that cost it is the largest, which holds all others. The arguments and errors are those of
    `whole_costs.cut_graph`, with costs rounded to multiples of its `UNIT`, and of `least_cut`.
    """
    return least_cut(cut_graph(data, right, down, foreground, background), solver=solver)


def least_cut(graph: CutGraph, *, solver: Solver) -> _Mask:
    """Returns the mask of least cost of a graph; of several, the largest. All solvers give the same.

    Raises:
        UserError: if the solver is unknown or not installed.
    """
    reduced = reduce_cut(graph.data, *graph.edges, graph.data == graph.bound, graph.data == -graph.bound)
    if not len(reduced.data):
        return reduced.foreground
    return reduced.mask(_solve_of(chosen_solver(solver))(reduced))


def chosen_solver(name: str) -> Literal["pymaxflow", "scipy"]:
    """Returns the solver that `cut.solver` names; "auto" is PyMaxflow, or SciPy where that is not installed.

    Raises:
        UserError: for PyMaxflow where it is not installed.
    """
    installed = find_spec("maxflow") is not None
    if name == "pymaxflow" and not installed:
        raise UserError(
            "cut.solver is pymaxflow, which is not installed; "
            "run 'pip install PyMaxflow', or set cut.solver to scipy or auto"
        )
    return "scipy" if name == "scipy" or not installed else "pymaxflow"


def _solve_of(solver: Literal["pymaxflow", "scipy"]) -> Callable[[ReducedCut], Bool[np.ndarray, " nodes"]]:
    """Returns the function of a solver. PyMaxflow is imported only here, so that it may be missing."""
    if solver == "pymaxflow":
        from wsis_jax.cutting import pymaxflow_solver

        return pymaxflow_solver.solve
    from wsis_jax.cutting import scipy_solver

    return scipy_solver.solve
