"""Question: do workers of a cluster share the work, in how much memory, and are large images as of one process?

Without --side: --images drawn images of 512² pixels, the model of the package, and all that a batch does with
them, cuts and files, by one and by two workers of one core each, in turns. Predicted: two are at least 1.7 times
as fast, and the files of both are the same. Give it the machine alone, with two cores at least: the load that is
printed with each round tells.

With --side: an OME-Zarr of side² pixels, drawn scene by scene, goes in tiles through --workers workers into
OME-Zarr labels. Noted is the greatest memory of all processes together (their RSS, what they share counted each
time). Predicted: less than 6 GiB. Then a piece in the middle is segmented untiled, with the numbers that tell of
the whole image (grey range, median, rims, look of the ground), and with margins of all that the steps look around
for, one after the other; its corners lie on the grids of resizing and of poolings, for which image.scale is 0.5:
at other scales places within pixels, and with them grey values, are rounded otherwise in a piece and in the whole.
In the inner 2048² pixels the labels must be the same up to their numbers.

    python -m benchmarks.clusters
    python -m benchmarks.clusters --side 20000
"""

import argparse
import json
import math
import os
import tempfile
import threading
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import psutil
from jaxtyping import Float32, Int32, UInt32

from benchmarks.batch import draw_images
from benchmarks.tiles import _CHUNK, _make
from experiments.commit import commit
from wsis_jax.cli.measure import surroundings
from wsis_jax.core import Config, resize_image, serial_map, stretch
from wsis_jax.cutting import FusedCells, ImageStats, costs_of, cut_cells, fuse_nearest, greatest_contributions
from wsis_jax.io import open_frames, writing_labels
from wsis_jax.network import Model
from wsis_jax.segmentation import BatchOptions, TileOptions, Workers, connecting, halos_of, pipeline, segment_files
from wsis_jax.segmentation.tiled import tiling
from wsis_jax.segmentation.tiled.value_ranges import value_ranges

_INNER = 2048  # pixels a side that are compared
_GRID = 32  # pixels, which are a stride of the network at half the scale


def main(argv: Sequence[str] | None = None) -> None:
    """Measures what was asked for."""
    options = _options(argv)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        measured = _large(Path(name), options) if options.side else many_images(Path(name), options)
    print(json.dumps({**measured, **surroundings(), "commit": commit()}))


