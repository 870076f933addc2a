"""Trainings that start from a trained model."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest

from wsis_jax.core.config import Config
from wsis_jax.core.programs import use_compilation_cache
from wsis_jax.network.model import build_model, load_config, load_model, load_variables
from wsis_jax.network.packaged import MODELS, packaged_models
from wsis_jax.synthetic import draw_scene
from wsis_jax.training import run_folder
from wsis_jax.training.data import TrainingSet
from wsis_jax.training.loop import Callbacks
from wsis_jax.training.report import training_report
from wsis_jax.training.start import check_start, going_on, name_of_start
from wsis_jax.training.step import initial_state, make_optimizer
from wsis_jax.training.trainer import fill_in, train

CONFIG = Config().override(
    [
        *("image.scale=1", "likelihood.sigma=3", "unet.encoder=[2,4]", "unet.decoder=[2]", "train.steps=2"),
        *("train.validation=0.5", "train.batch=2", "train.patch=32", "train.warmup=1", "train.evaluate_every=2"),
        *("cut.reach=4", "detect.threshold=0.3"),
    ]
)
SCENES = [draw_scene(seed, shape=(32, 40), cells=3, diameter=12.0) for seed in range(2)]
IMAGES, POINTS = [scene.image for scene in SCENES], [scene.points for scene in SCENES]
# An image that shows nothing, whose cells are as wide as their spacing: 50 pixels.
GRID = np.stack(np.meshgrid([10.0, 60.0], [10.0, 60.0]), axis=-1).reshape(-1, 2)
BLANK = TrainingSet([np.zeros((80, 80), np.float32)], [GRID], ["a"])


@pytest.fixture(scope="module", autouse=True)
def cached_programs():
    """Keeps compiled programs, as commands do, so that each training need not compile the same step again."""
    use_compilation_cache()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The folder of a model that has learned a little."""
    folder = tmp_path_factory.mktemp("start") / "model"
    train(IMAGES, POINTS, config=CONFIG, run=folder)
    return folder


def short(model, *changes: str) -> Config:
    """Settings of a few steps from a model."""
    quick = ("train.steps=2", "train.evaluate_every=2", "train.warmup=1", "train.validation=0.5")
    return going_on(model).override([*quick, "image.diameter=12", *changes])


def assert_same(one, other) -> None:
    for leaf, twin in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(leaf, twin)


def test_the_settings_are_those_of_the_model_with_open_sizes(model):
    learned, config = load_config(model), going_on(model)
    assert (config.image.diameter, config.image.scale, config.likelihood.sigma) == (None, None, None)
    assert config.train.start == str(model.resolve())
    assert (config.unet, config.detect, config.cut) == (learned.unet, learned.detect, learned.cut)
    assert config.cut.data == "inverse"  # what the model's training chose
    assert (config.train.steps, config.train.warmup, config.train.batch) == (300, 20, 2)
    assert config.train.learning_rate == learned.train.learning_rate / 2


def test_the_learning_rate_is_halved_once(model, tmp_path):
    folder = shutil.copytree(model, tmp_path / "again")
    run_folder.save_config(folder, dataclasses.replace(load_config(model), train=going_on(model).train))
    assert going_on(folder).train.learning_rate == going_on(model).train.learning_rate


@pytest.mark.parametrize("name", packaged_models())
def test_a_training_starts_from_the_models_of_the_package(name):
    """Their weights have their batch norm, and their cells are shown as large as those that they learned."""
    learned = load_config(MODELS / name)
    config = going_on(name)
    assert config.train.start == name
    assert set(load_variables(MODELS / name)) == {"params", "batch_stats"}
    image = BLANK.images[0] if learned.image.inputs == 1 else np.zeros((80, 80, 3), np.float32)
    filled = fill_in(BLANK._replace(images=[image]), config)
    assert filled.image.diameter == 50
    assert filled.network_sigma == pytest.approx(learned.network_sigma)
    assert 50 * filled.network_scale == pytest.approx(learned.cell_diameter * learned.network_scale)
    check_start(filled)


def test_sizes_that_are_told_stay(model):
    def filled(*changes: str) -> tuple[float | None, ...]:
        config = fill_in(BLANK, going_on(model).override(changes))
        return config.image.diameter, config.likelihood.sigma, config.image.scale

    # The model learned cells of 12 pixels, a sigma of 3, at a scale of 1.
    assert filled() == pytest.approx((50, 12.5, 0.24))
    assert filled("image.diameter=24") == pytest.approx((24, 6, 0.5))
    assert filled("image.diameter=6") == pytest.approx((6, 1.5, 2))  # cells that are smaller are enlarged
    assert filled("likelihood.sigma=6") == pytest.approx((24, 6, 0.5))
    assert filled("image.scale=0.5") == pytest.approx((50, 12.5, 0.5))
    told = ("image.diameter=7", "likelihood.sigma=2", "image.scale=0.3")
    assert filled(*told) == (7, 2, 0.3)
    with pytest.raises(
        ValueError, match=r"cells of 0\.1 pixels are too far from those of 12 that the model learned"
    ):
        filled("image.diameter=0.1")


