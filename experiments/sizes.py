"""Question: does `--diameter` make images of any size alike?

    python -m experiments.sizes DATA/fluo_u2os

Resizes the held-out images of a data folder, with their masks, by several factors, and segments them with a
model that is told the diameter times the factor. DATA is a folder with `images/`, `points/` and `masks/`. The
diameter is found from the clicks on the other images. Prints a row for each factor; mDice and AP50 should hardly
differ. Some seconds an image.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.folds import read_cases, split
from experiments.generalist import diameter
from wsis_jax.core import resize_image, resize_labels, scale_points, scaled_shape
from wsis_jax.metrics import match_labels, match_points, pool_scores
from wsis_jax.network import load_model
from wsis_jax.segmentation import segment


def main(argv: Sequence[str] | None = None) -> None:
    """Segments the images at all sizes and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="generalist", metavar="RUN", help="folder or name (generalist)")
    parser.add_argument("--factors", type=float, nargs="+", default=(0.5, 1.0, 2.0))
    arguments = parser.parse_args(argv)
    taught, test = split(read_cases(arguments.data, channel="grey"), 0, 3)
    model, size = load_model(arguments.model), diameter(taught)
    print(f"\n{len(test)} images, cells of {size:.0f} pixels\n")
    print("\n| × | F (half a diameter) | mDice | AP50 |\n|---|---|---|---|")
    for factor in arguments.factors:
        config, cells, points = model.config.for_diameter(size * factor), [], []
        for case in test:
            image = resize_image(case.image.astype(np.float32), factor)
            masks = resize_labels(case.masks, scaled_shape(case.image.shape, factor))
            found = segment(model, image, config=config)
            cells.append(match_labels(found.labels, masks))
            true = scale_points(case.points, factor)
            points.append(match_points(found.points, true, distance=size * factor / 2))
        scores = pool_scores(cells, points)
        print(f"| {factor:g} | {scores.f_measure:.3f} | {scores.mdice:.3f} | {scores.ap50:.3f} |", flush=True)


if __name__ == "__main__":
    main()
