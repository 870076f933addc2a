"""The kinds of image files: one registry, the example in it, and silence about damaged files."""

import ast
import inspect
import logging
import threading

import numpy as np
import pytest
import tifffile

from wsis_jax.core.errors import UserError
from wsis_jax.io import readers
from wsis_jax.io.label_file import read_image
from wsis_jax.io.paths import list_files
from wsis_jax.io.readers import READERS, is_image_folder, open_stacks, reader_of

TREE = ast.parse(inspect.getsource(readers))


def example() -> str:
    """The code in the docstring of `READERS`."""
    (place,) = (i for i, node in enumerate(TREE.body) if ast.unparse(node).startswith("READERS:"))
    lines = ast.literal_eval(TREE.body[place + 1].value).splitlines()
    return "\n".join(line.removeprefix("    ") for line in lines if not line or line.startswith("    ")).strip()


@pytest.fixture
def registry():
    """The registry, which is afterwards as it was."""
    names, endings, of_labels = READERS.copy(), readers.IMAGE_SUFFIXES.copy(), readers.LABEL_SUFFIXES.copy()
    yield
    READERS.clear()
    READERS.update(names)
    readers.IMAGE_SUFFIXES[:], readers.LABEL_SUFFIXES[:] = endings, of_labels


def test_the_example_adds_a_kind_of_file(registry, tmp_path):
    values = np.arange(24.0, dtype=np.float32).reshape(2, 3, 4)
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(UserError, match="not an image of a known kind; give a TIFF, PNG, JPEG or OME-Zarr"):
        read_image(tmp_path / "a.npy")
    assert len(example().splitlines()) <= 15
    exec(compile(example(), "READERS", "exec"), {})
    (path,) = list_files(tmp_path, suffixes=readers.IMAGE_SUFFIXES)
    np.testing.assert_array_equal(read_image(path), values)
    with open_stacks(path) as (stack,):
        part, axes = stack.read({"Z" if "Z" in stack.sizes else "T": 1}, (slice(0, 2), slice(1, 3)))
    assert axes == "YX"
    np.testing.assert_array_equal(part, values[1, :2, 1:3])
    (tmp_path / "cut.npy").write_bytes(path.read_bytes()[:-5])
    with pytest.raises(UserError, match=r"cut\.npy: the image is damaged \(.*\); copy or export it again$"):
        read_image(tmp_path / "cut.npy")


def test_endings_are_those_of_the_registry():
    assert [ending for reader in READERS.values() for ending in reader.endings] == readers.IMAGE_SUFFIXES
    assert readers.LABEL_SUFFIXES == [".tif", ".tiff", ".png"]
    assert all(reader.starts or reader.holds or reader.endings for reader in READERS.values())


@pytest.mark.parametrize("name", [name for name, reader in READERS.items() if reader.starts])
def test_a_kind_is_known_by_its_first_bytes_whatever_its_name(name, tmp_path):
    for start in READERS[name].starts:
        (tmp_path / "a.txt").write_bytes(start + b"and more")
        assert reader_of(tmp_path / "a.txt").name == name


def test_a_folder_is_known_by_what_it_holds(tmp_path):
    for name in READERS["OME-Zarr"].holds:
        (tmp_path / name / "a").mkdir(parents=True)
        assert not is_image_folder(tmp_path / name / "a")
        (tmp_path / name / "a" / name).touch()
        assert is_image_folder(tmp_path / name / "a")
        assert reader_of(tmp_path / name / "a").name == "OME-Zarr"


def test_what_the_system_refuses_is_a_sentence(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, 4), np.uint8))

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", str(tmp_path / "a.tif"))

    sentence = r"a\.tif: cannot be read \(permission denied\); check the path and your permissions$"
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.open", refuse)
        with pytest.raises(UserError, match=sentence):
            read_image(tmp_path / "a.tif")
    monkeypatch.setattr(tifffile.TiffFile, "__init__", refuse)
    with pytest.raises(UserError, match=sentence):
        read_image(tmp_path / "a.tif")


def test_libraries_say_nothing_of_a_file_that_is_read_but_go_on_elsewhere(caplog):
    logger = logging.getLogger("tifffile")
    with readers.silent_libraries():
        logger.warning("of this file")
        thread = threading.Thread(target=logger.warning, args=["of another thread"])
        thread.start()
        thread.join()
    logger.warning("afterwards")
    assert caplog.messages == ["of another thread", "afterwards"]
    assert not logger.filters


def test_nothing_is_changed_when_the_readers_are_imported():
    for name in ("tifffile", "bioio", "bioio.bio_image"):
        logger = logging.getLogger(name)
        assert logger.propagate
        assert not any(isinstance(handler, logging.NullHandler) for handler in logger.handlers)
