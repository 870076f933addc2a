"""Charts: every value has its place in the picture and its words, whatever the numbers are."""

import json
import re
from html import unescape

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wsis_jax.output.report.html import histogram, line_chart

LOSS = st.floats(1e-9, 1e6)


def points_of(chart: str) -> list:
    return json.loads(unescape(re.search('data-points="([^"]*)"', chart).group(1)))


def lines_of(chart: str) -> list[np.ndarray]:
    texts = re.findall('<polyline class="line s[123]" points="([^"]*)"', chart)
    return [np.array([pair.split(",") for pair in text.split()], float) for text in texts]


@given(st.lists(st.tuples(LOSS, LOSS), min_size=1, max_size=60), st.integers(1, 500), st.data())
@example([(0.5, 0.5)], 100, None)
def test_lines_lie_in_the_picture_and_higher_values_higher(values, every, data):
    steps = [every * (i + 1) for i in range(len(values))]
    best = steps[0] if data is None else data.draw(st.sampled_from(steps))
    first, second = ([pair[i] for pair in values] for i in (0, 1))
    chart = line_chart("Loss", steps, {"one": first, "two": second}, best=best, logarithmic=True)
    lines = lines_of(chart)
    for line, own in zip(lines, (first, second), strict=True):
        assert ((line >= 0) & (line <= [560, 240])).all()
        order = np.argsort(own)
        assert (np.diff(line[order, 1]) <= 0).all()
        assert (np.diff(line[:, 0]) >= 0).all()
    assert [said.split(",")[0] for _, said in points_of(chart)] == [f"step {step}" for step in steps]
    marks = re.findall(r'<circle class="dot f\d" cx="([\d.]+)"', chart)
    assert {float(x) for x in marks} == {lines[0][steps.index(best), 0]}


def test_a_share_is_drawn_from_nothing_to_one():
    (line,) = lines_of(line_chart("F", [1, 2, 3], {"f": [0, 0.5, 1.0]}, best=3))
    top, bottom = line[2, 1], line[0, 1]
    assert line[1, 1] == pytest.approx((top + bottom) / 2)


@given(st.lists(st.floats(0, 1e7, width=32), min_size=1, max_size=200))
@example([0.0])
@example([1e-30])
def test_a_histogram_counts_every_value_once(values):
    counts = [
        int(said.rpartition(": ")[2].replace(",", ""))
        for _, said in points_of(histogram("Area", np.array(values)))
    ]
    assert sum(counts) == len(values)
    assert len(counts) <= 31


def test_a_histogram_equals_counting():
    values = np.random.default_rng(0).random(1000)
    said = [words for _, words in points_of(histogram("Score", values, limit=1))]
    counts, _ = np.histogram(values, bins=20, range=(0, 1))
    assert [int(words.rpartition(": ")[2]) for words in said] == counts.tolist()
    assert said[3].startswith("0.15 to 0.2: ")


def test_whole_numbers_have_bins_of_their_own():
    chart = histogram("Cells per image", np.array([0, 2, 2, 5]), whole=True)
    assert [words for _, words in points_of(chart)] == ["0: 1", "1: 0", "2: 2", "3: 0", "4: 0", "5: 1"]


def test_far_values_are_counted_in_the_last_bin():
    values = np.append(np.arange(1, 1000) % 100, 1e9).astype(float)
    *_, (_, last) = points_of(histogram("Area", values))
    assert re.match(r"\d+ or more: ", last)


def test_nothing_to_count_is_no_chart():
    assert histogram("Area", np.zeros(0)) == ""


def test_titles_are_text():
    assert "<b>" not in histogram("<b>", np.ones(3)) + line_chart("<b>", [1], {"<b>": [0.5]}, best=1)
