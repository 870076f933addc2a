"""Files of microscopes (czi, nd2, lif), read through bioio: one array for each scene."""

from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from wsis_jax.core import UserError
from wsis_jax.io.readers import Stack, side_of_square, stack_of


@contextmanager
def open_scenes(path: Path, axes: str | None) -> Generator[list[Stack], None, None]:
    """Context manager yielding the scenes of a file, of which nothing but the description is read.

    The ending names the reader of the file, as .czi that of `bioio_czi`. Such files name their axes themselves.

    Raises:
        UserError: if bioio, or its reader of such files, is not installed.
        Exception: whatever the reader raises for a damaged file.
    """
    try:
        from bioio import BioImage

        reader = import_module(f"bioio_{path.suffix.lower()[1:]}").Reader
    except ImportError as error:
        raise UserError(
            f"{path}: files of the kind {path.suffix} need bioio; install it with: pip install 'wsis-jax[bioio]'"
        ) from error
    stacks = []
    for scene in range(len(BioImage(path, reader=reader).scenes)):
        image = BioImage(path, reader=reader)  # one per scene: what is read later is of the scene set last
        image.set_scene(scene)
        side = side_of_square((image.physical_pixel_sizes.Y, image.physical_pixel_sizes.X))
        stacks.append(stack_of(path, image.dask_data, image.dims.order, pixel_size=side))
    yield stacks
