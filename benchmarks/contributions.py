"""Question: what does a contribution map cost, by which method, and how does that grow with the image?

Methods: `window` (what wsis_jax does by default: pixels within --reach of the peak), `window-all` (every pixel),
`vmap` and `loop` (passes through the whole image, in JAX), `torch` (the same network and weights in PyTorch, a
backward pass per cell) and `captum` (its GuidedBackprop, a pass forward and backward per cell). Before PyTorch is
timed, its maps of a small image must be ours. Cells are discs around random pixels, images and weights are random.

Everything of one width takes turns in one process: all methods, image sides and numbers of cells. Prints one JSON
line per measurement, with device, versions and commit, then one with the speed-ups of the windows over the other
methods, per cell and with the pass forward in, and with the time per cell relative to the first of the sides.
Methods that pass through the whole image are timed on --loop-cells cells and extrapolated; the lines say so.
A process that measures one method at one size reports its peak memory; --apart gives every one a process.

PyTorch's methods need `pip install torch captum`, the plot `pip install matplotlib`.

    python -m benchmarks.contributions --sides 1040x1392 --widths 64 --json out.jsonl --plot out.png
"""

import argparse
import itertools
import json
import math
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from experiments.commit import commit
from wsis_jax.cli.measure import (
    Method,
    by_images,
    by_windows,
    draw_case,
    fresh_model,
    measure,
    noise,
    result,
    speed_up,
    surroundings,
)
from wsis_jax.core import Config

_METHODS = ("window", "window-all", "vmap", "loop", "torch", "captum")
_SIGMA = 5.0  # of the likelihood map, in pixels of the network: images are scaled to that
RADIUS = Config().detect.radius * _SIGMA  # of a centre region
REACH = (Config().cut.reach or math.inf) * _SIGMA


