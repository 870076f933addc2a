"""Whether a model is good enough to use, and what would help: in words, from the figures of its training."""

import math
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any, Literal, NamedTuple

from wsis_jax.core import Config

# Of the F-measure, where a detection counts within a quarter of a diameter of its click, see `judge`.
_GOOD, _FAIR = 0.8, 0.6
_FEW_HELD = 50  # cells held out, of which one decides by 0.02 and less what the scores are
_FEW_CLICKS = 100  # cells learned from
_LOPSIDED = 0.15  # between precision and recall
_FALLING = 0.9  # × the loss of three quarters of the steps: the last quarter still helped
_OTHER_IMAGES = 2.0  # × the loss in training: held-out images differ from those that it learned from
_CROWDED = 1.5  # spacings in a diameter: neighbours become one peak
_OPENINGS = {
    "good": "Good enough to use",
    "fair": "Usable, if somebody looks at the results",
    "poor": "Not good enough yet",
}


class Verdict(NamedTuple):
    """What is thought of a model.

    Attributes:
        grade: "good", "fair" or "poor" on images that it did not see; "unknown" where that cannot be told.
        text: the same in a sentence or two.
        advice: what would help, each a sentence, the likeliest first.
    """

    grade: Literal["good", "fair", "poor", "unknown"]
    text: str
    advice: tuple[str, ...]


def judge(metrics: Sequence[dict[str, Any]], images: Sequence[dict[str, Any]], config: Config) -> Verdict:
    """Judges the best model of a training.

    The F-measure of held-out images decides: from 0.8 on a model is good, from 0.6 on fair. A detection counts
    within a quarter of a cell's diameter of its click, which is strict: a model of fibroblasts, in which
    clicks are not always in the middle, has 0.72 so and 0.88 within half a diameter, and its outlines a mDice of
    0.71. Below 0.6 every third cell or more is wrong, and so are its neighbours' outlines. Where no image is held
    out, a poor score of the very images that were learned from is a poor model; a better one tells nothing.
    Scores of fewer than 50 cells come with their standard error.

    Advice is given unless a model is good:

    * train longer, if steps are left, or if the least loss of the last quarter of the steps is a tenth below that
      of the others: a training that is done has levelled off;
    * more clicks, if it learned from fewer than 100 cells, or if the loss of held-out images is twice that of
      training: patches are turned, stretched and zoomed in training, which makes them harder than whole images, so
      that a loss so far above it is of images that look different;
    * a smaller diameter, if cells are taken to be 1.5 times as wide as their clicks are apart: sigma is then about
      a third of the spacing, and two Gaussians merge where it is half;
    * if recall is 0.15 below precision, clicks on what is missed, or a lower threshold; if it is above, clicks on
      all cells of an image, or a larger diameter;
    * to look at the points, if nothing else is known.

    Args:
        metrics: the lines of `metrics.jsonl`, by rising step.
        images: what `training.json` tells of each image; empty where it is not known.
        config: the settings of the training.
    """
    best = next((line for line in metrics if line["step"] == metrics[-1]["best_step"]), None)
    if best is None:
        return Verdict("unknown", "There was no validation yet, so nothing can be said of the model.", ())
    held = [image for image in images if image["held_out"]]
    advice = (*_longer(metrics, config), *_more_clicks(best, images), *_another_diameter(best, images, config))
    advice = advice or (
        "Look at the pictures: are all cells clicked, and are the clicks on them? wsis points tells.",
    )
    grade = "good" if best["f_measure"] >= _GOOD else "fair" if best["f_measure"] >= _FAIR else "poor"
    if images and not held and grade != "poor":
        text = (
            f"On the images that it learned from it finds {best['recall']:.0%} of the cells, which does not tell "
            "how it does on others. Look at the outlines in an image that it has not seen, or give five images or "
            "more, of which a fifth is held out."
        )
        return Verdict("unknown", text, advice if grade == "fair" else ())
    whose = "the images that it learned from" if images and not held else "images that it did not learn from"
    text = (
        f"{_OPENINGS[grade]}: on {whose} it finds {best['recall']:.0%} of the cells, and {best['precision']:.0%} "
        "of what it finds are cells, a quarter of a diameter from the click at most."
    )
    return Verdict(grade, text + _doubt(best["f_measure"], held), () if grade == "good" else advice)


def _doubt(score: float | int, held: Sequence[dict[str, Any]]) -> str:
    """Returns what to add where a score is of few cells."""
    count = sum(image["points"] for image in held)
    if not 0 < count < _FEW_HELD:
        return ""
    error = math.sqrt(max(score * (1 - score), 1 / count) / count)  # 1 / count: also where all were found
    return f" That is of only {count} cell{'s' * (count > 1)}, so give or take {error:.0%}."


def _longer(metrics: Sequence[dict[str, Any]], config: Config) -> Iterator[str]:
    """Yields the advice to train longer, if that would help."""
    done, steps, settings = metrics[-1]["step"], config.train.steps, config.train
    if done < steps:
        if done - metrics[-1]["best_step"] < settings.patience * settings.evaluate_every:
            yield f"Go on with --resume: {done:,} of {steps:,} steps are done."
        return
    earlier = [line["validation_loss"] for line in metrics if line["step"] <= 0.75 * done]
    late = [line["validation_loss"] for line in metrics if line["step"] > 0.75 * done]
    if earlier and min(late) < _FALLING * min(earlier):
        yield (
            f"Train longer: the loss still fell by {1 - min(late) / min(earlier):.0%} in the last quarter of the "
            f"{steps:,} steps (--resume --set train.steps={2 * steps})."
        )


def _more_clicks(best: dict[str, Any], images: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yields the advice to click more, if that would help."""
    learned = [image for image in images if not image["held_out"]]
    count = sum(image["points"] for image in learned)
    if images and count < _FEW_CLICKS:
        yield f"Click on more cells: it learned from only {count}, and a few hundred are better."
    elif len(learned) < len(images) and best["validation_loss"] > _OTHER_IMAGES * best["loss"]:
        yield (
            f"Click in more images, of all kinds that you have: the loss of those held out is "
            f"{best['validation_loss'] / best['loss']:.1f} times that of those learned from."
        )


def _another_diameter(best: dict[str, Any], images: Sequence[dict[str, Any]], config: Config) -> Iterator[str]:
    """Yields advice on what is missed or found too often, to which diameter and threshold matter."""
    spacings = [image["spacing"] for image in images if image["spacing"] is not None]
    spacing = median(spacings) if spacings else math.inf
    if config.cell_diameter > _CROWDED * spacing:
        yield (
            f"Try a smaller diameter: cells are taken to be {config.cell_diameter:.0f} pixels wide, but their "
            f"clicks are only {spacing:.0f} pixels apart (--diameter {spacing:.0f})."
        )
    if best["precision"] - best["recall"] > _LOPSIDED:
        yield "It misses cells: click on more of those it misses, or segment with --set detect.threshold=0.3."
    elif best["recall"] - best["precision"] > _LOPSIDED:
        yield (
            "It finds what is not clicked: click on all cells of an image (wsis points shows which have none), "
            "or, if a cell is found twice, give a larger --diameter."
        )
