"""The search for settings: what it finds, what it may cost, and when it is not believed."""

import json

import numpy as np
import pytest

from experiments.space import Choice, Range
from experiments.tuning import objective, tune
from wsis_jax.metrics import match_labels, match_points

MASKS = np.zeros((20, 20), np.int32)
MASKS[4:16, 4:16] = 1
POINTS = np.array([[9.5, 9.5]])


def square(side: int, *, corner: int = 4):
    """The match of a square against the true one of side 12."""
    labels = np.zeros_like(MASKS)
    labels[corner : corner + side, corner : corner + side] = 1
    return match_labels(labels, MASKS), match_points(POINTS, POINTS, distance=3)


SPACE = {"side": Range(2, 16, whole=True), "corner": Choice((0, 4, 8))}


def crops(settings):
    """Two crops of which the method as it is gets little."""
    return [square(settings.get("side", 3), corner=settings.get("corner", 4))] * 2


def test_the_best_settings_are_found_within_the_budget():
    calls = []

    def evaluate(settings):
        calls.append(settings)
        return crops(settings)

    tuned = tune(evaluate, SPACE, budget=40)
    assert len(calls) == 40
    assert calls[0] == {}
    assert tuned.settings == {"side": 12, "corner": 4}
    assert tuned.log["tuned"] == 1
    assert tuned.log["untuned"] == pytest.approx(objective(crops({})))
    assert len(json.loads(json.dumps(tuned.log))["trials"]) == 40


def test_the_same_seed_finds_the_same():
    assert tune(crops, SPACE, budget=9, seed=3) == tune(crops, SPACE, budget=9, seed=3)


def test_a_budget_of_one_leaves_the_method_as_it_is():
    tuned = tune(crops, SPACE, budget=1)
    assert tuned.settings == {}
    assert len(tuned.log["trials"]) == 1


def test_settings_that_suit_one_crop_alone_are_not_believed():
    def evaluate(settings):
        good, bad = square(12), square(2)
        if not settings:
            return [square(10), square(10)]
        first = settings["side"] < 9  # what is best in one crop is worst in the other
        return [good if first else bad, bad if first else good]

    tuned = tune(evaluate, {"side": Range(2, 16, whole=True)}, budget=12)
    assert tuned.settings == {}
    assert not tuned.log["kept"]
    assert tuned.log["held_out"] <= tuned.log["untuned"]


def test_settings_that_are_refused_cost_an_evaluation_and_are_told():
    def evaluate(settings):
        if settings.get("side", 3) > 9:
            raise ValueError("side must be at most 9")
        return crops(settings)

    tuned = tune(evaluate, SPACE, budget=20)
    assert tuned.settings["side"] <= 9
    assert tuned.log["refused"]
    assert len(tuned.log["trials"]) + len(tuned.log["refused"]) == 20


def test_a_budget_of_nothing_is_refused():
    with pytest.raises(ValueError, match="budget"):
        tune(crops, SPACE, budget=0)


@pytest.mark.parametrize(
    ("axis", "share", "value"),
    [
        (Range(2, 6), 0.5, 4.0),
        (Range(1, 100, log=True), 0.5, 10.0),
        (Range(0, 3, whole=True), 0.9, 3),
        (Choice(("a", "b")), 0.49, "a"),
        (Choice(("a", "b")), 1.0, "b"),
    ],
)
def test_shares_become_values(axis, share, value):
    assert axis.at(share) == pytest.approx(value) if isinstance(value, float) else axis.at(share) == value
