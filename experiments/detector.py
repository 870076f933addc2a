"""Question: what do width, sigma, resolution, patch, augmentation and length of training buy?

    python -m experiments.detector DATA/phase_fibroblast --work runs/detector

Trains one network per row on the first of three folds (see `experiments.crossval`), each row one change of the
first, and scores the fold's own images: detection by F-measure, within half a diameter of a cell and within 10
pixels, and outlines by mDice. No default is chosen by these images alone. One seed each; two trainings of the same
settings differ by a hundredth or two. Five to ten minutes a row on two cores.
"""

import argparse
import json
import re
import time
from collections.abc import Sequence
from pathlib import Path

from experiments.crossval import figures, half_diameter, ours
from experiments.folds import experiment_config, read_cases, split, trained
from experiments.fronts import front
from wsis_jax.core import preset, write_text

# 300 steps, so that all rows together take an hour.
_BASE = "train.steps=300"
_ROWS = (
    "",
    "unet.encoder=[8,16,32,64,64] unet.decoder=[32,16,8,8]",
    "unet.encoder=[16,32,64,128] unet.decoder=[64,32,16]",
    "likelihood.sigma=8",
    "likelihood.sigma=16",
    "image.scale=0.6",
    "train.patch=128",
    "train.augment=exact",
    "train.augment=none",
    "train.learning_rate=5e-4",
    "train.steps=900",
)


def main(argv: Sequence[str] | None = None) -> None:
    """Prints a row for each training."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs/detector"), metavar="DIR")
    parser.add_argument("--rows", nargs="+", default=_ROWS, metavar="SETTINGS", help="divided by spaces")
    arguments = parser.parse_args(argv)
    training, test = split(read_cases(arguments.data), 0, 3)
    half, lines = half_diameter(test), []
    for row in arguments.rows:
        folder = arguments.work / arguments.data.name / (re.sub(r"[^\w.=]+", "_", row) or "base")
        started = time.perf_counter()
        run = trained(training, folder, experiment_config([_BASE, *row.split()]))
        minutes = (time.perf_counter() - started) / 60
        run = run.using(preset("default", run.config))
        scores = figures([front(run, case, folder) for case in test], ours, half)
        lines.append({"settings": row, "minutes": minutes, **scores})
        write_text(arguments.work / f"{arguments.data.name}.json", json.dumps(lines, indent=2) + "\n")
    print(f"\n| settings | F ({half:.0f} px) | F (10 px) | mDice | AP50 |\n|---|---|---|---|---|")
    for line in lines:
        shown = " | ".join(f"{line[key]:.3f}" for key in ("f_half", "f_10", "mdice", "ap50"))
        print(f"| {line['settings'] or _BASE} | {shown} |")


if __name__ == "__main__":
    main()
