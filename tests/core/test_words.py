"""Numbers and lists of things in messages."""

import pytest

from wsis_jax.core.words import first_of, in_short, so_many


def test_one_thing_is_no_plural():
    assert [so_many(count, "image") for count in (0, 1, 2, 3200)] == [
        "0 images",
        "1 image",
        "2 images",
        "3200 images",
    ]
    assert so_many(1) == "1 channel"


@pytest.mark.parametrize(
    ("most", "told", "line"),
    [
        (1, ["a", "and 2 more"], "a and 2 more"),
        (2, ["a", "b", "and 1 more"], "a, b and 1 more"),
        (3, ["a", "b", "c"], "a, b, c"),
        (4, ["a", "b", "c"], "a, b, c"),
    ],
)
def test_of_a_list_the_first_are_told_and_how_many_more_there_are(most, told, line):
    assert first_of(["a", "b", "c"], most) == told
    assert in_short(["a", "b", "c"], most) == line


def test_ten_faults_are_told_and_one_name():
    assert first_of([str(fault) for fault in range(12)])[9:] == ["9", "and 2 more"]
    assert in_short([7]) == "7"
    assert in_short([7, 8]) == "7 and 1 more"
