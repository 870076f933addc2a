"""Between the pixels of an image as given and the pixels that the network sees."""

import numpy as np
from jaxtyping import Float, Float32, Float64, Int, Int32, Real
from scipy import ndimage
from skimage.transform import resize

from wsis_jax.core.windows import whole_window

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


def resize_part(
    image: Float32[np.ndarray, "rows columns"],
    shape: tuple[int, int],
    part: tuple[slice, slice],
    *,
    whole: tuple[int, int],
    corner: tuple[int, int],
) -> Float32[np.ndarray, "part_rows part_columns"]:
    """Returns a part of what `resize_image` makes of an image, from the part of the image that it takes.

    Args:
        image: grey values 0..1, all that `part_before_resizing` says.
        shape: (height, width) of the whole image resized.
        part: which rows and columns of that to return.
        whole: (height, width) of the whole image.
        corner: (row, column) where in it `image` begins.
    """
    if shape == whole:
        rows, columns = (slice(s.start - c, s.stop - c) for s, c in zip(part, corner, strict=True))
        return image[rows, columns]
    factors = np.divide(whole, shape)
    if (factors > 1).any():
        image = ndimage.gaussian_filter(image, np.maximum(0, (factors - 1) / 2), mode="mirror")
    # Whole pixels are taken off after the place is computed, so that it is the very same within its pixel.
    places = [
        (np.arange(s.start, s.stop) + 0.5) * k - 0.5 - c for s, k, c in zip(part, factors, corner, strict=True)
    ]
    return ndimage.map_coordinates(image, np.meshgrid(*places, indexing="ij"), order=1, mode="mirror").clip(0, 1)


def part_before_resizing(
    shape: tuple[int, int], part: tuple[slice, slice], *, whole: tuple[int, int]
) -> tuple[slice, slice]:
    """Returns which rows and columns of an image `resize_part` takes for a part; arguments are its own."""
    if shape == whole:
        return part
    rows, columns = (
        slice(
            max(int((s.start + 0.5) * k - 0.5) - _taps(k) - 1, 0),
            min(int(np.ceil((s.stop - 0.5) * k - 0.5)) + _taps(k) + 2, n),
        )
        for s, k, n in zip(part, np.divide(whole, shape), whole, strict=True)
    )
    return rows, columns


def _taps(factor: float) -> int:
    """Returns how many pixels away smoothing looks before an image is made smaller by a factor."""
    return int(4 * max(factor - 1, 0) / 2 + 0.5)


def scale_points(points: Real[np.ndarray, "points 2"], scale: float) -> Float64[np.ndarray, "points 2"]:
    """Returns the points of an image in the pixels of the same image at `scale` times its size.

    A pixel centre is at an integer, so the image's corner is at (-0.5, -0.5) in both and stays where it is.
    """
    return (np.asarray(points, np.float64) + 0.5) * scale - 0.5


def resize_labels(
    labels: Int[np.ndarray, "height width"], shape: tuple[int, int]
) -> Int32[np.ndarray, "new_height new_width"]:
    """Returns the label image at another size, every pixel taking the label of the nearest old one."""
    return resize_labels_part(labels, shape, whole_window(shape), whole=labels.shape, corner=(0, 0))


def resize_labels_part(
    labels: Int[np.ndarray, "rows columns"],
    shape: tuple[int, int],
    part: tuple[slice, slice],
    *,
    whole: tuple[int, int],
    corner: tuple[int, int],
) -> Int32[np.ndarray, "part_rows part_columns"]:
    """Returns a part of what `resize_labels` makes of a label image, from a part of that.

    Args:
        labels: a part of the label image that holds all that `part` shows.
        shape: (height, width) of the whole label image at its new size.
        part: which rows and columns of that to return.
        whole: (height, width) of the whole label image.
        corner: (row, column) where in it `labels` begins.
    """
    rows, columns = (
        _nearest(np.arange(s.start, s.stop), old, new) - c
        for s, new, old, c in zip(part, shape, whole, corner, strict=True)
    )
    return labels[np.ix_(rows, columns)].astype(np.int32)


