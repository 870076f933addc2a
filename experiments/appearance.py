"""Question: how large do cells look, and what tells stained cells from phase contrast, in images of many kinds?

    python -m experiments.appearance DATA
    python -m experiments.appearance DATA --kinds fluo_u2os phase_yeast

DATA holds a folder for each kind with `images/`, `points/` and `masks/`, files paired by name. Sizes and looks are
read at the clicks, as a training does; the masks tell the true diameter alone. Prints a row for each kind: the
diameter found, that by each of the three measures, the true median; then, over the images, the least and greatest
separation, contrast and rim (`wsis_jax/cutting/appearance.py`), and how many count as stained. Some seconds a
million pixels.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.crossval import half_diameter
from experiments.folds import Case, read_cases
from wsis_jax.core import (
    SIGMA_PER_DIAMETER,
    ImageConfig,
    grey,
    inside,
    nearest_peak,
    normalize_by,
    resize_image,
    scale_points,
)
from wsis_jax.cutting import Appearance, fit_appearance, with_channels
from wsis_jax.points import measure_cells, suggest_scale


def main(argv: Sequence[str] | None = None) -> None:
    """Prints a row for each kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--kinds", nargs="+", metavar="KIND", help="folders of DATA (all)")
    arguments = parser.parse_args(argv)
    kinds = arguments.kinds or sorted(path.parent.name for path in arguments.data.glob("*/masks"))
    print("\n| kind | found | spacing, blob, structure | true | ratio | separation | contrast | rim | stained |")
    print("|---|---|---|---|---|---|---|---|---|")
    for kind in kinds:
        cases = read_cases(arguments.data / kind)
        images = [normalize_by(ImageConfig(), case.image.astype(np.float32)) for case in cases]
        size = measure_cells(map(grey, images), [case.points for case in cases])
        found, true = size.diameter, 2 * half_diameter(cases)
        looks = [look(image, case, found) for image, case in zip(images, cases, strict=True)]
        known = [one for one in looks if one is not None]
        three = ", ".join("-" if one is None else f"{one:.0f}" for one in size)
        ranges = [
            "-" if not known else f"{min(values):.2f} to {max(values):.2f}"
            for values in (
                [one.separation for one in known],
                [one.axis.contrast for one in known],
                [one.rim for one in known],
            )
        ]
        stained = f"{sum(one.is_stained for one in known)} of {len(cases)}"
        shown = " | ".join([f"{found:.0f}", three, f"{true:.0f}", f"{found / true:.2f}", *ranges, stained])
        print(f"| {kind} | {shown} |", flush=True)


def look(image: np.ndarray, case: Case, diameter: float) -> Appearance | None:
    """Returns how the cells of an image look, in pixels of a network for cells of a diameter."""
    sigma = SIGMA_PER_DIAMETER * diameter
    scale = suggest_scale(sigma)
    small, points = resize_image(image, scale), scale_points(case.points, scale)
    shape = small.shape[0], small.shape[1]
    peaks = np.round(points[inside(points, shape)]).astype(np.int64).clip(0, np.array(shape) - 1)
    return fit_appearance(with_channels(small), nearest_peak(peaks, shape)[1], sigma=sigma * scale)


if __name__ == "__main__":
    main()
