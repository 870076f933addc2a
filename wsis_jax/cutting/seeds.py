"""Winner map to seeds and claims: what surely belongs to a cell, and what likely does (paper §4)."""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int, Int32
from scipy import ndimage

_CONNECTED_8 = np.ones((3, 3), bool)


class Claims(NamedTuple):
    """Whose each pixel is by its contributions, and how surely.

    Attributes:
        owner: i + 1 where cell i has the greatest contribution, 0 where no cell contributes.
        weight: what it costs to cut the pixel away from its owner, or to give it to another cell; at least 0.
    """

    owner: Int[np.ndarray, "height width"]
    weight: Float[np.ndarray, "height width"]


def scaled_contributions(
    value: Float[np.ndarray, "height width"],
    owner: Int[np.ndarray, "height width"],
    *,
    scale: Literal["cell", "max", "raw"],
    greatest: Float[np.ndarray, " owners"] | None = None,
) -> Float32[np.ndarray, "height width"]:
    """Returns the contributions of a winner map on a scale that thresholds can be given on.

    Args:
        value, owner: of the winner map, see `guided.WinnerMap`; or a part of it.
        scale: contributions are divided by the greatest that the cell wins ("cell"), so that faint cells have
            seeds as wide as clear ones; by the greatest one in the image ("max"); or by 255 ("raw", as in the
            authors' code, where the result depends on the scale of the weights).
        greatest: of a part of a map, what `greatest_contributions` gives for the whole.
    """
    if scale == "raw":
        return np.asarray(value / 255, np.float32)
    if greatest is None:
        greatest = greatest_contributions(value, owner, owners=int(owner.max(initial=0)) + 1)
    if scale == "max":
        greatest = np.full_like(greatest, greatest.max())
    return np.asarray(value / np.maximum(greatest, np.finfo(np.float32).tiny)[owner], np.float32)


def greatest_contributions(
    value: Float[np.ndarray, "height width"], owner: Int[np.ndarray, "height width"], *, owners: int
) -> Float[np.ndarray, " owners"]:
    """Returns the greatest contribution of every owner, no owner (0) first; 0 for one that owns nothing."""
    greatest = np.zeros(owners, value.dtype)
    np.maximum.at(greatest, owner, value)
    return greatest


def foreground_seeds(
    scaled: Float[np.ndarray, "height width"],
    owner: Int[np.ndarray, "height width"],
    *,
    threshold: float,
    min_area: int,
) -> Int32[np.ndarray, "height width"]:
    """Returns i + 1 at the foreground seeds of cell i: the pixels whose contribution it wins clearly.

    Args:
        scaled: contributions, see `scaled_contributions`.
        owner: of the winner map.
        threshold: scaled contributions above this are seeds.
        min_area: 8-connected components of seeds with fewer pixels are dropped.
    """
    return _without_small_components(np.where(scaled > threshold, owner, 0), min_area)


def _without_small_components(
    owner: Int[np.ndarray, "height width"], min_area: int
) -> Int32[np.ndarray, "height width"]:
    """Returns the owners without the 8-connected components of one owner that are smaller than `min_area`."""
    components = _components(owner)
    small = np.bincount(components.ravel()) < min_area
    return np.where(small[components], 0, owner).astype(np.int32)


def _components(labels: Int[np.ndarray, "height width"]) -> Int32[np.ndarray, "height width"]:
    """Returns the number of each 8-connected component of equal labels; 0 is background."""
    components = np.zeros(labels.shape, np.int32)
    count = 0
    for label, window in enumerate(ndimage.find_objects(labels), start=1):
        if window is None:
            continue
        own, parts = ndimage.label(labels[window] == label, _CONNECTED_8)
        components[window] += np.where(own > 0, own + count, 0)
        count += parts
    return components
