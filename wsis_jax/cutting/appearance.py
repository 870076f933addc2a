"""How cells differ from the ground between them in grey value or colour, learnt from the peaks of an image.

Pixels near peaks show cells, pixels far from all peaks the ground. The direction in colour that tells them apart
best (Fisher 1936, Annals of Eugenics 7, 179-188) makes one map of an image of any number of channels, 0 at the
ground and 1 in cells, so that bright cells, dark cells and cells of another colour look alike. How far the two
histograms of that map are apart (1 minus their overlap) says whether its values tell cells at all: they do for
stained cells, and do not in phase contrast. There cells and ground differ by less than the image does within them,
so that the middle of a cell has texture, and cells have a rim or a halo: a ring that is brighter, or darker, than
both. Where cells and ground have the same mean, cells may be on both sides of it, some darker and some brighter.

All is made of sums over pixels, so that the parts of an image give what the whole does.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Int64
from scipy import ndimage
from scipy.linalg import eigh

_BINS, _LEAST, _MOST = 64, -1.0, 3.0  # of the histograms of the map
_SMOOTH = 1.5  # bins
_GROUNDS = (4.0, 3.0, 2.0)  # × sigma from all peaks: where the ground begins, if so much is beyond
_SHARE = 0.15  # of the image that the ground should take
_SURE = 2.0  # log odds are clipped to this
FEWEST = 200  # pixels to fit a distribution to
_FEWEST_OF_CELLS = 50  # pixels near peaks, of which there may be few
_LEAST_VARIANCE = 1e-6  # of a feature: where the background, or a body, is one grey value, it has none
LEAST_SEPARATION = 0.65  # from which grey values or colours tell cells from ground
LEAST_CONTRAST = 1.0  # standard deviations of the image between cells and ground, from which they are stained
MOST_TEXTURE = 0.27  # of the squared distance from the ground: the local variance in the middle of stained cells
_WINDOW = 0.5  # × sigma: of the Gaussian in which that variance is taken
_ONE_SIDED = 0.5  # of the root of the mean square: a mean from which cells are on one side of the ground
_RINGS = np.arange(0.0, 4.5, 0.5)  # × sigma from the peaks: rings in which a rim or halo is looked for
MOST_RIM = 0.25  # where a ring is so far above the middle, or below the ground, cells have a rim or a halo

_Pixels = Float[np.ndarray, "height width channels"]
_Index = Int[np.ndarray, "height width"]
_Distance = Float[np.ndarray, "height width"]
_Features = Float64[np.ndarray, "height width features"]
_Map = Float64[np.ndarray, "height width"]


class Moments(NamedTuple):
    """Number, mean and scatter (sum of the products of differences from the mean) of the features of pixels."""

    count: int
    mean: Float64[np.ndarray, " features"]
    scatter: Float64[np.ndarray, "features features"]

    @staticmethod
    def of(pixels: Float64[np.ndarray, "pixels features"]) -> "Moments":
        """Returns the moments of the features of some pixels; none is allowed."""
        mean = pixels.sum(0) / max(len(pixels), 1)
        away = pixels - mean
        return Moments(len(pixels), mean, away.T @ away)

    def join(self, other: "Moments") -> "Moments":
        """Returns the moments of two sets of pixels together."""
        if not self.count or not other.count:
            return self if self.count else other
        count, apart = self.count + other.count, other.mean - self.mean
        between = np.outer(apart, apart) * (self.count * other.count / count)
        return Moments(count, self.mean + apart * (other.count / count), self.scatter + other.scatter + between)

    def log_density(
        self, features: Float64[np.ndarray, "height width features"]
    ) -> Float64[np.ndarray, "height width"]:
        """Returns the log density, up to a constant, of the normal distribution with these moments."""
        covariance = self.scatter / (self.count - 1)
        ridge = max(1e-4 * np.trace(covariance) / len(covariance), _LEAST_VARIANCE)
        covariance += ridge * np.eye(len(covariance))
        # The inverse of the Cholesky factor whitens: one product for all, far faster than to solve for each.
        factor = np.linalg.cholesky(covariance)
        whitening = np.linalg.inv(factor)
        white = whitening @ features.reshape(-1, features.shape[-1]).T
        white -= (whitening @ self.mean)[:, None]
        squares = np.einsum("ij,ij->j", white, white)
        return (-0.5 * squares - np.log(np.diag(factor)).sum()).reshape(features.shape[:2])


class ChannelMoments(NamedTuple):
    """The moments of the channels in cells, in the ground if it begins at each of three distances, and in all."""

    cells: Moments
    grounds: tuple[Moments, ...]
    image: Moments

    def join(self, other: "ChannelMoments") -> "ChannelMoments":
        """Returns the moments of two parts of an image together."""
        grounds = (one.join(two) for one, two in zip(self.grounds, other.grounds, strict=True))
        return ChannelMoments(self.cells.join(other.cells), tuple(grounds), self.image.join(other.image))


class Axis(NamedTuple):
    """A linear map of channels, pixels · weights + offset, that is 0 at the ground and 1 in cells on average.

    Attributes:
        weights, offset: of the map.
        ground: × sigma from all peaks, where the ground begins.
        contrast: the difference of cells and ground, in standard deviations of the map over the image.
        two_sided: some cells are darker than the ground and others brighter: the map is 0 at the ground, negative
            in the ones and positive in the others, and the root of its mean square in cells is 1.
    """

    weights: Float64[np.ndarray, " channels"]
    offset: float
    ground: float
    contrast: float
    two_sided: bool = False

    def map(self, pixels: _Pixels) -> _Map:
        """Returns the map, clipped to -1..3, or to -3..3 if it is two-sided."""
        values = pixels.astype(np.float64) @ self.weights + self.offset
        return np.clip(values, -_MOST if self.two_sided else _LEAST, _MOST)

    def away(self, values: _Map) -> _Map:
        """Returns how far values of the map are from the ground."""
        return np.abs(values) if self.two_sided else values


class MapHistograms(NamedTuple):
    """Sums over the pixels of an image.

    Attributes:
        counts: the histograms, in cells and in the ground, of how far the map is from the ground.
        rings: the sum of that in each ring around the peaks.
        pixels: of each ring.
        squares: the sums, in cells, of the local variance of the map and of the squared map.
    """

    counts: Int64[np.ndarray, "2 bins"]
    rings: Float64[np.ndarray, " rings"]
    pixels: Int64[np.ndarray, " rings"]
    squares: Float64[np.ndarray, "2"]

    def join(self, other: "MapHistograms") -> "MapHistograms":
        """Returns the sums over two parts of an image together."""
        return MapHistograms(*(one + two for one, two in zip(self, other, strict=True)))


class Appearance(NamedTuple):
    """How cells look in an image.

    Attributes:
        axis: of the map.
        odds: log odds that a pixel so far from the ground is of a cell, for 64 distances from -1 to 3.
        separation: 1 minus the overlap of the two histograms, 0..1.
        rim: how far the map exceeds that in the middle of cells, or falls below that of the ground, in any ring
            around the peaks: phase contrast draws dark cells in a bright halo, and bright rims.
        texture: the local variance of the map in the middle of cells, over its mean square there.
    """

    axis: Axis
    odds: Float64[np.ndarray, " bins"]
    separation: float
    rim: float
    texture: float

    @property
    def is_stained(self) -> bool:
        """Whether grey values or colours tell cells from ground: in stained cells, not in phase contrast."""
        apart = self.separation >= LEAST_SEPARATION and self.axis.contrast >= LEAST_CONTRAST
        return apart and self.rim < MOST_RIM and self.texture < MOST_TEXTURE

    def odds_of(self, values: _Map) -> _Map:
        """Returns the log odds of the values of the map."""
        return self.odds[_bin(self.axis.away(values))]


def with_channels(image: np.ndarray) -> _Pixels:
    """Returns an image with an axis of channels; a grey image gets one of length 1."""
    return image if image.ndim == 3 else image[..., None]


def channel_moments(pixels: _Pixels, distance: _Distance, *, sigma: float) -> ChannelMoments:
    """Returns the moments of an image, or a part, by the distance of each pixel from the nearest peak."""
    values = pixels.astype(np.float64)
    grounds = (Moments.of(values[distance > far * sigma]) for far in _GROUNDS)
    return ChannelMoments(
        Moments.of(values[distance <= sigma]), tuple(grounds), Moments.of(values.reshape(-1, values.shape[-1]))
    )


def axis_of(moments: ChannelMoments) -> Axis | None:
    """Returns the axis that tells cells from ground best; None where too little of either is seen.

    It is Fisher's, by the means of both, unless these are so near that cells may be on both sides of the ground.
    """
    far, ground = next(
        (
            one
            for one in zip(_GROUNDS, moments.grounds, strict=True)
            if one[1].count >= _SHARE * moments.image.count
        ),
        (_GROUNDS[-1], moments.grounds[-1]),
    )
    cells = moments.cells
    if cells.count < _FEWEST_OF_CELLS or ground.count < FEWEST:
        return None
    apart = cells.mean - ground.mean
    scatter = cells.scatter / cells.count + ground.scatter / ground.count
    weights = np.linalg.solve(scatter + 1e-4 * np.eye(len(apart)), apart)
    length = float(weights @ apart)
    axis = _axis(weights / length, moments, ground, far) if length > 0 else None
    if axis is not None and axis.contrast >= LEAST_CONTRAST:
        return axis
    # The direction in which cells are farthest from the ground, whatever their sign, in deviations of the ground.
    spread = cells.scatter / cells.count + np.outer(apart, apart)
    _, vectors = eigh(spread, ground.scatter / ground.count + 1e-4 * np.eye(len(apart)))
    weights = vectors[:, -1] * (1 if vectors[:, -1].sum() >= 0 else -1)
    length = float(np.sqrt(weights @ spread @ weights))
    if length == 0 or abs(weights @ apart) > _ONE_SIDED * length:
        return axis
    return _axis(weights / length, moments, ground, far, two_sided=True)


def _axis(
    weights: Float64[np.ndarray, " channels"],
    moments: ChannelMoments,
    ground: Moments,
    far: float,
    *,
    two_sided: bool = False,
) -> Axis:
    """Returns the axis of some weights, with which the map differs by 1 between cells and ground."""
    # Sums over parts end in other last digits than the sum over the whole.
    weights = np.round(weights, 6)
    deviation = float(np.sqrt(weights @ moments.image.scatter @ weights / moments.image.count))
    return Axis(weights, round(float(-weights @ ground.mean), 6), far, 1 / max(deviation, 1e-6), two_sided)


def local_variance(values: _Map, *, sigma: float) -> _Map:
    """Returns the variance of a map around each pixel; a margin of two sigma around a part of it is enough."""
    mean, square = (ndimage.gaussian_filter(one, _WINDOW * sigma) for one in (values, values * values))
    return np.maximum(square - mean * mean, 0)


def map_histograms(
    values: _Map, variance: _Map, distance: _Distance, *, axis: Axis, sigma: float
) -> MapHistograms:
    """Returns the sums over an image, or a part.

    Args:
        values: of the map.
        variance: `local_variance` of the map.
        distance: of each pixel from the nearest peak.
        axis: of the map.
        sigma: of the likelihood map, in pixels.
    """
    away = axis.away(values)
    bins, rings = _bin(away), np.digitize(distance, _RINGS * sigma)
    masks = distance <= sigma, distance > axis.ground * sigma
    counts = np.stack([np.bincount(bins[mask], minlength=_BINS) for mask in masks]).astype(np.int64)
    sums = np.bincount(rings.ravel(), away.ravel(), len(_RINGS) + 1)[1:-1]
    pixels = np.bincount(rings.ravel(), minlength=len(_RINGS) + 1)[1:-1].astype(np.int64)
    squares = np.array([variance[masks[0]].sum(), (values[masks[0]] ** 2).sum()])
    return MapHistograms(counts, sums, pixels, squares)


def appearance_of(axis: Axis, histograms: MapHistograms) -> Appearance:
    """Returns how cells look, from the sums over the whole image."""
    smooth = ndimage.gaussian_filter1d(histograms.counts.astype(np.float64), _SMOOTH, axis=1)
    shares = smooth / np.maximum(smooth.sum(axis=1, keepdims=True), 1)
    odds = np.log((shares[0] + 1e-3) / (shares[1] + 1e-3))
    profile = histograms.rings / np.maximum(histograms.pixels, 1)
    rim = float(max(profile.max() - profile[0], -profile.min()))
    separation = float(1 - np.minimum(*shares).sum())
    texture = float(histograms.squares[0] / max(histograms.squares[1], 1e-12))
    return Appearance(axis, np.clip(odds, -_SURE, _SURE), separation, rim, texture)


def fit_appearance(pixels: _Pixels, distance: _Distance, *, sigma: float) -> Appearance | None:
    """Returns how cells look in an image; None where there are too few pixels of cells or of ground.

    Args:
        pixels: normalised, 0..1.
        distance: of each pixel from the nearest peak.
        sigma: of the likelihood map, in pixels of the image.
    """
    axis = axis_of(channel_moments(pixels, distance, sigma=sigma))
    if axis is None:
        return None
    values = axis.map(pixels)
    variance = local_variance(values, sigma=sigma)
    return appearance_of(axis, map_histograms(values, variance, distance, axis=axis, sigma=sigma))


class Levels(NamedTuple):
    """The map's value in the middle of each cell, and that of the ground around it."""

    cell: Float64[np.ndarray, " cells"]
    ground: Float64[np.ndarray, " cells"]


