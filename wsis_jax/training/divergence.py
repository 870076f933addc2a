"""A training whose numbers get out of hand: noticed at once, and ended before anything of it is saved."""

import math
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Array, Float

from wsis_jax.core import MissingFile, TrainConfig, UserError
from wsis_jax.network import best_weights
from wsis_jax.training.step import TrainState


class Watch:
    """Looks at the numbers of a training.

    Args:
        run: its run folder, for messages.
        learning_rate: its learning rate, likewise.
    """

    def __init__(self, run: Path, learning_rate: float | int) -> None:
        self._run, self._rate = run, learning_rate
        self._step = 0
        self._loss: Float[Array, ""] | None = None
        self._before: float | None = None

    def look(self, step: int, loss: Float[Array, ""]) -> None:
        """Takes the loss of a step that may be under way, and looks at that of the step before.

        The device is at work on a step while the loss before is read, so that it never waits for this.

        Raises:
            UserError: if it is no number.
        """
        self._read()
        self._step, self._loss = step, loss

    def check(self, state: TrainState) -> None:
        """Looks at the latest loss, and at all that a saved state would be resumed with.

        Raises:
            UserError: if anything is no number.
        """
        self._read()
        for leaf in jax.tree.leaves((state.params, state.batch_stats, state.optimizer)):
            if not np.isfinite(leaf).all():
                raise self._error("the network holds what is no number", self._step)

    def check_validation(self, loss: float) -> None:
        """Looks at the loss of a validation; UserError if it is no number."""
        if not math.isfinite(loss):
            raise self._error(f"the validation loss is no longer a number ({loss})", self._step)

    def _read(self) -> None:
        if self._loss is None:
            return
        loss, self._loss = float(self._loss), None
        if not math.isfinite(loss):
            raise self._error(f"the loss is no longer a number ({loss})", self._step)
        self._before = loss

    def _error(self, what: str, step: int) -> UserError:
        """Returns what there is to say, and to do; grey values were looked at when the training began."""
        before = "" if self._before is None else f", after {self._before:.4g} before"
        try:
            kept = f"the best model so far, of step {best_weights(self._run).name}, is kept"
        except MissingFile:
            kept = "there was no model yet"
        lower = min(self._rate / 10, TrainConfig().learning_rate)
        return UserError(
            f"{self._run}: {what} at step {step}{before}, and the grey values are in order, so steps are too "
            f"large; train in another folder with train.learning_rate={lower:g} instead of {self._rate:g} ({kept})"
        )
