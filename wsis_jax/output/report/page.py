"""Pages of HTML that hold all they show: no network, no file beside them, and nothing in them that could run.

Every text that comes from outside goes through `text`; the browser is told to run the script of the page alone.
"""

import base64
import hashlib
import html
import json
from collections.abc import Iterable, Sequence
from importlib import resources
from string import Template
from typing import Any


def text(value: Any) -> str:
    """Returns a value as HTML shows it, whatever is in it; good for attributes, too."""
    return html.escape(str(value))


def number(value: float | int | None, digits: int = 3) -> str:
    """Returns a number for reading, to some significant digits; a dash for None."""
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
    """Returns HTML that is seen after a click on its title, which is plain text."""
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
    """Returns a line on how many things of a list are left out beyond a limit, if any."""
    return f'<p class="note">And {number(count - limit)} more.</p>' if count > limit else ""


def settings(tree: dict[str, Any], usual: dict[str, Any], versions: dict[str, Any]) -> str:
    """Returns the section of settings and versions; settings that differ from the usual come first, open."""
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
