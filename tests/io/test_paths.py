"""Finding and pairing files."""

import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from wsis_jax.core import files
from wsis_jax.io import paths

TIFF = (".tif", ".tiff")


def touch(folder: Path, *names: str) -> list[Path]:
    """Makes empty files."""
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return paths


def test_list_files_of_a_folder_are_sorted_and_neither_hidden_nor_of_other_kinds(tmp_path):
    touch(tmp_path, "b.tif", "a.TIF", ".c.tif", "d.csv", "sub/e.tif")
    (tmp_path / "folder.tif").mkdir()
    assert [path.name for path in paths.list_files(tmp_path, suffixes=TIFF)] == ["a.TIF", "b.tif"]


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


def test_pair_by_stem():
    images = [Path("i/b.tif"), Path("i/a.tif"), Path("i/c.tif")]
    labels = [Path("l/a_labels.tif"), Path("l/b_labels.tif"), Path("l/d_labels.tif")]
    pairs, images_alone, labels_alone = paths.pair_by_stem(images, labels)
    assert pairs == [(images[0], labels[1]), (images[1], labels[0])]
    assert images_alone == [images[2]]
    assert labels_alone == [labels[2]]


def test_pair_by_stem_of_one_and_one_or_none():
    image, points = Path("image.tif"), Path("clicks.csv")
    assert paths.pair_by_stem([image], [points]) == ([(image, points)], [], [])
    assert paths.pair_by_stem([image], []) == ([], [image], [])


def test_pair_by_stem_refuses_two_files_of_one_name():
    with pytest.raises(ValueError, match=r"b/x\.png: a/x\.tif would be paired by the same name; remove"):
        paths.pair_by_stem([Path("y.tif")], [Path("a/x.tif"), Path("b/x.png")])


def test_pair_by_stem_then_without_what_says_the_kind_of_a_file():
    images = [Path("i/a.tif"), Path("i/b.tif"), Path("i/c_mask.tif"), Path("i/d.tif")]
    files = ["b_points.csv", "a_corrections.csv", "c_mask.csv", "d.csv", "d_points.csv", "e_points.csv"]
    points = [Path("p", name) for name in files]
    pairs, images_alone, points_alone = paths.pair_by_stem(images, points)
    partners = ["a_corrections.csv", "b_points.csv", "c_mask.csv", "d.csv"]
    assert pairs == [(image, Path("p", name)) for image, name in zip(images, partners, strict=True)]
    assert images_alone == []
    assert points_alone == [Path("p/d_points.csv"), Path("p/e_points.csv")]
    assert [paths.bare_stem(f"x{end}.tif") for end in ("_cp_masks", "_masks", "_labels", "_cells")] == [
        *["x"] * 3,
        "x_cells",
    ]
    assert paths.bare_stem("_points.csv") == "_points"


def test_pair_by_stem_refuses_two_files_that_would_be_partners_of_one():
    points = [Path("p/a_points.csv"), Path("q/a_corrections.csv"), Path("q/b.csv")]
    with pytest.raises(ValueError, match=r"q/a_corrections\.csv: p/a_points\.csv would be paired by the same"):
        paths.pair_by_stem([Path("a.tif"), Path("b.tif")], points)


def test_of_a_folder_of_results_points_are_listed_and_corrections_win(tmp_path):
    suffixes = (".csv", ".txt")
    written = ["a_points.csv", "a_cells.csv", "a_outlines.txt", "b_points.csv", "b_cells.csv"]
    touch(tmp_path, *written, "b_corrections.csv", "mine.csv")
    assert len(paths.list_points(tmp_path, suffixes=suffixes)) == 6  # no results, as far as one can tell
    (tmp_path / paths.MANIFEST).write_text(json.dumps({"files": written}) + "\n")
    listed = [path.name for path in paths.list_points(tmp_path, suffixes=suffixes)]
    assert listed == ["a_points.csv", "b_corrections.csv", "mine.csv"]
    assert [path.name for path in paths.list_points(tmp_path / "a_*", suffixes=suffixes)] == ["a_points.csv"]
    named = tmp_path / "b_points.csv"  # a file that is named is meant
    assert paths.list_points([named, tmp_path / "a_cells.csv"], suffixes=suffixes) == [
        named,
        tmp_path / "a_cells.csv",
    ]
    both = [named, tmp_path / "b_corrections.csv"]
    assert paths.list_points(both, suffixes=suffixes) == both[1:]
    with pytest.raises(FileNotFoundError, match="holds results of wsis segment, but no points; add points to"):
        paths.list_points(tmp_path / "*_cells.csv", suffixes=suffixes)


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


def test_names_that_look_the_same_are_the_same(tmp_path):
    apart, joined = unicodedata.normalize("NFD", "Größe"), unicodedata.normalize("NFC", "Größe")
    assert apart != joined
    images, points = touch(tmp_path, f"{apart}.tif", "b.tif"), touch(tmp_path, f"{joined}.csv", "b.csv")
    assert paths.pair_by_stem(images, points) == (list(zip(images, points, strict=True)), [], [])
