"""Drafts the likelihood map of an image in seconds, without a network.

A ridge regression predicts the likelihood map of an image's points from features of the image around each pixel:
grey value, slope, curvature and contrast at several scales, and all products of two features. Its prediction for
an image that it has not seen is too rough to segment with, but good enough to check points with: it shows whether
they fit their image, and where points are missing.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64
from scipy import linalg, ndimage

from wsis_jax.core import resize_image, scale_points
from wsis_jax.points.likelihood import render_likelihood

_Image = Float[np.ndarray, "height width"]
_Draft = Float32[np.ndarray, "draft_height draft_width"]
_Features = Float32[np.ndarray, "height width features"]

_SIGMA = 3.0  # of the likelihood map, in pixels of the draft
_SCALES = (1.0, 2.0, 4.0, 8.0)  # of the features, in pixels of the draft
_EVERY = 2  # one pixel of so many is learnt from, per axis: neighbours hold the same information
_BOUND = 2.0  # deviations from the mean to which a feature is compressed: squared outliers would dominate
_RIDGE = 1e-3  # × the number of pixels: the penalty on squared weights


class Moments(NamedTuple):
    """The sums over pixels that a regression needs; those of several images are added."""

    squares: Float64[np.ndarray, "terms terms"]
    products: Float64[np.ndarray, " terms"]
    pixels: int


class Study(NamedTuple):
    """What was learnt from one image: its moments, and its draft, each quarter drawn from the other three."""

    moments: Moments
    draft: _Draft


def draft_scale(sigma: float) -> float:
    """Returns the factor by which images are resized for a draft; sigma is that of the likelihood map."""
    return min(_SIGMA / sigma, 1.0)


def study(image: _Image, points: Float[np.ndarray, "points 2"], *, sigma: float) -> Study:
    """Learns from one image and its points.

    Args:
        image: normalised, 0..1.
        points: (row, column) of the cells in its pixels; points outside do not count.
        sigma: of the likelihood map, in its pixels.
    """
    scale = draft_scale(sigma)
    features = _features(resize_image(image, scale))
    target = render_likelihood(scale_points(points, scale), features.shape[:2], sigma=sigma * scale)
    halves = [(slice(None, side // 2), slice(side // 2, None)) for side in target.shape]
    quarters = [(rows, columns) for rows in halves[0] for columns in halves[1]]
    moments = [_moments(features[quarter], target[quarter]) for quarter in quarters]
    draft = np.empty_like(target)
    for index, quarter in enumerate(quarters):
        draft[quarter] = _draw(features[quarter], _weights(moments[:index] + moments[index + 1 :]))
    return Study(_add(moments), draft)


def draw_draft(image: _Image, moments: Sequence[Moments], *, sigma: float) -> _Draft:
    """Drafts the likelihood map of an image from what was learnt from others.

    Args:
        image: normalised, 0..1.
        moments: of the other images.
        sigma: of the likelihood map, in pixels of the image.

    Returns:
        The map at `draft_scale(sigma)` times the size of the image: about 0 where there is no cell, and up to
        about 1 where there is one.
    """
    return _draw(_features(resize_image(image, draft_scale(sigma))), _weights(moments))


def _features(image: _Image) -> _Features:
    """Returns the features of each pixel, each within ±2; they turn with the image."""
    features = []
    for scale in _SCALES:
        smooth, down, right, rows, mixed, columns = (
            ndimage.gaussian_filter(image, scale, order)
            for order in ((0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2))
        )
        blob, ridge = rows + columns, np.sqrt((rows - columns) ** 2 + 4 * mixed**2)
        spread = np.sqrt(np.maximum(ndimage.gaussian_filter(image**2, scale) - smooth**2, 0))
        features += [smooth, ndimage.gaussian_filter(np.hypot(down, right), scale), blob, ridge, spread]
        features.append(ndimage.gaussian_filter(np.abs(blob), 2 * scale))
    stack = np.stack(features, axis=-1)
    deviation = stack.std((0, 1))
    standard = (stack - stack.mean((0, 1))) / np.where(deviation > 0, deviation, 1)
    return (_BOUND * np.tanh(standard / _BOUND)).astype(np.float32)


def _with_pairs(features: Float32[np.ndarray, "pixels features"]) -> Float32[np.ndarray, "pixels terms"]:
    """Returns features, all products of two of them, and 1."""
    first, second = np.triu_indices(features.shape[1])
    ones = np.ones((len(features), 1), np.float32)
    return np.concatenate([features, features[:, first] * features[:, second], ones], axis=1)


def _moments(features: _Features, target: Float32[np.ndarray, "height width"]) -> Moments:
    """Returns the moments of an image and its likelihood map."""
    terms = _with_pairs(features[::_EVERY, ::_EVERY].reshape(-1, features.shape[-1]))
    wanted = target[::_EVERY, ::_EVERY].reshape(-1)
    return Moments((terms.T @ terms).astype(np.float64), (terms.T @ wanted).astype(np.float64), len(wanted))


def _add(moments: Sequence[Moments]) -> Moments:
    """Returns the moments of all pixels together."""
    squares, products, pixels = zip(*moments, strict=True)
    return Moments(np.sum(squares, axis=0), np.sum(products, axis=0), sum(pixels))


def _weights(moments: Sequence[Moments]) -> Float32[np.ndarray, " terms"]:
    """Returns the weights w that minimise |terms w - target|² + penalty |w|²."""
    squares, products, pixels = _add(moments)
    penalty = _RIDGE * max(pixels, 1) * np.eye(len(products))
    return linalg.solve(squares + penalty, products, assume_a="pos").astype(np.float32)


def _draw(features: _Features, weights: Float32[np.ndarray, " terms"]) -> Float32[np.ndarray, "height width"]:
    """Returns the map of some weights, computed row by row: all terms at once would fill the memory."""
    rows = [_with_pairs(row) @ weights for row in features]
    return np.array(rows, np.float32).reshape(features.shape[:2])  # a quarter of a tiny image has no rows
