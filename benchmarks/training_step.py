"""Question: does a training step here take at most as long as the same step in PyTorch?

The same network, batch and patches: forward, mean squared error, backward, statistics of the batch norm, Adam.
Each side has a process of its own, as its users have, and they do their steps by turns:

* torch, torch_channels_last: PyTorch in its two memory formats; the faster one is what ours is compared with.
* jax: ours as `wsis train` does it, which keeps the memory that it frees (`core/allocator.py`).
* jax_drawn: the same, with a step that draws its patches.
* jax_gives_back, torch_keeps: the other way round for each, PyTorch with channels last.

Compilation is not counted but told. Prints one JSON line: seconds of a step of each (least and median), the ratio
of the medians, the ratio of each round, the machine, versions and commit.

Needs `pip install torch`.

    python -m benchmarks.training_step [--width 16] [--batch 8] [--patch 256] [--rounds 7]
"""

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from experiments.commit import commit
from wsis_jax.cli.measure import surroundings
from wsis_jax.core import TrainConfig, compiler_options, copy_everywhere, training_mesh
from wsis_jax.network import UNet
from wsis_jax.synthetic import draw_scene
from wsis_jax.training import (
    Batch,
    descend,
    initial_state,
    make_optimizer,
    make_sample,
    make_train_step,
    put_samples,
)

_SETTINGS = TrainConfig(learning_rate=1e-3, schedule="constant", warmup=0)


def torch_steps(
    encoder: tuple[int, ...], decoder: tuple[int, ...], images: np.ndarray, targets: np.ndarray
) -> dict[str, Callable[[], None]]:
    """Returns functions that do one training step in PyTorch, by the name of the memory format."""
    import torch  # here, since our step needs no PyTorch

    from benchmarks.torch_unet import fresh_unet, torch_step

    torch.manual_seed(0)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    formats = {"torch": torch.contiguous_format, "torch_channels_last": torch.channels_last}
    rate = _SETTINGS.learning_rate
    return {
        name: torch_step(fresh_unet(encoder, decoder), images, targets, chosen, learning_rate=rate)
        for name, chosen in formats.items()
    }


def jax_step(
    encoder: tuple[int, ...], decoder: tuple[int, ...], images: np.ndarray, targets: np.ndarray
) -> Callable[[], None]:
    """Returns a function that does one training step of ours."""
    model = UNet(encoder, decoder)
    optimizer = make_optimizer(_SETTINGS)
    state, data = initial_state(model, optimizer, 0), Batch(jnp.asarray(images), jnp.asarray(targets))
    options = compiler_options()
    train_step = jax.jit(partial(descend, model, optimizer), donate_argnames="state", compiler_options=options)

    def step() -> None:
        nonlocal state
        state, loss = train_step(state, data)
        jax.block_until_ready((state, loss))

    return step


def jax_drawn_step(
    encoder: tuple[int, ...], decoder: tuple[int, ...], batch: int, patch: int
) -> Callable[[], None]:
    """Returns a function that draws a batch of patches from two scenes and does one step of ours on it."""
    model = UNet(encoder, decoder)
    settings = dataclasses.replace(_SETTINGS, batch=batch, patch=patch, augment="free")
    optimizer = make_optimizer(settings)
    scenes = [draw_scene(seed, shape=(600, 800), cells=40) for seed in range(2)]
    pixels = put_samples([make_sample(scene.image, scene.points, scale=1.0, sigma=7.0) for scene in scenes])
    mesh = training_mesh(batch)
    state, pixels = copy_everywhere((initial_state(model, optimizer, 0), pixels), mesh)
    train_step, key = make_train_step(model, optimizer, mesh, settings), jax.random.key(0)

    def step() -> None:
        nonlocal state
        state, loss = train_step(state, key, pixels)
        jax.block_until_ready((state, loss))

    return step


