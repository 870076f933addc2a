"""Object proposals: masks that might be cells, from grey values alone, for methods that choose among them.

Peak response maps and weak boxes were published with proposals of MCG or COB, which learnt contours of photographs
and have no implementation in Python. In their place stand three families: parts of thresholded images, all nodes
of a tree in which regions of a watershed merge over their faintest borders, and the segments of Felzenszwalb and
Huttenlocher (IJCV 2004) at a few scales.
"""

import heapq
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int64, Integer
from scipy import ndimage, sparse
from scipy.spatial import ConvexHull
from skimage.morphology import disk
from skimage.segmentation import felzenszwalb, watershed

from experiments.baselines.common import check_image, remembered

_SMOOTHINGS = (1 / 32, 2 / 32)  # diameters; 1 and 2 pixels of cells of 32
_SURROUNDINGS = 0.4  # diameters; sigma of what a pixel is darker than
_OPENING = 0.1  # diameters
_LEVELS = 24  # of thresholds, at equal steps of the quantile
_SCALES = (50.0, 100.0, 200.0, 400.0)  # of Felzenszwalb's segments
_SMALLEST, _LARGEST = 0.2, 4.0  # areas of a disc of the diameter
_SOLID = 0.6  # at least so much of its convex hull belongs to a cell
_ALIKE = 0.9  # intersection over union from which two proposals are one


class Proposals(NamedTuple):
    """Masks in an image of `shape`, those with the strongest border first; they overlap and nest."""

    masks: sparse.csr_array  # float32, (proposals, height · width), 1 in the mask; pixels in order
    areas: Float32[np.ndarray, " proposals"]  # pixels
    shape: tuple[int, int]

    def mask(self, index: int) -> Bool[np.ndarray, "height width"]:
        """Returns one mask."""
        image = np.zeros(self.shape, bool)
        image.ravel()[self.pixels(index)] = True
        return image

    def pixels(self, index: int) -> Integer[np.ndarray, " pixels"]:
        """Returns the places of the pixels of one mask in the flattened image."""
        return self.masks.indices[self.masks.indptr[index] : self.masks.indptr[index + 1]]


class _Part(NamedTuple):
    """A mask cut out at its bounding box."""

    corner: tuple[int, int]
    mask: Bool[np.ndarray, "rows columns"]


@remembered
def propose(image: Float[np.ndarray, "height width"], *, diameter: float | int, limit: int = 10_000) -> Proposals:
    """Returns masks that might be cells: connected, without holes, nearly convex, and of a cell's size.

    Args:
        image: grey values, 0..1.
        diameter: of a median cell, pixels.
        limit: of the proposals; those with the strongest gradient at their border are kept.

    Raises:
        ValueError: for an image that is none, or a diameter or limit that is not positive.
    """
    check_image(image)
    if diameter <= 0 or limit < 1:
        raise ValueError(f"diameter and limit must be positive, not {diameter:g} and {limit}")
    image = image.astype(np.float32)
    area = np.pi / 4 * diameter**2
    low, high = max(_SMALLEST * area, 4), _LARGEST * area
    gradient = ndimage.gaussian_gradient_magnitude(image, _SMOOTHINGS[1] * diameter)
    families = [
        _from_levels(image, diameter, low, high),
        _from_merging(gradient, low, high),
        _from_segments(image, diameter, low, high),
    ]
    parts: dict[tuple[int, ...], _Part] = {}
    # A watershed of a constant has no regions at all.
    for family in families if image.min() < image.max() else []:
        for part in family:
            if low <= part.mask.sum() <= high:
                parts.setdefault(_rough_key(part, diameter), part)
    solid = [part for part in parts.values() if _solidity(part.mask) > _SOLID]
    ordered = sorted(solid, key=lambda part: _border_strength(part, gradient), reverse=True)
    masks = _matrix(ordered, image.shape)
    masks = masks[_unlike(masks)[:limit]]
    return Proposals(masks, masks.sum(axis=1).astype(np.float32), image.shape)


# Families


