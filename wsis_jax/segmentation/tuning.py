"""Chooses how cells are cut by a few hand-made masks, where there are some.

The network is not changed, and looks at each image once. One setting after the other takes the value with the best
mDice, as long as that gains; then all are tried once more from there.
"""

import dataclasses
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from wsis_jax.core import Config, LocatedCells, UserError, fill_weights
from wsis_jax.metrics import Scores, centroids, match_labels, match_points, pool_scores
from wsis_jax.network import Model
from wsis_jax.segmentation.pipeline import locate, outline

# Factors by which a number is multiplied.
_FACTORS: dict[str, tuple[float, ...]] = {
    "seed_threshold": (0.5, 1.5),
    "claim_weight": (0.3, 2.0),
    "edge_weight": (0.5, 2.0),
    "edge_falloff": (0.7, 1.4),
    "data_weight": (0.5, 1.5),
    "smooth": (0.0, 2.0),
}
_TERMS = ("inverse", "levels")
_ROUNDS = 2
_LEAST_GAIN = 0.001  # of mDice: less is chance


class MaskedImage(NamedTuple):
    """An image with the masks of its cells, and what to call it."""

    name: str
    image: Float[np.ndarray, "height width *channels"]
    masks: Int[np.ndarray, "height width"]


class Tuned(NamedTuple):
    """Settings that were chosen, and the scores on the images that chose them, without and with the choice."""

    config: Config
    before: Scores
    after: Scores
    changed: dict[str, Any]


def tune_cuts(
    model: Model, images: Sequence[MaskedImage], *, on_trial: Callable[[int, int], None] = lambda done, total: None
) -> Tuned:
    """Chooses the settings of the cut by masks.

    Args:
        model: a trained model.
        images: a few images with masks of all their cells; one can do, several are surer.
        on_trial: called with (trials done, trials at most).

    Raises:
        UserError: if an image and its masks differ in size, or no image holds a cell that the model finds.
    """
    config = model.config
    for name, image, masks in images:
        if masks.shape != image.shape[:2]:
            raise UserError(
                f"{name}: is {image.shape[0]} × {image.shape[1]} pixels but its masks are {masks.shape[0]} × "
                f"{masks.shape[1]}; give masks of the same size"
            )
    # No trial warns of the size of its cells: many trials are bad.
    located = [locate(model, one.image[None], config=config)[0]._replace(learned=None) for one in images]
    if not any(len(one.detection.peaks) for one in located):
        raise UserError(f"{images[0].name}: no cell is found in this image, nor in any other; train longer first")
    best = before = _score(located, images, config)
    total, done = 1 + _ROUNDS * (len(_TERMS) + 2 * len(_FACTORS)), 1
    for _ in range(_ROUNDS):
        start = best
        for trial in _trials(config):
            scores = _score(located, images, trial)
            done += 1
            on_trial(done, total)
            if scores.mdice > best.mdice + _LEAST_GAIN:
                best, config = scores, trial
        if best == start:
            break
    on_trial(total, total)
    return Tuned(config, before, best, _changes(model.config, config))


def _trials(config: Config) -> Iterator[Config]:
    """Yields settings that differ in the data term, with all that suits it, or in one number."""
    opened = [f"cut.{name}=null" for name in (*_FACTORS, "background_weight", "edge")]
    for term in _TERMS:
        if term != config.cut.data:
            yield config.override([f"cut.data={term}", *opened])
    suits = config.cut if config.cut.data == "auto" else fill_weights(config.cut, config.cut.data)
    for name, factors in _FACTORS.items():
        value = getattr(suits, name)
        for factor in factors if value is not None else ():
            # Without the last digits of a product, since it is shown.
            yield config.override([f"cut.{name}={value * factor:.4g}"])


def _score(located: Sequence[LocatedCells], images: Sequence[MaskedImage], config: Config) -> Scores:
    """Returns the scores of all cells by settings of the cut; points count within half a diameter of a cell."""
    near = config.cell_diameter / 2
    cells, points = [], []
    for one, (_, image, masks) in zip(located, images, strict=True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # bad settings make odd cells; they are not chosen
            found = outline(one, (image.shape[0], image.shape[1]), config=config)
        cells.append(match_labels(found.labels, masks))
        points.append(match_points(found.points, centroids(masks), distance=near))
    return pool_scores(cells, points)


def _changes(before: Config, after: Config) -> dict[str, Any]:
    """Returns the settings of the cut that changed, by name, with their new values."""
    old, new = dataclasses.asdict(before.cut), dataclasses.asdict(after.cut)
    return {f"cut.{name}": value for name, value in new.items() if value != old[name]}
