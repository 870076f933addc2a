"""Question: with no setting by hand, how good is the method on every kind of microscopy?

    python -m experiments.every_kind DATA --work runs/kinds
    python -m experiments.every_kind DATA --work runs/kinds --kinds phase_fibroblast --steps 900

DATA holds a folder for each kind with `images/`, `points/` and `masks/`, files paired by name. Each kind is
cross-validated: every fold trains on the clicks of the other folds' images and is scored on its own, with the
settings of `wsis train` but for the number of steps; images in colour are learned from in colour. Slides are not
divided, and of a kind with one image its halves are the folds. Two more stand beside the method, at its peaks: the
best of the simple rivals of `experiments.crossval`, and as a ceiling the same network trained on hand-made
masks for as many steps from nothing, whose map of the inside of cells is flooded from the peaks. Of the ceiling
only the first fold is trained, and the figure beside it is of the same images. `--ceilings none` leaves it
out, and so does `--from`.

With `--from MODEL` each fold starts from a trained model, as `wsis train --from` does. Kinds that it learned
from are not a test of it: those of the package have not seen larger nuclei, HeLa cells and macrophages.

What was trained is used again. Figures go to `scores.json` in the work folder, where those of other kinds stay.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from experiments.crossval import figures, half_diameter, ours, rivals
from experiments.folds import Case, experiment_config, halves, read_cases, split, trained
from experiments.fronts import Front, front
from experiments.student import drawing_settings, flood, inside_map, insides
from wsis_jax.cli.terminal import training_progress
from wsis_jax.core import SIGMA_PER_DIAMETER, Channels, normalize_by, preset, resize_labels, write_text
from wsis_jax.network import Model, load_model
from wsis_jax.training import going_on, make_sample, read_metrics, train_on_samples

_KEYS = ("f_half", "mdice", "dice_one_to_one", "ap50", "pq")


def main(argv: Sequence[str] | None = None) -> None:
    """Trains and scores the folds of each kind, and prints a row for each kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs/kinds"), metavar="DIR")
    parser.add_argument("--kinds", nargs="+", metavar="KIND", help="folders of DATA (all)")
    parser.add_argument("--from", dest="start", metavar="MODEL", help="to start from: a run folder, or a name")
    parser.add_argument("--steps", type=int, default=300, help="of each training (300)")
    parser.add_argument("--ceilings", choices=["first", "none"], default="first")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="for training")
    arguments = parser.parse_args(argv)
    kinds = arguments.kinds or sorted(path.parent.name for path in arguments.data.glob("*/masks"))
    file = arguments.work / "scores.json"
    scores = json.loads(file.read_text()) if file.exists() else {}
    for kind in kinds:
        scores[kind] = _score(kind, arguments)
        arguments.work.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps(scores, indent=2) + "\n")
    _print(scores)


def cases_of(data: Path, *, channel: Channels | None = None) -> list[Case]:
    """Reads a kind, as `read_cases` does; of a single image the halves."""
    cases = read_cases(data, channel=channel)
    return halves(cases[0]) if len(cases) == 1 else cases


def _score(kind: str, arguments: argparse.Namespace) -> dict[str, object]:
    """Returns the figures of a kind, trained anew or from its folder."""
    settings, start = [f"train.steps={arguments.steps}", *arguments.set], arguments.start
    config = experiment_config(settings) if start is None else going_on(start).override(settings)
    cases = cases_of(arguments.data / kind, channel=None if start is None else config.image.channels or "grey")
    folds = 3 if len(cases) == 3 else 2
    half = half_diameter(cases)
    fronts: list[list[Front]] = []
    maps: dict[str, Float32[np.ndarray, "_ _"]] = {}
    steps = 0
    for fold in range(folds):
        training, test = split(cases, fold, folds)
        folder = arguments.work / kind / f"fold{fold}"
        run = trained(training, folder, config)
        steps = run.config.train.steps  # of one that was trained before, those that it had
        run = run.using(preset("default", run.config))
        fronts.append([front(run, case, folder) for case in test])
        if arguments.ceilings == "first" and fold == 0 and start is None:
            drawer = _mask_trained(run, training, folder / "masks")
            maps |= {one.case.name: inside_map(drawer, one) for one in fronts[-1]}
    pooled = [one for ones in fronts for one in ones]
    line: dict[str, object] = {
        "steps": steps,
        "images": len(pooled),
        "half_diameter": half,
        "ours": figures(pooled, ours, half),
        "rivals": rivals(pooled, half),
    }
    ceiling = [one for one in pooled if one.case.name in maps]
    if ceiling:
        line["ceiling"] = figures(ceiling, lambda one: flood(one, maps[one.case.name]), half)
        line["ours_beside"] = figures(ceiling, ours, half)
        line["ceiling_images"] = len(ceiling)
    print(kind, json.dumps(line), flush=True)
    return line


def _mask_trained(run: Model, training: list[Case], folder: Path) -> Model:
    """Returns the network of a run trained from nothing to draw the inside of the cells of masks."""
    config = drawing_settings(run.config, run.config.train.steps)
    done = read_metrics(folder)
    if done and done[-1]["step"] == config.train.steps:
        return load_model(folder)
    samples, sigma = [], run.config.cell_diameter * SIGMA_PER_DIAMETER
    for case in training:
        image = normalize_by(config.image, case.image.astype(np.float32))
        sample = make_sample(image, case.points, scale=config.network_scale, sigma=sigma, name=case.name)
        inside = insides(resize_labels(case.masks, sample.likelihood.shape))
        samples.append(sample._replace(likelihood=inside))
    with training_progress() as callbacks:
        resume = (folder / "config.json").exists()
        return train_on_samples(samples, config=config, run=folder, resume=resume, callbacks=callbacks)


def _print(scores: dict[str, dict]) -> None:
    """Prints a row for each kind, as Markdown."""
    print(
        "\n| kind | images | steps | F | mDice | one-to-one Dice | AP50 | PQ | best simple rival: mDice, AP50 |"
        " trained on masks: mDice, AP50 | ours beside it | ratio |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for kind, line in scores.items():
        shown = " | ".join(f"{line['ours'][key]:.3f}" for key in _KEYS)
        name, best = max(line["rivals"].items(), key=lambda row: row[1]["mdice"])
        row = f"| {kind} | {line['images']} | {line['steps']} | {shown} "
        row += f"| {best['mdice']:.3f}, {best['ap50']:.3f} ({name}) "
        if "ceiling" in line:
            above, beside = line["ceiling"], line["ours_beside"]
            row += f"| {above['mdice']:.3f}, {above['ap50']:.3f} | {beside['mdice']:.3f}, {beside['ap50']:.3f} "
            row += f"| {beside['mdice'] / max(above['mdice'], 1e-9):.3f} |"
        else:
            row += "| | | |"
        print(row)


if __name__ == "__main__":
    main()