def test_another_network_is_refused_before_anything_is_written(model, tmp_path):
    for changes, sentence in {
        (
            "unet.encoder=[4,4]",
        ): r"its network has unet\.encoder=\[2, 4\], not \[4, 4\]; leave the setting out, or",
        ("unet.align_corners=true",): r"its network has unet\.align_corners=false, not true",
        (
            "image.channels=colours",
        ): r"learned from 1 channel, but 3 channels are chosen \(--channel, image\.channels\); choose as many",
    }.items():
        with pytest.raises(ValueError, match=sentence):
            check_start(short(model, *changes))
    with pytest.raises(ValueError, match="its network has"):
        train(IMAGES, POINTS, config=short(model, "unet.encoder=[4,4]"), run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: no trained model here; make one with"):
        going_on("nowhere")
    with pytest.raises(FileNotFoundError, match="no trained model here"):
        going_on(tmp_path)


def test_a_name_of_the_package_is_kept_and_a_folder_found_from_everywhere(model, monkeypatch):
    assert name_of_start("phase-contrast") == "phase-contrast"
    monkeypatch.chdir(model.parent)
    assert name_of_start("model") == str(model.resolve())


def test_the_first_validation_is_of_the_model_itself_which_is_kept_if_none_is_better(model, tmp_path):
    seen = []
    config = short(model, "train.learning_rate=10")  # which ruins it
    train(IMAGES, POINTS, config=config, run=tmp_path, callbacks=Callbacks(on_metrics=seen.append))
    assert [line["step"] for line in seen] == [0, 2]
    assert seen == run_folder.read_metrics(tmp_path)
    assert seen[0]["validation_loss"] == run_folder.read_metrics(model)[-1]["validation_loss"]
    assert seen[0]["loss"] > 0
    assert seen[1]["validation_loss"] > seen[0]["validation_loss"]
    assert seen[1]["best_step"] == 0
    assert [path.name for path in (tmp_path / "weights").iterdir()] == ["0"]
    assert_same(load_variables(tmp_path), load_variables(model))
    assert load_model(tmp_path).config.train.start == str(model.resolve())
    assert "The training is done: 2 steps." in training_report(tmp_path).read_text(encoding="utf-8")


def test_steps_go_on_from_the_weights_and_the_batch_norm_of_the_model(model, tmp_path):
    """With next to no learning rate, weights stay what they are, while batch norm goes on from its statistics."""
    config, begun = short(model, "train.learning_rate=1e-20"), load_variables(model)
    train(IMAGES, POINTS, config=config, run=tmp_path)
    template = initial_state(build_model(config), make_optimizer(config.train), 0, begun)
    ended = run_folder.load_state(tmp_path, template)
    assert ended.step == 2
    assert_same(ended.params, begun["params"])
    for leaf, twin in zip(*map(jax.tree.leaves, (ended.batch_stats, begun["batch_stats"])), strict=True):
        assert np.abs(leaf - twin).max() > 0
        np.testing.assert_allclose(leaf, twin, rtol=0.6, atol=0.3)


def test_a_training_from_a_model_is_resumed_without_it(model, tmp_path):
    gone = shutil.copytree(model, tmp_path / "gone")
    config = fill_in(TrainingSet(IMAGES, POINTS, ["a", "b"]), short(gone))

    def stop(step: int, steps: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(IMAGES, POINTS, config=config, run=tmp_path / "run", callbacks=Callbacks(stop))
    train(IMAGES, POINTS, config=config, run=tmp_path / "whole")
    shutil.rmtree(gone)
    train(IMAGES, POINTS, config=config, run=tmp_path / "run", resume=True)
    assert_same(load_variables(tmp_path / "run"), load_variables(tmp_path / "whole"))
    lines = [run_folder.read_metrics(tmp_path / name) for name in ("run", "whole")]
    assert lines[0] == lines[1]
    assert [line["step"] for line in lines[0]] == [0, 2]
    other = dataclasses.replace(config, train=dataclasses.replace(config.train, start=None))
    with pytest.raises(ValueError, match=r"\(train\.start: \"[^\"]*gone\", null now\)"):
        train(IMAGES, POINTS, config=other, run=tmp_path / "run", resume=True)
