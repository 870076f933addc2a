"""How large cells are and how they look, found at their clicks; and the settings that follow."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32

from wsis_jax.core import (
    SIGMA_PER_DIAMETER,
    ImageConfig,
    UserError,
    grey,
    inside,
    nearest_peak,
    normalize_by,
    resize_image,
    scale_points,
)
from wsis_jax.cutting import Appearance, fit_appearance, with_channels
from wsis_jax.points import CellSize, measure_cells, suggest_scale

_Image = Float[np.ndarray, "_ _ *channels"]
_Normalised = Float32[np.ndarray, "_ _ *channels"]
_Points = Float[np.ndarray, "_ 2"]

_SIGMA_UNSTAINED = 0.2  # × diameter


class FoundSize(NamedTuple):
    """The size of the cells of some images.

    Attributes:
        diameter: of a typical cell, in pixels of the images.
        stained: whether grey values or colours tell cells from the ground in most of the images, so that the blob
            at a click is its cell.
        measures: that it was chosen from.
    """

    diameter: float
    stained: bool
    measures: CellSize


def find_size(images: Sequence[_Image | None], points: Sequence[_Points], image_config: ImageConfig) -> FoundSize:
    """Returns how large the cells of some images are.

    Args:
        images: finite values of any range; None where there is no image: its points tell the spacing alone.
        points: (row, column) of the cells of each image, roughly, in its pixels.
        image_config: how images are normalised.

    Raises:
        UserError: if neither points nor images tell.
    """

    def normalised(image: _Image) -> _Normalised:
        return normalize_by(image_config, image.astype(np.float32))

    # One image at a time is normalised, since there may be many.
    size = measure_cells((None if one is None else grey(normalised(one)) for one in images), points)
    stained = are_stained(images, points, size.extent, image_config)
    return FoundSize(round(size.diameter(stained=stained), 1), stained, size)


def are_stained(
    images: Sequence[_Image | None], points: Sequence[_Points], diameter: float, image_config: ImageConfig
) -> bool:
    """Tells whether grey values or colours tell cells from the ground, in most of the images that show any.

    `diameter` is that of a typical cell, in pixels; other arguments are those of `find_size`.
    """
    looks = [
        look_at(normalize_by(image_config, image.astype(np.float32)), own, diameter)
        for image, own in zip(images, points, strict=True)
        if image is not None and len(own)
    ]
    return 2 * sum(one is not None and one.is_stained for one in looks) > len(looks)


def sigma_of(diameter: float, *, stained: bool) -> float:
    """Returns the sigma of the likelihood map that suits cells of a diameter, both in pixels.

    It is a quarter of the diameter where cells are `stained`, and a fifth where they are not: these touch more
    often, and a narrower peak keeps them apart (experiments/LOG.md).
    """
    return round((SIGMA_PER_DIAMETER if stained else _SIGMA_UNSTAINED) * diameter, 2)


def look_at(image: _Normalised, points: _Points, diameter: float) -> Appearance | None:
    """Returns how the cells of an image look; None where too little of cells or ground is seen.

    Args:
        image: normalised, 0..1.
        points: (row, column) of its cells, in its pixels.
        diameter: of a typical cell, in pixels. The image is resized as for a network that learns such cells.
    """
    sigma = SIGMA_PER_DIAMETER * diameter
    scale = suggest_scale(sigma)
    return appearance_at(resize_image(image, scale), scale_points(points, scale), sigma=sigma * scale)


def appearance_at(image: _Normalised, points: _Points, *, sigma: float) -> Appearance | None:
    """Returns how the cells of an image look at points, both as the network sees them; see `fit_appearance`."""
    shape = image.shape[0], image.shape[1]
    peaks = np.round(points[inside(points, shape)]).astype(np.int64).clip(0, np.array(shape) - 1)
    return fit_appearance(with_channels(image), nearest_peak(peaks, shape)[1], sigma=sigma)


class Suggestion(NamedTuple):
    """Settings for a training."""

    diameter: float  # of a typical cell, in pixels of the images
    sigma: float  # of the likelihood map, in the same pixels
    scale: float  # by which images are resized for the network


def suggest(points: Sequence[_Points], images: Sequence[_Image | None]) -> Suggestion | None:
    """Suggests the settings that a training chooses; None if points and images do not tell the size of cells.

    Args:
        points: (row, column) of the cells of each image, in its pixels.
        images: finite values of any range; None where there is no image. Without any, the spacing of the points
            tells alone.
    """
    try:
        found = find_size(images, points, ImageConfig())
    except UserError:
        return None
    sigma = sigma_of(found.diameter, stained=found.stained)
    return Suggestion(found.diameter, sigma, suggest_scale(sigma))
