"""Boxes of cells: of a fixed size around points, or those of masks.

A box is (first row, first column, row past the last, column past the last), in pixels.
"""

import numpy as np
from jaxtyping import Bool, Int, Int64, Integer, Real
from scipy import ndimage
from scipy.spatial import KDTree

from experiments.baselines.common import check_points, to_pixels


def boxes_around(
    points: Real[np.ndarray, "cells 2"], shape: tuple[int, int], *, side: float | int
) -> Int64[np.ndarray, "cells 4"]:
    """Returns a square around every point, cut off half way to its neighbours and at the image's border.

    A neighbour that lies more above or below than beside cuts horizontally, and else vertically; so no two boxes
    overlap. All hold the pixel of their point, even where that is another point's too.

    Args:
        points: (row, column).
        shape: of the image.
        side: of an uncut square, pixels.
    """
    places = check_points(points, shape).astype(np.float64)
    reach = np.full((len(places), 2, 2), side / 2)  # by axis, towards lower and towards higher coordinates
    pairs = KDTree(places).query_pairs(side, p=np.inf, output_type="ndarray") if len(places) else []
    first, second = np.reshape(pairs, (-1, 2)).astype(np.int64).T
    between = places[second] - places[first]
    axis = np.argmax(np.abs(between), axis=1)
    along = np.take_along_axis(between, axis[:, None], axis=1)[:, 0]
    higher = (along >= 0).astype(np.int64)
    np.minimum.at(reach, (first, axis, higher), np.abs(along) / 2)
    np.minimum.at(reach, (second, axis, 1 - higher), np.abs(along) / 2)
    # Rounded first: what is half way from either side must fall on the same pixel.
    start = np.ceil(np.round(places - reach[..., 0], 6)).astype(np.int64)
    stop = np.ceil(np.round(places + reach[..., 1], 6)).astype(np.int64)
    pixels = to_pixels(places, shape)
    start = np.maximum(np.minimum(start, pixels), 0)
    stop = np.minimum(np.maximum(stop, pixels + 1), shape)
    return np.concatenate([start, stop], axis=1)


def boxes_of(labels: Integer[np.ndarray, "height width"]) -> Int64[np.ndarray, "cells 4"]:
    """Returns the smallest box around each cell of a label image, in the order of labels."""
    windows = [window for window in ndimage.find_objects(labels) if window is not None]
    corners = [(rows.start, columns.start, rows.stop, columns.stop) for rows, columns in windows]
    return np.array(corners, np.int64).reshape(-1, 4)


def window_of(box: Int[np.ndarray, "4"], shape: tuple[int, int], *, margin: int = 0) -> tuple[slice, slice]:
    """Returns the part of an image that a box and a margin around it, in pixels, take."""
    top, left = np.maximum(box[:2] - margin, 0)
    bottom, right = np.minimum(box[2:] + margin, shape)
    return slice(int(top), int(bottom)), slice(int(left), int(right))


def inside_boxes(boxes: Int[np.ndarray, "cells 4"], shape: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
    """Returns which pixels lie in any box."""
    inside = np.zeros(shape, bool)
    for box in boxes:
        inside[window_of(box, shape)] = True
    return inside


def check_boxes(boxes: np.ndarray, shape: tuple[int, int]) -> Int[np.ndarray, "cells 4"]:
    """Returns the boxes; raises ValueError unless each has pixels and lies in the image."""
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not np.issubdtype(boxes.dtype, np.integer):
        raise ValueError(f"boxes must be whole numbers of shape (cells, 4), not {boxes.dtype} {boxes.shape}")
    bad = (boxes[:, :2] < 0) | (boxes[:, 2:] > np.array(shape)) | (boxes[:, :2] >= boxes[:, 2:])
    if bad.any():
        raise ValueError(
            f"the box {boxes[np.argmax(bad.any(axis=1))].tolist()} has no pixels or leaves the image of "
            f"{shape[0]} × {shape[1]} pixels; give first row, first column, and one past the last of both"
        )
    return boxes
