"""Writes a data folder of drawn scenes, so that every experiment runs where there are no real images.

    python -m experiments.drawn runs/data/drawn

The scenes are those of `wsis demo`, crowded cells in their halos with rough clicks; the folder holds `images/`,
`points/` and `masks/`, as the other experiments want it.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tifffile

from wsis_jax.core import replacing
from wsis_jax.io import write_labels, write_points
from wsis_jax.synthetic import draw_scene


def main(argv: Sequence[str] | None = None) -> None:
    """Draws the scenes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=6)
    parser.add_argument("--side", type=int, default=512, help="of the images, in pixels")
    parser.add_argument("--cells", type=int, default=60, help="in each image")
    arguments = parser.parse_args(argv)
    for part in ("images", "points", "masks"):
        (arguments.folder / part).mkdir(parents=True, exist_ok=True)
    for number in range(arguments.images):
        shape = arguments.side, arguments.side
        scene = draw_scene(number, shape=shape, cells=arguments.cells, diameter=36.0, jitter=2.0)
        name = f"scene{number:02}"
        with replacing(arguments.folder / "images" / f"{name}.tif") as temporary:
            tifffile.imwrite(temporary, np.round(scene.image * 65_535).astype(np.uint16))
        write_points(arguments.folder / "points" / f"{name}.csv", scene.points)
        write_labels(arguments.folder / "masks" / f"{name}.tif", scene.labels)


if __name__ == "__main__":
    main()
