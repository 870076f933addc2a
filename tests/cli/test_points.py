"""`wsis points`: planted faults are named, and points come from wherever they are."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from wsis_jax.cli import main
from wsis_jax.io.ctc import read_ctc_points
from wsis_jax.io.point_file import read_points, write_points
from wsis_jax.metrics import centroids, match_points
from wsis_jax.output.formats.imagej import write_rois
from wsis_jax.synthetic import draw_scene
from wsis_jax.training.patches import leave_out, make_sample

SCENES = {name: draw_scene(seed, shape=(280, 320), cells=36, diameter=26.0) for seed, name in enumerate("abcde")}


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for name, scene in SCENES.items():
        tifffile.imwrite(folder / f"{name}.tif", scene.image)
    return folder


def test_every_planted_fault_is_named(tmp_path, images, capsys):
    clicks = {name: scene.points for name, scene in SCENES.items()}
    clicks["a"] = clicks["a"] + [14, -9]
    clicks["b"] = clicks["b"][:, ::-1]
    clicks["c"] = np.vstack([clicks["c"], clicks["c"][3] + 1, [400, 10]])
    del clicks["d"]
    for name, points in clicks.items():
        write_points(tmp_path / "clicks" / f"{name}.csv", points)
    out = tmp_path / "out"
    command = ["points", str(tmp_path / "clicks"), "--images", str(images), "--out", str(out)]
    assert main([*command, "--json", str(tmp_path / "report.json")]) == 3
    printed = capsys.readouterr().out
    report = {one["name"]: one for one in json.loads((tmp_path / "report.json").read_text())["images"]}
    said = {name: " ".join(one["faults"]) for name, one in report.items()}
    assert "look shifted" in said["a"]
    assert "rows and columns look swapped" in said["b"]
    assert "1 cell looks marked twice" in said["c"]
    assert "1 point is outside" in said["c"]
    assert said["d"].startswith("the image has no points, but")
    assert said["e"] == ""
    assert all(f"{name}: {fault}" in printed for name, one in report.items() for fault in one["faults"])
    assert "Suggested: likelihood.sigma=" in printed
    assert {path.name for path in out.glob("*.png")} == {f"{name}_points.png" for name in "abcde"}
    assert main(["points", str(tmp_path / "clicks"), "--out", str(tmp_path / "clicks")]) == 2
    assert "is one of the files given" in capsys.readouterr().err


def test_points_come_from_stains_and_labels(tmp_path, capsys):
    for folder in ("stains", "masks"):
        (tmp_path / folder).mkdir()
    scene = SCENES["a"]
    tifffile.imwrite(tmp_path / "stains" / "a.tif", scene.nuclei)
    tifffile.imwrite(tmp_path / "masks" / "a.tif", scene.labels.astype(np.uint16))
    assert main(["points", "--nuclei", str(tmp_path / "stains"), "--out", str(tmp_path / "n")]) == 0
    nuclei = read_points(tmp_path / "n" / "a.csv")[0]
    assert match_points(nuclei, scene.points, distance=8).true_positives >= 30
    given = ["points", "--nuclei", str(tmp_path / "stains"), "--diameter", "4", "--out", str(tmp_path / "d")]
    assert main(given) == 0
    assert not np.array_equal(read_points(tmp_path / "d" / "a.csv")[0], nuclei)
    assert main([*given[:4], "-1", *given[5:]]) == 3
    assert "diameter must be above 0" in capsys.readouterr().err
    masks = ["points", "--labels", str(tmp_path / "masks"), "--format", "imagej", "--out", str(tmp_path / "m")]
    assert main(masks) == 0
    np.testing.assert_allclose(read_points(tmp_path / "m" / "a.csv")[0], centroids(scene.labels), atol=0.006)
    assert "X,Y" in (tmp_path / "m" / "a.csv").read_text().splitlines()[0]
    capsys.readouterr()


def test_points_come_from_a_ctc_folder(tmp_path, write_ctc_scenes, capsys):
    write_ctc_scenes(tmp_path / "data", [SCENES["a"], SCENES["b"]])
    main(["points", "--ctc", str(tmp_path / "data" / "01"), "--out", str(tmp_path / "out")])
    assert "t001" in capsys.readouterr().out
    for one in read_ctc_points(tmp_path / "data" / "01"):
        written = read_points(tmp_path / "out" / f"{one.image.stem}.csv")[0]
        np.testing.assert_allclose(written, one.points, atol=0.006)


@pytest.mark.parametrize(
    "arguments",
    [[], ["a.csv", "--labels", "b.tif"], ["a.csv", "--nuclear-channel", "1"], ["a.csv", "--diameter", "9"]],
)
def test_one_source_is_asked_for(arguments, capsys):
    assert main(["points", *arguments]) == 2
    assert "wsis: error: " in capsys.readouterr().err


def test_uncertain_places_are_not_known_but_points_are():
    points = np.array([[20.0, 20.0]])
    sample = make_sample(np.zeros((60, 60), np.float32), points, scale=1.0, sigma=4.0)
    left = leave_out(sample, np.array([[20.0, 30.0], [45.0, 45.0]]), sigma=4.0)
    np.testing.assert_array_equal(left.likelihood, sample.likelihood)
    assert [left.weight[place] for place in [(45, 45), (45, 54), (20, 32)]] == [0, 0, 0]
    assert [left.weight[place] for place in [(45, 56), (20, 20)]] == [1, 1]
    assert (left.weight[sample.likelihood >= 0.1] == 1).all()


def test_rois_become_tables(tmp_path, images):
    write_rois(tmp_path / "rois" / "a.zip", SCENES["a"].labels)
    out = tmp_path / "out"
    assert main(["points", str(tmp_path / "rois"), "--images", str(images / "a.tif"), "--out", str(out)]) == 0
    np.testing.assert_allclose(read_points(out / "a.csv")[0], centroids(SCENES["a"].labels), atol=0.006)


@pytest.mark.filterwarnings("always")
def test_points_on_the_very_border_are_no_fault(tmp_path, images, capsys):
    write_points(tmp_path / "a.csv", np.vstack([SCENES["a"].points, [280.2, 100.0]]))
    points, image, out = (str(path) for path in (tmp_path / "a.csv", images / "a.tif", tmp_path / "out"))
    command = ["points", points, "--images", image, "--out", out]
    main([*command, "--json", str(tmp_path / "report.json")])
    said = "wsis: warning: a: 1 point was less than a pixel outside of the image, and moved to its border\n"
    assert capsys.readouterr().err == said
    assert json.loads((tmp_path / "report.json").read_text())["images"][0]["outside"] == []


@pytest.mark.filterwarnings("always")
def test_a_folder_that_may_not_be_read_is_told_once(tmp_path, images, capsys, monkeypatch):
    iterdir = Path.iterdir

    def refusing(folder):
        if folder.name == "lost+found":
            raise PermissionError(13, "Permission denied", str(folder))
        return iterdir(folder)

    monkeypatch.setattr(Path, "iterdir", refusing)
    write_points(tmp_path / "clicks" / "a.csv", SCENES["a"].points)
    for folder in (tmp_path / "clicks", images):
        (folder / "lost+found").mkdir()
    for name in "bcde":
        (images / f"{name}.tif").unlink()
    command = ["points", str(tmp_path / "clicks"), "--images", str(images), "--out", str(tmp_path / "out")]
    assert main(command) == 0
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(": left out, since it may not be read")[0] for line in said] == [
        f"wsis: warning: {folder / 'lost+found'}" for folder in (tmp_path / "clicks", images)
    ]


def test_of_many_errors_ten_are_told(tmp_path, capsys):
    for number in range(13):
        (tmp_path / f"{number:02d}.csv").write_text("x,y\n1,b\n")
    assert main(["points", str(tmp_path), "--out", str(tmp_path / "out"), "--json", str(tmp_path / "a.json")]) == 3
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 11
    assert "09.csv: `b` in line 2" in lines[9]
    assert lines[10] == "wsis: error: and 3 more"
    assert len(json.loads((tmp_path / "a.json").read_text())["errors"]) == 13


def test_points_in_micrometres_are_told_and_brought_to_pixels(tmp_path, capsys):
    scene, out = SCENES["a"], tmp_path / "out"
    scale = {"imagej": True, "resolution": (2, 2), "metadata": {"unit": "um"}}
    tifffile.imwrite(tmp_path / "a.tif", scene.image, **scale)
    write_points(tmp_path / "clicks.csv", scene.points / 2, format="imagej")
    command = ["points", str(tmp_path / "clicks.csv"), "--images", str(tmp_path / "a.tif"), "--out", str(out)]
    assert main(command) == 3
    assert "a: the points look as if they were in micrometres, at the 0.5 µm a pixel" in capsys.readouterr().err
    assert main([*command, "--points-in", "um"]) == 0
    np.testing.assert_allclose(read_points(out / "clicks.csv")[0], scene.points, atol=0.02)
    assert main([*command, "--points-in", "um", "--pixel-size", "0.25"]) == 3  # most are outside
    np.testing.assert_allclose(read_points(out / "clicks.csv")[0], 2 * scene.points, atol=0.03)