def _from_levels(image: Float32[np.ndarray, "height width"], diameter: float | int, low, high) -> Iterator[_Part]:
    """Yields the parts above quantiles of the smoothed image, its negative, gradient, texture and darkness."""
    around = ndimage.gaussian_filter(image, _SURROUNDINGS * diameter)
    opener = disk(round(_OPENING * diameter))
    for smoothing in _SMOOTHINGS:
        smooth = ndimage.gaussian_filter(image, smoothing * diameter)
        gradient = ndimage.gaussian_gradient_magnitude(image, smoothing * diameter)
        texture = ndimage.gaussian_filter(gradient, 2 * smoothing * diameter)
        for values in (smooth, -smooth, gradient, texture, around - smooth):
            for level in np.unique(np.quantile(values, np.linspace(0, 1, _LEVELS + 2)[1:-1])):
                above = values > level
                # Opened, cells that touch come apart.
                for mask in (above, ndimage.binary_opening(above, opener)):
                    yield from _parts(ndimage.label(mask)[0], low, high)


def _from_segments(
    image: Float32[np.ndarray, "height width"], diameter: float | int, low, high
) -> Iterator[_Part]:
    """Yields the segments of Felzenszwalb and Huttenlocher."""
    for scale in _SCALES:
        segments = felzenszwalb(image, scale=scale, sigma=_SMOOTHINGS[0] * diameter, min_size=int(low))
        yield from _parts(segments + 1, low, high)


def _parts(labels: Integer[np.ndarray, "height width"], low: float, high: float) -> Iterator[_Part]:
    """Yields the parts of a label image, holes filled, that are of a cell's size."""
    areas = np.bincount(labels.ravel())
    for label, window in enumerate(ndimage.find_objects(labels), start=1):
        # What is too small with its holes cannot be large enough; a ring may be.
        if window is None or areas[label] > high or np.prod([s.stop - s.start for s in window]) < low:
            continue
        mask = ndimage.binary_fill_holes(labels[window] == label)
        yield _Part((window[0].start, window[1].start), mask)


def _from_merging(gradient: Float32[np.ndarray, "height width"], low: float, high: float) -> Iterator[_Part]:
    """Yields the nodes of the tree in which regions of a watershed merge over their faintest borders."""
    regions = watershed(gradient).astype(np.int64) - 1
    order = np.argsort(regions.ravel(), kind="stable")
    pixels = dict(enumerate(np.split(order, np.cumsum(np.bincount(regions.ravel()))[:-1])))
    for first, second, node in merges(*_borders(regions, gradient), {i: len(p) for i, p in pixels.items()}, high):
        pixels[node] = np.concatenate([pixels.pop(first), pixels.pop(second)])
        if len(pixels[node]) >= low / 2:
            rows, columns = np.unravel_index(pixels[node], regions.shape)
            corner = int(rows.min()), int(columns.min())
            mask = np.zeros((rows.max() - corner[0] + 1, columns.max() - corner[1] + 1), bool)
            mask[rows - corner[0], columns - corner[1]] = True
            yield _Part(corner, ndimage.binary_fill_holes(mask))


def _borders(
    regions: Int64[np.ndarray, "height width"], gradient: Float32[np.ndarray, "height width"]
) -> tuple[Int[np.ndarray, "borders 2"], Float[np.ndarray, " borders"], Float[np.ndarray, " borders"]]:
    """Returns the pairs of adjacent regions, and of each border the sum of gradients and the length."""
    pairs, strengths = [], []
    for here, there in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        apart = regions[here] != regions[there]
        pairs.append(np.sort(np.stack([regions[here][apart], regions[there][apart]], axis=1), axis=1))
        strengths.append(np.maximum(gradient[here], gradient[there])[apart])
    borders, which = np.unique(np.concatenate(pairs), axis=0, return_inverse=True)
    which = which.ravel()
    return borders, np.bincount(which, np.concatenate(strengths), len(borders)), np.bincount(which) * 1.0


