"""Image files, folders and names that users of other programs reported as read wrongly, tried here.

Each test says what was reported, where, and whether it was right at once or was mended.
"""

import numpy as np
import pytest
import tifffile
from PIL import Image

from wsis_jax.core.errors import UserError
from wsis_jax.io.image_file import open_frames
from wsis_jax.io.label_file import read_image, read_pixel_size
from wsis_jax.io.pairing import pair_by_name
from wsis_jax.io.paths import named_images

GREY = np.random.default_rng(0).integers(100, 60_000, (40, 48)).astype(np.uint16)
STACK = np.random.default_rng(1).integers(100, 60_000, (6, 40, 48)).astype(np.uint16)
# Left red, right blue.
COLOURS = np.zeros((40, 48, 3), np.uint8)
COLOURS[:, :24], COLOURS[:, 24:] = (250, 10, 10), (10, 10, 250)


def names_of(path, **options) -> list[str]:
    with open_frames(path, **options) as frames:
        return frames.names


def touch(folder, *names) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_notes_and_tables_among_images_are_no_images(tmp_path):
    """A folder of images with notes, tables and Thumbs.db could not be opened as a stack.

    napari/napari#4805, also napari/napari#1969 and brainglobe/cellfinder-napari#88. Right at once.
    """
    touch(tmp_path, "a.tif", "b.TIFF", "notes.txt", "results.csv", "scope.xml", "Thumbs.db", "a.companion.ome")
    assert list(named_images(tmp_path).values()) == ["a", "b"]


def test_what_a_mac_puts_beside_images_is_no_image(tmp_path):
    """Files as ._image.tif, which macOS writes to disks of other systems, were read as images.

    scverse/spatialdata-io#260, of OME-TIFF. Right at once; in folders of folders, too.
    """
    touch(tmp_path, "a.ome.tif", "._a.ome.tif", "__MACOSX/._a.ome.tif", ".Trashes/b.tif")
    assert list(named_images(tmp_path).values()) == ["a"]
    assert list(named_images(tmp_path / "**" / "*").values()) == ["a"]


def test_brackets_in_the_name_of_a_folder_are_no_pattern(tmp_path, monkeypatch):
    """A folder called data[condition1] silently held no images, since its name was taken for a pattern.

    MouseLand/cellpose#1421. Right at once for a folder and a file; mended for a pattern in such a folder.
    """
    folder = tmp_path / "data[condition1]"
    touch(folder, "a[1].tif", "b.tif")
    assert list(named_images(folder).values()) == ["a[1]", "b"]
    assert list(named_images(folder / "a[1].tif").values()) == ["a[1]"]
    assert list(named_images(folder / "*.tif").values()) == ["a[1]", "b"]
    monkeypatch.chdir(tmp_path)
    assert list(named_images("data[condition1]/b*").values()) == ["b"]


def test_masks_of_cellpose_beside_their_images_are_no_images(tmp_path):
    """Cellpose writes a_cp_masks.png and a_flows.tif beside a.tif, where its own window did not find them again.

    MouseLand/cellpose#1421, too. They were taken for images here; mended. Without the image they are images.
    """
    touch(
        tmp_path, "a.tif", "a_cp_masks.png", "a_flows.tif", "a_cp_output.png", "well/b.png", "well/b_cp_masks.tif"
    )
    assert list(named_images(tmp_path).values()) == ["a", "well/b"]
    touch(tmp_path, "alone/c_cp_masks.png")
    assert list(named_images(tmp_path / "alone").values()) == ["c_cp_masks"]


def test_dots_in_names_of_files_and_folders_are_kept(tmp_path):
    """Images called a.1.tif and a.2.tif got the same results, and folders with a dot in their name were not read.

    SchmollerLab/Cell_ACDC#164, quantixed/imagej-macros#15. Right at once.
    """
    touch(tmp_path, "P8 and P.End/a.1.tif", "P8 and P.End/a.2.tif")
    found = named_images(tmp_path)
    assert list(found.values()) == ["P8 and P.End/a.1", "P8 and P.End/a.2"]
    touch(tmp_path, "a.2.csv", "a.csv")
    pairs, _, left = pair_by_name(found, [tmp_path / "a.2.csv", tmp_path / "a.csv"])
    assert [(image.name, points.name) for image, points in pairs] == [("a.2.tif", "a.2.csv")]
    assert list(left.values()) == ["a"]


