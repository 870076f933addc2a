"""What a cut weighs: terms of the image, and seeds and claims of the winner map.

Of the image: a data term, which every pixel has by its grey value; an edge term, which makes cells end along rims;
and a background term, for pixels that look like what lies between the cells. Microscopes draw cells differently:
as dark bodies in a bright halo, as bodies in dark rims, or stained, so that grey value or colour tells them from
the ground (`appearance.py`). Which of them an image shows is read from it, around the peaks of its cells.

A data term of your own is a function and an entry in `DATA_TERMS`; `cut.data` then knows its name:

    import wsis_jax as wj
    from wsis_jax.cutting import DATA_TERMS

    def bright_cells(seen, settings):
        return settings.data_weight * (seen.image - seen.median)

    DATA_TERMS["bright cells"] = bright_cells
    config = wj.Config().override(["cut.data=bright cells"])
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64, Int, Int32, Integer
from scipy import ndimage
from skimage import measure

from wsis_jax.core import Config, CutConfig, UserError
from wsis_jax.cutting.appearance import FEWEST, Appearance, Moments, levels_of
from wsis_jax.cutting.whole_costs import UNIT, WholeCosts, whole_costs

Rim = Literal["bright", "dark"]
"""What the rims of cells look like."""

_Map = Float[np.ndarray, "height width"]
_Map32 = Float32[np.ndarray, "height width"]
_Owners = Int[np.ndarray, "height width"]
_Greatest = Float[np.ndarray, " owners"]
_Features = Float64[np.ndarray, "height width features"]

_BACKGROUND_FROM = 4.0  # × sigma from every peak: where the background begins that pixels are compared with
# Of the edge of a cell, from ground to middle, at which `levels` bounds it: half of the light of a bright cell.
# A dark one absorbs light, and half of the absorbance, a logarithm, is more than half of the grey values.
_HEIGHT, _HEIGHT_DARK = 0.5, 0.6
_SLOPE = 2.0  # of the data term around that height
_GROUND, _GROUND_OF_TWO = 0.2, 0.5  # quantiles around a cell: of cells on one side of the ground, on both sides
_LEAST_RISE = 0.1  # from ground to middle, where 1 is that of a typical cell
_ODDS = 0.2  # weight of the log odds beside the levels
_EDGE_BLUR = 0.7  # pixels
_RAYS = 16  # directions in which the way out of a cell is looked at
_SCALES = (1 / 6, 1 / 3, 2 / 3)  # × the radius of the bodies; of the features that tell background from cells
# Log odds at which a pixel is certainly background: features are correlated, so the model is too sure of itself.
_CERTAIN = 16.0


class Claims(NamedTuple):
    """Which cell each pixel likely belongs to, by its contributions, and how strongly.

    Attributes:
        owner: i + 1 where cell i has the greatest contribution, 0 where no cell contributes.
        weight: what it costs to cut the pixel away from its owner, or to give it to another cell; at least 0.
    """

    owner: _Owners
    weight: _Map


class Costs(NamedTuple):
    """What cutting an image into cells costs.

    Attributes:
        preference: what leaving a pixel out of a cell costs; where negative, what taking it in costs.
        right, down: what it costs to cut between pixels, as `edge_weights` gives it.
        seeds: i + 1 at the foreground seeds of cell i; to every other cell they are background.
        claims: which cell each pixel likely belongs to, beside the seeds; added to the preference of that cell.
        unit: that costs are rounded to where cells are cut, see `whole_costs.cut_graph`. The same for all parts
            of an image, so that a cell is the same in each.
        blur: standard deviation by which outlines are smoothed on their way to the pixels of the image, in pixels
            of the network.
    """

    preference: _Map
    right: _Map
    down: _Map
    seeds: Integer[np.ndarray, "height width"]
    claims: Claims | None = None
    unit: float = UNIT
    blur: float = 0.0

    def whole(self) -> WholeCosts:
        """Returns the costs in whole units; errors are those of `whole_costs.whole_costs`."""
        return whole_costs(self.preference, self.right, self.down, unit=self.unit, claims=self.claims)


# Data terms


class TermInput(NamedTuple):
    """The input of a data term: an image, or a part of one with statistics of the whole.

    Attributes:
        image: grey values, normalised, 0..1.
        median: of the whole image.
        appearance: how cells look in the whole image; None where that could not be learnt.
        map: 0 at the ground and 1 in cells, see `Axis.map`; None without an appearance.
        index, distance: of the nearest peak of each pixel, and from it; None if nothing asked for them.
        sigma: of the likelihood map, in pixels.
    """

    image: _Map
    median: float | np.float32
    appearance: Appearance | None = None
    map: Float64[np.ndarray, "height width"] | None = None
    index: _Owners | None = None
    distance: _Map | None = None
    sigma: float = 1.0


DataTerm = Callable[[TermInput, CutConfig], _Map]
"""Returns what leaving each pixel out of a cell costs by the image; where negative, what taking it in costs.

