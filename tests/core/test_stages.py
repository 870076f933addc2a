"""The profile of a command adds up to its time, whatever lies in what and runs beside what."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsis_jax.core.stages import OTHER, STAGES, Span, Stopwatch, stage, watching

NAMES = st.sampled_from([*STAGES, "mine"])
TIMES = st.integers(0, 20).map(float)


@given(st.lists(st.tuples(NAMES, st.integers(0, 2), TIMES, TIMES)))
def test_stages_add_up_to_the_whole(given_spans):
    watch = Stopwatch(2.0)
    watch.spans = [Span(name, thread, max(min(a, b), 2.0), max(a, b, 2.0)) for name, thread, a, b in given_spans]
    shares = watch.shares(15.0)
    assert sum(shares.values()) == pytest.approx(13.0)
    assert min(shares.values()) >= 0
    assert list(shares)[: len(STAGES)] == list(STAGES)
    assert list(shares)[-1] == OTHER


def test_the_innermost_counts_and_threads_share():
    watch = Stopwatch(0.0)
    watch.spans = [Span("network", 1, 1.0, 9.0), Span("compile or load", 1, 2.0, 5.0), Span("cuts", 2, 4.0, 8.0)]
    shares = watch.shares(10.0)
    assert {name: seconds for name, seconds in shares.items() if seconds} == {
        "network": 1 + 1.5 + 1,
        "compile or load": 2 + 0.5,
        "cuts": 0.5 + 1.5,
        OTHER: 1 + 1,
    }
    assert watch.summary(10.0).splitlines()[4].split() == ["network", "3.50", "s", "35.0%"]


def test_stages_of_all_threads_are_noted_while_somebody_watches():
    @stage("cuts")
    def cuts():
        pass

    cuts()
    watch = Stopwatch(0.0)
    with watching(watch):
        thread = threading.Thread(target=cuts)
        thread.start()
        thread.join()
        with pytest.raises(KeyError), stage("files"):
            raise KeyError
    cuts()
    assert [span.stage for span in watch.spans] == ["cuts", "files"]
    assert len({span.thread for span in watch.spans}) == 2
