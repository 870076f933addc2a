"""ROIs of ImageJ: points as they are, areas by their centroids, frames by their positions."""

import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
from roifile import ROI_OPTIONS, ROI_SUBTYPE, ROI_TYPE, ImagejRoi

from tests.output.odd_labels import ODD
from wsis_jax.core.errors import UserError
from wsis_jax.io.image_file import open_frames
from wsis_jax.io.point_file import named_points, points_of_frames, read_points
from wsis_jax.metrics import centroids
from wsis_jax.output.formats.imagej import write_rois

FINE = ROI_OPTIONS.SUB_PIXEL_RESOLUTION


def listed(corners, kind=ROI_TYPE.POINT, *, places: dict[str, int] | None = None, **attributes) -> ImagejRoi:
    """A ROI that lists (x, y), in a place of a stack."""
    roi = ImagejRoi.frompoints(np.array(corners))
    roi.roitype, roi.name = kind, attributes.pop("name", "a")
    for key, value in {**attributes, **(places or {})}.items():
        setattr(roi, key, value)
    return roi


def boxed(kind, left, top, right, bottom, **attributes) -> ImagejRoi:
    """A rectangle or an oval."""
    roi = ImagejRoi(roitype=kind, left=left, top=top, right=right, bottom=bottom, name="a")
    for key, value in attributes.items():
        setattr(roi, key, value)
    return roi


def write(path: Path, *rois: ImagejRoi) -> Path:
    """Writes ROIs as the ROI manager does: one as `.roi`, several as `.zip`."""
    if path.suffix == ".roi":
        path.write_bytes(rois[0].tobytes())
    else:
        with zipfile.ZipFile(path, "w") as archive:
            for number, roi in enumerate(rois):
                archive.writestr(f"{number:04d}.roi", roi.tobytes())
    return path


def read(path: Path, **arguments) -> dict[int, list[list[float]]]:
    return {frame: own.tolist() for frame, own in read_points(path, **arguments).items()}


def test_points_are_where_they_are(tmp_path):
    assert read(write(tmp_path / "a.roi", listed([(20, 10)]))) == {0: [[10, 20]]}
    assert read(write(tmp_path / "a.roi", listed([(20, 10), (40, 30), (5, 60)]))) == {
        0: [[10, 20], [30, 40], [60, 5]]
    }
    assert read(write(tmp_path / "a.roi", listed([(20.25, 10.5), (40.0, 30.75)]))) == {
        0: [[10.5, 20.25], [30.75, 40]]
    }
    several = write(tmp_path / "a.zip", listed([(20, 10)]), listed([(40, 30), (5, 60)]))
    assert read(several) == {0: [[10, 20], [30, 40], [60, 5]]}


@pytest.mark.parametrize(
    ("roi", "centre"),
    [
        # Rows 2 and 3, columns 4 to 8: the middle of these pixels
        (boxed(ROI_TYPE.RECT, 4, 2, 9, 4), [2.5, 6]),
        (boxed(ROI_TYPE.OVAL, 4, 2, 9, 4), [2.5, 6]),
        (listed([(4, 2), (9, 2), (9, 4), (4, 4)], ROI_TYPE.POLYGON), [2.5, 6]),
        (listed([(4.0, 2.0), (9.0, 2.0), (9.0, 4.0), (4.0, 4.0)], ROI_TYPE.FREEHAND), [2.5, 6]),
        (listed([(4, 2), (4, 4), (9, 4), (9, 2)], ROI_TYPE.TRACED), [2.5, 6]),
        (
            listed([(4, 2), (9, 2), (9, 4), (4, 4)], ROI_TYPE.FREEHAND, subtype=ROI_SUBTYPE.ROTATED_RECT),
            [2.5, 6],
        ),
        (
            boxed(
                ROI_TYPE.OVAL,
                4,
                2,
                9,
                4,
                options=ROI_OPTIONS.SUB_PIXEL_RESOLUTION,
                xd=4.5,
                yd=2.0,
                widthd=5.0,
                heightd=2.5,
            ),
            [2.75, 6.5],
        ),
        # More corners on one side do not pull it there
        (listed([(0, 0), (4, 0), (8, 0), (8, 4), (0, 4)], ROI_TYPE.POLYGON), [1.5, 3.5]),
    ],
)
def test_areas_count_by_the_centroid_of_their_pixels(tmp_path, roi, centre):
    ((point,),) = read(write(tmp_path / "a.roi", roi)).values()
    assert point == pytest.approx(centre)


