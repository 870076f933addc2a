"""Finds nuclei in an image of a nuclear stain: their centres can replace clicks on the cells.

A nucleus is a bright blob. The response to blobs is the scale-normalised Laplacian of a Gaussian, -σ² ∇² (G_σ *
image) (Lindeberg 1998, International Journal of Computer Vision 30, 79-116); it is greatest for a disc of diameter
2 √2 σ. Everything else is estimated from the image: the background, the noise, the size of the nuclei and how much
they stand out.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, Real
from scipy import ndimage

from wsis_jax.core import UserError

_Map = Float64[np.ndarray, "height width"]
_Stack = Float64[np.ndarray, "scales height width"]
_Places = Int64[np.ndarray, "peaks 2"]
_Tops = Int64[np.ndarray, "peaks 3"]  # scale, row, column
_Values = Float64[np.ndarray, " peaks"]

_DIAMETER = 2 * 2**0.5  # × sigma: the disc with the greatest response
_OCTAVE = 1.25 * 2.0 ** np.array([0, 0.5, 1, 1.5])  # sigmas tried before the image is halved, in its pixels
_LEAST_SIDE = 8  # pixels of the smallest halved image
_SIZES = 2.0 ** np.array([-1, -0.5, 0, 0.5, 1])  # × the typical sigma: those of the nuclei
_CLIP = 3.0  # deviations of the noise up to which a pixel is background
_RANGE = 1e3  # greatest ratio of the brightest pixel to the noise: the least noise that is assumed
_NOISE = 4.0  # × the median of the background's maxima; noise alone hardly ever exceeds it
_FAINT = 0.25  # × the response of a typical nucleus; cytoplasm, which takes up some stain, stays below
_APART = 0.5  # diameters between the centres of two nuclei; maxima nearer than this are one nucleus


class Nuclei(NamedTuple):
    """The nuclei of an image, sorted by falling response.

    Attributes:
        points: (row, column) of the centres, to a fraction of a pixel.
        diameters: in pixels; 2 to 5 pixels too large, since compression widens the edges.
        contrasts: response divided by that of a typical nucleus, 0.25..1; greater ones are 1.
    """

    points: Float64[np.ndarray, "nuclei 2"]
    diameters: Float64[np.ndarray, " nuclei"]
    contrasts: Float64[np.ndarray, " nuclei"]


def find_nuclei(stain: Real[np.ndarray, "height width"], *, diameter: float | int | None = None) -> Nuclei:
    """Finds the nuclei in an image of a nuclear stain.

    Grey values are compressed by an inverse hyperbolic sine in units of the noise; otherwise bright nuclei would
    hide faint ones beside them. The typical size is that of the blobs with the greatest response over all scales.
    The nuclei are the maxima of the response at that size that exceed the noise and a quarter of the response of a
    typical nucleus. The size of each, half to twice the typical one, is that of its greatest response. A maximum
    within half a diameter of a greater one is dropped: it is the same nucleus.

    Args:
        stain: Finite grey values of any range; nuclei are bright. Multiplying them by a constant or adding one
            changes nothing.
        diameter: Typical diameter of a nucleus, in pixels; None to read it from the image, which needs nuclei of 5
            pixels at least and two fifths of the image's shorter side at most.

    Returns:
        The nuclei, with those cut by the border, and with centres in the image; none if there is only background.

    Raises:
        UserError: If `stain` holds NaN or infinite values, or `diameter` is not above 0 or exceeds the image.
    """
    if not np.isfinite(stain).all():
        raise UserError("stain holds NaN or infinite values; make them numbers")
    if diameter is not None and not 0 < diameter <= max(stain.shape):
        raise UserError(
            f"diameter must be above 0 and at most the longer side, {max(stain.shape)}, not {diameter}"
            "; give that of a nucleus in pixels"
        )
    nothing = Nuclei(np.empty((0, 2)), np.empty(0), np.empty(0))
    if not stain.size or stain.min() == stain.max():
        return nothing
    contrast = _compress(stain.astype(np.float64))
    sigma = _typical_sigma(contrast) if diameter is None else diameter / _DIAMETER
    if sigma is None:
        return nothing
    stack, smooth = _responses(contrast, sigma * _SIZES)
    middle = len(_SIZES) // 2
    places, values = _peaks(stack[middle], smooth[middle])
    if not len(values):
        return nothing
    typical = _weighted_median(values, values**2)
    return _measure(stack, places[values > _FAINT * typical], sigma, typical)


def _compress(values: _Map) -> _Map:
    """Returns asinh((values - background) / noise): linear in the noise, logarithmic in what is bright.

    The background is the median, and the noise the standard deviation, of the pixels that remain after those
    farther than three deviations from the median are removed, again and again.
    """
    kept = values.ravel()
    while True:
        level = np.median(kept)
        away = np.abs(kept - level)
        noise = 1.4826 * np.median(away)  # the standard deviation, of normal noise, from the median deviation
        if away.max() <= _CLIP * noise or noise == 0:
            break
        kept = kept[away <= _CLIP * noise]
    greys = np.unique(values)
    if noise == 0:  # most pixels are equal, so the noise is below the difference of two grey values
        noise = np.diff(greys).min()
    return np.arcsinh((values - level) / max(noise, (greys[-1] - greys[0]) / _RANGE))


def _responses(contrast: _Map, sigmas: Float64[np.ndarray, " scales"]) -> tuple[_Stack, _Stack]:
    """Returns the response to blobs, and the image smoothed, at rising sigmas."""
    smooth, before = [contrast], 0.0
    for sigma in sigmas:
        smooth.append(ndimage.gaussian_filter(smooth[-1], np.sqrt(sigma**2 - before**2)))
        before = sigma
    responses = [-(sigma**2) * ndimage.laplace(image) for sigma, image in zip(sigmas, smooth[1:], strict=True)]
    return np.stack(responses), np.stack(smooth[1:])


def _peaks(response: _Map, smooth: _Map) -> tuple[_Places, _Values]:
    """Returns the places and values of the maxima of a response that exceed those of the background.

    The background is where the smoothed image is within the noise. A single maximum of it is enough to compare
    with, and is itself never a nucleus.
    """
    places = np.argwhere((response == ndimage.maximum_filter(response, 3, mode="nearest")) & (response > 0))
    values = response[tuple(places.T)]
    background = values[smooth[tuple(places.T)] <= np.arcsinh(_CLIP)]
    sure = values > (_NOISE * np.median(background) if len(background) else 0.0)
    return places[sure], values[sure]


def _typical_sigma(contrast: _Map) -> float | None:
    """Returns the sigma of the greatest response of a typical nucleus, or None if nothing exceeds the background.

    It is the median over the maxima in space and scale, weighted by their squared responses: grains in a nucleus
    and clusters of nuclei, with gaps in them, respond less than a nucleus. The image is halved from octave to
    octave.
    """
    logs, values, factor = [], [], 1.0
    while min(contrast.shape) >= _LEAST_SIDE:
        stack, smooth = _responses(contrast, _OCTAVE)
        for index in (1, 2):
            places, response = _peaks(stack[index], smooth[index])
            around = ndimage.maximum_filter(stack[index - 1 : index + 2], 3, mode="nearest")[1]
            highest = response == around[tuple(places.T)]
            tops = np.insert(places[highest], 0, index, axis=1)
            logs.append(np.log2(factor * _OCTAVE[index]) + 0.5 * _vertex(stack, tops, 0))
            values.append(response[highest])
        contrast, factor = _halved(contrast), 2 * factor
    weights = np.concatenate([np.zeros(0), *values]) ** 2
    return 2.0 ** _weighted_median(np.concatenate(logs), weights) if len(weights) else None


def _halved(image: _Map) -> Float64[np.ndarray, "half_height half_width"]:
    """Returns an image of half the sides, rounded up; halving commutes with flipping.

    Along an even side, pairs of pixels are averaged. Along an odd one, every other pixel is kept, the first and
    the last among them, each averaged with half of its neighbours.
    """
    for axis, side in enumerate(image.shape):
        weights, origin = ([0.25, 0.5, 0.25], 0) if side % 2 else ([0.5, 0.5], -1)
        image = ndimage.correlate1d(image, weights, axis, origin=origin).take(range(0, side, 2), axis)
    return image


def _weighted_median(values: _Values, weights: _Values) -> float:
    """Returns the value at which half of the weight is reached."""
    order = np.argsort(values)
    below = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(below, below[-1] / 2)])


def _measure(stack: _Stack, places: _Places, sigma: float, typical: float) -> Nuclei:
    """Returns centres, diameters and contrasts of the maxima; of those too near each other only the greatest."""
    tops = np.column_stack([stack[:, *places.T].argmax(0), places])
    values = stack[tuple(tops.T)]
    order = np.argsort(-values, kind="stable")
    tops, values = tops[order], values[order]
    middle = len(_SIZES) // 2
    steps = tops[:, 0] - middle + _vertex(stack, tops, 0)
    diameters = _DIAMETER * sigma * 2.0 ** (0.5 * steps)
    tops[:, 0] = middle  # the scale at which they are maxima in space
    rows, columns = (tops[:, axis] + _vertex(stack, tops, axis) for axis in (1, 2))
    points = np.clip(np.stack([rows, columns], axis=1), 0, np.array(stack.shape[1:]) - 1.0)
    alone = np.ones(len(points), bool)
    for index in range(len(points)):
        if alone[index]:
            later = slice(index + 1, None)
            alone[later] &= np.linalg.norm(points[later] - points[index], axis=1) > _APART * diameters[index]
    return Nuclei(points[alone], diameters[alone], np.minimum(values[alone] / typical, 1.0))


def _vertex(stack: _Stack, tops: _Tops, axis: int) -> _Values:
    """Returns the offset of the vertex of the parabola through three neighbours from the middle one, -0.5..0.5."""
    step, last = np.eye(3, dtype=np.int64)[axis], np.array(stack.shape) - 1
    before, at, after = (stack[tuple(np.clip(tops + way * step, 0, last).T)] for way in (-1, 0, 1))
    bend = before - 2 * at + after
    vertex = np.divide(before - after, 2 * bend, out=np.zeros_like(bend), where=bend < 0)
    return np.clip(vertex, -0.5, 0.5)
