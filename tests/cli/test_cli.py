"""The commands, called as the shell calls them."""

import dataclasses
import json
import sys
import warnings

import numpy as np
import pytest
import tifffile
from PIL import Image

from wsis_jax import cli
from wsis_jax.cli import demo, main
from wsis_jax.core.config import preset
from wsis_jax.io.label_file import read_labels
from wsis_jax.io.point_file import write_points
from wsis_jax.network.model import load_config
from wsis_jax.network.packaged import model_folder
from wsis_jax.training import run_folder
from wsis_jax.training.run_folder import read_metrics

KEYS = [
    *("f_measure", "precision", "recall", "mdice", "dice_one_to_one", "ap50", "ap", "pq", "aji", "seg", "det"),
    "cells",
]
TINY = [
    *("unet.encoder=[2,4]", "unet.decoder=[2]", "train.batch=2", "train.patch=32", "train.warmup=1"),
    *("train.evaluate_every=2", "train.validation=0.5", "image.scale=1", "likelihood.sigma=3"),
]


def settings(*assignments: str) -> list[str]:
    return [word for assignment in assignments for word in ("--set", assignment)]


@pytest.fixture(scope="module")
def data(tmp_path_factory, draw_small, write_scene):
    """A folder with images, points and masks of two scenes."""
    folder = tmp_path_factory.mktemp("data")
    for name, seed in {"a": 100, "b": 105}.items():
        write_scene(folder, name, draw_small(seed))
    return folder


def train_command(data, run, *more: str) -> list[str]:
    return ["train", str(data / "image"), "--points", str(data / "points"), "--run", str(run), *more]


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("demo", ["--out", "--seed", "--model", "phase-contrast"]),
        (
            "train",
            [
                "IMAGES",
                "--points",
                "--nuclei",
                "--channel",
                "--nuclear-channel",
                "--nuclear-diameter",
                "--diameter",
                "--run",
                "--from",
                "--resume",
                "--preset",
                "--set",
                "--size",
                "--tensorboard",
            ],
        ),
        (
            "segment",
            [
                *("RUN", "IMAGES", "--out", "default results", "phase-contrast", "--channel", "--preset", "--set"),
                "--diameter",
            ],
        ),
        ("report", ["DIR", "report.html"]),
        ("evaluate", ["LABELS", "MASKS", "--points", "--distance", "--json", "--csv"]),
        ("export", ["RUN", "--out", "--preset", "--set"]),
        ("bench", ["RUN", "--width", "--image", "--side", "--cells", "--json"]),
    ],
)
def test_help_names_the_arguments(capsys, command, arguments):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert [argument for argument in arguments if argument not in out] == []


