"""Question: does a batch keep its memory, and does the network work on an image while the one before is cut out?

--images drawn scenes of --side² pixels, the model of the package, and the files that `wsis segment` writes by
default. Noted of each image: when its stage on the accelerator (`batch.locate`) and that of cuts and
files began and ended, and the memory of the process (VmRSS) after it. Predicted: memory after the last image is
that after the tenth, to within a tenth, for no more than two images are held at once; both stages run at the
same time for as long as the shorter one takes in all. Where the accelerator is the CPU, the stages share its
cores: they overlap, but each is the slower for it.

Prints a timeline of some images, and a JSON line with the machine and the commit.

    python -m benchmarks.batch
"""

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
import tifffile

from experiments.commit import commit
from wsis_jax import load_model
from wsis_jax.cli.measure import surroundings
from wsis_jax.core import Stopwatch, stage, watching
from wsis_jax.core.stages import Span
from wsis_jax.network import model_folder
from wsis_jax.output import DEFAULT_FORMATS
from wsis_jax.segmentation import ImageResult, batch, pipeline
from wsis_jax.synthetic import draw_scene

_SCENES = 8  # drawn; the images are these with other noise
_TENTH = 10  # image, after which all programs are compiled
_SHOWN = 8  # images in the timeline
_WIDTH = 96  # characters


class Watched(NamedTuple):
    """What was seen of a batch.

    Attributes:
        results: of the images, in order.
        stopwatch: has the stages that the package notes, of which "network" is the first half of an image; further
            "cuts and files", the second half, and "device", the calls whose work is done on the accelerator.
        seconds: from the first image to the last.
        memory: of the process after each image, in GiB.
    """

    results: list[ImageResult]
    stopwatch: Stopwatch
    seconds: float
    memory: list[float]

    def spans(self, stage: str) -> list[Span]:
        """Returns the spans of a stage, in seconds from the start of the batch."""
        start = self.stopwatch.start
        spans = [span for span in self.stopwatch.spans if span.stage == stage]
        return [span._replace(start=span.start - start, end=span.end - start) for span in spans]

    def seconds_of(self, stage: str) -> float:
        """Returns for how many seconds a stage was at work."""
        return sum(span.end - span.start for span in self.spans(stage))

    def seconds_of_both(self, stage: str, other: str) -> float:
        """Returns for how many seconds two stages were at work at once."""
        return sum(
            max(min(a.end, b.end) - max(a.start, b.start), 0)
            for a, b in itertools.product(self.spans(stage), self.spans(other))
        )


def main(argv: Sequence[str] | None = None) -> None:
    """Draws the images, segments them and prints what was seen."""
    options = _options(argv)
    seen = segment_drawn(options.images, options.side, options.model)
    _show(seen)
    memory, both = seen.memory, seen.seconds_of_both("network", "cuts and files")
    tenth, last = memory[min(_TENTH, len(memory)) - 1], memory[-1]
    print(
        json.dumps(
            {
                "images": len(seen.results),
                "failed": sum(one.error is not None for one in seen.results),
                "side": options.side,
                "cells": sum(one.cells or 0 for one in seen.results),
                "kinds": DEFAULT_FORMATS.kinds,
                "seconds": round(seen.seconds, 1),
                "seconds_network": round(seen.seconds_of("network"), 1),
                "seconds_cuts": round(seen.seconds_of("cuts and files"), 1),
                "seconds_both_at_once": round(both, 1),
                "share_of_cuts_hidden": round(both / seen.seconds_of("cuts and files"), 3),
                "gib_after_tenth": round(tenth, 3),
                "gib_after_last": round(last, 3),
                "gib_greatest": round(max(memory), 3),
                "last_to_tenth": round(last / tenth, 3),
                **surroundings(),
                "commit": commit(),
            }
        )
    )


def segment_drawn(images: int, side: int, model: str) -> Watched:
    """Draws images of side² pixels, segments them with a model (a run folder or a name) and watches the stages."""
    run, memory = load_model(model_folder(model)), []
    with tempfile.TemporaryDirectory() as name, ExitStack() as watched:
        folder = Path(name)
        files = draw_images(folder / "images", images, side, run.config.likelihood.sigma)
        for place, function, called in (
            (batch, "_cut_out", "cuts and files"),
            (pipeline, "locate_at_once", "device"),
            (pipeline, "_look", "device"),
            (pipeline, "propagate", "device"),
        ):
            watched.enter_context(patch.object(place, function, stage(called)(getattr(place, function))))
        stopwatch = Stopwatch(time.perf_counter())
        watched.enter_context(watching(stopwatch))
        results = batch.segment_files(run, files, folder / "out", on_image=lambda *_: memory.append(_resident()))
        seconds = time.perf_counter() - stopwatch.start
    return Watched(results, stopwatch, seconds, memory)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Returns what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--model", default="phase-contrast", help="a run folder, or a model of the package")
    return parser.parse_args(argv)


def draw_images(folder: Path, images: int, side: int, sigma: float) -> list[Path]:
    """Writes images of side² pixels to a new folder; `sigma` is that of the model, in pixels of these images."""
    cells = max(round(420 * (side / 2048) ** 2 * (11.5 / sigma) ** 2), 1)
    shape = side, side
    scenes = [draw_scene(seed, shape=shape, cells=cells, diameter=3.5 * sigma).image for seed in range(_SCENES)]
    files = [folder / f"{number:04d}.tif" for number in range(images)]
    folder.mkdir()
    for number, file in enumerate(files):
        noise = np.random.default_rng(number).normal(0, 0.01, shape)
        tifffile.imwrite(file, ((scenes[number % _SCENES] + noise).clip(0, 1) * 65_535).astype(np.uint16))
    return files


def _show(seen: Watched) -> None:
    """Prints when the stages of some images were at work, from the second half of the batch."""
    by_stage = {name: seen.spans(name) for name in ("network", "cuts and files")}
    first = len(by_stage["network"]) // 2
    shown = {name: spans[first : first + _SHOWN] for name, spans in by_stage.items()}
    begin, end = shown["network"][0].start, shown["cuts and files"][-1].end
    print(f"{_SHOWN} images from number {first} on, {end - begin:.2f} s; a digit is the image's last")
    for name, spans in shown.items():
        line = [" "] * _WIDTH
        for number, span in enumerate(spans, start=first):
            left, right = (round((at - begin) / (end - begin) * _WIDTH) for at in (span.start, span.end))
            line[left : max(right, left + 1)] = str(number % 10) * max(right - left, 1)
        print(f"{name:>14} |{''.join(line[:_WIDTH])}|")


def _resident() -> float:
    """Returns the memory of this process in GiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 2**20


if __name__ == "__main__":
    main()
