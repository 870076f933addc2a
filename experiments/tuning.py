"""One way to tune any method: so many evaluations on a few annotated crops, and no more trust than they deserve.

The first evaluation is of the method as it is; half of the others are spread over the space of parameters (Sobol),
the rest change one parameter of the best so far at a time. At the end every crop is scored with the settings that
the others would have chosen: if that is no better than the method as it is, the method is left as it is.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator, default_rng
from scipy.stats import qmc

from experiments.space import Space
from wsis_jax.metrics import LabelMatch, PointMatch, pool_scores

Settings = Mapping[str, Any]
Match = tuple[LabelMatch, PointMatch]
"""How the cells of one crop were outlined, and found."""

_STEP = 0.2  # sigma of a change, as a share of the parameter's range
_REDRAWS = 50  # of a change that was tried before


class Trial(NamedTuple):
    """One evaluation: settings that differ from the method as it is, and a match for each crop."""

    settings: dict[str, Any]
    shares: dict[str, float]  # 0..1, where in its range each setting is
    matches: list[Match]


class Tuned(NamedTuple):
    """The settings chosen, and how they were found."""

    settings: dict[str, Any]  # none if the method is left as it is
    log: dict[str, Any]  # ready for JSON


def objective(matches: list[Match]) -> float:
    """Returns the mean of F-measure and mDice over all cells of the crops, 0..1."""
    scores = pool_scores([labels for labels, _ in matches], [points for _, points in matches])
    return (scores.f_measure + scores.mdice) / 2


def tune(
    evaluate: Callable[[Settings], list[Match]],
    space: Space,
    *,
    budget: int,
    seed: int = 0,
    on_trial: Callable[[int, float], None] = lambda done, best: None,
) -> Tuned:
    """Returns the settings that suit the crops best.

    Args:
        evaluate: from settings to a match for each crop; a ValueError for settings that make no sense is a score
            of 0.
        space: what may be changed, by name.
        budget: number of evaluations; at least 1, which is the method as it is.
        seed: of the draws.
        on_trial: called with the evaluations done and the best objective after each.

    Raises:
        ValueError: if the budget is below 1.
    """
    if budget < 1:
        raise ValueError(f"budget must be at least 1 evaluation, not {budget}")
    rng = default_rng(seed)
    trials = [Trial({}, {}, evaluate({}))]
    on_trial(1, objective(trials[0].matches))
    refused: list[dict[str, Any]] = []

    def attempt(shares: dict[str, float]) -> None:
        settings = {name: space[name].at(share) for name, share in shares.items()}
        try:
            trials.append(Trial(settings, shares, evaluate(settings)))
        except ValueError as error:
            refused.append({"settings": settings, "error": str(error)})
        on_trial(len(trials) + len(refused), objective(_best(trials).matches))

    spread = (budget - 1) // 2
    for point in _spread(len(space), spread, seed):
        attempt(dict(zip(space, point.tolist(), strict=True)))
    names = sorted(space)
    for turn in range(budget - 1 - spread):
        if not turn % len(names):
            rng.shuffle(names)
        attempt(_changed(_best(trials), names[turn % len(names)], space, trials, rng))
    return _trusted(trials, refused)


def _spread(dimensions: int, count: int, seed: int) -> np.ndarray:
    """Returns points spread evenly over the unit cube."""
    points = qmc.Sobol(dimensions, seed=seed).random_base2(max(count - 1, 0).bit_length())
    return points[:count]


def _best(trials: list[Trial]) -> Trial:
    """Returns the trial of the greatest objective, the first of equal ones."""
    return max(trials, key=lambda trial: objective(trial.matches))


def _changed(best: Trial, name: str, space: Space, trials: list[Trial], rng: Generator) -> dict[str, float]:
    """Returns the shares of a trial with one of them changed, to settings that were not tried if possible."""
    tried = [trial.settings for trial in trials]
    shares = dict(best.shares)
    for redraw in range(_REDRAWS):
        # A choice may be as it was after a small step: then it takes large ones.
        near = name in best.shares and redraw < _REDRAWS // 2
        share = rng.normal(best.shares[name], _STEP) if near else rng.random()
        shares[name] = float(np.clip(share, 0, 1))
        if {key: space[key].at(share) for key, share in shares.items()} not in tried:
            break
    return shares


def _trusted(trials: list[Trial], refused: list[dict[str, Any]]) -> Tuned:
    """Returns the best settings, or none where crops that did not choose them speak for the method as it is."""
    default, best, crops = trials[0], _best(trials), range(len(trials[0].matches))
    held_out = default.matches
    if len(crops) > 1:
        others = [[Trial(t.settings, t.shares, t.matches[:i] + t.matches[i + 1 :]) for t in trials] for i in crops]
        chosen = [max(range(len(trials)), key=lambda k: objective(those[k].matches)) for those in others]
        held_out = [trials[k].matches[i] for i, k in enumerate(chosen)]
    trusted = objective(held_out) > objective(default.matches)
    log = {
        "kept": trusted,
        "settings": best.settings,
        "tuned": objective(best.matches),
        "held_out": objective(held_out),
        "untuned": objective(default.matches),
        "trials": [{"settings": t.settings, "objective": objective(t.matches)} for t in trials],
        "refused": refused,
    }
    return Tuned(best.settings if trusted else {}, log)
