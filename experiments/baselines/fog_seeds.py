"""The seeds of FogBank: small dark spots, one or several in a cell, that stand for it."""

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Int32
from scipy import ndimage
from skimage.graph import MCP_Geometric

from experiments.baselines.common import clean
from experiments.baselines.egt import nearest_rank

_EIGHT = np.ones((3, 3), bool)


def find_seeds(
    image: Float[np.ndarray, "height width"],
    foreground: Bool[np.ndarray, "height width"],
    border: Bool[np.ndarray, "height width"],
    *,
    low: float | int,
    high: float | int,
    min_area: float | int,
    max_area: float | int,
    gap: float | int,
) -> Int32[np.ndarray, "height width"]:
    """Returns the seeds, those of one cell under one label from 1 upwards.

    Args:
        image: grey values.
        foreground: where there are cells.
        border: pixels of it that hold no seed.
        low, high: percentiles of the foreground's grey values between which those of seeds lie.
        min_area, max_area: of a seed, in pixels.
        gap: seeds are of one cell if a path in the foreground between their centres, or a chain of such paths
            from one seed to the next, is at most so long, in pixels.
    """
    if not foreground.any():
        return np.zeros(image.shape, np.int32)
    least, most = nearest_rank(image[foreground], np.array([low, high], np.float64))
    spots = (least < image) & (image < most) & foreground & ~border
    spots = clean(spots, min_area=min_area, max_hole=2 * min_area)
    parts, _ = ndimage.label(spots, _EIGHT)
    small = np.bincount(parts.ravel()) <= max_area
    small[0] = False
    parts, count = ndimage.label(small[parts], _EIGHT)
    if not count:
        return np.zeros(image.shape, np.int32)
    centres = _centres(parts, count)
    # Discs of half the gap around the centres touch where a path is no longer than the gap.
    reached, _ = ndimage.label(geodesic_distance(foreground | (parts > 0), centres) <= gap / 2, _EIGHT)
    cell_of = np.append(0, reached[tuple(centres.T)])
    return cell_of[parts].astype(np.int32)


def geodesic_distance(
    mask: Bool[np.ndarray, "height width"], sources: Int[np.ndarray, "sources 2"]
) -> Float64[np.ndarray, "height width"]:
    """Returns the length of the shortest way in the mask to a source, infinite where there is none.

    Ways go from a pixel to any of its eight neighbours, diagonals being √2 long.

    Args:
        mask: where ways may go.
        sources: pixels of the mask, as (row, column).
    """
    distance, _ = MCP_Geometric(np.where(mask, 1.0, np.inf)).find_costs(sources)
    return distance


def _centres(parts: Int32[np.ndarray, "height width"], count: int) -> Int[np.ndarray, "count 2"]:
    """Returns for each part the one of its pixels that is nearest to its centroid, which may lie outside."""
    places = np.argwhere(parts > 0)
    owners = parts[tuple(places.T)]
    centroids = np.array(ndimage.center_of_mass(parts > 0, parts, np.arange(count + 1)[1:]))
    away = ((places - centroids[owners - 1]) ** 2).sum(axis=1)
    order = np.lexsort((away, owners))
    first = np.unique(owners[order], return_index=True)[1]
    return places[order[first]]
