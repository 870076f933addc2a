"""The images in a file: which they are, their parts, their channels and the size of their pixels."""

import math
import pickle

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.zarr_images import write_image
from wsis_jax.core import UserError
from wsis_jax.io.image_file import open_frames


def pixels(*shape: int) -> np.ndarray:
    """Values that are all different."""
    return np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)


def write_tiff(path, values, axes, **options) -> None:
    colours = {"photometric": "rgb"} if "S" in axes else {"photometric": "minisblack"}
    tifffile.imwrite(path, values, metadata={"axes": axes}, **(colours | options))


# An axis of one place need not be told of in a file.
SIZES = st.fixed_dictionaries(
    {axis: st.integers(2, 3) for axis in "CTZ"} | {axis: st.integers(2, 6) for axis in "YX"}
)


@settings(deadline=None, max_examples=60)
@given(
    axes=st.sampled_from(["CYX", "TCYX", "CTYX", "TZCYX", "TZYX", "ZCYX", "TYX", "YX", "TYXS", "TCYXS"]),
    sizes=SIZES,
    form=st.sampled_from(["plain", "ome", "zlib", "zarr"]),
    channel=st.integers(0, 2),
)
def test_images_of_any_axes_are_those_of_a_loop(tmp_path_factory, axes, sizes, form, channel):
    if form == "zarr":
        axes = axes.replace("S", "")
    values, folder = pixels(*({**sizes, "S": 3}[axis] for axis in axes)), tmp_path_factory.mktemp("any")
    if form == "zarr":
        path = write_image(folder / "a.ome.zarr", values, axes.lower())
    else:
        options = {"ome": True} if form == "ome" else {"compression": "zlib"} if form == "zlib" else {}
        write_tiff(path := folder / ("a.ome.tif" if form == "ome" else "a.tif"), values, axes, **options)
    if "C" in axes and channel >= sizes["C"]:
        return
    if "C" not in axes and "S" not in axes:
        channel = 0
    # The slow way: every place of every axis in turn.
    frame_axes = [axis for axis in axes if axis in "TZ"]
    expected = []
    for at in np.ndindex(*(sizes[axis] for axis in frame_axes)):
        where = dict(zip(frame_axes, at, strict=True)) | {"C": channel}
        plane = values[tuple(where.get(axis, slice(None)) for axis in axes)]
        if "S" in axes:
            plane = plane @ np.array([0.299, 0.587, 0.114]) if "C" in axes else plane[..., channel]
        expected.append(plane)
    with open_frames(path, channel=channel) as frames:
        assert frames.shapes == [(sizes["Y"], sizes["X"])] * len(expected)
        window = slice(1, sizes["Y"]), slice(0, sizes["X"] - 1)
        planes = frames.source(0).channels
        for plane in (*planes, *pickle.loads(pickle.dumps(planes))):
            assert plane.shape == frames.shapes[0]
        whole = frames.source(0).read().channels[:, *window]
        np.testing.assert_array_equal([plane[window] for plane in planes], whole)
        np.testing.assert_array_equal([plane[window] for plane in pickle.loads(pickle.dumps(planes))], whole)
        assert len(set(frames.names)) == len(frames.names) == len(expected)
        assert all(name.startswith("a") and ".ome" not in name for name in frames.names)
        for index, plane in enumerate(expected):
            np.testing.assert_allclose(frames.values(index), plane, rtol=1e-6)
            window = slice(1, 3), slice(0, 2)
            np.testing.assert_array_equal(frames.source(index).image[window], frames.values(index)[window])


def test_a_file_of_one_image_has_its_name_and_one_of_many_numbers_or_places(tmp_path):
    write_tiff(tmp_path / "a.ome.tif", pixels(2, 7, 5), "CYX", ome=True)
    write_tiff(tmp_path / "b.tif", pixels(2, 7, 5), "TYX", imagej=True)
    write_tiff(tmp_path / "c.tif", pixels(2, 3, 7, 5), "TZYX", imagej=True)
    for name, expected in [
        ("a.ome.tif", ["a"]),
        ("b.tif", ["b_0000", "b_0001"]),
        ("c.tif", [f"c_t{t:04d}_z{z:04d}" for t in range(2) for z in range(3)]),
    ]:
        with open_frames(tmp_path / name, channel=0) as frames:
            assert frames.names == expected


