"""Between the pixels of an image as given and the pixels that the network sees."""

import numpy as np
from jaxtyping import Float, Float32, Float64, Int, Int32, Real
from skimage.transform import resize


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


def scale_points(points: Real[np.ndarray, "points 2"], scale: float) -> Float64[np.ndarray, "points 2"]:
    """Returns the points of an image in the pixels of the same image at `scale` times its size.

    A pixel centre is at an integer, so the image's corner is at (-0.5, -0.5) in both and stays where it is.
    """
    return (np.asarray(points, np.float64) + 0.5) * scale - 0.5


def resize_labels(
    labels: Int[np.ndarray, "height width"], shape: tuple[int, int]
) -> Int32[np.ndarray, "new_height new_width"]:
    """Returns the label image at another size, every pixel taking the label of the nearest old one."""
    if labels.shape == shape:
        return labels.astype(np.int32)
    rows, columns = (
        np.minimum((np.arange(new) + 0.5) * old / new, old - 1).astype(np.intp)
        for new, old in zip(shape, labels.shape, strict=True)
    )
    return labels[np.ix_(rows, columns)].astype(np.int32)
