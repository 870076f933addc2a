"""Question: how fast is the package on an accelerator, beside its rivals there and what the device can do at most?

One command of at most --minutes, from a checkout with installed wheels. It prints one Markdown table, row by row,
and writes all numbers as JSON to --out after every row: what was measured stays if the machine goes. Its parts, in
their order; each that the time left is too short for is left out, so that the last are dropped first, and a row of
the table names it:

1. rates: a product of large matrices and a copy, for the floors below (see `floors.py`).
2. windows: contribution maps of all cells as the package makes them, at each width in float32 and bfloat16, and
   with 64 cells at a time; the pass forward.
3. rivals at the greatest width in float32: the jitted loop over cells, vmap of passes through the whole image, and
   PyTorch's loop. They are timed on a few cells; all times are given per cell. Each takes turns with the windows.
4. training: a step, and PyTorch's.
5. segment: 200 drawn images, files and all, and how the device and the host share the time.
6. rivals at the other width, and in bfloat16.

float32 is computed in the default way of the device, which is TF32 on GPUs of NVIDIA, here and in PyTorch. In
bfloat16 (`unet.precision`) the variables, the kernels and all features are; the sigmoid and the maps are float32.
Times are medians of --rounds after one that is not counted; the floors rest on the least times. Without PyTorch
its rows say so. The memory of the device is the greatest so far, so rivals count in it from part 3 on.

Predicted: windows take less than a tenth of what each rival takes per cell. They are farther from the floor than
the pass forward is, since their convolutions are small and many: more than 3 times it at width 64, more at 16.

    python -m benchmarks.accelerator --out accelerator.json
    python -m benchmarks.accelerator --small --out rehearsal.json
"""

import argparse
import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax

from benchmarks import training_step
from benchmarks.batch import segment_drawn
from benchmarks.contributions import RADIUS, REACH
from benchmarks.floors import Rates, Work, measured_rates, prefixed, work_of_cell, work_of_pass
from experiments.commit import commit
from wsis_jax.cli.measure import (
    Case,
    Method,
    by_images,
    by_windows,
    draw_case,
    fresh_model,
    measure,
    noise,
    surroundings,
)
from wsis_jax.network import Model, windows_of_cells

_SHARE = 0.4  # of the device's memory that passes of vmap may take


class Sizes(NamedTuple):
    """How much is measured."""

    side: tuple[int, int] = (1040, 1392)  # of the image of the contribution maps
    cells: int = 300
    few: int = 8  # cells that rivals are timed on
    many: int | None = 64  # cells at a time, more than the package takes by default at a large width
    widths: tuple[int, ...] = (64, 16)
    patch: int = 320  # side of a patch of the training step
    batch: int = 8
    images: int = 200
    image_side: int = 512
    matrix: int = 8192  # side
    copied: int = 2**28  # numbers


_SMALL = Sizes((64, 64), 4, 2, None, (4,), 32, 2, 3, 64, 256, 2**20)


class Row(NamedTuple):
    """A row of the table."""

    part: str
    what: str
    seconds: float | None = None
    unit: str = ""  # what takes these seconds
    over_ours: float | None = None  # the time, relative to ours in the same turns
    over_floor: float | None = None  # the time, relative to the least that the device could take
    note: str = ""


class Bench(NamedTuple):
    """What all parts share."""

    sizes: Sizes
    rounds: int
    model: str
    rates: dict[str, Rates]  # under "device", once they are measured

    def over_floor(self, seconds: float, work: Work, precision: str) -> float | None:
        """Returns a time relative to its floor; None if the rates are not known."""
        return seconds / work.seconds(self.rates["device"], precision) if self.rates else None


class Part(NamedTuple):
    """A part of the benchmark, and the seconds without which it is not begun: roughly what it takes at least."""

    name: str
    needs: float
    run: Callable[[Bench], Iterator[Row]]


