"""Grey values of any range to 0..1."""

from typing import Literal

import numpy as np
from jaxtyping import Float, Float32

from wsis_jax.core.errors import UserError


def is_constant(image: Float32[np.ndarray, "height width"]) -> bool:
    """Tells whether all pixels are equal: nothing can be found in such an image, and a caller may warn."""
    return bool(image.min() == image.max())


def normalize_image(
    image: Float32[np.ndarray, "height width"],
    *,
    method: Literal["percentile", "max"],
    low: float,
    high: float,
) -> Float32[np.ndarray, "height width"]:
    """Brings finite grey values to 0..1.

    Args:
        method: `percentile` stretches between two percentiles and clips; where the two are equal (a few cells
            on an even ground) between the least and the greatest value instead. `max` divides by the greatest
            value, as the reference does, and clips at 0.
        low: Lower percentile, from 0; used by `percentile` alone, as is `high`.
        high: Upper percentile, above `low` and up to 100.

    Returns:
        A new image. A constant image becomes zeros, silently: see `is_constant`.

    Raises:
        UserError: If the percentiles are out of order or out of range.
    """
    values = image.astype(np.float64)  # A difference of two float32 may overflow, a quotient lose digits.
    if method == "max":
        bottom, top = 0.0, values.max()
    else:
        if not 0 <= low < high <= 100:
            raise UserError(f"percentiles {low:g} and {high:g} are no range; choose 0 <= low < high <= 100")
        bottom, top = np.percentile(values, [low, high])
        if bottom >= top:
            bottom, top = values.min(), values.max()
    if bottom >= top or is_constant(image):
        return np.zeros_like(image)
    return stretch(values, bottom, top)


def stretch(values: Float[np.ndarray, "_ _"], bottom: float, top: float) -> Float32[np.ndarray, "_ _"]:
    """Returns grey values with `bottom` at 0 and `top` at 1, clipped to that range."""
    return np.clip((values.astype(np.float64) - bottom) / (top - bottom), 0, 1).astype(np.float32)
