"""Question: does a batch keep its memory, and does the network work on an image while the one before is cut out?

--images drawn scenes of --side² pixels, the model of the package, and the files that `wsis segment` writes by
default. Noted of each image: when its stage on the accelerator (`pipeline.locate`) and that of cuts and
files began and ended, and the memory of the process (VmRSS) after it. Predicted: memory after the last image is
that after the tenth, to within a tenth, for no more than two images are held at once; both stages run at the
same time for as long as the shorter one takes in all. Where the accelerator is the CPU, the stages share its
cores: they overlap, but each is the slower for it.

Prints a timeline of some images, and a JSON line with the machine and the commit.

    python -m benchmarks.batch
"""

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import tifffile

from experiments.commit import commit
from wsis_jax import load_model
from wsis_jax.cli.measure import surroundings
from wsis_jax.network import model_folder
from wsis_jax.output import DEFAULT_FORMATS
from wsis_jax.segmentation import batch
from wsis_jax.synthetic import draw_scene

_SCENES = 8  # drawn; the images are these with other noise
_TENTH = 10  # image, after which all programs are compiled
_SHOWN = 8  # images in the timeline
_WIDTH = 96  # characters


class Span(NamedTuple):
    """A stage of an image: when it began and ended, in seconds from the start of the batch."""

    stage: str
    start: float
    end: float


def main(argv: Sequence[str] | None = None) -> None:
    """Draws the images, segments them and prints what was seen."""
    options = _options(argv)
    run = load_model(model_folder(options.model))
    with tempfile.TemporaryDirectory() as name, ExitStack() as watching:
        folder = Path(name)
        files = _draw(folder / "images", options, run.config.likelihood.sigma)
        spans, memory, start = [], [], time.perf_counter()
        for stage, function in (("network", "locate"), ("cuts", "_cut_out")):
            watching.enter_context(_watch(function, stage, spans, start))
        outcomes = batch.segment_files(run, files, folder / "out", on_image=lambda *_: memory.append(_resident()))
        seconds = time.perf_counter() - start
    _show(spans)
    tenth, last = memory[min(_TENTH, len(memory)) - 1], memory[-1]
    print(
        json.dumps(
            {
                "images": len(outcomes),
                "failed": sum(one.error is not None for one in outcomes),
                "side": options.side,
                "cells": sum(one.cells or 0 for one in outcomes),
                "kinds": DEFAULT_FORMATS.kinds,
                "seconds": round(seconds, 1),
                **_overlap(spans),
                "gib_after_tenth": round(tenth, 3),
                "gib_after_last": round(last, 3),
                "gib_greatest": round(max(memory), 3),
                "last_to_tenth": round(last / tenth, 3),
                **surroundings(),
                "commit": commit(),
            }
        )
    )


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Returns what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--model", default="phase-contrast", help="a run folder, or a model of the package")
    return parser.parse_args(argv)


def _draw(folder: Path, options: argparse.Namespace, sigma: float) -> list[Path]:
    """Writes the images."""
    folder.mkdir()
    cells = max(round(420 * (options.side / 2048) ** 2 * (11.5 / sigma) ** 2), 1)
    shape = options.side, options.side
    scenes = [draw_scene(seed, shape=shape, cells=cells, diameter=3.5 * sigma).image for seed in range(_SCENES)]
    files = [folder / f"{number:04d}.tif" for number in range(options.images)]
    for number, file in enumerate(files):
        noise = np.random.default_rng(number).normal(0, 0.01, shape)
        tifffile.imwrite(file, ((scenes[number % _SCENES] + noise).clip(0, 1) * 65_535).astype(np.uint16))
    return files


def _watch(name: str, stage: str, spans: list[Span], start: float) -> Any:
    """Context manager in which the times of a function are noted."""
    real, lock = getattr(batch, name), threading.Lock()

    def timed(*arguments: Any, **named: Any) -> Any:
        begun = time.perf_counter() - start
        try:
            return real(*arguments, **named)
        finally:
            with lock:
                spans.append(Span(stage, begun, time.perf_counter() - start))

    return patch.object(batch, name, timed)


def _overlap(spans: list[Span]) -> dict[str, float]:
    """Returns for how long each stage was at work, and both at once."""
    stages = {stage: [span for span in spans if span.stage == stage] for stage in ("network", "cuts")}
    total = {stage: sum(span.end - span.start for span in of) for stage, of in stages.items()}
    both = sum(
        max(min(a.end, b.end) - max(a.start, b.start), 0) for a in stages["network"] for b in stages["cuts"]
    )
    return {
        "seconds_network": round(total["network"], 1),
        "seconds_cuts": round(total["cuts"], 1),
        "seconds_both_at_once": round(both, 1),
        "share_of_cuts_hidden": round(both / total["cuts"], 3),
    }


def _show(spans: list[Span]) -> None:
    """Prints when the stages of some images were at work, from the second half of the batch."""
    by_stage = [[span for span in spans if span.stage == stage] for stage in ("network", "cuts")]
    first = len(by_stage[0]) // 2
    shown = [stage[first : first + _SHOWN] for stage in by_stage]
    begin, end = shown[0][0].start, shown[1][-1].end
    print(f"{_SHOWN} images from number {first} on, {end - begin:.2f} s; a digit is the image's last")
    for stage, of in zip(("network", "cuts"), shown, strict=True):
        line = [" "] * _WIDTH
        for number, span in enumerate(of, start=first):
            left, right = (round((at - begin) / (end - begin) * _WIDTH) for at in (span.start, span.end))
            line[left : max(right, left + 1)] = str(number % 10) * max(right - left, 1)
        print(f"{stage:>8} |{''.join(line[:_WIDTH])}|")


def _resident() -> float:
    """Returns the memory of this process in GiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 2**20


if __name__ == "__main__":
    main()
