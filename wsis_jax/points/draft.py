"""A draft of the likelihood map in seconds, with no network.

A ridge regression learns to tell the likelihood map of an image's points from how the image looks around every
pixel: grey value, slope, curvature and contrast at several scales, and all their products by pairs. What it draws
for an image it has not seen is too rough to segment by, but enough to check points with: whether they fit their
image, and where some are missing.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64
from scipy import linalg, ndimage

from wsis_jax.core import resize_image, scale_points
from wsis_jax.points.likelihood import render_likelihood

_SIGMA = 3.0  # of the likelihood map, in pixels of the draft
_SCALES = (1.0, 2.0, 4.0, 8.0)  # of the looks, in pixels of the draft
_EVERY = 2  # pixels between those learnt from: neighbours tell the same
_BOUND = 2.0  # deviations from the mean towards which a look is bent: squares of outliers would rule the map
_RIDGE = 1e-3  # × the number of pixels: the price of large weights


class Moments(NamedTuple):
    """What a regression needs to know of some pixels; moments of several images are added."""

    squares: Float64[np.ndarray, "terms terms"]
    products: Float64[np.ndarray, " terms"]
    pixels: int


class Study(NamedTuple):
    """What was learnt from an image: its moments, and its draft, each quarter by the points in the other three."""

    moments: Moments
    draft: Float32[np.ndarray, "draft_height draft_width"]


def draft_scale(sigma: float) -> float:
    """Returns the factor by which images are resized for a draft; sigma is that of the likelihood map."""
    return min(_SIGMA / sigma, 1.0)


def study(
    image: Float[np.ndarray, "height width"], points: Float[np.ndarray, "points 2"], *, sigma: float
) -> Study:
    """Learns from one image and its points.

    Args:
        image: normalised, 0..1.
        points: (row, column) of the cells in its pixels; those outside do not count.
        sigma: of the likelihood map, in its pixels.
    """
    scale = draft_scale(sigma)
    looks = _looks(resize_image(image, scale))
    target = render_likelihood(scale_points(points, scale), looks.shape[:2], sigma=sigma * scale)
    halves = [(slice(None, side // 2), slice(side // 2, None)) for side in target.shape]
    quarters = [(rows, columns) for rows in halves[0] for columns in halves[1]]
    moments = [_moments(looks[quarter], target[quarter]) for quarter in quarters]
    draft = np.empty_like(target)
    for index, quarter in enumerate(quarters):
        draft[quarter] = _draw(looks[quarter], _weights(moments[:index] + moments[index + 1 :]))
    return Study(_add(moments), draft)


def draw_draft(
    image: Float[np.ndarray, "height width"], moments: Sequence[Moments], *, sigma: float
) -> Float32[np.ndarray, "draft_height draft_width"]:
    """Drafts the likelihood map of an image after learning from others.

    Args:
        image: normalised, 0..1.
        moments: of the others.
        sigma: of the likelihood map, in pixels of the image.

    Returns:
        The map at `draft_scale(sigma)` times the size of the image: about 0 where there is no cell, and up to
        about 1 where there is one.
    """
    return _draw(_looks(resize_image(image, draft_scale(sigma))), _weights(moments))


def _looks(image: Float[np.ndarray, "height width"]) -> Float32[np.ndarray, "height width looks"]:
    """Returns how an image looks around each pixel, whichever way it is turned; each look within ± 2."""
    looks = []
    for scale in _SCALES:
        smooth, down, right, rows, mixed, columns = (
            ndimage.gaussian_filter(image, scale, order)
            for order in ((0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2))
        )
        blob, ridge = rows + columns, np.sqrt((rows - columns) ** 2 + 4 * mixed**2)
        spread = np.sqrt(np.maximum(ndimage.gaussian_filter(image**2, scale) - smooth**2, 0))
        looks += [smooth, ndimage.gaussian_filter(np.hypot(down, right), scale), blob, ridge, spread]
        looks.append(ndimage.gaussian_filter(np.abs(blob), 2 * scale))
    stack = np.stack(looks, axis=-1)
    deviation = stack.std((0, 1))
    standard = (stack - stack.mean((0, 1))) / np.where(deviation > 0, deviation, 1)
    return (_BOUND * np.tanh(standard / _BOUND)).astype(np.float32)


def _with_pairs(looks: Float32[np.ndarray, "pixels looks"]) -> Float32[np.ndarray, "pixels terms"]:
    """Returns looks, their products by pairs, and 1."""
    first, second = np.triu_indices(looks.shape[1])
    ones = np.ones((len(looks), 1), np.float32)
    return np.concatenate([looks, looks[:, first] * looks[:, second], ones], axis=1)


def _moments(
    looks: Float32[np.ndarray, "height width looks"], target: Float32[np.ndarray, "height width"]
) -> Moments:
    """Returns what is to be known of an image and its likelihood map."""
    terms = _with_pairs(looks[::_EVERY, ::_EVERY].reshape(-1, looks.shape[-1]))
    wanted = target[::_EVERY, ::_EVERY].reshape(-1)
    return Moments((terms.T @ terms).astype(np.float64), (terms.T @ wanted).astype(np.float64), len(wanted))


def _add(moments: Sequence[Moments]) -> Moments:
    """Returns the moments of all pixels together."""
    squares, products, pixels = zip(*moments, strict=True)
    return Moments(np.sum(squares, axis=0), np.sum(products, axis=0), sum(pixels))


def _weights(moments: Sequence[Moments]) -> Float32[np.ndarray, " terms"]:
    """Returns the weights of the least sum of squared errors and, at a price, squared weights."""
    squares, products, pixels = _add(moments)
    price = _RIDGE * max(pixels, 1) * np.eye(len(products))
    return linalg.solve(squares + price, products, assume_a="pos").astype(np.float32)


def _draw(
    looks: Float32[np.ndarray, "height width looks"], weights: Float32[np.ndarray, " terms"]
) -> Float32[np.ndarray, "height width"]:
    """Returns the map that weights give, a row of pixels at a time: all terms at once would fill the memory."""
    rows = [_with_pairs(row) @ weights for row in looks]
    return np.array(rows, np.float32).reshape(looks.shape[:2])  # of a tiny image a quarter has no rows