def levels_of(
    values: _Map,
    index: Int[np.ndarray, "height width"],
    distance: _Distance,
    *,
    sigma: float,
    ground_quantile: float,
) -> Levels:
    """Returns the levels of every cell.

    Args:
        values: of the map.
        index: of the nearest peak of each pixel.
        distance: from it.
        sigma: of the likelihood map, in pixels.
        ground_quantile: of the values around a cell that is the level of the ground, 0..1. Neighbours are among
            them.
    """
    cells = int(index.max(initial=-1)) + 1
    middle = _quantiles(values, index, distance <= 0.8 * sigma, cells, 0.5)
    ground = _quantiles(values, index, (distance > sigma) & (distance <= 4 * sigma), cells, ground_quantile)
    return Levels(middle, ground)


def _quantiles(
    values: _Map,
    index: Int[np.ndarray, "height width"],
    which: Bool[np.ndarray, "height width"],
    cells: int,
    q: float,
) -> Float64[np.ndarray, " cells"]:
    """Returns a quantile of the values that each cell has among some pixels; 0 for a cell without any."""
    owners, chosen = index[which], values[which]
    order = np.lexsort((chosen, owners))
    owners, chosen = owners[order], chosen[order]
    first, end = (np.searchsorted(owners, np.arange(cells), side=side) for side in ("left", "right"))
    at = np.minimum(first + ((end - first) * q).astype(np.int64), max(len(chosen) - 1, 0))
    return np.where(end > first, chosen[at], 0.0) if len(chosen) else np.zeros(cells)


def _bin(values: _Map) -> Int64[np.ndarray, "..."]:
    """Returns the bin of each value of the map."""
    return np.minimum(((values - _LEAST) / (_MOST - _LEAST) * _BINS).astype(np.int64), _BINS - 1)
