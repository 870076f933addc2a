"""What points suggest: the width of the likelihood map, and at which scale, and how much, the network sees."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from scipy.spatial import KDTree

from wsis_jax.core.errors import UserError

# Sigma in pixels of the network when the scale is chosen from it: then cells of every size look alike to the
# network, and its receptive field holds several of them.
_NETWORK_SIGMA = 5.0
_SPACINGS = 10  # a patch is as wide as that many cells are apart: it shows dozens of them
_STEP = 16  # patches are multiples of it, as the stride of the network asks


class Suggestion(NamedTuple):
    """Settings for a training."""

    sigma: float  # of the likelihood map, in pixels of the images
    scale: float  # by which images are resized for the network
    patch: int  # side, in pixels of the network


def suggest(
    points_per_image: Sequence[Float64[np.ndarray, "_ 2"]], shapes: Sequence[tuple[int, int]]
) -> Suggestion | None:
    """Suggests settings from points and the (height, width) of images; None where no image has two points."""
    try:
        sigma = round(suggest_sigma(points_per_image), 2)
    except UserError:
        return None
    return Suggestion(sigma, suggest_scale(sigma), suggest_patch(shapes, sigma=sigma))


def suggest_sigma(points_per_image: Sequence[Float64[np.ndarray, "_ 2"]]) -> float:
    """Suggests the sigma of the cell-position likelihood from the spacing of the points.

    It is a quarter of the median distance of a point to its nearest neighbour, found on packed cells. That keeps
    neighbouring peaks apart: two neighbours are then 4 sigma from each other, and two Gaussians dip between their
    peaks where these are more than 2 sigma apart.

    Args:
        points_per_image: Points of each image, in pixels. Points at the very same place count as one, and an
            image with fewer than two places does not contribute.

    Returns:
        Standard deviation in pixels.

    Raises:
        UserError: If no image has two points.
    """
    distances = []
    for points in points_per_image:
        places = np.unique(points, axis=0)
        if len(places) > 1:
            distances.append(KDTree(places).query(places, k=2)[0][:, 1])
    if not distances:
        raise UserError(
            "no image has two points to suggest a sigma from; give the sigma in pixels as `likelihood.sigma`"
        )
    return float(0.25 * np.median(np.concatenate(distances)))


def suggest_scale(sigma: float) -> float:
    """Suggests the factor by which images are resized for the network; they are never enlarged.

    Args:
        sigma: of the likelihood map, in pixels of the images.
    """
    return min(max(round(_NETWORK_SIGMA / sigma, 3), 0.001), 1.0)


def suggest_patch(shapes: Sequence[tuple[int, int]], *, sigma: float) -> int:
    """Suggests the side of the training patches, in pixels of the network.

    It spans ten spacings of cells, which are 40 sigma, where the images are large enough, and the shortest side of
    them all where they are not.

    Args:
        shapes: (height, width) of the images, in their pixels.
        sigma: of the likelihood map, in their pixels.
    """
    scale = suggest_scale(sigma)
    wanted = 4 * _SPACINGS * sigma * scale
    shortest = min((min(shape) for shape in shapes), default=wanted / scale) * scale
    return max(int(min(wanted, shortest)) // _STEP, 2) * _STEP
