"""`wsis evaluate`: what it shows in a terminal of 80 columns, and what it writes."""

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from wsis_jax.cli import main
from wsis_jax.cli.terminal import METRICS
from wsis_jax.io.label_file import write_labels

fcntl, pty, termios = (pytest.importorskip(name) for name in ("fcntl", "pty", "termios"))


def blocks(*corners: tuple[int, int]) -> np.ndarray:
    """Cells of 6 × 6 pixels in an image of 30 × 40, numbered from 1."""
    labels = np.zeros((30, 40), np.int32)
    for number, (row, column) in enumerate(corners, start=1):
        labels[row : row + 6, column : column + 6] = number
    return labels


@pytest.fixture
def folders(tmp_path):
    """Results that miss one of three cells, whose names are as long as those of a microscope, and masks."""
    name = "a_very_long_name_of_an_image_of_plate_7_well_B3_field_12_channel_DAPI_day_2"
    write_labels(tmp_path / "found" / f"{name}_labels.tif", blocks((2, 2)))
    write_labels(tmp_path / "masks" / f"{name}_masks.tif", blocks((2, 2), (12, 12)))
    write_labels(tmp_path / "found" / "b_labels.tif", blocks((2, 30)))
    write_labels(tmp_path / "masks" / "b_mask.tif", blocks((2, 30)))
    return [str(tmp_path / "found"), str(tmp_path / "masks")]


def in_terminal(arguments: list[str], *, columns: int) -> list[str]:
    """Returns the lines that a command shows in a terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, np.array([24, columns, 0, 0], np.uint16).tobytes())
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    command = [sys.executable, "-m", "wsis_jax", *arguments]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown = b""
        try:
            while some := os.read(ours, 65536):
                shown += some
        except OSError:  # how Linux tells that the other side is closed
            pass
    os.close(ours)
    assert process.returncode == 0, shown.decode()
    return shown.decode().split("\r\n")


def test_scores_fit_a_terminal_of_80_columns(folders):
    lines = in_terminal(["evaluate", *folders], columns=80)
    assert max(map(len, lines)) <= 80
    assert lines[0] == "3 true cells in 2 images."
    values = {line[2:12].strip(): line[12:17] for line in lines if line.startswith("  ")}
    assert list(values) == [name for name, _ in METRICS.values()]
    two_of_three = ["0.800", "1.000", "0.667", "0.667", "0.667", "0.667", "0.667", "0.800", "0.667", "0.667"]
    assert list(values.values()) == [*two_of_three, "0.667"]
    assert lines[-3:] == [
        "A point finds a cell within 3.4 pixels of the true one (--distance):",
        "half the median diameter of the true cells.",
        "",
    ]


def test_the_help_explains_each_metric_in_80_columns():
    lines = in_terminal(["evaluate", "--help"], columns=80)
    assert max(map(len, lines)) <= 80
    for name, meaning in METRICS.values():
        assert f"  {name:<11}{meaning}" in lines
    assert any("half the median diameter" in line for line in lines)


def test_each_image_is_in_files(folders, tmp_path, capsys):
    table, tree = tmp_path / "new" / "scores.csv", tmp_path / "scores.json"
    assert main(["evaluate", *folders, "--distance", "2", "--csv", str(table), "--json", str(tree)]) == 0
    shown = capsys.readouterr().out
    assert "within 2.0 pixels of the true one (--distance).\n" in shown
    assert "very_long_name" not in shown
    saved = json.loads(tree.read_text())
    assert saved["distance"] == 2
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert {row.pop("image"): {key: float(value) for key, value in row.items()} for row in rows} == saved["images"]
    assert [row["recall"] for row in rows] == ["0.5", "1.0"]


def test_the_table_says_the_same_as_the_scores(folders, tmp_path, capsys):
    tree = tmp_path / "scores.json"
    assert main(["evaluate", *folders, "--json", str(tree)]) == 0
    pooled, shown = json.loads(tree.read_text())["pooled"], capsys.readouterr().out
    assert list(METRICS) == [key for key in pooled if key != "cells"]
    for key, (name, meaning) in METRICS.items():
        assert f"  {name:<10}{pooled[key]:.3f}  {meaning}\n" in shown
