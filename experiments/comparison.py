"""Methods side by side: scores of their label images, tables of them, and a sheet of pictures."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, Int32, UInt8
from PIL import Image, ImageDraw

from experiments.folds import Case
from experiments.rivals import METHODS
from experiments.tuning import Match, objective
from experiments.views import View
from wsis_jax.metrics import centroids, match_labels, match_points, pool_scores
from wsis_jax.output import overlay

_PANEL, _CAPTION = 200, 16  # pixels


class Outcome(NamedTuple):
    """What a method made of a test image."""

    view: View
    labels: dict[str, Int32[np.ndarray, "height width"]]  # "untuned" and "tuned"


def matched(labels: Int[np.ndarray, "height width"], case: Case, distance: float) -> Match:
    """Compares a label image with the truth; a cell is found by the centroid of its outline."""
    return match_labels(labels, case.masks), match_points(centroids(labels), case.points, distance=distance)


def figures(outcomes: Mapping[str, Sequence[Outcome]], distance: float) -> dict[str, dict[str, Any]]:
    """Returns the figures of every method, as published and as tuned, over all cells of all images."""
    rows: dict[str, dict[str, Any]] = {}
    for name, ones in outcomes.items():
        rows[name] = {"sees": METHODS[name].sees}
        for state in ("untuned", "tuned"):
            matches = [matched(one.labels[state], one.view.front.case, distance) for one in ones]
            scores = pool_scores([labels for labels, _ in matches], [points for _, points in matches])
            rows[name][state] = {**scores.to_dict(), "objective": objective(matches)}
    return rows


def tables(rows: Mapping[str, Mapping[str, Any]], distance: float) -> str:
    """Returns the figures as Markdown: every method as tuned, and what tuning did."""
    keys = {
        "f_measure": f"F ({distance:.0f} px)",
        "mdice": "mDice",
        "dice_one_to_one": "one-to-one Dice",
        "ap50": "AP50",
    }
    lines = [
        f"| method | learns from | {' | '.join(keys.values())} | s/image |",
        "|---|---|" + "---|" * (len(keys) + 1),
    ]
    for name, row in rows.items():
        numbers = " | ".join(f"{row['tuned'][key]:.3f}" for key in keys)
        lines.append(f"| {name} | {row['sees']} | {numbers} | {row['seconds']:.1f} |")
    lines += [
        "",
        "| method | F, mDice as published | F, mDice as tuned | gain of their mean |",
        "|---|---|---|---|",
    ]
    for name, row in rows.items():
        before, after = row["untuned"], row["tuned"]
        pairs = (f"{state['f_measure']:.3f}, {state['mdice']:.3f}" for state in (before, after))
        lines.append(f"| {name} | {' | '.join(pairs)} | {after['objective'] - before['objective']:+.3f} |")
    return "\n".join(lines)


def contact_sheet(outcomes: Mapping[str, Sequence[Outcome]], *, side: int) -> UInt8[np.ndarray, "height width 3"]:
    """Returns the outlines of all methods in the middle of every test image, a column for each image.

    Args:
        outcomes: of each method, for the same images.
        side: of the middle part, in pixels.
    """
    cases = [one.view.front.case for one in next(iter(outcomes.values()))]
    strips = {"image": [np.zeros_like(case.masks) for case in cases], "masks": [case.masks for case in cases]}
    strips |= {name: [one.labels["tuned"] for one in ones] for name, ones in outcomes.items()}
    sheet = Image.new("RGB", (len(cases) * (_PANEL + 4), len(strips) * (_PANEL + _CAPTION)), "white")
    for row, (name, labels) in enumerate(strips.items()):
        ImageDraw.Draw(sheet).text((4, row * (_PANEL + _CAPTION) + 2), name, fill="black")
        for column, (case, label) in enumerate(zip(cases, labels, strict=True)):
            top, left = ((length - side) // 2 for length in case.image.shape)
            middle = np.s_[max(top, 0) : max(top, 0) + side, max(left, 0) : max(left, 0) + side]
            panel = Image.fromarray(overlay(case.image[middle], label[middle])).resize((_PANEL, _PANEL))
            sheet.paste(panel, (column * (_PANEL + 4), row * (_PANEL + _CAPTION) + _CAPTION))
    return np.asarray(sheet)
