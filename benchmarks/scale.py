"""Question: what do a million fields cost, and how many CPU cores does a device need so that it never waits?

A field is an image of --side pixels of the network with --cells cells. The script counts its bytes, the
arithmetic of the network (`floors.py`) and its cuts. The speeds are arguments: those of a device (--flops) and
those of a core (--read to --written); README.md here says where the defaults were measured.

A process leads a device. For each field it reads, normalises and detects (b seconds of a core, before) and has
the device pass forward and back (d seconds). Then a worker on a core cuts and writes (a seconds of it, after),
and the process goes on with the next field as soon as a worker has taken this one. N devices and W workers finish

    min(N / (b + d), W / a)

fields a second, so that the host limits below W = N · a / (b + d) workers. A process uses b / (b + d) of a core
itself, and its device works d / (b + d) of the time; to work all the time it would need (a + b) / d cores.

A simulation of the same line of stages, field by field, finds the least number of workers with which devices lose
less than a hundredth; it is printed beside the formula. Predicted: the same number. With times that differ
between fields by up to a third (--spread), some more.

    python -m benchmarks.scale
    python -m benchmarks.scale --rates
    python -m benchmarks.scale --measure 40

--rates measures the speeds of a core on --rounds drawn fields, in processor time of all threads. --measure has a
batch of so many images segmented by one worker of one core and by two, as `clusters.py` does, beside what follows
from the processor times of the stages. Give both the machine alone.
"""

import argparse
import heapq
import itertools
import json
import math
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile

from benchmarks.batch import draw_images
from benchmarks.clusters import many_images
from benchmarks.contributions import RADIUS, REACH
from benchmarks.floors import Work, prefixed, work_of_cell, work_of_pass
from benchmarks.training_step import widths_of
from experiments.commit import commit
from wsis_jax import load_model
from wsis_jax.cli.measure import surroundings
from wsis_jax.core import Config, LocatedCells
from wsis_jax.io import SourceImage, open_frames
from wsis_jax.network import Model, UNet, half_of, windows
from wsis_jax.output import DEFAULT_FORMATS
from wsis_jax.segmentation import pipeline
from wsis_jax.synthetic import draw_scene

_DEVICES = (1, 8, 64)
_LOSS = 0.01  # of the fields a second, at which devices count as waiting
_PER_SIGMA = 3.5  # diameter of the drawn cells
_DAY = 86_400


