"""The components of an image above rising thresholds, as a tree, and the best of them that do not overlap.

A component above one threshold lies in one above the threshold before: its parent. Whatever stands out of its
surroundings, whether bright or faint, is somewhere in the tree, so no threshold need be chosen for the whole
image: each object gets the one that suits it (Arteta et al. 2012, MICCAI, 348-356, learn to choose; here the
caller gives each component a quality).
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy import ndimage

_Map = Float64[np.ndarray, "height width"]
_Nodes = Int64[np.ndarray, " nodes"]
_Values = Float64[np.ndarray, " nodes"]

_PIXEL = 1 / 12  # the variance of a coordinate within a pixel


class ComponentTree(NamedTuple):
    """Components in the order of rising thresholds.

    Attributes:
        starts: The first node of each threshold, and the number of nodes.
        parents: The node of the threshold before in which a node lies, or -1.
        deepest: For each pixel the node of the highest threshold that holds it, or -1.
        thresholds: Values that all pixels of a node exceed.
        peaks: The greatest value in each node.
        areas: In pixels.
        centres: (row, column) of the centroids.
        ellipticities: Area divided by that of the ellipse with the same second moments: 1 for an ellipse, less for
            any other shape, at most 1.
        aspects: Length of that ellipse divided by its width.
    """

    starts: Int64[np.ndarray, " thresholds_and_1"]
    parents: _Nodes
    deepest: Int64[np.ndarray, "height width"]
    thresholds: _Values
    peaks: _Values
    areas: _Values
    centres: Float64[np.ndarray, "nodes 2"]
    ellipticities: _Values
    aspects: _Values

    @property
    def diameters(self) -> _Values:
        """Diameters of discs of the same areas, in pixels."""
        return 2 * np.sqrt(self.areas / np.pi)

    @property
    def rises(self) -> _Values:
        """How far the greatest value of each component is above its threshold."""
        return self.peaks - self.thresholds

    @property
    def roots(self) -> _Nodes:
        """The component of the first threshold in which each lies."""
        roots = np.arange(len(self.parents))
        for first, last in pairwise(self.starts[1:].tolist()):
            roots[first:last] = roots[self.parents[first:last]]
        return roots


def component_tree(
    image: _Map, thresholds: Float64[np.ndarray, " thresholds"], *, least_area: float
) -> ComponentTree:
    """Builds the tree of the 4-connected components of pixels above each of the rising thresholds.

    Components of less than `least_area` pixels, and what lies in them, are not part of it.
    """
    deepest = np.full(image.size, -1)
    places, values, nodes = np.arange(image.size), image.ravel(), deepest.copy()  # of what is above the threshold
    parents, starts = [np.empty(0, np.int64)], [0]
    for threshold in thresholds:
        places, values, nodes = _keep(values > threshold, places, values, nodes)
        mask = np.zeros(image.shape, bool)
        mask.ravel()[places] = True
        labels, count = ndimage.label(mask)
        own = labels.ravel()[places].astype(np.int64)
        large = np.bincount(own, minlength=count + 1) >= least_area
        own = np.where(large, starts[-1] - 1 + np.cumsum(large), -1)[own]
        if not large[1:].all():
            places, values, nodes, own = _keep(own >= 0, places, values, nodes, own)
        if not len(places):
            break
        parent = np.empty(starts[-1] + np.count_nonzero(large), np.int64)
        parent[own] = nodes  # that of any of its pixels is that of all
        deepest[places] = nodes = own
        parents.append(parent[starts[-1] :])
        starts.append(len(parent))
    sizes = np.diff(starts)
    return ComponentTree(
        np.array(starts),
        np.concatenate(parents),
        deepest.reshape(image.shape),
        np.repeat(thresholds[: len(sizes)], sizes),
        _peaks(image, deepest, parents),
        *_shapes(deepest.reshape(image.shape), parents),
    )


def _keep(kept: Bool[np.ndarray, " values"], *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """Returns the values of each array that are kept."""
    return tuple(array[kept] for array in arrays)


def _peaks(image: _Map, deepest: Int64[np.ndarray, " pixels"], parents: list[Int64[np.ndarray, " _"]]) -> _Values:
    """Returns the greatest value in each node: among its own pixels, then from child to parent."""
    end = sum(map(len, parents))
    inside = deepest >= 0
    peaks = np.full(end, -np.inf)
    np.maximum.at(peaks, deepest[inside], image.ravel()[inside])
    for parent in parents[:1:-1]:
        np.maximum.at(peaks, parent, peaks[end - len(parent) : end])
        end -= len(parent)
    return peaks


def _shapes(
    deepest: Int64[np.ndarray, "height width"], parents: list[Int64[np.ndarray, " _"]]
) -> tuple[np.ndarray, ...]:
    """Returns areas, centres, ellipticities and aspects, from moments summed from child to parent."""
    count = end = sum(map(len, parents))
    rows, columns = np.nonzero(deepest >= 0)
    nodes, rows, columns = deepest[rows, columns], rows.astype(np.float64), columns.astype(np.float64)
    terms = (np.ones(len(rows)), rows, columns, rows**2, columns**2, rows * columns)
    sums = np.stack([np.bincount(nodes, term, count) for term in terms], axis=1)
    sums = sums.astype(np.float64)  # of no pixel they are integers
    for parent in parents[:1:-1]:  # those of the first threshold have none
        np.add.at(sums, parent, sums[end - len(parent) : end])
        end -= len(parent)
    areas, moments = sums[:, 0], sums[:, 1:] / sums[:, :1]
    centres = moments[:, :2]
    down, along = (moments[:, 2:4] - centres**2 + _PIXEL).T
    across = moments[:, 4] - centres.prod(1)
    mean, root = (down + along) / 2, np.sqrt(np.maximum(down * along - across**2, _PIXEL**2))
    longer = mean + np.sqrt(np.maximum(mean**2 - root**2, 0))
    return areas, centres, np.minimum(areas / (4 * np.pi * root), 1.0), longer / root


def best_components(tree: ComponentTree, quality: _Values) -> Bool[np.ndarray, " nodes"]:
    """Chooses components that do not overlap: each instead of those in it, or those instead of it.

    A component is worth its quality, or what those in it are worth in the mean, weighted by their areas, if that
    is more. Of equal worth, the one is chosen and not what is in it.
    """
    worth, own = quality.copy(), np.ones(len(quality), bool)
    total, weight = np.zeros((2, len(quality)))
    levels = [slice(first, last) for first, last in pairwise(tree.starts.tolist())]
    for level in reversed(levels):
        inside = np.divide(total[level], weight[level], out=np.zeros_like(total[level]), where=weight[level] > 0)
        own[level] = quality[level] >= inside
        worth[level] = np.maximum(quality[level], inside)
        if level.start:
            np.add.at(total, tree.parents[level], (tree.areas * worth)[level])
            np.add.at(weight, tree.parents[level], tree.areas[level])
    chosen, free = own.copy(), np.ones(len(own), bool)
    for level in levels[1:]:
        free[level] = (free & ~own)[tree.parents[level]]
        chosen[level] &= free[level]
    return chosen


def pixels_of(tree: ComponentTree, chosen: Bool[np.ndarray, " nodes"]) -> Bool[np.ndarray, "height width"]:
    """Returns which pixels lie in the chosen components."""
    inside = chosen.copy()
    for first, last in pairwise(tree.starts[1:].tolist()):
        inside[first:last] |= inside[tree.parents[first:last]]
    return np.append(inside, False)[tree.deepest]
