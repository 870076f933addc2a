"""The border mask of FogBank: lines of bright pixels, or of strong edges, that the fog does not cross."""

from functools import cache
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage
from skimage.morphology import disk, thin

from experiments.baselines.common import clean, remembered
from experiments.baselines.egt import gradient_magnitude, nearest_rank

BorderFilter = Literal["intensity", "gradient"]
"""What is strong at borders: the grey value itself, or its gradient."""

_LARGEST_GAP = 10  # pixels; smaller holes in thick lines are not cells


@remembered
def border_mask(
    image: Float[np.ndarray, "height width"],
    foreground: Bool[np.ndarray, "height width"],
    *,
    strength: BorderFilter,
    percentile: float | int,
) -> Bool[np.ndarray, "height width"]:
    """Returns lines one pixel wide that no 4-connected path crosses, on the strongest pixels of the foreground.

    Args:
        image: grey values.
        foreground: where there are cells.
        strength: what pixels are compared by.
        percentile: of the strengths in the whole image; those above are borders.
    """
    values = gradient_magnitude(image) if strength == "gradient" else image
    strong = (values > nearest_rank(values.ravel(), np.array([percentile], np.float64))[0]) & foreground
    lines = thin(bridge(ndimage.binary_dilation(strong, disk(1))), max_num_iter=1)
    lines = clean(close_diagonals(lines), min_area=0, max_hole=_LARGEST_GAP)
    return close_diagonals(thin(lines))


def bridge(mask: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """Returns the mask and all pixels between parts of it: those whose neighbours make several parts."""
    codes = ndimage.correlate(mask.astype(np.int32), 2 ** np.arange(9).reshape(3, 3), mode="constant")
    return mask | _joins()[codes]


def close_diagonals(mask: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """Returns the mask with both pixels set wherever two of it meet at a corner only."""
    upper_left, upper_right, lower_left, lower_right = (
        mask[:-1, :-1],
        mask[:-1, 1:],
        mask[1:, :-1],
        mask[1:, 1:],
    )
    falling = upper_left & lower_right & ~upper_right & ~lower_left
    rising = upper_right & lower_left & ~upper_left & ~lower_right
    closed = mask.copy()
    closed[:-1, 1:] |= falling
    closed[1:, :-1] |= falling
    closed[:-1, :-1] |= rising
    closed[1:, 1:] |= rising
    return closed


@cache
def _joins() -> Bool[np.ndarray, "512"]:
    """Returns for the 3 × 3 pixels that a number's bits stand for whether the neighbours are several parts."""
    pixels = ((np.arange(512)[:, None] >> np.arange(9)) & 1).astype(bool)
    pixels[:, 4] = False
    return np.array([ndimage.label(each.reshape(3, 3), np.ones((3, 3)))[1] > 1 for each in pixels])
