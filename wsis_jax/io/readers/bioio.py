"""Files of microscopes (czi, nd2, lif), read through bioio: one array for each scene."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from wsis_jax.core import UserError, Window
from wsis_jax.io.readers import DAMAGED, Stack, of_scenes, side_of_square, stack_of

Read = Callable[[Mapping[str, int], Window], tuple[np.ndarray, str]]

# The first bytes of whole files.
_STARTS = {
    ".czi": (b"ZISRAWFILE",),
    ".nd2": (b"\xda\xce\xbe\x0a", b"\x00\x00\x00\x0cjP"),
    ".lif": (b"\x70\x00\x00\x00",),
}


@contextmanager
def open_scenes(path: Path, axes: str | None) -> Generator[list[Stack], None, None]:
    """Context manager yielding the scenes of a file, of which nothing but the description is read.

    The ending names the reader of the file, as .czi that of `bioio_czi`. Such files name their axes themselves.

    Raises:
        UserError: if bioio, or its reader of such files, is not installed.
        UserError: if the reader cannot read a file that begins as such files do.
        Exception: whatever the reader raises for a file that does not.
    """
    try:
        from bioio import BioImage

        reader = import_module(f"bioio_{path.suffix.lower()[1:]}").Reader
    except ImportError as error:
        raise UserError(
            f"{path}: files of the kind {path.suffix} need bioio; install it with: pip install 'wsis-jax[bioio]'"
        ) from error
    stacks = []
    with _explaining(path):
        names = [str(name) for name in BioImage(path, reader=reader).scenes]
        for scene in range(len(names)):
            image = BioImage(path, reader=reader)  # one per scene: what is read later is of the scene set last
            image.set_scene(scene)
            stack = stack_of(path, image.dask_data, image.dims.order, pixel_size=_side(image))
            stacks.append(stack._replace(read=_explained(path, stack.read)))
    yield of_scenes(stacks, names)


def _side(image: Any) -> float | None:
    """Returns the side of a pixel in µm; None where the reader finds none in the file, whatever it raises then."""
    try:
        sizes = image.physical_pixel_sizes
        return side_of_square((sizes.Y, sizes.X))
    except Exception:  # a dozen unrelated classes, of what is missing in the metadata
        return None


@contextmanager
def _explaining(path: Path) -> Generator[None, None, None]:
    """Context manager that says of a file that begins as its kind does that the reader cannot read it."""
    try:
        yield
    except (OSError, MemoryError):
        raise
    except Exception as error:
        kind = path.suffix.lower()
        with path.open("rb") as file:
            start = file.read(16)
        if not start.startswith(_STARTS[kind]) or (isinstance(error, UserError) and DAMAGED not in str(error)):
            raise
        reason = str(error.__cause__ or error).partition("\n")[0]
        raise UserError(
            f"{path}: the reader of {kind} files, bioio-{kind[1:]}, cannot read it ({reason[:200]}); export it as "
            "OME-TIFF, or copy it again if its own program cannot open it either"
        ) from error


def _explained(path: Path, read: Read) -> Read:
    """Returns a function that reads, with errors as those of `_explaining`."""

    def read_explained(at: Mapping[str, int], window: Window) -> tuple[np.ndarray, str]:
        with _explaining(path):
            return read(at, window)

    return read_explained
