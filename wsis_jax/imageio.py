"""Reads and writes images, label images and pictures.

Grey values are read as they are stored; `normalize_image` brings them to 0..1. A file is recognised by its
first bytes, not by its name.
"""

import logging
import math
import struct
from pathlib import Path
from typing import Literal

import imagecodecs
import numpy as np
import tifffile
from jaxtyping import Float, Float32, Int32, Integer, UInt8
from PIL import Image

from wsis_jax.files import replacing

IMAGE_SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg")
LABEL_SUFFIXES = (".tif", ".tiff", ".png")

# ITU-R BT.601, as in Pillow and OpenCV; they sum to 1, so a grey picture saved as RGB keeps its values.
LUMINANCE = np.array([0.299, 0.587, 0.114])

# A file is known by how it starts.
_STARTS = {
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "PNG": b"\x89PNG\r\n\x1a\n",
    "JPEG": b"\xff\xd8\xff",
}

# Without a handler, tifffile's remarks on a damaged file would be printed beside our one sentence.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


def read_image(path: str | Path, *, channel: int | None = None) -> Float32[np.ndarray, "frames height width"]:
    """Reads the grey values of an image or of a multi-page image, as they are stored.

    Every page is a frame, whether the file calls the axis time, depth or channel. RGB becomes luminance;
    alpha is ignored, and so is a TIFF's look-up table, which says how to show the values. Integers above 2^24
    lose their last digits in float32.

    Args:
        path: A TIFF, PNG or JPEG.
        channel: The only channel to read, counted from 0; None for all. Channels are those of a TIFF that names
            them (ImageJ, OME), or else the colours of a pixel, alpha among them, or else the pages. What has one
            channel alone is read as it is.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is empty, damaged or not an image; if it has more axes than frames, rows and
            columns (and colours), or pages of several sizes; if it has no such channel; if a value is complex, NaN
            or infinite.
    """
    check_channel(channel)
    parts = _decode(Path(path))
    if any(np.iscomplexobj(array) for array, _ in parts):
        raise ValueError(f"{path}: the values are complex numbers; save their magnitude as the image")
    named = next((axis for axis in "CS" if any(axis in axes for _, axes in parts)), None)
    if channel is not None and named:
        parts = [_take(array, axes, named, channel, path) for array, axes in parts]
    greys = [_to_grey(array, axes, path) for array, axes in parts]
    if (axes := max(grey.ndim for grey in greys)) > 3:
        remedy = (
            "choose a channel (--channel)" if channel is None and named == "C" else "save one channel and plane"
        )
        raise ValueError(f"{path}: the image has {axes} axes without colours; {remedy}")
    if len({grey.shape[-2:] for grey in greys}) > 1:
        raise ValueError(f"{path}: the pages differ in size; save them as separate files")
    with np.errstate(over="ignore"):  # What does not fit becomes infinite, and is reported as that.
        frames = np.concatenate([grey.astype(np.float32).reshape(-1, *grey.shape[-2:]) for grey in greys])
    if channel is not None and not named:
        frames = _take(frames, "CYX", "C", channel, path)[0][None]
    finite = np.isfinite(frames).all(axis=(1, 2))
    if not finite.all():
        raise ValueError(f"{path}: frame {finite.argmin()} holds NaN or infinite values; make them numbers")
    return frames


def check_channel(channel: int | None) -> None:
    """Checks the number of a channel as far as one can without a file.

    Raises:
        ValueError: If it is negative.
    """
    if channel is not None and channel < 0:
        raise ValueError(f"there is no channel {channel}; count the channels from 0")


def read_shape(path: str | Path) -> tuple[int, int]:
    """Reads the (height, width) of an image without its pixels; they are those of each of its channels.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is empty, damaged or not an image.
    """
    sizes = _read_sizes(Path(path))[0]
    return sizes["Y"], sizes["X"]