def main(argv: Sequence[str] | None = None) -> int:
    """Measures part after part; returns 1 if one failed or was cut off."""
    start, options = time.perf_counter(), _options(argv)
    bench = Bench(_SMALL if options.small else Sizes(), options.rounds, options.model, {})
    table, failed, running = Table(options.out, bench), False, False
    for part in _parts(bench.sizes):
        left = 60 * options.minutes - (time.perf_counter() - start)
        if running or left < (0 if options.small else part.needs):
            table.add(Row(part.name, "", note=f"dropped: {max(left, 0):.0f} s were left"))
            continue
        errors, running = _run(partial(_fill, table, part, bench), left)
        for error in errors:
            failed = True
            table.add(Row(part.name, "", note=f"failed: {_in_a_line(error)}"))
        if running:
            table.add(Row(part.name, "", note=f"cut off after {left:.0f} s"))
    return int(failed or running)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Returns what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="JSON to write all numbers to")
    parser.add_argument("--minutes", type=float, default=8, help="after which it ends, whatever is done (8)")
    parser.add_argument("--rounds", type=int, default=5, help="of which the median is taken (5)")
    parser.add_argument("--small", action="store_true", help="toy sizes, for a rehearsal on a CPU")
    parser.add_argument("--model", default="phase-contrast", help="to segment with: a run folder, or a name")
    return parser.parse_args(argv)


def _parts(sizes: Sizes) -> list[Part]:
    """Returns the parts in their order."""
    first, *others = sizes.widths
    return [
        Part("rates", 20, _rates),
        *(
            Part(f"windows, width {width}, {precision}", 30, partial(_windows, width, precision))
            for width in sizes.widths
            for precision in ("float32", "bfloat16")
        ),
        Part(f"rivals, width {first}, float32", 60, partial(_rivals, first, "float32")),
        Part("training", 40, _training),
        Part("segment", 60, _segment),
        *(
            Part(f"rivals, width {width}, {precision}", 60, partial(_rivals, width, precision))
            for width, precision in [*((w, "float32") for w in others), *((w, "bfloat16") for w in sizes.widths)]
        ),
    ]


class Table:
    """The table: each row is printed, and written to a file with all before it, when it is known."""

    def __init__(self, file: Path, bench: Bench) -> None:
        self._file, self._bench, self._rows = file, bench, list[dict[str, Any]]()
        self._about = {**surroundings(), "commit": commit(), **bench.sizes._asdict(), "rounds": bench.rounds}
        print("| part | what | time | times ours | times the floor | device memory | notes |")
        print("|---|---|---|---|---|---|---|")

    def add(self, row: Row) -> None:
        """Prints and writes a row."""
        memory = _device_memory()
        self._rows.append({**row._asdict(), "device_gib": memory})
        cells = [row.part, row.what, "", "", "", "not told" if memory is None else f"{memory:.3g} GiB", row.note]
        if row.seconds is not None:
            cells[2] = f"{_in_units(row.seconds)} {row.unit}".strip()
        cells[3:5] = ["" if ratio is None else f"{ratio:.3g} ×" for ratio in (row.over_ours, row.over_floor)]
        print(f"| {' | '.join(cells)} |", flush=True)
        rates = {name: rates._asdict() for name, rates in self._bench.rates.items()}
        self._file.write_text(json.dumps({**self._about, "rates": rates, "rows": self._rows}, indent=1))


def _run(work: Callable[[], None], seconds: float) -> tuple[list[Exception], bool]:
    """Does some work in a thread; returns the errors that ended it, and whether it still runs after so long."""
    errors: list[Exception] = []

    def catching() -> None:
        try:
            work()
        except Exception as error:  # whatever it is, the other parts go on
            errors.append(error)

    thread = threading.Thread(target=catching, daemon=True)
    thread.start()
    thread.join(seconds)
    return errors, thread.is_alive()


def _fill(table: Table, part: Part, bench: Bench) -> None:
    for row in part.run(bench):
        table.add(row)


def _in_a_line(error: Exception) -> str:
    """Returns what went wrong, for a cell of the table."""
    return f"{type(error).__name__}: {error}".replace("|", "/").partition("\n")[0][:200]