@pytest.mark.parametrize("name", ["odd", "full", "noise"])
@pytest.mark.filterwarnings("ignore:.*lies in several parts")
def test_written_cells_come_back_as_their_centroids(tmp_path, name):
    """Holes and parts included; the file of no cell holds no point."""
    write_rois(tmp_path / "a_rois.zip", ODD[name])
    np.testing.assert_allclose(read_points(tmp_path / "a_rois.zip")[0], centroids(ODD[name]), atol=1e-9)
    write_rois(tmp_path / "none.zip", np.zeros_like(ODD[name]))
    assert read(tmp_path / "none.zip") == {0: []}


def test_a_roi_of_several_parts_is_told(tmp_path):
    labels = np.zeros((9, 9), np.int32)
    labels[1:3, 1:3] = labels[6:8, 6:8] = 1
    labels[1:8, 4] = 2
    write_rois(tmp_path / "a.zip", labels)
    with pytest.warns(UserWarning, match="the ROI 1 lies in several parts and counts as one cell; .* Split"):
        assert read(tmp_path / "a.zip") == {0: [[4, 4], [4, 4]]}


def test_a_curve_of_a_path_is_close_enough(tmp_path):
    # A circle of radius 10 around (20, 30), as Java draws it: four cubic curves
    k, x, y, r = 5.5228, 30.0, 20.0, 10.0
    path = [0, x + r, y, 3, x + r, y + k, x + k, y + r, x, y + r, 3, x - k, y + r, x - r, y + k, x - r, y]
    path += [3, x - r, y - k, x - k, y - r, x, y - r, 3, x + k, y - r, x + r, y - k, x + r, y, 4]
    roi = boxed(
        ROI_TYPE.RECT, 20, 10, 40, 30, multi_coordinates=np.array(path, np.float32), shape_roi_size=len(path)
    )
    ((point,),) = read(write(tmp_path / "a.roi", roi)).values()
    assert point == pytest.approx([19.5, 29.5], abs=0.1)


@pytest.mark.parametrize("kind", [ROI_TYPE.LINE, ROI_TYPE.POLYLINE, ROI_TYPE.FREELINE, ROI_TYPE.ANGLE])
def test_lines_mark_no_cell(tmp_path, kind):
    path = write(tmp_path / "a.zip", listed([(4, 2)]), listed([(4, 2), (9, 2), (9, 4)], kind))
    called = rf"\(but of the kind {kind.name.lower()}\), so it marks no cell; delete it"
    with pytest.raises(UserError, match=rf"a\.zip: the ROI 0001 is neither points nor an area {called}"):
        read_points(path)


def test_a_text_marks_no_cell(tmp_path):
    text = boxed(ROI_TYPE.RECT, 4, 2, 9, 4, subtype=ROI_SUBTYPE.TEXT, text="here", text_name="Sans", text_size=9)
    with pytest.raises(UserError, match=r"but of the kind text"):
        read_points(write(tmp_path / "a.roi", text))


