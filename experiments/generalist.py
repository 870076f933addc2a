"""What: trains one model on many kinds of microscopy, each resized so that its cells are equally large.

    python -m experiments.generalist DATA --work runs/generalist
    python -m experiments.generalist DATA --model generalist --unseen --kinds phase_nuclei_hela
    python -m experiments.generalist DATA --work runs/histology --kinds histo_tnbc --set image.channels=colours

DATA holds a folder for each kind with `images/`, `points/` and `masks/`, files paired by name. Every third image
of a kind is held out, of slides every third slide; of the others, up to `--most` of each kind teach. The size of
cells is found from the clicks; images are resized so that it is 40 pixels. Then the held-out images are scored, at
the size that was found from the clicks of the training images, as with `--diameter`.

With `--model` a model of the package is scored that was trained so, and nothing is trained; with `--unseen`, on
all images of kinds that it did not learn from. A training of 900 steps takes ten minutes on two cores with nothing
else to do.
"""

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.crossval import figures, half_diameter, ours, rivals
from experiments.folds import Case, experiment_config, read_cases, split, trained
from experiments.fronts import front
from wsis_jax.core import ImageConfig, preset, resize_image, scale_points, write_text
from wsis_jax.network import load_config, load_model, model_folder
from wsis_jax.training import find_size

KINDS = (
    "phase_fibroblast",
    "phase_fibroblast_large",
    "phase_yeast",
    "fluo_u2os",
    "nuclei_small",
    "nuclei_mouse",
    "nuclei_bright",
    "nuclei_stained",
    "histo_tnbc",
)
"""Kinds whose licence allows that a model which learned from them is shipped; `nuclei_large` may hold images of
BBBC039 (`fluo_u2os`), so that it neither teaches beside it nor is scored."""

_DIAMETER = 40.0  # pixels: of the cells, once images are resized


def main(argv: Sequence[str] | None = None) -> None:
    """Trains, scores the held-out images and prints a row for each kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs/generalist"), metavar="DIR")
    parser.add_argument("--kinds", nargs="+", default=KINDS, metavar="KIND")
    parser.add_argument("--model", metavar="NAME", help="of the package: it is scored, and nothing is trained")
    parser.add_argument("--unseen", action="store_true", help="the model saw none of the kinds: score all images")
    parser.add_argument("--most", type=int, default=8, metavar="N", help="images of a kind to learn from (8)")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="for training")
    arguments = parser.parse_args(argv)
    if arguments.unseen and arguments.model is None:
        parser.error("--unseen needs --model: a training learns from the kinds")
    config = experiment_config([f"image.diameter={_DIAMETER:g}", *arguments.set])
    if arguments.model is not None:
        config = load_config(model_folder(arguments.model))
    channel = config.image.channels or "grey"
    kinds = {kind: split(read_cases(arguments.data / kind, channel=channel), 0, 3) for kind in arguments.kinds}
    if arguments.unseen:
        kinds = {kind: ([*training, *test], [*training, *test]) for kind, (training, test) in kinds.items()}
    sizes = {kind: diameter(training) for kind, (training, _) in kinds.items()}
    taught = [
        at_size(case, sizes[kind])
        for kind, (training, _) in kinds.items()
        for case in training[:: max(len(training) // arguments.most, 1)][: arguments.most]
    ]
    folder, lines = arguments.work / (arguments.model or "run"), []
    if arguments.model is None:
        run = trained(taught, folder, config)
    else:
        if not folder.exists():
            shutil.copytree(model_folder(arguments.model), folder)  # what is computed is kept beside the weights
        run = load_model(folder)
    for kind, (_, test) in kinds.items():
        sized = run.using(preset("default", run.config).for_diameter(sizes[kind]))
        fronts = [front(sized, case, folder) for case in test]
        half = half_diameter(test)
        best = max(rivals(fronts, half).items(), key=lambda row: row[1]["mdice"])
        lines.append({"kind": kind, "diameter": sizes[kind], **figures(fronts, ours, half), "rival": best})
        write_text(arguments.work / "scores.json", json.dumps(lines, indent=2) + "\n")
    print("\n| kind | held out | diameter | F (half a diameter) | mDice | AP50 | best simple rival: mDice, AP50 |")
    print("|---|---|---|---|---|---|---|")
    for line in lines:
        shown = " | ".join(f"{line[key]:.3f}" for key in ("f_half", "mdice", "ap50"))
        name, rival = line["rival"]
        beside = f"{rival['mdice']:.3f}, {rival['ap50']:.3f} ({name})"
        print(f"| {line['kind']} | {len(kinds[line['kind']][1])} | {line['diameter']:.0f} | {shown} | {beside} |")


def diameter(cases: list[Case]) -> float:
    """Returns how large the cells are, found from images and clicks alone."""
    return find_size([case.image for case in cases], [case.points for case in cases], ImageConfig()).diameter


def at_size(case: Case, size: float) -> Case:
    """Returns a case resized so that cells of that diameter are 40 pixels; its masks stay as they were."""
    scale = _DIAMETER / size
    return case._replace(
        image=resize_image(case.image.astype(np.float32), scale), points=scale_points(case.points, scale)
    )


if __name__ == "__main__":
    main()