def test_times_channels_and_planes_of_an_ome_tiff_are_told_apart(tmp_path):
    """An OME-TIFF of 1 time, 3 channels and 4 planes was read as 397 planes of 4 by 3 pixels.

    MouseLand/cellpose#1255. Right at once.
    """
    values = np.random.default_rng(2).integers(0, 60_000, (1, 3, 4, 40, 48)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.ome.tif", values, metadata={"axes": "TCZYX"})
    with open_frames(tmp_path / "a.ome.tif", channel=2) as frames:
        assert frames.names == [f"a_{plane:04d}" for plane in range(4)]
        assert frames.shapes == [(40, 48)] * 4
        for plane in range(4):
            np.testing.assert_array_equal(frames.values(plane), values[0, 2, plane])
            np.testing.assert_array_equal(frames.source(plane).read().channels, values[0, :, plane])


def test_planes_that_imagej_was_told_are_channels_can_be_named(tmp_path):
    """A stack of 57 planes was saved for ImageJ as 57 channels.

    cgohlke/tifffile#50. Right at once: it asks, and --axes names them.
    """
    tifffile.imwrite(tmp_path / "a.tif", STACK, imagej=True, metadata={"axes": "CYX"})
    with pytest.raises(
        UserError, match=r"a\.tif: has 6 channels; choose one.*or, if a TIFF calls frames channels"
    ):
        read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif", axes="ZYX"), STACK)


def test_a_stack_of_imagej_above_4_gb_has_one_page_in_its_list(tmp_path):
    """Of ImageJ's stacks above 4 GB, which list their first page alone, other programs read only that.

    MouseLand/suite2p#135. Right at once. Here a small file is cut in the same way.
    """
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK, imagej=True, metadata={"axes": "TYX"})
    with tifffile.TiffFile(path) as tiff:
        end_of_first = tiff.pages.first.offset + 2 + 12 * len(tiff.pages.first.tags)
    content = bytearray(path.read_bytes())
    assert any(content[end_of_first : end_of_first + 4])
    content[end_of_first : end_of_first + 4] = bytes(4)  # there is no next page
    path.write_bytes(content)
    np.testing.assert_array_equal(read_image(path), STACK)


def test_four_samples_of_a_pixel_are_channels(tmp_path):
    """A TIFF of four channels of 16 bits, pixel by pixel, was read as one channel.

    ome/bioformats#3363. Here it became the luminance of three, and of two channels the first; mended: it asks
    which. What is tagged as colours or alpha, or has 8 bits as many colours do, stays that.
    """
    four = np.stack([GREY, GREY // 2, GREY // 3, GREY // 4], axis=-1)
    for count in (2, 4):
        path = tmp_path / f"{count}.tif"
        tifffile.imwrite(path, four[..., :count], photometric="minisblack", planarconfig="contig")
        with pytest.raises(UserError, match=f"has {count} channels; choose one"):
            read_image(path)
        with open_frames(path, channel=count - 1) as frames:
            np.testing.assert_array_equal(frames.values(0), four[..., count - 1])
            np.testing.assert_array_equal(frames.source(0).read().channels, np.moveaxis(four[..., :count], -1, 0))
    same = {"planarconfig": "contig", "photometric": "minisblack"}
    tifffile.imwrite(tmp_path / "alpha.tif", four[..., :2], extrasamples=["unassalpha"], **same)
    np.testing.assert_array_equal(read_image(tmp_path / "alpha.tif")[0], GREY)
    tifffile.imwrite(tmp_path / "bytes.tif", COLOURS, **same)
    np.testing.assert_array_equal(read_image(tmp_path / "bytes.tif", channel="colours")[0], COLOURS)


def test_the_resolution_of_a_screen_is_no_size_of_a_pixel(tmp_path):
    """A TIFF with 72 dots an inch was said to have pixels of 352 µm.

    ome/bioformats#3535. Right at once for plain TIFF; mended for those that ImageJ saved in inches.
    """
    tifffile.imwrite(tmp_path / "a.tif", GREY, resolution=(72, 72), resolutionunit="INCH", metadata=None)
    tifffile.imwrite(tmp_path / "b.tif", GREY, resolution=(72, 72), imagej=True, metadata={"unit": "inch"})
    tifffile.imwrite(tmp_path / "c.tif", GREY, resolution=(4, 4), imagej=True, metadata={"unit": "micron"})
    assert [read_pixel_size(tmp_path / f"{name}.tif") for name in "abc"] == [None, None, 0.25]


def test_inks_are_colours(tmp_path):
    """JPEG and TIFF in CMYK were refused, or shown in wrong colours.

    ome/bioformats#1828. JPEG was right at once; in TIFF cyan became red, and black was lost: mended. Lab is
    refused.
    """
    inks = np.zeros((2, 2, 4), np.uint8)  # white, cyan; half black, magenta under black
    inks[0, 1, 0], inks[1, 0, 3], inks[1, 1, 1:4:2] = 255, 128, 255
    tifffile.imwrite(tmp_path / "inks.tif", inks, photometric="separated", metadata=None)
    np.testing.assert_array_equal(
        read_image(tmp_path / "inks.tif", channel="colours")[0],
        [[[255, 255, 255], [0, 255, 255]], [[127, 127, 127], [0, 0, 0]]],
    )
    for name, mode in (("a.jpg", "CMYK"), ("a.tif", "CMYK")):
        Image.fromarray(COLOURS).convert(mode).save(tmp_path / name)
        found = read_image(tmp_path / name, channel="colours")[0]
        assert np.abs(found[5:-5, 5:15] - COLOURS[5:-5, 5:15]).max() <= 3
    Image.fromarray(COLOURS).convert("LAB").save(tmp_path / "lab.tif")
    with pytest.raises(UserError, match=r"lab\.tif: its colours are CIELab, which is not read; save it as RGB"):
        read_image(tmp_path / "lab.tif")


def test_ycbcr_without_jpeg_is_converted(tmp_path):
    """TIFF of the colours YCbCr were shown pink and green.

    ome/bioformats#3711, python-pillow/Pillow#1270. Right at once for JPEG in a TIFF; mended for plain ones.
    """
    Image.fromarray(COLOURS).convert("YCbCr").save(tmp_path / "plain.tif")
    Image.fromarray(COLOURS).save(tmp_path / "jpeg.tif", compression="jpeg", quality=95)
    for name in ("plain", "jpeg"):
        found = read_image(tmp_path / f"{name}.tif", channel="colours")[0]
        assert np.abs(found[:, 4:20] - COLOURS[:, 4:20]).max() <= 3
        assert np.abs(found[:, 28:44] - COLOURS[:, 28:44]).max() <= 3


@pytest.mark.parametrize("first", [True, False])
def test_thumbnails_and_masks_in_a_tiff_are_no_images(tmp_path, first):
    """Thumbnails and pictures of the label of a slide appear as images of their own.

    ome/bioformats#3704. They were segmented here; mended, where the file says that a page is a reduced one.
    """
    pages = [(GREY, 0), (GREY[:30, :30], 1), (GREY[:20] > 30_000, 4)]
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for values, kind in pages if first else pages[::-1]:
            writer.write(values, subfiletype=kind, metadata=None)
    assert names_of(tmp_path / "a.tif") == ["a"]
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), GREY[None])