class Entry(NamedTuple):
    """A method at an image side, the numbers of cells it stands for, and what else its lines say."""

    side: tuple[int, int]
    method: Method
    cells: list[int]
    details: dict[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints; returns 1 if a process of --apart failed."""
    arguments = _parser().parse_args(argv)
    if arguments.plot and not arguments.json:
        raise SystemExit("--plot draws the lines of --json FILE; give both")
    failed = False
    if arguments.apart:
        failed = not _measure_apart(arguments)
    elif arguments.methods:
        _measure_by_turns(arguments)
    if arguments.plot:
        _plot(arguments.json, arguments.plot)
    return int(failed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sides = [(512, 512), (1040, 1392), (2048, 2048)]
    parser.add_argument("--sides", nargs="+", type=_side, default=sides, help="as in 512 or 1040x1392")
    parser.add_argument("--cells", nargs="+", type=int, default=[100], help="in an image (100)")
    parser.add_argument("--widths", nargs="+", type=int, default=[16, 64], help="of the first level, in channels")
    parser.add_argument("--methods", nargs="*", choices=_METHODS, default=list(_METHODS), help="none: only plot")
    parser.add_argument("--reach", type=float, default=REACH, help=f"of `window`, in pixels ({REACH:g})")
    parser.add_argument("--loop-cells", type=int, default=2, help="that all but windows are timed on (2)")
    parser.add_argument("--rounds", type=int, default=3, help="after one that is not counted (3)")
    parser.add_argument("--apart", action="store_true", help="a process for each method, side and width")
    parser.add_argument("--json", type=Path, metavar="FILE", help="append the lines to a file, too")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw all lines of the --json file")
    return parser


def _side(text: str) -> tuple[int, int]:
    """Returns (height, width) of "512" or "1040x1392"."""
    height, _, width = text.partition("x")
    return int(height), int(width or height)


def _measure_apart(arguments: argparse.Namespace) -> bool:
    """Measures in processes of their own, and goes on where one fails; returns whether none did."""
    shared = ["--cells", *map(str, arguments.cells), "--reach", str(arguments.reach)]
    shared += ["--loop-cells", str(arguments.loop_cells), "--rounds", str(arguments.rounds)]
    shared += ["--json", str(arguments.json)] if arguments.json else []
    codes = []
    for width, (rows, columns), method in itertools.product(arguments.widths, arguments.sides, arguments.methods):
        what = ["--methods", method, "--sides", f"{rows}x{columns}", "--widths", str(width)]
        command = [sys.executable, "-m", "benchmarks.contributions", *what, *shared]
        codes.append(subprocess.run(command, check=False).returncode)
        if codes[-1]:
            print(f"{' '.join(what)}: failed with exit code {codes[-1]}", file=sys.stderr)
    return not any(codes)


def _measure_by_turns(arguments: argparse.Namespace) -> None:
    """Measures in this process, one width after the other."""
    alone = len(arguments.widths) * len(arguments.sides) * len(arguments.methods) == 1
    about = {**surroundings(), "commit": commit()}
    for width in arguments.widths:
        entries = _entries(width, arguments)

        def tell(index: int, width: int = width, entries: list[Entry] = entries) -> None:
            (rows, columns), method, _, _ = entries[index]
            print(f"{method.name}, {rows}x{columns}, width {width}, {method.cells} cells", file=sys.stderr)

        timings = measure([entry.method for entry in entries], rounds=arguments.rounds, on_turn=tell)
        lines = [
            {
                **result(entry.method, timing, cells=cells),
                "side": entry.side,
                "width": width,
                "peak_memory_gib": _peak_memory() if alone and cells == max(arguments.cells) else None,
                **about,
                **entry.details,
            }
            for entry, timing in zip(entries, timings, strict=True)
            for cells in entry.cells
        ]
        for line in (*lines, {"width": width, "speed_ups": _speed_ups(lines), "growth": _growth(lines), **about}):
            _write(line, arguments.json)


def _entries(width: int, arguments: argparse.Namespace) -> list[Entry]:
    """Returns what is to be measured at one width."""
    model = fresh_model(width)
    few = min(arguments.loop_cells, max(arguments.cells))
    entries = []
    for side, name in itertools.product(arguments.sides, arguments.methods):
        image = noise(*side)
        if name in ("window", "window-all"):
            reach = arguments.reach if name == "window" else None
            for cells in arguments.cells:
                case = draw_case(model, image, cells=cells, radius=RADIUS)
                entries.append(Entry(side, by_windows(case, name, reach=reach), [cells], {"reach": reach}))
            continue
        case = draw_case(model, image, cells=few, radius=RADIUS)
        if name in ("vmap", "loop"):
            entries.append(Entry(side, by_images(case, name), arguments.cells, {}))
            continue
        from benchmarks import peers  # here, since the others need no PyTorch

        peers.check(model, name)
        best = peers.better_format(case, name)
        entries.append(Entry(side, peers.PEERS[name](case, best), arguments.cells, peers.details(name, best)))
    return entries


def _speed_ups(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns how many times faster windows are than the other methods, at the same side and number of cells."""
    windowed = [line for line in lines if line["method"].startswith("window")]
    others = [line for line in lines if line not in windowed]
    return [
        {
            "of": ours["method"],
            "over": other["method"],
            "side": ours["side"],
            "cells": ours["cells"],
            "extrapolated": other["extrapolated"],
            **speed_up(ours, other),
        }
        for ours, other in itertools.product(windowed, others)
        if _same(ours, other, "side", "cells")
    ]


def _growth(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the time per cell of a method relative to that at the first side, with the same number of cells."""
    first = [line for line in lines if line["side"] == lines[0]["side"]]
    return [
        {
            "method": line["method"],
            "cells": line["cells"],
            "side": line["side"],
            "over": base["side"],
            "per_cell": 1 / speed_up(line, base)["per_cell"],
        }
        for base, line in itertools.product(first, lines)
        if _same(base, line, "method", "cells") and line["side"] != base["side"]
    ]


def _same(a: dict[str, Any], b: dict[str, Any], *keys: str) -> bool:
    return all(a[key] == b[key] for key in keys)


def _peak_memory() -> float:
    """Returns the most memory this process has held so far, in GiB: the device's own if it is an accelerator."""
    stats = jax.devices()[0].memory_stats()
    if stats:
        return stats["peak_bytes_in_use"] / 2**30
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def _write(line: dict[str, Any], file: Path | None) -> None:
    """Prints a line of JSON, and appends it to the file if there is one."""
    text = json.dumps({key: _rounded(value) for key, value in line.items()})
    print(text, flush=True)
    if file:
        with file.open("a") as lines:
            lines.write(text + "\n")


def _rounded(value: Any) -> Any:
    """Returns a value with its numbers rounded to four digits."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _plot(file: Path, picture: Path) -> None:
    """Draws seconds per cell against image size and number of cells, one line per method and width."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SystemExit("--plot needs matplotlib; install it with: pip install matplotlib") from error

    lines = [line for line in map(json.loads, file.read_text().splitlines()) if "method" in line]
    if not lines:
        raise SystemExit(f"{file}: holds no measurements to draw")
    most, largest = max(line["cells"] for line in lines), max(line["side"] for line in lines)
    widths = sorted({line["width"] for line in lines})
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    sizes, counts = figure.subplots(1, 2)
    for (place, method), (dashes, width) in itertools.product(enumerate(_METHODS), enumerate(widths)):
        mine = [line for line in lines if (line["method"], line["width"]) == (method, width)]
        if not mine:
            continue
        look = {"color": f"C{place}", "linestyle": ("-", "--", ":")[dashes % 3], "marker": "."}
        look["label"] = f"{method}, width {width}"
        by_size = sorted((math.prod(x["side"]), x["seconds_per_cell"]) for x in mine if x["cells"] == most)
        sizes.plot([x for x, _ in by_size], [y for _, y in by_size], **look)
        by_count = sorted((x["cells"], x["end_to_end_seconds"] / x["cells"]) for x in mine if x["side"] == largest)
        counts.plot([x for x, _ in by_count], [y for _, y in by_count], **look)
    sizes.set(xlabel="pixels of the image", ylabel=f"seconds per cell, of {most}", title="backward")
    counts.set(xlabel=f"cells, in {largest[0]} × {largest[1]} pixels", title="with its share of the pass forward")
    for axes in (sizes, counts):
        axes.set(xscale="log", yscale="log")
        axes.xaxis.set_minor_formatter("")  # within one decade they would overlap
        axes.grid(alpha=0.3)
    counts.legend(fontsize="x-small")
    figure.savefig(picture, dpi=150)


if __name__ == "__main__":
    sys.exit(main())
