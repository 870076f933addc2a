"""What the commands show in a terminal: tables, progress bars, warnings, errors and compiled programs."""

import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from wsis_jax.core import so_many

if TYPE_CHECKING:
    from wsis_jax.training import Callbacks

# Heavy libraries are imported where they are used, so that --help comes at once.

METRICS = {
    "f_measure": ("F-measure", "precision and recall in one: their harmonic mean"),
    "precision": ("precision", "share of the detected points that are a true cell's"),
    "recall": ("recall", "share of the true cells that a detected point found"),
    "mdice": ("mDice", "Dice of each true cell with the label that has most of it"),
    "dice_one_to_one": ("Dice 1:1", "mDice with each label used once; false cells count as 0"),
    "ap50": ("AP50", "right / (right + missed + false); right is IoU 0.5 or more"),
    "ap": ("AP", "mean of that at IoU 0.50, 0.55 ... 0.95: exact outlines"),
    "pq": ("PQ", "panoptic quality: F-measure at IoU 0.5, times mean IoU"),
    "aji": ("AJI", "aggregated Jaccard index: shared pixels / all of either"),
    "seg": ("SEG", "Cell Tracking Challenge: mean IoU; 0 unless half is covered"),
    "det": ("DET", "Cell Tracking Challenge: 1 - repairs needed / of no result"),
}
"""What a field of `metrics.Scores` is called, and what it says, in a line of 80 columns."""


def print_scores(scores: Any) -> None:
    """Prints the scores of all cells together, one a line."""
    pooled = scores.pooled.to_dict()
    print(f"{so_many(pooled['cells'], 'true cell')} in {so_many(len(scores.images), 'image')}.\n")
    for key, (name, meaning) in METRICS.items():
        print(f"  {name:<10}{pooled[key]:.3f}  {meaning}")
    if scores.distance or not scores.is_half_diameter:
        print(f"\nA point finds a cell within {scores.distance:.1f} pixels of the true one (--distance)", end="")
        print(":\nhalf the median diameter of the true cells." if scores.is_half_diameter else ".")


def print_point_reports(reports: Sequence[Any]) -> None:
    """Prints one row per image, then what is wrong."""
    table = _table(
        "image", "points", "per Mpixel", "spacing", "outside", "at border", "doubled", "missing?", "fit"
    )

    def shown(value: float | None, digits: int = 1) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    for one in reports:
        counts = (one.outside, one.border, one.doubled, one.missing)
        seen = one.shape is not None
        numbers = [str(len(places)) if seen or places is one.doubled else "-" for places in counts]
        table.add_row(
            one.name, str(one.points), shown(one.density, 0), shown(one.spacing), *numbers, shown(one.fit)
        )
    _print_wide(table)
    for one in reports:
        for fault in one.faults:
            print(f"{one.name}: {fault}")


def print_suggestion(suggested: Any) -> None:
    """Prints the settings that points, and images if there are any, suggest."""
    share = suggested.sigma / suggested.diameter
    print(
        f"The cells are about {suggested.diameter:.0f} pixels wide. Suggested: likelihood.sigma={suggested.sigma} "
        f"({share:.2f} of that), image.scale={suggested.scale}; wsis train chooses both by itself."
    )


def print_measurements(results: Sequence[dict[str, Any]]) -> None:
    """Prints one row per method, from its `measure.result`, compared with the last method."""
    from wsis_jax.cli.measure import speed_up

    base = results[-1]
    over = f"× {base['method']}"
    table = _table("method", "forward s", "s per cell", "cells/s", "GFLOP/s", over, f"{over}, in all", "compile s")
    for row in results:
        gain = speed_up(row, base)
        numbers = (
            row[key] for key in ("forward_seconds", "seconds_per_cell", "cells_per_second", "gflop_per_second")
        )
        more = (gain["per_cell"], gain["end_to_end"], row["compile_seconds"])
        name = row["method"] + " *" * row["extrapolated"]
        table.add_row(name, *(f"{number:.3g}" for number in (*numbers, *more)))
    _print_wide(table)
    if base["extrapolated"]:
        print(f"* timed on {base['cells_timed']} cells and extrapolated to {base['cells']}")


def print_findings(findings: Sequence[Any]) -> None:
    """Prints one row per finding of `doctor.examine`, with what to do below its text."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    colours = {"ok": "green", "note": "yellow", "broken": "bold red"}
    table = Table(box=box.SIMPLE_HEAD, show_header=False)
    for one in findings:
        advice = f"\n→ {one.advice}" if one.advice else ""
        table.add_row(one.name, Text(one.status, style=colours[one.status]), Text(one.text + advice))
    _print_wide(table)


def _table(first: str, *others: str) -> Any:
    """Returns an empty table: names in the first column, numbers in the others."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column(first)
    for heading in others:
        table.add_column(heading, justify="right")
    return table


def _print_wide(table: Any) -> None:
    """Prints a table; in a log file 160 columns wide, since a table folded to 80 columns cannot be read."""
    from rich.console import Console

    console = Console()
    console = console if console.is_terminal else Console(width=160)
    console.print(table, markup=False)


