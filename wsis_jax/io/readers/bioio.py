"""Files of microscopes, read through bioio."""

import logging
from importlib import import_module
from pathlib import Path
from typing import Any

from wsis_jax.core import UserError
from wsis_jax.io.pixel_sizes import square

ENDINGS = (".czi", ".nd2", ".lif")
"""Of the files that the extra `bioio` reads."""

# Without a handler, its remarks on a damaged file would be printed beside our one sentence.
logging.getLogger("bioio").addHandler(logging.NullHandler())


def open_scenes(path: Path) -> list[tuple[Any, str, float | None]]:
    """Opens the scenes of a file, of which nothing but the description is read.

    Args:
        path: a file that ends in one of `ENDINGS`.

    Returns:
        For each scene a dask array, the names of its axes, such as "TCZYX", and the side of a pixel in
        micrometres, or None where it is not given or pixels are not square.

    Raises:
        UserError: if bioio, or its reader of such files, is not installed.
        Exception: whatever the reader raises for a damaged file.
    """
    reader = f"bioio_{path.suffix.lower()[1:]}"
    try:
        from bioio import BioImage

        module = import_module(reader)
    except ImportError as error:
        raise UserError(
            f"{path}: files of the kind {path.suffix} need bioio; install it with: pip install 'wsis-jax[bioio]'"
        ) from error
    scenes = []
    for scene in range(len(BioImage(path, reader=module.Reader).scenes)):
        image = BioImage(
            path, reader=module.Reader
        )  # one for each, for what is read later is of the scene set last
        image.set_scene(scene)
        sizes = image.physical_pixel_sizes
        scenes.append((image.dask_data, image.dims.order, square((sizes.Y, sizes.X))))
    return scenes