def count_frames(path: str | Path, *, channel: int | None = None) -> int:
    """Counts the frames that `read_image` returns for a channel, or for all, without the pixels.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is empty, damaged or not an image.
    """
    parts = _read_sizes(Path(path))
    if channel is not None and not any(axis in sizes for axis in "CS" for sizes in parts):
        return 1  # the pages are the channels
    other = "YXS" if channel is None else "YXSC"
    return sum(math.prod(size for axis, size in sizes.items() if axis not in other) for sizes in parts)


def _read_sizes(path: Path) -> list[dict[str, int]]:
    """Returns the length of each axis for each array of a file, as `_decode` would return them."""
    if _kind(path) != "TIFF":
        try:
            with Image.open(path) as picture:
                return [{"Y": picture.height, "X": picture.width}]
        except Exception as error:
            raise _damaged(path, error) from error
    try:
        with tifffile.TiffFile(path) as tiff:
            sizes = [dict(zip(one.get_axes(), one.get_shape(), strict=True)) for one in tiff.series]
    except Exception as error:
        raise _damaged(path, error) from error
    if not sizes or not all({"Y", "X"} <= set(one) for one in sizes):
        raise ValueError(f"{path}: the file holds no pixels; copy or export it again")
    return sizes


def _take(array: np.ndarray, axes: str, axis: str, channel: int, path: str | Path) -> tuple[np.ndarray, str]:
    """Returns one channel, without the axis of channels; an array without that axis is the only channel."""
    if axis not in axes:
        array, axes = array[None], axis + axes
    if channel >= (count := array.shape[axes.index(axis)]):
        have = "1 channel" if count == 1 else f"{count} channels"
        raise ValueError(f"{path}: there is no channel {channel}; the file has {have}, counted from 0")
    return array.take(channel, axes.index(axis)), axes.replace(axis, "")


def _to_grey(array: np.ndarray, axes: str, path: str | Path) -> np.ndarray:
    """Removes the axis of colours (`S` of tifffile): grey (+ alpha) or RGB (+ alpha)."""
    if "S" not in axes:
        return array
    colours = np.moveaxis(array, axes.index("S"), -1)
    if colours.shape[-1] > 4:
        raise ValueError(f"{path}: a pixel has {colours.shape[-1]} channels; choose one (--channel)")
    return colours[..., 0] if colours.shape[-1] <= 2 else colours[..., :3] @ LUMINANCE


def _decode(path: Path) -> list[tuple[np.ndarray, str]]:
    """Returns the arrays of a file, each with its axes: `Y`, `X`, `S` for colours, others for pages."""
    kind = _kind(path)
    try:
        parts = _decode_tiff(path) if kind == "TIFF" else _decode_picture(path, kind)
    except Exception as error:  # The decoders raise a dozen unrelated classes for a damaged file.
        raise _damaged(path, error) from error
    if not parts or any(array.size == 0 or not {"Y", "X"} <= set(axes) for array, axes in parts):
        raise ValueError(f"{path}: the file holds no pixels; copy or export it again")
    return parts