class Host(NamedTuple):
    """Seconds of a core that a field takes."""

    read: float
    detect: float  # normalising, peaks, regions
    cuts: float
    files: float

    @property
    def before(self) -> float:
        """What comes before the cells are passed back: the device waits for it."""
        return self.read + self.detect

    @property
    def after(self) -> float:
        """What workers do."""
        return self.cuts + self.files


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the tables, or measures."""
    options = _options(argv)
    if options.rates or options.measure:
        with tempfile.TemporaryDirectory() as name:
            line = measured_rates(Path(name), options) if options.rates else compared(Path(name), options)
    else:
        print_tables(options)
        line = {name: value for name, value in vars(options).items() if name not in ("rates", "measure", "model")}
    print(json.dumps({**line, **surroundings(), "commit": commit()}))


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Returns what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fields", type=float, default=1e6, help="how many (1e6)")
    parser.add_argument("--side", nargs=2, type=int, default=(1040, 1392), help="height and width (1040 1392)")
    parser.add_argument("--cells", type=int, default=300, help="in a field (300)")
    parser.add_argument("--widths", nargs="+", type=int, default=[16, 64], help="of the network's first level")
    parser.add_argument("--views", type=int, default=Config().detect.views, help="passes forward of a field")
    parser.add_argument(
        "--flops", nargs="+", type=float, default=[171e9, 1e13, 1e14], help="of a device, a second"
    )
    parser.add_argument("--read", type=float, default=0.004, help="core seconds to read a field")
    parser.add_argument(
        "--detect", type=float, default=0.19, help="core seconds to normalise and detect in a field"
    )
    parser.add_argument("--cuts", type=float, default=114, help="cells that a core cuts out a second")
    parser.add_argument("--files", type=float, default=0.54, help="core seconds to write the files of a field")
    parser.add_argument("--written", type=float, default=1.67e6, help="bytes of the files of a field")
    parser.add_argument(
        "--spread", type=float, default=0.33, help="of the times of fields, relative, simulated too"
    )
    parser.add_argument("--rates", action="store_true", help="measure the speeds of a core instead")
    parser.add_argument("--measure", type=int, default=0, metavar="IMAGES", help="measure a batch instead")
    parser.add_argument("--image-side", type=int, default=512, help="of the images of --measure, in pixels (512)")
    parser.add_argument("--rounds", type=int, default=3, help="fields of --rates, turns of --measure (3)")
    parser.add_argument("--model", default="phase-contrast", help="to measure with: a run folder, or a name")
    return parser.parse_args(argv)


# The formula and the simulation


def workers_needed(devices: int, period: float, after: float) -> float:
    """Returns the number of workers below which the host limits, for `period` and `after` seconds a field."""
    return devices * after / period


def fields_per_second(devices: int, workers: float, period: float, after: float) -> float:
    """Returns how many fields are finished a second, by the formula."""
    return min(devices / period, workers / after)


def simulate(devices: int, workers: int, period: float, after: float, *, spread: float = 0.0) -> float:
    """Returns how many fields are finished a second, field by field, once the line of stages is full.

    Each device has a field ready `period` seconds after a worker took its last one, and each worker takes `after`
    seconds. The times of a field differ from these by up to `spread`, relative, at random.
    """
    fields = 50 * (devices + workers)
    own, theirs = 1 + np.random.default_rng(0).uniform(-spread, spread, (2, fields))
    ready = [period * (1 + device / devices) for device in range(devices)]
    free = [0.0] * workers
    taken = []
    for for_device, for_worker in zip(own, theirs, strict=True):
        taken.append(max(heapq.heappop(ready), heapq.heappop(free)))
        heapq.heappush(ready, taken[-1] + period * for_device)
        heapq.heappush(free, taken[-1] + after * for_worker)
    half = fields // 2
    return (fields - half) / (taken[-1] - taken[half - 1])


def simulated_workers(devices: int, period: float, after: float, *, spread: float = 0.0) -> int:
    """Returns the least number of workers with which simulated devices lose less than a hundredth."""
    target = (1 - _LOSS) * simulate(devices, _plenty(devices, period, after), period, after, spread=spread)
    low, high = 0, _plenty(devices, period, after)  # too few, and enough
    while high - low > 1:
        middle = (low + high) // 2
        if simulate(devices, middle, period, after, spread=spread) < target:
            low = middle
        else:
            high = middle
    return high


def _plenty(devices: int, period: float, after: float) -> int:
    """Returns a number of workers with which no device ever waits."""
    return math.ceil(2 * workers_needed(devices, period, after)) + devices


# The tables


def print_tables(options: argparse.Namespace) -> None:
    """Prints what fields cost, and how many workers devices need."""
    host = Host(options.read, options.detect, options.cells / options.cuts, options.files)
    shape = options.side[0], options.side[1]
    work = {width: work_of_field(width, shape, options.cells, options.views) for width in options.widths}
    devices = [
        (f"width {width}, {prefixed(flops, 'FLOP/s')}", (forward.flop + back.flop) / flops)
        for width, (forward, back) in work.items()
        for flops in options.flops
    ]
    _print_costs(options, work, host, devices)
    print()
    _print_workers(options, host, devices)


def _print_costs(
    options: argparse.Namespace,
    work: dict[int, tuple[Work, Work]],
    host: Host,
    devices: Sequence[tuple[str, float]],
) -> None:
    """Prints what a field and all fields cost; of devices, their names and the seconds of a field are given."""
    amounts = [("read, 16 bits a pixel", 2 * math.prod(options.side), "B"), ("written", options.written, "B")]
    amounts.append(("cuts", options.cells, ""))
    for width, (forward, back) in work.items():
        amounts.append((f"width {width}, {options.views} passes forward", forward.flop, "FLOP"))
        amounts.append((f"width {width}, contributions of {options.cells} cells", back.flop, "FLOP"))
        amounts.append((f"width {width}, memory traffic of the device", forward.bytes + back.bytes, "B"))
    rows = [[what, prefixed(one, unit), prefixed(one * options.fields, unit)] for what, one, unit in amounts]
    times = [(f"a core: {stage}", seconds) for stage, seconds in host._asdict().items()]
    times += [(f"a device: {name}", seconds) for name, seconds in devices]
    rows += [[what, f"{one:.3g} s", f"{one * options.fields / _DAY:.3g} days"] for what, one in times]
    _print_table(["what", "a field", f"{options.fields:,.0f} fields"], rows)


def _print_workers(options: argparse.Namespace, host: Host, devices: Sequence[tuple[str, float]]) -> None:
    """Prints how many workers some devices need, by the formula and by the simulation."""
    rows = []
    for (name, seconds), count in itertools.product(devices, _DEVICES):
        period = host.before + seconds
        rate, needed = count / period, workers_needed(count, period, host.after)
        found = [simulated_workers(count, period, host.after, spread=spread) for spread in (0, options.spread)]
        flow = [prefixed(size * rate, "B/s") for size in (2 * math.prod(options.side), options.written)]
        busy, always = f"{seconds / period:.0%}", f"{(host.before + host.after) / seconds:.3g}"
        rows.append([name, count, f"{rate:.3g}", *flow, f"{needed:.3g}", *found, busy, always])
    heads = ["network, device", "devices", "fields/s", "read", "written", "workers needed", "simulated"]
    heads += [f"simulated, times ± {options.spread:.0%}", "devices work", "cores a device, to work always"]
    _print_table(heads, rows)


def _print_table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Prints a table in Markdown."""
    for cells in (heads, ["---"] * len(heads), *rows):
        print(f"| {' | '.join(map(str, cells))} |")


