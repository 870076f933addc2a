"""Finds nuclei in an image of a nuclear stain: their centres can replace clicks on the cells.

A nucleus is a bright region that is nearly an ellipse, of about the size of the others. Such regions are looked
for among the components above all thresholds (`component_tree`), so that each nucleus has a threshold of its
own: bright ones, faint ones, and ones in stained cytoplasm. Nothing was learnt; everything is estimated from the
image: the background, the size of the nuclei and how much they stand out.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Real
from scipy import ndimage

from wsis_jax.core import UserError
from wsis_jax.points.component_tree import ComponentTree, best_components, component_tree, pixels_of

_Map = Float64[np.ndarray, "height width"]
_Mask = Bool[np.ndarray, "height width"]
_Points = Float64[np.ndarray, "nuclei 2"]
_Values = Float64[np.ndarray, " nuclei"]

# Lengths without a unit are in typical diameters of a nucleus. Numbers with no other reason beside them were
# chosen on half of the images of `experiments/nuclei.py`.
_BACKGROUND = 1.0  # percentile of the smoothed image: nuclei may cover most of it
_LINEAR = 0.3  # × the brightness of nuclei: up to there the compressed values are about linear
_THRESHOLDS = 48
_ROUND = 6.0  # exponent of the ellipticity in the quality; two touching discs, 0.89, have half that of one
_SPREAD = 0.8  # octaves, deviation of the diameters in the quality
_LARGEST = 2.0  # diameter of a nucleus
_SMALLEST = 0.35
_LONGEST = 5.0  # aspect
_ROUNDS = ((0.3, 1), (0.4, 2))  # the least quality of a nucleus in a round, and that every such threshold is tried
_RIM = 0.12  # what is taken away around the nuclei of the first round: their blurred edges
_LEAST_RIM = 2.0  # pixels, added to that
_HOLE = 0.25  # diameter of holes that are filled: nucleoli
_GRAIN = 0.05  # sigma of the smoothing that removes grains
_LEAST_GRAIN = 0.7  # the same in pixels, against noise
_STEP = 0.04  # of depth, where nuclei are parted by shape
_WORKING = 24.0  # pixels, the greatest typical diameter in the image that is worked on
_CLEAR = 4.0  # × the deviation of the noise, from the threshold of a region to its brightest pixel
_FINE = 2.55  # × the median of what a smoothing by one pixel takes away: the deviation of normal, white noise
_RISES = 2.0  # × the deviation of the background that a nucleus rises above it; the highest of blurred noise does
_SURE = 2.5  # the same of the median nucleus
_INSIDE = 0.1  # sigma of the smoothing before the height is read at the centre of a nucleus
_RANGE = 1e3  # greatest ratio of the brightest pixel to that deviation: the least one that is assumed
_FAINT = 0.2  # × the height of the median nucleus; cytoplasm, which takes up some stain, stays below

_OCTAVE = (7.0, 14.0)  # pixels, the diameters looked at before the image is halved
_LEAST_DIAMETER = 4.0  # pixels
_FILLS = 0.4  # × the shorter side of the image, the greatest diameter that is estimated
_BINS = 16  # an octave, of the histogram of diameters
_BLUR = 0.35  # octaves, of the same
_WIDENED = 0.87  # × the most frequent diameter of components: many thresholds are low, where edges are blurred


class Nuclei(NamedTuple):
    """The nuclei of an image, sorted by falling contrast.

    Attributes:
        points: (row, column) of the centres, to a fraction of a pixel.
        diameters: in pixels, of the discs of the same areas; some are too large, since blur widens the edges.
        contrasts: height above the background divided by that of the median nucleus, 0.2..1; greater ones are 1.
            Heights are compressed: linear in what is faint, logarithmic in what is bright.
    """

    points: _Points
    diameters: _Values
    contrasts: _Values


_NONE = Nuclei(np.empty((0, 2)), np.empty(0), np.empty(0))


def find_nuclei(stain: Real[np.ndarray, "height width"], *, diameter: float | int | None = None) -> Nuclei:
    """Finds the nuclei in an image of a nuclear stain.

    1. Grey values are compressed, and the typical diameter is the most frequent one among elliptic components.
    2. Of the components above 46 thresholds those are chosen that are most like ellipses of that size, each
       instead of its parts or the parts instead of it. A dim nucleus that touches a bright one is in no component
       without it, so the chosen ones are taken out and the rest is searched again.
    3. What was chosen is parted by shape in the same way: by depths within it, instead of thresholds.
    4. Nuclei are dropped if they rise little above the background, compared with how it varies and with the
       others.

    Args:
        stain: Finite grey values of any range; nuclei are bright. Multiplying them by a constant or adding one
            changes nothing.
        diameter: Typical diameter of a nucleus, in pixels; None to estimate it from the image, which needs nuclei
            of 5 pixels at least and two fifths of the image's shorter side at most.

    Returns:
        The nuclei, with what is seen of those cut by the border; none if there is only background.

    Raises:
        UserError: If `stain` holds NaN or infinite values, or `diameter` is not above 0 or exceeds the image.
    """
    if not np.isfinite(stain).all():
        raise UserError("stain holds NaN or infinite values; replace them by numbers")
    if diameter is not None and not 0 < diameter <= max(stain.shape):
        raise UserError(
            f"diameter must be above 0 and at most the longer side, {max(stain.shape)}, not {diameter}"
            "; give that of a nucleus in pixels"
        )
    contrast = _compress(stain.astype(np.float64)) if stain.size else None
    if contrast is None:
        return _NONE
    noise = _noise(contrast)
    typical = _typical_diameter(contrast, noise) if diameter is None else diameter
    if typical is None:
        return _NONE
    factor, offset = 1.0, np.zeros(2)  # a place p of the halved image is at factor × p + offset
    while typical > factor * _WORKING:
        offset += factor * np.where(np.array(contrast.shape) % 2, 0.0, 0.5)
        contrast, factor = _halved(contrast), 2 * factor
    found = _find(contrast, typical / factor, noise / factor)
    return Nuclei(offset + factor * found.points, factor * found.diameters, found.contrasts)


def _compress(values: _Map) -> _Map | None:
    """Returns asinh of the height above the background, in units of a part of the height of nuclei, or None.

    That height is the mean of all heights, weighted by themselves, which a wide background hardly changes. The
    median of 3 × 3 pixels removes single bright ones; None means that nothing else is there.
    """
    values = ndimage.median_filter(values, 3)
    smooth = ndimage.gaussian_filter(values, 1.0)
    background = np.percentile(smooth, _BACKGROUND)
    heights = np.maximum(smooth - background, 0.0)
    if not heights.any():
        return None
    return np.arcsinh((values - background) / (_LINEAR * (heights**2).sum() / heights.sum()))


def _thresholds(image: _Map, count: int) -> Float64[np.ndarray, " thresholds"]:
    """Returns evenly spaced thresholds between the least and the greatest value."""
    return np.linspace(image.min(), image.max(), count)[1:-1]


def _typical_diameter(contrast: _Map, noise: float) -> float | None:
    """Returns the diameter of a typical nucleus in pixels, or None if no component is like one.

    It is the mode of the diameters of elliptic components at all thresholds, weighted by area. A nucleus has a
    sharp edge, so that it has about the same diameter at many thresholds; grains are small, clusters are no
    ellipses. The image is halved from octave to octave.
    """
    edges = np.arange(1.0, 12.0, 1 / _BINS)  # log2 of the diameters
    counts, factor, side = np.zeros(len(edges) - 1), 1.0, min(contrast.shape)
    while min(contrast.shape) >= _OCTAVE[0]:
        smooth = ndimage.gaussian_filter(contrast, _LEAST_GRAIN)
        least = _OCTAVE[0] if factor > 1 else _LEAST_DIAMETER
        tree = component_tree(smooth, _thresholds(smooth, _THRESHOLDS // 2), least_area=np.pi / 4 * least**2)
        fits = (tree.diameters < _OCTAVE[1]) & (factor * tree.diameters <= _FILLS * side)
        fits &= tree.rises >= _CLEAR * noise / factor
        weights = factor * tree.diameters * tree.ellipticities**_ROUND * (tree.aspects <= _LONGEST)
        counts += np.histogram(np.log2(factor * tree.diameters[fits]), edges, weights=weights[fits])[0]
        contrast, factor = _halved(contrast), 2 * factor
    if not counts.any():
        return None
    mode = ndimage.gaussian_filter1d(counts, _BLUR * _BINS, mode="constant").argmax()
    return _WIDENED * 2.0 ** float(edges[mode : mode + 2].mean())


def _noise(contrast: _Map) -> float:
    """Returns the deviation of the noise that is left after the least smoothing: of what is finer than nuclei."""
    smooth = ndimage.gaussian_filter(contrast, _LEAST_GRAIN)
    return _FINE * float(np.median(np.abs(smooth - ndimage.gaussian_filter(smooth, 1.0))))


def _halved(image: _Map) -> Float64[np.ndarray, "half_height half_width"]:
    """Returns an image of half the sides, rounded up; halving commutes with flipping.

    Along an even side, pairs of pixels are averaged. Along an odd one, every other pixel is kept, the first and
    the last among them, each averaged with half of its neighbours.
    """
    for axis, side in enumerate(image.shape):
        weights, origin = ([0.25, 0.5, 0.25], 0) if side % 2 else ([0.5, 0.5], -1)
        image = ndimage.correlate1d(image, weights, axis, origin=origin).take(range(0, side, 2), axis)
    return image


def _find(contrast: _Map, typical: float, noise: float) -> Nuclei:
    """Finds the nuclei in a compressed image in which a typical one has at most about `_WORKING` pixels."""
    smooth = ndimage.gaussian_filter(contrast, max(_GRAIN * typical, _LEAST_GRAIN))
    thresholds, left, taken, parts = _thresholds(smooth, _THRESHOLDS), smooth, np.zeros(smooth.shape, bool), []
    for least_quality, every in _ROUNDS:
        regions = _elliptic_regions(left, thresholds[::every], typical, least_quality, _CLEAR * noise)
        if regions.any():
            parts.append(_part_by_shape(regions, typical))
            taken |= ndimage.distance_transform_edt(~regions) <= _RIM * typical + _LEAST_RIM
            left = np.where(taken, smooth.min(), smooth)
    if not parts:
        return _NONE
    points, diameters = (np.concatenate(part) for part in zip(*parts, strict=True))
    heights, deviation = _heights(smooth, taken, points, typical)
    points, diameters, heights = (part[heights > _RISES * deviation] for part in (points, diameters, heights))
    if not len(points):
        return _NONE
    contrasts = heights / np.median(heights)
    kept = (contrasts > _FAINT) & bool(np.median(heights) > _SURE * deviation)
    order = np.argsort(-contrasts[kept], kind="stable")
    return Nuclei(points[kept][order], diameters[kept][order], np.minimum(contrasts[kept][order], 1.0))


def _elliptic_regions(
    image: _Map,
    thresholds: Float64[np.ndarray, " thresholds"],
    typical: float,
    least_quality: float,
    least_rise: float,
) -> _Mask:
    """Returns the pixels of the components most like nuclei, without small holes; no two of them touch."""
    tree = component_tree(image, thresholds, least_area=np.pi / 4 * (_SMALLEST * typical) ** 2)
    quality = _quality(tree, tree.diameters, typical) * (tree.rises >= least_rise)
    mask = pixels_of(tree, best_components(tree, quality) & (quality > least_quality))
    holes, count = ndimage.label(~mask, np.ones((3, 3)))
    small = np.bincount(holes.ravel(), minlength=count + 1) < np.pi / 4 * (_HOLE * typical) ** 2
    return mask | small[holes]


def _quality(tree: ComponentTree, diameters: _Values, typical: float) -> _Values:
    """Returns how much each component is like an ellipse of the typical size, 0..1."""
    possible = (diameters <= _LARGEST * typical) & (tree.aspects <= _LONGEST)
    octaves = np.log2(diameters / typical)
    return possible * tree.ellipticities**_ROUND * np.exp(-0.5 * (octaves / _SPREAD) ** 2)


def _part_by_shape(regions: _Mask, typical: float) -> tuple[_Points, _Values]:
    """Parts regions at their necks, and returns centres and diameters of the parts.

    A part is a component of the pixels deeper within than some depth, so that its diameter is twice that depth
    more. The parts of a region share its area. The border of the image is not an edge: a nucleus that it cuts
    goes on.
    """
    depth = ndimage.distance_transform_edt(np.pad(regions, 1, mode="edge"))[1:-1, 1:-1]
    depth = regions * ndimage.gaussian_filter(depth, _STEP * typical)
    tree = component_tree(depth, np.arange(0.0, depth.max(), _STEP * typical), least_area=3.0)
    diameters = tree.diameters + 2 * tree.thresholds
    chosen = best_components(tree, _quality(tree, diameters, typical))
    roots = tree.roots[chosen]
    together = np.bincount(roots, diameters[chosen] ** 2, len(diameters))
    return tree.centres[chosen], diameters[chosen] * tree.diameters[roots] / np.sqrt(together[roots])


def _heights(smooth: _Map, taken: _Mask, points: _Points, typical: float) -> tuple[_Values, float]:
    """Returns how far the nuclei rise above the background, and the deviation of the background.

    The background is what is not taken. Its deviation is that of the values below its median: above it there may
    be nuclei that were not found, and the blur of those that were.
    """
    outside = smooth[~taken]
    level = np.median(outside) if outside.size else smooth.min()
    below = level - outside[outside <= level]
    deviation = 1.4826 * np.median(below) if below.size else 0.0  # of normal noise, from the median deviation
    inside = ndimage.gaussian_filter(smooth, _INSIDE * typical)
    heights = ndimage.map_coordinates(inside, points.T, order=1, mode="nearest") - level
    return heights, max(float(deviation), float(np.ptp(smooth)) / _RANGE)