def test_a_renamed_ome_tiff_is_read_itself(tmp_path):
    """An OME-TIFF that was renamed could not be read, since its description has its old name.

    ome/bioformats#1670. Right at once; and another file of the old name is not read in its place.
    """
    tifffile.imwrite(tmp_path / "old.ome.tif", STACK, metadata={"axes": "ZYX"})
    (tmp_path / "old.ome.tif").rename(tmp_path / "new.ome.tif")
    for _ in range(2):
        assert names_of(tmp_path / "new.ome.tif") == [f"new_{plane:04d}" for plane in range(6)]
        np.testing.assert_array_equal(read_image(tmp_path / "new.ome.tif"), STACK)
        tifffile.imwrite(tmp_path / "old.ome.tif", STACK[::-1], metadata={"axes": "ZYX"})


def test_a_description_in_another_file_tells_of_channels(tmp_path):
    """Without its metadata.companion file, an OME-TIFF opens as one channel and no planes.

    imagej/ImageJ#268. Each channel was segmented as a frame; mended where that file is there and tells of several
    channels: it asks for --axes. Planes of one channel are frames, as they were.
    """
    space, path = 'xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"', tmp_path / "a.ome.tif"
    xml = f'<OME {space} UUID="urn:uuid:1"><BinaryOnly MetadataFile="a.companion.ome" UUID="urn:uuid:2"/></OME>'
    tifffile.imwrite(path, STACK[:2], description=xml, metadata=None, photometric="minisblack")

    def describe(axis: str) -> None:
        planes = "".join(
            f'<TiffData First{axis}="{n}" IFD="{n}"><UUID FileName="a.ome.tif">urn:uuid:1</UUID></TiffData>'
            for n in range(2)
        )
        (tmp_path / "a.companion.ome").write_text(f"<OME {space}><Image><Pixels>{planes}</Pixels></Image></OME>")

    np.testing.assert_array_equal(read_image(path), STACK[:2])
    describe("Z")
    np.testing.assert_array_equal(read_image(path), STACK[:2])
    describe("C")
    with pytest.raises(
        UserError, match=r"a\.ome\.tif: its pages are of 2 channels, as a\.companion\.ome tells; name"
    ):
        read_image(path)
    np.testing.assert_array_equal(read_image(path, axes="CYX", channel=1), STACK[1:2])