def _in_units(seconds: float) -> str:
    """Returns a time with its unit."""
    for factor, unit in ((1, "s"), (1e3, "ms")):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def _device_memory() -> float | None:
    """Returns the greatest memory that the device has had in use, in GiB; None where it does not tell."""
    stats = jax.local_devices()[0].memory_stats()
    return stats["peak_bytes_in_use"] / 2**30 if stats else None


# The parts


def _rates(bench: Bench) -> Iterator[Row]:
    """Measures what the device does at best."""
    sizes = bench.sizes
    rates = measured_rates(side=sizes.matrix, numbers=sizes.copied, rounds=bench.rounds)
    bench.rates["device"] = rates
    for precision, flop in rates.flop.items():
        yield Row("rates", f"matrices of {sizes.matrix}², {precision}", note=prefixed(flop, "FLOP/s"))
    yield Row("rates", f"copy of {prefixed(4 * sizes.copied, 'B')}", note=prefixed(rates.bytes, "B/s"))


def _case(width: int, precision: str, sizes: Sizes, cells: int) -> Case:
    """Returns cells in an image, and a fresh model that computes in a precision."""
    model = fresh_model(width)
    return draw_case(_set(model, f"unet.precision={precision}"), noise(*sizes.side), cells=cells, radius=RADIUS)


def _set(model: Model, setting: str) -> Model:
    return model.using(model.config.override([setting]))


def _windows(width: int, precision: str, bench: Bench) -> Iterator[Row]:
    """Measures contribution maps in windows, by default and many at a time, and the pass forward."""
    part, many = f"windows, width {width}, {precision}", bench.sizes.many
    case = _case(width, precision, bench.sizes, bench.sizes.cells)
    methods = [by_windows(case, "as by default", reach=REACH)]
    if many:
        larger = case._replace(model=_set(case.model, f"contribution.chunk={many}"))
        methods.append(by_windows(larger, f"{many} cells at a time", reach=REACH))
    timings = measure(methods, rounds=bench.rounds)
    network, cells = case.model.network, case.cells._replace(reach=REACH)
    work = work_of_cell(network, windows_of_cells(network, cells), precision=precision, chunk=len(cells.peaks))
    counted = f"{prefixed(work.flop, 'FLOP')} and {prefixed(work.bytes, 'B')} counted"
    ours = _per_cell(methods[0], timings[0].back)
    for method, timing in zip(methods, timings, strict=True):
        taken = _per_cell(method, timing.back)
        note = f"{counted}, {prefixed(work.flop / taken, 'FLOP/s')}"
        yield Row(part, method.name, taken, "a cell", taken / ours, bench.over_floor(taken, work, precision), note)
    passed, taken = work_of_pass(network, cells.shape, precision=precision), statistics.median(timings[0].forward)
    note = f"{prefixed(passed.flop, 'FLOP')} counted; what is recorded for the passes back is in the time"
    yield Row(part, "pass forward", taken, "an image", None, bench.over_floor(taken, passed, precision), note)


def _rivals(width: int, precision: str, bench: Bench) -> Iterator[Row]:
    """Measures the passes through the whole image, each by turns with the windows."""
    part, sizes = f"rivals, width {width}, {precision}", bench.sizes
    case, few = (_case(width, precision, sizes, cells) for cells in (sizes.cells, min(sizes.few, sizes.cells)))
    ours = by_windows(case, "windows", reach=REACH)
    for name, make in (("loop", _loop), ("vmap", _vmap), ("PyTorch", _torch)):
        try:
            rival = make(few)
            timings = measure([ours, rival], rounds=bench.rounds)
        except ImportError:
            yield Row(part, name, note="skipped: PyTorch is not installed")
            continue
        except Exception as error:  # for want of memory, for instance: the other rivals go on
            yield Row(part, name, note=f"failed: {_in_a_line(error)}")
            continue
        windows, taken = (_per_cell(m, t.back) for m, t in zip((ours, rival), timings, strict=True))
        note = f"per cell, timed on {rival.cells} of {sizes.cells}; windows {_in_units(windows)} by turns with it"
        yield Row(part, name, taken, "a cell", taken / windows, None, note)


