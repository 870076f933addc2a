"""The benchmark: that it measures and says what it promises. What it measures is never tested."""

import json

import numpy as np
import pytest
import tifffile

from wsis_jax.cli import main, measure

NUMBERS = [
    *("forward_seconds", "seconds_per_cell", "cells_per_second", "end_to_end_seconds"),
    *("gflop_per_cell", "gflop_per_second"),
]


def test_a_line_of_json(tiny_run, capsys):
    assert main(["bench", str(tiny_run.folder), "--side", "42", "--cells", "5", "--json"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.count("\n") == 1
    line = json.loads(printed.out)
    assert (line["height"], line["width"]) == (42, 42)
    assert {"device", "cores", "python", "wsis_jax", "jax"} <= set(line)
    results = {row["method"]: row for row in line["results"]}
    assert list(results) == ["window", "window-all", "vmap", "loop"]
    for row in results.values():
        assert all(row[key] > 0 for key in NUMBERS)
        assert row["cells"] == 5
        assert row["seconds_per_cell"] == min(row["seconds_per_cell_of_rounds"])
        assert len(row["seconds_per_cell_of_rounds"]) == 3
        assert row["end_to_end_seconds"] == pytest.approx(row["forward_seconds"] + 5 * row["seconds_per_cell"])
    assert results["window"]["gflop_per_cell"] < results["window-all"]["gflop_per_cell"]
    assert [row["cells_timed"] for row in results.values()] == [5, 5, 4, 4]
    assert [row["extrapolated"] for row in results.values()] == [False, False, True, True]


def test_a_table(tiny_run, tmp_path, capsys):
    image = tmp_path / "image.tif"
    tifffile.imwrite(image, np.round(tiny_run.scenes[0].image[:40, :48] * 255).astype(np.uint8))
    assert main(["bench", str(tiny_run.folder), "--image", str(image), "--cells", "2"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert [word in printed.out for word in ("GFLOP/s", "× loop", "window-all", "vmap")] == [True] * 4
    assert "extrapolated" not in printed.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("nowhere", "nowhere: no trained model here"),
        ("--side 0", "height must be at least 1, not 0"),
        ("--side -64", "height must be at least 1, not -64"),
        ("--side 16 --cells 0", "cells must be at least 1, not 0"),
        ("--side 16 --cells 257", "cells must be at most 256, the pixels of the image, not 257"),
        ("--width 0", "width must be at least 1, not 0"),
        ("--image nowhere.tif", "nowhere.tif: there is no such image"),
        ("run --width 8", "leave it out with a RUN"),
    ],
)
def test_bad_input_is_one_sentence(capsys, arguments, words):
    assert main(["bench", *arguments.split()]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("arguments", ["--side many", "--side 64 --image a.tif"])
def test_a_command_line_that_makes_no_sense_is_refused(capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        main(["bench", *arguments.split()])
    assert stop.value.code == 2
    assert "usage: wsis bench" in capsys.readouterr().err


def test_methods_take_turns_and_the_first_turn_counts_for_nothing():
    turns = []
    methods = [
        measure.Method(name, 2, 10, lambda name=name: turns.append(f"{name} forward"), turns.append)
        for name in "ab"
    ]
    seen = []
    timings = measure.measure(methods, rounds=2, on_turn=seen.append)
    assert seen == [0, 1, 0, 1, 0, 1]
    assert turns == ["a forward", None, "b forward", None] * 3
    assert [(len(t.forward), len(t.back), t.compilation) for t in timings] == [(2, 2, 0.0)] * 2
    with pytest.raises(ValueError, match="rounds must be at least 1, not 0"):
        measure.measure(methods, rounds=0)


def test_numbers_follow_from_the_times():
    fast = measure.result(
        measure.Method("a", 4, 10**9, print, print), measure.Timing(0.5, [3.0, 1.0], [2.0, 8.0]), cells=8
    )
    slow = measure.result(
        measure.Method("b", 1, 10**9, print, print), measure.Timing(0.5, [2.0, 2.0], [1.0, 4.0]), cells=8
    )
    assert (fast["forward_seconds"], fast["seconds_per_cell"], fast["end_to_end_seconds"]) == (1, 0.5, 5)
    assert (fast["cells_per_second"], fast["gflop_per_second"], fast["extrapolated"]) == (2, 2, True)
    assert measure.speed_up(fast, slow) == {"per_cell": 2, "per_cell_of_rounds": [2, 2], "end_to_end": 2}


def test_compilation_is_what_jax_reports():
    case = measure.draw_case(measure.fresh_model(1), measure.noise(16, 16), cells=1, radius=3.0)
    first, second = measure.measure([measure.by_images(case, "loop")] * 2, rounds=1)
    assert first.compilation > 0
    assert second.compilation == 0  # the programs are there
