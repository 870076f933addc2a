"""Labels and pictures: there and back, and never half written."""

from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from wsis_jax.core import files
from wsis_jax.core.errors import UserError
from wsis_jax.io import label_file

# Labels

label_images = st.sampled_from(["u1", "u2", "u4", "i4", "i8"]).flatmap(
    lambda dtype: npst.arrays(
        dtype,
        npst.array_shapes(min_dims=2, max_dims=2, max_side=8),
        elements=st.integers(0, min(np.iinfo(dtype).max, 2**31 - 1)),
    )
)


@pytest.mark.filterwarnings("ignore:.* has one label in")  # as random ones may
@settings(deadline=None, max_examples=40)
@given(labels=label_images)
def test_labels_there_and_back(tmp_path_factory, labels):
    path = tmp_path_factory.getbasetemp() / "labels" / "there_and_back.tif"
    label_file.write_labels(path, labels)
    back = label_file.read_labels(path)
    assert back.dtype == np.int32
    np.testing.assert_array_equal(back, labels)


@pytest.mark.parametrize(("greatest", "dtype"), [(0, "u2"), (65_535, "u2"), (65_536, "u4")])
def test_labels_are_saved_as_uint16_where_they_fit(tmp_path, greatest, dtype):
    labels = np.zeros((3, 4), np.int32)
    labels[1, 1] = greatest
    label_file.write_labels(tmp_path / "new" / "a.tif", labels)
    with tifffile.TiffFile(tmp_path / "new" / "a.tif") as tiff:
        assert tiff.pages[0].dtype == np.dtype(dtype)
        assert tiff.pages[0].compression == tifffile.COMPRESSION.ADOBE_DEFLATE


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "f4", "bool"])
def test_labels_of_other_programs(tmp_path, dtype):
    labels = np.array([[0, 1], [1, 0]]).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", labels, byteorder=">")
    np.testing.assert_array_equal(label_file.read_labels(tmp_path / "a.tif"), labels)
    if dtype in ("u1", "u2"):
        (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(labels))
        np.testing.assert_array_equal(label_file.read_labels(tmp_path / "a.png"), labels)


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (np.arange(36, dtype="u1").reshape(3, 4, 3), "are a colour picture; save the cell numbers"),
        (np.zeros((2, 3, 4), "u2"), "have several pages; save each page"),
        (np.full((3, 4), 1.5, "f4"), "are not whole numbers; save them as 16- or 32-bit"),
        (np.full((3, 4), np.nan, "f4"), "are not whole numbers"),
        (np.zeros((3, 4), "c8"), "are not whole numbers"),
        (np.full((3, 4), -1, "i2"), r"a label is negative \(-1\); number the cells"),
        (np.full((3, 4), 2**31, "u4"), "the label 2147483648 is too large; number"),
        (np.full((3, 4), np.inf, "f4"), "the label inf is too large"),
    ],
)
def test_label_images_of_the_wrong_kind(tmp_path, labels, sentence):
    colour = labels.shape[-1] == 3
    tifffile.imwrite(tmp_path / "a.tif", labels, photometric="rgb" if colour else "minisblack")
    with pytest.raises(ValueError, match=r"a\.tif: .*" + sentence):
        label_file.read_labels(tmp_path / "a.tif")


def test_negative_labels_are_not_written(tmp_path):
    with pytest.raises(ValueError, match=r"not saved, as a label is negative \(-3\); number"):
        label_file.write_labels(tmp_path / "a.tif", np.full((2, 2), -3))
    assert not list(tmp_path.iterdir())


# Pictures, texts and interrupted writes


def test_picture_there_and_back(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    label_file.write_picture(tmp_path / "new" / "a.png", rgb)
    with Image.open(tmp_path / "new" / "a.png") as picture:
        assert picture.format == "PNG"
        np.testing.assert_array_equal(np.asarray(picture), rgb)


def test_text_there_and_back(tmp_path):
    files.write_text(tmp_path / "new" / "a.csv", "größe,µm\r\n1,2\n")
    assert (tmp_path / "new" / "a.csv").read_bytes() == "größe,µm\r\n1,2\n".encode()


@pytest.mark.parametrize(("interruption", "told"), [(KeyboardInterrupt,) * 2, (OSError, UserError)])
@pytest.mark.parametrize("kind", ["labels", "picture", "text"])
def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch, kind, interruption, told):
    path = tmp_path / "a"
    path.write_text("old")

    def write_a_little_and_stop(*arguments, **_):
        # The path is the first argument of imwrite and the second of the methods save and write_text.
        target = next(argument for argument in arguments if isinstance(argument, Path))
        target.write_bytes(b"half")
        raise interruption

    owner, name = {
        "labels": (tifffile, "imwrite"),
        "picture": (Image.Image, "save"),
        "text": (Path, "write_text"),
    }[kind]
    monkeypatch.setattr(owner, name, write_a_little_and_stop)
    with pytest.raises(told):
        {
            "labels": lambda: label_file.write_labels(path, np.zeros((2, 2), np.int32)),
            "picture": lambda: label_file.write_picture(path, np.zeros((2, 2, 3), np.uint8)),
            "text": lambda: files.write_text(path, "new"),
        }[kind]()
    assert [file.name for file in tmp_path.iterdir()] == ["a"]
    assert path.read_bytes() == b"old"


def test_a_written_file_is_readable_by_others(tmp_path):
    (tmp_path / "usual").touch()
    files.write_text(tmp_path / "a", "text")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "usual").stat().st_mode
