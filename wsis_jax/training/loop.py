"""The loop of a training: steps and validations, until the last step, until it diverges or until it is stopped."""

import math
import signal
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float

from wsis_jax.core import (
    Config,
    MissingFile,
    TrainConfig,
    UserError,
    as_first,
    copy_everywhere,
    one_copy,
    training_mesh,
)
from wsis_jax.network import UNet, best_weights
from wsis_jax.training import run_folder
from wsis_jax.training.patches import Sample, put_samples
from wsis_jax.training.step import TrainState, make_train_step
from wsis_jax.training.validation import validate, write_samples

_SAMPLES_EVERY = 5  # validations between sample pictures: some ten of them in a training by default
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Callbacks(NamedTuple):
    """What a training calls; a KeyboardInterrupt raised by either stops it, and its state is saved.

    Attributes:
        on_step: called with (steps done, steps in all) after every step.
        on_metrics: called with every line of `metrics.jsonl`.
    """

    on_step: Callable[[int, int], None] = lambda step, steps: None
    on_metrics: Callable[[dict[str, Any]], None] = lambda metrics: None


class Training(NamedTuple):
    """What a training is made of; its state is apart."""

    network: UNet
    optimizer: optax.GradientTransformation
    config: Config  # with `image.scale` and `likelihood.sigma`
    run: Path
    kept: list[Sample]  # to learn from
    held_out: list[Sample]  # to validate on
    callbacks: Callbacks


def train_until_done(training: Training, state: TrainState) -> None:
    """Trains until the last step or until the validation has not improved for `train.patience` validations.

    The patches of a batch are shared by all devices, those of other processes too.

    Raises:
        UserError: if the loss is not finite (what was saved before is kept), or if the processes cannot share a
            batch evenly.
        WriteError: if there is no room for what is saved; what was saved before is kept.
        KeyboardInterrupt: after a step, and its validation if one is due, if a signal or a callback asked to stop
            in the meantime; the state is saved.
    """
    settings, run = training.config.train, training.run
    mesh = training_mesh(settings.batch)
    state, pixels = copy_everywhere((state, put_samples(training.kept)), mesh)
    key = jax.random.key(settings.seed)
    network, optimizer = training.network, training.optimizer
    # The type checker takes modules of Flax for unhashable.
    train_step = make_train_step(network, optimizer, mesh, settings)  # pyrefly: ignore[bad-argument-type]
    check, best_step = DivergenceCheck(run, settings.learning_rate), int(state.best_step)
    with stopping_on_signals() as stop:
        if settings.start is not None and np.isneginf(state.best[1]):
            # How good the model is that the training starts from; it stays the best if none is better.
            state, metrics = _evaluate(training, state, mesh, check)
            with stop.catching_interrupts():
                training.callbacks.on_metrics(metrics)
        for step in range(int(state.step) + 1, settings.steps + 1):
            if why_finished(settings, step - 1, best_step) is not None:
                break
            state, loss = train_step(state, key, pixels)
            check.add_loss(step, loss)
            with stop.catching_interrupts():
                training.callbacks.on_step(step, settings.steps)
            due = step % settings.evaluate_every == 0 or step == settings.steps
            if due:
                check.check_state(state)
                state, metrics = _evaluate(training, state, mesh, check)
                best_step = metrics["best_step"]
                with stop.catching_interrupts():
                    training.callbacks.on_metrics(metrics)
            if as_first(stop.requested):
                if not due:
                    check.check_state(state)
                    run_folder.save_state(run, step, state)
                raise KeyboardInterrupt(
                    f"stopped after step {step} of {settings.steps}, which is saved; go on with the same command "
                    "and --resume"
                )


def why_finished(settings: TrainConfig, step: int, best_step: int) -> str | None:
    """Returns why a training has no step left after `step`, in words; None where it has."""
    if step >= settings.steps:
        return f"all {settings.steps} steps are done"
    if step - best_step >= settings.patience * settings.evaluate_every:
        return f"the validation has not improved for {settings.patience} validations"
    return None


