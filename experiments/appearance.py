"""Question: how large do cells look, and what tells stained cells from phase contrast, in images of many kinds?

    python -m experiments.appearance DATA
    python -m experiments.appearance DATA --kinds fluo_u2os phase_yeast

DATA holds a folder for each kind with `images/`, `points/` and `masks/`, files paired by name. Sizes and looks are
read at the clicks, as a training does; the masks tell the true diameter alone. Prints a row for each kind: the
diameter found, that by each of the four measures, the true median; then, over the images, the least and greatest
separation, contrast, rim and texture (`wsis_jax/cutting/appearance.py`), and how many count as stained. Some
seconds a million pixels.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from experiments.crossval import half_diameter
from experiments.folds import read_cases
from wsis_jax.core import ImageConfig, normalize_by
from wsis_jax.cutting import Appearance
from wsis_jax.points import CellSize
from wsis_jax.training import find_size, look_at

_LOOKS: dict[str, Callable[[Appearance], float]] = {
    "separation": lambda look: look.separation,
    "contrast": lambda look: look.axis.contrast,
    "rim": lambda look: look.rim,
    "texture": lambda look: look.texture,
}


def main(argv: Sequence[str] | None = None) -> None:
    """Prints a row for each kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--kinds", nargs="+", metavar="KIND", help="folders of DATA (all)")
    arguments = parser.parse_args(argv)
    kinds = arguments.kinds or sorted(path.parent.name for path in arguments.data.glob("*/masks"))
    measures, told = ", ".join(CellSize._fields), " | ".join(_LOOKS)
    print(f"\n| kind | found | {measures} | true | ratio | {told} | stained |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for kind in kinds:
        cases = read_cases(arguments.data / kind)
        size = find_size([case.image for case in cases], [case.points for case in cases], ImageConfig())
        found, true = size.diameter, 2 * half_diameter(cases)
        images = (normalize_by(ImageConfig(), case.image.astype(np.float32)) for case in cases)
        looks = [
            look_at(image, case.points, size.measures.extent) for image, case in zip(images, cases, strict=True)
        ]
        known = [one for one in looks if one is not None]
        each = ", ".join("-" if one is None else f"{one:.0f}" for one in size.measures)
        ranges = [
            f"{min(values):.2f} to {max(values):.2f}" if known else "-"
            for values in ([read(one) for one in known] for read in _LOOKS.values())
        ]
        stained = f"{sum(one.is_stained for one in known)} of {len(cases)}"
        shown = " | ".join([f"{found:.0f}", each, f"{true:.0f}", f"{found / true:.2f}", *ranges, stained])
        print(f"| {kind} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
