"""What a progress bar shows, and leaves behind."""

import io

import pytest
from rich.console import Console

from wsis_jax.cli import terminal


@pytest.fixture
def shown(monkeypatch):
    """What bars write where they are no terminal: what stands there in the end."""
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
