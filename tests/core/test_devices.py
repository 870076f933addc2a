"""Many devices, simulated on the CPU: the numbers of one device, in one process and in two."""

import ast
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from tests.core.many_devices import BATCH, look, train_in
from wsis_jax.core.config import Config, TrainConfig
from wsis_jax.network.model import Model
from wsis_jax.network.unet import UNet, initial_variables
from wsis_jax.training import run_folder
from wsis_jax.training.step import initial_state, make_optimizer

MODEL = UNet((2, 4), (2,))
LEARNING_RATE = 0.01
# Sums of a batch are added up in another order, which changes float32 numbers by some 1e-7 of their terms.
CLOSE = 2e-5


def model():
    """A model through which signals come."""
    network = UNet((4, 8), (4,))
    return Model.of(network, initial_variables(network, 0), Config())


def state_in(run):
    """The state that a training left after its last step."""
    optimizer = make_optimizer(TrainConfig(learning_rate=LEARNING_RATE, warmup=0, steps=2))
    state = run_folder.load_state(run, initial_state(MODEL, optimizer, 0))
    assert state is not None
    assert int(state.step) == 2
    return state


def start(count, folder, **more):
    """Starts many_devices.py."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **more}
    script = Path(__file__).with_name("many_devices.py")
    return subprocess.Popen(
        [sys.executable, script, str(count), folder],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory, write_scene, draw_small):
    """The folder of trainings on one device, on six of eight, and on those of two processes; what these said."""
    folder = tmp_path_factory.mktemp("devices")
    for seed in range(2):
        write_scene(folder, f"image_{seed}", draw_small(seed, shape=(32, 40), cells=3))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    two = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2"}
    children = [start(8, folder), *(start(1, folder, JAX_PROCESS_ID=str(index), **two) for index in range(2))]
    try:
        train_in(folder, folder / "alone")
        said = [child.communicate(timeout=300) for child in children]
    finally:
        for child in children:
            child.kill()
    for child, (_, errors) in zip(children, said, strict=True):
        assert child.returncode == 0, errors
    return folder, said


@pytest.mark.parametrize("run", ["run_8", "run_1"])
def test_a_training_ends_as_on_one_device(trained, run):
    folder, _ = trained
    one, many = state_in(folder / "alone"), state_in(folder / run)
    # Means and squares of the gradients are in proportion to these; Adam divides one by the root of the other, so
    # that of a gradient of almost nothing even the sign may differ, and with it a step of the learning rate.
    for part in ("batch_stats", "optimizer"):
        for ours, theirs in zip(
            jax.tree.leaves(getattr(many, part)), jax.tree.leaves(getattr(one, part)), strict=True
        ):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=CLOSE * np.abs(theirs).max())
    for ours, theirs in zip(jax.tree.leaves(many.params), jax.tree.leaves(one.params), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-3 * LEARNING_RATE)
    lines = [run_folder.read_metrics(folder / name)[0] for name in ("alone", run)]
    assert lines[1] == pytest.approx(lines[0], rel=CLOSE)
    assert (folder / run / "report.html").is_file()


def test_statistics_of_a_part_of_the_batch_would_be_noticed(key):
    variables = initial_variables(MODEL, 0)
    images = jax.random.uniform(key, (BATCH, 16, 16, 1)) * np.linspace(0.5, 1, BATCH)[:, None, None, None]
    statistics = jax.jit(lambda x: MODEL.apply(variables, x, train=True, mutable=["batch_stats"])[1])
    whole = jax.tree.leaves(statistics(images))
    alone = zip(*(jax.tree.leaves(statistics(image[None])) for image in images), strict=True)
    off = [np.abs(np.mean(ours, axis=0) - theirs).max() for ours, theirs in zip(alone, whole, strict=True)]
    assert max(one / (CLOSE * np.abs(theirs).max()) for one, theirs in zip(off, whole, strict=True)) > 100


def test_cells_and_images_are_shared_by_the_devices(trained):
    folder, said = trained
    counts = ast.literal_eval(said[0][0].splitlines()[-1])
    # Six images, and chunks of three cells, which become eight.
    assert {key: counts[key] for key in ("likelihood", "window", "vmap")} == {
        "likelihood": 6,
        "window": 8,
        "vmap": 8,
    }
    seen, ours = look(model())
    assert set(ours.values()) == {1}
    with np.load(folder / "seen.npz") as file:
        there = dict(file)
    for name, expected in seen.items():
        assert expected.max() > 0
        np.testing.assert_allclose(there[name], expected, rtol=0, atol=1e-6 * expected.max())
    # Where there is room for four cells at a time only, as many devices have one each.
    assert counts["fewer"] == 4
    assert "too small for 8 cells at a time" in said[0][1]
    np.testing.assert_allclose(there["fewer"], seen["window"], rtol=0, atol=1e-6 * seen["window"].max())


def test_as_many_devices_take_part_as_divide_the_number(trained):
    _, said = trained
    counts = ast.literal_eval(said[0][0].splitlines()[-1])
    expected = {"training_16": 8, "training_12": 6, "training_7": 7, "local_4": 4, "chunk_9": 16, "warnings": 2}
    assert {key: counts[key] for key in expected} == expected
    assert f"only 6 of 8 devices train, since train.batch={BATCH} is not a multiple of 8" in said[0][1]
    assert "only" not in said[1][1]


def test_the_first_process_alone_writes_and_speaks(trained):
    _, said = trained
    first, second = (output for output, _ in said[1:])
    assert "Learning from" in first
    assert "metrics.jsonl" in first
    assert "report.html" in first
    of_libraries = ("Gloo", "array_metadatas")  # what these say and write for each process
    assert [line for line in second.splitlines() if line and not any(name in line for name in of_libraries)] == []


def test_a_batch_that_processes_cannot_share_is_refused(monkeypatch):
    from wsis_jax.core.devices import training_mesh

    monkeypatch.setattr(jax, "process_count", lambda: 3)
    with pytest.raises(ValueError, match=r"^train\.batch=8 cannot be shared evenly by 3 processes; make it a"):
        training_mesh(8)


@pytest.mark.parametrize(
    ("environment", "joined"),
    [
        ({}, None),
        ({"SLURM_STEP_NUM_TASKS": "1"}, None),
        ({"SLURM_STEP_NUM_TASKS": "2"}, {"num_processes": None, "process_id": None}),
        (
            {"JAX_COORDINATOR_ADDRESS": "a:1", "JAX_NUM_PROCESSES": "4", "JAX_PROCESS_ID": "3"},
            {"num_processes": 4, "process_id": 3},
        ),
    ],
)
def test_processes_join_where_the_environment_says_so(monkeypatch, environment, joined):
    from wsis_jax.core.devices import join_processes

    seen = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda **given: seen.append(given))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    join_processes()
    assert seen == ([] if joined is None else [joined])
