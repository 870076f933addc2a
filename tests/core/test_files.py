"""A disk that is full, a folder that takes nothing: one sentence, nothing half-written, the old untouched."""

import errno
import os
import resource
from contextlib import contextmanager
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import tifffile

from wsis_jax.cli import main
from wsis_jax.core import files
from wsis_jax.core.errors import MissingFile, OutOfMemory, UserError, WriteError
from wsis_jax.io.point_file import write_points
from wsis_jax.training import run_folder


@contextmanager
def largest_file(size: int):
    """Lets no file grow above a size in bytes, for which the system refuses to write as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, "since the disk is full; make room, then do the same again"),
        (errno.EDQUOT, "since the quota of the disk is used up; make room, then"),
        (errno.EROFS, "since the disk can only be read; choose another folder, then"),
    ],
)
@pytest.mark.parametrize("replacing", [files.replacing, files.replacing_folder])
def test_a_place_that_takes_nothing_is_told_and_nothing_changes(tmp_path, number, reason, replacing):
    place = tmp_path / "folder" / "result"
    if replacing is files.replacing:
        files.write_text(place, "old")
    else:
        files.write_text(place / "inside", "old")
    before = [path.name for path in place.parent.rglob("*")]

    def fails():
        with replacing(place) as temporary:
            files.write_text(temporary / "half" if replacing is files.replacing_folder else temporary, "half")
            raise OSError(number, os.strerror(number))

    with pytest.raises(WriteError) as caught:
        fails()
    assert str(caught.value).startswith(f"{place}: cannot be written, {reason}")
    assert [path.name for path in place.parent.rglob("*")] == before


def test_a_library_that_does_not_say_why_is_asked_about_the_room(tmp_path, monkeypatch):
    def fails():
        with files.replacing(tmp_path / "a"):
            raise OSError("200 requested and 0 written")  # what NumPy says

    with pytest.raises(UserError, match=r"a: cannot be written \(200 requested and 0 written\)") as caught:
        fails()
    assert not isinstance(caught.value, WriteError)
    usage = files.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: usage._replace(free=0))
    with pytest.raises(WriteError, match="the disk is full"):
        fails()


def test_one_file_that_cannot_be_replaced_is_not_the_whole_place(tmp_path):
    (tmp_path / "a" / "inside").mkdir(parents=True)
    with pytest.raises(UserError, match=r"a: cannot be written \(Is a directory\)") as caught:
        files.write_text(tmp_path / "a", "text")
    assert not isinstance(caught.value, WriteError)
    with pytest.raises(FileNotFoundError), files.replacing(tmp_path / "b"):
        (tmp_path.parent.parent / "elsewhere" / "read").open()


@pytest.mark.parametrize(
    ("error", "kind", "sentence"),
    [
        (
            FileNotFoundError(errno.ENOENT, "No such file", "b"),
            MissingFile,
            "b: there is no such file; check the path",
        ),
        (
            IsADirectoryError(errno.EISDIR, "Is a directory"),
            UserError,
            r"a: cannot be read \(is a directory\); check",
        ),
        (
            OSError("truncated\nand more"),
            UserError,
            r"a: the image is damaged \(truncated\); copy or export it again$",
        ),
        (KeyError("tag"), UserError, r"a: the image is damaged \('tag'\); copy"),
        (MemoryError(), OutOfMemory, "a: there is not enough memory to read it"),
        (UserError("a: is odd"), UserError, "^a: is odd$"),
    ],
)
def test_what_is_raised_while_a_file_is_read_names_it(error, kind, sentence):
    with pytest.raises(kind, match=sentence), files.reading(Path("a"), damaged="the image is damaged"):
        raise error


def test_a_fault_of_the_program_is_none_of_the_file():
    with pytest.raises(KeyError), files.reading(Path("a")):
        raise KeyError
    with pytest.raises(UserError, match=r"a: cannot be read \(odd\)"), files.reading(Path("a")):
        raise OSError("odd")


def test_a_line_is_added_whole_or_not_at_all(tmp_path):
    path = tmp_path / "lines"
    files.append_text(path, "first\n")
    with largest_file(10), pytest.raises(WriteError, match="larger than a file may be here"):
        files.append_text(path, "second\n")
    assert path.read_text() == "first\n"
    files.append_text(path, "second\n")
    assert path.read_text() == "first\nsecond\n"


def test_a_state_without_room_leaves_the_one_before(tmp_path, caplog):
    values = np.random.default_rng(0).random(30_000, np.float32)  # which nothing compresses
    run_folder.save_state(tmp_path, 1, {"w": jnp.asarray(values)})
    expected = r"state/2: cannot be written, since it is larger .*, then go on with --resume$"
    with largest_file(50_000), pytest.raises(WriteError, match=expected):
        run_folder.save_state(tmp_path, 2, {"w": jnp.zeros(30_000) + values[::-1]})
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["1"]
    np.testing.assert_array_equal(run_folder.load_state(tmp_path, {"w": jnp.zeros(30_000)})["w"], values)
    assert not caplog.records  # the library says it in many pages


def test_a_batch_stops_where_there_is_no_room_and_goes_on_when_there_is(tiny_run, draw_small, tmp_path, capsys):
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    for index in range(3):
        values = np.round(draw_small(index).image * 60_000).astype(np.uint16)
        if index < 2:  # the pictures of large squares need less room
            values = np.kron(values[::4, ::4], np.ones((4, 4), np.uint16))
        tifffile.imwrite(images / f"{index}.tif", values)
    command = ["segment", str(tiny_run.folder), str(images), "--format", "overlay,labels", "--out"]
    assert main([*command, str(tmp_path / "whole")]) == 0
    whole = {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
    limit = max(len(content) for name, content in whole.items() if name[0] != "2")
    assert len(whole["2_overlay.png"]) > limit
    capsys.readouterr()
    with largest_file(limit):
        assert main([*command, str(out)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"wsis: error: {out / '2_overlay.png'}: cannot be written, since it is larger")
    there = {path.name: path.read_bytes() for path in out.iterdir()}
    assert there.items() - {("manifest.jsonl", there["manifest.jsonl"])} <= whole.items()
    assert there["manifest.jsonl"].count(b"\n") == 2
    assert main([*command, str(out)]) == 0
    assert "3 of 3 images segmented, 2 of them before" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in out.iterdir()} == whole


@pytest.mark.parametrize(
    "words",
    [
        "segment RUN image.tif --out file/x",
        "train image.tif --points points.csv --run file/x",
        "demo --model RUN --out file/x",
        "export RUN --out file/x",
        "points points.csv --out file/x",
        "points points.csv --out out --json file/x",
        "report folder",
    ],
)
@pytest.mark.filterwarnings("always")
def test_a_file_in_the_place_of_a_folder_is_one_sentence(
    words, tiny_run, draw_small, tmp_path, capsys, monkeypatch
):

    scene = draw_small(0)
    tifffile.imwrite(tmp_path / "image.tif", np.round(scene.image * 60_000).astype(np.uint16))
    write_points(tmp_path / "points.csv", scene.points)
    (tmp_path / "file").touch()
    run_folder.save_config(tmp_path / "folder", tiny_run.model.config)
    (tmp_path / "folder" / "report.html").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main([str(tiny_run.folder) if word == "RUN" else word for word in words.split()]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("wsis: error")]
    assert "cannot be written" in line
    assert ("in the place of its folder" in line) == (words != "report folder")
    assert (tmp_path / "file").read_bytes() == b""
