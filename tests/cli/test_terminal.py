"""What is told of the time that a training takes."""

import pytest

from wsis_jax.cli import terminal
from wsis_jax.cli.terminal import in_time, time_left, training_progress


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 second"),
        (1.4, "1 second"),
        (89.4, "89 seconds"),
        (90.0, "1.5 minutes"),
        (430.0, "7 minutes"),
        (5399.0, "90 minutes"),
        (5400.0, "1.5 hours"),
        (36_000.0, "10 hours"),
    ],
)
def test_a_duration_in_words(seconds, words):
    assert in_time(seconds) == words


def test_the_time_left_is_that_of_the_steps_after_compilation():
    assert time_left([0.0, 100.0, 100.5, 101.0, 101.5, 102.0], 1000) == (
        "About 8 minutes for the 1,000 steps that are left, at 0.5 s each on this machine; validations come on "
        "top, and it ends sooner if it no longer improves."
    )


@pytest.mark.parametrize(("first", "steps", "said"), [(1, 20, 1), (9, 20, 1), (10, 20, 0), (1, 3, 0)])
def test_the_time_left_is_told_once_if_it_is_long(capsys, monkeypatch, first, steps, said):
    seconds = iter(range(100))
    monkeypatch.setattr(terminal.time, "perf_counter", lambda: float(next(seconds)))
    with training_progress() as progress:
        for step in range(first, steps + 1):
            progress.on_step(step, steps)
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.count("About ") == said
    if said:
        left = steps - first - 5
        assert f"About {left} seconds for the {left} steps that are left, at 1 s each" in printed