def work_of_field(width: int, shape: tuple[int, int], cells: int, views: int) -> tuple[Work, Work]:
    """Returns the work of the passes forward of a field, and of those back of its cells, in float32."""
    network = UNet(*widths_of(width))
    spans = windows(len(network.encoder), half=half_of(RADIUS), reach=int(REACH))
    forward = work_of_pass(network, shape, precision="float32").times(views)
    return forward, work_of_cell(network, spans, precision="float32", chunk=cells).times(cells)


# What a core does


def measured_rates(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Returns the speeds of a core, by the names of the arguments; of drawn fields without the first one."""
    model = load_model(options.model)
    learned = model.config
    config = learned.for_diameter(learned.cell_diameter * learned.network_scale)  # at the scale 1
    files = [folder / f"{seed}.tif" for seed in range(options.rounds + 1)]
    for seed, file in enumerate(files):
        diameter = _PER_SIGMA * config.likelihood.sigma
        scene = draw_scene(seed, shape=tuple(options.side), cells=options.cells, diameter=diameter)
        tifffile.imwrite(file, np.round(scene.image * 65_535).astype(np.uint16))
    config = config.override(["detect.views=1"])  # the network is not what is measured
    seconds, cells, written = measured_stages(model, config, files, folder / "out")
    rates = {name: seconds[name] for name in ("read", "detect", "files")}
    return {"cells": cells, **rates, "cuts": cells / seconds["cuts"], "written": written, "rounds": options.rounds}


def measured_stages(
    model: Model, config: Config, files: Sequence[Path], out: Path
) -> tuple[dict[str, float], float, float]:
    """Returns the processor seconds of each stage of an image, its cells, and the bytes of its files.

    All are medians of the images but the first. Read files are in memory; written ones may still be.
    """
    seconds: dict[str, list[float]] = defaultdict(list)
    cells, written = [], []

    def timed(stage: str, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        start = time.process_time()
        result = function(*arguments, **options)
        seconds[stage].append(time.process_time() - start)
        return result

    with DEFAULT_FORMATS.writing(out, []) as write:
        for file in files:
            source = timed("read", _read, file)
            small = timed("normalise", pipeline._prepare, source.image, config)
            records, likelihoods = timed("forward", pipeline._look, model, [small], config=config, sides=None)
            detection = timed("peaks", pipeline._find, small, likelihoods[0], config=config)
            back = {"config": config, "recorded": records, "index": 0}
            winner = timed("contributions", pipeline.propagate, model, detection, **back)
            found = timed("cuts", pipeline.outline, LocatedCells(detection, winner), source.shape, config=config)
            paths = timed("files", write, source, found)
            cells.append(len(found.points))
            written.append(sum(path.stat().st_size for path in paths))
    medians = {stage: statistics.median(times[1:]) for stage, times in seconds.items()}
    medians["detect"] = medians.pop("normalise") + medians.pop("peaks")
    return medians, statistics.median(cells[1:]), statistics.median(written[1:])


def _read(file: Path) -> SourceImage:
    with open_frames(file) as frames:
        return frames.source(0).read()


def compared(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Returns the seconds of a batch with one worker of one core and with two, measured and predicted.

    There the network's passes take time of the same cores, so all stages of an image follow one another.
    """
    model = load_model(options.model)
    (folder / "alone").mkdir()
    files = draw_images(folder / "alone" / "images", 4, options.image_side, model.config.likelihood.sigma)
    stages, *_ = measured_stages(model, model.config, files, folder / "alone" / "out")
    asked = {"images": options.measure, "image_side": options.image_side, "rounds": options.rounds}
    measured = many_images(folder, argparse.Namespace(**asked, model=options.model))
    predicted = {count: options.measure * sum(stages.values()) / count for count in (1, 2)}
    ratios = {count: min(measured[f"seconds_{count}"]) / seconds for count, seconds in predicted.items()}
    return {
        **measured,
        "image_side": options.image_side,
        "core_seconds_of_an_image": {stage: round(seconds, 4) for stage, seconds in stages.items()},
        "predicted_seconds": {count: round(seconds, 1) for count, seconds in predicted.items()},
        "measured_over_predicted": {count: round(ratio, 2) for count, ratio in ratios.items()},
    }


if __name__ == "__main__":
    main()
