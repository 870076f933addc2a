"""How likely a pixel is in a cell, from histograms of two features together that annotated images give."""

import numpy as np
from jaxtyping import Bool, Float, Float64, Integer
from scipy import ndimage

_BINS = 32  # of each feature
_RANGES = ((-4.0, 4.0), (0.0, 3.0))  # of level and deviation; what lies beyond counts to the outermost bin
_BLUR = 1.0  # bins

Counts = Float64[np.ndarray, "2 levels deviations"]
"""Pixels of the background, and of cells, in every bin."""


def _bins(
    values: Float[np.ndarray, "height width"], limits: tuple[float, float]
) -> Integer[np.ndarray, "height width"]:
    """Returns the bin of every pixel."""
    low, high = limits
    return np.clip((values - low) * (_BINS / (high - low)), 0, _BINS - 1).astype(np.int64)


def _places(
    level: Float[np.ndarray, "height width"], deviation: Float[np.ndarray, "height width"]
) -> Integer[np.ndarray, "height width"]:
    """Returns the bin of both features together, as a place in a histogram made flat."""
    return _bins(level, _RANGES[0]) * _BINS + _bins(deviation, _RANGES[1])


def count(
    level: Float[np.ndarray, "height width"],
    deviation: Float[np.ndarray, "height width"],
    cells: Bool[np.ndarray, "height width"],
) -> Counts:
    """Returns the joint histograms of an annotated image.

    Args:
        level: grey values less their background, in units of the image's spread.
        deviation: local standard deviation, in the same unit.
        cells: which pixels are in a cell.
    """
    places = _places(level, deviation) + _BINS**2 * cells
    return np.bincount(places.ravel(), minlength=2 * _BINS**2).reshape(2, _BINS, _BINS).astype(np.float64)


def log_ratio(counts: Counts) -> Float64[np.ndarray, "levels deviations"]:
    """Returns log p(features | cell) - log p(features | background), of histograms smoothed so that none is 0."""
    smooth = np.stack([ndimage.gaussian_filter(one + 1, _BLUR, mode="nearest") for one in counts])
    background, cell = smooth / smooth.sum(axis=(1, 2), keepdims=True)
    return np.log(cell) - np.log(background)


def look_up(
    table: Float64[np.ndarray, "levels deviations"],
    level: Float[np.ndarray, "height width"],
    deviation: Float[np.ndarray, "height width"],
) -> Float64[np.ndarray, "height width"]:
    """Returns what a table of `log_ratio` holds for every pixel."""
    return table.ravel()[_places(level, deviation)]