def test_what_archives_hold_besides(tmp_path):
    """Notes of macOS, folders and other files are left out; two ROIs of one name are two."""
    one, other = listed([(20, 10)]), listed([(40, 30)])
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("set/a.roi", one.tobytes())
        archive.writestr("__MACOSX/set/._a.roi", b"\0\5\x16\7 of the Finder")
        archive.writestr("read me.txt", "about")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("set/a.roi", other.tobytes())
    assert read(tmp_path / "a.zip") == {0: [[10, 20], [30, 40]]}


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.roi", b"", r"the ROIs are damaged \(ImageJ ROI data too short"),
        ("a.roi", b"x,y\n" + bytes(90), r"the ROIs are damaged \(not an ImageJ ROI"),
        ("a.roi", listed([(20, 10), (40, 30)]).tobytes()[:66], "the ROIs are damaged"),
        ("a.zip", b"PK\3\4" + bytes(90), r"the ROIs are damaged \(File is not a zip file"),
        ("a.zip", b"nothing", "this is not a text file|is not understood"),
    ],
)
def test_damaged_files(tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name}: .*{sentence}"):
        read_points(tmp_path / name)


def test_a_zip_of_other_things_is_refused_if_given_and_left_out_of_a_folder(tmp_path):
    with zipfile.ZipFile(tmp_path / "backup.zip", "w") as archive:
        archive.writestr("a.txt", "about")
    with pytest.raises(UserError, match=r"backup\.zip: this is a ZIP file without ROIs of ImageJ; unpack it"):
        read_points(tmp_path / "backup.zip")
    with pytest.raises(UserError, match="holds ZIP files without ROIs of ImageJ, and no points"):
        named_points(tmp_path)
    roi = write(tmp_path / "b.roi", listed([(20, 10)]))
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    assert list(named_points(tmp_path)) == [tmp_path / "a.csv", roi]
    write(tmp_path / "a.zip", listed([(20, 10)]))
    with pytest.warns(UserWarning, match=r"a\.zip: left out, since .*a\.csv has points of that name; remove one"):
        assert list(named_points(tmp_path)) == [tmp_path / "a.csv", roi]
    assert list(named_points(tmp_path / "a.zip")) == [tmp_path / "a.zip"]


def test_without_roifile_its_installation_is_told(tmp_path, monkeypatch):
    path = write(tmp_path / "a.roi", listed([(20, 10)]))
    monkeypatch.setitem(sys.modules, "roifile", None)
    with pytest.raises(UserError, match=r"a\.roi: .* need roifile; .*: pip install 'wsis-jax\[imagej\]'"):
        read_points(path)


# Positions in a stack, which count from 1

POINTS = [(20, 10)], [(40, 30)]
FRAMES = {0: [[10, 20]], 2: [[30, 40]]}


@pytest.mark.parametrize(
    ("first", "second", "planes"),
    [
        ({"position": 1}, {"position": 3}, {"T": 3}),
        ({"position": 1}, {"position": 3}, {"Z": 3}),
        ({"position": 1}, {"position": 3}, {"Q": 3}),
        ({"position": 2}, {"position": 5}, {"T": 3, "C": 2}),  # channel 2 of time 1, channel 1 of time 3
        ({"t_position": 1}, {"t_position": 3}, {"T": 3}),
        ({"z_position": 1}, {"z_position": 3}, {"Z": 3}),
        ({"c_position": 2, "t_position": 1}, {"c_position": 1, "t_position": 3}, {"T": 3, "C": 2}),
        (
            {"c_position": 1, "z_position": 1, "t_position": 1},
            {"c_position": 1, "z_position": 1, "t_position": 3},
            None,
        ),
        ({"z_position": 1, "t_position": 1}, {"z_position": 3, "t_position": 1}, None),
        ({"z_position": 1}, {"z_position": 3}, {"T": 3}),  # ImageJ takes unnamed axes for slices
    ],
)
def test_positions_are_frames(tmp_path, first, second, planes):
    path = write(
        tmp_path / "a.zip", *(listed(own, places=at) for own, at in zip(POINTS, (first, second), strict=True))
    )
    assert read(path, planes=planes) == FRAMES