The settings are those of the cut, with none left open.
"""


def _weight(settings: CutConfig) -> float:
    """Returns the weight of the data term, which is not left open where it is used."""
    return settings.data_weight or 0.0


def inverse_image(seen: TermInput, settings: CutConfig) -> _Map:
    """Returns weight · (median - image): a pixel darker than the median prefers the cell."""
    return _weight(settings) * (seen.median - seen.image)


def flat(seen: TermInput, settings: CutConfig) -> _Map:
    """Returns -weight everywhere: each pixel prefers the background as much, as in the authors' code."""
    return np.full_like(seen.image, -_weight(settings))


def levels(seen: TermInput, settings: CutConfig) -> _Map:
    """Returns weight · (m + 0.2 · log odds), for cells that a stain, or colour, tells from the ground.

    m goes from -1 to 1 around half of the way from the level of the ground around the pixel's cell to that of its
    middle, 0.6 of it where cells are darker than the ground: dim and bright cells, on a ground that is uneven, are
    bounded at the same height of their edges. Where some cells are darker than the ground and others brighter,
    each has its own sign. Farther than 4 sigma from every peak m is -1. The appearance must be known, see
    `label_cells.chosen_settings`.
    """
    assert seen.appearance is not None
    assert seen.map is not None
    assert seen.index is not None
    assert seen.distance is not None
    axis = seen.appearance.axis
    low = _GROUND_OF_TWO if axis.two_sided else _GROUND
    level = levels_of(seen.map, seen.index, seen.distance, sigma=seen.sigma, ground_quantile=low)
    rise = level.cell - level.ground
    sign = np.where(rise < 0, -1, 1) if axis.two_sided else 1
    rise = sign * np.maximum(sign * rise, _LEAST_RISE)
    height = _HEIGHT if axis.two_sided or axis.weights.sum() > 0 else _HEIGHT_DARK
    middle = (level.ground + height * rise)[seen.index]
    own = np.clip(_SLOPE * (seen.map - middle) / rise[seen.index], -1, 1)
    own[seen.distance > _BACKGROUND_FROM * seen.sigma] = -1
    return (_weight(settings) * (own + _ODDS * seen.appearance.odds_of(seen.map))).astype(np.float32)


DATA_TERMS: dict[str, DataTerm] = {"inverse": inverse_image, "flat": flat, "levels": levels}
"""What `cut.data` may be, beside "auto": "levels" where grey values or colours tell cells from ground, else
"inverse"."""


def data_term(name: str) -> DataTerm:
    """Returns the data term of a name.

    Raises:
        UserError: for an unknown name.
    """
    if name not in DATA_TERMS:
        raise UserError(f"cut.data must be one of auto, {', '.join(DATA_TERMS)}, not '{name}'")
    return DATA_TERMS[name]


# Edge term


def edge_weights(
    image: _Map, *, weight: float, falloff: float, rim: Rim, pixel: Literal["max", "first"]
) -> tuple[_Map32, _Map32]:
    """Returns what it costs to cut between each pixel and its right, and its lower, neighbour.

    The cost is `weight` · exp(-`falloff` · I), where I is the intensity of the pair, or 1 - I where rims are dark:
    outlines run along the bright halo of phase contrast, or along dark rims.

    Args:
        image: 0..1.
        weight: cost between two pixels that are nothing like a rim.
        falloff: how fast the cost falls with the intensity.
        rim: of cells in this image.
        pixel: I is that of the pixel more like a rim ("max"), or of the upper or left one ("first", as in the
            authors' code, which shifts outlines by up to half a pixel).

    Returns:
        Costs to the right and down; the last column and the last row have no neighbour, and their costs no effect.
    """
    intensity = image if rim == "bright" else 1 - image

    def cost(axis: int) -> _Map32:
        pair = np.maximum(intensity, np.roll(intensity, -1, axis=axis)) if pixel == "max" else intensity
        return (weight * np.exp(-falloff * pair)).astype(np.float32)

    return cost(1), cost(0)