def _kind(path: Path) -> str:
    """Returns the kind of an image file by its first bytes."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such image file; check the path")
    with path.open("rb") as file:
        start = file.read(8)
    if not start:
        raise ValueError(f"{path}: the file is empty (0 bytes); copy or export it again")
    kind = next((kind for kind, starts in _STARTS.items() if start.startswith(starts)), None)
    if kind is None:
        raise ValueError(f"{path}: this is not an image of a known kind; give a {', '.join(_STARTS)} file")
    return kind


def _damaged(path: Path, error: Exception) -> ValueError:
    """Returns what to tell of a file that a decoder gave up on."""
    reason = str(error).partition("\n")[0]
    return ValueError(f"{path}: the image is damaged ({reason}); copy or export it again")


def _decode_picture(path: Path, kind: str) -> list[tuple[np.ndarray, str]]:
    """Returns the one array of a PNG or JPEG."""
    if kind == "PNG":
        array = imagecodecs.png_decode(path.read_bytes())  # Pillow would cut 16-bit colours down to 8 bits.
    else:
        with Image.open(path) as picture:
            # A grey one has a single channel; of the others, CMYK among them, we know the colours of RGB.
            array = np.asarray(picture if picture.mode == "L" else picture.convert("RGB"))
    return [(array, "YXS"[: array.ndim])]


def _decode_tiff(path: Path) -> list[tuple[np.ndarray, str]]:
    """Returns the series of a TIFF: one array for each run of pages of the same kind."""
    with tifffile.TiffFile(path) as tiff:
        # tifffile leaves out the pages that are missing when a file was cut short; the last page of a whole
        # file names no next page.
        layout, handle = tiff.tiff, tiff.filehandle
        last = tiff.pages[len(tiff.pages) - 1].offset
        handle.seek(last)
        (tags,) = struct.unpack(layout.tagnoformat, handle.read(layout.tagnosize))
        handle.seek(last + layout.tagnosize + tags * layout.tagsize)
        (following,) = struct.unpack(layout.offsetformat, handle.read(layout.offsetsize))
        if following:
            raise ValueError(f"pages are missing after the first {len(tiff.pages)}")
        return [(series.asarray(), series.axes) for series in tiff.series]


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
        ValueError: If the percentiles are out of order or out of range.
    """
    values = image.astype(np.float64)  # A difference of two float32 may overflow, a quotient lose digits.
    if method == "max":
        bottom, top = 0.0, values.max()
    else:
        if not 0 <= low < high <= 100:
            raise ValueError(f"percentiles {low:g} and {high:g} are no range; choose 0 <= low < high <= 100")
        bottom, top = np.percentile(values, [low, high])
        if bottom >= top:
            bottom, top = values.min(), values.max()
    if bottom >= top or is_constant(image):
        return np.zeros_like(image)
    return stretch(values, bottom, top)


def stretch(values: Float[np.ndarray, "_ _"], bottom: float, top: float) -> Float32[np.ndarray, "_ _"]:
    """Returns grey values with `bottom` at 0 and `top` at 1, clipped to that range."""
    return np.clip((values.astype(np.float64) - bottom) / (top - bottom), 0, 1).astype(np.float32)


def read_labels(path: str | Path) -> Int32[np.ndarray, "height width"]:
    """Reads a label image: 0 for background, a whole number for each cell.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is empty, damaged or not an image; if it is in colour or has several pages; if
            it holds a fraction, a negative number or one above 2,147,483,647.
    """
    parts = _decode(Path(path))
    labels, axes = parts[0]
    if "S" in axes:
        raise ValueError(f"{path}: the labels are a colour picture; save the cell numbers as grey values")
    if len(parts) > 1 or labels.ndim != 2:
        raise ValueError(f"{path}: the labels have several pages; save each page as a file of its own")
    if labels.dtype.kind not in "buif" or (labels.dtype.kind == "f" and (labels != np.round(labels)).any()):
        raise ValueError(f"{path}: the labels are not whole numbers; save them as 16- or 32-bit integers")
    if labels.min() < 0:
        raise ValueError(f"{path}: a label is negative ({labels.min()}); number the cells 1, 2, 3 and so on")
    if labels.max() > np.iinfo(np.int32).max:
        raise ValueError(f"{path}: the label {labels.max()} is too large; number the cells 1, 2, 3 and so on")
    return labels.astype(np.int32)


def write_labels(path: str | Path, labels: Integer[np.ndarray, "height width"]) -> None:
    """Writes a label image as a zlib-compressed TIFF: uint16 up to the label 65,535, else uint32.

    Raises:
        ValueError: If a label is negative.
    """
    if labels.min() < 0:
        raise ValueError(f"{path}: a label is negative ({labels.min()}); nothing was saved, so number from 1")
    kind = np.uint16 if labels.max() <= np.iinfo(np.uint16).max else np.uint32
    with replacing(path) as temporary:
        tifffile.imwrite(temporary, labels.astype(kind), photometric="minisblack", compression="zlib")


def write_picture(path: str | Path, rgb: UInt8[np.ndarray, "height width 3"]) -> None:
    """Writes a picture to look at, as a PNG."""
    with replacing(path) as temporary:
        Image.fromarray(rgb).save(temporary, format="PNG")
