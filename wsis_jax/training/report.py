"""The page of a training: a verdict, curves, samples, points, settings."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wsis_jax.core import Config, UserError, check_inside, so_many, write_text
from wsis_jax.network import load_config
from wsis_jax.output import (
    SHOWN,
    Item,
    and_more,
    cards,
    evenly,
    folded,
    gallery,
    line_chart,
    number,
    page,
    section,
    settings,
    table,
    text,
)
from wsis_jax.training.choices import choices
from wsis_jax.training.run_folder import load_facts, read_metrics, saved_step
from wsis_jax.training.verdict import Verdict, judge

_FIGURES = ("best_step", "loss", "validation_loss", "f_measure", "precision", "recall")  # of a validation
_ROWS = 2000  # of the table of images: with more, browsers slow down


def training_report(run_folder: Path) -> Path:
    """Writes `report.html` in the run folder of a training, finished or not, and returns its path.

    Raises:
        MissingFile: if it is not a run folder.
        UserError: if its `config.json` or `training.json` cannot be read.
    """
    config, facts = load_config(run_folder), load_facts(run_folder)
    metrics, images = _read_figures(run_folder), facts.get("images", [])
    best = next((line for line in metrics if line["step"] == metrics[-1]["best_step"]), None)
    with _explaining_facts(run_folder):
        figures, points = cards(_training_figures(config, images, best)), _points(images)
        said, made = _verdict(judge(metrics, images, config)), _choices(config, images)
        whose = _whose(images)
        chosen = settings(config.to_dict(), Config().to_dict(), facts.get("versions", {}))
    body = [figures, said, _samples(run_folder, best, whose), _curves(metrics, best, whose), made, points, chosen]
    title, lede = run_folder.resolve().name, _how_far(run_folder, config, metrics)
    write_text(run_folder / "report.html", page(kind="Training report", title=title, lede=lede, body=body))
    return run_folder / "report.html"


def training_verdict(run_folder: Path) -> Verdict:
    """Returns what is thought of the best model of a run folder; errors are those of `training_report`."""
    config, facts = load_config(run_folder), load_facts(run_folder)
    metrics = _read_figures(run_folder)
    with _explaining_facts(run_folder):
        return judge(metrics, facts.get("images", []), config)


def _read_figures(run_folder: Path) -> list[dict[str, Any]]:
    """Reads `metrics.jsonl`, whose figures are numbers.

    Raises:
        UserError: if they are not, or one is of a best step that is not there.
    """
    metrics = read_metrics(run_folder)
    if not all(type(line.get(key)) in (int, float) for line in metrics for key in _FIGURES):
        raise UserError(f"{run_folder / 'metrics.jsonl'}: is damaged (a figure is not a number); delete it")
    return metrics


@contextmanager
def _explaining_facts(run_folder: Path) -> Iterator[None]:
    """Context manager in which facts that are none are a UserError that names their file."""
    try:
        yield
    except (TypeError, KeyError, ValueError, AttributeError, ArithmeticError) as error:
        file = run_folder / "training.json"
        raise UserError(f"{file}: does not hold the facts of a training ({error}); delete it") from error


def _whose(images: Sequence[dict[str, Any]]) -> str:
    """Returns which images were validated on."""
    if not images:
        return "images of the validation"
    return "held-out images" if any(image["held_out"] for image in images) else "training images"


def _verdict(verdict: Verdict) -> str:
    """Returns the section on whether the model is good enough."""
    advice = "".join(f"<li>{text(one)}</li>" for one in verdict.advice)
    listed = f'<p>What would help:</p><ul class="said mild">{advice}</ul>' if advice else ""
    return section("Is it good enough?", f"<p>{text(verdict.text)}</p>{listed}")


def _choices(config: Config, images: Sequence[dict[str, Any]]) -> str:
    """Returns the section of what was chosen."""
    if config.image.scale is None or config.likelihood.sigma is None:  # of a training that did not begin
        return ""
    note = "What the training found in images and points, or was told; wsis segment does the same."
    return section("What was chosen", table(("", "chosen", "which means"), choices(config, images)), note=note)


def _how_far(run: Path, config: Config, metrics: Sequence[dict[str, Any]]) -> str:
    """Returns a sentence on how the training ended."""
    steps, done = config.train.steps, max(saved_step(run) or 0, metrics[-1]["step"] if metrics else 0)
    if done >= steps:
        return f"The training is done: {number(done)} steps."
    if metrics and done - metrics[-1]["best_step"] >= config.train.patience * config.train.evaluate_every:
        return (
            f"The training ended after {number(done)} of {number(steps)} steps, since the validation had not "
            f"improved for {config.train.patience} validations."
        )
    return f"The training was interrupted after {number(done)} of {number(steps)} steps; go on with --resume."


def _training_figures(
    config: Config, images: Sequence[dict[str, Any]], best: dict[str, Any] | None
) -> list[tuple[str, str, str]]:
    """Returns the key figures of a training."""
    figures = []
    if best is not None:
        figures = [
            ("F-measure", f"{best['f_measure']:.3f}", f"of the best model, on {_whose(images)}"),
            ("Validation loss", number(best["validation_loss"]), "the least, which chose the best model"),
            ("Best step", number(best["step"]), f"of {number(config.train.steps)} planned"),
        ]
    if images:
        held = sum(image["held_out"] for image in images)
        figures.append(
            ("Points", number(sum(image["points"] for image in images)), f"in {so_many(len(images), 'image')}")
        )
        whose = "so the scores are of training images"
        if held:
            whose = f"{'image' if held == 1 else 'images'}, for validation"
        figures.append(("Held out", number(held), whose))
    scale = f"pixels; images scaled by {number(config.image.scale)}"
    return [*figures, ("Sigma", number(config.likelihood.sigma), scale)]


def _curves(metrics: Sequence[dict[str, Any]], best: dict[str, Any] | None, whose: str) -> str:
    """Returns the curves of a training, and the numbers that they are drawn from."""
    if best is None:
        return section("Curves", "<p>There was no validation yet.</p>")
    steps = [line["step"] for line in metrics]
    losses = {"training": "loss", "validation": "validation_loss"}
    scores = {"F-measure": "f_measure", "precision": "precision", "recall": "recall"}
    drawn = [
        line_chart(
            title,
            steps,
            {name: [line[key] for line in metrics] for name, key in keys.items()},
            best=best["step"],
            logarithmic=title == "Loss",
        )
        for title, keys in {"Loss": losses, f"Detection of cells of {whose}": scores}.items()
    ]
    rows = [(line["step"], *(f"{line[key]:.5g}" for key in _FIGURES[1:])) for line in metrics]
    headings = ("step", "loss", "validation loss", "F-measure", "precision", "recall")
    return section(
        "Curves",
        f'<div class="pair">{"".join(drawn)}</div>',
        folded("The numbers", table(headings, rows, numbers=range(6))),
        note="The mean squared error of the likelihood map, and how well its peaks agree with the points.",
    )


def _samples(run: Path, best: dict[str, Any] | None, whose: str) -> str:
    """Returns the sample pictures of a training, step after step."""
    files = sorted((run / "samples").glob("step_*.png"))
    found = [(re.fullmatch("step_([0-9]{1,12})", path.stem), path) for path in files]
    steps = {int(match[1]): check_inside(run, path) for match, path in found if match}
    at = best["step"] if best is not None else -1
    kept = sorted({*evenly(list(steps), SHOWN), *({at} & set(steps))})
    items = [
        Item(f"step {step}", "the best model" if step == at else "", {"picture": steps[step]}) for step in kept
    ]
    if not items:
        return ""
    first = kept.index(at) if at in kept else len(items) - 1
    note = (
        f"{whose.capitalize()} with their points (crosses) and peaks (rings): cyan where they agree, magenta "
        "for a point without a peak, orange for a peak without a point. Beside them the likelihood map and, for "
        "one of them, the outlines of the cells found in a part of it. The arrow keys go from step to step."
    )
    return section("What it sees", gallery(items, layer="picture", first=first, what="Step"), note=note)


def _points(images: Sequence[dict[str, Any]]) -> str:
    """Returns the table of points."""
    if not images:
        return ""
    rows = [
        (
            image["name"],
            number(image["points"]),
            number(image["spacing"]),
            f"{image['height']} × {image['width']}",
            "held out" if image["held_out"] else "learned from",
        )
        for image in images[:_ROWS]
    ]
    headings = ("image", "points", "spacing", "network pixels", "used")
    note = "Spacing is the median distance of a point to the nearest other one, in pixels of the image."
    return section("Points", table(headings, rows, numbers=(1, 2, 3)), and_more(len(images), _ROWS), note=note)
