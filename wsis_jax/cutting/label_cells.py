"""Winner map to label image, with the settings of a run: costs, a cut per cell, fusing, smoothing."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int, Int32, Real

from wsis_jax.core import Config, CutConfig, WinnerMap, fill_weights, grey, nearest_peak, smooth_labels
from wsis_jax.cutting.appearance import Appearance, fit_appearance, with_channels
from wsis_jax.cutting.cell_cuts import cut_cells, fuse_nearest, fuse_sequentially
from wsis_jax.cutting.graphcut import chosen_solver
from wsis_jax.cutting.terms import (
    BackgroundModel,
    CellExtent,
    Costs,
    Rim,
    TermInput,
    background_features,
    background_score,
    claims_of,
    data_term,
    edge_weights,
    fit_background,
    foreground_seeds,
    gradient_weights,
    rim_contrast,
    rim_of,
    scaled_contributions,
)
from wsis_jax.cutting.whole_costs import unit_for

_Image = Float[np.ndarray, "height width *channels"]
_Labels = Int32[np.ndarray, "height width"]
_Peaks = Int[np.ndarray, "cells 2"]
_Marks = Real[np.ndarray, "cells 2"]

NEEDS_APPEARANCE = ("auto", "levels")
"""The values of `cut.data` that ask how cells look in the image."""


class ImageStats(NamedTuple):
    """Statistics of the whole image that the costs of a part of it depend on.

    Attributes:
        median: of the grey values.
        rim: of the cells.
        background: how background and bodies look; None if no setting asks for it.
        appearance: how cells look; None if no setting asks for it, or too little of them is seen.
        greatest: the greatest contribution of every owner, see `terms.greatest_contributions`.
        peaks: of all cells near the part, also those that are not asked for.
    """

    median: float | np.float32
    rim: Rim
    background: BackgroundModel | None
    appearance: Appearance | None
    greatest: Float[np.ndarray, " owners"]
    peaks: _Peaks


def check_cut(settings: CutConfig) -> None:
    """Raises UserError for a data term that is not known, or a solver that is not installed."""
    if settings.data != "auto":
        data_term(settings.data)
    chosen_solver(settings.solver)


class FusedCells(NamedTuple):
    """Cells that were cut out of an image.

    Attributes:
        labels: i + 1 in the cell of peak i, in pixels of the network.
        blur: standard deviation by which outlines are smoothed on their way to the pixels of the image, in the
            same pixels.
    """

    labels: _Labels
    blur: float

    def fit(self, marks: _Marks, shape: tuple[int, int]) -> Int32[np.ndarray, "image_height image_width"]:
        """Returns the labels in the pixels of the image as given, of (height, width) `shape`.

        `marks` are the peaks, or places that are pixels of the result; see `smooth_labels`.
        """
        return smooth_labels(self.labels, marks, shape, blur=self.blur)


def cut_and_fuse(image: _Image, peaks: _Peaks, winner: WinnerMap, *, config: Config) -> FusedCells:
    """Returns the detected cells, cut out; label i + 1 is that of `peaks[i]`.

    Args:
        image: normalised, 0..1, of any number of channels, in pixels of the network as all that follows.
        peaks: (row, column) of the cells.
        winner: their winner map.
        config: the settings to use; those of a trained run, in which sigma and scale are numbers.

    Raises:
        UserError: as `check_cut`.
    """
    costs = costs_of(image, peaks, winner, config=config)
    fuse = fuse_nearest if config.cut.overlap == "nearest" else fuse_sequentially
    return FusedCells(fuse(cut_cells(costs, peaks, config=config), peaks, winner.owner.shape), costs.blur)


def costs_of(
    image: _Image, peaks: _Peaks, winner: WinnerMap, *, config: Config, stats: ImageStats | None = None
) -> Costs:
    """Returns what cutting an image costs.

    Args:
        image, peaks, winner, config: those of `cut_and_fuse`, whose errors these are; or of a part of an image.
        stats: of a part of an image, those of the whole, with the greatest contributions of the owners here.
    """
    extent, seen = CellExtent.of(config), _term_input(image, peaks, config, stats)
    settings = chosen_settings(config.cut, seen.appearance)
    right, down = _edges(seen, peaks, settings, extent, None if stats is None else stats.rim)
    greatest = None if stats is None else stats.greatest
    scaled = scaled_contributions(winner.value, winner.owner, scale=settings.seed_scale, greatest=greatest)
    threshold = float(settings.seed_threshold or 0)
    seeds = foreground_seeds(scaled, winner.owner, threshold=threshold, min_area=settings.min_seed_area)
    claims = None
    if settings.claim_weight:
        claims = claims_of(scaled, winner.owner, weight=settings.claim_weight, full=settings.claim_full)
    unit = unit_for(float(settings.edge_weight or 0))  # of the settings, not of what a part of an image shows
    blur = float(settings.smooth or 0) * config.network_sigma
    return Costs(_preference(seen, settings, extent, stats), right, down, seeds, claims, unit, blur)


def _term_input(image: _Image, peaks: _Peaks, config: Config, stats: ImageStats | None) -> TermInput:
    """Returns what a data term may look at; of a part of an image, with what is known of the whole."""
    mean, sigma = grey(image), config.network_sigma
    index, distance = nearest_peak(peaks if stats is None else stats.peaks, mean.shape)
    if stats is not None:
        median, appearance = stats.median, stats.appearance
    else:
        median, appearance = np.median(mean), None
        if config.cut.data in NEEDS_APPEARANCE:
            appearance = fit_appearance(with_channels(image), distance, sigma=sigma)
    values = None if appearance is None else appearance.axis.map(with_channels(image))
    return TermInput(mean, median, appearance, values, index, distance, sigma)


def _preference(
    seen: TermInput, settings: CutConfig, extent: CellExtent, stats: ImageStats | None
) -> Float[np.ndarray, "height width"]:
    """Returns what leaving each pixel out of a cell costs: the data term, less what looks like background."""
    preference = data_term(settings.data)(seen, settings)
    if not settings.background_weight or seen.distance is None:
        return preference
    features = background_features(seen.image, extent)
    model = fit_background(features, seen.distance, extent) if stats is None else stats.background
    if model is None:
        return preference
    return preference - settings.background_weight * background_score(features, model)


def chosen_settings(settings: CutConfig, appearance: Appearance | None) -> CutConfig:
    """Returns the settings for an image, with "auto" replaced by a data term, and open settings by what suits it.

    An image with too few pixels of cells or ground to learn how they look gets "inverse".
    """
    term = settings.data
    if term in NEEDS_APPEARANCE:
        stained = appearance is not None and (term == "levels" or appearance.is_stained)
        term = "levels" if stained else "inverse"
    return fill_weights(settings, term)


def _edges(
    seen: TermInput, peaks: _Peaks, settings: CutConfig, extent: CellExtent, known: Rim | None
) -> tuple[Float32[np.ndarray, "height width"], Float32[np.ndarray, "height width"]]:
    """Returns what it costs to cut to the right and down; `known` are the rims of the whole image."""
    weight, falloff = float(settings.edge_weight or 0), float(settings.edge_falloff or 0)
    if settings.edge == "gradient":
        values = seen.image.astype(np.float64) if seen.map is None else seen.map
        return gradient_weights(values, weight=weight, falloff=falloff)
    rim = settings.rim
    if rim == "auto":
        rim = rim_of(rim_contrast(seen.image, peaks, extent)) if known is None else known
    return edge_weights(seen.image, weight=weight, falloff=falloff, rim=rim, pixel=settings.edge_pixel)
