"""Reads images and label images whole, and writes label images and pictures.

Grey values are read as they are stored; `normalize_image` brings them to 0..1.
"""

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tifffile
from jaxtyping import Float32, Int32, Integer, Shaped, UInt8
from PIL import Image

from wsis_jax.core import ChannelChoice, UserError, replacing
from wsis_jax.io.image_file import open_frames
from wsis_jax.io.readers import WHOLE, open_stacks, reader_of

# JPEG adds a little colour to grey; an image is in colours where one pixel in a hundred has more than that.
_COLOURED, _HUE = 0.99, 0.1  # share of the pixels; difference of red, green and blue in the range of the image


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


def is_in_colours(path: str | Path, *, axes: str | None = None) -> bool:
    """Tells whether the first image of a file has red, green and blue that differ; grey saved as RGB has not.

    `axes` is as in `read_image`; errors are those of `open_stacks`.
    """
    with open_stacks(Path(path), axes=axes) as stacks:
        if stacks[0].sizes.get("C", 1) > 1:
            return False
        values, names = stacks[0].read({axis: 0 for axis in stacks[0].sizes if axis not in "YXS"}, WHOLE)
    if "S" not in names or values.shape[names.index("S")] not in (3, 4) or np.iscomplexobj(values):
        return False
    colours = values.take(range(3), names.index("S")).astype(np.float32)
    spread = np.ptp(colours, axis=names.index("S"))
    return bool(np.quantile(spread, _COLOURED) > _HUE * np.ptp(colours))


def read_shape(path: str | Path) -> tuple[int, int]:
    """Reads the (height, width) of an image, which all its channels share; errors are those of `open_stacks`."""
    with open_stacks(Path(path)) as stacks:
        return stacks[0].sizes["Y"], stacks[0].sizes["X"]


def read_pixel_size(path: str | Path, *, axes: str | None = None) -> float | None:
    """Reads the side of a pixel of an image in µm, None if it is unknown; errors are those of `open_stacks`."""
    with open_stacks(Path(path), axes=axes) as stacks:
        return stacks[0].pixel_size


_FULL = 255  # the greatest label of 8 bits
_LOST = 10  # parts more than labels: rarely so many cells of an image are in pieces


class ImageFacts(NamedTuple):
    """Facts of an image file: the side of a pixel in µm, and its planes as `Frames` has them; None if unknown."""

    pixel_size: float | None
    planes: Mapping[str, int] | None


def read_facts(path: str | Path, *, channel: ChannelChoice = None, axes: str | None = None) -> ImageFacts:
    """Reads the side of a pixel and the planes of a file; arguments and errors are those of `open_frames`."""
    with open_frames(path, channel=channel, axes=axes) as frames:
        return ImageFacts(frames.pixel_size, frames.planes)


def count_frames(path: str | Path, *, channel: ChannelChoice = None) -> int:
    """Counts the frames that `read_image` returns, without reading pixels; errors are those of `open_frames`."""
    with open_frames(path, channel=channel) as frames:
        return len(frames.names)


def read_labels(path: str | Path, *, components: bool = False) -> Int32[np.ndarray, "height width"]:
    """Reads a label image: 0 for background, a whole number for each cell.

    Of a picture with a palette the indices are the labels, or the grey values if its palette is grey. A file with
    one label in several separate parts looks like a mask of all cells at once, and there is a warning; so there is
    of labels in many parts where numbers above 255 seem to be lost.

    Args:
        path: the file.
        components: whether each connected part of one value, or one colour, is a cell of its own, diagonal
            neighbours included; for masks that tell cells from background alone. In a JPEG, whose values are not
            exact, what is brighter than the middle of its range is a cell. Black is background, or, in a picture
            without black, its most frequent colour.

    Raises:
        MissingFile: If there is no such file.
        UserError: If the file is empty, damaged or not an image; if it has several pages; if it is in colour, or
            a JPEG, and `components` is False; if it holds a fraction, a negative number or a number above
            2,147,483,647.
    """
    path = Path(path)
    with open_stacks(path) as stacks:
        frames = {axis: size for axis, size in stacks[0].sizes.items() if axis not in "YXS"}
        if len(stacks) > 1 or math.prod(frames.values()) > 1:
            raise UserError(f"{path}: the labels have several pages; save each page as a file of its own")
        labels, axes = (stacks[0].stored or stacks[0].read)(dict.fromkeys(frames, 0), WHOLE)
    if "S" in axes:
        labels = _one_value(path, np.moveaxis(labels, axes.index("S"), -1), components)
    if reader_of(path).lossy:
        if not components:
            raise UserError(
                f"{path}: a JPEG changes the numbers of cells; save label images as TIFF or PNG, or, if this is a "
                "mask of all cells, give --components"
            )
        labels = labels > (labels.min() + labels.max().astype(float)) / 2
    if labels.dtype.kind not in "buif" or (labels.dtype.kind == "f" and (labels != np.round(labels)).any()):
        raise UserError(f"{path}: the labels are not whole numbers; save them as 16- or 32-bit integers")
    if labels.min() < 0:
        raise UserError(f"{path}: a label is negative ({labels.min()}); number the cells 1, 2, 3 and so on")
    if labels.max() > np.iinfo(np.int32).max:
        raise UserError(f"{path}: the label {labels.max()} is too large; number the cells 1, 2, 3 and so on")
    narrow, labels = labels.dtype == np.uint8, labels.astype(np.int32)
    if components:
        return _parts(labels)
    _warn_of_mask(path, labels, narrow=narrow)
    return labels