def _options(argv: Sequence[str] | None) -> Namespace:
    """Returns what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=40, help="drawn images")
    parser.add_argument("--image-side", type=int, default=512, help="side of each, in pixels")
    parser.add_argument("--rounds", type=int, default=3, help="how often one and two workers take turns")
    parser.add_argument("--side", type=int, default=0, help=f"side of the large image, a multiple of {_GRID}")
    parser.add_argument("--scale", type=float, default=0.5, help="pixels of the network to one of the large image")
    parser.add_argument("--workers", type=int, default=2, help="workers for the large image")
    parser.add_argument("--tile", type=int, default=1024, help="side of a tile in pixels of the network")
    parser.add_argument("--model", default="phase-contrast", help="a run folder, or a model of the package")
    parser.add_argument("--folder", help="where images and labels are put for the time being")
    return parser.parse_args(argv)


# Many images


def many_images(folder: Path, options: Namespace) -> dict[str, Any]:
    """Returns the seconds that one worker, and two, take for images: options are those of this script."""
    seconds: dict[int, list[float]] = {1: [], 2: []}
    with connecting("local:2") as one, connecting("local:2") as two:
        one.retire_workers(list(one.nthreads())[1:])
        workers = {1: Workers(one, options.model), 2: Workers(two, options.model)}
        sigma = workers[1].model.config.likelihood.sigma
        files = draw_images(folder / "images", options.images, options.image_side, sigma)
        for count, of in workers.items():  # compiles all
            _time(of, files[: 4 * count], folder / f"warm{count}")
        for turn in range(options.rounds):
            for count, of in workers.items():
                out = folder / f"{turn}_{count}"
                seconds[count].append(_time(of, files, out))
                load = os.getloadavg()[0]
                print(f"round {turn}, {count} workers: {seconds[count][-1]:.1f} s, load {load:.1f}", flush=True)
        outs = [folder / f"{options.rounds - 1}_{count}" for count in workers]
    ratios = [a / b for a, b in zip(seconds[1], seconds[2], strict=True)]
    return {
        "images": len(files),
        "seconds_1": [round(s, 1) for s in seconds[1]],
        "seconds_2": [round(s, 1) for s in seconds[2]],
        "ratios": [round(ratio, 2) for ratio in ratios],
        "ratio_of_least": round(min(seconds[1]) / min(seconds[2]), 2),
        "files_equal": _contents(outs[0]) == _contents(outs[1]),
    }


def _time(workers: Workers, files: list[Path], out: Path) -> float:
    """Returns the seconds that a batch takes."""
    start = time.perf_counter()
    outcomes = segment_files(workers.model, files, out, options=BatchOptions(workers=workers))
    assert all(outcome.error is None for outcome in outcomes)
    return time.perf_counter() - start


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# A large image


def _large(folder: Path, options: Namespace) -> dict[str, Any]:
    """Returns time and memory of a large image, and how it differs from a piece that is segmented untiled."""
    if options.side % _GRID:
        raise SystemExit(f"--side {options.side}: give a multiple of {_GRID}")
    _make(folder / "large.zarr", options.side, Namespace(model=options.model, scenes=4))
    known: list[ImageStats] = []  # what the steps learn of the whole image
    noting = patch.object(tiling, "ImageStats", lambda *of: known.append(ImageStats(*of)) or known[-1])
    labels = folder / "labels.zarr"
    with open_frames(folder / "large.zarr") as frames:
        image, start = frames.source(0).image, time.perf_counter()
        with connecting(f"local:{options.workers}") as client, _memory() as memory, noting:
            workers = Workers(client, options.model)
            # A piece alone does not tell the size of cells that it cuts apart, so none are dropped.
            config = workers.model.config.override([f"image.scale={options.scale}", "cut.min_area=0"])
            with writing_labels(labels, image.shape, chunks=(_CHUNK, _CHUNK)) as array:
                points, *_ = tiling.segment_tiled(
                    workers.model,
                    image,
                    array,
                    config=config,
                    tile=options.tile,
                    options=TileOptions(
                        workers.map, folder, lambda done, total: print(f"{done}/{total}", end="\r", flush=True)
                    ),
                )
        seconds = time.perf_counter() - start
        differing = _compare(workers.model, config, image, labels, known[-1])
    return {
        "side": options.side,
        "workers": options.workers,
        "cells": len(points),
        "seconds": round(seconds, 1),
        "gib_together": round(max(memory) / 2**30, 2),
        **differing,
    }


@contextmanager
def _memory() -> Iterator[list[int]]:
    """Context manager yielding the list of bytes that this process and its children have, a few times a second."""
    seen, stop, me = [0], threading.Event(), psutil.Process()

    def watch() -> None:
        while not stop.wait(0.2):
            total = 0
            for process in [me, *me.children(recursive=True)]:
                try:
                    total += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            seen.append(total)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def _compare(run: Model, config: Config, image: Any, labels: Path, whole: ImageStats) -> dict[str, int]:
    """Returns how many pixels of a piece in the middle have another cell, in tiles and untiled."""
    side = image.shape[0]
    inner = min(_INNER, side)
    margin = math.ceil(sum(halos_of(run.network, config)) / config.network_scale)
    start = (side - inner) // 2
    low = max((start - margin) // _GRID * _GRID, 0)
    high = min(-(-(start + inner + margin) // _GRID) * _GRID, side)
    blocks = tiling._blocks(image, image.shape, 2048.0)
    (grey,) = value_ranges(image, config.image, blocks, serial_map, serial_map)
    expected = _untiled(run, config, stretch(image[low:high, low:high], *grey), whole)
    within = slice(start - low, start - low + inner)
    with open_frames(labels) as frames:
        found = frames.source(0).image[start : start + inner, start : start + inner].astype(np.uint32)
    return {
        "piece": high - low,
        "pixels": found.size,
        "pixels_that_differ": _differing(found, expected[within, within]),
    }


def _untiled(
    run: Model, config: Config, grey: Float32[np.ndarray, "height width"], whole: ImageStats
) -> Int32[np.ndarray, "height width"]:
    """Returns the labels of a piece of an image, normalised, all at once, with what is known of the whole."""
    small = resize_image(grey, config.network_scale)
    recorded, likelihoods = pipeline._look(run, [small], config=config, sides=None)
    detection = pipeline._find(small, likelihoods[0], config=config)
    winner = pipeline.propagate(run, detection, config=config, recorded=recorded, index=0)
    peaks = detection.peaks
    greatest = greatest_contributions(winner.value, winner.owner, owners=len(peaks) + 1)
    costs = costs_of(small, peaks, winner, config=config, stats=whole._replace(greatest=greatest))
    fused = fuse_nearest(cut_cells(costs, peaks, config=config), peaks, small.shape)
    return FusedCells(fused, costs.blur).fit(peaks, grey.shape)


def _differing(found: UInt32[np.ndarray, "_ _"], expected: Int32[np.ndarray, "_ _"]) -> int:
    """Returns how many pixels differ when each label of one stands for one label of the other."""
    pairs, counts = np.unique(np.stack([found.ravel(), expected.ravel()]), axis=1, return_counts=True)
    taken: tuple[set[int], set[int]] = set(), set()
    same = 0
    for pair in np.argsort(-counts):
        a, b = map(int, pairs[:, pair])
        if (a == 0) == (b == 0) and a not in taken[0] and b not in taken[1]:
            same += int(counts[pair])
            taken[0].add(a)
            taken[1].add(b)
    return found.size - same


if __name__ == "__main__":
    main()
