"""Reads images and label images whole, and writes label images and pictures.

Grey values are read as they are stored; `normalize_image` brings them to 0..1.
"""

import math
from pathlib import Path

import numpy as np
import tifffile
from jaxtyping import Float32, Int32, Integer, UInt8
from PIL import Image

from wsis_jax.core import ChannelChoice, UserError, replacing
from wsis_jax.io.image_file import open_frames
from wsis_jax.io.readers import WHOLE, open_stacks


def read_image(
    path: str | Path, *, channel: ChannelChoice = None, axes: str | None = None
) -> Float32[np.ndarray, "frames height width *channels"]:
    """Reads the values of all images of a file, as they are stored: grey, colours, or channels by their numbers.

    `open_frames` explains which axes are frames and how colours become grey; it reads one image at a time.

    Args:
        path: a TIFF, PNG, JPEG or OME-Zarr, or, with the extra `bioio`, a file of a microscope; see `READERS`.
        channel: the channel to read, counted from 0, or several; "colours" for red, green and blue; None for grey
            values.
        axes: names for the axes of a TIFF, such as `TZCYX`.

    Returns:
        The frames; where there are several channels in each, with these on the last axis.

    Raises:
        MissingFile: If there is no such file.
        UserError: If its images are of several sizes; for what `open_frames` and `Frames.values` refuse.
    """
    with open_frames(path, channel=channel, axes=axes) as frames:
        if len(set(frames.shapes)) > 1:
            raise UserError(f"{path}: the pages differ in size; save them as separate files")
        return np.stack([frames.values(index) for index in range(len(frames.names))])


def read_shape(path: str | Path) -> tuple[int, int]:
    """Reads the (height, width) of an image, which all its channels share; errors are those of `open_stacks`."""
    with open_stacks(Path(path)) as stacks:
        return stacks[0].sizes["Y"], stacks[0].sizes["X"]


def count_frames(path: str | Path, *, channel: ChannelChoice = None) -> int:
    """Counts the frames that `read_image` returns, without reading pixels; errors are those of `open_frames`."""
    with open_frames(path, channel=channel) as frames:
        return len(frames.names)


def read_labels(path: str | Path) -> Int32[np.ndarray, "height width"]:
    """Reads a label image: 0 for background, a whole number for each cell.

    Of a picture with a palette the indices are the labels, or the grey values if its palette is grey.

    Raises:
        MissingFile: If there is no such file.
        UserError: If the file is empty, damaged or not an image; if it is in colour or has several pages; if
            it holds a fraction, a negative number or a number above 2,147,483,647.
    """
    with open_stacks(Path(path)) as stacks:
        frames = {axis: size for axis, size in stacks[0].sizes.items() if axis not in "YXS"}
        if len(stacks) > 1 or math.prod(frames.values()) > 1:
            raise UserError(f"{path}: the labels have several pages; save each page as a file of its own")
        labels, axes = (stacks[0].stored or stacks[0].read)(dict.fromkeys(frames, 0), WHOLE)
    if "S" in axes:
        raise UserError(f"{path}: the labels are a colour picture; save the cell numbers as grey values")
    if labels.dtype.kind not in "buif" or (labels.dtype.kind == "f" and (labels != np.round(labels)).any()):
        raise UserError(f"{path}: the labels are not whole numbers; save them as 16- or 32-bit integers")
    if labels.min() < 0:
        raise UserError(f"{path}: a label is negative ({labels.min()}); number the cells 1, 2, 3 and so on")
    if labels.max() > np.iinfo(np.int32).max:
        raise UserError(f"{path}: the label {labels.max()} is too large; number the cells 1, 2, 3 and so on")
    return labels.astype(np.int32)


def write_labels(path: str | Path, labels: Integer[np.ndarray, "height width"]) -> None:
    """Writes a label image as a zlib-compressed TIFF: uint16 up to the label 65,535, else uint32.

    Raises:
        UserError: If a label is negative.
    """
    if labels.min() < 0:
        raise UserError(f"{path}: a label is negative ({labels.min()}); nothing was saved, so number from 1")
    kind = np.uint16 if labels.max() <= np.iinfo(np.uint16).max else np.uint32
    with replacing(path) as temporary:
        tifffile.imwrite(temporary, labels.astype(kind), photometric="minisblack", compression="zlib")


def write_picture(path: str | Path, rgb: UInt8[np.ndarray, "height width 3"]) -> None:
    """Writes a picture to look at, as a PNG."""
    with replacing(path) as temporary:
        Image.fromarray(rgb).save(temporary, format="PNG")
