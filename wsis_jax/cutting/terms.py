"""What an image says by itself of where its cells end: bright or dark rims, and how background looks.

Microscopes draw cells differently: dark bodies in a bright halo, or bodies as bright as the background in dark
rims. What holds for an image is read from the places of its cells, so that nobody has to say it.
"""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64, Int
from scipy import ndimage

from wsis_jax.core import nearest_peak

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
    return "bright" if brighter_than_dark(image, peaks, body=body, reach=reach) >= 0 else "dark"


def brighter_than_dark(
    image: Float[np.ndarray, "height width"], peaks: Int[np.ndarray, "cells 2"], *, body: float, reach: float
) -> float:
    """Returns by how much rims are more bright than dark, summed over all ways out of cells; see `rim_of`.

    Sums over parts of the cells add up to that over all. A part of the image with `margin` around the cells is
    enough.
    """
    if not len(peaks):
        return 0.0
    # Looked at through the scale of rims, since extremes are made of noise otherwise.
    smooth = ndimage.gaussian_filter(image, body / 5)
    inside, outside = _along_rays(smooth, peaks, 0.0, body), _along_rays(smooth, peaks, body, reach)
    brighter, darker = outside.max(-1) - inside.max(-1), inside.min(-1) - outside.min(-1)
    return float((brighter - darker).sum(dtype=np.float64))


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
    features = _features(image, body)
    look = _look(features, nearest_peak(peaks, image.shape)[1], body, reach)
    return _likeness(features, look if look.tells else None)


class Moments(NamedTuple):
    """Number, mean and scatter (sum of the products of differences from the mean) of the features of pixels."""

    count: int
    mean: Float64[np.ndarray, " features"]
    scatter: Float64[np.ndarray, "features features"]


class Look(NamedTuple):
    """How ground and bodies look: what `background_likeness` learns from an image; those of parts are joined."""

    ground: Moments
    bodies: Moments

    @property
    def tells(self) -> bool:
        """Whether there are pixels enough to learn from."""
        return min(self.ground.count, self.bodies.count) >= _FEWEST

    def join(self, other: "Look") -> "Look":
        """Returns the look of two parts of an image together."""
        return Look(_joined(self.ground, other.ground), _joined(self.bodies, other.bodies))


def look_of(
    image: Float[np.ndarray, "height width"],
    distance: Float[np.ndarray, "rows columns"],
    part: tuple[slice, slice],
    *,
    body: float,
    reach: float,
) -> Look:
    """Returns the look of a part of an image.

    Args:
        image: the part with a `margin` around it, as far as the whole image goes.
        distance: from the nearest peak, in pixels, of every pixel of the part.
        part: where in `image` the part is.
        body, reach: see `rim_of`.
    """
    return _look(_features(image, body)[part], distance, body, reach)


def likeness(
    image: Float[np.ndarray, "height width"], look: Look | None, *, body: float
) -> Float32[np.ndarray, "height width"]:
    """Returns what `background_likeness` does, given the look of the whole image; None: zeros.

    A part of an image will do: it is right farther than `margin` from the sides that it does not share with it.
    """
    return np.zeros(image.shape, np.float32) if look is None else _likeness(_features(image, body), look)


def margin(*, body: float, reach: float) -> int:
    """Returns how many pixels around a part of an image, or the cells in it, tell what this file tells of them."""
    # Filters are cut off at four sigma; the gradient takes a pixel, and so does interpolating.
    return int(np.ceil(max(4 * max(_SCALES) * body, reach + 4 * body / 5))) + 3


def _look(
    features: Float64[np.ndarray, "height width features"],
    distance: Float[np.ndarray, "height width"],
    body: float,
    reach: float,
) -> Look:
    """Returns the look of pixels by their distance from the nearest peak."""
    return Look(moments_of(features[distance > reach]), moments_of(features[distance < body]))


def _likeness(
    features: Float64[np.ndarray, "height width features"], look: Look | None
) -> Float32[np.ndarray, "height width"]:
    """Returns how surely pixels are background, 0..1; nothing is known without a look."""
    if look is None:
        return np.zeros(features.shape[:2], np.float32)
    odds = _log_density(features, look.ground) - _log_density(features, look.bodies)
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


def moments_of(chosen: Float64[np.ndarray, "pixels features"]) -> Moments:
    """Returns the moments of the features of some pixels; none is allowed."""
    mean = chosen.sum(0) / max(len(chosen), 1)
    away = chosen - mean
    return Moments(len(chosen), mean, away.T @ away)


def _joined(one: Moments, other: Moments) -> Moments:
    """Returns the moments of two sets of pixels together."""
    if not one.count or not other.count:
        return one if one.count else other
    count, apart = one.count + other.count, other.mean - one.mean
    between = np.outer(apart, apart) * (one.count * other.count / count)
    return Moments(count, one.mean + apart * (other.count / count), one.scatter + other.scatter + between)


def _log_density(
    features: Float64[np.ndarray, "height width features"], sample: Moments
) -> Float64[np.ndarray, "height width"]:
    """Returns the log density, up to a constant, of the normal distribution of a sample of pixels."""
    covariance = sample.scatter / (sample.count - 1)
    ridge = max(1e-4 * np.trace(covariance) / len(covariance), _LEAST_VARIANCE)
    covariance += ridge * np.eye(len(covariance))
    away = features - sample.mean
    # Through the Cholesky factor, whose solution is the whitened difference.
    factor = np.linalg.cholesky(covariance)
    white = np.linalg.solve(factor, away.reshape(-1, away.shape[-1]).T)
    return (-0.5 * (white**2).sum(0) - np.log(np.diag(factor)).sum()).reshape(features.shape[:2])
