"""Points, ROIs, tables and label images that users of other programs reported as read wrongly, tried here.

Each test names its source as owner/name#number, what was reported, and whether it was right at once or mended. Of
fourteen, three were right at once and eleven were mended.
"""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
from roifile import ROI_TYPE, ImagejRoi

from wsis_jax.core import UserError
from wsis_jax.io import read_labels, read_points
from wsis_jax.output.formats.imagej import write_rois
from wsis_jax.synthetic import draw_scene
from wsis_jax.training.data import read_training_set


def roi_file(path: Path, corners: list[tuple[float, float]], kind: ROI_TYPE) -> Path:
    """Writes a ROI that lists (x, y)."""
    roi = ImagejRoi.frompoints(np.array(corners))
    roi.roitype = kind
    path.write_bytes(roi.tobytes())
    return path


def table(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


# Tables


def test_centroids_of_qupath(tmp_path):
    """qupath/qupath#214: centroids differ between a script and the table, which is in micrometres.

    Mended: the header was not understood. Its unit is in the name of the column.
    """
    text = "Image\tObject type\tCentroid X {unit}\tCentroid Y {unit}\na.svs\tDetection\t50\t25\n"
    path = table(tmp_path / "a.tsv", text.format(unit="µm"))
    assert read_points(path, pixel_size=0.25)[0].tolist() == [[100, 200]]
    with pytest.raises(UserError, match="the points are in micrometres, but the size of a pixel is not"):
        read_points(path)
    assert read_points(table(tmp_path / "b.tsv", text.format(unit="px")))[0].tolist() == [[25, 50]]


def test_centroids_of_scikit_image(tmp_path):
    """BodenmillerGroup/imcRtools#39: centroid-0 and centroid-1 of regionprops were taken for x and y.

    Mended: the header was not understood. They are row and column.
    """
    path = table(tmp_path / "a.csv", "label,area,centroid-0,centroid-1\n1,80,10,20.5\n2,75,30,40\n")
    assert read_points(path)[0].tolist() == [[10, 20.5], [30, 40]]


def test_centres_of_cellprofiler(tmp_path):
    """CellProfiler/CellProfiler#3352: of 3D images AreaShape_Center and Location_Center had X and Y swapped.

    Mended: the header was not understood. Location_Center is taken, the centre of mass, and of both in a table it
    is the first. A table of several images, as CellProfiler writes it, is refused: one image would get them all.
    """
    header = "ImageNumber,ObjectNumber,AreaShape_Center_X,AreaShape_Center_Y,Location_Center_X,Location_Center_Y\n"
    path = table(tmp_path / "a.csv", f"{header}1,1,10,20,20.5,10\n")
    assert read_points(path)[0].tolist() == [[10, 20.5]]
    with pytest.raises(UserError, match="holds the points of 2 images by its column ImageNumber; save those"):
        read_points(table(tmp_path / "b.csv", f"{header}1,1,10,20,20,10\n2,1,10,20,20,10\n"))


def test_boxes_of_make_sense(tmp_path):
    """SkalskiP/make-sense#253: a table without a header had other values than the points that were clicked.

    They are x and y of the top left corner, width and height of boxes. Right at once without a header, which is
    refused; mended with one: the corners were taken for cells, and now there is a warning.
    """
    rows = "nucleus,5,10,135,30,a.tif,400,300\n"
    with pytest.raises(UserError, match=r"the header `nucleus,5,10,135,30,a\.tif,400,300` is not understood"):
        read_points(table(tmp_path / "a.csv", rows))
    path = table(tmp_path / "b.csv", f"label_name,x,y,width,height,image_name,image_width,image_height\n{rows}")
    with pytest.warns(UserWarning, match="so x and y may be corners of boxes; if they are, give the centres"):
        read_points(path)


def test_points_of_a_layer_without_the_scale_of_its_image(tmp_path):
    """napari/napari#8353: Points.csv has wrong numbers, since the layers of image and points have other scales.

    Right at once: what was clicked in micrometres fits the image much better so, and is asked about.
    """
    scene = draw_scene(0, shape=(200, 240), cells=30, diameter=22.0)
    scale = {"imagej": True, "resolution": (2, 2), "metadata": {"unit": "um"}}
    tifffile.imwrite(tmp_path / "a.tif", scene.image, **scale)
    rows = "".join(f"{i},{row / 2},{column / 2}\n" for i, (row, column) in enumerate(scene.points))
    path = table(tmp_path / "a.csv", f"index,axis-0,axis-1\n{rows}")
    with pytest.raises(UserError, match=r"the points look as if they were in micrometres, at the 0\.5 µm"):
        read_training_set(tmp_path / "a.tif", path)
    data = read_training_set(tmp_path / "a.tif", path, points_in="um")
    np.testing.assert_allclose(data.points[0], scene.points)


# ROIs of ImageJ: all were refused as no text


def test_polygons_and_points_differ_by_half_a_pixel(tmp_path):
    """imagej/ImageJ#182: coordinates of polygons and of points differ by half a pixel, intentionally.

    Mended: areas are measured from the corner of the first pixel, points from its centre.
    """
    corners = [(4, 2), (9, 2), (9, 7), (4, 7)]  # around the pixels of rows 2 to 6 and columns 4 to 8
    assert read_points(roi_file(tmp_path / "a.roi", corners, ROI_TYPE.POLYGON))[0].tolist() == [[4, 6]]
    assert read_points(roi_file(tmp_path / "b.roi", [(6, 4)], ROI_TYPE.POINT))[0].tolist() == [[4, 6]]


def test_coordinates_of_a_slide(tmp_path):
    """hadim/read-roi#7: of images of 10,000 pixels, some coordinates came out 60,000 too small.

    Mended: whole numbers above 32,767 are stored as negative ones.
    """
    corners = [(40_000, 50_000), (40_010, 50_000), (40_010, 50_020), (40_000, 50_020)]
    path = roi_file(tmp_path / "a.roi", corners, ROI_TYPE.POLYGON)
    assert read_points(path)[0].tolist() == [[50_009.5, 40_004.5]]
    path = roi_file(tmp_path / "b.roi", [(40_000, 50_000), (1, 2)], ROI_TYPE.POINT)
    assert read_points(path)[0].tolist() == [[50_000, 40_000], [2, 1]]


def test_a_composite_is_not_its_box(tmp_path):
    """hadim/read-roi#9: a composite came out as the rectangle around its parts.

    Mended: it is the centroid of its pixels, holes left out.
    """
    labels = np.zeros((12, 12), np.int32)
    labels[1:3, 1:11] = labels[1:11, 1:3] = labels[5:7, 1:6] = 1
    labels[1:7, 1:6] = 1
    labels[3:5, 3:4] = 0
    write_rois(tmp_path / "a.zip", labels)
    ((point,),) = (own.tolist() for own in read_points(tmp_path / "a.zip").values())
    assert point == pytest.approx([places.mean() for places in np.nonzero(labels)])


def test_ovals_and_rectangles_in_one_set(tmp_path):
    """kushalkolar/MESmerize#63: of a set of ROIs, ovals and rectangles were not read, since they list no corners.

    Mended: they count by the middle of their box.
    """
    with zipfile.ZipFile(tmp_path / "RoiSet.zip", "w") as archive:
        for kind in (ROI_TYPE.OVAL, ROI_TYPE.RECT):
            archive.writestr(f"{kind}.roi", ImagejRoi(roitype=kind, left=4, top=2, right=9, bottom=7).tobytes())
    assert read_points(tmp_path / "RoiSet.zip")[0].tolist() == [[4, 6], [4, 6]]


def test_points_of_a_stack_keep_their_slice(tmp_path):
    """qupath/qupath#526: all points clicked in a stack or film ended up in slice 0.

    Mended: each point of a multi-point ROI has a plane of its own.
    """
    roi = ImagejRoi.frompoints(np.array([(20, 10), (40, 30)]))
    roi.roitype, roi.counters = ROI_TYPE.POINT, np.zeros(2, np.uint8)
    roi.counter_positions = np.array([1, 3], np.uint32)
    (tmp_path / "a.roi").write_bytes(roi.tobytes())
    frames = read_points(tmp_path / "a.roi", planes={"Z": 3})
    assert {frame: own.tolist() for frame, own in frames.items()} == {0: [[10, 20]], 2: [[30, 40]]}


def test_planes_of_a_film_with_channels(tmp_path):
    """ome/openmicroscopy#4045: ROIs of stacks that are not hyperstacks came to wrong times (C=3, Z=1, T=5).

    Mended: ImageJ counts planes through channels, slices and times; those of the image tell the time.
    """
    film = np.random.default_rng(0).integers(0, 200, (5, 3, 20, 30)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", film, imagej=True, metadata={"axes": "TCYX"})
    roi = ImagejRoi.frompoints(np.array([(20, 10)]))
    roi.roitype, roi.position = ROI_TYPE.POINT, 8  # the second channel of the third time
    (tmp_path / "a.roi").write_bytes(roi.tobytes())
    with pytest.warns(UserWarning, match="page 0 and 3 more are left out, since they have no points"):
        data = read_training_set(tmp_path / "a.tif", tmp_path / "a.roi", channel=1)
    np.testing.assert_array_equal(data.images, film[2:3, 1])
    assert data.points[0].tolist() == [[10, 20]]


# Label images


@pytest.mark.parametrize("how", ["wrapped", "clipped"])
def test_labels_that_stop_at_255(tmp_path, how):
    """MouseLand/cellpose#88 and #483: of more than 255 cells, some far apart have the same number.

    Mended: they were read without a word, as fewer cells in pieces; now there is a warning.
    """
    labels = np.zeros((100, 120), np.int64)
    for number in range(300):
        row, column = divmod(number, 20)
        labels[row * 6 : row * 6 + 4, column * 6 : column * 6 + 4] = number + 1
    narrow = labels % 256 if how == "wrapped" else labels.clip(max=255)
    tifffile.imwrite(tmp_path / "a.tif", narrow.astype(np.uint8))
    with pytest.warns(UserWarning, match="no label above 255, and its labels lie in .* again with 16 bits"):
        read_labels(tmp_path / "a.tif")
    tifffile.imwrite(tmp_path / "b.tif", labels.astype(np.uint16))
    assert read_labels(tmp_path / "b.tif").max() == 300
    tifffile.imwrite(tmp_path / "c.tif", np.where(labels > 255, 0, labels).astype(np.uint8))  # 255 cells in fact
    assert len(np.unique(read_labels(tmp_path / "c.tif"))) == 256


def test_labels_stored_as_floats(tmp_path):
    """mobie/mobie-viewer-fiji#1273: label images of 32 bits that ImageJ stores as floats are refused.

    Right at once: whole numbers are labels, whatever their type.
    """
    labels = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    tifffile.imwrite(tmp_path / "a.tif", labels, imagej=True)
    np.testing.assert_array_equal(read_labels(tmp_path / "a.tif"), labels)


def test_a_background_of_minus_one(tmp_path):
    """MouseLand/cellpose#283: labels of int32 with -1 for background became 65,535 when they were cast.

    Right at once: a negative label is refused.
    """
    tifffile.imwrite(tmp_path / "a.tif", np.array([[-1, -1, 0, 1]], np.int32))
    with pytest.raises(UserError, match=r"a label is negative \(-1\)"):
        read_labels(tmp_path / "a.tif")
