"""What good files look like, and how they are written."""

from pathlib import Path

import numpy as np
import tifffile

from wsis_jax.io.point_file import write_points

CLICKS = np.array([[8.0, 9.0], [30.0, 38.0], [20.0, 21.0]])
GREY = np.random.default_rng(0).integers(100, 200, (40, 48)).astype(np.uint16)


def image(path: Path, values: np.ndarray = GREY, **options: object) -> None:
    """Writes a TIFF."""
    path.parent.mkdir(exist_ok=True, parents=True)
    tifffile.imwrite(path, values, **options)


def pair(folder: Path, name: str, values: np.ndarray = GREY, clicks: np.ndarray = CLICKS) -> None:
    """Writes an image and its points."""
    image(folder / f"{name}.tif", values)
    write_points(folder / f"{name}.csv", clicks)
