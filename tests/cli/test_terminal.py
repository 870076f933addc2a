"""What a progress bar shows and leaves behind, and what is told of the time that a training takes."""

import io

import pytest
from rich.console import Console

from wsis_jax.cli import terminal
from wsis_jax.cli.terminal import in_time, time_left, training_progress


@pytest.fixture
def shown(monkeypatch):
    """What bars write where they are not a terminal: what stands there in the end."""
    stream = io.StringIO()
    monkeypatch.setattr("rich.progress.get_console", lambda: Console(file=stream, width=120))
    return stream


def test_a_bar_has_no_count_before_it_is_known(shown):
    with terminal.progress_bar() as bar:
        bar.add_task("segmenting", total=None)
    assert "segmenting" in shown.getvalue()
    assert "?" not in shown.getvalue()
    assert "0/" not in shown.getvalue()


def test_a_bar_counts_to_what_there_is(shown):
    with terminal.progress_bar(rate="images") as bar:
        task = bar.add_task("segmenting", total=None)
        bar.update(task, advance=3, total=3)
    assert "3/3" in shown.getvalue()


def test_an_error_leaves_no_bar(shown):
    def fail() -> None:
        with terminal.progress_bar() as bar:
            bar.add_task("segmenting", total=None)
            raise ValueError("no such file")

    with pytest.raises(ValueError, match="no such file"):
        fail()
    assert "segmenting" not in shown.getvalue()


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
