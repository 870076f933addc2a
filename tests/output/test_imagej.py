"""ROIs for ImageJ, read back by roifile: every cell's mask is its label, to the pixel."""

import numpy as np
import pytest
import roifile
import shapely

from tests.output.odd_labels import ODD
from wsis_jax.output.formats.imagej import write_rois


def mask_of(roi, shape):
    """The pixels whose centre is in a ROI, as ImageJ has it: rings of a composite cancel where they overlap."""
    columns, rows = np.meshgrid(np.arange(shape[1]) + 0.5, np.arange(shape[0]) + 0.5)
    mask = np.zeros(shape, bool)
    for ring in roi.coordinates(multi=True):
        mask ^= shapely.contains_xy(shapely.Polygon(ring), columns, rows)
    return mask


@pytest.mark.parametrize("name", ["odd", "full", "noise"])
def test_every_mask_is_its_label(name, tmp_path):
    labels = ODD[name]
    write_rois(tmp_path / "a_rois.zip", labels)
    rois = roifile.roiread(tmp_path / "a_rois.zip")
    assert [int(roi.name) for roi in rois] == np.unique(labels[labels > 0]).tolist()
    for roi in rois:
        mask = labels == int(roi.name)
        np.testing.assert_array_equal(mask_of(roi, labels.shape), mask)
        rows, columns = np.nonzero(mask)
        box = (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)
        assert (roi.top, roi.left, roi.bottom, roi.right) == box


def test_one_ring_is_a_polygon_and_several_are_a_composite(tmp_path):
    write_rois(tmp_path / "a_rois.zip", ODD["odd"])
    kinds = {int(roi.name): (roi.roitype.name, roi.composite) for roi in roifile.roiread(tmp_path / "a_rois.zip")}
    assert {kinds[label] for label in (4, 6, 8)} == {("POLYGON", False)}
    assert {kinds[label] for label in (1, 2, 7)} == {("RECT", True)}


def test_without_cells_the_zip_file_is_empty_and_valid(tmp_path):
    write_rois(tmp_path / "a_rois.zip", ODD["empty"])
    assert roifile.roiread(tmp_path / "a_rois.zip") == []


def test_the_same_cells_make_the_same_bytes(tmp_path):
    for name in "ab":
        write_rois(tmp_path / name, ODD["odd"])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