def test_images_of_an_ome_tiff_are_called_by_their_names(tmp_path):
    for file, names in {"named": ("Well A1/field 2", "B2"), "same": ("R1", "R1"), "none": (None, None)}.items():
        with tifffile.TiffWriter(tmp_path / f"{file}.ome.tif") as writer:
            for name, shape in zip(names, ((20, 30), (2, 20, 30)), strict=True):
                about = {"axes": "TYX"[-len(shape) :]} | ({"Name": name} if name else {})
                writer.write(np.full(shape, len(shape), np.uint8), metadata=about)

    def read(file):
        with open_frames(tmp_path / f"{file}.ome.tif") as frames:
            assert [frames.values(number).mean() for number in range(3)] == [2, 3, 3]
            return frames.names

    assert read("named") == ["named_Well-A1-field-2", "named_B2_0000", "named_B2_0001"]
    assert read("same") == ["same_0000", "same_0001", "same_0002"]
    assert read("none") == ["none_0000", "none_0001", "none_0002"]


def test_a_name_that_is_given_begins_those_of_the_images(tmp_path):
    tifffile.imwrite(tmp_path / "img.tif", np.zeros((2, 20, 30), np.uint8), metadata={"axes": "TYX"})
    with open_frames(tmp_path / "img.tif", name="A1/img") as frames:
        assert frames.names == ["A1/img_0000", "A1/img_0001"]
        assert frames.source(1).name == "A1/img_0001"


def test_axes_that_are_named_are_taken_at_their_word(tmp_path):
    values = pixels(2, 3, 7, 5)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack")
    with pytest.raises(
        ValueError, match=r"a\.tif: the file does not name its 4 axes, of lengths 2, 3, 7, 5; name"
    ):
        open_frames(tmp_path / "a.tif").__enter__()
    with open_frames(tmp_path / "a.tif", axes="TZYX") as frames:
        assert len(frames.names) == 6
        np.testing.assert_array_equal(frames.values(4), values[1, 1])
    with open_frames(tmp_path / "a.tif", axes="TCYX", channel=2) as frames:
        np.testing.assert_array_equal(frames.source(1).read().channels, values[1])
        np.testing.assert_array_equal(frames.source(1).read().image, values[1, 2])
    with open_frames(tmp_path / "a.tif", axes="XYTZ") as frames:
        np.testing.assert_array_equal(frames.values(6), values[:, :, 1, 1].T)
    with pytest.raises(
        ValueError, match=r"a\.tif: axes 'TYX' do not match its 4 axes of lengths 2, 3, 7, 5; name each"
    ):
        open_frames(tmp_path / "a.tif", axes="TYX").__enter__()


@pytest.mark.parametrize("axes", ["TY", "yx", "TTYX", "Y X", ""])
def test_axes_that_name_no_image_are_refused(tmp_path, axes):
    with pytest.raises(
        ValueError, match=f"^axes '{axes}' do not describe an image; give a capital letter for each"
    ):
        open_frames(tmp_path / "a.tif", axes=axes).__enter__()


def test_pages_are_channels_only_where_the_file_does_not_call_them_otherwise(tmp_path):
    tifffile.imwrite(tmp_path / "pages.tif", pixels(3, 7, 5), photometric="minisblack")
    write_tiff(tmp_path / "times.tif", pixels(3, 7, 5), "TYX", imagej=True)
    with open_frames(tmp_path / "pages.tif", channel=2) as frames:
        assert frames.names == ["pages"]
        np.testing.assert_array_equal(frames.source(0).read().channels, pixels(3, 7, 5))
    with open_frames(tmp_path / "pages.tif", channel=0, axes="TYX") as frames:
        assert len(frames.names) == 3
    with open_frames(tmp_path / "times.tif", channel=0) as frames:
        assert len(frames.names) == 3
    with open_frames(tmp_path / "times.tif", channel=1) as frames, pytest.raises(ValueError, match="no channel 1"):
        frames.values(0)


def test_an_image_comes_with_all_its_channels(tmp_path):
    write_tiff(tmp_path / "a.tif", pixels(2, 3, 7, 5), "TCYX", imagej=True)
    with open_frames(tmp_path / "a.tif", channel=1) as frames:
        np.testing.assert_array_equal(frames.source(1).read().channels, pixels(2, 3, 7, 5)[1])
    Image.fromarray(pixels(7, 5, 4).astype(np.uint8)).save(tmp_path / "b.png")
    with open_frames(tmp_path / "b.png") as frames:  # alpha tells nothing of the cells
        np.testing.assert_array_equal(
            frames.source(0).read().channels, np.moveaxis(pixels(7, 5, 4)[..., :3], -1, 0)
        )
    write_tiff(tmp_path / "c.tif", pixels(7, 5), "YX")
    with open_frames(tmp_path / "c.tif") as frames:
        np.testing.assert_array_equal(frames.source(0).read().channels, pixels(1, 7, 5))


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_of_a_stack_only_the_image_that_is_read_is_in_memory(tmp_path, monkeypatch, compression):
    write_tiff(tmp_path / "a.tif", pixels(5, 2, 40, 30), "TCYX", compression=compression)
    decoded = []
    real = tifffile.TiffPage.asarray
    monkeypatch.setattr(tifffile.TiffPage, "asarray", lambda self: decoded.append(self.index) or real(self))
    monkeypatch.setattr(tifffile.TiffPageSeries, "asarray", lambda self: pytest.fail("all was read at once"))
    with open_frames(tmp_path / "a.tif", channel=1) as frames:
        np.testing.assert_array_equal(frames.values(3), pixels(5, 2, 40, 30)[3, 1])
        np.testing.assert_array_equal(
            frames.values(3, window=(slice(0, 9), slice(0, 9))), pixels(5, 2, 40, 30)[3, 1, :9, :9]
        )
    assert decoded == ([7] if compression else [])


