"""Between the pixels of an image as given and the pixels that the network sees."""

import numpy as np
from jaxtyping import Float, Float32, Float64, Int, Int32, Real
from scipy import ndimage
from skimage.transform import resize

# Above one half no two cells can claim a pixel; a little more, since cuts run on the outer flank of a rim.
_LEVEL = 0.6


def scaled_shape(shape: tuple[int, int], scale: float) -> tuple[int, int]:
    """Returns the (height, width) that an image has after `resize_image`; at least 1 × 1."""
    return max(round(shape[0] * scale), 1), max(round(shape[1] * scale), 1)


def resize_image(
    image: Float[np.ndarray, "height width"], scale: float
) -> Float32[np.ndarray, "scaled_height scaled_width"]:
    """Returns the image at `scale` times its size, smoothed before it is made smaller."""
    if scale == 1:
        return image.astype(np.float32)
    shape = scaled_shape(image.shape, scale)
    return resize(image.astype(np.float32), shape, order=1, mode="reflect", anti_aliasing=scale < 1)


def scale_points(points: Real[np.ndarray, "points 2"], scale: float) -> Float64[np.ndarray, "points 2"]:
    """Returns the points of an image in the pixels of the same image at `scale` times its size.

    A pixel centre is at an integer, so the image's corner is at (-0.5, -0.5) in both and stays where it is.
    """
    return (np.asarray(points, np.float64) + 0.5) * scale - 0.5


def resize_labels(
    labels: Int[np.ndarray, "height width"], shape: tuple[int, int]
) -> Int32[np.ndarray, "new_height new_width"]:
    """Returns the label image at another size, every pixel taking the label of the nearest old one."""
    if labels.shape == shape:
        return labels.astype(np.int32)
    rows, columns = (
        np.minimum((np.arange(new) + 0.5) * old / new, old - 1).astype(np.intp)
        for new, old in zip(shape, labels.shape, strict=True)
    )
    return labels[np.ix_(rows, columns)].astype(np.int32)


def smooth_labels(
    labels: Int[np.ndarray, "height width"],
    peaks: Int[np.ndarray, "cells 2"],
    shape: tuple[int, int],
    *,
    blur: float,
) -> Int32[np.ndarray, "new_height new_width"]:
    """Returns the label image at another size, with outlines as smooth as if they had been drawn there.

    Every cell is blurred alone and has the pixels where more than 0.6 of it is left, as far as they hang together
    with its peak: steps of single pixels go, and so does a margin of about a fourth of the blur. A cell that would
    lose its peak, being thinner than the blur, is what `resize_labels` makes of it.

    Args:
        labels: 0 for background, i + 1 for the cell of `peaks[i]`.
        peaks: (row, column) in pixels of `labels`.
        shape: (height, width) of the result.
        blur: standard deviation in pixels of `labels`; above 0.
    """
    nearest = resize_labels(labels, shape)
    smooth = np.zeros(shape, np.int32)
    ratio = np.array(shape) / np.array(labels.shape)
    places = np.clip(np.round((peaks + 0.5) * ratio - 0.5).astype(int), 0, np.array(shape) - 1)
    pad, thin = int(np.ceil(3 * blur)) + 1, []
    for label, window in enumerate(ndimage.find_objects(labels), start=1):
        if window is None:
            continue
        low = np.array([max(side.start - pad, 0) for side in window])
        high = np.minimum([side.stop + pad for side in window], labels.shape)
        around = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        share = ndimage.gaussian_filter((labels[around] == label).astype(np.float32), blur, mode="nearest")
        first, last = np.ceil(low * ratio).astype(int), np.minimum((high * ratio).astype(int), shape)
        sides = zip(first, last, ratio, low, strict=True)
        grid = [(np.arange(a, b) + 0.5) / k - 0.5 - n for a, b, k, n in sides]
        share = ndimage.map_coordinates(share, np.meshgrid(*grid, indexing="ij"), order=1, mode="nearest")
        there = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
        parts, _ = ndimage.label(share > _LEVEL, np.ones((3, 3)))
        row, column = places[label - 1] - first
        inside = 0 <= row < parts.shape[0] and 0 <= column < parts.shape[1]
        if own := parts[row, column] if inside else 0:
            smooth[there][parts == own] = label
        else:
            thin.append(label)
    # Last, so that it does not matter which cell comes first: what is left of others lies beside these.
    return np.where(np.isin(nearest, thin), nearest, smooth)
