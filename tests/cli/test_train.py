"""What `wsis train` says before and after a training, which is not made here."""

import shutil

import numpy as np
import pytest

import wsis_jax.training
from wsis_jax.cli import main
from wsis_jax.cli import train as command
from wsis_jax.core import preset, small_network
from wsis_jax.io.point_file import write_points
from wsis_jax.training import read_metrics, training_verdict
from wsis_jax.training.run_folder import save_config


@pytest.fixture
def folder(tmp_path, draw_small, write_scene, monkeypatch):
    """The current folder, with images and points; trainings end at once."""
    for name, seed in {"a": 100, "b": 105}.items():
        write_scene(tmp_path, name, draw_small(seed))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(wsis_jax.training, "train_on_set", lambda *_, **__: None)
    monkeypatch.setattr(wsis_jax.training, "training_report", lambda run: run)
    return tmp_path


TRAIN = ["train", "image", "--points", "points", "--run", "run"]


def test_it_says_how_many_cells_and_how_large(folder, capsys):
    assert main(TRAIN) == 0
    printed = capsys.readouterr()
    assert "Learning from 12 points in 2 images.\nThe cells are about 1" in printed.out
    assert "look" not in printed.err
    assert "Points look wrong" not in printed.out


def test_points_are_checked_as_wsis_points_does(folder, draw_small, capsys):
    points = draw_small(100).points
    write_points(folder / "points" / "a.csv", np.vstack([points, points[2] + 0.5]))
    assert main(TRAIN) == 0
    printed = capsys.readouterr()
    assert "wsis: warning: image/a.tif with points/a.csv: 1 cell looks marked twice" in printed.err
    assert (
        "Points look wrong: wsis points POINTS --images IMAGES draws where. Training all the same." in printed.out
    )
    (folder / "run").mkdir()
    save_config(folder / "run", small_network(preset("default")))
    assert main([*TRAIN, "--resume"]) == 0  # they were checked when it began
    assert "marked twice" not in capsys.readouterr().err


def test_of_many_faults_some_are_named(folder, draw_small, capsys, monkeypatch):
    monkeypatch.setattr(command, "_NAMED", 1)
    for name, seed in {"a": 100, "b": 105}.items():
        points = draw_small(seed).points
        write_points(folder / "points" / f"{name}.csv", np.vstack([points, points[2] + 0.5]))
    assert main(TRAIN) == 0
    printed = capsys.readouterr()
    assert printed.err.count("marked twice") == 1
    assert "Points look wrong (1 more): wsis points" in printed.out


def test_of_many_pixels_some_images_are_looked_at(folder, capsys, monkeypatch):
    monkeypatch.setattr(command, "_CHECKED", 64 * 64)
    assert main(TRAIN) == 0
    said = "1 of 2 images were compared with their points; wsis points does so with all.\n"
    assert said in capsys.readouterr().out


def test_it_says_whether_the_model_is_good_enough(folder, tiny_run, capsys):
    shutil.copytree(tiny_run.folder, folder / "run")
    assert main(TRAIN) == 0
    verdict = training_verdict(folder / "run")
    lines = capsys.readouterr().out.splitlines()
    at = lines.index(verdict.text)
    assert lines[at + 1 : at + 1 + len(verdict.advice)] == [f"- {one}" for one in verdict.advice]
    score = read_metrics(folder / "run")[-1]
    assert ("Good enough to use" in verdict.text) == (score["f_measure"] >= 0.8)