@pytest.mark.parametrize(
    ("planes", "places", "frame"),
    [
        ({"T": 4, "Z": 5}, {"t_position": 3, "z_position": 2}, 2 * 5 + 1),
        ({"Z": 5, "T": 4}, {"t_position": 3, "z_position": 2}, 1 * 4 + 2),
        ({"T": 4, "Z": 5, "C": 2}, {"position": (2 * 5 + 1) * 2 + 2}, 2 * 5 + 1),
        ({"T": 4}, {"t_position": 3, "z_position": 2}, 2),
        ({"C": 3}, {"position": 3}, 0),
        ({"C": 3}, {"c_position": 3}, 0),
        ({}, {"t_position": 7, "z_position": 2}, 0),  # of an image that was cut out of a stack
        ({"T": 4}, {}, 0),
    ],
)
def test_a_position_is_that_of_the_image(tmp_path, planes, places, frame):
    path = write(tmp_path / "a.roi", listed([(20, 10)], places=places))
    assert read(path, planes=planes) == {frame: [[10, 20]]}


def test_each_point_of_a_multi_point_has_its_plane(tmp_path):
    roi = listed([(20, 10), (40, 30), (5, 60)], position=1)
    roi.counters, roi.counter_positions = np.array([0, 0, 0], np.uint8), np.array([1, 3, 1], np.uint32)
    path = write(tmp_path / "a.roi", roi)
    assert read(path, planes={"T": 3}) == {0: [[10, 20], [60, 5]], 2: [[30, 40]]}
    assert read(path, planes={"C": 3}) == {0: [[10, 20], [30, 40], [60, 5]]}
    with pytest.warns(UserWarning, match="positions in the stack were taken for frames, as they are of an image"):
        assert read(path) == {0: [[10, 20], [60, 5]], 2: [[30, 40]]}


@pytest.mark.parametrize(
    ("first", "second", "planes", "sentence"),
    [
        (
            {"t_position": 1, "z_position": 2},
            {"t_position": 3, "z_position": 1},
            None,
            "both slice and time of the ROIs",
        ),
        ({"t_position": 1, "z_position": 2}, {"t_position": 3, "z_position": 1}, {"T": 3}, "both slice and time"),
        ({}, {"position": 3}, {"T": 3}, "some ROIs have a position in the stack and others none"),
        ({"t_position": 3}, {"position": 3}, {"T": 3}, "or one of another kind; give all one, or none"),
        (
            {"t_position": 2},
            {"t_position": 3},
            {"T": 3, "Z": 2},
            "in no slice, or in no time, of the 2",
        ),
        ({"t_position": 2, "z_position": 3}, {"t_position": 3, "z_position": 3}, {"T": 3, "Z": 2}, "in no slice"),
    ],
)
def test_positions_that_could_mean_two_things_are_refused(tmp_path, first, second, planes, sentence):
    path = write(
        tmp_path / "a.zip", *(listed(own, places=at) for own, at in zip(POINTS, (first, second), strict=True))
    )
    with pytest.raises(UserError, match=rf"a\.zip: .*{sentence}"):
        read_points(path, planes=planes)


@pytest.mark.parametrize(
    ("shape", "axes", "channel", "planes"),
    [
        ((5, 2, 8, 9), "TCYX", 1, {"T": 5, "C": 2}),
        ((3, 8, 9), "ZYX", None, {"Z": 3}),
        ((8, 9), "YX", None, {}),
    ],
)
def test_an_image_tells_its_planes(tmp_path, shape, axes, channel, planes):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros(shape, np.uint8), imagej=True, metadata={"axes": axes})
    with open_frames(tmp_path / "a.tif", channel=channel) as frames:
        assert frames.planes == planes


def test_pages_without_a_name_are_channels_if_one_is_chosen(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, 8, 9), np.uint8), photometric="minisblack")
    with open_frames(tmp_path / "a.tif", channel=1) as frames:
        assert frames.planes == {"C": 3}


def test_a_position_beyond_the_image_is_refused(tmp_path):
    path = write(tmp_path / "a.zip", listed([(2, 1)], position=1), listed([(2, 1)], position=9))
    with pytest.raises(UserError, match=r"has points in frame 8, but a\.tif has 3 frame\(s\), counted from 0"):
        points_of_frames(path, 3, image=Path("a.tif"), planes={"T": 3})
