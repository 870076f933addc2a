"""Pages of HTML and the charts in them. A page holds all it shows: it needs no network and no file beside it.

Every text that comes from outside goes through `text`; the browser is told to run the script of the page alone.
Charts are SVG, coloured by the style of the page; what they show stands in words, too.
"""

import base64
import hashlib
import html
import json
import math
from collections.abc import Iterable, Sequence
from importlib import resources
from string import Template
from typing import Any

import numpy as np
from jaxtyping import Num

_WIDTH, _HEIGHT = 560, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 14, 30


def text(value: Any) -> str:
    """Returns a value as text with HTML's special characters escaped; it can be used in attributes, too."""
    return html.escape(str(value))


def number(value: float | int | None, digits: int = 3) -> str:
    """Returns a number as text, rounded to a few significant digits; a dash for None."""
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    shown = f"{value:.{digits}g}"
    return f"{value:,.0f}" if "e+" in shown else shown


def page(*, kind: str, title: str, lede: str, body: Iterable[str]) -> str:
    """Returns a whole page.

    Args:
        kind: of report, as plain text.
        title: plain text.
        lede: a sentence below the title, plain text.
        body: HTML, part after part.
    """
    folder = resources.files("wsis_jax.output.report")
    shell, style, script = ((folder / f"page.{end}").read_text(encoding="utf-8") for end in ("html", "css", "js"))
    return Template(shell).substitute(
        kind=text(kind),
        title=text(f"{title}: {kind}"),
        heading=text(title),
        lede=text(lede),
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
        body="\n".join(body),
    )


def _hash(code: str) -> str:
    """Returns what a content security policy calls a script or style by."""
    return base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()


def cards(facts: Sequence[tuple[str, str, str]]) -> str:
    """Returns key figures: (what, value, a few words more), each plain text."""
    parts = [
        f'<div><dt>{text(what)}</dt><dd class="value">{text(value)}</dd><dd class="more">{text(more)}</dd></div>'
        for what, value, more in facts
    ]
    return f'<dl class="cards">{"".join(parts)}</dl>'


def section(title: str, *body: str, note: str = "") -> str:
    """Returns a section of a page; title and note are plain text, the body is HTML."""
    said = f'<p class="note">{text(note)}</p>' if note else ""
    return f"<section><h2>{text(title)}</h2>{said}{''.join(body)}</section>"


def folded(title: str, body: str) -> str:
    """Returns HTML that is folded away below its title, which is plain text, until the reader opens it."""
    return f"<details><summary>{text(title)}</summary>{body}</details>"


def table(headings: Sequence[str], rows: Iterable[Sequence[Any]], *, numbers: Sequence[int] = ()) -> str:
    """Returns a table of plain texts; `numbers` are the columns of numbers, which stand to the right."""
    kinds = [' class="n"' if index in numbers else "" for index in range(len(headings))]
    head = "".join(f'<th scope="col"{kind}>{text(name)}</th>' for kind, name in zip(kinds, headings, strict=True))
    lines = "".join(
        "<tr>" + "".join(f"<td{kind}>{text(cell)}</td>" for kind, cell in zip(kinds, row, strict=True)) + "</tr>"
        for row in rows
    )
    body = f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"
    return f'<div class="scroll panel" tabindex="0" role="region" aria-label="{text(headings[0])}">{body}</div>'


def and_more(count: int, limit: int) -> str:
    """Returns a line that says how many items of a list exceed a limit and are not shown; empty if none do."""
    return f'<p class="note">And {number(count - limit)} more.</p>' if count > limit else ""


def settings(tree: dict[str, Any], usual: dict[str, Any], versions: dict[str, Any]) -> str:
    """Returns the section of settings and versions; settings that differ from the defaults come first."""
    flat = [(f"{part}.{key}", value) for part, values in tree.items() for key, value in values.items()]
    known = {f"{part}.{key}": value for part, values in usual.items() for key, value in values.items()}
    shown = [(path, json.dumps(value), json.dumps(known.get(path))) for path, value in flat]
    changed = [row for row in shown if row[1] != row[2]]
    headings = ("setting", "here", "default")
    return section(
        "Settings and versions",
        table(headings, changed) if changed else "<p>Every setting is the default.</p>",
        folded(f"All {len(shown)} settings", table(headings, shown)),
        folded("Versions", table(("of", "version"), versions.items())) if versions else "",
        note="Settings other than the default ones; null is chosen from the data.",
    )


