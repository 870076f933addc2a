"""How large cells are, seen from their clicks and the images.

Where a stain tells cells from the ground, the blob at the clicks is the cell (Lindeberg 1998, International
Journal of Computer Vision 30, 79-116). In phase contrast it is the nucleus, and three other measures each fail
somewhere: the spacing of the clicks is that of the cells only where these are dense; structure around the clicks
ends with the cell, but a rim widens it and a textured ground hides it; the area with structure holds debris, too.
The median of the three has two of them on its side.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64
from scipy import ndimage
from skimage.filters import threshold_otsu

from wsis_jax.core import UserError, inside, nearest_distances, nearest_peak, resize_image, scale_points

_Image = Float32[np.ndarray, "_ _"]
_Points = Float64[np.ndarray, "_ 2"]
_Slope = Float32[np.ndarray, "_ _"]

_OCTAVE = 1.5 * 2.0 ** np.arange(0, 1, 0.25)  # sigmas tried before the image is halved, in its pixels
_OCTAVES = 6
_DISC = 2 * 2**0.5  # × sigma: the diameter of the disc with the greatest response
_FAINT = 0.003  # response that is noise, grey values being 0..1: of an image that shows nothing at the clicks
_SMOOTH = 1.5  # pixels: sigma of the gradient that structure is seen by
_WIDER = 2 * 2**0.5 * _SMOOTH  # pixels: both smoothings widen structure by their sigma on each side
_FLAT = 0.003  # gradient that is noise, grey values being 0..1
_RINGS = 64  # in a spacing: steps of the distance from the clicks
_FAR = 1.1  # × spacing: where the ground without cells begins
_FEWEST = 500  # pixels of a ring that may be ground
_DROP = 0.7  # of the log: structure that falls by less does not end in sight
_EDGE = 1.4  # structure has fallen half-way at this many radii of a cell


class CellSize(NamedTuple):
    """The diameter of a typical cell in pixels, by four measures; None where one cannot tell.

    Attributes:
        spacing: the median distance from a click to the nearest other one.
        blob: diameter of the disc that responds most to the Laplacian of a Gaussian at the clicks.
        structure: twice the distance from the clicks at which the gradient has fallen half-way to the ground's.
        covered: diameter of the disc as large as the pixels that show structure and are nearest to a click, in the
            median of the clicks.
    """

    spacing: float | None
    blob: float | None
    structure: float | None
    covered: float | None

    @property
    def extent(self) -> float:
        """How far to look at a cell to see whether it is stained, as a diameter.

        In phase contrast the blob is the nucleus, which may look stained; what is stained looks so as far as its
        structure reaches, too.

        Raises:
            UserError: if no measure could tell.
        """
        return max(self.diameter(stained=True), self.structure or 0.0)

    def diameter(self, *, stained: bool) -> float:
        """Returns the diameter, of the measures that suit the image.

        Args:
            stained: grey values or colours tell cells from the ground. Then it is the blob, but at most the median
                of spacing, blob and structure: in a crowd, the blob may be of several cells. Otherwise it is the
                median of spacing, structure and covered area. Of two, the smaller one counts.

        Raises:
            UserError: if no measure could tell.
        """
        suitable = self.blob if stained else self.covered
        known = sorted(one for one in (self.spacing, self.structure, suitable) if one is not None)
        if not known and self.blob is None:
            raise UserError(
                "the size of the cells cannot be estimated from so few points; "
                "give their diameter in pixels (--diameter)"
            )
        middle = known[(len(known) - 1) // 2] if known else math.inf
        return min(middle, self.blob or math.inf) if stained or not known else middle


def measure_cells(images: Iterable[_Image | None], points: Sequence[_Points]) -> CellSize:
    """Measures how large the cells of some images are; one image at a time is looked at.

    Args:
        images: normalised, 0..1; None where there is no image: its points tell the spacing alone.
        points: (row, column) of the cells of each image, roughly, in its pixels.
    """
    places = [np.unique(np.asarray(own, np.float64), axis=0) for own in points]
    distances = [nearest_distances(own) for own in places if len(own) > 1]
    spacing = float(np.median(np.concatenate(distances))) if distances else None
    seen = [
        _look(image, own, spacing)
        for image, own in zip(images, places, strict=True)
        if image is not None and inside(own, image.shape).any()
    ]
    if not seen:
        return CellSize(spacing, None, None, None)
    rings, blobs = (np.sum([getattr(one, sums) for one in seen], axis=0) for sums in ("rings", "blobs"))
    structure = _structure(rings, spacing) if spacing else None
    return CellSize(spacing, _blob(blobs), structure, _covered([one.areas for one in seen]))


class _Seen(NamedTuple):
    """What one image tells of the size of its cells; the first two are sums, which add up over images."""

    blobs: Float64[np.ndarray, "2 octaves sigmas"]  # the response at the clicks, and how many clicks there are
    rings: Float64[
        np.ndarray, "2 rings"
    ]  # the structure in rings around the clicks, and how many pixels these have
    areas: Int64[np.ndarray, " clicks"]  # pixels that show structure and are nearest to each click


def _look(image: _Image, points: _Points, spacing: float | None) -> _Seen:
    """Returns what an image tells at its points, at least one of which is inside."""
    slope = _slope(image)
    return _Seen(_blobs(image, points), _rings(slope, points, spacing or 1.0), _areas(slope, points))


def _blobs(image: _Image, points: _Points) -> Float64[np.ndarray, "2 octaves sigmas"]:
    """Returns, for each σ, the sum of the response -σ² ∇² G_σ * image over the clicks, and how many there are."""
    sums, clicks = np.zeros((2, _OCTAVES, len(_OCTAVE)))
    for octave in range(_OCTAVES):
        small = resize_image(image, 0.5**octave)
        at = tuple(_pixels(scale_points(points, 0.5**octave), small.shape).T)
        for index, sigma in enumerate(_OCTAVE):
            if 4 * sigma < min(small.shape):
                sums[octave, index] = sigma**2 * ndimage.gaussian_laplace(small, sigma)[at].sum(dtype=np.float64)
                clicks[octave, index] = len(at[0])
    return np.stack([sums, clicks])


def _blob(blobs: Float64[np.ndarray, "2 octaves sigmas"]) -> float | None:
    """Returns the diameter of the disc whose response is farthest from 0; None where there is no such response."""
    sums, clicks = blobs
    response = np.abs(sums / np.maximum(clicks, 1))
    if response.max() < _FAINT:
        return None
    octave, index = np.unravel_index(np.argmax(response), sums.shape)
    return float(_DISC * _OCTAVE[index] * 2.0**octave)


def _slope(image: _Image) -> _Slope:
    """Returns the log of the gradient of an image: how much structure each pixel shows."""
    slope = ndimage.gaussian_gradient_magnitude(image.astype(np.float64), _SMOOTH)
    return np.log(slope + _FLAT).astype(np.float32)


def _areas(slope: _Slope, points: _Points) -> Int64[np.ndarray, " clicks"]:
    """Returns how much structure is nearest to each click, in pixels.

    Structure is where the gradient, smoothed, is above Otsu's threshold (1979, IEEE Transactions on Systems, Man,
    and Cybernetics 9, 62-66), and what that surrounds.
    """
    smooth = ndimage.gaussian_filter(slope, _SMOOTH)
    structure = ndimage.binary_fill_holes(smooth > threshold_otsu(smooth))
    clicks = _pixels(points, slope.shape)
    nearest, _ = nearest_peak(clicks, slope.shape)
    return np.bincount(nearest[structure], minlength=len(clicks))


def _covered(areas: Sequence[Int64[np.ndarray, " _"]]) -> float | None:
    """Returns the diameter of the disc as large as the structure around a click, in the median of the clicks.

    None where no click has any.
    """
    area = float(np.median(np.concatenate(areas)))
    return max(2 * float(np.sqrt(area / np.pi)) - _WIDER, _WIDER) if area else None


def _rings(slope: _Slope, points: _Points, spacing: float) -> Float64[np.ndarray, "2 rings"]:
    """Returns the sum of the log of the gradient in rings around the clicks, and the number of their pixels."""
    elsewhere = np.ones(slope.shape, bool)
    elsewhere[tuple(_pixels(points, slope.shape).T)] = False
    away = ndimage.distance_transform_edt(elsewhere) / (spacing / _RINGS)
    ring = np.minimum(away, 2 * _RINGS - 1).astype(np.intp).ravel()
    return np.stack([np.bincount(ring, values, 2 * _RINGS) for values in (slope.ravel(), None)])


def _structure(rings: Float64[np.ndarray, "2 rings"], spacing: float) -> float | None:
    """Returns the diameter within which cells have structure, None where no ground is seen beyond them.

    Structure is the mean log of the gradient in rings around the clicks; it ends half-way from its greatest value
    to its least, that of the ground.
    """
    far = int(_FAR * _RINGS)
    sums, pixels = (np.append(values[:far], values[far:].sum()) for values in rings)
    present = np.flatnonzero(pixels)
    profile = np.interp(np.arange(far + 1), present, sums[present] / pixels[present])
    ground = profile[pixels > _FEWEST].min(initial=np.inf)
    top = int(profile.argmax())
    if profile[top] - ground < _DROP:
        return None
    fallen = np.argmax(profile[top:] < (profile[top] + ground) / 2)
    return float(2 * (top + fallen + 0.5) * (spacing / _RINGS) / _EDGE)


def _pixels(points: Float[np.ndarray, "points 2"], shape: tuple[int, int]) -> np.ndarray:
    """Returns the pixels that points are in; those outside are left out."""
    return np.round(points[inside(points, shape)]).astype(np.int64).clip(0, np.array(shape) - 1)
