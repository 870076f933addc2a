"""How large cells are, seen from their clicks and the images.

Three measures each fail somewhere: the spacing of the clicks is that of the cells only where these are dense; the
blob at the clicks (Lindeberg 1998, International Journal of Computer Vision 30, 79-116) is the nucleus in phase
contrast; structure around the clicks ends with the cell, but a rim widens it and a textured ground hides it. The
median of the three has two of them on its side.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64
from scipy import ndimage

from wsis_jax.core import (
    SIGMA_PER_DIAMETER,
    ImageConfig,
    UserError,
    grey,
    inside,
    nearest_distances,
    normalize_by,
    resize_image,
    scale_points,
)
from wsis_jax.points.likelihood import suggest_scale

_Image = Float32[np.ndarray, "_ _"]
_Points = Float64[np.ndarray, "_ 2"]

_OCTAVE = 1.5 * 2.0 ** np.arange(0, 1, 0.25)  # sigmas tried before the image is halved, in its pixels
_OCTAVES = 6
_DISC = 2 * 2**0.5  # × sigma: the diameter of the disc with the greatest response
_FAINT = 0.003  # response that is noise, grey values being 0..1: of an image that shows nothing at the clicks
_SMOOTH = 1.5  # pixels: sigma of the gradient that structure is seen by
_FLAT = 0.003  # gradient that is noise, grey values being 0..1
_RINGS = 64  # in a spacing: steps of the distance from the clicks
_FAR = 1.1  # × spacing: where the ground without cells begins
_FEWEST = 500  # pixels of a ring that may be ground
_DROP = 0.7  # of the log: structure that falls by less does not end in sight
_EDGE = 1.4  # structure has fallen half-way at this many radii of a cell


class CellSize(NamedTuple):
    """The diameter of a typical cell in pixels, by three measures; None where one cannot tell.

    Attributes:
        spacing: the median distance from a click to the nearest other one.
        blob: diameter of the disc that responds most to the Laplacian of a Gaussian at the clicks.
        structure: twice the distance from the clicks at which the gradient has fallen half-way to the ground's.
    """

    spacing: float | None
    blob: float | None
    structure: float | None

    @property
    def diameter(self) -> float:
        """The median of the measures; of two the smaller one.

        Raises:
            UserError: if no measure could tell.
        """
        known = sorted(one for one in self if one is not None)
        if not known:
            raise UserError("too few points to tell the size of the cells from; give it (--diameter, in pixels)")
        return known[(len(known) - 1) // 2]


def measure_cells(images: Iterable[_Image | None], points: Sequence[_Points]) -> CellSize:
    """Returns how large the cells of some images are.

    Args:
        images: normalised, 0..1; None where there is no image: its points tell the spacing alone.
        points: (row, column) of the cells of each image, roughly, in its pixels.
    """
    places = [np.unique(np.asarray(own, np.float64), axis=0) for own in points]
    distances = [nearest_distances(own) for own in places if len(own) > 1]
    spacing = float(np.median(np.concatenate(distances))) if distances else None
    seen = [
        (image, own)
        for image, own in zip(images, places, strict=True)
        if image is not None and inside(own, image.shape).any()
    ]
    structure = _structure(seen, spacing) if spacing and seen else None
    return CellSize(spacing, _blob(seen), structure)


class Suggestion(NamedTuple):
    """Settings for a training."""

    diameter: float  # of a typical cell, in pixels of the images
    sigma: float  # of the likelihood map, in the same pixels
    scale: float  # by which images are resized for the network


def suggest(
    points: Sequence[_Points], images: Sequence[Float[np.ndarray, "_ _ *channels"] | None]
) -> Suggestion | None:
    """Suggests the settings that a training chooses; None if points and images do not tell the size of cells.

    Args:
        points: (row, column) of the cells of each image, in its pixels.
        images: finite values of any range; None where there is no image. Without any, the spacing of the points
            tells alone.
    """
    look = ImageConfig()
    seen = (None if one is None else grey(normalize_by(look, one.astype(np.float32))) for one in images)
    try:
        diameter = round(measure_cells(seen, points).diameter, 1)
    except UserError:
        return None
    sigma = round(SIGMA_PER_DIAMETER * diameter, 2)
    return Suggestion(diameter, sigma, suggest_scale(sigma))


def _blob(seen: Sequence[tuple[_Image, _Points]]) -> float | None:
    """Returns the diameter of the disc whose response, -σ² ∇² G_σ * image, is farthest from 0 over all clicks.

    None where there is no such response.
    """
    sums, clicks = np.zeros((_OCTAVES, len(_OCTAVE))), np.zeros((_OCTAVES, len(_OCTAVE)))
    for image, own in seen:
        for octave in range(_OCTAVES):
            small = resize_image(image, 0.5**octave)
            at = tuple(_pixels(scale_points(own, 0.5**octave), small.shape).T)
            for index, sigma in enumerate(_OCTAVE):
                if 4 * sigma < min(small.shape):
                    sums[octave, index] += sigma**2 * ndimage.gaussian_laplace(small, sigma)[at].sum(
                        dtype=np.float64
                    )
                    clicks[octave, index] += len(at[0])
    if not clicks.any():
        return None
    response = np.abs(sums / np.maximum(clicks, 1))
    if response.max() < _FAINT:
        return None
    octave, index = np.unravel_index(np.argmax(response), sums.shape)
    return float(_DISC * _OCTAVE[index] * 2.0**octave)


def _structure(seen: Sequence[tuple[_Image, _Points]], spacing: float) -> float | None:
    """Returns the diameter within which cells have structure, None where no ground is seen beyond them.

    Structure is the mean log of the gradient in rings around the clicks; it ends half-way from its greatest value
    to its least, that of the ground.
    """
    step = spacing / _RINGS
    sums, pixels = np.zeros(2 * _RINGS), np.zeros(2 * _RINGS)
    for image, own in seen:
        slope = np.log(ndimage.gaussian_gradient_magnitude(image.astype(np.float64), _SMOOTH) + _FLAT)
        elsewhere = np.ones(image.shape, bool)
        elsewhere[tuple(_pixels(own, image.shape).T)] = False
        ring = np.minimum(ndimage.distance_transform_edt(elsewhere) / step, 2 * _RINGS - 1)
        sums += np.bincount(ring.astype(np.intp).ravel(), slope.ravel(), 2 * _RINGS)
        pixels += np.bincount(ring.astype(np.intp).ravel(), minlength=2 * _RINGS)
    far = int(_FAR * _RINGS)
    sums, pixels = (np.append(values[:far], values[far:].sum()) for values in (sums, pixels))
    rings = np.flatnonzero(pixels)
    profile = np.interp(np.arange(far + 1), rings, sums[rings] / pixels[rings])
    ground = profile[pixels > _FEWEST].min(initial=np.inf)
    top = int(profile.argmax())
    if profile[top] - ground < _DROP:
        return None
    fallen = np.argmax(profile[top:] < (profile[top] + ground) / 2)
    return float(2 * (top + fallen + 0.5) * step / _EDGE)


def _pixels(points: Float[np.ndarray, "points 2"], shape: tuple[int, int]) -> np.ndarray:
    """Returns the pixels that points are in; those outside are left out."""
    return np.round(points[inside(points, shape)]).astype(np.int64).clip(0, np.array(shape) - 1)
