"""Reading one channel of an image: which axis of a file the channels are, and what is left of the others."""

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from wsis_jax.io.image_file import open_frames
from wsis_jax.io.label_file import count_frames, is_in_colours, read_image, read_shape
from wsis_jax.io.readers import LUMINANCE


def pixels(*shape: int) -> np.ndarray:
    """Values that are all different."""
    return np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)


def write(path, values: np.ndarray, axes: str, form: str) -> None:
    """Writes a TIFF whose axes are named as the form does it."""
    options = {"imagej": True} if form == "imagej" else {"ome": True} if form == "ome" else {}
    tifffile.imwrite(path, values, photometric="minisblack", metadata={"axes": axes}, **options)


# Channels that have a name


@pytest.mark.parametrize(
    ("form", "axes"),
    [
        *(("imagej", axes) for axes in ("CYX", "TCYX", "ZCYX")),
        *(("ome", axes) for axes in ("CYX", "TCYX", "CTYX", "CZYX")),
        *(("shaped", axes) for axes in ("CYX", "TCYX", "CTYX")),
    ],
)
def test_a_named_channel(tmp_path, form, axes):
    sizes = {"C": 2, "T": 3, "Z": 3, "Y": 7, "X": 5}
    values = pixels(*(sizes[axis] for axis in axes))
    write(tmp_path / "a.tif", values, axes, form)
    for channel in (0, 1):
        expected = values[(slice(None),) * axes.index("C") + (channel,)].reshape(-1, 7, 5)
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif", channel=channel), expected)
    with pytest.raises(
        ValueError, match=r"a\.tif: there is no channel 2; the file has 2 channels, counted from 0, but --channel"
    ):
        read_image(tmp_path / "a.tif", channel=2)
    assert read_shape(tmp_path / "a.tif") == (7, 5)


@settings(deadline=None, max_examples=40)
@given(
    axes=st.sampled_from(["CYX", "TCYX", "CTYX", "ZCYX", "CYXS", "CSYX", "SYX", "YXS", "TYXS", "TYX", "YX"]),
    sizes=st.fixed_dictionaries(
        {"C": st.integers(1, 5), "T": st.integers(1, 4), "Z": st.integers(1, 4)}
        | {"Y": st.integers(1, 6), "X": st.integers(1, 6)}
    ),
    channel=st.integers(0, 5),
)
def test_the_channels_together_are_the_file(tmp_path_factory, axes, sizes, channel):
    """The slow way: moves the axis of the channels in front, whatever it is, and takes one of them."""
    values = pixels(*({**sizes, "S": 3}[axis] for axis in axes))
    path = tmp_path_factory.mktemp("any") / "a.tif"
    planar = "separate" if "SYX" in axes else "contig"
    colours = {"photometric": "rgb", "planarconfig": planar} if "S" in axes else {"photometric": "minisblack"}
    tifffile.imwrite(path, values, metadata={"axes": axes}, **colours)
    letter = next((letter for letter in "CS" if letter in axes), None)
    ahead = values[None] if letter is None else np.moveaxis(values, axes.index(letter), 0)
    if channel >= len(ahead):
        with pytest.raises(ValueError, match=f"there is no channel {channel}; the file has {len(ahead)} channel"):
            read_image(path, channel=channel)
        return
    # What the file calls times is not a channel.
    expected, rest = ahead[channel], axes.replace(letter or "?", "")
    if "S" in rest:  # the colours of a channel become grey
        expected = np.moveaxis(expected, rest.index("S"), -1) @ [0.299, 0.587, 0.114]
    found = read_image(path, channel=channel)
    np.testing.assert_allclose(found, expected.reshape(-1, sizes["Y"], sizes["X"]), rtol=1e-6)
    assert count_frames(path, channel=channel) == len(found)


def test_a_channel_of_one_series_of_several(tmp_path):
    values = pixels(2, 3, 7, 5)
    with tifffile.TiffWriter(tmp_path / "a.tif", ome=True) as writer:
        for series in values:
            writer.write(series, photometric="minisblack", metadata={"axes": "CYX"})
        writer.write(values[0, 0], photometric="minisblack")
    with pytest.raises(ValueError, match=r"there is no channel 1; the file has 1 channel, counted from 0"):
        read_image(tmp_path / "a.tif", channel=1)
    expected = [values[0, 0], values[1, 0], values[0, 0]]
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif", channel=0), expected)
    assert count_frames(tmp_path / "a.tif", channel=0) == 3


# Channels that are colours


