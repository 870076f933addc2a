"""PNG and JPEG, decoded whole when a part of them is first read."""

from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path

import imagecodecs
import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from wsis_jax.core import UserError, Window, check_values, reading
from wsis_jax.io.readers import DAMAGED, NO_PIXELS, TOO_LARGE, Stack


def open_png(path: Path, axes: str | None) -> AbstractContextManager[list[Stack]]:
    """Context manager yielding the array of a PNG, which names its axes itself; errors are those of `_open`."""
    # Pillow would cut 16-bit colours down to 8 bits.
    return _open(path, PngImageFile, lambda: imagecodecs.png_decode(path.read_bytes()))


def open_jpeg(path: Path, axes: str | None) -> AbstractContextManager[list[Stack]]:
    """Context manager yielding the array of a JPEG: grey, or RGB from any other colours, such as CMYK."""

    def decode() -> np.ndarray:
        with JpegImageFile(path) as picture:
            return np.asarray(picture if picture.mode == "L" else picture.convert("RGB"))

    return _open(path, JpegImageFile, decode)


@contextmanager
def _open(
    path: Path, described_by: type[PngImageFile | JpegImageFile], decode: Callable[[], np.ndarray]
) -> Generator[list[Stack], None, None]:
    """Context manager yielding the one array of a picture.

    Raises:
        UserError: if it is too large for the memory of this machine.
        Exception: whatever Pillow raises for a damaged file.
    """
    # By its own class: `Image.open` refuses large pictures, whatever the memory of the machine.
    with described_by(path) as picture:
        sizes, colours = {"Y": picture.height, "X": picture.width}, len(picture.getbands())
        indexed, grey = picture.mode == "P", picture.mode == "P" and _is_grey(picture)
    check_values(path, sizes["Y"] * sizes["X"] * colours, remedy=TOO_LARGE)

    @cache
    def decoded() -> np.ndarray:
        with reading(path, damaged=DAMAGED):
            array = decode()
        if array.size == 0:
            raise UserError(f"{path}: {NO_PIXELS}")
        return array

    def read(_: Mapping[str, int], window: Window) -> tuple[np.ndarray, str]:
        return decoded()[window], "YXS"[: decoded().ndim]

    def read_indices(_: Mapping[str, int], window: Window) -> tuple[np.ndarray, str]:
        with reading(path, damaged=DAMAGED), described_by(path) as picture:
            return np.asarray(picture.convert("L") if grey else picture)[window], "YX"

    yield [Stack(sizes, read, stored=read_indices if indexed else None)]


def _is_grey(picture: Image.Image) -> bool:
    """Tells whether a palette holds nothing but grey, as of a grey picture that was made smaller."""
    palette = np.array(picture.getpalette("RGB") or []).reshape(-1, 3)
    return bool((palette == palette[:, :1]).all())
