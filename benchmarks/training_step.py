"""Question: does a training step here take at most 1.1 times as long as the same step in PyTorch?

The same network, batch and patches on the CPU, in this one process, in turn: forward, mean squared error,
backward, statistics of the batch norm, Adam. PyTorch's network runs in both of its memory formats, and its better
one is what ours is compared with. Compilation is not counted but told. Prints one JSON line: seconds of a step of
each (least and median), the ratio, the ratio of each round, the machine, versions and commit.

Needs `pip install torch`.

    python -m benchmarks.training_step [--width 16] [--batch 8] [--patch 256] [--rounds 7]
"""

import argparse
import dataclasses
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.torch_unet import TorchUNet
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


def fresh_unet(encoder: tuple[int, ...], decoder: tuple[int, ...]) -> TorchUNet:
    """Returns a network with batch norm."""
    going_down = zip((1, *encoder), encoder, strict=False)
    going_up = zip((encoder[-1], *decoder), encoder[-2::-1], decoder, strict=False)
    return TorchUNet(
        [_double_conv(inputs, outputs) for inputs, outputs in going_down],
        [_double_conv(skip + inputs, outputs) for inputs, skip, outputs in going_up],
        nn.Conv2d((*encoder[-1:], *decoder)[-1], 1, 1),
    )


def _double_conv(inputs: int, outputs: int) -> nn.Sequential:
    """Returns convolution, batch norm and ReLU, twice."""
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(True)]
    return nn.Sequential(*layers)


def torch_step(
    encoder: tuple[int, ...],
    decoder: tuple[int, ...],
    images: np.ndarray,
    targets: np.ndarray,
    memory_format: torch.memory_format,
) -> Callable[[], None]:
    """Returns a function that does one training step in PyTorch."""
    torch.manual_seed(0)
    model = fresh_unet(encoder, decoder).to(memory_format=memory_format)
    optimizer = torch.optim.Adam(model.parameters(), _SETTINGS.learning_rate)
    x, y = (torch.from_numpy(part.transpose(0, 3, 1, 2).copy()) for part in (images, targets))
    x = x.to(memory_format=memory_format)

    def step() -> None:
        optimizer.zero_grad()
        functional.mse_loss(model(x), y).backward()
        optimizer.step()

    return step


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


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=16, help="channels of the first level; 64 is the paper's")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--patch", type=int, default=256, help="side, in pixels")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args(argv)
    w = arguments.width
    widths = (w, 2 * w, 4 * w, 8 * w, 8 * w), (4 * w, 2 * w, w, w)
    random = np.random.default_rng(0)
    shape = (arguments.batch, arguments.patch, arguments.patch, 1)
    images, targets = random.random((2, *shape), dtype=np.float32)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    steps = {
        "torch": torch_step(*widths, images, targets, torch.contiguous_format),
        "torch_channels_last": torch_step(*widths, images, targets, torch.channels_last),
        "jax": jax_step(*widths, images, targets),
        "jax_drawn": jax_drawn_step(*widths, arguments.batch, arguments.patch),
    }

    def seconds(step: Callable[[], None]) -> float:
        start = time.perf_counter()
        step()
        return time.perf_counter() - start

    first = {name: seconds(step) for name, step in steps.items()}
    rounds = [{name: seconds(step) for name, step in steps.items()} for _ in range(arguments.rounds)]
    times = {name: [one[name] for one in rounds] for name in steps}
    least = {name: min(values) for name, values in times.items()}
    peer = min(("torch", "torch_channels_last"), key=least.__getitem__)
    print(
        json.dumps(
            {
                **vars(arguments),
                "least_s": {name: round(value, 3) for name, value in least.items()},
                "median_s": {name: round(statistics.median(values), 3) for name, values in times.items()},
                "jax_over_torch": round(least["jax"] / least[peer], 2),
                "ratio_of_each_round": [round(one["jax"] / one[peer], 2) for one in rounds],
                "jax_drawn_over_jax": round(least["jax_drawn"] / least["jax"], 2),
                "peer": peer,
                "first_step_with_compilation_s": round(first["jax"], 1),
                "threads": torch.get_num_threads(),
                **surroundings(),
                "torch": torch.__version__,
                "commit": commit(),
            }
        )
    )


if __name__ == "__main__":
    main()
