"""Foreground by the empirical gradient threshold, EGT (Chalfoun, Majurski, Peskin et al. 2015, J. Microsc. 260).

Background has small gradients and cells have large ones. Where between them to cut is a percentile of the
gradients, and the method reads it off their histogram by a line that its authors fitted to many images.
"""

import numpy as np
from jaxtyping import Bool, Float, Float64, Num
from scipy import ndimage
from skimage.morphology import disk

from experiments.baselines.common import check_image, clean, remembered

# All numbers are those of the authors' released code.
_STEPS = 1000  # the histogram divides the range of gradients into so many
_FULLEST = 3  # bins whose mean place is the mode of the background
_FROM, _TO = 3, 18  # × the mode: between them lie the weak edges, whose share tells the percentile
_NEGLIGIBLE = 0.05  # × the fullest bin
_LINE = (3.0, 95.0), (42.0, 40.0)  # (share of weak edges in %, percentile), two points of the fitted line
_PERCENTILES = 25.0, 98.0  # none beyond these, whatever the line says


def empirical_gradient_threshold(
    image: Float[np.ndarray, "height width"],
    *,
    min_cell: float | int = 1000,
    min_hole: float | int = 2000,
    greedy: float | int = 0,
) -> Bool[np.ndarray, "height width"]:
    """Returns where there are cells.

    The defaults are those of the released tool; the experiments on phase contrast that came after took 50 and 10.

    Args:
        image: grey values, 0..1.
        min_cell: parts of the mask of fewer pixels go.
        min_hole: holes of at most so many pixels are filled; those at the border of the image never are.
        greedy: percentiles by which the threshold is lowered; negative ones raise it.

    Raises:
        ValueError: for an image that is not one.
    """
    check_image(image)
    return _foreground(image, min_cell, min_hole, greedy)


@remembered
def gradient_magnitude(image: Float[np.ndarray, "height width"]) -> Float[np.ndarray, "height width"]:
    """Returns the length of the gradient by Sobel's filter."""
    return np.hypot(ndimage.sobel(image, 0), ndimage.sobel(image, 1))


def nearest_rank(
    values: Num[np.ndarray, " values"], percentiles: Float64[np.ndarray, " percentiles"]
) -> Num[np.ndarray, " percentiles"]:
    """Returns percentiles, each of them one of the values: the round(p · n + 1)-th of n, at most the n-th."""
    ranks = np.floor(percentiles / 100 * len(values) + 0.5).astype(np.int64)  # halves are rounded upwards
    ranks = np.minimum(ranks, len(values) - 1)
    return np.partition(values, np.unique(ranks))[ranks]


def foreground_percentile(gradients: Float[np.ndarray, " gradients"]) -> float:
    """Returns the percentile of the gradients other than 0 above which they belong to cells, 25..98."""
    low, width = float(gradients.min()), (float(gradients.max()) - float(gradients.min())) / _STEPS
    if width == 0:
        return _PERCENTILES[1]
    # Bins lie around the steps, so that the first and the last are half as wide.
    counts = np.bincount(np.floor((gradients - low) / width + 0.5).astype(np.int64), minlength=_STEPS + 1)
    # Places in the histogram count from 1, since the mode's own is multiplied.
    mode = round(float(np.mean(np.argsort(-counts, kind="stable")[:_FULLEST] + 1)))
    negligible = np.flatnonzero(counts[mode - 1 :] < _NEGLIGIBLE * counts.max())
    end = mode + negligible[0] if len(negligible) else len(counts)
    lower = min(_FROM * mode, len(counts))
    upper = min(max(end, _TO * mode), len(counts))
    share = 100 * counts[lower - 1 : upper].sum() / counts.sum()
    (share0, percentile0), (share1, percentile1) = _LINE
    percentile = percentile0 + (share - share0) * (percentile1 - percentile0) / (share1 - share0)
    return float(np.clip(np.floor(percentile + 0.5), *_PERCENTILES))


@remembered
def _foreground(
    image: Float[np.ndarray, "height width"], min_cell: float | int, min_hole: float | int, greedy: float | int
) -> Bool[np.ndarray, "height width"]:
    """Returns the mask: gradients above the threshold, filled, a pixel thinner, and without small parts."""
    gradient, edges, percentile = _statistics(image)
    if not len(edges):
        return np.zeros(image.shape, bool)
    threshold = nearest_rank(edges, np.clip([percentile - greedy], 1.0, 100.0))[0]
    filled = clean(gradient > threshold, min_area=0, max_hole=float(np.floor(min_hole)) + 1)
    # Sobel's filter widens edges by a pixel. What reaches the border of the image goes on beyond it.
    thinner = ndimage.binary_erosion(filled, disk(1), border_value=1)
    return clean(thinner, min_area=min_cell, max_hole=0)


@remembered
def _statistics(
    image: Float[np.ndarray, "height width"],
) -> tuple[Float[np.ndarray, "height width"], Float[np.ndarray, " edges"], float]:
    """Returns the gradient, its values other than 0 in ascending order, and the percentile that divides them."""
    gradient = gradient_magnitude(image)
    edges = np.sort(gradient[gradient > 0])
    return gradient, edges, foreground_percentile(edges) if len(edges) else 100.0
