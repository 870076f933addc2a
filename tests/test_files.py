"""Finding and pairing files."""

from pathlib import Path

import pytest

from wsis_jax import files

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
    assert [path.name for path in files.list_files(tmp_path, suffixes=TIFF)] == ["a.TIF", "b.tif"]


def test_list_files_of_a_file_is_that_file_whatever_its_suffix(tmp_path):
    (path,) = touch(tmp_path, "odd[1].dat")
    assert files.list_files(str(path), suffixes=TIFF) == [path]


def test_list_files_of_a_pattern(tmp_path, monkeypatch):
    touch(tmp_path, "x1/a.tif", "x2/b.tif", "x2/.b.tif", "x2/b.csv", "y/c.tif")
    assert [p.name for p in files.list_files(tmp_path / "x?" / "*", suffixes=TIFF)] == ["a.tif", "b.tif"]
    monkeypatch.chdir(tmp_path / "y")
    assert files.list_files("*.tif", suffixes=TIFF) == [Path("c.tif")]
    assert files.list_files("../**/a.*", suffixes=TIFF) == [Path("../x1/a.tif")]


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
        files.list_files(tmp_path / where, suffixes=TIFF)


def test_stem():
    assert files.stem("folder/well_3.tif") == "well_3"
    assert files.stem(Path("well_3_labels.tif")) == "well_3"
    assert files.stem("labels_of.day.2.png") == "labels_of.day.2"


def test_pair_by_stem():
    images = [Path("i/b.tif"), Path("i/a.tif"), Path("i/c.tif")]
    labels = [Path("l/a_labels.tif"), Path("l/b_labels.tif"), Path("l/d_labels.tif")]
    pairs, images_alone, labels_alone = files.pair_by_stem(images, labels)
    assert pairs == [(images[0], labels[1]), (images[1], labels[0])]
    assert images_alone == [images[2]]
    assert labels_alone == [labels[2]]


def test_pair_by_stem_of_one_and_one_or_none():
    image, points = Path("image.tif"), Path("clicks.csv")
    assert files.pair_by_stem([image], [points]) == ([(image, points)], [], [])
    assert files.pair_by_stem([image], []) == ([], [image], [])


def test_pair_by_stem_refuses_two_files_of_one_name():
    with pytest.raises(ValueError, match=r"b/x\.png: a/x\.tif would be paired by the same name; remove"):
        files.pair_by_stem([Path("y.tif")], [Path("a/x.tif"), Path("b/x.png")])


def test_a_folder_takes_the_place_of_the_old_one_only_when_it_is_whole(tmp_path):
    def write(text: str, *, fail: bool = False) -> None:
        with files.replacing_folder(tmp_path / "new" / "out") as temporary:
            temporary.mkdir()
            (temporary / text).write_text(text)
            if fail:
                raise OSError("disk full")

    write("first")
    with pytest.raises(OSError, match="disk full"):
        write("second", fail=True)
    assert [path.name for path in (tmp_path / "new").rglob("*")] == ["out", "first"]
    write("third")
    assert [path.name for path in (tmp_path / "new").rglob("*")] == ["out", "third"]