def test_help_names_the_commands(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert all(
        f"wsis {command}" in out
        for command in ("demo", "train", "segment", "report", "evaluate", "export", "bench")
    )


@pytest.mark.parametrize("argv", [[], ["nonsense"], ["train"], ["segment", "run"], ["demo"]])
def test_a_command_line_that_lacks_something_is_refused(capsys, argv):
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    assert "usage: wsis" in capsys.readouterr().err


def test_from_images_and_points_to_scores(data, tmp_path, capsys):
    run, out, scores = tmp_path / "run", tmp_path / "out", tmp_path / "new" / "scores.json"
    assert main(train_command(data, run, *settings(*TINY, "train.steps=4"))) == 0
    printed = capsys.readouterr()
    assert "Learning from 12 points in 2 images." in printed.out
    assert "step      4  loss" in printed.out
    assert printed.err == ""
    assert main(["segment", str(run), str(data / "image"), "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert "2 of 2 images segmented" in printed.out
    assert printed.err == ""
    assert main(["evaluate", str(out), str(data / "mask"), "--json", str(scores)]) == 0
    printed = capsys.readouterr()
    assert "12 true cells in 2 images." in printed.out
    assert printed.err == ""
    saved = json.loads(scores.read_text())
    assert list(saved["images"]) == ["a", "b"]
    assert all(list(row) == KEYS for row in [saved["pooled"], *saved["images"].values()])
    assert saved["pooled"]["cells"] == 12


def test_colours_are_learned_and_read_without_a_flag(draw_small, tmp_path, capsys):
    """From pictures in colours to labels, an exported program and the report of the points."""
    slides, run, out = tmp_path / "slides", tmp_path / "run", tmp_path / "out"
    slides.mkdir()
    for name, seed in {"a": 100, "b": 105}.items():
        scene = draw_small(seed)
        colours = np.stack([scene.image, 0.7 * scene.image, scene.image - 0.3 * scene.nuclei], axis=-1)
        Image.fromarray(np.round(colours.clip(0, 1) * 255).astype(np.uint8)).save(slides / f"{name}.png")
        write_points(slides / f"{name}.csv", scene.points)
    given = ["--points", str(slides), "--run", str(run), *settings(*TINY, "train.steps=3")]
    assert main(["train", str(slides), *given]) == 0
    assert "It reads what it learned from, --channel colours, of images by itself." in capsys.readouterr().out
    assert load_config(run).image.channels == "colours"
    assert main(["segment", str(run), str(slides), "--out", str(out), "--set", "detect.threshold=0.1"]) == 0
    assert read_labels(out / "a_labels.tif").shape == (64, 64)
    assert "error" not in capsys.readouterr().err  # three steps may find specks, which is warned of
    assert main(["segment", str(run), str(slides), "--channel", "2,1,0", "--out", str(out)]) == 0
    assert main(["segment", str(run), str(slides), "--channel", "grey", "--out", str(out)]) == 2
    assert "the model learned from 3 channels, but --channel (image.channels) chooses 1" in capsys.readouterr().err
    assert main(["export", str(run), "--out", str(tmp_path / "exported")]) == 0
    told = json.loads((tmp_path / "exported" / "export.json").read_text())
    assert told["forward"]["arguments"][0]["shape"][3] == 3
    points = ["points", str(slides), "--images", str(slides), "--channel", "colours"]
    assert main([*points, "--out", str(tmp_path / "points")]) in (0, 3)
    assert np.ptp(np.asarray(Image.open(tmp_path / "points" / "a_points.png")).astype(int), axis=2).mean() > 5
    bench = ["bench", str(run), "--image", str(slides / "a.png"), "--cells", "2", "--json"]
    assert main(bench) == 0


def test_from_stains_alone_to_label_images(draw_small, tmp_path, capsys):
    run, out, stacks = tmp_path / "run", tmp_path / "out", tmp_path / "stacks"
    stacks.mkdir()
    for name, seed in {"a": 100, "b": 105}.items():
        scene = draw_small(seed)
        both = np.stack([scene.image, scene.nuclei])
        tifffile.imwrite(stacks / f"{name}.tif", both, imagej=True, metadata={"axes": "CYX"})
    command = ["train", str(stacks), "--channel", "0", "--nuclei", str(stacks), "--nuclear-channel", "1"]
    assert main([*command, "--run", str(run), *settings(*TINY, "train.steps=2")]) == 0
    printed = capsys.readouterr()
    assert "Learning from 12 nuclei in 2 images." in printed.out
    assert f"wsis segment {run} IMAGES --out DIR\nIt reads what it learned from, --channel 0, of" in printed.out
    assert printed.err == ""
    assert main(["segment", str(run), str(stacks), "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert "2 of 2 images segmented" in printed.out
    assert printed.err == ""
    assert [read_labels(out / f"{name}_labels.tif").shape for name in "ab"] == [(64, 64), (64, 64)]


@pytest.mark.parametrize(
    ("teachers", "message"),
    [
        ([], "one of the arguments --points --nuclei is required"),
        (["--points", "a.csv", "--nuclei", "b.tif"], "argument --nuclei: not allowed with argument --points"),
    ],
)
def test_a_training_learns_from_points_or_nuclei(capsys, teachers, message):
    with pytest.raises(SystemExit) as stop:
        main(["train", "a.tif", *teachers, "--run", "run"])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_a_trained_model_finds_cells_from_the_command_line(tiny_run, data, tmp_path, capsys):
    out, scores = str(tmp_path / "out"), tmp_path / "scores.json"
    assert main(["segment", str(tiny_run.folder), str(data / "image" / "*.tif"), "--out", out]) == 0
    arguments = ["--points", str(data / "points"), "--distance", "5", "--json", str(scores)]
    assert main(["evaluate", out, str(data / "mask"), *arguments]) == 0
    saved = json.loads(scores.read_text())
    assert saved["pooled"]["f_measure"] >= 0.7


def test_an_interrupted_training_is_resumed(data, tmp_path, capsys, monkeypatch):
    run, options = tmp_path / "run", settings(*TINY, "train.steps=4")

    append = run_folder.append_metrics

    def interrupt(folder, metrics):
        if metrics["step"] == 4:
            raise KeyboardInterrupt
        append(folder, metrics)

    with monkeypatch.context() as patch:
        patch.setattr(run_folder, "append_metrics", interrupt)
        assert main(train_command(data, run, *options)) == 1
    assert capsys.readouterr().err == "wsis: interrupted\n"
    assert [line["step"] for line in read_metrics(run)] == [2]
    assert main(train_command(data, run, *options)) == 2
    assert "give --resume" in capsys.readouterr().err
    assert main(train_command(data, run, "--resume")) == 0  # settings that are not told are those of the run
    assert [line["step"] for line in read_metrics(run)] == [2, 4]
    assert main(train_command(data, run, "--resume", *settings("train.batch=3"))) == 2
    assert "other images, points or settings (train.batch: 2, 3 now)" in capsys.readouterr().err
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert main(train_command(data, run, "--resume", *options)) == 0
    printed = capsys.readouterr()
    assert f"warning: {run}: is finished, since all 4 steps are done, so nothing was trained; let" in printed.err
    assert "trained" not in printed.out
    assert main(train_command(data, run, "--resume", *settings("train.steps=6"))) == 0
    assert [line["step"] for line in read_metrics(run)] == [2, 4, 6]
    assert load_config(run).train.steps == 6
    assert main(train_command(data, run, "--resume", "--preset", "paper", *settings("train.patch=32"))) == 2
    assert 'train.schedule: "cosine", "constant" now' in capsys.readouterr().err


def test_settings_are_those_of_the_preset_the_size_and_the_command_line(data, tmp_path, monkeypatch):
    import wsis_jax.training

    seen = []
    monkeypatch.setattr(wsis_jax.training, "train_on_set", lambda *_, config, **__: seen.append(config))
    # Nothing is trained to report on.
    monkeypatch.setattr(wsis_jax.training, "training_report", lambda run: run)
    run = tmp_path / "run"
    assert main(train_command(data, run, "--size", "full", "--preset", "reference")) == 0
    assert (
        main(train_command(data, run, "--preset", "reference", *settings("train.steps=7", "train.batch=3"))) == 0
    )
    full, small = seen
    assert full == preset("reference").override(["image.diameter=48"])  # of its sigma, 12 pixels
    assert (small.train.steps, small.train.batch) == (7, 3)
    assert small.unet.encoder[0] < full.unet.encoder[0]  # there is no accelerator here
    assert small.cut == full.cut


def test_a_training_starts_from_a_model_of_the_package(data, tmp_path, monkeypatch, capsys):
    import wsis_jax.training

    seen = []
    monkeypatch.setattr(wsis_jax.training, "train_on_set", lambda *_, config, **__: seen.append(config))
    monkeypatch.setattr(wsis_jax.training, "training_report", lambda run: run)
    command = train_command(data, tmp_path / "run", "--from", "phase-contrast")
    assert main([*command, "--diameter", "20", *settings("train.steps=150", "cut.reach=4")]) == 0
    assert "phase-contrast sees them 20 pixels wide; it learned from cells of 20.\n" in capsys.readouterr().out
    learned, (config,) = load_config(model_folder("phase-contrast")), seen
    assert (config.unet, config.train.start, config.train.steps) == (learned.unet, "phase-contrast", 150)
    assert config.cut == dataclasses.replace(learned.cut, reach=4.0)
    assert (config.image.scale, config.likelihood.sigma) == pytest.approx((1.0, 5.0))
    for more, sentence in {
        ("--size", "small"): "--size is that of a network that learns from nothing; leave it out with --from",
        (
            "--set",
            "unet.encoder=[8,16]",
        ): "phase-contrast: its network has unet.encoder=[16, 32, 64, 128, 128], not",
        ("--channel", "colours"): "phase-contrast: learned from 1 channel, but 3 channels are chosen",
        ("--from", "nowhere"): "nowhere: no trained model here",
    }.items():
        assert main([*command, *more]) == 2
        assert sentence in capsys.readouterr().err
    assert len(seen) == 1


def test_a_training_takes_the_diameter_of_the_cells(data, tmp_path, monkeypatch):
    import wsis_jax.training

    seen = []
    monkeypatch.setattr(wsis_jax.training, "train_on_set", lambda *_, config, **__: seen.append(config))
    monkeypatch.setattr(wsis_jax.training, "training_report", lambda run: run)
    assert main(train_command(data, tmp_path / "run", "--diameter", "18.5")) == 0
    assert seen[0].image.diameter == 18.5


def test_segment_takes_a_preset_and_settings(tiny_run, data, tmp_path):
    image = str(data / "image" / "a.tif")
    command = ["segment", str(tiny_run.folder), image, "--out"]
    assert main([*command, str(tmp_path / "1"), "--set", "detect.threshold=1"]) == 0
    assert not read_labels(tmp_path / "1" / "a_labels.tif").any()
    assert main([*command, str(tmp_path / "2"), "--preset", "reference"]) == 0
    assert read_labels(tmp_path / "2" / "a_labels.tif").any()


def test_dropped_specks_are_told_of(tiny_run, data, tmp_path, capsys):
    command = ["segment", str(tiny_run.folder), str(data / "image"), "--out", str(tmp_path / "out")]
    told = tmp_path / "told.json"
    assert main([*command, "--json", str(told), *settings("cut.min_area=1.5")]) == 0
    printed, images = capsys.readouterr().out, json.loads(told.read_text())["images"]
    assert sum(image["dropped"] for image in images) > 0
    for image in images:
        specks = {0: "", 1: ", 1 speck dropped"}.get(image["dropped"], f", {image['dropped']} specks dropped")
        assert f"{image['name']}: {image['cells']} cells{specks}\n" in printed
        assert read_labels(tmp_path / "out" / f"{image['name']}_labels.tif").max() == image["cells"]


def test_results_are_in_a_folder_of_that_name_unless_told_otherwise(tiny_run, data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["segment", str(tiny_run.folder), str(data / "image" / "a.tif")]) == 0
    assert "results are in results\n" in capsys.readouterr().out
    assert read_labels(tmp_path / "results" / "a_labels.tif").any()


def test_some_bad_files_among_good_ones_are_exit_code_3(tiny_run, data, tmp_path, capsys):
    (tmp_path / "bad.tif").touch()
    (tmp_path / "good.tif").write_bytes((data / "image" / "a.tif").read_bytes())
    assert main(["segment", str(tiny_run.folder), str(tmp_path), "--out", str(tmp_path / "out")]) == 3
    printed = capsys.readouterr()
    assert (
        printed.err
        == f"wsis: error: {tmp_path / 'bad.tif'}: the file is empty (0 bytes); copy or export it again\n"
    )
    assert "1 of 2 images segmented" in printed.out
    assert tifffile.imread(tmp_path / "out" / "good_labels.tif").any()


def test_errors_are_raised_for_who_debugs(tmp_path, monkeypatch):
    monkeypatch.setenv("WSIS_DEBUG", "1")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        main(["segment", str(tmp_path / "nowhere"), "a.tif", "--out", "out"])


def test_the_demo_keeps_its_promises(tmp_path, monkeypatch, capsys):
    quick = demo.DEMO_CONFIG.override(["unet.encoder=[2,4]", "unet.decoder=[2]", "image.scale=1"])
    steps = dataclasses.replace(
        quick.train, steps=2, batch=2, patch=32, warmup=1, evaluate_every=2, validation=0.5
    )
    monkeypatch.setattr(demo, "DEMO_CONFIG", dataclasses.replace(quick, train=steps))
    monkeypatch.setattr(demo, "_SHAPE", (64, 80))
    monkeypatch.setattr(demo, "_CELLS", 3)
    monkeypatch.setattr(demo, "_TRAINING_SCENES", 2)
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out), "--seed", "3"]) == 0
    printed = capsys.readouterr()
    assert "begin with" in printed.out
    assert printed.err == ""
    promised = [
        *("image/scene.png", "mask/scene.tif", "points/scene.csv", "scores.json", "run/config.json"),
        *("result/scene_labels.tif", "result/scene_overlay.png", "result/scene_points.csv"),
        *("likelihood.png", "contributions.png", "labels.png", "stages.png"),
    ]
    assert [name for name in promised if not (out / name).is_file()] == []
    scores = json.loads((out / "scores.json").read_text())
    assert list(scores["pooled"]) == KEYS
    assert scores["pooled"]["cells"] == 3
    assert load_config(out / "run").train.seed == 3
    assert main(["demo", "--out", str(out)]) == 2
    assert capsys.readouterr().err == f"wsis: error: {out}: holds a demo already; give another folder\n"


def test_the_demo_of_a_trained_model_draws_cells_of_the_size_that_it_learned(tiny_run, tmp_path, capsys):
    out, command = tmp_path / "demo", ["demo", "--model", str(tiny_run.folder), "--out"]
    assert main([*command, str(out)]) == 0
    printed = capsys.readouterr()
    assert "begin with" in printed.out
    assert printed.err == ""
    promised = ["image/scene.png", "points/scene.csv", "result/scene_labels.tif", "stages.png"]
    assert [name for name in promised if not (out / name).is_file()] == []
    assert not (out / "run").exists()
    drawn = read_labels(out / "mask" / "scene.tif")
    sizes = np.bincount(drawn.ravel())[1:]
    assert np.median(np.sqrt(4 * sizes / np.pi)) == pytest.approx(tiny_run.model.config.image.diameter, rel=0.1)
    assert json.loads((out / "scores.json").read_text())["pooled"]["cells"] == len(sizes) == 45
    assert main([*command, str(out)]) == 2
    assert "holds a demo already" in capsys.readouterr().err
    assert main(["demo", "--model", "nowhere", "--out", str(tmp_path / "other")]) == 2
    assert "nowhere: no trained model here" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_the_command_line_reads_the_arguments_of_the_process(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["wsis", "evaluate", "nowhere", "nowhere"])
    assert cli.main() == 2
    assert "nowhere" in capsys.readouterr().err