# Charts


def line_chart(
    title: str,
    steps: Sequence[int],
    series: dict[str, Sequence[float | int]],
    *,
    best: int,
    logarithmic: bool = False,
) -> str:
    """Returns up to three lines over the steps of a training.

    Args:
        title: plain text.
        steps: at least one, ascending.
        series: finite values at these steps, by name; above 0 if the axis is logarithmic.
        best: the step to mark.
        logarithmic: of the axis of values; else it starts at 0 and ends at 1.
    """
    ticks = _decades(series) if logarithmic else [0, 0.25, 0.5, 0.75, 1]
    low, high = (math.log10(ticks[0]), math.log10(ticks[-1])) if logarithmic else (0.0, 1.0)

    def across(step: float | int) -> float:
        first, last = (0, steps[0] * 2) if len(steps) == 1 else (steps[0], steps[-1])
        return round(_LEFT + (step - first) / (last - first) * (_WIDTH - _LEFT - _RIGHT), 1)

    def down(value: float | int) -> float:
        place = math.log10(max(value, ticks[0])) if logarithmic else value
        return round(_HEIGHT - _BOTTOM - (place - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM), 1)

    parts = [_grid(down(tick), number(float(tick), 6)) for tick in ticks]
    parts += [_under(across(step), number(step)) for step in _round_steps(steps)]
    at, chosen = across(best), list(steps).index(best)
    parts.append(f'<line class="best" x1="{at}" x2="{at}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>')
    anchor = "end" if at > _WIDTH / 2 else "start"
    shift = -5 if anchor == "end" else 5
    parts.append(f'<text x="{at + shift}" y="{_TOP + 8}" text-anchor="{anchor}">best</text>')
    for place, values in enumerate(series.values(), start=1):
        where = [(across(step), down(value)) for step, value in zip(steps, values, strict=True)]
        path = " ".join(f"{x},{y}" for x, y in where)
        parts.append(f'<polyline class="line s{place}" points="{path}"/>')
        x, y = where[chosen]
        parts.append(f'<circle class="dot f{place}" cx="{x}" cy="{y}" r="4.5"/>')
    points = []
    for i, step in enumerate(steps):
        said = [f"step {step}", *(f"{name} {number(float(line[i]), 4)}" for name, line in series.items())]
        points.append((across(step), ", ".join(said)))
    return _chart(title, parts, points, start=f"Best: {points[chosen][1]}", at=chosen, lines=list(series))


def histogram(
    title: str, values: Num[np.ndarray, " values"], *, whole: bool = False, limit: float | int | None = None
) -> str:
    """Returns how often values occur, in up to 30 bins; nothing where there is no value.

    Args:
        title: plain text.
        values: finite, none below 0.
        whole: the values are whole numbers.
        limit: the greatest value that there can be; None: the axis ends where nearly all values are below.
    """
    if not len(values):
        return ""
    top = limit if limit is not None else float(np.percentile(values, 99.5)) or 1.0
    width = _bin_width(top, whole=whole)
    bins = max(math.ceil(round(top / width, 6) + (1 if whole else 0)), 1)
    counts = np.bincount(np.clip((values / width).astype(np.int64), 0, bins - 1), minlength=bins)
    most, side = int(counts.max()), (_WIDTH - _LEFT - _RIGHT) / bins
    beyond = limit is None and bool(values.max() > bins * width)
    tick = _bin_width(float(most), whole=True, bins=4)
    high = math.ceil(most / tick) * tick
    base = _HEIGHT - _BOTTOM

    def down(count: float | int) -> float:
        return round(base - count / high * (base - _TOP), 1)

    parts = [_grid(down(level), number(round(level))) for level in np.arange(0, high + tick / 2, tick)]
    points = []
    for index, count in enumerate(counts.tolist()):
        x, y = round(_LEFT + index * side, 1), down(count)
        parts.append(f'<rect class="bar" x="{x}" y="{y}" width="{max(side - 1, 1):.1f}" height="{base - y:.1f}"/>')
        points.append((round(x + side / 2, 1), f"{_range(index, width, bins, whole, beyond)}: {number(count)}"))
    every = max(math.ceil(bins / 6), 1)
    parts += [
        _under(round(_LEFT + (index + 0.5 * whole) * side, 1), number(float(index * width)))
        for index in range(0, bins + (not whole), every)
    ]
    middle = f"{number(len(values))} in all, median {number(float(np.median(values)), 4)}"
    return _chart(title, parts, points, start=middle, at=int(counts.argmax()))


