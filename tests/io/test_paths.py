"""Finding files."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from wsis_jax.core import files
from wsis_jax.io import named_points, pair_by_name, paths

TIFF = (".tif", ".tiff")


def touch(folder: Path, *names: str) -> list[Path]:
    """Makes empty files."""
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return paths


def test_list_files_of_a_folder_are_sorted_and_neither_hidden_nor_of_other_kinds(tmp_path):
    touch(tmp_path, "b.tif", "a.TIF", ".c.tif", "d.csv", "sub/e.csv")
    (tmp_path / "folder.tif").mkdir()
    assert [path.name for path in paths.list_files(tmp_path, suffixes=TIFF)] == ["a.TIF", "b.tif"]


def test_folders_are_searched_and_files_named_by_their_way(tmp_path):
    touch(tmp_path, "b.tif", "A1/img.tif", "A1/deep/img.OME.TIF", "A2/img_labels.tif", "x.tif/y.tif")
    touch(
        tmp_path, ".hidden/a.tif", "A1/.b.tif", "s.zarr/0/c.tif", "group/zarr.json", "group/d.tif", "notes/n.txt"
    )
    touch(tmp_path, "run/config.json", "run/samples/step_1.tif")  # of a training
    (tmp_path / "A2" / "circle").symlink_to(tmp_path)
    found = paths.named_files(tmp_path, suffixes=TIFF)
    assert {str(path.relative_to(tmp_path)): name for path, name in found.items()} == {
        "A1/deep/img.OME.TIF": "A1/deep/img",
        "A1/img.tif": "A1/img",
        "A2/img_labels.tif": "A2/img",
        "b.tif": "b",
        "x.tif/y.tif": "x.tif/y",
    }
    assert list(found) == sorted(found)
    assert list(paths.named_files(tmp_path / "A1" / "img.tif", suffixes=TIFF).values()) == ["img"]
    assert list(paths.named_files([tmp_path / "A1", tmp_path / "A2"], suffixes=TIFF).values())[:2] == [
        "deep/img",
        "img",
    ]


def test_linked_folders_are_searched(tmp_path):
    touch(tmp_path / "elsewhere", "img.tif")
    (tmp_path / "plate").mkdir()
    for well in ("A1", "A2"):
        (tmp_path / "plate" / well).symlink_to(tmp_path / "elsewhere")
    found = paths.named_files(tmp_path / "plate", suffixes=TIFF)
    assert found == {tmp_path / "plate" / well / "img.tif": f"{well}/img" for well in ("A1", "A2")}


def test_a_folder_below_that_may_not_be_read_is_told_and_left_out(tmp_path, monkeypatch):
    touch(tmp_path, "a.tif", "lost+found/b.tif")
    iterdir = Path.iterdir

    def refusing(folder):
        if folder == refused:
            raise PermissionError(13, "Permission denied", str(folder))
        return iterdir(folder)

    monkeypatch.setattr(Path, "iterdir", refusing)
    refused = tmp_path / "lost+found"
    with pytest.warns(match=r"lost\+found: left out, since it may not be read"):
        assert list(paths.named_files(tmp_path, suffixes=TIFF).values()) == ["a"]
    refused = tmp_path
    with pytest.raises(ValueError, match="cannot be read"):
        paths.named_files(tmp_path, suffixes=TIFF)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("plate/*.tif", ["c"]),
        ("plate/*/img.tif", ["A1/img", "A2/img"]),
        ("plate/A?/*.tif", ["A1/img", "A2/img"]),
        ("**/*.tif", ["plate/A1/img", "plate/A2/img", "plate/c"]),
        ("plate/.*/img.tif", [".old/img"]),
    ],
)
def test_files_of_a_pattern_are_named_from_its_first_wildcard_on(tmp_path, monkeypatch, pattern, names):
    touch(tmp_path, "plate/A1/img.tif", "plate/A2/img.tif", "plate/.old/img.tif", "plate/c.tif")
    assert list(paths.named_files(tmp_path / pattern, suffixes=TIFF).values()) == names
    monkeypatch.chdir(tmp_path)
    assert list(paths.named_files(pattern, suffixes=TIFF).values()) == names


def test_what_a_killed_batch_left_is_no_image(tmp_path):
    touch(tmp_path, "a.tif", "b_overlay.png", "c_labels.tif", "results/report/a_image.webp")
    touch(tmp_path, "results/a_overlay.png", "results/a_points.csv", "results/a_labels.tif")
    assert list(paths.named_images(tmp_path).values()) == ["a", "b_overlay", "c"]


def test_results_are_no_images_in_whatever_folder_their_manifest_is(tmp_path):
    touch(tmp_path, "plate/A1/img.tif", "plate/A1/img_overlay.png", "plate/A1/img_points.csv", "plate/A1/img.csv")
    touch(tmp_path, "plate/A2/b.tif", "plate/A2/sub/b_overlay.png", "plate/A2/sub/b_points.csv")
    touch(tmp_path, "ctc/01/t000.tif", "ctc/01_RES/mask000.tif", "ctc/01_RES/res_track.txt")
    lines = [{"files": ["A1/img_overlay.png", "A1/img_points.csv"]}, {"files": ["../A2/b.tif"]}, {"files": 3}]
    (tmp_path / "plate" / "manifest.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    below = json.dumps({"files": ["sub/b_overlay.png", "sub/b_points.csv"]})
    (tmp_path / "plate" / "A2" / "manifest.jsonl").write_text(below + "\n")
    assert list(paths.named_images(tmp_path / "plate").values()) == ["A1/img", "A2/b"]
    assert list(paths.named_images(tmp_path / "plate" / "A1").values()) == ["img"]
    assert list(paths.named_images(tmp_path / "plate" / "*" / "*").values()) == ["A1/img", "A2/b"]
    assert list(paths.named_images(tmp_path / "ctc").values()) == ["01/t000"]
    with pytest.raises(FileNotFoundError, match="sub: holds results of wsis segment and no other image"):
        paths.named_images(tmp_path / "plate" / "A2" / "sub")
    # Results of another folder's batch are not clicks; those of the very folder may be.
    assert list(named_points(tmp_path / "plate").values()) == ["A1/img", "A1/img_points"]
    assert list(named_points(tmp_path / "plate" / "A2").values()) == ["sub/b_points"]


def test_list_files_of_a_file_is_that_file_whatever_its_suffix(tmp_path):
    (path,) = touch(tmp_path, "odd[1].dat")
    assert paths.list_files(str(path), suffixes=TIFF) == [path]


def test_list_files_of_a_pattern(tmp_path, monkeypatch):
    touch(tmp_path, "x1/a.tif", "x2/b.tif", "x2/.b.tif", "x2/b.csv", "y/c.tif")
    assert [p.name for p in paths.list_files(tmp_path / "x?" / "*", suffixes=TIFF)] == ["a.tif", "b.tif"]
    monkeypatch.chdir(tmp_path / "y")
    assert paths.list_files("*.tif", suffixes=TIFF) == [Path("c.tif")]
    assert paths.list_files("../**/a.*", suffixes=TIFF) == [Path("../x1/a.tif")]


@pytest.mark.parametrize(
    ("where", "sentence"),
    [
        ("none", "none: there is no such file or folder"),
        ("empty", r"empty: the folder holds no file ending in \.tif, \.tiff; give"),
        ("*.tif", r"\*\.tif: the pattern matches no file ending in \.tif, \.tiff; check"),
    ],
)
def test_list_files_says_what_was_looked_for(tmp_path, where, sentence):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=sentence):
        paths.list_files(tmp_path / where, suffixes=TIFF)


def test_stem():
    assert paths.stem("folder/well_3.tif") == "well_3"
    assert paths.stem(Path("well_3_labels.tif")) == "well_3"
    assert paths.stem("labels_of.day.2.png") == "labels_of.day.2"
    assert paths.stem("A.TIF") == "A"
    assert paths.stem("A.OME.TIF") == "A"


def test_of_a_folder_of_results_points_are_listed_and_corrections_win(tmp_path):
    written = ["a_points.csv", "a_cells.csv", "a_outlines.txt", "b_points.csv", "b_cells.csv"]
    touch(tmp_path, *written, "b_corrections.csv", "mine.csv")
    assert len(named_points(tmp_path)) == 6  # no results, as far as one can tell
    (tmp_path / paths.MANIFEST).write_text(json.dumps({"files": written}) + "\n")
    assert list(named_points(tmp_path).values()) == ["a_points", "b_corrections", "mine"]
    assert list(named_points(tmp_path / "a_*").values()) == ["a_points"]
    named = tmp_path / "b_points.csv"  # a file that is named is meant
    assert list(named_points([named, tmp_path / "a_cells.csv"])) == [named, tmp_path / "a_cells.csv"]
    both = [named, tmp_path / "b_corrections.csv"]
    assert list(named_points(both)) == both[1:]
    with pytest.raises(FileNotFoundError, match="holds results of wsis segment, but no points; add points to"):
        named_points(tmp_path / "*_cells.csv")


def test_of_results_in_folders_points_count_and_corrections_win(tmp_path):
    written = [f"{well}/img_{end}.csv" for well in ("A1", "A2") for end in ("points", "cells")]
    touch(tmp_path / "out", *written, "A2/img_corrections.csv")
    (tmp_path / "out" / paths.MANIFEST).write_text(json.dumps({"files": written}) + "\n")
    points = named_points(tmp_path / "out")
    assert list(points.values()) == ["A1/img_points", "A2/img_corrections"]
    assert named_points(tmp_path) == {path: f"out/{name}" for path, name in points.items()}
    assert list(named_points(tmp_path / "out" / "A1").values()) == ["img_points"]
    images = {tmp_path / "plate" / well / "img.tif": f"{well}/img" for well in ("A1", "A2")}
    assert pair_by_name(images, points) == (list(zip(images, points, strict=True)), {}, {})
    (mine,) = touch(tmp_path, "mine.csv")  # corrections of results below are not clicks either
    assert named_points(tmp_path) == {mine: "mine"}


def test_a_folder_is_replaced_as_a_whole_or_not_at_all(tmp_path):
    place = tmp_path / "new" / "folder"
    for text in ("old", "new"):
        with files.replacing_folder(place) as temporary:
            temporary.mkdir()
            (temporary / text).write_text(text)
            assert text == "old" or (place / "old").is_file()
    assert [path.name for path in place.rglob("*")] == ["new"]

    def fails():
        with files.replacing_folder(place) as temporary:
            temporary.mkdir()
            (temporary / "half").touch()
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fails()
    assert [path.name for path in place.rglob("*")] == ["new"]
    assert [path.name for path in place.parent.iterdir()] == ["folder"]


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    gone = [tmp_path / f".a.tif.{process.pid}.tmp", tmp_path / "below" / f".b.zarr.{process.pid}.old"]
    kept = [tmp_path / f".a.tif.{os.getpid()}.tmp", tmp_path / ".hidden", tmp_path / "a.tif"]
    for path in (*gone, *kept):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    gone[1].unlink()
    gone[1].mkdir()
    (gone[1] / "0").touch()
    files.remove_leftovers(tmp_path)
    assert [path for path in gone if path.exists()] == []
    assert [path for path in kept if not path.exists()] == []
    files.remove_leftovers(tmp_path / "nowhere")