def gradient_weights(values: _Map, *, weight: float, falloff: float) -> tuple[_Map32, _Map32]:
    """Returns what it costs to cut between each pixel and its right and lower neighbours, by their difference.

    The cost is `weight` · exp(-`falloff` · Δ²): outlines run where values change (Boykov and Jolly 2001, ICCV).

    Args:
        values: 0 at the ground and 1 in cells, see `Axis.map`; they are blurred by 0.7 pixels.
        weight: cost between equal pixels.
        falloff: how fast the cost falls with the squared difference.
    """
    smooth = ndimage.gaussian_filter(values, _EDGE_BLUR)
    right, down = (np.roll(smooth, -1, axis=axis) - smooth for axis in (1, 0))
    across, below = (weight * np.exp(-falloff * step**2) for step in (right, down))
    return across.astype(np.float32), below.astype(np.float32)


class CellExtent(NamedTuple):
    """How far cells go from their peaks, in pixels.

    Attributes:
        body: a pixel nearer to a peak than this belongs to a cell.
        end: a pixel farther than this from every peak is background.
    """

    body: float
    end: float

    @staticmethod
    def of(config: Config) -> "CellExtent":
        """Returns the extent in pixels of the network: one sigma, and four."""
        return CellExtent(config.network_sigma, _BACKGROUND_FROM * config.network_sigma)

    @property
    def margin(self) -> int:
        """Pixels around a part of an image, or around its peaks, outside of which nothing matters to its terms."""
        # Filters are cut off at four sigma; the gradient takes a pixel, and so does interpolating.
        # The level of a cell is that of pixels within `end` of its peak, and reaches as far.
        return int(np.ceil(max(4 * max(_SCALES) * self.body, 2 * self.end))) + 5


def rim_of(contrast: float) -> Rim:
    """Returns whether the rims of cells are bright or dark, from their `rim_contrast`; without rims, bright."""
    return "bright" if contrast >= 0 else "dark"


def rim_contrast(image: _Map, peaks: Int[np.ndarray, "cells 2"], extent: CellExtent) -> float:
    """Returns how much brighter than dark the rims of cells are, summed over all rays from their peaks.

    On a way out of a cell there is a rim somewhere. Where rims are bright, the brightest pixel on that way exceeds
    the brightest one in the middle of the cell by more than the darkest one falls short of the darkest there.

    Sums over parts of the cells add up to that over all. A part of the image with a margin of `extent.margin`
    around the cells is enough.
    """
    if not len(peaks):
        return 0.0
    # Blurred by the width of rims, since extremes are made of noise otherwise.
    smooth = ndimage.gaussian_filter(image, extent.body / 5)
    inside, outside = _along_rays(smooth, peaks, 0.0, extent.body), _along_rays(smooth, peaks, *extent)
    brighter, darker = outside.max(-1) - inside.max(-1), inside.min(-1) - outside.min(-1)
    return float((brighter - darker).sum(dtype=np.float64))


def _along_rays(
    image: _Map, peaks: Int[np.ndarray, "cells 2"], start: float, stop: float
) -> Float[np.ndarray, "cells rays steps"]:
    """Returns the grey values on rays from each peak, a pixel apart, from one distance to another."""
    angles = np.arange(_RAYS) * 2 * np.pi / _RAYS
    radii = np.linspace(start, stop, max(round(stop - start), 1) + 1)
    directions = np.stack([np.sin(angles), np.cos(angles)])
    places = peaks.T[:, :, None, None] + directions[:, None, :, None] * radii
    return ndimage.map_coordinates(image, places, order=1, mode="nearest")


# Background term


class BackgroundModel(NamedTuple):
    """How background and cell bodies look: the moments of their features."""

    background: Moments
    bodies: Moments

    def join(self, other: "BackgroundModel") -> "BackgroundModel":
        """Returns the model of two parts of an image together."""
        return BackgroundModel(self.background.join(other.background), self.bodies.join(other.bodies))


