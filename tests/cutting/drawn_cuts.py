"""Cuts of drawn cells, for the tests of cutting and of fusing."""

import dataclasses
from typing import Any

import numpy as np

from wsis_jax.core.config import Config, CutConfig, ImageConfig, LikelihoodConfig, fill_weights
from wsis_jax.cutting.cell_cuts import CellMask, cut_cells
from wsis_jax.cutting.terms import Claims, Costs, TermInput, data_term, edge_weights


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
    chosen = fill_weights(chosen, "inverse" if chosen.data == "auto" else chosen.data)  # as phase contrast has it
    right, down = edge_weights(
        image,
        weight=chosen.edge_weight,
        falloff=chosen.edge_falloff,
        rim="bright",  # as drawn scenes have it
        pixel=chosen.edge_pixel,
    )
    preference = data_term(chosen.data)(TermInput(image, np.median(image)), chosen)
    return cut_cells(Costs(preference, right, down, seeds, claims), peaks, config=cut_config(chosen, reach))


def cut_config(chosen: CutConfig, reach: float | None, **changes: Any) -> Config:
    """The settings chosen for the cut, with some changed and a reach in pixels."""
    cut = dataclasses.replace(chosen, reach=reach, **changes)
    return Config(image=ImageConfig(scale=1.0), likelihood=LikelihoodConfig(sigma=1.0), cut=cut)


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
