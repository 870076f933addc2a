"""Question: is propagating several cells at a time, vmapped, faster than one after the other?

Both are timed in this one process, in turn, on the same network, image and cells; compilation is not counted.
Prints one JSON line: seconds per cell of each, their ratio, the machine, versions and commit.

    python benchmarks/vmap_against_loop.py [--side 256] [--cells 16] [--width 16] [--chunk 8]
"""

import argparse
import json
import platform
import subprocess
import time

import jax
import numpy as np

from wsis_jax import UNet, centre_regions, draw_scene, fold_batch_norm, winner_map
from wsis_jax.unet import initial_variables

_ROUNDS = 5


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=256, help="of the image, in pixels")
    parser.add_argument("--cells", type=int, default=16)
    parser.add_argument("--width", type=int, default=16, help="channels of the first level; 64 is the paper's")
    parser.add_argument("--chunk", type=int, default=8, help="cells at a time in vmap")
    arguments = parser.parse_args()
    w = arguments.width
    model = UNet(encoder=(w, 2 * w, 4 * w, 8 * w, 8 * w), decoder=(4 * w, 2 * w, w, w))
    model, variables = fold_batch_norm(model, initial_variables(model, 0))
    scene = draw_scene(0, shape=(arguments.side, arguments.side), cells=arguments.cells)
    peaks = np.round(scene.points).astype(np.int64)
    regions = centre_regions(scene.image, peaks, region="disc", radius=12.0, response=0.1)

    def seconds(method: str) -> float:
        start = time.perf_counter()
        winner_map(
            model,
            variables,
            scene.image,
            regions,
            cells=arguments.cells,
            method=method,
            chunk=arguments.chunk,
        )
        return time.perf_counter() - start

    for method in ("loop", "vmap"):
        seconds(method)  # compiles
    rounds = [(seconds("loop"), seconds("vmap")) for _ in range(_ROUNDS)]
    loop, vmap = (min(times) / arguments.cells for times in zip(*rounds, strict=True))
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    print(
        json.dumps(
            {
                **vars(arguments),
                "loop_s_per_cell": round(loop, 4),
                "vmap_s_per_cell": round(vmap, 4),
                "loop_over_vmap": round(loop / vmap, 2),
                "ratio_of_each_round": [round(a / b, 2) for a, b in rounds],
                "device": jax.devices()[0].device_kind,
                "machine": platform.machine(),
                "jax": jax.__version__,
                "commit": commit.stdout.strip(),
            }
        )
    )


if __name__ == "__main__":
    main()