def _one_value(
    path: Path, colours: Shaped[np.ndarray, "height width colours"], components: bool
) -> Shaped[np.ndarray, "height width"]:
    """Returns a number for each colour, 0 for background; grey values where all colours are grey."""
    colours = colours[..., : {2: 1, 4: 3}.get(colours.shape[-1], colours.shape[-1])]
    if (colours == colours[..., :1]).all():
        return colours[..., 0]
    if not components:
        raise UserError(
            f"{path}: the labels are a colour picture; save the cell numbers as grey values, or, if each cell has "
            "one colour, give --components"
        )
    if reader_of(path).lossy:
        return colours.max(axis=-1)
    found, numbers, counts = np.unique(
        colours.reshape(-1, colours.shape[-1]), axis=0, return_inverse=True, return_counts=True
    )
    background = 0 if not found[0].any() else int(counts.argmax())
    order = np.arange(1, len(found) + 1)
    order[background] = 0
    return order[numbers].reshape(colours.shape[:2])


def _parts(labels: Int32[np.ndarray, "height width"]) -> Int32[np.ndarray, "height width"]:
    """Numbers the connected parts of equal values above 0."""
    from skimage.measure import label  # not above, since it takes a while

    return label(labels, background=0, connectivity=2).astype(np.int32)


def _warn_of_mask(path: Path, labels: Int32[np.ndarray, "height width"], *, narrow: bool) -> None:
    """Warns of one label in several parts, which is a mask of all cells rather than one cell.

    And of many labels in several parts where 255 is both the greatest and, as the file is `narrow`, the greatest
    that there can be: some programs give greater numbers a smaller one, or 255, when they save with 8 bits.
    """
    inside = labels[labels > 0]
    if not inside.size:
        return
    alone, full = inside.min() == inside.max(), narrow and inside.max() == _FULL
    count = int(_parts(labels).max()) if alone or full else 0
    if full and not alone and count - len(np.unique(inside)) >= _LOST:
        warnings.warn(
            f"{path}: has no label above 255, and its labels lie in {count} separate parts, so greater ones may "
            "have been lost when it was saved with 8 bits; save it again with 16 bits",
            stacklevel=3,
        )
    if alone and count > 1:
        warnings.warn(
            f"{path}: has one label in {count} separate parts, so it looks like a mask of all cells; give "
            "--components to count each part of a mask as a cell",
            stacklevel=3,
        )


def write_labels(path: str | Path, labels: Integer[np.ndarray, "height width"]) -> None:
    """Writes a label image as a zlib-compressed TIFF: uint16 up to the label 65,535, else uint32.

    Raises:
        UserError: If a label is negative.
    """
    if labels.min() < 0:
        raise UserError(
            f"{path}: not saved, as a label is negative ({labels.min()}); number the cells 1, 2, 3 and so on"
        )
    kind = np.uint16 if labels.max() <= np.iinfo(np.uint16).max else np.uint32
    with replacing(path) as temporary:
        tifffile.imwrite(temporary, labels.astype(kind), photometric="minisblack", compression="zlib")


def write_picture(path: str | Path, rgb: UInt8[np.ndarray, "height width 3"]) -> None:
    """Writes a picture to look at, as a PNG."""
    with replacing(path) as temporary:
        # The default, 6, takes three times as long; files are no smaller.
        Image.fromarray(rgb).save(temporary, format="PNG", compress_level=3)