@pytest.mark.parametrize("channels", [2, 3, 4])
@pytest.mark.parametrize("kind", ["u1", "u2"])
def test_a_colour_of_a_png(tmp_path, channels, kind):
    values = pixels(7, 5, channels).astype(kind)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(values))
    for channel in range(channels):
        np.testing.assert_array_equal(read_image(tmp_path / "a.png", channel=channel)[0], values[..., channel])
        assert count_frames(tmp_path / "a.png", channel=channel) == 1
    with pytest.raises(ValueError, match=f"there is no channel {channels}; the file has {channels} channels"):
        read_image(tmp_path / "a.png", channel=channels)


def test_a_colour_of_a_jpeg(tmp_path):
    Image.new("RGB", (8, 8), (200, 100, 50)).save(tmp_path / "a.jpg", quality=100)
    for channel, value in enumerate((200, 100, 50)):
        np.testing.assert_allclose(read_image(tmp_path / "a.jpg", channel=channel), value, atol=2)


def test_more_channels_a_pixel_than_colours(tmp_path):
    values = pixels(7, 5, 6)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack", planarconfig="contig")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif", channel=5)[0], values[..., 5])


# Channels that are pages, or that there are not


@pytest.mark.parametrize("contiguous", [True, False])
@pytest.mark.parametrize("metadata", [None, {}])
def test_a_page(tmp_path, contiguous, metadata):
    values = pixels(3, 7, 5)
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for page in values:
            writer.write(page, contiguous=contiguous, metadata=metadata)
    for channel in range(3):
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif", channel=channel), values[channel][None])
        assert count_frames(tmp_path / "a.tif", channel=channel) == 1
    with pytest.raises(ValueError, match=r"there is no channel 3; the file has 3 channels"):
        read_image(tmp_path / "a.tif", channel=3)


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.jpg"])
def test_what_is_grey_has_one_channel(tmp_path, name):
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(values).save(tmp_path / name, **({"quality": 100} if name == "a.jpg" else {}))
    np.testing.assert_array_equal(read_image(tmp_path / name, channel=0), read_image(tmp_path / name))
    np.testing.assert_allclose(read_image(tmp_path / name)[0], values, atol=2)
    with pytest.raises(
        ValueError, match=f"{name}: there is no channel 1; the file has 1 channel, counted from 0, but --channel"
    ):
        read_image(tmp_path / name, channel=1)


