"""The images in a file, one at a time."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32


class Frame(NamedTuple):
    """An image to segment, and what its file says of it.

    Attributes:
        name: of the results, unique in a batch.
        image: grey values to segment, as they are stored.
        channels: grey values of all channels of the same place, the segmented one among them.
        pixel_size: side of a pixel in µm, or None where nobody said.
    """

    name: str
    image: Float32[np.ndarray, "height width"]
    channels: Float32[np.ndarray, "channels height width"]
    pixel_size: float | None = None
