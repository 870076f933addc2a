"""Writes a data folder of drawn scenes, so that every experiment runs where there are no real images.

    python -m experiments.drawn runs/data/drawn
    python -m experiments.drawn runs/data/sparse --kind sparse --images 10 --side 320 --cells 6
    python -m experiments.drawn runs/data/mixed --kind mixed --images 10 --side 320 --cells 6

Crowded scenes are those of `wsis demo`, cells in their halos with rough clicks. Sparse ones are discs of 20 pixels
with a bright rim, about 100 pixels apart, so that the spacing of clicks does not tell their size. Mixed ones are
discs without a rim, dim and strong, every second one darker than the uneven ground and the others brighter. The
folder has `images/`, `points/` and `masks/`, as the other experiments want it.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tifffile
from scipy import ndimage

from wsis_jax.core import UserError, replacing
from wsis_jax.io import write_labels, write_points
from wsis_jax.synthetic import Scene, draw_scene

_TRIES = 1000  # random places for each sparse cell
_DISC, _APART = 20.0, 100.0  # pixels: diameter of the sparse cells, and their distance


def main(argv: Sequence[str] | None = None) -> None:
    """Draws the scenes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--kind", choices=["crowded", "sparse", "mixed"], default="crowded", help="of scenes (crowded)"
    )
    parser.add_argument("--images", type=int, default=6)
    parser.add_argument("--side", type=int, default=512, help="of the images, in pixels")
    parser.add_argument("--cells", type=int, default=60, help="in each image")
    arguments = parser.parse_args(argv)
    for part in ("images", "points", "masks"):
        (arguments.folder / part).mkdir(parents=True, exist_ok=True)
    for number in range(arguments.images):
        shape = arguments.side, arguments.side
        if arguments.kind != "crowded":
            scene = draw_sparse(number, shape=shape, cells=arguments.cells, mixed=arguments.kind == "mixed")
        else:
            scene = draw_scene(number, shape=shape, cells=arguments.cells, diameter=36.0, jitter=2.0)
        name = f"scene{number:02}"
        with replacing(arguments.folder / "images" / f"{name}.tif") as temporary:
            tifffile.imwrite(temporary, np.round(scene.image * 65_535).astype(np.uint16))
        write_points(arguments.folder / "points" / f"{name}.csv", scene.points)
        write_labels(arguments.folder / "masks" / f"{name}.tif", scene.labels)


def draw_sparse(seed: int, *, shape: tuple[int, int], cells: int, mixed: bool = False) -> Scene:
    """Draws discs with a bright rim, or mixed ones, far from each other, with clicks that are a pixel off.

    Raises:
        UserError: if no place is left for so many.
    """
    rng, centres = np.random.default_rng(seed), np.empty((0, 2))
    for _ in range(_TRIES * cells):
        if len(centres) == cells:
            break
        place = rng.uniform(_DISC, np.array(shape) - _DISC)
        if (np.hypot(*(centres - place).T) > 0.85 * _APART).all():
            centres = np.vstack([centres, place])
    if len(centres) < cells:
        raise UserError(
            f"{cells} sparse cells do not fit into {shape[0]} × {shape[1]} pixels; draw fewer (--cells)"
        )
    rows, columns = np.indices(shape)
    image, labels = np.full(shape, 0.4), np.zeros(shape, np.int32)
    for number, (row, column) in enumerate(centres, start=1):
        distance = np.hypot(rows - row, columns - column)
        labels[distance <= _DISC / 2] = number
        if mixed:
            image += (-1) ** number * rng.uniform(0.1, 0.25) / (1 + np.exp(distance - _DISC / 2))
        else:
            image += 0.4 * np.exp(-((distance - _DISC / 2) ** 2) / 3)
    if mixed:
        image += 0.2 * (columns / shape[1] - 0.5)
    image = np.clip(ndimage.gaussian_filter(image, 0.7) + rng.normal(0, 0.02, shape), 0, 1).astype(np.float32)
    return Scene(image, centres + rng.normal(0, 1, centres.shape), labels, np.zeros(shape, np.float32))


if __name__ == "__main__":
    main()
