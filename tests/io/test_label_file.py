"""Reading images: every format, every bad file in one sentence, and grey values to 0..1."""

import io
import logging
import struct

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from wsis_jax.core import UserError, images
from wsis_jax.io import label_file
from wsis_jax.io.image_file import open_frames


def some_pixels(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Values over most of the range of the type."""
    generator = np.random.default_rng(0)
    if np.dtype(dtype).kind == "f":
        return generator.normal(0, 1000, shape).astype(dtype)
    low, high = np.iinfo(dtype).min // 2, np.iinfo(dtype).max // 2
    return generator.integers(low, high, shape).astype(dtype)


# Reading images


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "lzw", "zlib"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "f2", "f4", "f8"])
def test_tiff(tmp_path, dtype, compression, byteorder):
    values = some_pixels((7, 5), dtype)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, values, compression=compression, byteorder=byteorder)
    image = label_file.read_image(path)
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image, values.astype(np.float32)[None])


@pytest.mark.parametrize(
    "options", [{}, {"compression": "zlib"}, {"imagej": True}, {"bigtiff": True}, {"ome": True}]
)
def test_pages_of_a_tiff_are_frames(tmp_path, options):
    values = some_pixels((3, 7, 5), "u2")
    named = {"metadata": {"axes": "TYX"}} if options.keys() & {"imagej", "ome"} else {}
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack", **options, **named)
    np.testing.assert_array_equal(label_file.read_image(tmp_path / "a.tif"), values)


@pytest.mark.parametrize("options", [{"imagej": True}, {"ome": True}])
def test_channels_are_no_frames(tmp_path, options):
    values = some_pixels((3, 7, 5), "u2")
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack", metadata={"axes": "CYX"}, **options)
    with pytest.raises(UserError, match=r"a\.tif: has 3 channels; choose one, .* name its axes \(--axes\)$"):
        label_file.read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(label_file.read_image(tmp_path / "a.tif", axes="TYX"), values)
    np.testing.assert_array_equal(label_file.read_image(tmp_path / "a.tif", channel=1)[0], values[1])


def test_pages_written_one_by_one_are_frames(tmp_path):
    values = some_pixels((3, 7, 5), "u1")
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for page in values:
            writer.write(page, contiguous=False)
    np.testing.assert_array_equal(label_file.read_image(tmp_path / "a.tif"), values)
    first, *others = [Image.fromarray(page) for page in values]
    first.save(tmp_path / "b.tif", save_all=True, append_images=others)
    np.testing.assert_array_equal(label_file.read_image(tmp_path / "b.tif"), values)


@pytest.mark.parametrize("shape", [(1, 6), (6, 1), (1, 1)])
def test_thin_images_keep_their_axes(tmp_path, shape):
    tifffile.imwrite(tmp_path / "a.tif", np.ones(shape, "u1"))
    assert label_file.read_image(tmp_path / "a.tif").shape == (1, *shape)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("frames", [1, 2])
def test_colours_of_a_tiff_become_luminance(tmp_path, channels, planar, frames):
    rgb = some_pixels((frames, 7, 5, channels), "u2")
    stored = rgb if planar == "contig" else np.moveaxis(rgb, -1, 1)
    options = {"extrasamples": ["unassalpha"]} if channels == 4 else {}
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar, **options)
    expected = rgb[..., :3] @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(label_file.read_image(tmp_path / "a.tif"), expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("channels", [None, 2, 3, 4])
def test_png(tmp_path, dtype, channels):
    grey = some_pixels((7, 5), dtype)
    values = grey if channels is None else np.repeat(grey[..., None], channels, axis=-1)
    if channels in (2, 4):
        values[..., -1] = 3  # Alpha, to be ignored.
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(values))
    np.testing.assert_array_equal(label_file.read_image(tmp_path / "a.png")[0], grey)


def test_png_of_a_palette(tmp_path):
    palette = Image.fromarray(some_pixels((7, 5), "u1")).convert("P")
    palette.save(tmp_path / "a.png")
    np.testing.assert_array_equal(label_file.read_image(tmp_path / "a.png")[0], np.asarray(palette.convert("L")))


def test_jpeg(tmp_path):
    Image.new("L", (5, 7), 100).save(tmp_path / "a.jpg")
    np.testing.assert_allclose(label_file.read_image(tmp_path / "a.jpg"), np.full((1, 7, 5), 100), atol=1)


def test_the_first_bytes_count_and_not_the_name(tmp_path):
    values = some_pixels((7, 5), "u2")
    tifffile.imwrite(tmp_path / "a.png", values)
    np.testing.assert_array_equal(label_file.read_image(tmp_path / "a.png")[0], values)


def test_look_up_table_of_a_tiff_is_ignored(tmp_path):
    values = some_pixels((7, 5), "u1")
    table = np.zeros((3, 256), "u2")
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="palette", colormap=table)
    np.testing.assert_array_equal(label_file.read_image(tmp_path / "a.tif")[0], values)


def encoded(kind: str) -> bytes:
    """A good file, as bytes."""
    buffer = io.BytesIO()
    pages = some_pixels((4, 40, 50), "u1")
    if kind == "tiff":
        tifffile.imwrite(buffer, pages, photometric="minisblack", metadata=None)
    elif kind == "zlib":
        tifffile.imwrite(buffer, pages, photometric="minisblack", compression="zlib")
    else:
        Image.fromarray(pages[0]).save(buffer, format=kind)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["tiff", "zlib", "PNG", "JPEG"])
def test_the_shape_is_known_without_the_pixels(tmp_path, kind):
    (tmp_path / "a").write_bytes(encoded(kind))
    assert label_file.read_shape(tmp_path / "a") == label_file.read_image(tmp_path / "a").shape[1:] == (40, 50)
    (tmp_path / "a").write_bytes(encoded(kind)[:9])
    with pytest.raises(ValueError, match="a: the image is damaged"):
        label_file.read_shape(tmp_path / "a")


@pytest.mark.parametrize("shape", [(7, 5, 3), (2, 7, 5, 3), (3, 7, 5)])
def test_the_shape_of_colours_and_pages(tmp_path, shape):
    tifffile.imwrite(
        tmp_path / "a.tif",
        some_pixels(shape, "u1"),
        photometric="rgb",
        planarconfig="contig" if shape[-1] == 3 else "separate",
    )
    assert label_file.read_shape(tmp_path / "a.tif") == (7, 5)


@pytest.mark.parametrize("part", [0.02, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("kind", ["tiff", "zlib", "PNG", "JPEG"])
def test_an_image_cut_short_is_an_error(tmp_path, caplog, kind, part):
    content = encoded(kind)
    (tmp_path / "a").write_bytes(content[: max(9, int(len(content) * part))])
    with (
        caplog.at_level(logging.CRITICAL),
        pytest.raises(ValueError, match="a: the image is damaged") as info,
    ):
        label_file.read_image(tmp_path / "a")
    assert "\n" not in str(info.value)


def test_a_missing_page_at_the_end_is_an_error(tmp_path):
    # Four pages of which the last, without a pixel lost elsewhere, is not in the file.
    content = bytearray(encoded("tiff"))
    with tifffile.TiffFile(io.BytesIO(bytes(content))) as tiff:
        offset = tiff.pages[2].offset
    (tags,) = struct.unpack_from("<H", content, offset)
    struct.pack_into("<I", content, offset + 2 + 12 * tags, 10**6)
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(ValueError, match="pages are missing after the first 3"):
        label_file.read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("read", [label_file.read_image, label_file.read_labels, label_file.read_shape])
def test_files_that_are_no_image(tmp_path, read):
    with pytest.raises(FileNotFoundError, match=r"a\.tif: there is no such image file; check the path"):
        read(tmp_path / "a.tif")
    with pytest.raises(FileNotFoundError, match="there is no such image file"):
        read(tmp_path)
    (tmp_path / "b.tif").touch()
    with pytest.raises(ValueError, match=r"b\.tif: the file is empty \(0 bytes\); copy"):
        read(tmp_path / "b.tif")
    (tmp_path / "c.tif").write_text("index,axis-0,axis-1\n")
    with pytest.raises(
        ValueError, match=r"c\.tif: this is not an image of a known kind; give a TIFF, PNG, JPEG or"
    ):
        read(tmp_path / "c.tif")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_values_that_are_not_finite_name_their_frame(tmp_path, value):
    values = np.zeros((3, 7, 5))
    values[1, 2, 3] = value
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack")
    with pytest.raises(ValueError, match=r"a\.tif: frame 1 holds NaN or infinite values; replace them"):
        label_file.read_image(tmp_path / "a.tif")


def test_images_of_the_wrong_kind(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((7, 5), "c8"))
    with pytest.raises(ValueError, match="the values are complex numbers; save their magnitude"):
        label_file.read_image(path)
    tifffile.imwrite(path, np.zeros((2, 3, 7, 5), "u2"), imagej=True, metadata={"axes": "TCYX"})
    with pytest.raises(ValueError, match="has 3 channels; choose one, or up to four together"):
        label_file.read_image(path)
    tifffile.imwrite(path, np.zeros((7, 5, 6), "u1"), photometric="minisblack", planarconfig="contig")
    with pytest.raises(ValueError, match="has 6 channels; choose one, or up to four together"):
        label_file.read_image(path)
    tifffile.imwrite(path, np.zeros((7, 5, 6), "u1"), photometric="rgb", planarconfig="contig")
    with pytest.raises(ValueError, match="a pixel has 6 channels; choose one"):
        label_file.read_image(path)
    with tifffile.TiffWriter(path) as writer:
        writer.write(np.zeros((7, 5), "u1"))
        writer.write(np.zeros((7, 6), "u1"))
    with pytest.raises(ValueError, match="the pages differ in size; save them as separate files"):
        label_file.read_image(path)


# Normalising

grey_images = npst.arrays(
    np.float32,
    npst.array_shapes(min_dims=2, max_dims=2, max_side=6),
    elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
)


@settings(deadline=None, max_examples=80)
@given(
    image=grey_images, method=st.sampled_from(["percentile", "max"]), low=st.floats(0, 50), high=st.floats(51, 100)
)
def test_normalised_values_are_in_0_to_1_and_keep_their_order(image, method, low, high):
    result = images.normalize_image(image, method=method, low=low, high=high)
    assert 0 <= result.min() <= result.max() <= 1
    assert (np.diff(result.ravel()[np.argsort(image, axis=None)]) >= 0).all()


def test_percentiles_are_stretched_and_clipped():
    image = np.arange(101, dtype=np.float32)[None]
    result = images.normalize_image(image, method="percentile", low=10.0, high=90.0)
    np.testing.assert_allclose(result, np.clip((image - 10) / 80, 0, 1), atol=1e-6)


def test_a_few_bright_pixels_on_an_even_ground_are_not_lost():
    image = np.full((20, 20), 7, np.float32)
    image[3, 3] = 9
    result = images.normalize_image(image, method="percentile", low=1.0, high=99.0)
    assert result[3, 3] == 1
    assert result.sum() == 1


def test_division_by_the_greatest_value():
    image = np.array([[-2, 0, 1, 4]], np.float32)
    result = images.normalize_image(image, method="max", low=0.0, high=100.0)
    np.testing.assert_array_equal(result, [[0, 0, 0.25, 1]])
    assert not images.normalize_image(-image[:, 1:], method="max", low=0.0, high=100.0).any()


@pytest.mark.parametrize("value", [0, 5, -5])
@pytest.mark.parametrize("method", ["percentile", "max"])
def test_a_constant_image_becomes_zeros(method, value):
    image = np.full((4, 4), value, np.float32)
    assert images.is_constant(image)
    assert not images.normalize_image(image, method=method, low=1.0, high=99.0).any()


def test_one_pixel_makes_an_image_not_constant():
    assert not images.is_constant(np.eye(2, dtype=np.float32))


@pytest.mark.parametrize(
    ("low", "high"), [(50.0, 50.0), (90.0, 10.0), (-1.0, 99.0), (1.0, 101.0), (float("nan"), 99.0)]
)
def test_percentiles_out_of_order(low, high):
    with pytest.raises(ValueError, match=r"percentiles .* cannot be used; choose 0 <= low < high <= 100"):
        images.normalize_image(np.eye(2, dtype=np.float32), method="percentile", low=low, high=high)


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_of_label_images_with_a_palette_the_indices_count(tmp_path, kind):
    labels = np.random.default_rng(0).integers(0, 20, (7, 5)).astype(np.uint8)
    hues = np.random.default_rng(1).integers(0, 256, (256, 3)).astype(np.uint8)
    path = tmp_path / f"a.{kind}"
    if kind == "png":
        picture = Image.fromarray(labels)
        picture.putpalette(hues.tobytes())
        picture.save(path)
    else:
        tifffile.imwrite(path, labels, photometric="palette", colormap=hues.T.astype(np.uint16) * 257)
    np.testing.assert_array_equal(label_file.read_labels(path), labels)
    shown = hues[labels] @ np.array([0.299, 0.587, 0.114]) * (1 if kind == "png" else 257)
    np.testing.assert_allclose(label_file.read_image(path)[0], shown, rtol=1e-6)
    colours = label_file.read_image(path, channel="colours")[0]
    np.testing.assert_array_equal(colours, hues[labels] * np.float32(1 if kind == "png" else 257))


def test_a_grey_palette_of_labels_is_no_list_of_indices(tmp_path):
    order = np.random.default_rng(0).permutation(256)  # as programs that make files smaller leave it
    picture = Image.fromarray(np.argsort(order).astype(np.uint8)[some_pixels((7, 5), "u1")])
    picture.putpalette(np.repeat(order, 3).astype(np.uint8).tobytes())
    picture.save(tmp_path / "a.png")
    np.testing.assert_array_equal(label_file.read_labels(tmp_path / "a.png"), some_pixels((7, 5), "u1"))


@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
def test_where_0_is_white_the_image_is_inverted_and_labels_are_not(tmp_path, kind):
    values = some_pixels((7, 5), kind)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="miniswhite")
    most = 0 if kind == "f4" else np.iinfo(kind).max
    expected = (most - values.astype(np.float64)).astype(np.float32)
    np.testing.assert_array_equal(label_file.read_image(tmp_path / "a.tif")[0], expected)
    if kind != "f4":
        np.testing.assert_array_equal(label_file.read_labels(tmp_path / "a.tif"), values)
    with open_frames(tmp_path / "a.tif") as frames:
        np.testing.assert_array_equal(frames.source(0).image[2:4, 1:3], expected[2:4, 1:3])


def test_a_look_up_table_over_grey_values_changes_nothing(tmp_path):
    values, ramp = some_pixels((7, 5), "u1"), np.linspace(0, 65535, 256).astype(np.uint16)
    ends = ramp.copy()
    ends[[0, -1]] = 40_000, 0  # as in ImageJ's HiLo
    for name, palette in {"green": [ramp * 0, ramp, ramp * 0], "hilo": [ramp, ramp, ends]}.items():
        tifffile.imwrite(tmp_path / f"{name}.tif", values, photometric="palette", colormap=np.stack(palette))
        np.testing.assert_array_equal(label_file.read_image(tmp_path / f"{name}.tif")[0], values)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="palette", colormap=np.stack([ramp[::-1]] * 3))
    np.testing.assert_allclose(label_file.read_image(tmp_path / "a.tif")[0], ramp[::-1][values], rtol=1e-6)


# Masks of all cells at once


def drawn_mask() -> tuple[np.ndarray, np.ndarray]:
    """A mask of cells that lie apart, and its label image."""
    mask, labels = np.zeros((40, 48), bool), np.zeros((40, 48), np.int32)
    for number, (row, column) in enumerate([(3, 4), (3, 30), (20, 10)], start=1):
        mask[row : row + 10, column : column + 8] = True
        labels[row : row + 10, column : column + 8] = number
    return mask, labels


@pytest.mark.parametrize("kind", ["255", "one", "bool", "bits", "palette", "grey RGB", "JPEG", "RGB JPEG"])
def test_components_make_a_label_image_of_a_mask(tmp_path, kind):
    mask, labels = drawn_mask()
    bright = mask.astype(np.uint8) * 255
    path = tmp_path / ("a.jpg" if "JPEG" in kind else "a.png" if kind in ("palette", "bits") else "a.tif")
    if "JPEG" in kind:
        Image.fromarray(np.stack([bright] * 3, axis=-1) if "RGB" in kind else bright).save(path, quality=60)
    elif kind == "palette":
        picture = Image.fromarray(mask.astype(np.uint8))
        picture.putpalette([0, 0, 0, 255, 0, 0])
        picture.save(path)
    elif kind == "bits":
        Image.fromarray(mask).save(path)
    else:
        values = {"255": bright, "one": mask.astype(np.uint16), "bool": mask}
        tifffile.imwrite(path, values.get(kind, np.stack([bright] * 3, axis=-1)))
    np.testing.assert_array_equal(label_file.read_labels(path, components=True), labels)
    if "JPEG" in kind:
        with pytest.raises(UserError, match=r"a\.jpg: a JPEG changes the numbers of cells; .* give --components$"):
            label_file.read_labels(path)
        return
    with pytest.warns(UserWarning, match=r"has one label in 3 separate parts, .* give --components"):
        assert (label_file.read_labels(path) > 0).sum() == mask.sum()


def test_components_of_a_label_image_keep_touching_cells_apart(tmp_path):
    labels = np.zeros((20, 20), np.int32)
    labels[2:8, 2:8], labels[2:8, 8:12], labels[12:15, 2:5] = 1, 2, 1
    label_file.write_labels(tmp_path / "a.tif", labels)
    found = label_file.read_labels(tmp_path / "a.tif", components=True)
    assert sorted(np.unique(found, return_counts=True)[1][1:]) == [9, 24, 36]
    np.testing.assert_array_equal(label_file.read_labels(tmp_path / "a.tif"), labels)  # without a warning


@pytest.mark.parametrize("ground", [(0, 0, 0), (250, 250, 240)])
def test_components_of_colours_are_cells(tmp_path, ground):
    _, labels = drawn_mask()
    labels[3:13, 12:20] = 4  # beside the first
    colours = np.array([ground, (200, 0, 0), (0, 200, 0), (0, 0, 200), (9, 9, 0)], np.uint8)
    label_file.write_picture(tmp_path / "a.png", colours[labels])
    found = label_file.read_labels(tmp_path / "a.png", components=True)
    pairs = np.unique(np.stack([found, labels], axis=-1).reshape(-1, 2), axis=0)
    assert len(pairs) == len(np.unique(found)) == 5
    assert pairs[0].tolist() == [0, 0]
    with pytest.raises(UserError, match=r"a\.png: the labels are a colour picture; .* give --components"):
        label_file.read_labels(tmp_path / "a.png")


def test_one_cell_is_no_mask(tmp_path):
    labels = np.zeros((9, 9), np.int32)
    label_file.write_labels(tmp_path / "none.tif", labels)
    labels[2:5, 2:5] = 255
    label_file.write_labels(tmp_path / "one.tif", labels)
    for name in ("none", "one"):
        label_file.read_labels(tmp_path / f"{name}.tif")
