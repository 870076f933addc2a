"""Requests to stop: signals are heeded after a step, and a resumed training ends as an unbroken one."""

import signal
import threading

import jax
import numpy as np
import pytest

from wsis_jax.cli import main
from wsis_jax.core.programs import Compilations
from wsis_jax.network.model import load_variables
from wsis_jax.training import run_folder
from wsis_jax.training.loop import stopping_on_signals
from wsis_jax.training.run_folder import read_metrics

TINY = [
    *(
        "unet.encoder=[2,4]",
        "unet.decoder=[2]",
        "train.batch=2",
        "train.patch=32",
        "train.warmup=1",
        "train.steps=5",
    ),
    *("train.evaluate_every=3", "train.validation=0.5", "image.scale=1", "likelihood.sigma=3"),
]


@pytest.fixture(autouse=True)
def heeded():
    """Ctrl-C as in a terminal: a shell has programs that it starts in the background ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_a_request_and_a_second_one_interrupts(number):
    before = signal.getsignal(number)
    with stopping_on_signals() as stop:
        assert not stop.requested
        signal.raise_signal(number)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(number) == before


def test_a_signal_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stopping_on_signals() as stop:
            signal.raise_signal(signal.SIGINT)
            assert not stop.requested
    finally:
        signal.signal(signal.SIGINT, before)


def test_beside_the_main_thread_interrupted_blocks_are_requests():
    asked = []

    def work() -> None:
        with stopping_on_signals() as stop:
            with stop.catching_interrupts():
                raise KeyboardInterrupt
            asked.append(stop.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert asked == [True]


@pytest.fixture
def command(tmp_path, draw_small, write_scene):
    """The arguments of a training, without its run folder."""
    for name, seed in {"a": 100, "b": 105}.items():
        write_scene(tmp_path, name, draw_small(seed))
    words = [word for assignment in TINY for word in ("--set", assignment)]
    return ["train", str(tmp_path / "image"), "--points", str(tmp_path / "points"), *words, "--run"]


def test_an_interrupted_command_saves_says_how_to_go_on_and_ends_as_an_unbroken_one(
    command, tmp_path, capsys, monkeypatch
):
    from wsis_jax.training import loop

    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    make_train_step = loop.make_train_step
    # Here and below: each training takes its step from the cache on disk, as in a process of its own.
    make_train_step.cache_clear()
    compilations = Compilations()
    assert main([*command, str(unbroken), "--tensorboard"]) == 0
    assert len(list((unbroken / "tensorboard").iterdir())) == 1
    assert f"A page to look at: {unbroken / 'report.html'}" in capsys.readouterr().out

    def with_signal(*arguments):
        step = make_train_step(*arguments)

        def stepping(state, *others):
            if int(state.step) == 3:  # the fourth step is under way, in the midst of an interval
                signal.raise_signal(signal.SIGINT)
            return step(state, *others)

        return stepping

    with monkeypatch.context() as patch:
        patch.setattr(loop, "make_train_step", with_signal)
        make_train_step.cache_clear()
        assert main([*command, str(broken)]) == 1
    said = "wsis: stopped after step 4 of 5, which is saved; go on with the same command and --resume\n"
    assert capsys.readouterr().err == said
    assert run_folder.saved_step(broken) == 4
    assert "interrupted after 4 of 5 steps" in (broken / "report.html").read_text(encoding="utf-8")
    make_train_step.cache_clear()
    assert main([*command, str(broken), "--resume"]) == 0
    assert (broken / "metrics.jsonl").read_bytes() == (unbroken / "metrics.jsonl").read_bytes()
    assert [line["step"] for line in read_metrics(broken)] == [3, 5]
    # One program for all steps of the three trainings: the second and the third found it in the cache, and so did
    # the first if another test had trained such a network.
    compiled, loaded = (of["train_step"] for of in (compilations.compiled, compilations.loaded))
    assert compiled + loaded == 3
    assert compiled <= 1
    weights = [jax.tree.leaves(load_variables(folder)) for folder in (broken, unbroken)]
    for ours, theirs in zip(*weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for path in unbroken.rglob("samples/*.png"):
        assert path.read_bytes() == (broken / path.relative_to(unbroken)).read_bytes()
