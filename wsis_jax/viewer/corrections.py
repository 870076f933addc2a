"""Corrected points on their way back to the folder of results that they came from."""

from pathlib import Path

import numpy as np

from wsis_jax.io import CORRECTIONS, write_points
from wsis_jax.viewer.marks import mark_of
from wsis_jax.viewer.results import Results


def save_corrections(results: Results) -> list[Path]:
    """Writes the points of a folder of results that were edited beside them, `<name>_corrections.csv`.

    Returns:
        The files that were written; none where the result is of no folder, or no point differs from what they say.
    """
    mark, names = mark_of(results.points), results.cells.metadata.get("names") or []
    folder, original = mark.get("folder"), mark.get("original", {})
    if folder is None:
        return []
    now, written = results.points_now(), []
    stack = results.cells.ndim > 2
    for index, name in enumerate(names):
        points, file = now.get((index,) if stack else (), np.empty((0, 2))), Path(folder) / f"{name}{CORRECTIONS}"
        if _same(points, original.get(index, np.empty((0, 2)))):
            continue
        write_points(file, points, format="napari")
        original[index] = points
        written.append(file)
    return written


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    """Tells whether files of two sets of points would be the same, in whatever order."""
    return sorted(np.round(one, 2).tolist()) == sorted(np.round(other, 2).tolist())
