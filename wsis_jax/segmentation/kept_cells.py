"""Which found cells are kept: specks are none; and a warning where cells are of another size than the model's."""

import numpy as np
from jaxtyping import Float, Int, Int32, Int64

from wsis_jax.core import Config, Segmentation, warn_about_image

_FEWEST = 5  # cells to tell a typical diameter from
# Times the diameter that the model learned. A network finds cells of nearly the size that it learned even where
# all are larger: of fibroblasts enlarged two and three times the model of the package finds what is 1.6 to 2 times
# as large as its own cells, and 1.5 times where cells are as large as it still knows.
_OTHER_SIZE = 1.6


def areas_of(labels: Int[np.ndarray, "height width"], cells: int) -> Int64[np.ndarray, " {cells}"]:
    """Returns the pixels of the labels 1 to `cells`."""
    return np.bincount(labels.ravel(), minlength=cells + 1)[1:]


def without_specks(areas: Int[np.ndarray, " cells"], config: Config) -> Int64[np.ndarray, " kept"]:
    """Returns the indices of the cells whose areas, in pixels, are at least those of `cut.min_area`."""
    return np.flatnonzero(areas >= config.least_area)


def numbers_of(cells: Int[np.ndarray, " some"], count: int) -> Int32[np.ndarray, " labels"]:
    """Returns a table from the labels of `count` cells to their numbers among some, from 1; 0 for the others."""
    numbers = np.zeros(count + 1, np.int32)
    numbers[cells + 1] = np.arange(1, len(cells) + 1)
    return numbers


def choose_cells(found: Segmentation, kept: Int64[np.ndarray, " kept"]) -> Segmentation:
    """Returns what was found of some cells alone, numbered anew from 1; how many others there were is counted."""
    count = len(found.points)
    if len(kept) == count:
        return found
    numbers, (detection, winner) = numbers_of(kept, count), (found.detection, found.winner)
    return Segmentation(
        labels=numbers[found.labels],
        points=found.points[kept],
        scores=found.scores[kept],
        detection=detection._replace(peaks=detection.peaks[kept], regions=numbers[detection.regions]),
        winner=winner._replace(owner=numbers[winner.owner]),
        dropped=found.dropped + count - len(kept),
    )


def warn_of_size(areas: Int[np.ndarray, " cells"], learned: float) -> None:
    """Warns if the cells of an image are of quite another size than those that the model learned.

    Args:
        areas: of all found cells, in pixels of the image; fewer than 5 tell nothing.
        learned: the typical diameter of the cells that the model learned, in the same pixels.
    """
    if len(areas) < _FEWEST:
        return
    typical = float(np.median(_diameters(areas)))
    if not learned / _OTHER_SIZE <= typical <= learned * _OTHER_SIZE:
        wide = max(round(typical), 1)
        warn_about_image(
            f"the cells look about {wide} pixels wide, and the model learned cells of {learned:.0f}; "
            f"try --diameter {wide}",
            stacklevel=3,
        )


def _diameters(areas: Int[np.ndarray, " cells"]) -> Float[np.ndarray, " cells"]:
    """Returns the diameters of discs of these areas."""
    return np.sqrt(4 / np.pi * areas)
