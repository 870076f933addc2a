"""What a file or a setting may ask for, and where what it names may lie."""

import struct

import numpy as np
import pytest
import tifffile

from wsis_jax.cli.terminal import one_line
from wsis_jax.core import limits
from wsis_jax.core.errors import OutOfMemory, UserError, sentence
from wsis_jax.core.files import check_inside, check_name
from wsis_jax.io.label_file import read_image


def test_the_memory_is_that_of_a_computer():
    assert 2**28 < limits.memory() < 2**50


def test_values_fit_into_memory_or_are_refused(monkeypatch):
    monkeypatch.setattr(limits, "memory", lambda: 1 << 30)
    limits.check_values("a.tif", 1 << 26, remedy="cut it")
    with pytest.raises(
        UserError, match=r"^a\.tif: needs 67,108,865 values .* 1 GiB of memory hold at most 67,108,864; cut it$"
    ):
        limits.check_values("a.tif", (1 << 26) + 1, remedy="cut it")
    limits.check_bytes("train.batch", 1 << 30, remedy="less")
    with pytest.raises(ValueError, match=r"^train\.batch: would take 2 GiB of the 1 GiB of memory; less$"):
        limits.check_bytes("train.batch", 1 << 31, remedy="less")


@pytest.mark.parametrize(
    ("count", "words"),
    [(5 << 20, "5 MiB"), (1.5 * 2**30, "1.5 GiB"), (2.0**50, "1,048,576 GiB"), (1e40, "more than")],
)
def test_bytes_in_words(count, words):
    assert limits.format_bytes(count).startswith(words)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FileExistsError(17, "File exists", "a"), "a: file exists; check"),
        (OSError(28, "No space left on device"), "no space left on device; check"),
        (MemoryError("8 GiB"), "there is not enough memory (8 GiB); close"),
        (OutOfMemory("this does not fit"), "this does not fit"),
        (ValueError("a.tif: is empty"), "a.tif: is empty"),
    ],
)
def test_the_reason_of_an_error(error, said):
    assert sentence(error).startswith(said)


@pytest.mark.parametrize("name", ["", ".", "..", "../a", "/a", "a/b", "a\\b", "a\0b", 3, None])
def test_names_that_may_be_paths_are_refused(name):
    with pytest.raises(ValueError, match="is not a plain file name, and might lead out of this folder"):
        check_name(name)
    assert check_name("..a b.tif") == "..a b.tif"


def test_links_lead_nowhere_else(tmp_path):
    folder, outside = tmp_path / "run", tmp_path / "outside"
    for one in (folder, outside):
        one.mkdir()
    for name, to in {"out": outside, "up": "..", "inside": folder / "a", "loop": "loop"}.items():
        (folder / name).symlink_to(to)
    (tmp_path / "alias").symlink_to(folder)
    for name in ("inside", "new", "loop"):
        assert check_inside(folder, folder / name) == folder / name
        assert check_inside(tmp_path / "alias", tmp_path / "alias" / name)
    for name in ("out", "up", "out/a", "../outside"):
        with pytest.raises(ValueError, match="is a link that leads out of"):
            check_inside(folder, folder / name)


def test_what_steers_a_terminal_is_written_out():
    assert one_line("a\x1b[2J\nb\u202e × µ\udcff") == r"a\x1b[2J\nb\u202e × µ\udcff"


def test_an_index_of_ndtiff_names_no_file_elsewhere(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 5), np.uint8))
    monkeypatch.setattr(tifffile.TiffFile, "is_ndtiff", True)
    axes, name = b'{"time": 0}', b"../b.tif"
    entry = [struct.pack("<I", len(part)) + part for part in (axes, name)]
    (tmp_path / "NDTiff.index").write_bytes(b"".join([*entry, struct.pack("<IiiiiIii", 0, 5, 4, 0, 0, 0, 0, 0)]))
    with pytest.raises(ValueError, match=r"refers to a file in another folder, '\.\./b\.tif'"):
        read_image(tmp_path / "a.tif")
