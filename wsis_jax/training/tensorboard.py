"""The curves and samples of a training for TensorBoard; needs the extra `tensorboard`."""

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wsis_jax.core import UserError
from wsis_jax.training.run_folder import sample_file

# What the curves are called: those of one group share a card.
_CURVES = {
    "loss": "loss/training",
    "validation_loss": "loss/validation",
    "f_measure": "detection/f_measure",
    "precision": "detection/precision",
    "recall": "detection/recall",
}


@contextmanager
def writing_events(run: Path) -> Generator[Callable[[dict[str, Any]], None], None, None]:
    """Context manager yielding a function that writes a line of `metrics.jsonl` to `tensorboard/`.

    A resumed training goes on with the curves.

    Raises:
        UserError: if tensorboardX is not installed.
    """
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise UserError(
            "--tensorboard: tensorboardX is not installed; get it with: pip install 'wsis-jax[tensorboard]'"
        ) from error
    with ExitStack() as stack:

        @cache  # begun with the first line: a training that is refused leaves no folder
        def begin() -> Any:
            return stack.enter_context(SummaryWriter(str(run / "tensorboard")))

        def write(metrics: dict[str, Any]) -> None:
            writer, step = begin(), metrics["step"]
            for key, name in _CURVES.items():
                writer.add_scalar(name, metrics[key], step)
            if (file := sample_file(run, step)).is_file():
                with Image.open(file) as picture:
                    writer.add_image("samples", np.asarray(picture.convert("RGB")), step, dataformats="HWC")
            writer.flush()

        yield write
