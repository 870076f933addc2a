"""How well points fit a map that is high where cells are, and where they would fit it better."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64
from scipy.signal import fftconvolve

_SEARCHED = 0.25  # of the shorter side: how far points are moved


class Place(NamedTuple):
    """Where points fit a map best."""

    here: float  # the fit of the points as they are
    best: float  # the greatest fit found
    swapped: bool  # whether it is found after rows and columns are swapped
    shift: tuple[int, int]  # (rows, columns) to add then, in pixels of the map


def fit(values: Float[np.ndarray, "height width"], points: Float[np.ndarray, "points 2"]) -> float:
    """Returns how far the values at points are above chance, in standard deviations of chance.

    It is the sum over the points of the standardised values, divided by the square root of the number of points:
    about -1..1 for points at random. Points outside count as average.
    """
    return float(_sums(values, points, 0)[0, 0])


def best_place(values: Float[np.ndarray, "height width"], points: Float[np.ndarray, "points 2"]) -> Place:
    """Returns where points fit best: moved by up to a quarter of the shorter side, as they are or swapped."""
    reach = int(_SEARCHED * min(values.shape))
    straight, swapped = (_sums(values, own, reach) for own in (points, points[:, ::-1]))
    best = max(straight, swapped, key=np.max)
    row, column = (int(index) for index in np.unravel_index(best.argmax(), best.shape))
    return Place(float(straight[reach, reach]), float(best.max()), best is swapped, (row - reach, column - reach))


def _sums(
    values: Float[np.ndarray, "height width"], points: Float[np.ndarray, "points 2"], reach: int
) -> Float64[np.ndarray, "shifts shifts"]:
    """Returns the fit of points moved by -reach..reach rows and columns: a correlation of map and points."""
    deviation = values.std()
    if not len(points) or deviation == 0:
        return np.zeros((2 * reach + 1, 2 * reach + 1))
    standard = np.pad((values - values.mean()).astype(np.float64) / deviation, 2 * reach)
    counts = np.zeros(np.array(values.shape) + 2 * reach)
    # Points farther outside cannot come in.
    places = np.round(points).astype(np.int64) + reach
    near = ((places >= 0) & (places < np.array(counts.shape))).all(axis=1)
    np.add.at(counts, tuple(places[near].T), 1.0)
    return fftconvolve(standard, counts[::-1, ::-1], mode="valid") / np.sqrt(len(points))