@contextmanager
def compilations(*, shown: bool | None, start: float) -> Generator[None, None, None]:
    """Context manager that caches compiled programs for the next process, and prints them at its end if `shown`.

    With them it prints, by stage, what took the time since the start, in seconds of `time.perf_counter`. None is
    for commands that compile nothing; they do not wait for JAX.
    """
    if shown is None:
        yield
        return
    from wsis_jax.core import Stopwatch, stage, watching

    stopwatch = Stopwatch(start)
    stopwatch.note("import", start, time.perf_counter())
    with watching(stopwatch):
        with stage("import"):
            from wsis_jax.core import Compilations, use_compilation_cache

            folder, compilations = use_compilation_cache(), Compilations(stopwatch)
        yield
    if shown:
        print(stopwatch.summary(time.perf_counter()), file=sys.stderr)
        print(f"{compilations.summary()}\nThe cache is {folder}.", file=sys.stderr)


_TIMED = 6  # steps until it is told how long a training will take


@contextmanager
def training_progress() -> Generator["Callbacks", None, None]:
    """Context manager yielding callbacks that show a bar with the step, and a line for every validation.

    Once, after the first steps, they tell how long it will take.
    """
    from wsis_jax.training import Callbacks

    ends: list[float] = []  # of the first steps, in seconds
    with progress_bar() as bar:
        task = bar.add_task("training", total=None)

        def on_step(step: int, steps: int) -> None:
            bar.update(task, completed=step, total=steps)
            if len(ends) < _TIMED:
                ends.append(time.perf_counter())
                if len(ends) == _TIMED and steps - step >= _TIMED:
                    bar.console.print(time_left(ends, steps - step), highlight=False)

        def on_metrics(metrics: dict[str, Any]) -> None:
            best = "  (best)" if metrics["step"] == metrics["best_step"] else ""
            bar.console.print(
                f"step {metrics['step']:>6}  loss {metrics['loss']:.5f}  validation: loss "
                f"{metrics['validation_loss']:.5f}, F-measure {metrics['f_measure']:.3f}{best}",
                highlight=False,
            )

        yield Callbacks(on_step, on_metrics)


def time_left(ends: Sequence[float], steps: int) -> str:
    """Returns a sentence on how long a training will take.

    Args:
        ends: when the first steps ended, in seconds. The time before the second is not counted: the program is
            compiled then, and a step is under way when the next is begun.
        steps: how many are left.
    """
    seconds = (ends[-1] - ends[1]) / (len(ends) - 2)
    return (
        f"About {in_time(steps * seconds)} for the {steps:,} steps that are left, at {seconds:.2g} s each on this "
        "machine; validations come on top, and it ends sooner if it no longer improves."
    )


def in_time(seconds: float | int) -> str:
    """Returns a duration in words, as a person would round it."""
    for size, unit in ((3600, "hour"), (60, "minute")):
        if seconds >= 1.5 * size:
            count = seconds / size
            return f"{count:.1f} {unit}s" if count < 3 else f"{count:.0f} {unit}s"
    count = max(round(seconds), 1)
    return f"{count} second{'s' * (count > 1)}"


@contextmanager
def progress_bar(*, rate: str | None = None) -> Generator[Any, None, None]:
    """Context manager yielding a progress bar with the time left and, with a unit `rate`, how many of it a second.

    An error removes it, so that no dead bar stands above the sentence that tells of it.
    """
    from rich import progress as parts
    from rich.text import Text

    class Count(parts.MofNCompleteColumn):
        def render(self, task: parts.Task) -> Text:
            return Text("") if task.total is None else super().render(task)

    class Rate(parts.ProgressColumn):
        def render(self, task: parts.Task) -> Text:
            # At the end, the mean of all: the last ones may have finished at once.
            speed = task.completed / task.finished_time if task.finished_time else task.speed
            return Text("" if speed is None else f"{speed:.3g} {rate}/s")

    with parts.Progress(
        parts.TextColumn("{task.description}", markup=False),
        parts.BarColumn(),
        Count(),
        *([Rate()] if rate else []),
        parts.TimeElapsedColumn(),
        parts.TextColumn("left"),
        parts.TimeRemainingColumn(),
    ) as bar:
        try:
            yield bar
        except Exception:
            bar.live.transient = True
            raise


def waiting(text: str) -> Any:
    """Returns a context manager that shows a moving line on the error stream, if that is a terminal."""
    from rich.console import Console

    return Console(stderr=True).status(text)


def show_warning(message: Any, *_: Any) -> None:
    """Prints a warning as one line, without its place in the code."""
    print(f"wsis: warning: {one_line(message)}", file=sys.stderr)


def show_error(message: Any) -> None:
    """Prints what went wrong as one line."""
    print(f"wsis: error: {one_line(message)}", file=sys.stderr)


def one_line(message: Any) -> str:
    """Returns a message with control characters written out, since names of files may hold any."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(message))
