"""An image and its labels as small as a picture on a page, from parts: neither need fit into memory."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Int

from wsis_jax.gallery import picture_shape, sampling_step
from wsis_jax.scaling import nearest_rows
from wsis_jax.streaming import Over, Plane, Window


def overview(
    image: Plane, labels: Plane, blocks: Sequence[Window], over: Over
) -> tuple[Float32[np.ndarray, "_ _"], Int[np.ndarray, "_ _"]]:
    """Returns every n-th pixel of an image, from which `gallery.write_layers` makes the same pictures as from all.

    Args:
        image: grey values.
        labels: of the same size; 0 for background, any other number for a cell.
        blocks: windows that cover both.
        over: calls what reads a block.

    Returns:
        Pixels of the image, in steps of `sampling_step`, and the labels at the size of pictures.
    """
    whole = image.shape[0], image.shape[1]
    step, shape = sampling_step(whole), picture_shape(whole)
    pixels = np.zeros([-(-side // step) for side in whole], np.float32)
    seen = np.zeros(shape, np.int64)
    parts = over(_sampled, blocks, image=image, labels=labels)
    for block, (of_image, of_labels) in zip(blocks, parts, strict=True):
        pixels[_stepped(block, step)], seen[_nearest(block, whole)] = of_image, of_labels
    return pixels, seen


def _sampled(
    block: Window, *, image: Plane, labels: Plane
) -> tuple[Float32[np.ndarray, "_ _"], Int[np.ndarray, "_ _"]]:
    """Returns the pixels of a block that are shown."""
    whole = image.shape[0], image.shape[1]
    step, shape = sampling_step(whole), picture_shape(whole)
    rows, columns = (slice(-side.start % step, None, step) for side in block)
    at = [
        nearest_rows(np.arange(part.start, part.stop), old, new) - side.start
        for part, old, new, side in zip(_nearest(block, whole), whole, shape, block, strict=True)
    ]
    return (
        np.asarray(image[block], np.float32)[rows, columns],
        np.asarray(labels[block])[np.ix_(*at)].astype(np.int64),
    )


def _stepped(block: Window, step: int) -> Window:
    """Returns where the pixels of a block are among every n-th pixel."""
    rows, columns = (slice(-(-side.start // step), -(-side.stop // step)) for side in block)
    return rows, columns


def _nearest(block: Window, whole: tuple[int, int]) -> Window:
    """Returns which pixels of a picture take their labels from a block."""
    rows, columns = (
        slice(*np.searchsorted(nearest_rows(np.arange(new), old, new), (side.start, side.stop)).tolist())
        for side, old, new in zip(block, whole, picture_shape(whole), strict=True)
    )
    return rows, columns
