"""An image and its labels as small as a picture on a page, from parts: neither need fit into memory."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Int32

from wsis_jax.core import ParallelMap, Plane, Resizing, Window, corner_of, part_resized_from, resize_labels_part
from wsis_jax.output.report.gallery import picture_shape, sampling_step


def overview(
    image: Plane, labels: Plane, blocks: Sequence[Window], over: ParallelMap
) -> tuple[Float32[np.ndarray, "_ _"], Int32[np.ndarray, "_ _"]]:
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
    pixels, seen = np.zeros([-(-side // step) for side in whole], np.float32), np.zeros(shape, np.int32)
    sizes, parts = Resizing(whole, shape), over(_sampled, blocks, image=image, labels=labels)
    for block, (of_image, of_labels) in zip(blocks, parts, strict=True):
        rows, columns = (slice(-(-side.start // step), -(-side.stop // step)) for side in block)
        pixels[rows, columns] = of_image
        seen[part_resized_from(sizes, block)] = of_labels
    return pixels, seen


def _sampled(
    block: Window, *, image: Plane, labels: Plane
) -> tuple[Float32[np.ndarray, "_ _"], Int32[np.ndarray, "_ _"]]:
    """Returns the pixels of a block that are shown."""
    whole = image.shape[0], image.shape[1]
    step, shape = sampling_step(whole), picture_shape(whole)
    rows, columns = (slice(-side.start % step, None, step) for side in block)
    sizes = Resizing(whole, shape)
    given = np.asarray(labels[block]).astype(np.int64)
    shown = resize_labels_part(given, sizes, part_resized_from(sizes, block), corner=corner_of(block))
    return np.asarray(image[block], np.float32)[rows, columns], shown