def part_resized_from(
    block: tuple[slice, slice], shape: tuple[int, int], *, whole: tuple[int, int]
) -> tuple[slice, slice]:
    """Returns which rows and columns of a label image at a new size are those that a block of it has.

    The parts of blocks that cover a label image cover the new one, and do not overlap.

    Args:
        block: rows and columns of the label image.
        shape: its (height, width) at the new size, as `resize_labels_part` takes it.
        whole: (height, width) that it has.
    """
    rows, columns = (
        slice(*np.searchsorted(_nearest(np.arange(new), old, new), (side.start, side.stop)).tolist())
        for side, new, old in zip(block, shape, whole, strict=True)
    )
    return rows, columns


def _nearest(rows: Int[np.ndarray, " rows"], old: int, new: int) -> Int[np.ndarray, " rows"]:
    """Returns which of `old` rows, or columns, each of `new` ones is taken from by `resize_labels`; they rise."""
    return np.minimum((rows + 0.5) * old / new, old - 1).astype(np.intp)


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
    return smooth_part(labels, peaks, shape, whole_window(shape), blur=blur, whole=labels.shape, corner=(0, 0))


def smooth_part(
    labels: Int[np.ndarray, "rows columns"],
    peaks: Int[np.ndarray, "cells 2"],
    shape: tuple[int, int],
    part: tuple[slice, slice],
    *,
    blur: float,
    whole: tuple[int, int],
    corner: tuple[int, int],
) -> Int32[np.ndarray, "part_rows part_columns"]:
    """Returns a part of what `smooth_labels` makes of a label image, from a part of that.

    Args:
        labels: a part of the label image; it holds the whole of all cells of which `part` shows anything, and
            3 blurs and 2 pixels around them, as far as the label image goes.
        peaks: of the cells, in pixels of the whole label image.
        shape, part, whole, corner: as in `resize_labels_part`.
        blur: as in `smooth_labels`.
    """
    nearest = resize_labels_part(labels, shape, part, whole=whole, corner=corner)
    smooth = np.zeros(nearest.shape, np.int32)
    begin, end = (np.array([getattr(side, name) for side in part]) for name in ("start", "stop"))
    ratio = np.array(shape) / np.array(whole)
    places = np.clip(np.round((peaks + 0.5) * ratio - 0.5).astype(int), 0, np.array(shape) - 1)
    pad, thin = int(np.ceil(3 * blur)) + 1, []
    for label, window in enumerate(ndimage.find_objects(labels), start=1):
        if window is None:
            continue
        low = np.array([max(side.start - pad, 0) for side in window])
        high = np.minimum([side.stop + pad for side in window], labels.shape)
        around = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        low, high = low + corner, high + corner
        first, last = np.ceil(low * ratio).astype(int), np.minimum((high * ratio).astype(int), shape)
        if (first >= end).any() or (last <= begin).any():
            continue
        share = ndimage.gaussian_filter((labels[around] == label).astype(np.float32), blur, mode="nearest")
        sides = zip(first, last, ratio, low, strict=True)
        grid = [(np.arange(a, b) + 0.5) / k - 0.5 - n for a, b, k, n in sides]
        share = ndimage.map_coordinates(share, np.meshgrid(*grid, indexing="ij"), order=1, mode="nearest")
        parts, _ = ndimage.label(share > _LEVEL, np.ones((3, 3)))
        row, column = places[label - 1] - first
        inside = 0 <= row < parts.shape[0] and 0 <= column < parts.shape[1]
        if own := parts[row, column] if inside else 0:
            shown = np.argwhere(parts == own) + first
            shown = shown[((shown >= begin) & (shown < end)).all(1)] - begin
            smooth[tuple(shown.T)] = label
        else:
            thin.append(label)
    # Last, so that it does not matter which cell comes first: what is left of others lies beside these.
    return np.where(np.isin(nearest, thin), nearest, smooth)
