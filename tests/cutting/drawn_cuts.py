"""Cuts of drawn cells, for the tests of cutting and of fusing."""

from typing import Any

import numpy as np

from wsis_jax.core.config import CutConfig
from wsis_jax.cutting.cell_cuts import CellMask, cut_cells
from wsis_jax.cutting.graphcut import edge_weights
from wsis_jax.cutting.seeds import Claims


def cut_drawn(
    image: np.ndarray,
    peaks: np.ndarray,
    seeds: np.ndarray,
    chosen: CutConfig,
    *,
    reach: float | None,
    claims: Claims | None = None,
) -> list[CellMask]:
    """The cuts of an image by the settings chosen; `reach` is in pixels."""
    inverse = chosen.data_weight * (np.median(image) - image)
    right, down = edge_weights(
        image,
        weight=chosen.edge_weight,
        falloff=chosen.edge_falloff,
        rim="bright",  # as drawn scenes have it
        pixel=chosen.edge_pixel,
    )
    return cut_cells(
        inverse if chosen.data == "inverse" else np.full_like(image, -chosen.data_weight),
        right,
        down,
        peaks,
        seeds,
        claims=claims,
        reach=reach,
        **cut_options(chosen),
    )


def cut_options(chosen: CutConfig) -> dict[str, Any]:
    """The settings that `cut_cells` takes but for the reach."""
    return {name: getattr(chosen, name) for name in ("conflict", "fill_others", "dilate", "erode")}


def discs(peaks: np.ndarray, shape: tuple[int, int], radius: float) -> np.ndarray:
    """Seeds: a disc around each peak."""
    seeds = np.zeros(shape, np.int32)
    rows, columns = np.indices(shape)
    for cell, (row, column) in enumerate(peaks):
        seeds[np.hypot(rows - row, columns - column) <= radius] = cell + 1
    return seeds


def whole(part: CellMask, shape: tuple[int, int]) -> np.ndarray:
    """The mask of a cell in the frame of the image."""
    mask = np.zeros(shape, bool)
    mask[part.window] = part.mask
    return mask
