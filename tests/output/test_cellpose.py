"""Files as Cellpose writes them, read as its window and its users do."""

import numpy as np
import pytest
from PIL import Image
from skimage.draw import polygon
from skimage.segmentation import find_boundaries

from tests.output.odd_labels import ODD, many
from wsis_jax.io.label_file import read_labels
from wsis_jax.output.formats.cellpose import write_masks, write_outlines, write_seg
from wsis_jax.output.pictures import cell_colours


@pytest.mark.parametrize("name", ODD)
def test_masks_are_a_png_of_16_bits(name, tmp_path):
    path = write_masks(tmp_path / "new" / "a.b_cp_masks.png", ODD[name])
    assert path == tmp_path / "new" / "a.b_cp_masks.png"
    with Image.open(path) as picture:
        assert picture.mode == "I;16"
        np.testing.assert_array_equal(np.asarray(picture), ODD[name])
    np.testing.assert_array_equal(read_labels(path), ODD[name])


def test_the_last_label_that_a_png_holds(tmp_path):
    labels = np.array([[0, 65_535]])
    assert write_masks(tmp_path / "a_cp_masks.png", labels).suffix == ".png"
    np.testing.assert_array_equal(read_labels(tmp_path / "a_cp_masks.png"), labels)


def test_masks_of_more_cells_are_a_tiff(tmp_path):
    path = write_masks(tmp_path / "a_cp_masks.png", many())
    assert path == tmp_path / "a_cp_masks.tif"
    np.testing.assert_array_equal(read_labels(path), many())


def load_seg(path, shape):
    """What the window of Cellpose asks of a `_seg.npy` (gui/io.py, _load_seg and _masks_to_gui), in that order."""
    dat = np.load(path, allow_pickle=True).item()
    assert not isinstance(dat["outlines"], list)  # that would be the old way of saving
    masks, outlines = dat["masks"], dat["outlines"]
    assert masks.dtype in (np.uint16, np.uint32)
    assert masks.shape == outlines.shape == dat["img"].shape == shape
    assert isinstance(dat["filename"], str)
    cells = int(masks.max())
    assert len(dat["colors"]) == len(dat["ismanual"]) == cells
    # The background's colour is put before the cells', and label l is drawn with row l.
    colours = np.concatenate((np.array([[255, 255, 255]]), dat["colors"]), axis=0).astype(np.uint8)
    assert colours.shape == (cells + 1, 3)
    assert all(isinstance(one, int) for one in dat["chan_choose"])
    if "est_diam" in dat:
        assert "%0.1f" % dat["est_diam"] != "nan"  # noqa: UP031 - as it is there
    with pytest.raises(AttributeError):
        _ = dat["flows"][0].shape  # which the window catches, and then makes no masks of flows
    assert len(dat["flows"]) == 5
    assert len(dat["flows"][0]) == 0
    assert dat["manual_changes"] == []
    return dat


@pytest.mark.parametrize("name", ODD)
def test_seg_is_what_the_window_loads(name, tmp_path):
    labels = ODD[name]
    image = np.random.default_rng(0).random(labels.shape).astype(np.float32)
    write_seg(tmp_path / "a_seg.npy", "a", image, labels, cell_colours(int(labels.max()))[1:])
    dat = load_seg(tmp_path / "a_seg.npy", labels.shape)
    np.testing.assert_array_equal(dat["masks"], labels)
    np.testing.assert_array_equal(dat["img"], image)
    np.testing.assert_array_equal(dat["outlines"] > 0, find_boundaries(labels, mode="inner", connectivity=1))
    np.testing.assert_array_equal(dat["outlines"][dat["outlines"] > 0], labels[dat["outlines"] > 0])


def test_seg_holds_more_cells_than_16_bits_count(tmp_path):
    labels = many()
    write_seg(tmp_path / "a_seg.npy", "a", np.zeros(labels.shape), labels, np.zeros((labels.max(), 3)))
    dat = load_seg(tmp_path / "a_seg.npy", labels.shape)
    assert dat["masks"].dtype == np.uint32
    np.testing.assert_array_equal(dat["masks"], labels)
    np.testing.assert_allclose(dat["est_diam"], 2 / np.sqrt(np.pi))


def test_outlines_filled_are_the_cells(tmp_path):
    labels = np.zeros((40, 50), np.int32)
    labels[3:20, 5:17] = 2
    labels[3:6, 5:9] = 0
    labels[25:39, 30:50] = 5
    labels[0, 0] = 9
    write_outlines(tmp_path / "a_outlines.txt", labels)
    # As Cellpose's macro for ImageJ reads them.
    lines = (tmp_path / "a_outlines.txt").read_text().splitlines()
    assert len(lines) == 3
    back = np.zeros_like(labels)
    for line, label in zip(lines, (2, 5, 9), strict=True):
        numbers = [int(number) for number in line.split(",")]
        columns, rows = np.array(numbers[::2]), np.array(numbers[1::2])
        back[polygon(rows, columns)] = label
        back[rows, columns] = label
    np.testing.assert_array_equal(back, labels)


def test_no_cells_are_no_lines(tmp_path):
    write_outlines(tmp_path / "a_outlines.txt", ODD["empty"])
    assert (tmp_path / "a_outlines.txt").read_text() == ""