def widths_of(width: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Returns the widths of encoder and decoder: five levels, the first of `width` channels."""
    w = width
    return (w, 2 * w, 4 * w, 8 * w, 8 * w), (4 * w, 2 * w, w, w)


def random_patches(batch: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns random images and targets of (batch, side, side, 1), 0..1."""
    images, targets = np.random.default_rng(0).random((2, batch, side, side, 1), dtype=np.float32)
    return images, targets


def by_turns(steps: dict[str, Callable[[], None]], rounds: int) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Returns the seconds of the first call of each function, and those of so many rounds, taken by turns."""

    def seconds(step: Callable[[], None]) -> float:
        start = time.perf_counter()
        step()
        return time.perf_counter() - start

    first = {name: seconds(step) for name, step in steps.items()}
    turns = [{name: seconds(step) for name, step in steps.items()} for _ in range(rounds)]
    return first, {name: [turn[name] for turn in turns] for name in steps}


_KEEPING = {
    "torch": False,
    "torch_channels_last": False,
    "jax": True,
    "jax_drawn": True,
    "jax_gives_back": False,
    "torch_keeps": True,
}
"""The sides, and whether each keeps the memory that it frees."""

# What the process of a side runs: memory is kept from before JAX or PyTorch is imported.
_PROCESS = """
import sys
from wsis_jax.core import keep_freed_memory
name, keeps, *sizes = sys.argv[1:]
if keeps == "True":
    keep_freed_memory()
from benchmarks.training_step import serve
serve(name, *map(int, sizes))
"""


def serve(name: str, width: int, batch: int, patch: int) -> None:
    """Does a step of a side for each line that is read, and writes a line when it is done."""
    widths, patches = widths_of(width), random_patches(batch, patch)
    if name == "jax_drawn":
        step = jax_drawn_step(*widths, batch, patch)
    elif name.startswith("jax"):
        step = jax_step(*widths, *patches)
    else:
        step = torch_steps(*widths, *patches)["torch" if name == "torch" else "torch_channels_last"]
    for _ in sys.stdin:
        step()
        print(flush=True)


@contextmanager
def _in_processes(*sizes: int) -> Generator[dict[str, Callable[[], None]]]:
    """Yields the steps of the sides, each of which a process does."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(_in_process(name, keeps, *sizes)) for name, keeps in _KEEPING.items()}


@contextmanager
def _in_process(name: str, keeps: bool, *sizes: int) -> Generator[Callable[[], None]]:
    """Yields the step of a side, which a process does."""
    command = [sys.executable, "-c", _PROCESS, name, str(keeps), *map(str, sizes)]
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=Path(__file__).parents[1], **options) as process:

        def step() -> None:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            if not process.stdout.readline():
                raise RuntimeError(f"the process of {name} ended")

        yield step


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=16, help="channels of the first level; 64 is the paper's")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--patch", type=int, default=256, help="side, in pixels")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args(argv)
    with _in_processes(arguments.width, arguments.batch, arguments.patch) as steps:
        first, times = by_turns(steps, arguments.rounds)
    median = {name: statistics.median(values) for name, values in times.items()}
    peer = min(("torch", "torch_channels_last"), key=median.__getitem__)
    print(
        json.dumps(
            {
                **vars(arguments),
                "least_s": {name: round(min(values), 3) for name, values in times.items()},
                "median_s": {name: round(value, 3) for name, value in median.items()},
                "jax_over_torch": round(median["jax"] / median[peer], 2),
                "ratio_of_each_round": [round(a / b, 2) for a, b in zip(times["jax"], times[peer], strict=True)],
                "jax_over_torch_if_both_keep_memory": round(median["jax"] / median["torch_keeps"], 2),
                "jax_drawn_over_jax": round(median["jax_drawn"] / median["jax"], 2),
                "peer": peer,
                "first_step_with_compilation_s": round(first["jax"], 1),
                "threads": len(os.sched_getaffinity(0)),
                **surroundings(),
                "torch": version("torch"),
                "commit": commit(),
            }
        )
    )


if __name__ == "__main__":
    main()
