"""Winner map to label image, with the settings of a run: costs, a cut per cell, fusing, smoothing."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Int32

from wsis_jax.core import Config, WinnerMap, nearest_peak, smooth_labels
from wsis_jax.cutting.cell_cuts import cut_cells, fuse_nearest, fuse_sequentially
from wsis_jax.cutting.terms import (
    BackgroundModel,
    CellExtent,
    Costs,
    Rim,
    background_features,
    background_score,
    claims_of,
    data_term,
    edge_weights,
    fit_background,
    foreground_seeds,
    rim_contrast,
    rim_of,
    scaled_contributions,
)

_Image = Float[np.ndarray, "height width"]
_Labels = Int32[np.ndarray, "height width"]
_Peaks = Int[np.ndarray, "cells 2"]


class ImageStats(NamedTuple):
    """What the costs of a part of an image take from the whole image.

    Attributes:
        median: of the grey values.
        rim: of the cells.
        background: how background and bodies look; None if no setting asks for it.
        greatest: the greatest contribution of every owner, see `terms.greatest_contributions`.
    """

    median: float | np.float32
    rim: Rim
    background: BackgroundModel | None
    greatest: Float[np.ndarray, " owners"]


def cut_and_fuse(image: _Image, peaks: _Peaks, winner: WinnerMap, *, config: Config) -> _Labels:
    """Returns the label image of detected cells; label i + 1 is that of `peaks[i]`.

    Args:
        image: normalised, 0..1, in pixels of the network as all that follows.
        peaks: (row, column) of the cells.
        winner: their winner map.
        config: the settings to use; those of a trained run, in which sigma and scale are numbers.

    Raises:
        UserError: for a data term that is not known.
    """
    cuts = cut_cells(costs_of(image, peaks, winner, config=config), peaks, config=config)
    fuse = fuse_nearest if config.cut.overlap == "nearest" else fuse_sequentially
    return fuse(cuts, peaks, image.shape)


def costs_of(
    image: _Image, peaks: _Peaks, winner: WinnerMap, *, config: Config, stats: ImageStats | None = None
) -> Costs:
    """Returns what cutting an image costs.

    Args:
        image, peaks, winner, config: those of `cut_and_fuse`, whose errors these are; or of a part of an image.
        stats: of a part of an image, those of the whole, with the greatest contributions of the owners here.
    """
    settings, extent = config.cut, CellExtent.of(config)
    preference = data_term(settings.data)(image, np.median(image) if stats is None else stats.median, settings)
    if settings.background_weight:
        features = background_features(image, extent)
        if stats is None:
            model = fit_background(features, nearest_peak(peaks, image.shape)[1], extent)
        else:
            model = stats.background
        if model is not None:
            preference = preference - settings.background_weight * background_score(features, model)
    rim = settings.rim
    if rim == "auto":
        rim = rim_of(rim_contrast(image, peaks, extent)) if stats is None else stats.rim
    right, down = edge_weights(
        image, weight=settings.edge_weight, falloff=settings.edge_falloff, rim=rim, pixel=settings.edge_pixel
    )
    greatest = None if stats is None else stats.greatest
    scaled = scaled_contributions(winner.value, winner.owner, scale=settings.seed_scale, greatest=greatest)
    seeds = foreground_seeds(
        scaled, winner.owner, threshold=settings.seed_threshold, min_area=settings.min_seed_area
    )
    claims = None
    if settings.claim_weight:
        claims = claims_of(scaled, winner.owner, weight=settings.claim_weight, full=settings.claim_full)
    return Costs(preference, right, down, seeds, claims)


def fit_labels(
    labels: _Labels, peaks: _Peaks, shape: tuple[int, int], *, config: Config
) -> Int32[np.ndarray, "image_height image_width"]:
    """Returns the labels of `cut_and_fuse` in the pixels of the image as given, of (height, width) `shape`."""
    return smooth_labels(labels, peaks, shape, blur=config.cut.smooth * config.network_sigma)