# The size of a pixel


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"imagej": True, "resolution": (4, 4), "metadata": {"unit": "um"}}, 0.25),
        ({"imagej": True, "resolution": (4, 4), "metadata": {"unit": "micron"}}, 0.25),
        ({"imagej": True, "resolution": (0.5, 0.5), "metadata": {"unit": "nm"}}, 0.002),
        ({"imagej": True, "resolution": (4, 4), "metadata": {"unit": "pixel"}}, None),
        ({"imagej": True, "resolution": (4, 2), "metadata": {"unit": "um"}}, None),
        ({"imagej": True}, None),
        ({"resolution": (72, 72)}, None),
        ({"ome": True, "metadata": {"PhysicalSizeX": 0.3, "PhysicalSizeY": 0.3}}, 0.3),
        ({"ome": True, "metadata": {"PhysicalSizeX": 300, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.3}}, 0.3),
        ({"ome": True, "metadata": {"PhysicalSizeX": 0.3, "PhysicalSizeY": 0.4}}, None),
        ({"ome": True}, None),
    ],
)
def test_the_size_of_a_pixel_is_what_the_file_tells(tmp_path, options, expected):
    tifffile.imwrite(tmp_path / "a.tif", pixels(7, 5), photometric="minisblack", **options)
    with open_frames(tmp_path / "a.tif") as frames:
        assert frames.source(0).pixel_size == (None if expected is None else pytest.approx(expected))
        assert frames.source(0).read().pixel_size == frames.source(0).pixel_size


# OME-Zarr


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_folder_of_ome_zarr_is_read_like_a_file(tmp_path, version):
    values = pixels(2, 3, 20, 30)
    path = write_image(tmp_path / "a.ome.zarr", values, "tcyx", version=version)
    with open_frames(path, channel=2) as frames:
        assert (frames.names, frames.source(1).pixel_size) == (["a_0000", "a_0001"], 0.5)
        np.testing.assert_array_equal(frames.source(1).image[3:11, 5:30], values[1, 2, 3:11, 5:30])
    with pytest.raises(ValueError, match=r"a\.ome\.zarr: has 3 channels; choose one, or up to four"):
        open_frames(path).__enter__()
    with open_frames(path, channel=3) as frames, pytest.raises(ValueError, match="no channel 3; the file has 3"):
        frames.values(0)


def test_chunks_that_are_damaged_are_named_with_their_file(tmp_path):
    path = write_image(tmp_path / "a.zarr", pixels(20, 30), "yx")
    for chunk in (path / "0" / "c").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(b"no chunk")
    with open_frames(path) as frames, pytest.raises(ValueError, match=r"a\.zarr: the image is damaged \("):
        frames.values(0)


@pytest.mark.parametrize(
    ("shape", "axes"),
    [((40, 50, 2), "YXC"), ((40, 50, 6), "YXC"), ((3, 40, 50, 2), "TYXC")],
)
def test_channels_last_are_refused_with_the_axes_that_work(tmp_path, shape, axes):
    values = pixels(*shape)
    named = {"metadata": {"axes": "TZYX"[-len(shape) :]}}  # as programs name the axes of whatever they save
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack", **(named if len(shape) > 3 else {}))
    count = 40 * math.prod(shape[:-3])
    sentence = rf"a\.tif: holds {count} images of 50 × {shape[-1]} pixels, .*; give --axes {axes} and the channel"
    with pytest.raises(UserError, match=sentence):
        open_frames(tmp_path / "a.tif").__enter__()
    with open_frames(tmp_path / "a.tif", axes=axes, channel=1) as frames:
        np.testing.assert_array_equal(frames.values(0), values.reshape(-1, 40, 50, shape[-1])[0, ..., 1])
    with open_frames(tmp_path / "a.tif", axes="TZYX"[-len(shape) :]) as frames:
        assert len(frames.names) == count


@pytest.mark.parametrize("shape", [(40, 50, 7), (15, 50, 2), (40, 15, 3), (40, 2)])
def test_narrow_images_are_images(tmp_path, shape):
    tifffile.imwrite(tmp_path / "a.tif", pixels(*shape), photometric="minisblack")
    with open_frames(tmp_path / "a.tif") as frames:
        assert frames.shapes[0] == shape[-2:]