def test_a_grey_jpeg_has_the_values_of_its_colours(tmp_path):
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(values).save(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as picture:
        colours = np.asarray(picture.convert("RGB")) @ [0.299, 0.587, 0.114]
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg")[0], colours.astype(np.float32))


# Several channels at once


CHOICES = [(0, 2), (2, 0), (1, 2, 0), (3, 0, 1, 2)]


@pytest.mark.parametrize("channels", CHOICES)
@pytest.mark.parametrize("axes", ["CYX", "TCYX", "CTYX", "YXS", "SYX", "TYXS"])
def test_several_channels_are_those_by_themselves(tmp_path, axes, channels):
    values = pixels(*({"C": 4, "S": 4, "T": 3, "Y": 7, "X": 5}[axis] for axis in axes))
    planar = "separate" if "SYX" in axes else "contig"
    colours = {"photometric": "rgb", "planarconfig": planar} if "S" in axes else {"photometric": "minisblack"}
    tifffile.imwrite(tmp_path / "a.tif", values, metadata={"axes": axes}, **colours)
    expected = np.stack([read_image(tmp_path / "a.tif", channel=one) for one in channels], axis=-1)
    assert expected.shape[1:] == (7, 5, len(channels))
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif", channel=channels), expected)
    with open_frames(tmp_path / "a.tif", channel=channels) as frames:
        source = frames.source(0)
        assert source.image.shape == (7, 5, len(channels))
        assert source.shape == (7, 5)
        np.testing.assert_array_equal(source.image[2:6, 1:4], expected[0, 2:6, 1:4])
        assert len(source.read().channels) == 4 if "C" in axes else 3  # alpha is none to measure


def test_several_pages_are_several_channels(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", pixels(3, 7, 5), photometric="minisblack")
    found = read_image(tmp_path / "a.tif", channel=(2, 0))
    np.testing.assert_array_equal(found[0], np.moveaxis(pixels(3, 7, 5)[[2, 0]], 0, -1))
    with pytest.raises(ValueError, match=r"no channel 3; the file has 3 channels, .* the model asks for 0,3$"):
        read_image(tmp_path / "a.tif", channel=(0, 3))


@pytest.mark.parametrize("channels", [3, 4])
def test_the_colours_of_a_png(tmp_path, channels):
    values = pixels(7, 5, channels).astype(np.uint8)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(values))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", channel="colours")[0], values[..., :3])
    np.testing.assert_allclose(read_image(tmp_path / "a.png"), values[None, ..., :3] @ LUMINANCE, rtol=1e-6)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_the_colours_of_a_tiff(tmp_path, planar):
    values = pixels(2, 7, 5, 3)
    stored = values if planar == "contig" else np.moveaxis(values, -1, 1)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif", channel="colours"), values)


def test_what_has_no_colours_is_refused(tmp_path):
    for name, values in {"grey.png": pixels(7, 5), "alpha.png": pixels(7, 5, 2)}.items():
        (tmp_path / name).write_bytes(imagecodecs.png_encode(values))
        count = "2 channels" if "alpha" in name else "1 channel"
        with pytest.raises(
            ValueError, match=rf"{name}: is not an image in colours, .*, since a pixel has {count}; give"
        ):
            read_image(tmp_path / name, channel="colours")
    tifffile.imwrite(tmp_path / "many.tif", pixels(7, 5, 6), photometric="rgb", planarconfig="contig")
    with pytest.raises(ValueError, match="since a pixel has 6 channels; give RGB, or three channels by their"):
        read_image(tmp_path / "many.tif", channel="colours")
    write(tmp_path / "stack.tif", pixels(3, 7, 5), "CYX", "ome")
    with pytest.raises(ValueError, match=r"stack.tif: has 3 channels where .* colours; .* as in --channel 0,1,2$"):
        read_image(tmp_path / "stack.tif", channel="colours")


# What is refused


@pytest.mark.parametrize("channel", [-1, -5])
def test_negative_channels_are_refused(tmp_path, channel):
    write(tmp_path / "a.tif", pixels(2, 7, 5), "CYX", "imagej")
    with pytest.raises(ValueError, match=f"^there is no channel {channel}; count the channels from 0$"):
        read_image(tmp_path / "a.tif", channel=channel)


def test_axes_beside_that_of_the_channels(tmp_path):
    path = tmp_path / "a.tif"
    write(path, pixels(2, 3, 2, 7, 5), "TZCYX", "imagej")
    with pytest.raises(
        ValueError, match=r"a\.tif: has 2 channels; choose one, or up to four together \(--channel;"
    ):
        read_image(path)
    expected = pixels(2, 3, 2, 7, 5)[:, :, 0].reshape(-1, 7, 5)
    np.testing.assert_array_equal(read_image(path, channel=0), expected)
    tifffile.imwrite(path, pixels(2, 3, 7, 5), photometric="minisblack")  # two axes of which neither has a name
    with pytest.raises(
        ValueError, match=r"does not name its 4 axes, of lengths 2, 3, 7, 5; name them, as in --axes"
    ):
        read_image(path, channel=0)
    np.testing.assert_array_equal(read_image(path, channel=1, axes="CTYX"), pixels(2, 3, 7, 5)[1])


def test_pages_of_several_sizes_are_no_channels(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(pixels(7, 5))
        writer.write(pixels(7, 6))
    with pytest.raises(ValueError, match="the pages differ in size"):
        read_image(tmp_path / "a.tif", channel=0)


def test_only_the_channel_that_is_read_has_to_hold_numbers(tmp_path):
    values = np.zeros((2, 7, 5), np.float32)
    values[1, 2, 3] = np.nan
    for metadata in ({"axes": "CYX"}, {}):
        tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack", metadata=metadata)
        assert not read_image(tmp_path / "a.tif", channel=0).any()
        with pytest.raises(ValueError, match="frame 0 holds NaN"):
            read_image(tmp_path / "a.tif", channel=1)


def test_colours_are_told_from_grey_that_is_saved_as_rgb(tmp_path):
    random = np.random.default_rng(0)
    grey = random.integers(0, 255, (32, 32)).astype(np.uint8)
    pink = np.stack([grey, grey // 2, grey], axis=-1)
    pictures = {
        "grey.png": grey,
        "rgb.png": np.repeat(grey[..., None], 3, axis=-1),
        "pink.png": pink,
        "alpha.png": np.dstack([pink, grey]),
    }
    for name, values in pictures.items():
        Image.fromarray(values).save(tmp_path / name)
    # JPEG adds a little colour to what has none.
    Image.fromarray(pictures["rgb.png"] + random.integers(0, 3, (32, 32, 3), np.uint8)).save(
        tmp_path / "noise.jpg"
    )
    tifffile.imwrite(tmp_path / "stack.tif", np.stack([pink] * 2), photometric="rgb")
    tifffile.imwrite(tmp_path / "stains.tif", np.moveaxis(pink, 2, 0), imagej=True, metadata={"axes": "CYX"})
    coloured = {path.name for path in tmp_path.iterdir() if is_in_colours(path)}
    assert coloured == {"pink.png", "alpha.png", "stack.tif"}
