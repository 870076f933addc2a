"""Clicks that are given with images to segment: found by name, checked, and brought to pixels of the network."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, Real

from wsis_jax.core import Config, Resizing, UserError, in_short, pixels_taken, scaled_shape, warn_about_image
from wsis_jax.io import Files, Named, moved_inside, named_points, pair_with_partners


class Clicks(NamedTuple):
    """The clicked cells of an image.

    Attributes:
        points: (row, column), in pixels of the image.
        peaks: pixels of the network that the labels of these pixels are taken from; no two are the same.
    """

    points: Float64[np.ndarray, "cells 2"]
    peaks: Int64[np.ndarray, "cells 2"]


def place_clicks(points: Real[np.ndarray, "_ 2"], shape: tuple[int, int], *, config: Config) -> Clicks:
    """Returns the cells that are clicked in an image of (height, width) `shape`, in the order of the clicks.

    A click in the same pixel of the network as an earlier one is left out with a warning: it is the same cell.

    Raises:
        UserError: if there are no rows and columns, or a click is outside of the image.
    """
    points = np.asarray(points, np.float64)
    if points.ndim != 2 or points.shape[1] != 2:
        raise UserError(f"the points are of shape {points.shape}; give (row, column) of each cell")
    points = moved_inside(points, shape, name="points")
    peaks = pixels_taken(_pixels_of(points), Resizing(scaled_shape(shape, config.network_scale), shape))
    kept = np.sort(np.unique(peaks, axis=0, return_index=True)[1])
    if len(kept) < len(points):
        doubled = [f"row {row:g}, column {column:g}" for row, column in np.delete(points, kept, axis=0)]
        warn_about_image(
            f"the point at {in_short(doubled)} lies in the same pixel of the network as an earlier one, so it is "
            "left out"
        )
    return Clicks(points[kept], peaks[kept])


def marks_of(
    points: Float64[np.ndarray, "cells 2"], ratio: Float64[np.ndarray, " 2"]
) -> Float64[np.ndarray, "cells 2"]:
    """Returns the centres of the pixels that were clicked, in pixels of the network.

    `ratio` is that of the sides of the image to those in pixels of the network. Cells that are to hold them
    (`smooth_labels`) hold the clicks.
    """
    return (_pixels_of(points) + 0.5) / ratio - 0.5


def _pixels_of(points: Float64[np.ndarray, "cells 2"]) -> Int64[np.ndarray, "cells 2"]:
    """Returns the pixels that points lie in."""
    return np.floor(points + 0.5).astype(np.int64)


def no_cell_there() -> UserError:
    """Returns the error of points in an image without any contrast."""
    return UserError("the image is constant, so there is no cell to outline at its points; leave it out")


def pair_points(images: Named, points: Files) -> dict[Path, Path]:
    """Returns the point files of images, paired by name; a point file without an image is left out with a warning.

    Raises:
        MissingFile: if a name leads to no file.
        UserError: if no image has a point file of its name, or two files of one kind have the same name.
    """
    pairs = pair_with_partners(
        images, named_points(points), partner="point file", example="a.tif and a.csv", warn_alone=False
    )  # of an image without points its own error tells
    return dict(pairs)
