"""Question: what do devices that share the work send each other, and how much faster are more of them?

Prediction, before the program was looked at: a training step adds up over the devices the gradient of every
parameter, two sums for each channel of a batch norm on the way forward (of values, of squares) and two on the
way back, which are the gradients of its bias and scale already, and the loss. With P parameters, 2 C of them of
batch norms of C channels in all, these are P + 2 C + 1 float32 numbers, whatever batch and patch. Patches are
drawn where they are used, and contribution maps need no message at all.

Outcome, of the programs compiled for eight devices: just that, and no other kind of message (README.md here).

Prints one JSON line: bytes that a step adds up, predicted and counted; messages by kind, of a step and of the
passes back; and, for 1, 2, 4 … devices, the least seconds of a training step and of the contribution maps of an
image. Without an accelerator the devices are simulated and share the cores of the machine, so their seconds are
no measure of real ones; --simulate says how many, and --rounds 0 only counts.

    python -m benchmarks.devices [--simulate 8] [--width 16] [--batch 8] [--patch 256] [--cells 128] [--rounds 5]
"""

import argparse
import json
import math
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from unittest.mock import patch

import jax
import numpy as np

from experiments.commit import commit
from wsis_jax.cli.measure import draw_case, fresh_model, noise, surroundings
from wsis_jax.core import TrainConfig, copy_everywhere, training_mesh
from wsis_jax.network import UNet, compiled_back, contribution_maps, one_of, record_images
from wsis_jax.synthetic import draw_scene
from wsis_jax.training import initial_state, make_optimizer, make_sample, make_train_step, put_samples

_MESSAGE = re.compile(r"= (.*) (all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute)(?:-start)?\(")


def messages(program: str) -> dict[str, dict[str, int]]:
    """Returns the number of messages of each kind in a compiled program, and the bytes of their results."""
    count, size = Counter[str](), Counter[str]()
    for shapes, kind in _MESSAGE.findall(program):
        count[kind] += 1
        for bits, sides in re.findall(r"[a-z]+(\d+)\[([\d,]*)\]", shapes):
            size[kind] += int(bits) // 8 * math.prod(int(side) for side in sides.split(",") if side)
    return {kind: {"count": count[kind], "bytes": size[kind]} for kind in count}


def training(devices: int, width: int, batch: int, side: int) -> tuple[Callable[[], None], str, int]:
    """Returns a function that does a training step on some devices, its program, and the bytes predicted."""
    model = UNet((width, 2 * width, 4 * width, 8 * width, 8 * width), (4 * width, 2 * width, width, width))
    settings = TrainConfig(batch=batch, patch=side, augment="free", schedule="constant", warmup=0)
    optimizer = make_optimizer(settings)
    state = initial_state(model, optimizer, 0)
    parameters, statistics = (sum(x.size for x in jax.tree.leaves(t)) for t in (state.params, state.batch_stats))
    with using(devices):
        mesh = training_mesh(batch)
        scenes = [draw_scene(seed, shape=(600, 800), cells=40) for seed in range(2)]
        samples = [make_sample(scene.image, scene.points, scale=1.0, sigma=7.0) for scene in scenes]
        state, pixels = copy_everywhere((state, put_samples(samples)), mesh)
    step = make_train_step(model, optimizer, mesh, settings)
    compiled = step.lower(state, jax.random.key(0), pixels).compile()

    def run() -> None:
        nonlocal state
        state, _ = compiled(state, jax.random.key(0), pixels)
        jax.block_until_ready(state)

    return run, compiled.as_text(), 4 * (parameters + statistics + 1)


def contributions(devices: int, width: int, cells: int, side: int) -> tuple[Callable[[], None], str]:
    """Returns a function that makes the contribution maps of an image on some of the devices, and its program."""
    model, drawn = draw_case(fresh_model(width), noise(side, side), cells=cells, radius=12.0)
    drawn = drawn._replace(reach=30.0)
    programs: list[str] = []
    with using(devices):
        record = one_of(record_images(model, drawn.image[None], drawn.image.shape), np.int32(0))

    def run() -> None:
        with using(devices):
            contribution_maps(model, drawn, recorded=record)

    back = compiled_back()

    def noted(*arguments, **options):
        if not programs:
            programs.append(back.lower(*arguments, **options).compile().as_text())
        return back(*arguments, **options)

    with patch("wsis_jax.network.chunks.compiled_back", lambda: noted):
        run()
    return run, programs[0]


def using(devices: int):
    """Lets only the first devices take part, while a block runs."""
    first = jax.local_devices()[:devices]
    return patch.multiple(
        jax,
        local_devices=lambda **_: first,
        local_device_count=lambda: devices,
        device_count=lambda: devices,
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Counts, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulate", type=int, default=8, help="devices where there is no accelerator")
    parser.add_argument("--width", type=int, default=16, help="channels of the first level; 64 is the paper's")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--patch", type=int, default=256, help="side, in pixels")
    parser.add_argument("--cells", type=int, default=128)
    parser.add_argument("--side", type=int, default=512, help="of the image of the contribution maps, in pixels")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args(argv)
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count={arguments.simulate}"
    there = jax.device_count()
    counts = sorted({2**power for power in range(there.bit_length())} | {there})
    counts = counts if arguments.rounds else [there]
    train = {n: training(n, arguments.width, arguments.batch, arguments.patch) for n in counts}
    back = {n: contributions(n, arguments.width, arguments.cells, arguments.side) for n in counts}

    def seconds(run: Callable[[], None]) -> float:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    runs = {("step", n): train[n][0] for n in counts} | {("maps", n): back[n][0] for n in counts}
    rounds = [{name: seconds(run) for name, run in runs.items()} for _ in range(arguments.rounds + 1)][1:]
    least = {name: min(one[name] for one in rounds) for name in runs} if rounds else {}
    sent = messages(train[there][1])
    print(
        json.dumps(
            {
                **vars(arguments),
                "simulated": jax.default_backend() == "cpu",
                "predicted_bytes": train[there][2],
                "counted_bytes": sum(kind["bytes"] for kind in sent.values()),
                "messages_of_a_step": sent,
                "messages_of_the_passes_back": messages(back[there][1]),
                "least_s_of_a_step": {n: round(s, 3) for (what, n), s in least.items() if what == "step"},
                "least_s_of_the_maps": {n: round(s, 3) for (what, n), s in least.items() if what == "maps"},
                **surroundings(),
                "commit": commit(),
            }
        )
    )


if __name__ == "__main__":
    main()
