"""GrabCut (Rother, Kolmogorov, Blake 2004): the object in a box, from the box alone."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int
from scipy import ndimage

from experiments.baselines.boxes import inside_boxes, window_of
from wsis_jax.cutting import cut

_COMPONENTS = 5  # of each mixture, as in the paper
# Gamma; 50 in the paper, whose objects are hundreds of pixels wide. An outline costs by its length but pays by its
# area: at 50 the cut drops many a cell of 32 pixels altogether.
_SMOOTHNESS = 5.0
_CONTEXT = 0.25  # width of the strip around a box that shows what background looks like, as a share of its side
_LEAST_VARIANCE = 1e-4  # of grey values and local deviations, which are 0..1: one grey level in a hundred


class _Mixture(NamedTuple):
    """A mixture of Gaussians: by component its share, mean, precision, and the determinant's logarithm."""

    share: Float64[np.ndarray, " components"]
    mean: Float64[np.ndarray, "components features"]
    precision: Float64[np.ndarray, "components features features"]
    log_determinant: Float64[np.ndarray, " components"]

    def log_terms(
        self, values: Float64[np.ndarray, "pixels features"]
    ) -> Float64[np.ndarray, "components pixels"]:
        """Returns log(share · density) of each component, but for a constant."""
        offsets = values[None] - self.mean[:, None]
        distance = np.einsum("cpi,cij,cpj->cp", offsets, self.precision, offsets, optimize=True)
        return (np.log(self.share) - self.log_determinant / 2)[:, None] - distance / 2


def features(
    image: Float[np.ndarray, "height width"], *, sigma: float | int
) -> Float64[np.ndarray, "height width 2"]:
    """Returns the grey value and the local standard deviation, in a Gaussian window of `sigma` pixels.

    The deviation is the smallest within that distance: the outline of an object would else lend its deviation to
    the background around it, and be taken for the object.
    """
    grey = image.astype(np.float64)
    mean = ndimage.gaussian_filter(grey, sigma)
    variance = ndimage.gaussian_filter(grey**2, sigma) - mean**2
    deviation = ndimage.minimum_filter(np.sqrt(np.maximum(variance, 0)), 2 * int(np.ceil(sigma)) + 1)
    return np.stack([grey, deviation], axis=-1)


def grab_all(
    image: Float[np.ndarray, "height width"],
    boxes: Int[np.ndarray, "cells 4"],
    *,
    sigma: float | int,
    rounds: int = 5,
) -> list[Bool[np.ndarray, "_ _"]]:
    """Returns the object in each box, as masks of the boxes' sizes.

    Background is learnt from the strip around a box, without what lies in other boxes: much of it is cell.
    The outermost pixels of the box belong to it, too, unless they lie on the image's border.

    Args:
        image: grey values, 0..1.
        boxes: of the cells.
        sigma: of the window of the local standard deviation, pixels.
        rounds: of fitting both mixtures and cutting.
    """
    values, elsewhere = features(image, sigma=sigma), ~inside_boxes(boxes, image.shape)
    masks = []
    for box in boxes:
        outer = window_of(box, image.shape, margin=int(np.ceil(_CONTEXT * max(box[2:] - box[:2]))))
        inside = np.zeros_like(elsewhere[outer])
        inside[_within(box, outer)] = True
        allowed = ndimage.binary_erosion(inside, border_value=True)
        mask = grab(values[outer], allowed, known=elsewhere[outer] | inside, rounds=rounds)
        masks.append(mask[_within(box, outer)])
    return masks


def grab(
    values: Float64[np.ndarray, "height width features"],
    allowed: Bool[np.ndarray, "height width"],
    *,
    known: Bool[np.ndarray, "height width"],
    rounds: int,
) -> Bool[np.ndarray, "height width"]:
    """Returns the object in a frame: all that is allowed at first, then what the mixtures and the cut leave of it.

    Args:
        values: features of the pixels; the first is the grey value that outlines follow.
        allowed: pixels that may be the object; all others are background.
        known: pixels that the mixtures are fitted to.
        rounds: of fitting and cutting, at most; it ends when nothing changes or nothing is left.
    """
    known = known if (known & ~allowed).any() else np.ones_like(known)
    right, down = _edges(values[..., 0])
    mask, pixels = allowed, values.reshape(-1, values.shape[-1])
    both: list[_Mixture | None] = [None, None]
    for _ in range(rounds):
        groups = pixels[(mask & known).ravel()], pixels[(~mask & known).ravel()]
        if min(map(len, groups)) < 2 * _COMPONENTS:
            return mask
        both = [_fitted(group, mixture) for group, mixture in zip(groups, both, strict=True)]
        cell, ground = (_log_density(pixels, mixture) for mixture in both if mixture)
        new = cut((cell - ground).reshape(mask.shape), right, down, np.zeros_like(mask), ~allowed)
        if np.array_equal(new, mask):
            return mask
        mask = new
    return mask


def _within(box: Int[np.ndarray, "4"], outer: tuple[slice, slice]) -> tuple[slice, slice]:
    """Returns where a box lies in a window that holds it."""
    top, left = outer[0].start, outer[1].start
    return slice(int(box[0]) - top, int(box[2]) - top), slice(int(box[1]) - left, int(box[3]) - left)


def _fitted(values: Float64[np.ndarray, "pixels features"], before: _Mixture | None) -> _Mixture:
    """Returns a mixture fitted to pixels, each of which counts for its likeliest component alone.

    At first the components share the pixels in the order of grey values, alike.
    """
    if before is None:
        rank = np.argsort(np.argsort(values[:, 0], kind="stable"), kind="stable")
        component = rank * _COMPONENTS // len(values)
    else:
        component = np.argmax(before.log_terms(values), axis=0)
    member = np.equal.outer(np.arange(_COMPONENTS), component).astype(np.float64)
    count = member.sum(axis=1)
    mean = member @ values / np.maximum(count, 1)[:, None]
    products = np.einsum("pi,pj->pij", values, values).reshape(len(values), -1)
    size = values.shape[1]
    second = (member @ products / np.maximum(count, 1)[:, None]).reshape(-1, size, size)
    covariance = second - mean[:, :, None] * mean[:, None, :] + _LEAST_VARIANCE * np.eye(size)
    # A component that lost all its pixels stays out of it: a share of next to nothing.
    share = np.maximum(count, 1e-6) / count.sum()
    return _Mixture(share, mean, np.linalg.inv(covariance), np.linalg.slogdet(covariance)[1])


def _log_density(
    values: Float64[np.ndarray, "pixels features"], mixture: _Mixture
) -> Float64[np.ndarray, " pixels"]:
    """Returns the logarithm of a mixture's density, but for a constant that all mixtures share."""
    return np.logaddexp.reduce(mixture.log_terms(values), axis=0)


def _edges(
    grey: Float64[np.ndarray, "height width"],
) -> tuple[Float64[np.ndarray, "height width"], Float64[np.ndarray, "height width"]]:
    """Returns what cuts to the right and down cost: gamma exp(-d² / (2 mean d²)), d the step in grey value."""
    steps = [np.diff(grey, axis=axis, append=np.take(grey, [-1], axis=axis)) ** 2 for axis in (1, 0)]
    mean = np.mean(steps)
    right, down = (_SMOOTHNESS * np.exp(-step / (2 * mean) if mean else -step) for step in steps)
    return right, down
