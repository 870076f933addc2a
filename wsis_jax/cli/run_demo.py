"""The whole method in a few minutes on drawn scenes: no data, no annotation, nothing to download."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from wsis_jax.core import Config, LikelihoodConfig, TrainConfig, UNetConfig, write_text
from wsis_jax.core.errors import UserError
from wsis_jax.io import write_labels, write_picture, write_points
from wsis_jax.network import Model, load_model
from wsis_jax.output import contribution_picture, grey_picture, heat_picture, label_picture, overlay, strip
from wsis_jax.segmentation import Evaluation, evaluate_files, segment, segment_files
from wsis_jax.synthetic import Scene, draw_scene
from wsis_jax.training import Callbacks, TrainingSet, train_on_set, training_report

# Small enough to be learnt in two minutes on two cores, large enough to be learnt well.
DEMO_CONFIG = Config(
    likelihood=LikelihoodConfig(sigma=6.0),
    unet=UNetConfig(encoder=(12, 24, 48, 48), decoder=(24, 12, 12)),
    train=TrainConfig(steps=300, batch=8, patch=128, warmup=20, evaluate_every=50, learning_rate=3e-3),
)
_SHAPE, _CELLS, _TRAINING_SCENES = (256, 256), 45, 6
_DRAWN = 24.0  # diameter of the cells of a scene of that shape, in pixels
# Of the cells drawn for a trained model, × its sigma: what real fibroblasts have, which the model of the package
# learned from.
_DIAMETER = 3.5


def run_demo(
    out: Path,
    *,
    model: str | Path | None = None,
    seed: int = 0,
    callbacks: Callbacks | None = None,
) -> Evaluation:
    """Draws scenes, trains on their centroids alone, segments another scene and scores it.

    Writes to `out`: `run/` (the run folder with its `report.html`, unless a model is given), `image/`, `mask/` and
    `points/` of the test scene, `result/` (what `wsis segment` writes), `scores.json`, and the pictures
    `likelihood.png`, `contributions.png`, `labels.png` and, all in a row, `stages.png`.

    Args:
        out: a folder that does not hold a demo yet.
        model: a run folder or the name of a model of the package, as `load_model` takes it, to segment with
            instead of training; the scene then has cells as large as those that it learned. None: train.
        seed: of the scenes; another seed, other cells.
        callbacks: of the training, see `train`.

    Raises:
        MissingFile: if `model` is given and is no trained model.
        UserError: if `out` holds a demo already, or `seed` is negative.
    """
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
        assert run.config.likelihood.sigma is not None
        test = _draw(seed, _TRAINING_SCENES, diameter=_DIAMETER * run.config.likelihood.sigma)
    image = out / "image" / "scene.png"
    write_picture(image, np.repeat(np.round(test.image * 255).astype(np.uint8)[..., None], 3, axis=2))
    write_labels(out / "mask" / "scene.tif", test.labels)
    (out / "points").mkdir(exist_ok=True)
    write_points(out / "points" / "scene.csv", test.points)
    segment_files(run, [image], out / "result", config=run.config)
    _draw_stages(out, test, segment(run, test.image))
    scores = evaluate_files(out / "result" / "scene_labels.tif", out / "mask", points=out / "points")
    write_text(out / "scores.json", json.dumps(scores.to_dict(), indent=2) + "\n")
    return scores


def _draw(seed: int, number: int, *, diameter: float = _DRAWN) -> Scene:
    """Draws one of the scenes of a seed, as large as its cells of a diameter in pixels need it."""
    height, width = (round(side * diameter / _DRAWN) for side in _SHAPE)
    return draw_scene(seed + 1000 * number, shape=(height, width), cells=_CELLS, diameter=diameter)


def _train_on_scenes(folder: Path, seed: int, callbacks: Callbacks | None) -> Model:
    """Returns a model trained on drawn scenes, and leaves it in a run folder."""
    scenes = [_draw(seed, number) for number in range(_TRAINING_SCENES)]
    names = [f"scene {number}" for number in range(_TRAINING_SCENES)]
    return train_on_set(
        TrainingSet([scene.image for scene in scenes], [scene.points for scene in scenes], names),
        config=dataclasses.replace(DEMO_CONFIG, train=dataclasses.replace(DEMO_CONFIG.train, seed=seed)),
        run=folder,
        resume=(folder / "config.json").is_file(),  # of a demo that was killed
        callbacks=callbacks,
    )


def _draw_stages(out: Path, scene: Scene, result: Any) -> None:
    """Writes the pictures of the way from the image to its labels."""
    stages = {
        "likelihood": heat_picture(result.detection.likelihood),
        "contributions": contribution_picture(result.winner),
        "labels": label_picture(result.labels),
    }
    for name, picture in stages.items():
        write_picture(out / f"{name}.png", picture)
    panels = [
        ("image", grey_picture(scene.image)),
        ("likelihood map", stages["likelihood"]),
        ("contribution maps", stages["contributions"]),
        ("cells found", overlay(scene.image, result.labels, result.points)),
        ("cells drawn", overlay(scene.image, scene.labels)),
    ]
    write_picture(out / "stages.png", strip(panels, height=320))