def merges(
    borders: Int[np.ndarray, "borders 2"],
    strengths: Float[np.ndarray, " borders"],
    lengths: Float[np.ndarray, " borders"],
    areas: dict[int, int],
    largest: float | int,
) -> Iterator[tuple[int, int, int]]:
    """Yields (region, region, new region) in the order in which regions merge, the faintest mean border first.

    Regions that would make one larger than any cell do not merge, so that background does not swallow what may
    still become a cell.

    Args:
        borders: the pairs of adjacent regions, by index.
        strengths: the sum of the gradients along each border.
        lengths: of each border, in pairs of pixels.
        areas: of each region, pixels; regions that arise are added, and merged ones taken away.
        largest: area of a merged region, pixels.
    """
    adjacent: dict[int, dict[int, tuple[float, float]]] = {region: {} for region in areas}
    queue: list[tuple[float, int, int]] = []
    for (first, second), strength, length in zip(
        borders.tolist(), strengths.tolist(), lengths.tolist(), strict=True
    ):
        adjacent[first][second] = adjacent[second][first] = strength, length
        queue.append((strength / length, first, second))
    heapq.heapify(queue)
    node = max(areas, default=-1)
    while queue:
        _, first, second = heapq.heappop(queue)
        if first not in areas or second not in areas or areas[first] + areas[second] > largest:
            continue
        node += 1
        areas[node] = areas.pop(first) + areas.pop(second)
        around = adjacent.pop(first)
        for other, (strength, length) in adjacent.pop(second).items():
            before = around.get(other, (0.0, 0.0))
            around[other] = before[0] + strength, before[1] + length
        around.pop(first), around.pop(second)
        for other, (strength, length) in around.items():
            adjacent[other].pop(first, None)
            adjacent[other].pop(second, None)
            adjacent[other][node] = strength, length
            heapq.heappush(queue, (strength / length, other, node))
        adjacent[node] = around
        yield first, second, node


# Choice


def _solidity(mask: Bool[np.ndarray, "rows columns"]) -> float:
    """Returns the share of its convex hull that a connected mask fills; pixels are squares."""
    rows, width = np.arange(len(mask)), mask.shape[1]
    starts, ends = mask.argmax(axis=1), width - mask[:, ::-1].argmax(axis=1)
    corners = [(rows + step, side) for step in (0, 1) for side in (starts, ends)]
    hull = ConvexHull(np.concatenate([np.stack(pair, axis=1) for pair in corners]))
    return mask.sum() / hull.volume  # in two dimensions the volume is the area


def _rough_key(part: _Part, diameter: float | int) -> tuple[int, ...]:
    """Returns what two parts share that differ by next to nothing; the first of such is enough."""
    step = max(diameter / 16, 1)
    (row, column), (height, width) = part.corner, part.mask.shape
    box = (int(value / step) for value in (row, column, row + height, column + width))
    return (*box, int(np.log(part.mask.sum()) / -np.log(_ALIKE)))


def _border_strength(part: _Part, gradient: Float32[np.ndarray, "height width"]) -> float:
    """Returns the mean gradient on the border of a part."""
    inside = ndimage.binary_erosion(part.mask)
    window = tuple(slice(start, start + n) for start, n in zip(part.corner, part.mask.shape, strict=True))
    return float(gradient[window][part.mask & ~inside].mean())


def _matrix(parts: list[_Part], shape: tuple[int, int]) -> sparse.csr_array:
    """Returns the masks of parts as the rows of a matrix."""
    pixels = []
    for (row, column), mask in parts:
        rows, columns = np.nonzero(mask)
        pixels.append((rows + row) * shape[1] + columns + column)
    ends = np.cumsum([0, *(len(part) for part in pixels)])
    places = np.concatenate(pixels).astype(np.int32) if pixels else np.zeros(0, np.int32)
    size = len(parts), shape[0] * shape[1]
    return sparse.csr_array((np.ones(len(places), np.float32), places, ends.astype(np.int32)), shape=size)


def _unlike(masks: sparse.csr_array) -> Int[np.ndarray, " kept"]:
    """Returns the rows that are not nearly equal to an earlier one that is kept."""
    overlap = sparse.coo_array(masks @ masks.T)
    first, second = overlap.coords
    areas = masks.sum(axis=1)
    alike = overlap.data > _ALIKE * (areas[first] + areas[second] - overlap.data)
    dropped = np.zeros(masks.shape[0], bool)
    pairs = np.stack([first, second], axis=1)[alike & (first < second)]
    for one, other in pairs[np.lexsort(pairs.T[::-1])].tolist():
        dropped[other] |= not dropped[one]
    return np.flatnonzero(~dropped)
