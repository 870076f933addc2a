"""From points to the likelihood map, from the likelihood map to peaks, from peaks to centre regions.

The spacing of the points tells the sigma of the likelihood map, and sigma the scale of the images.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int, Int32, Int64
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from wsis_jax.core import SIGMA_PER_DIAMETER, UserError, nearest_distances, nearest_peak

_Map = Float[np.ndarray, "height width"]

_EXTENT = 5.0  # × sigma: the radius to which Gaussians are drawn; they are below 4e-6 beyond
# In pixels of the network; the scale is chosen for it. Then cells of every size look alike to the network, and its
# receptive field holds several of them.
_NETWORK_SIGMA = 5.0


def render_likelihood(
    points: Float[np.ndarray, "cells 2"], shape: tuple[int, int], *, sigma: float
) -> Float32[np.ndarray, "height width"]:
    """Draws a Gaussian of height 1 at every point and returns their maximum (paper §3.1).

    Args:
        points: (row, column) of rough cell centroids; fractions of pixels count.
        shape: (height, width) of the map.
        sigma: standard deviation of the Gaussians in pixels.

    Raises:
        UserError: if `sigma` is not positive.
    """
    if not sigma > 0:
        raise UserError(f"sigma must be positive, not {sigma}")
    height, width = shape
    likelihood = np.zeros(shape, np.float32)
    extent = int(np.ceil(_EXTENT * sigma))
    for row, column in points:
        top, left = max(int(row) - extent, 0), max(int(column) - extent, 0)
        bottom, right = min(int(row) + extent + 2, height), min(int(column) + extent + 2, width)
        if top >= bottom or left >= right:
            continue
        rows = np.exp(-((np.arange(top, bottom) - row) ** 2) / (2 * sigma**2))
        columns = np.exp(-((np.arange(left, right) - column) ** 2) / (2 * sigma**2))
        window = likelihood[top:bottom, left:right]
        np.maximum(window, np.outer(rows, columns), out=window, casting="same_kind")
    return likelihood


def find_peaks(
    likelihood: _Map, *, threshold: float, min_distance: int, exclude_border: int = 0, quantize: bool = False
) -> Int64[np.ndarray, "cells 2"]:
    """Returns the (row, column) of the peaks, in raster order.

    A peak is a pixel above the threshold that no pixel exceeds within a square of `min_distance` around it. A
    plateau of 8-connected such pixels is one peak, at its mean truncated to pixels.

    Args:
        likelihood: the network's output, 0..1.
        threshold: a peak's value is greater than this.
        min_distance: half the side of the square, in pixels; at least 1.
        exclude_border: peaks fewer than this many pixels from the border are dropped. 0 keeps the cells at
            the border; the authors' code loses them (2).
        quantize: search the map rounded down to 256 levels, as the authors' 8-bit files are.
    """
    found = peak_pixels(likelihood, threshold=threshold, min_distance=min_distance, quantize=quantize)
    pixels, end = np.argwhere(found), np.array(found.shape) - exclude_border
    return plateau_centres(pixels[((pixels >= exclude_border) & (pixels < end)).all(axis=1)])


def peak_pixels(
    likelihood: _Map, *, threshold: float, min_distance: int, quantize: bool
) -> Bool[np.ndarray, "height width"]:
    """Returns which pixels belong to a peak, see `find_peaks`; it depends on pixels within `min_distance`."""
    if quantize:
        likelihood = np.floor(likelihood * 255 + 1e-3) / 255  # the margin keeps 8-bit values exact
    greatest = ndimage.maximum_filter(likelihood, size=2 * min_distance + 1, mode="nearest")
    return (likelihood == greatest) & (likelihood > threshold)


def plateau_centres(pixels: Int64[np.ndarray, "pixels 2"]) -> Int64[np.ndarray, "cells 2"]:
    """Returns the mean of each 8-connected group of pixels, truncated; in raster order of their first pixels.

    The pixels must be in raster order, too.
    """
    if not len(pixels):
        return np.empty((0, 2), np.int64)
    pairs = KDTree(pixels).query_pairs(1, p=np.inf, output_type="ndarray")
    graph = coo_array((np.ones(len(pairs), bool), tuple(pairs.T)), (len(pixels), len(pixels)))
    groups = connected_components(graph, directed=False)[1]
    # The order of components is not defined, so they are sorted by their first pixel.
    _, first, groups = np.unique(groups, return_index=True, return_inverse=True)
    sums = np.zeros((len(first), 2), np.int64)
    np.add.at(sums, groups, pixels)
    return (sums // np.bincount(groups)[:, None])[np.argsort(first)]


def centre_regions(
    likelihood: _Map,
    peaks: Int[np.ndarray, "cells 2"],
    *,
    region: Literal["disc", "response"],
    radius: float,
    response: float,
) -> Int32[np.ndarray, "height width"]:
    """Returns the centre regions S_u: 0 outside, i + 1 in the region of `peaks[i]`.

    "disc" is the Voronoi cell of a peak within `radius` pixels of it, as in the authors' code. It is the default
    because every peak then has a region, whose size does not depend on a threshold. "response" is the paper's: the
    8-connected components of the map above `response` that hold a peak; the Voronoi lines divide one with several.
    """
    if region == "disc":
        index, distance = nearest_peak(peaks, likelihood.shape)
        return np.where(distance <= radius, index + 1, 0).astype(np.int32)
    components, _ = ndimage.label(likelihood > response, structure=np.ones((3, 3)))
    windows = ndimage.find_objects(components)
    component_of = components[tuple(peaks.T)]
    regions = np.zeros(likelihood.shape, np.int32)
    for component in np.unique(component_of[component_of > 0]):
        window = windows[component - 1]
        sharers = np.flatnonzero(component_of == component)  # a nearer peak may belong to another component
        mask = components[window] == component
        index, _ = nearest_peak(peaks[sharers] - [side.start for side in window], mask.shape)
        regions[window][mask] = sharers[index[mask]] + 1
    return regions


# Settings that follow from points


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
            "sigma cannot be estimated, as no image has two points; give it in pixels as `likelihood.sigma`"
        )
    return float(SIGMA_PER_DIAMETER * np.median(np.concatenate(distances)))


def suggest_scale(sigma: float) -> float:
    """Suggests the factor by which to resize images for the network, from sigma in their pixels; at most 1."""
    return min(max(round(_NETWORK_SIGMA / sigma, 3), 0.001), 1.0)