def _chart(
    title: str,
    parts: Sequence[str],
    points: Sequence[tuple[float | int, str]],
    *,
    start: str,
    at: int,
    lines: Sequence[str] = (),
) -> str:
    """Returns a chart with its title and, below it, a readout: a line that says what is under the pointer.

    Args:
        title: plain text.
        parts: what is drawn, as SVG.
        points: of what can be pointed at, where it is from the left, and what is said of it.
        start: what is said before anything is pointed at.
        at: index of the point that the arrow keys begin from.
        lines: names for a legend; with lines, one across the chart shows where the pointer is.
    """
    legend = "".join(
        f'<span><svg viewBox="0 0 26 8" aria-hidden="true"><line class="s{i}" x1="0" x2="26" y1="4" y2="4"/></svg>'
        f"{text(name)}</span>"
        for i, name in enumerate(lines, start=1)
    )
    cursor = f'<line class="cursor" x1="0" x2="0" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>' if lines else ""
    return (
        f'<figure class="chart panel" tabindex="0" data-at="{at}" data-points="{text(json.dumps(points))}">'
        f"<h3>{text(title)}</h3>"
        + (f'<div class="legend">{legend}</div>' if legend else "")
        + f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{text(f"{title}. {start}")}">'
        f'<rect class="hit" width="{_WIDTH}" height="{_HEIGHT}"/>{"".join(parts)}{cursor}</svg>'
        f'<p class="readout" aria-live="polite">{text(start)}</p></figure>'
    )


def _grid(y: float | int, label: str) -> str:
    """Returns a line across the chart and its label."""
    return (
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>'
        f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{text(label)}</text>'
    )


def _under(x: float | int, label: str) -> str:
    """Returns a label below the chart."""
    return f'<text x="{x}" y="{_HEIGHT - 8}" text-anchor="middle">{text(label)}</text>'


def _decades(series: dict[str, Sequence[float | int]]) -> list[float]:
    """Returns ticks of a logarithmic axis that holds all values: 1, 2 and 5 times powers of ten, but not many."""
    values = [value for line in series.values() for value in line if value > 0] or [1.0]
    first, last = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    every = [m * 10.0**power for power in range(first, last + 1) for m in (1, 2, 5)]
    inside = [
        tick
        for tick, after, before in zip(every, [*every[1:], math.inf], [0.0, *every[:-1]], strict=True)
        if after > min(values) and before < max(values)
    ]
    if len(inside) > 6:
        inside = [10.0**power for power in range(first, last + 1)]
    return inside if len(inside) > 1 else [inside[0], inside[0] * 10]


def _round_steps(steps: Sequence[int]) -> list[int]:
    """Returns the first step, the last, and a few round numbers between, not too near to either."""
    first, last = steps[0], steps[-1]
    width, least = int(_bin_width(float(last - first), whole=True, bins=5)), 0.12 * (last - first)
    between = [step for step in range(width, last, width) if step - first > least and last - step > least]
    return sorted({first, *between, last})


def _bin_width(top: float | int, *, whole: bool, bins: int = 30) -> float:
    """Returns the least round width (1, 2 or 5 times a power of ten) of which so many bins reach the top."""
    least = max(top / bins, 1.0) if whole else max(top / bins, 1e-12)
    power = 10.0 ** math.floor(math.log10(least))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= least * (1 - 1e-9))


def _range(index: int, width: float | int, bins: int, whole: bool, beyond: bool) -> str:
    """Returns what a bin holds, in words."""
    low, high = index * width, (index + 1) * width
    if beyond and index == bins - 1:
        return f"{number(float(low), 6)} or more"
    if whole and width == 1:
        return number(round(low))
    return f"{number(float(low), 6)} to {number(float(high - 1 if whole else high), 6)}"
