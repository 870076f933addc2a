"""`wsis demo`: the whole method on drawn scenes, in a few minutes, without data, annotation or a download."""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

from wsis_jax.cli.arguments import add_verbose, which_run
from wsis_jax.cli.terminal import print_scores, training_progress, waiting
from wsis_jax.core import Config, LikelihoodConfig, TrainConfig, UNetConfig, UserError

if TYPE_CHECKING:
    from wsis_jax.core import Segmentation
    from wsis_jax.network import Model
    from wsis_jax.segmentation import Evaluation
    from wsis_jax.synthetic import Scene
    from wsis_jax.training import Callbacks

SUMMARY = "try everything on drawn cells"

TEXT = """\
Train on drawn cells, segment others, score them; it takes a few minutes.

With --model nothing is trained: a model that comes with the package, or the folder of one of yours, segments a
drawn scene whose cells are as large as those that the model learned. The scores are those of drawn cells; they say
nothing about real images.

  wsis demo --out demo
  wsis demo --out demo --model phase-contrast
"""

# Small enough to learn in two minutes on two cores, large enough to learn well.
DEMO_CONFIG = Config(
    likelihood=LikelihoodConfig(sigma=6.0),
    unet=UNetConfig(encoder=(12, 24, 48, 48), decoder=(24, 12, 12)),
    train=TrainConfig(steps=300, batch=8, patch=128, warmup=20, evaluate_every=50, learning_rate=3e-3),
)
_SHAPE, _CELLS, _TRAINING_SCENES = (256, 256), 45, 6
_DRAWN = 24.0  # diameter of the cells of a scene of that shape, in pixels
_DISTANCE = 10.0  # pixels within which a point finds a cell, whatever its size: that of the figure in README.md


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    command.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for pictures and scores.json"
    )
    command.add_argument("--model", metavar="NAME", help=f"segment with this instead: {which_run()}")
    command.add_argument("--seed", type=int, default=0, help="another seed draws other cells (default 0)")
    add_verbose(command)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command and returns its exit code."""
    if arguments.model is None:
        with training_progress() as callbacks:
            scores = run_demo(arguments.out, seed=arguments.seed, callbacks=callbacks)
    else:
        with waiting("segmenting a drawn scene"):
            scores = run_demo(arguments.out, model=arguments.model, seed=arguments.seed)
    print_scores(scores)
    print(f"Pictures and scores are in {arguments.out}; begin with {arguments.out / 'stages.png'}.")
    return 0


def run_demo(
    out: Path, *, model: str | Path | None = None, seed: int = 0, callbacks: "Callbacks | None" = None
) -> "Evaluation":
    """Draws scenes, trains on their centroids alone, segments another scene and scores the result.

    Writes to `out`: `run/` (the run folder with its `report.html`, unless a model is given), `image/`, `mask/` and
    `points/` of the test scene, `result/` (what `wsis segment` writes), `scores.json`, and the pictures
    `likelihood.png`, `contributions.png`, `labels.png` and, all in a row, `stages.png`.

    Args:
        out: a folder that does not hold a demo yet.
        model: a run folder or the name of a packaged model, as `load_model` takes it, to segment with instead of
            training; the cells of the scene then have the size that the model learned. None: train.
        seed: of the scenes; another seed draws other cells.
        callbacks: of the training, as `train` takes them.

    Raises:
        MissingFile: if `model` is given and is not a trained model.
        UserError: if `out` holds a demo already, or `seed` is negative.
    """
    import numpy as np

    from wsis_jax.core import write_text
    from wsis_jax.io import write_labels, write_picture, write_points
    from wsis_jax.network import load_model
    from wsis_jax.segmentation import evaluate, segment, segment_files
    from wsis_jax.training import training_report

    if seed < 0:
        raise UserError(f"seed must be 0 or more, not {seed}")
    if (out / "scores.json").exists():
        raise UserError(f"{out}: holds a demo already; give another folder")
    if model is None:
        run = _train_on_scenes(out / "run", seed, callbacks)
        training_report(out / "run")
        test = _draw(seed, _TRAINING_SCENES)
    else:
        run = load_model(model)
        test = _draw(seed, _TRAINING_SCENES, diameter=run.config.cell_diameter)
    image = out / "image" / "scene.png"
    write_picture(image, np.repeat(np.round(test.image * 255).astype(np.uint8)[..., None], 3, axis=2))
    write_labels(out / "mask" / "scene.tif", test.labels)
    (out / "points").mkdir(exist_ok=True)
    write_points(out / "points" / "scene.csv", test.points)
    segment_files(run, [image], out / "result")
    _draw_stages(out, test, segment(run, test.image))
    labels = out / "result" / "scene_labels.tif"
    scores = evaluate(labels, out / "mask", points=out / "points", distance=_DISTANCE)
    write_text(out / "scores.json", json.dumps(scores.to_dict(), indent=2) + "\n")
    return scores


def _draw(seed: int, number: int, *, diameter: float = _DRAWN) -> "Scene":
    """Draws one of the scenes of a seed; its size fits the diameter of its cells, in pixels."""
    from wsis_jax.synthetic import draw_scene

    height, width = (round(side * diameter / _DRAWN) for side in _SHAPE)
    return draw_scene(seed + 1000 * number, shape=(height, width), cells=_CELLS, diameter=diameter)


def _train_on_scenes(folder: Path, seed: int, callbacks: "Callbacks | None") -> "Model":
    """Trains a model on drawn scenes in a run folder, and returns it."""
    from wsis_jax.training import TrainingSet, train_on_set

    scenes = [_draw(seed, number) for number in range(_TRAINING_SCENES)]
    names = [f"scene {number}" for number in range(_TRAINING_SCENES)]
    return train_on_set(
        TrainingSet([scene.image for scene in scenes], [scene.points for scene in scenes], names),
        config=dataclasses.replace(DEMO_CONFIG, train=dataclasses.replace(DEMO_CONFIG.train, seed=seed)),
        run=folder,
        resume=(folder / "config.json").is_file(),  # of a demo that was killed
        callbacks=callbacks,
    )


def _draw_stages(out: Path, scene: "Scene", result: "Segmentation") -> None:
    """Writes pictures of the steps from the image to its labels."""
    from wsis_jax.io import write_picture
    from wsis_jax.output import contribution_picture, heat_picture, image_picture, label_picture, overlay, strip

    stages = {
        "likelihood": heat_picture(result.detection.likelihood),
        "contributions": contribution_picture(result.winner),
        "labels": label_picture(result.labels),
    }
    for name, picture in stages.items():
        write_picture(out / f"{name}.png", picture)
    panels = [
        ("image", image_picture(scene.image)),
        ("likelihood map", stages["likelihood"]),
        ("contribution maps", stages["contributions"]),
        ("cells found", overlay(scene.image, result.labels, result.points)),
        ("cells drawn", overlay(scene.image, scene.labels)),
    ]
    write_picture(out / "stages.png", strip(panels, height=320))