def _evaluate(
    training: Training, state: TrainState, mesh: Mesh, check: "DivergenceCheck"
) -> tuple[TrainState, dict[str, Any]]:
    """Validates, keeps the model if its loss is the least so far, and saves the state to resume from."""
    run, settings, step = training.run, training.config.train, int(state.step)
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    local = one_copy(variables)
    scores = as_first(validate(training.network, local, training.held_out, training.config))
    if step:
        loss = float(state.loss_sum) / (step - _validated_before(run, step, settings.evaluate_every))
    else:  # of whole images, since there was no batch yet
        loss = as_first(validate(training.network, local, training.kept, training.config))["validation_loss"]
    check.check_validation(scores["validation_loss"])
    score = np.array([scores["f_measure"], -scores["validation_loss"]], np.float32)
    # The loss decides, and the F-measure between equal losses.
    if tuple(score[::-1]) > tuple(np.asarray(state.best)[::-1]):
        run_folder.save_weights(run, step, variables)
        best, best_step = copy_everywhere((jnp.asarray(score), jnp.array(step)), mesh)
        state = state._replace(best=best, best_step=best_step)
    metrics = {"step": step, "loss": loss, **scores, "best_step": int(state.best_step)}
    state = state._replace(loss_sum=copy_everywhere(jnp.array(0.0), mesh))
    validation = -(-step // settings.evaluate_every)
    if validation == 1 or validation % _SAMPLES_EVERY == 0 or step == settings.steps:
        file = run_folder.sample_file(run, step)
        write_samples(file, training.network, local, training.held_out, training.config)
    run_folder.append_metrics(run, metrics)
    run_folder.save_state(run, step, state)
    run_folder.keep_weights(run, int(state.best_step))
    return state, metrics


def _validated_before(run: Path, step: int, every: int) -> int:
    """Returns the step of the validation before `step`.

    That need not be a multiple of `every`: it may have been the last of a training that is longer now.
    """
    last = max((line["step"] for line in run_folder.read_metrics(run) if line["step"] < step), default=0)
    return max(last, (step - 1) // every * every)


# Divergence


class DivergenceCheck:
    """Raises UserError in a training whose numbers are no longer finite, before any of them is saved.

    Run folder and learning rate are for its message.
    """

    def __init__(self, run: Path, learning_rate: float | int) -> None:
        self._run, self._rate = run, learning_rate
        self._step = 0
        self._loss: Float[Array, ""] | None = None
        self._before: float | None = None

    def add_loss(self, step: int, loss: Float[Array, ""]) -> None:
        """Takes the loss of a step, and checks that of the step before.

        The loss before is read while the device works on this step, so that the device never waits.
        """
        self._check_loss()
        self._step, self._loss = step, loss

    def check_state(self, state: TrainState) -> None:
        """Checks the latest loss and all arrays that a saved state holds."""
        self._check_loss()
        for leaf in jax.tree.leaves((state.params, state.batch_stats, state.optimizer)):
            if not np.isfinite(leaf).all():
                raise self._error("the network holds what is not a number")

    def check_validation(self, loss: float) -> None:
        """Checks the loss of a validation."""
        if not math.isfinite(loss):
            raise self._error(f"the validation loss is no longer a number ({loss})")

    def _check_loss(self) -> None:
        if self._loss is None:
            return
        loss, self._loss = float(self._loss), None
        if not math.isfinite(loss):
            raise self._error(f"the loss is no longer a number ({loss})")
        self._before = loss

    def _error(self, what: str) -> UserError:
        """Returns the error to raise; the grey values were checked before the training began."""
        before = "" if self._before is None else f", after {self._before:.4g} before"
        try:
            kept = f"the best model so far, of step {best_weights(self._run).name}, is kept"
        except MissingFile:
            kept = "there was no model yet"
        lower = min(self._rate / 10, TrainConfig().learning_rate)
        return UserError(
            f"{self._run}: {what} at step {self._step}{before}, and the grey values are in order, so steps "
            f"are too large; train in another folder with train.learning_rate={lower:g} instead of {self._rate:g} "
            f"({kept})"
        )


# Stopping


class StopRequest:
    """Whether someone asked a training to stop.

    Attributes:
        requested: by a signal, or by a KeyboardInterrupt in a block of `catching_interrupts`.
    """

    def __init__(self) -> None:
        self.requested = False

    @contextmanager
    def catching_interrupts(self) -> Iterator[None]:
        """Context manager in which a KeyboardInterrupt is a request to stop."""
        try:
            yield
        except KeyboardInterrupt:
            self.requested = True

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Handles a signal: the first is a request, the second interrupts at once."""
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


@contextmanager
def stopping_on_signals() -> Generator[StopRequest, None, None]:
    """Context manager yielding a request that Ctrl-C and SIGTERM set, so that the block can stop after a step.

    Signals that are ignored stay ignored. Python handles signals in the main thread only; in another thread the
    request is set by `StopRequest.catching_interrupts` alone.
    """
    stop, before = StopRequest(), {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in _STOP_SIGNALS}
        before = {number: old for number, old in before.items() if old not in (None, signal.SIG_IGN)}
    for number in before:
        signal.signal(number, stop.handle)
    try:
        yield stop
    finally:
        for number, old in before.items():
            signal.signal(number, old)
