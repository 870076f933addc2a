"""Readers of damaged files read them or say in a sentence what is wrong; `fuzz/` asks the same for a night."""

import logging
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.targets import TARGETS, once

CRASHED = sorted((Path(__file__).parents[2] / "fuzz" / "crashed").glob("*"))
INSERTED = st.binary(max_size=6) | st.sampled_from(
    [b"-1", b"1e999", b"99999999999", b"null", b'""', b"[[", b"..", b"/", b"\n", b"\0\0\0\0", b"\xff\xff\xff\xff"]
)


@st.composite
def damaged(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A whole file after a few flips, cuts and insertions."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["flip", "cut", "insert", "replace", "end"])):
            case "flip" if at < len(data):
                data = data[:at] + bytes([data[at] ^ 1 << draw(st.integers(0, 7))]) + data[at + 1 :]
            case "cut":
                data = data[:at] + data[at + draw(st.integers(1, 40)) :]
            case "insert":
                data = data[:at] + draw(INSERTED) + data[at:]
            case "replace":
                new = draw(INSERTED)
                data = data[:at] + new + data[at + len(new) :]
            case "end":
                data = data[:at]
    return data


@pytest.mark.filterwarnings("ignore")  # of libraries, about what they make of a damaged file
@pytest.mark.parametrize("name", TARGETS)
def test_damaged_files_are_read_or_refused_in_a_sentence(name):
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(damaged(TARGETS[name].seeds))
    def check(data: bytes) -> None:
        once(TARGETS[name], data)

    assert all(once(TARGETS[name], seed) for seed in TARGETS[name].seeds)
    check()


@pytest.fixture
def logged():
    """What a program that logs would show; pytest's own handler hears more."""
    records, handler = [], logging.Handler()
    handler.emit = records.append
    logging.getLogger().addHandler(handler)
    yield records
    logging.getLogger().removeHandler(handler)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("file", CRASHED, ids=lambda file: file.name)
def test_what_once_broke_a_reader_is_refused(file, logged):
    name = next(name for name in sorted(TARGETS, reverse=True) if file.name.startswith(f"{name}-"))
    once(TARGETS[name], file.read_bytes())
    assert not logged  # or a library's lines would stand beside our sentence
