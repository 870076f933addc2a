"""Settings that follow from the spacing of points: sigma of the likelihood map and the scale of the images."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from wsis_jax.core import UserError, nearest_distances

# In pixels of the network; the scale is chosen for it. Then cells of every size look alike to the network, and its
# receptive field holds several of them.
_NETWORK_SIGMA = 5.0


class Suggestion(NamedTuple):
    """Settings for a training."""

    sigma: float  # of the likelihood map, in pixels of the images
    scale: float  # by which images are resized for the network


def suggest(points_per_image: Sequence[Float64[np.ndarray, "_ 2"]]) -> Suggestion | None:
    """Suggests settings from the points of each image; None if no image has two points."""
    try:
        sigma = round(suggest_sigma(points_per_image), 2)
    except UserError:
        return None
    return Suggestion(sigma, suggest_scale(sigma))


def suggest_sigma(points_per_image: Sequence[Float64[np.ndarray, "_ 2"]]) -> float:
    """Suggests the sigma of the cell-position likelihood, in pixels, from the spacing of the points.

    It is a quarter of the median distance from a point to the nearest other one. That keeps neighbouring peaks
    apart: two neighbours are then 4 sigma from each other, and the maximum of two Gaussians dips between peaks
    that are more than 2 sigma apart.

    Args:
        points_per_image: Points of each image, in pixels. Points at the very same place count as one, and an
            image with fewer than two places does not contribute.

    Raises:
        UserError: If no image has two points.
    """
    places = [np.unique(points, axis=0) for points in points_per_image]
    distances = [nearest_distances(own) for own in places if len(own) > 1]
    if not distances:
        raise UserError(
            "no image has two points to suggest a sigma from; give the sigma in pixels as `likelihood.sigma`"
        )
    return float(0.25 * np.median(np.concatenate(distances)))


def suggest_scale(sigma: float) -> float:
    """Suggests by what to resize images for the network, from sigma in their pixels; they are never enlarged."""
    return min(max(round(_NETWORK_SIGMA / sigma, 3), 0.001), 1.0)
