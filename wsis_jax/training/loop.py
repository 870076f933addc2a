"""The loop of a training: step after step, validations in between, until the last step or until it is stopped."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Key

from wsis_jax.core import (
    Config,
    as_first,
    compiler_options,
    copy_everywhere,
    in_copies,
    in_parts,
    one_copy,
    training_mesh,
)
from wsis_jax.network import UNet
from wsis_jax.training import run_folder
from wsis_jax.training.divergence import Watch
from wsis_jax.training.patches import Augmentation, Pixels, Sample, draw_batch, put_samples
from wsis_jax.training.preview import write_samples
from wsis_jax.training.step import TrainState, descend
from wsis_jax.training.stopping import soft_stop
from wsis_jax.training.validation import validate

_SAMPLES_EVERY = 5  # validations between sample pictures: some ten of them in a training by default


def train_until_done(
    model: UNet,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    training: Sequence[Sample],
    held_out: Sequence[tuple[str, Sample]],
    config: Config,
    run: Path,
    on_step: Callable[[int, int], None],
    on_metrics: Callable[[dict[str, Any]], None],
) -> None:
    """Trains until the last step or until the validation has not improved for long enough.

    The patches of a batch are shared by all devices, those of other processes too.

    Raises:
        UserError: if the loss is no longer a number, what is saved then being of before, or if the processes
            cannot share a batch evenly.
        WriteError: if there is no room for what is saved; what was saved before is kept.
        KeyboardInterrupt: after a step, and its validation if one is due, if it was asked for in the meantime; the
            state is saved.
    """
    settings = config.train
    mesh = training_mesh(settings.batch)
    drawn = {
        "batch": settings.batch,
        "patch": _patch(settings.patch, model.stride),
        "augment": settings.augment,
        "mesh": mesh,
    }
    state, pixels = copy_everywhere((state, put_samples(training)), mesh)
    key, train_step = jax.random.key(settings.seed), _compiled_step()
    watch, best_step = Watch(run, settings.learning_rate), int(state.best_step)
    with soft_stop() as stop:
        for step in range(int(state.step) + 1, settings.steps + 1):
            if step - 1 - best_step >= settings.patience * settings.evaluate_every:
                break
            state, loss = train_step(model, optimizer, state, key, pixels, **drawn)
            watch.look(step, loss)
            with stop.when_interrupted():
                on_step(step, settings.steps)
            due = step % settings.evaluate_every == 0 or step == settings.steps
            if due:
                watch.check(state)
                state, metrics = _evaluate(model, state, held_out, config, run, step, mesh, watch)
                best_step = metrics["best_step"]
                with stop.when_interrupted():
                    on_metrics(metrics)
            if as_first(stop.asked):
                if not due:
                    watch.check(state)
                    run_folder.save_state(run, step, state)
                raise KeyboardInterrupt(
                    f"stopped after step {step} of {settings.steps}, which is saved; go on with the same command "
                    "and --resume"
                )


def _step(
    model: UNet,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    key: Key[Array, ""],
    pixels: Pixels,
    *,
    batch: int,
    patch: int,
    augment: Augmentation,
    mesh: Mesh,
) -> tuple[TrainState, Float[Array, ""]]:
    """Draws a batch and descends on it; one program, so no step waits for its data. Returns the loss, too.

    Every device draws the patches that it descends on.
    """
    drawn = draw_batch(key, pixels, state.step + 1, batch=batch, patch=patch, augment=augment)
    images, targets = jax.lax.with_sharding_constraint(drawn, in_parts(mesh))
    state, loss = descend(model, optimizer, state, images, targets)
    state = state._replace(loss_sum=state.loss_sum + loss)
    return jax.lax.with_sharding_constraint((state, loss), in_copies(mesh))


@cache
def _compiled_step() -> Callable[..., tuple[TrainState, Float[Array, ""]]]:
    return jax.jit(
        _step,
        static_argnames=("model", "optimizer", "batch", "patch", "augment", "mesh"),
        donate_argnames="state",
        compiler_options=compiler_options(),
    )


def _evaluate(
    model: UNet,
    state: TrainState,
    held_out: Sequence[tuple[str, Sample]],
    config: Config,
    run: Path,
    step: int,
    mesh: Mesh,
    watch: Watch,
) -> tuple[TrainState, dict[str, Any]]:
    """Validates, keeps the model if it is the best so far, and saves the state to resume from."""
    every = config.train.evaluate_every
    loss = float(state.loss_sum) / ((step - 1) % every + 1)
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    here = one_copy(variables)
    scores = as_first(validate(model, here, [sample for _, sample in held_out], config))
    watch.check_validation(scores["validation_loss"])
    score = np.array([scores["f_measure"], -scores["validation_loss"]], np.float32)
    order = [1, 0]  # by the loss, and where that is equal by the F-measure
    if tuple(score[order]) > tuple(np.asarray(state.best)[order]):
        run_folder.save_weights(run, step, variables)
        best, best_step = copy_everywhere((jnp.asarray(score), jnp.array(step)), mesh)
        state = state._replace(best=best, best_step=best_step)
    metrics = {"step": step, "loss": loss, **scores, "best_step": int(state.best_step)}
    state = state._replace(loss_sum=copy_everywhere(jnp.array(0.0), mesh))
    validation = -(-step // every)
    if validation == 1 or validation % _SAMPLES_EVERY == 0 or step == config.train.steps:
        write_samples(run, step, model, here, held_out, config)
    run_folder.append_metrics(run, metrics)
    run_folder.save_state(run, step, state)
    run_folder.keep_weights(run, int(state.best_step))
    return state, metrics


def _patch(patch: int, stride: int) -> int:
    """Returns the patch side rounded up to a multiple of the network's stride."""
    return -(-patch // stride) * stride
