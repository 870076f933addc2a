"""Question: how many nuclei does `find_nuclei` find in stains of many kinds, with their size and without it?

    python -m experiments.nuclei DATA
    python -m experiments.nuclei DATA fluo_u2os nuclei_mouse

DATA is a folder of sets, each with `images/` and `masks/`, files paired by name. The images of a set are the
stain; where there are `nuclei/`, those are, and the masks are of the cells around them. A table for each set: the
F-measure of points within half the median diameter of the masks from their centroids, pooled over the images at
even places in the order of names, on which the numbers in `find_nuclei` were chosen, over the others, and over
all; the F-measure of the worst image; and how many nuclei were found and are there. The second row is with the
diameter given, the median of the set; where the masks are of cells, that of the nuclei is not known, so that there
is none.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Real

from wsis_jax.io import IMAGE_SUFFIXES, LABEL_SUFFIXES, list_files, read_image, read_labels, stem
from wsis_jax.metrics import centroids, match_points
from wsis_jax.points import find_nuclei

SETS = (
    "fluo_u2os",
    "nuclei_large",
    "nuclei_small",
    "nuclei_mouse",
    "phase_nuclei_hela",
    "phase_nuclei_macrophage",
)


class Stain(NamedTuple):
    """An image of a nuclear stain, and the masks of its nuclei or of the cells that they are in."""

    image: Real[np.ndarray, "height width"]
    masks: Int[np.ndarray, "height width"]


class Count(NamedTuple):
    """Nuclei of an image that were found where they are, that were found, and that are there."""

    hits: int
    found: int
    true: int


def main(argv: Sequence[str] | None = None) -> None:
    """Finds the nuclei of each set, and prints its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"default: {' '.join(SETS)}")
    arguments = parser.parse_args(argv)
    for name in arguments.sets or SETS:
        stains, of_cells = read_set(arguments.data / name)
        diameter = median_diameter(stains)
        print(f"\n{name}, masks of {diameter:.0f} pixels\n")
        print("| diameter | F, chosen on | F, others | F, all | F, worst image | found | true |")
        print("|---|---|---|---|---|---|---|")
        for told, given in [("estimated", None)] if of_cells else [("estimated", None), ("given", diameter)]:
            counts = [count(stain, distance=diameter / 2, diameter=given) for stain in stains]
            parts = counts[::2], counts[1::2], counts, [min(counts, key=lambda one: f_measure([one]))]
            figures = [f"{f_measure(part):.3f}" if part else "" for part in parts]
            totals = [str(sum(one.found for one in counts)), str(sum(one.true for one in counts))]
            print(f"| {told} | {' | '.join(figures + totals)} |", flush=True)


def read_set(folder: Path) -> tuple[list[Stain], bool]:
    """Reads the stains of a set in the order of names, and tells whether its masks are of cells."""
    of_cells = (folder / "nuclei").is_dir()
    masks = {stem(path): path for path in list_files(folder / "masks", suffixes=LABEL_SUFFIXES)}
    images = list_files(folder / ("nuclei" if of_cells else "images"), suffixes=IMAGE_SUFFIXES)
    return [Stain(read_image(path)[0], read_labels(masks[stem(path)])) for path in images], of_cells


def median_diameter(stains: list[Stain]) -> float:
    """Returns the median of the diameters of discs of the masks' areas, in pixels."""
    areas = np.concatenate([np.bincount(stain.masks.ravel())[1:] for stain in stains])
    return 2 * float(np.sqrt(np.median(areas[areas > 0]) / np.pi))


def count(stain: Stain, *, distance: float, diameter: float | None) -> Count:
    """Finds the nuclei of a stain, and counts them against the centroids of its masks."""
    found, true = find_nuclei(stain.image, diameter=diameter).points, centroids(stain.masks)
    return Count(match_points(found, true, distance=distance).true_positives, len(found), len(true))


def f_measure(counts: Sequence[Count]) -> float:
    """Returns the F-measure of images, pooled."""
    hits, found, true = np.sum(counts, axis=0)
    return float(2 * hits / max(found + true, 1))


if __name__ == "__main__":
    main()
