"""What an image says by itself of where its cells end: bright or dark rims, and how background looks.

Microscopes draw cells differently: dark bodies in a bright halo, or bodies as bright as the background in dark
rims. What holds for an image is read from the places of its cells, so that nobody has to say it.
"""

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float32, Int
from scipy import ndimage

from wsis_jax.likelihood import nearest_peak

Rim = Literal["bright", "dark"]

_RAYS = 16  # directions in which the surroundings of a peak are looked at
_SCALES = (1 / 6, 1 / 3, 2 / 3)  # × the radius of the bodies; of the features that tell background from cells
# Log odds at which a pixel is certainly background: features are correlated, so the model is too sure of itself.
_CERTAIN = 16.0
_FEWEST = 200  # pixels to learn a look from
_LEAST_VARIANCE = 1e-6  # of a feature: where the ground, or a body, is one grey value, it has none


def rim_of(
    image: Float[np.ndarray, "height width"], peaks: Int[np.ndarray, "cells 2"], *, body: float, reach: float
) -> Rim:
    """Tells whether the cells of an image have bright or dark rims.

    On a way out of a cell there is a rim somewhere. Where rims are bright, the brightest pixel on that way exceeds
    the brightest one in the middle of the cell by more than the darkest one falls short of the darkest there.

    Args:
        image: normalised, 0..1.
        peaks: (row, column) of the cells.
        body: pixels around a peak that surely belong to its cell.
        reach: pixels around a peak within which its cell ends.

    Returns:
        "bright" or "dark"; "bright", as phase contrast has it, where there is no cell.
    """
    if not len(peaks):
        return "bright"
    # Looked at through the scale of rims, since extremes are made of noise otherwise.
    smooth = ndimage.gaussian_filter(image, body / 5)
    inside, outside = _along_rays(smooth, peaks, 0.0, body), _along_rays(smooth, peaks, body, reach)
    brighter = (outside.max(-1) - inside.max(-1)).mean()
    darker = (inside.min(-1) - outside.min(-1)).mean()
    return "bright" if brighter >= darker else "dark"


def background_likeness(
    image: Float[np.ndarray, "height width"], peaks: Int[np.ndarray, "cells 2"], *, body: float, reach: float
) -> Float32[np.ndarray, "height width"]:
    """Returns how surely each pixel is background by its look, 0..1.

    Grey value, local deviation and local gradient at three scales, in a normal distribution each for the bodies
    around the peaks and for all beyond the reach of every cell (quadratic discriminant analysis); the log odds for
    the background, from nothing to certain. 0 everywhere in an image that is too crowded to show any background,
    or has too few cells to tell what they look like.

    Args:
        image, peaks, body, reach: see `rim_of`.
    """
    distance = nearest_peak(peaks, image.shape)[1]
    bodies, ground = distance < body, distance > reach
    if min(np.count_nonzero(bodies), np.count_nonzero(ground)) < _FEWEST:
        return np.zeros(image.shape, np.float32)
    features = _features(image, body)
    odds = _log_density(features, ground) - _log_density(features, bodies)
    return np.clip(odds / _CERTAIN, 0, 1).astype(np.float32)


def _along_rays(
    image: Float[np.ndarray, "height width"], peaks: Int[np.ndarray, "cells 2"], start: float, stop: float
) -> Float[np.ndarray, "cells rays steps"]:
    """Returns the grey values at every pixel's step on the rays from each peak."""
    angles = np.arange(_RAYS) * 2 * np.pi / _RAYS
    radii = np.linspace(start, stop, max(round(stop - start), 1) + 1)
    directions = np.stack([np.sin(angles), np.cos(angles)])
    places = peaks.T[:, :, None, None] + directions[:, None, :, None] * radii
    return ndimage.map_coordinates(image, places, order=1, mode="nearest")


def _features(image: Float[np.ndarray, "height width"], body: float) -> Float[np.ndarray, "height width features"]:
    """Returns grey value, log of the deviation and log of the gradient, at three scales each."""
    # In float32, the deviation of flat pixels would be what rounding the squares leaves.
    image = image.astype(np.float64)
    gradient = np.hypot(ndimage.sobel(image, 0), ndimage.sobel(image, 1))
    features = []
    for scale in _SCALES:
        mean = ndimage.gaussian_filter(image, scale * body)
        square = ndimage.gaussian_filter(image * image, scale * body)
        deviation = np.sqrt(np.maximum(square - mean * mean, 0))
        # A hundredth of the range of grey values: less is noise.
        features += [
            mean,
            np.log(deviation + 0.01),
            np.log(ndimage.gaussian_filter(gradient, scale * body) + 0.01),
        ]
    return np.stack(features, axis=-1)


def _log_density(
    features: Float[np.ndarray, "height width features"], sample: Bool[np.ndarray, "height width"]
) -> Float[np.ndarray, "height width"]:
    """Returns the log density, up to a constant, of the normal distribution of a sample of pixels."""
    chosen = features[sample]
    covariance = np.cov(chosen.T)
    ridge = max(1e-4 * np.trace(covariance) / len(covariance), _LEAST_VARIANCE)
    covariance += ridge * np.eye(len(covariance))
    away = features - chosen.mean(0)
    # Through the Cholesky factor, whose solution is the whitened difference.
    factor = np.linalg.cholesky(covariance)
    white = np.linalg.solve(factor, away.reshape(-1, away.shape[-1]).T)
    return (-0.5 * (white**2).sum(0) - np.log(np.diag(factor)).sum()).reshape(sample.shape)
