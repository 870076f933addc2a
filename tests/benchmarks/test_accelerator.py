"""The benchmark ends in time, and says of every part what became of it."""

import json
from threading import Event

import pytest

from benchmarks import accelerator
from benchmarks.accelerator import Part, Row, Sizes, _parts, _run, main


@pytest.fixture
def rows(tmp_path, monkeypatch, capsys):
    """Returns the exit code and the rows of the file, which are those that are printed."""

    def rows(*words, parts=None):
        if parts:
            monkeypatch.setattr(accelerator, "_parts", lambda sizes: parts)
        code = main([*words, "--out", str(tmp_path / "numbers.json")])
        found = json.loads((tmp_path / "numbers.json").read_text())["rows"]
        head, rule, *printed = capsys.readouterr().out.splitlines()
        assert head.count("|") == rule.count("|") == 8
        assert [line.split(" | ")[0] for line in printed] == [f"| {row['part']}" for row in found]
        return code, found

    return rows


def test_parts_that_the_time_is_too_short_for_are_named(rows):
    code, found = rows("--minutes", "0.1")
    assert code == 0
    assert [row["part"] for row in found] == [part.name for part in _parts(Sizes())]
    assert all(row["note"].startswith("dropped: ") for row in found)


def test_a_part_that_fails_does_not_stop_the_others(rows):
    def broken(bench):
        yield Row("broken", "first", 0.5, "a cell", over_floor=4.0)
        raise ValueError("no | room\nat all")

    def whole(bench):
        yield Row("whole", "last", note="done")

    code, found = rows("--small", parts=[Part("broken", 0, broken), Part("whole", 0, whole)])
    assert code == 1
    assert [row["note"] for row in found] == ["", "failed: ValueError: no / room", "done"]
    assert (found[0]["seconds"], found[0]["over_floor"]) == (0.5, 4.0)


def test_work_that_takes_too_long_is_left():
    go_on, done = Event(), Event()

    def work():
        go_on.wait()
        done.set()

    assert _run(work, 0.01) == ([], True)
    go_on.set()
    assert done.wait(60)
    assert _run(lambda: None, 60) == ([], False)


@pytest.mark.parametrize(("seconds", "text"), [(12.34, "12.3 s"), (0.0334, "33.4 ms"), (2.5e-5, "25 µs")])
def test_times_have_units(seconds, text):
    assert accelerator._in_units(seconds) == text
