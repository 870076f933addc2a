"""Question: are images segmented in tiles as they are in one piece, and within 4 GiB whatever their size?

A drawn scene of --compare² pixels and the model of the package, segmented whole and in tiles, each in a process of
its own: pixels whose labels differ, points that differ, time and greatest memory (ru_maxrss, imports and all).
Then an OME-Zarr of --side² pixels, of --scenes drawn scenes of 2048² that take turns, into OME-Zarr labels.
Prints one JSON line for each, with the machine, the versions and the commit.

    python -m benchmarks.tiles
    python -m benchmarks.tiles --compare 0 --side 8192
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.commit import commit
from wsis_jax import load_model, segment
from wsis_jax.cli.measure import surroundings
from wsis_jax.core import Plane
from wsis_jax.io import create_labels, open_frames, writing_labels
from wsis_jax.network import Model, model_folder
from wsis_jax.segmentation import TileOptions, segment_tiled
from wsis_jax.synthetic import draw_scene

_SCENE = 2048
_CHUNK = 1024
_CELLS = 420  # in a scene: about two fifths of it


def main(argv: Sequence[str] | None = None) -> None:
    """Makes the images, and measures each way in a process of its own."""
    options = _options(argv)
    if options.way:
        _measure(options)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        if options.compare:
            _make(folder / "small.zarr", options.compare, options)
            for way in ("whole", "tiles"):
                _call(way, folder / "small.zarr", folder / way, options)
            labels, points = (
                [np.load(folder / f"{way}_{what}.npy") for way in ("whole", "tiles")]
                for what in ("labels", "points")
            )
            print(
                json.dumps(
                    {
                        "pixels": labels[0].size,
                        "pixels_that_differ": int((labels[0] != labels[1]).sum()),
                        "points": [len(found) for found in points],
                        "points_equal": bool(np.array_equal(*points)),
                    }
                ),
                flush=True,
            )
        if options.side:
            _make(folder / "large.zarr", options.side, options)
            _call("zarr", folder / "large.zarr", folder / "large_labels.zarr", options)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Returns what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compare", type=int, default=2048, help="side of the image segmented both ways; 0: none")
    parser.add_argument("--side", type=int, default=0, help="side of the large image; 0: none")
    parser.add_argument("--tile", type=int, default=1024, help="side of a tile in pixels of the network")
    parser.add_argument("--scenes", type=int, default=4, help="different scenes in the large image")
    parser.add_argument("--model", default="phase-contrast", help="a run folder, or a model of the package")
    parser.add_argument("--folder", help="where images and labels are put for the time being")
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--image", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def _run(options: argparse.Namespace) -> Model:
    return load_model(model_folder(options.model))


def _make(path: Path, side: int, options: argparse.Namespace) -> None:
    """Writes an OME-Zarr image of scenes side by side."""
    sigma = _run(options).config.likelihood.sigma
    size, image = min(_SCENE, side), create_labels(path, (side, side), chunks=(_CHUNK, _CHUNK))
    cells = round(_CELLS * (size / _SCENE) ** 2 * (11.5 / sigma) ** 2)
    drawn: dict[int, np.ndarray] = {}
    for number, (row, column) in enumerate(np.ndindex(-(-side // size), -(-side // size))):
        seed = number % options.scenes
        if seed not in drawn:
            scene = draw_scene(seed, shape=(size, size), cells=cells, diameter=3.5 * sigma)
            drawn[seed] = np.round(scene.image * 60_000).astype(np.uint32)
        top, left = row * size, column * size
        image[top : top + size, left : left + size] = drawn[seed][: side - top, : side - left]


def _call(way: str, image: Path, out: Path, options: argparse.Namespace) -> None:
    """Measures one way in a new process."""
    command = [sys.executable, "-m", "benchmarks.tiles", "--way", way, "--image", str(image), "--out", str(out)]
    subprocess.run([*command, "--tile", str(options.tile), "--model", options.model], check=True)


def _measure(options: argparse.Namespace) -> None:
    """Segments one image and prints what it took."""
    with open_frames(options.image) as frames:
        _measure_plane(frames.source(0).image, options)


def _measure_plane(image: Plane, options: argparse.Namespace) -> None:
    run, start = _run(options), time.perf_counter()
    if options.way == "whole":
        found = segment(run, image[:, :])
        labels, points = found.labels, found.points
    elif options.way == "tiles":
        labels = np.zeros(image.shape, np.int32)
        points, *_ = segment_tiled(run, image, labels, tile=options.tile)
    else:
        with writing_labels(options.out, image.shape, chunks=(_CHUNK, _CHUNK)) as array:
            points, *_ = segment_tiled(run, image, array, tile=options.tile, options=TileOptions(on_tile=_tell))
    seconds, memory = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if options.way != "zarr":
        np.save(f"{options.out}_labels.npy", labels)
        np.save(f"{options.out}_points.npy", points)
    about = {"way": options.way, "side": image.shape[0], "tile": options.tile, "cells": len(points)}
    measured = {"seconds": round(seconds, 1), "gib": round(memory, 2)}
    print(json.dumps({**about, **measured, **surroundings(), "commit": commit()}), flush=True)


def _tell(done: int, total: int) -> None:
    """Shows how far a long run is."""
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{done}/{total} parts, {memory:.2f} GiB", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