def background_features(image: _Map, extent: CellExtent) -> _Features:
    """Returns grey value, log of the local deviation and log of the local gradient, at three scales each.

    Of a part of an image they are right farther than `extent.margin` from the sides inside the image.
    """
    # In float32, the deviation of flat pixels would be what rounding the squares leaves.
    image = image.astype(np.float64)
    gradient = np.hypot(ndimage.sobel(image, 0), ndimage.sobel(image, 1))
    features = np.empty((3 * len(_SCALES), *image.shape))
    for scale, (mean, spread, slope) in zip(_SCALES, features.reshape(-1, 3, *image.shape), strict=True):
        for values, blurred in ((image, mean), (image * image, spread), (gradient, slope)):
            ndimage.gaussian_filter(values, scale * extent.body, output=blurred)
        np.sqrt(np.maximum(spread - mean * mean, 0), out=spread)
        # A hundredth of the range of grey values: less is noise.
        np.log(spread + 0.01, out=spread)
        np.log(slope + 0.01, out=slope)
    return np.moveaxis(features, 0, -1)  # a feature after the other in memory, as it is read


def fit_background(features: _Features, distance: _Map, extent: CellExtent) -> BackgroundModel:
    """Returns how background and bodies look, by the distance of each pixel from the nearest peak, in pixels."""
    by_feature = np.moveaxis(features, -1, 0)  # as they lie in memory
    background, bodies = by_feature[:, distance > extent.end], by_feature[:, distance < extent.body]
    return BackgroundModel(Moments.of(background.T), Moments.of(bodies.T))


def background_score(features: _Features, model: BackgroundModel) -> _Map32:
    """Returns how surely each pixel is background by its features, 0..1.

    The log odds of two normal distributions, of background and of bodies (quadratic discriminant analysis), from
    none to certain. 0 everywhere if the image was too crowded to show any background, or had too few cells to tell
    what bodies look like.
    """
    if min(model.background.count, model.bodies.count) < FEWEST:
        return np.zeros(features.shape[:2], np.float32)
    odds = model.background.log_density(features) - model.bodies.log_density(features)
    return np.clip(odds / _CERTAIN, 0, 1).astype(np.float32)


# Seeds and claims


def scaled_contributions(
    value: _Map, owner: _Owners, *, scale: Literal["cell", "max", "raw"], greatest: _Greatest | None = None
) -> _Map32:
    """Returns the contributions of a winner map on a scale that thresholds can be given on.

    Args:
        value, owner: of the winner map, see `core.WinnerMap`; or a part of it.
        scale: contributions are divided by the greatest that the cell wins ("cell"), so that faint cells have
            seeds as wide as clear ones; by the greatest one in the image ("max"); or by 255 ("raw", as in the
            authors' code, where the result depends on the scale of the weights).
        greatest: of a part of a map, what `greatest_contributions` gives for the whole.
    """
    if scale == "raw":
        return np.asarray(value / 255, np.float32)
    if greatest is None:
        greatest = greatest_contributions(value, owner, owners=int(owner.max(initial=0)) + 1)
    if scale == "max":
        greatest = np.full_like(greatest, greatest.max())
    return np.asarray(value / np.maximum(greatest, np.finfo(np.float32).tiny)[owner], np.float32)


def greatest_contributions(value: _Map, owner: _Owners, *, owners: int) -> _Greatest:
    """Returns the greatest contribution of every owner, 0 where it owns no pixel; index 0 is of no owner."""
    greatest = np.zeros(owners, value.dtype)
    np.maximum.at(greatest, owner, value)
    return greatest


def foreground_seeds(
    scaled: _Map, owner: _Owners, *, threshold: float, min_area: int
) -> Int32[np.ndarray, "height width"]:
    """Returns i + 1 at the foreground seeds of cell i: the pixels whose contribution it wins clearly.

    Args:
        threshold: scaled contributions above this are seeds.
        min_area: 8-connected components of the seeds of a cell with fewer pixels are dropped.
    """
    seeds = np.where(scaled > threshold, owner, 0)
    components = measure.label(seeds, background=0, connectivity=2)
    small = np.bincount(components.ravel()) < min_area
    return np.where(small[components], 0, seeds).astype(np.int32)


def claims_of(scaled: _Map, owner: _Owners, *, weight: float, full: float) -> Claims:
    """Returns what owners claim: `weight` from a scaled contribution of `full` on, below in proportion."""
    return Claims(owner, np.where(owner > 0, weight * np.minimum(scaled / full, 1), 0))
