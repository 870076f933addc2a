"""Run folders: what is saved comes back equal, the latest counts, and what a crash left does not."""

import gc
import json
import shutil
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wsis_jax.core.config import Config
from wsis_jax.network import weights
from wsis_jax.network.model import build_model, load_config, load_model
from wsis_jax.network.unet import fold_batch_norm, initial_variables, predict
from wsis_jax.training import run_folder

CONFIG = Config().override(
    ["unet.encoder=[2,3]", "unet.decoder=[2]", "image.scale=0.5", "likelihood.sigma=4", "train.steps=7"]
)


def variables_of(seed: int):
    return initial_variables(build_model(CONFIG), seed)


def some_state(step: int) -> dict:
    return {"step": jnp.array(step), "moments": {"mu": jnp.linspace(0, 1, 5), "count": jnp.array([step, 3])}}


def assert_equal_trees(first, second) -> None:
    assert jax.tree.structure(first) == jax.tree.structure(second)
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run folder as a training leaves it."""
    folder = tmp_path_factory.mktemp("checkpoint") / "run"
    run_folder.save_config(folder, CONFIG)
    run_folder.save_weights(folder, 3, variables_of(3))
    return folder


@pytest.fixture
def run(trained, tmp_path):
    """A copy of it, to be damaged."""
    return shutil.copytree(trained, tmp_path / "run")


def test_a_run_comes_back_with_its_batch_norm_folded(trained):
    run = load_model(str(trained))
    model, variables = fold_batch_norm(build_model(CONFIG), variables_of(3))
    assert run.config == CONFIG
    assert run.network == model
    assert_equal_trees(run.variables, variables)
    image = np.random.default_rng(0).random((9, 12), np.float32)
    np.testing.assert_array_equal(predict(run.network, run.variables, image), predict(model, variables, image))


def test_a_state_comes_back_equal(tmp_path):
    run_folder.save_state(tmp_path, 5, some_state(5))
    assert_equal_trees(run_folder.load_state(tmp_path, some_state(0)), some_state(5))


def test_without_a_saved_state_there_is_none(tmp_path):
    assert run_folder.load_state(tmp_path, some_state(0)) is None


def test_a_later_state_takes_the_place_of_earlier_ones(tmp_path):
    for step in (1, 2, 2):
        run_folder.save_state(tmp_path, step, some_state(step))
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["2"]


def test_the_greatest_step_counts_where_a_crash_left_two(tmp_path):
    run_folder.save_state(tmp_path / "other", 9, some_state(9))
    run_folder.save_state(tmp_path, 10, some_state(10))
    shutil.move(tmp_path / "other" / "state" / "9", tmp_path / "state" / "9")
    assert run_folder.load_state(tmp_path, some_state(0))["step"] == 10


def test_what_a_crash_left_is_neither_loaded_nor_kept(run):
    unfinished = run / "weights" / "40.orbax-checkpoint-tmp"
    (unfinished / "d").mkdir(parents=True)
    (run / "weights" / "stray file").touch()
    assert_equal_trees(load_model(run).variables, fold_batch_norm(build_model(CONFIG), variables_of(3))[1])
    run_folder.save_weights(run, 5, variables_of(5))
    assert not unfinished.exists()
    assert_equal_trees(load_model(run).variables, fold_batch_norm(build_model(CONFIG), variables_of(5))[1])


def test_metrics_are_read_line_by_line(tmp_path):
    assert run_folder.read_metrics(tmp_path) == []
    lines = [{"step": 2, "loss": 0.25}, {"step": 4, "loss": 0.1}]
    for line in lines:
        run_folder.append_metrics(tmp_path, line)
    assert run_folder.read_metrics(tmp_path) == lines


def test_a_metrics_line_cut_short_is_left_out_and_rewound(tmp_path):
    for step in (2, 4, 6):
        run_folder.append_metrics(tmp_path, {"step": step})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "lo')
    assert [line["step"] for line in run_folder.read_metrics(tmp_path)] == [2, 4, 6]
    run_folder.rewind_metrics(tmp_path, 4)
    run_folder.append_metrics(tmp_path, {"step": 6})
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 2}\n{"step": 4}\n{"step": 6}\n'


def test_the_configuration_is_readable_json(trained):
    assert json.loads((trained / "config.json").read_text())["unet"] == CONFIG.to_dict()["unet"]


def test_a_folder_that_is_no_run_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere: no trained model here; make one with 'wsis train"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"no config\.json here"):
        load_config(tmp_path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "Expecting"),
        ("", "Expecting value"),
        ("[]", "list"),
        ("\xff", "decode"),
        ('{"nonsense": {}}', "unknown section 'nonsense'"),
        ('{"train": {"stepps": 3}}', r"unknown key 'train\.stepps'"),
        ('{"train": {"steps": "many"}}', r"train\.steps must be int"),
        ('{"train": 3}', "section train must hold"),
    ],
)
def test_a_broken_configuration_is_named(run, text, reason):
    (run / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=reason) as caught:
        load_model(run)
    assert str(caught.value).startswith(f"{run / 'config.json'}: not a configuration of wsis_jax")
    assert "\n" not in str(caught.value)


def failure_of_loading(run) -> str:
    """The message of a failed `load_model`."""
    with warnings.catch_warnings():
        # What orbax had begun when it failed is never awaited, and complains when it is thrown away.
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            load_model(run)
        except ValueError as error:
            return str(error)
        finally:
            gc.collect()
    pytest.fail("it was loaded")


@pytest.mark.parametrize("damage", ["other network", "empty files", "missing files"])
def test_weights_that_cannot_be_read_are_named(run, damage):
    if damage == "other network":
        run_folder.save_config(run, CONFIG.override(["unet.encoder=[2,4]"]))
    for file in sorted((run / "weights" / "3").rglob("*")):
        if file.is_file() and damage == "empty files":
            file.write_bytes(b"")
        if file.is_file() and damage == "missing files":
            file.unlink()
    message = failure_of_loading(run)
    gc.collect()
    assert message.startswith(f"{run / 'weights' / '3'}: damaged, or of a network of another shape")
    assert "\n" not in message


@pytest.mark.parametrize("name", ["run (1)", "what?", "a*b", "a[b", "a]b", "{a}"])
def test_weights_come_back_from_folders_of_odd_names(tmp_path, name):
    run_folder.check_folder(tmp_path / name)
    weights.save(tmp_path / name, 3, {"w": jnp.arange(3.0)})
    np.testing.assert_array_equal(weights.load(tmp_path / name / "3", {"w": jnp.zeros(3)})["w"], [0, 1, 2])


def test_a_training_is_refused_before_it_begins_where_its_weights_would_be_lost(tmp_path, tiny_config, draw_small):
    from wsis_jax.training.trainer import train

    scene = draw_small(0)
    for run in (tmp_path / "set[1]", tmp_path / "set [1] a" / "run"):
        with pytest.raises(ValueError, match=r"below a folder with \[brackets\] in its name; rename it"):
            train([scene.image], [scene.points], config=tiny_config, run=run)
        assert not run.exists()


def test_a_training_begun_before_there_were_diameters_is_resumed(tmp_path):
    old = CONFIG.to_dict()
    del old["image"]["diameter"]
    (tmp_path / "config.json").write_text(json.dumps(old))
    run_folder.prepare(tmp_path, CONFIG.override(["image.diameter=16"]), [], resume=True)
    run_folder.prepare(tmp_path, CONFIG, [], resume=True)
    with pytest.raises(ValueError, match="was started with other images, points or settings"):
        run_folder.prepare(tmp_path, CONFIG.override(["likelihood.sigma=5"]), [], resume=True)