def _per_cell(method: Method, seconds: list[float]) -> float:
    """Returns the median seconds of a cell."""
    return statistics.median(seconds) / method.cells


def _loop(case: Case) -> Method:
    """Returns the jitted loop over cells."""
    return by_images(case, "loop")


def _vmap(case: Case) -> Method:
    """Returns vmap of passes through the whole image, as many at a time as the device has memory for."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        memory = _SHARE * stats["bytes_limit"] / 2**30
        case = case._replace(model=_set(case.model, f"contribution.memory={memory}"))
    return by_images(case, "vmap")


def _torch(case: Case) -> Method:
    """Returns PyTorch's loop over cells, in the better of its memory formats; in float32 its maps must be ours."""
    from benchmarks import peers  # here, since the others need no PyTorch

    if case.model.config.unet.precision == "float32":
        peers.check(case.model, "torch")
    return peers.by_torch(case, peers.better_format(case, "torch"))


def _training(bench: Bench) -> Iterator[Row]:
    """Measures a training step in float32, and PyTorch's."""
    sizes, width = bench.sizes, bench.sizes.widths[0]
    widths, patches = training_step.widths_of(width), training_step.random_patches(sizes.batch, sizes.patch)
    steps, missing = {"ours": training_step.jax_step(*widths, *patches)}, ""
    try:
        steps |= training_step.torch_steps(*widths, *patches)
    except ImportError:
        missing = "skipped: PyTorch is not installed"
    _, times = training_step.by_turns(steps, bench.rounds)
    taken = {name: statistics.median(seconds) for name, seconds in times.items()}
    network = fresh_model(width).network
    forward = work_of_pass(network, (sizes.patch, sizes.patch), precision="float32")
    floor = bench.over_floor(taken["ours"], Work(3 * sizes.batch * forward.flop, 0), "float32")
    what = f"width {width}, {sizes.batch} patches of {sizes.patch}²"
    ours = taken.pop("ours")
    yield Row("training", f"ours, {what}", ours, "a step", 1.0, floor, "floor of the arithmetic alone")
    if missing:
        yield Row("training", "PyTorch", note=missing)
        return
    best = min(taken, key=taken.__getitem__)
    yield Row("training", best, taken[best], "a step", taken[best] / ours, None, f"PyTorch {version('torch')}")


def _segment(bench: Bench) -> Iterator[Row]:
    """Segments drawn images, after a few that compile all, and tells what device and host did."""
    sizes = bench.sizes
    segment_drawn(2, sizes.image_side, bench.model)
    seen = segment_drawn(sizes.images, sizes.image_side, bench.model)
    images, each = len(seen.results), "an image"
    failed, cells = sum(one.error is not None for one in seen.results), sum(one.cells or 0 for one in seen.results)
    note = f"{images / seen.seconds:.3g} images/s; {images} of {sizes.image_side}², {cells} cells, {failed} failed"
    yield Row("segment", "all", seen.seconds / images, each, note=note)
    device, network = seen.seconds_of("device"), seen.seconds_of("network")
    yield Row("segment", "device calls", device / images, each, note=f"{device / seen.seconds:.0%} of the time")
    before = seen.seconds_of("read") + network - device
    note = "reading, normalising; the device waits for it"
    yield Row("segment", "host, before and between device calls", before / images, each, note=note)
    after = seen.seconds_of("cuts and files")
    hidden = seen.seconds_of_both("device", "cuts and files")
    note = f"in a thread, {hidden / after:.0%} of it while the device is called"
    yield Row("segment", "host, cuts and files", after / images, each, note=note)
    for stage in ("cuts", "files"):
        yield Row("segment", f"of these, {stage}", seen.seconds_of(stage) / images, each)


if __name__ == "__main__":
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch needs memory, too
    code = main()
    sys.stdout.flush()
    os._exit(code)  # a part that was cut off may be in a compiler, which cannot be ended otherwise
