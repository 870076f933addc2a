"""Winner map to label image, with the settings of a run: seeds, what cuts cost, cuts, fusing, smoothing."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int, Int32

from wsis_jax.core import Config, CutConfig, WinnerMap, resize_labels, smooth_labels
from wsis_jax.cutting.cell_cuts import CellMask, cut_cells
from wsis_jax.cutting.fusing import fuse_nearest, fuse_sequentially
from wsis_jax.cutting.graphcut import edge_weights
from wsis_jax.cutting.seeds import Claims, foreground_seeds, scaled_contributions
from wsis_jax.cutting.terms import Look, Rim, background_likeness, likeness, rim_of

# × sigma: where the ground begins that pixels are compared with.
_ENDS = 4.0


class ImageStats(NamedTuple):
    """What the costs of a part of an image take from the image as a whole.

    Attributes:
        median: of the grey values.
        rim: of the cells.
        look: of background and bodies; None where the image shows too little of either.
        greatest: see `seeds.greatest_contributions`.
    """

    median: float | np.float32
    rim: Rim
    look: Look | None
    greatest: Float[np.ndarray, " owners"]


class Costs(NamedTuple):
    """What cutting an image into cells costs; see the arguments of `cell_cuts.cut_cells`."""

    preference: Float[np.ndarray, "height width"]
    right: Float32[np.ndarray, "height width"]
    down: Float32[np.ndarray, "height width"]
    seeds: Int32[np.ndarray, "height width"]
    claims: Claims | None


def cut_and_fuse(
    image: Float[np.ndarray, "height width"],
    peaks: Int[np.ndarray, "cells 2"],
    winner: WinnerMap,
    *,
    config: Config,
) -> Int32[np.ndarray, "height width"]:
    """Returns the label image of detected cells; label i + 1 is that of `peaks[i]`.

    Args:
        image: normalised, 0..1, in pixels of the network as all that follows.
        peaks: (row, column) of the cells.
        winner: their winner map.
        config: the settings to use; those of a trained run, in which sigma and scale are numbers.
    """
    cuts = cuts_of(costs_of(image, peaks, winner, config=config), peaks, config=config)
    fuse = fuse_nearest if config.cut.overlap == "nearest" else fuse_sequentially
    return fuse(cuts, peaks, image.shape)


def cuts_of(costs: Costs, peaks: Int[np.ndarray, "cells 2"], *, config: Config) -> list[CellMask]:
    """Returns the cut of every cell; seed i + 1 is that of `peaks[i]`, greater ones are of cells not asked for."""
    settings = config.cut
    return cut_cells(
        costs.preference,
        costs.right,
        costs.down,
        peaks,
        costs.seeds,
        claims=costs.claims,
        reach=config.cell_reach,
        conflict=settings.conflict,
        fill_others=settings.fill_others,
        dilate=settings.dilate,
        erode=settings.erode,
    )


def costs_of(
    image: Float[np.ndarray, "height width"],
    peaks: Int[np.ndarray, "cells 2"],
    winner: WinnerMap,
    *,
    config: Config,
    whole: ImageStats | None = None,
) -> Costs:
    """Returns what cutting an image costs.

    Args:
        image, peaks, winner, config: those of `cut_and_fuse`; or of a part of an image.
        whole: of a part of an image, what is known of the whole; its owners those of `winner`.
    """
    settings = config.cut
    greatest = None if whole is None else whole.greatest
    scaled = scaled_contributions(winner.value, winner.owner, scale=settings.seed_scale, greatest=greatest)
    rim = settings.rim
    if rim == "auto":
        rim = rim_of(image, peaks, **surroundings(config)) if whole is None else whole.rim
    right, down = edge_weights(
        image, weight=settings.edge_weight, falloff=settings.edge_falloff, rim=rim, pixel=settings.edge_pixel
    )
    preference = _data_term(image, settings, None if whole is None else whole.median)
    if settings.background_weight:
        if whole is None:
            alike = background_likeness(image, peaks, **surroundings(config))
        else:
            alike = likeness(image, whole.look, body=config.network_sigma)
        preference = preference - settings.background_weight * alike
    claims = None
    if settings.claim_weight:
        likely = settings.claim_weight * np.minimum(scaled / settings.claim_full, 1)
        claims = Claims(winner.owner, np.where(winner.owner > 0, likely, 0))
    seeds = foreground_seeds(
        scaled, winner.owner, threshold=settings.seed_threshold, min_area=settings.min_seed_area
    )
    return Costs(preference, right, down, seeds, claims)


def surroundings(config: Config) -> dict[str, float]:
    """Returns how far bodies, and the surroundings of cells, go from the peaks: see `terms.rim_of`."""
    return {"body": config.network_sigma, "reach": _ENDS * config.network_sigma}


def _data_term(
    image: Float[np.ndarray, "height width"], settings: CutConfig, median: float | np.float32 | None
) -> Float[np.ndarray, "height width"]:
    """Returns what leaving a pixel out costs by its grey value alone; None: the median is the image's."""
    if settings.data == "inverse":
        return settings.data_weight * ((np.median(image) if median is None else median) - image)
    return np.full_like(image, -settings.data_weight)


def fit_labels(
    labels: Int32[np.ndarray, "height width"],
    peaks: Int[np.ndarray, "cells 2"],
    shape: tuple[int, int],
    *,
    config: Config,
) -> Int32[np.ndarray, "image_height image_width"]:
    """Returns the labels of `cut_and_fuse` in the pixels of the image as given, of (height, width) `shape`."""
    if not config.cut.smooth:
        return resize_labels(labels, shape)
    return smooth_labels(labels, peaks, shape, blur=config.cut.smooth * config.network_sigma)
