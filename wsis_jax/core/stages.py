"""What takes the time of a command: named stages, which may lie in one another and run in several threads."""

import threading
import time
from collections import defaultdict
from collections.abc import Generator
from contextlib import contextmanager
from typing import NamedTuple

STAGES = ("import", "compile or load", "read", "network", "cuts", "files")
"""The stages of a segmentation, in order; what is in none of them is "other".

"network" is from the pixels of an image to its winner map: one program, or a program for each step.
"""
OTHER = "other"
IMPORTED = time.perf_counter()
"""When this file was imported, which a command does almost first."""


class Span(NamedTuple):
    """When a stage was at work in a thread, in seconds of `time.perf_counter`."""

    stage: str
    thread: int
    start: float
    end: float


class Stopwatch:
    """Notes the stages of a command while it is the one that `watching` was given.

    Attributes:
        start: when the command began, in seconds of `time.perf_counter`.
        spans: of the stages so far.
    """

    def __init__(self, start: float) -> None:
        self.start = start
        self.spans: list[Span] = []

    def note(self, stage: str, start: float, end: float) -> None:
        """Notes a stage of this thread."""
        self.spans.append(Span(stage, threading.get_ident(), max(start, self.start), end))

    def shares(self, end: float) -> dict[str, float]:
        """Returns the seconds of each stage until an end; together they are the time since the start.

        Of stages that lie in one another, in one thread, the one that began last counts. Stages that run at the
        same time in several threads share it evenly. `STAGES` come first, and all are there; "other" is last.
        """
        outer_first = sorted(self.spans, key=lambda span: span.start - span.end)
        changes = [(span.start, True, span) for span in outer_first]
        changes += [(span.end, False, span) for span in self.spans]
        changes = sorted((change for change in changes if change[0] < end), key=lambda change: change[0])
        seconds: dict[str, float] = defaultdict(float)
        at_work: dict[int, list[Span]] = defaultdict(list)  # by thread, the last one innermost
        before = self.start
        for moment, begins, span in [*changes, (end, True, None)]:
            inner = [spans[-1].stage for spans in at_work.values() if spans]
            for name in inner or [OTHER]:
                seconds[name] += (moment - before) / max(len(inner), 1)
            before = moment
            if span is not None:
                (at_work[span.thread].append if begins else at_work[span.thread].remove)(span)
        return {name: seconds[name] for name in (*STAGES, *(seconds.keys() - {*STAGES, OTHER}), OTHER)}

    def summary(self, end: float) -> str:
        """Returns a line for each stage: seconds, and the share of the time since the start."""
        whole = max(end - self.start, 1e-9)
        lines = [f"{whole:.2f} s in all, of which"]
        lines += [f"  {n:<16}{s:>8.2f} s {s / whole:>6.1%}" for n, s in self.shares(end).items()]
        return "\n".join(lines)


_stopwatch: Stopwatch | None = None


@contextmanager
def watching(stopwatch: Stopwatch) -> Generator[None, None, None]:
    """Context manager in which a stopwatch notes the stages of all threads."""
    global _stopwatch
    before, _stopwatch = _stopwatch, stopwatch
    try:
        yield
    finally:
        _stopwatch = before


@contextmanager
def stage(name: str) -> Generator[None, None, None]:
    """Context manager, or decorator of a function, that is a stage of the command, noted if it is watched."""
    start = time.perf_counter()
    try:
        yield
    finally:
        if _stopwatch is not None:
            _stopwatch.note(name, start, time.perf_counter())
