"""Points, areas and pixels: which point is nearest, which are in an image, what the centroid of an area is."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int, Int32, Int64, Real
from scipy import ndimage
from scipy.spatial import KDTree

_Index = Int32[np.ndarray, "height width"]
_Distance = Float32[np.ndarray, "height width"]
_Mask = Bool[np.ndarray, "height width"]

_AT_ONCE = 1 << 20  # pixels of which the nearest peaks are looked for in the tree


def nearest_peak(
    peaks: Int[np.ndarray, "cells 2"], shape: tuple[int, int], *, corner: tuple[int, int] = (0, 0)
) -> tuple[_Index, _Distance]:
    """Returns, per pixel, the index of the nearest peak (0-based) and its distance in pixels.

    The index divides the image into the peaks' Voronoi cells. Of peaks at the same distance it is the first in
    raster order, whatever other peaks there are. Without peaks the index is -1 and the distance infinite. For a
    part of an image, `shape` is that of the part, and `corner` (row, column) is where it begins.
    """
    index, distance = np.full(shape, -1, np.int32), np.full(shape, np.inf, np.float32)
    if not len(peaks):
        return index, distance
    order = np.lexsort(peaks.T[::-1])
    places, unsettled = peaks[order] - np.array(corner), np.ones(shape, bool)
    if inside(places, shape).all():
        index, distance, unsettled = _by_transform(places, shape)
    tree, at = KDTree(places), np.flatnonzero(unsettled)
    for begin in range(0, len(at), _AT_ONCE):
        some = at[begin : begin + _AT_ONCE]
        pixels = np.stack(np.unravel_index(some, shape), axis=1)
        near, which = tree.query(pixels, k=2)
        nearest = which[:, 0]
        tied = np.flatnonzero(near[:, 0] == near[:, 1])
        nearest[tied] = _first_of_nearest(tree, pixels[tied])
        index.flat[some], distance.flat[some] = nearest, near[:, 0]
    return order[index].astype(np.int32), distance


def _by_transform(places: Int[np.ndarray, "cells 2"], shape: tuple[int, int]) -> tuple[_Index, _Distance, _Mask]:
    """Returns, per pixel, the nearest of the places in an image, its distance, and whether others may be as near.

    The distance transform is some ten times faster than a tree, but of equals it gives any. Where two places are
    as near, the pixel beside that lies towards the other one is nearer to that, so it has another nearest place.
    """
    labels = np.zeros(shape, np.int32)
    labels[tuple(places[::-1].T)] = np.arange(len(places), 0, -1)  # of several in one pixel the first
    distance, nearest = ndimage.distance_transform_edt(labels == 0, return_indices=True)
    index = labels[tuple(nearest)] - 1
    unsettled = np.zeros(shape, bool)
    for one, other in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])):
        unsettled[one] |= index[one] != index[other]
        unsettled[other] |= index[one] != index[other]
    return index, distance.astype(np.float32), unsettled


def _first_of_nearest(tree: KDTree, pixels: Int[np.ndarray, "pixels 2"]) -> Int64[np.ndarray, " pixels"]:
    """Returns the least index among all points of a tree that are nearest to each pixel."""
    count = 4
    while True:
        distance, index = tree.query(pixels, k=count)
        same = distance == distance[:, :1]  # exactly: squares of whole numbers are summed
        if count >= tree.n or not same[:, -1].any():
            return np.where(same, index, tree.n).min(axis=1)
        count *= 2


def inside(points: np.ndarray, shape: tuple[int, int], *, margin: float = 0.0) -> np.ndarray:
    """Returns for each point whether it lies on a pixel of an image of (height, width) `shape`; NaN does not.

    Or, with a margin, less than that many pixels away.
    """
    return np.all((points >= -0.5 - margin) & (points < np.array(shape) - 0.5 + margin), axis=1)


def nearest_distances(points: Real[np.ndarray, "points 2"]) -> Float64[np.ndarray, " points"]:
    """Returns the distance from each point to the nearest other one, in pixels; infinite for a point alone."""
    return KDTree(points).query(points, k=2)[0][:, 1] if len(points) else np.empty(0)


def signed_area(corners: Float64[np.ndarray, "corners 2"]) -> float:
    """Returns the signed area of a polygon; positive if its corners turn from the row to the column axis."""
    here = corners - corners.mean(axis=0)
    there = np.roll(here, -1, axis=0)
    return float((here[:, 0] * there[:, 1] - there[:, 0] * here[:, 1]).sum() / 2)


def area_centroid(rings: Sequence[Float64[np.ndarray, "_ 2"]]) -> Float64[np.ndarray, " 2"]:
    """Returns the centroid of the area of polygons; holes have the opposite orientation.

    Where there is no area, it is the mean of all corners.
    """
    middle = np.concatenate(rings).mean(axis=0)
    whole, moment, extent = 0.0, np.zeros(2), 0.0
    for ring in rings:
        here = ring - middle
        there = np.roll(here, -1, axis=0)
        areas = here[:, 0] * there[:, 1] - there[:, 0] * here[:, 1]
        whole += areas.sum()
        moment += (areas[:, None] * (here + there)).sum(axis=0)
        extent += np.square(here).sum()
    return middle if abs(whole) < 1e-9 * extent or whole == 0 else middle + moment / (3 * whole)
