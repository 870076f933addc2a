"""The results of the steps of a segmentation."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64


class WinnerMap(NamedTuple):
    """Per pixel the cell of the greatest contribution (Eq. 4-5 in one pass).

    Attributes:
        value: the greatest contribution, at least 0.
        owner: i + 1 where cell i has it (the first of equals), 0 where no cell contributes.
        runner_up: the greatest contribution of any other cell; `value - runner_up` is a margin of confidence.
    """

    value: Float32[np.ndarray, "height width"]
    owner: Int32[np.ndarray, "height width"]
    runner_up: Float32[np.ndarray, "height width"]


class Detection(NamedTuple):
    """The cells that the network detects in an image; all in pixels of the network.

    Attributes:
        image: normalised and resized, 0..1; of one channel, or of several on a third axis.
        likelihood: the likelihood map, 0..1.
        peaks: (row, column) of the cells, in raster order, or in that of the clicks that were given.
        regions: i + 1 in the centre region of cell i.
    """

    image: Float32[np.ndarray, "height width *channels"]
    likelihood: Float32[np.ndarray, "height width"]
    peaks: Int64[np.ndarray, "cells 2"]
    regions: Int32[np.ndarray, "height width"]


class LocatedCells(NamedTuple):
    """The cells of an image before they are cut out.

    Attributes:
        detection: likelihood map, peaks and centre regions, in pixels of the network.
        winner: the winner map, in pixels of the network.
        clicks: (row, column) of the cells where they were given, in pixels of the image; None where the network
            detected the cells.
        learned: typical diameter of the cells that the model learned, in pixels of the image; None where the
            settings are for cells of another.
    """

    detection: Detection
    winner: WinnerMap
    clicks: Float64[np.ndarray, "cells 2"] | None = None
    learned: float | None = None


class Segmentation(NamedTuple):
    """The result of `segment`.

    Attributes:
        labels: 0 for background, i + 1 for the cell of `points[i]`; pixels of the image as given.
        points: (row, column) of the detected cells, or of the clicks that were given, in pixels of the image.
        scores: the likelihood at each point, 0..1.
        detection, winner: those of `LocatedCells`, of these cells alone.
        dropped: how many further cells were left out because they were too small (`cut.min_area`).
    """

    labels: Int32[np.ndarray, "image_height image_width"]
    points: Float64[np.ndarray, "cells 2"]
    scores: Float32[np.ndarray, " cells"]
    detection: Detection
    winner: WinnerMap
    dropped: int = 0
