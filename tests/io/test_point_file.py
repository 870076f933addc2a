"""Files of points: every table that is understood, every bad line in one sentence."""

import zipfile
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from wsis_jax.core.errors import UserError
from wsis_jax.core.geometry import area_centroid
from wsis_jax.io.point_file import PointFormat, check_points, moved_inside, named_points, read_points, write_points


def read(folder: Path, text: str, *, encoding: str = "utf-8") -> dict[int, list[list[float]]]:
    """Reads a table from a text; lists are easier to compare."""
    path = folder / "points.csv"
    path.write_bytes(text.encode(encoding))
    frames = read_points(path)
    assert all(points.dtype == np.float64 and points.shape[1:] == (2,) for points in frames.values())
    return {frame: points.tolist() for frame, points in frames.items()}


# Two points: row 10, column 20.5 and row 30, column 40.
@pytest.mark.parametrize(
    "text",
    [
        "index,axis-0,axis-1\n0,10.0,20.5\n1,30,40\n",
        "index,axis-0,axis-1,confidence,name\r\n0,1e1,20.5,0.9,a\r\n1,30,40,0.8,\r\n",
        " ,X,Y\n1,20.5,10\n2,40,30\n",
        " \tX\tY\n1\t20.5\t10\n2\t40\t30\n",
        "\tX\tY\n1\t20.5\t10\n2\t40\t30\n",
        ' ,Label,Area,Mean,X,Y\n1,"cell, the first",0,7,20.5,10\n2,b,0,NaN,40,30\n',
        "# frame, x, y\n000,20.5,010\n000,040,030\n",
        "#frame,x,y\n0,20.5,10\n0,40,30",
        "row,column\n10,20.5\n30,40\n",
        "Column;ROW\n20.5;10\n40;30\n",
        "y,x\n10,20.5\n30,40\n",
        "x, y\n20.5, 10\n40, 30\n",
        "c,r\n20.5,10\n40,30\n",
        "id\trow\tcol\n1\t10\t20.5\n2\t30\t40\n",
        "\ufeffrow,column\n10,20.5\n\n30,40\n  \n",
        '\n"row","column"\n"10","20.5"\n"30","40"\n',
        ",x,y,frame\n0,20.5,10,0\n1,40,30,0\n",
        # As other programs name the columns
        "label,area,centroid-0,centroid-1\n1,7,10,20.5\n2,8,30,40\n",  # scikit-image
        "ImageNumber,ObjectNumber,Location_Center_X,Location_Center_Y\n1,1,20.5,10\n1,2,40,30\n",  # CellProfiler
        "Image\tName\tCentroid X px\tCentroid Y px\na.tif\tcell\t20.5\t10\na.tif\tcell\t40\t30\n",  # QuPath
        " ,Area,XM,YM\n1,7,20.5,10\n2,8,40,30\n",
        # As programs of countries with decimal commas write tables
        "x;y\n20,5;10\n4,0e1;30,00\n",
        " \tX\tY\n1\t20,50\t10\n2\t40\t30\n",
        "sep=;\nx;y\n20,5;10\n40;30\n",
        '"sep=\t"\nx\ty\n20.5\t10\n40\t30\n',
        "x;y\n20,5;10\n;\n40;30\n ; \n;\n",
        "x,y\n20.5,10\n40,30\n,\n,\n",
        # What is the same for all points, and no number of a frame
        "x,y,z\n20.5,10,12.5\n40,30,12.5\n",
        "x,y,time\n20.5,10,-1\n40,30,-1\n",
        "index,axis-0,axis-1,axis-2,axis-3\n0,0,0,10,20.5\n1,0,0,30,40\n",
    ],
)
def test_every_table_of_one_image(tmp_path, text):
    assert read(tmp_path, text) == {0: [[10, 20.5], [30, 40]]}


TRACKMATE = (
    "LABEL,POSITION_X,POSITION_Y,QUALITY,POSITION_Z,POSITION_T,FRAME\nLabel,X,Y,Quality,Z,T,Frame\n"
    "Label,X,Y,Quality,Z,T,Frame\n,({unit}),({unit}),(quality),({unit}),(sec),\n{rows}"
)


# Frame 0: (1, 2) and (5, 6). Frame 2: (3, 4).
@pytest.mark.parametrize(
    "text",
    [
        "index,axis-0,axis-1,axis-2\n0,0.0,1,2\n1,2.0,3,4\n2,0.0,5,6\n",
        "# frame, x, y\n000,002,001\n002,004,003\n000,006,005\n",
        "Frame,row,column\n0,1,2\n2,3,4\n0,5,6\n",
        "x,y,frame\n2,1,0\n4,3,2\n6,5,0\n",
        " ,X,Y,Frame\n1,2,1,1\n2,4,3,3\n3,6,5,1\n",
        " ,Area,X,Y,Slice\n1,0,2,1,1\n2,0,4,3,3\n3,0,6,5,1\n",
        " \tX\tY\tCh\tSlice\tFrame\n1\t2\t1\t1\t1\t1\n2\t4\t3\t1\t1\t3\n3\t6\t5\t1\t1\t1\n",
        " ,X,Y,Slice,Frame\n1,2,1,1,1\n2,4,3,3,1\n3,6,5,1,1\n",
        "t,y,x\n0,1,2\n2,3,4\n0,5,6\n",
        "x,y,Z\n2,1,0\n4,3,2\n6,5,0\n",
        "time,row,column\n0,1,2\n2,3,4\n0,5,6\n",
        "row,column,plane\n1,2,0\n3,4,2\n5,6,0\n",
        "page,r,c\n0,1,2\n2,3,4\n0,5,6\n",
        "frame,time,x,y,z\n0,0,2,1,9\n2,0.5,4,3,9\n0,0,6,5,9\n",  # seconds, and micrometres
        "index,axis-0,axis-1,axis-2,axis-3\n0,0,1,1,2\n1,2,1,3,4\n2,0,1,5,6\n",
        TRACKMATE.format(unit="pixel", rows="a,2,1,1,0,0,0\nb,4,3,1,0,1,2\nc,6,5,1,0,0,0\n"),
    ],
)
def test_every_table_of_a_sequence(tmp_path, text):
    frames = read(tmp_path, text)
    assert frames == {0: [[1, 2], [5, 6]], 2: [[3, 4]]}
    assert list(frames) == [0, 2]


def test_imagej_counts_frames_from_1_and_others_from_0(tmp_path):
    assert list(read(tmp_path, " ,X,Y,Slice,Frame\n1,5,6,1,1\n")) == [0]
    assert list(read(tmp_path, "x,y,frame\n5,6,1\n")) == [1]


def test_of_two_counts_that_stay_the_same_the_one_that_is_not_the_first_counts(tmp_path):
    assert list(read(tmp_path, " ,X,Y,Slice,Frame\n1,5,6,3,1\n2,7,8,3,1\n")) == [2]
    assert list(read(tmp_path, " ,X,Y,Slice,Frame\n1,5,6,1,4\n")) == [3]
    assert list(read(tmp_path, "t,z,y,x\n0,2,5,6\n")) == [2]


def test_tables_in_utf_16(tmp_path):
    for encoding in ("utf-16", "utf-16-le", "utf-16-be"):
        mark = "" if encoding == "utf-16" else "\ufeff"
        assert read(tmp_path, f"{mark}x\ty\n20,5\t10\n", encoding=encoding) == {0: [[10, 20.5]]}


def test_micrometres_become_pixels(tmp_path):
    path, rows = tmp_path / "points.csv", "a,2,1,1,0,0,0\nb,4,3,1,0,1,2\n"
    for unit, text, kind in [
        ("micron", TRACKMATE.format(unit="micron", rows=rows), None),
        ("µm", TRACKMATE.format(unit="µm", rows=rows), None),
        ("pixel", TRACKMATE.format(unit="pixel", rows=rows), "um"),
        ("none", " ,X,Y,Frame\n1,2,1,1\n2,4,3,3\n", "um"),
    ]:
        path.write_text(text)
        frames = read_points(path, unit=kind, pixel_size=0.5)
        assert {frame: own.tolist() for frame, own in frames.items()} == {0: [[2, 4]], 2: [[6, 8]]}, unit
        with pytest.raises(
            ValueError, match=r"points\.csv: the points are in micrometres, but the size of a pixel"
        ):
            read_points(path, unit=kind)
        assert read_points(path, unit="pixels")[0].tolist() == [[1, 2]]


SHAPES = "index,shape-type,vertex-index,axis-0,axis-1\n"


def test_shapes_stand_for_their_centroids(tmp_path):
    corners = [(0, 0), (0, 4), (6, 4), (6, 0)]
    rows = [f"0,rectangle,{i},{row + 1},{column}" for i, (row, column) in enumerate(corners)]
    rows += [f"1,ellipse,{i},{row + 10},{column + 20}" for i, (row, column) in enumerate(corners)]
    # An L of three squares of 2 pixels, whose corners have another mean
    rows += [f"2,polygon,{i},{r},{c}" for i, (r, c) in enumerate([(0, 0), (0, 4), (2, 4), (2, 2), (4, 2), (4, 0)])]
    (frame,) = read(tmp_path, SHAPES + "\n".join(rows)).values()
    np.testing.assert_allclose(frame, [(4, 2), (13, 22), (5 / 3, 5 / 3)])
    header = SHAPES.replace("axis-1", "axis-1,axis-2")
    rows = [f"{n},rectangle,{i},{n},{r},{c}" for n in (0, 2) for i, (r, c) in enumerate(corners)]
    assert read(tmp_path, header + "\n".join(rows)) == {0: [[3, 2]], 2: [[3, 2]]}


@settings(deadline=None, max_examples=40)
@given(places=npst.arrays(np.float64, (5, 2), elements=st.floats(0, 20, width=16)))
def test_a_centroid_is_that_of_the_pixels_inside(places):
    import shapely

    hull = shapely.MultiPoint(places).convex_hull
    if hull.area < 1:
        return
    corners = np.array(hull.exterior.coords)[:-1]
    np.testing.assert_allclose(area_centroid([corners]), hull.centroid.coords[0], atol=1e-6)


@pytest.mark.parametrize("header", ["index,axis-0,axis-1", " ,X,Y\n", "# frame, x, y\n\n", "x,y,frame\r\n"])
def test_a_header_alone_is_an_image_without_cells(tmp_path, header):
    assert read(tmp_path, header) == {0: []}


def test_letters_in_other_encodings_do_no_harm(tmp_path):
    assert read(tmp_path, "Größe µm²,X,Y\n1,2,3\n", encoding="latin-1") == {0: [[3, 2]]}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", r"points\.csv: the file is empty; save the points again"),
        ("\n \n", "the file is empty"),
        ("1,2\n3,4\n", "the first line, `1,2`, holds numbers alone; write a line above it .* as `x,y`"),
        ("a,b\n3,4\n", r"the header `a,b` is not understood; write one of .*napari.*ImageJ.*`row,column`"),
        ("row,x\n3,4\n", "the header `row,x` is not understood"),
        ("axis-0,axis-2\n1,2\n", "is not understood"),
        ("x y\n3 4\n", "the header `x y` is not understood"),
        ("x,y\n1,2\n3,four\n", "`four` in line 3, column y, is not a number; correct"),
        ("x,y\n\n1,\n", "`` in line 3, column y, is not a number"),
        ("x,y\nnan,2\n", "`nan` in line 2, column x, is not a number"),
        ("x;y\n1;inf\n", "`inf` in line 2, column y, is not a number"),
        ("x;y\n1.000,5;2\n", r"`1\.000,5` in line 2, column x, is not a number"),
        ("x,y,frame\n1,2,\n", "`` in line 2, column frame, is not a number"),
        ("x,y\n1,2,3\n", "line 2 has 3 fields and the header 2; correct"),
        ("x,y\n1,2\n1\n", "line 3 has 1 fields and the header 2"),
        (
            "x,y\n1,2\n1\n2,b\na,c\n3,4\n",
            r"csv: line 3 has 1 fields and the header 2; `b` in line 4, column y, is not a number; `c` in line 5, "
            r"column y, is not a number; correct these lines$",
        ),
        ("x,y\n" + "a,b\n" * 40, "; `b` in line 11, column y, is not a number; and 30 more; correct these lines$"),
        ("X,Y,x\n1,2,3\n", "several columns are called X; delete all but one"),
        (
            "image,x,y\na.tif,1,2\nb.tif,3,4\n",
            "holds the points of 2 images by its column image; save those",
        ),
        ("frame,x,y\n0.5,1,2\n", r"the frame 0\.5 in line 2 is not a whole number from 0 on; correct it$"),
        ("frame,x,y\n0,1,2\n-1,1,2\n", "the frame -1 in line 3 is not a whole number from 0 on"),
        (
            "X,Y,Frame\n1,2,0\n",
            "the frame 0 in line 2 is not a whole number from 1 on; correct it, or write `x,y`",
        ),
        (
            " ,X,Y,Slice,Frame\n1,2,1,1,2\n2,4,3,3,1\n",
            "both Frame and Slice change; save the points of one plane, or delete the column",
        ),
        ("t,z,y,x\n0,0,1,2\n1,0,1,2\n0,1,1,2\n", "both z and t change; save"),
        ("axis-0,axis-1,axis-2,axis-3\n0,0,1,2\n0,1,3,4\n1,0,3,4\n", "both axis-0 and axis-1 change; save"),
        (
            "x,y,z\n1,2,0.5\n3,4,1.5\n",
            r"the frame 0\.5 in line 2 \(and in 1 more\) is not .* or delete the column z",
        ),
        (
            f"{SHAPES}0,line,0,1,2\n0,line,1,3,4\n1,path,0,1,2\n",
            r"the shape in line 2 \(and in 1 more\) is not a rect",
        ),
        (f"{SHAPES}0,line,0,1,2\n0,line,1,3,4\n", "the shape in line 2 is not a rectangle, .* in a points layer"),
    ],
)
def test_bad_tables(tmp_path, text, sentence):
    with pytest.raises(ValueError, match=sentence) as info:
        read(tmp_path, text)
    assert str(info.value).startswith(str(tmp_path / "points.csv: "))
    assert "\n" not in str(info.value)


def test_files_that_are_no_table(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.csv: there is no such file of points; check the path"):
        read_points(tmp_path / "a.csv")
    with pytest.raises(ValueError, match="this is a folder; give a file of points"):
        read_points(tmp_path)
    with pytest.raises(ValueError, match=r"this is not a text file in UTF-8; save the points as a CSV"):
        read(tmp_path, "x,y\n1,2\n", encoding="utf-16-le")


def workbook(path: Path, *names: str) -> Path:
    """Writes a ZIP file with entries of these names."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "content")
    return path


CSV_OF_EXCEL = r"is a workbook of Excel; save the points as CSV \(in Excel: File > Save As > CSV\), and give"


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.xlsx", ("[Content_Types].xml", "xl/workbook.xml"), CSV_OF_EXCEL),
        ("a.csv", ("[Content_Types].xml", "xl/workbook.xml"), CSV_OF_EXCEL),  # renamed
        ("a.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), CSV_OF_EXCEL),
        (
            "a.ods",
            ("mimetype", "content.xml"),
            r"is a spreadsheet; save .*\(in LibreOffice: File > Save As > ",
        ),
        ("a.csv", ("a.txt",), "is a ZIP file without ROIs of ImageJ; unpack it"),
        (
            "a.parquet",
            b"PAR1" + bytes(60),
            "is a Parquet file; save the points as CSV, with a header",
        ),
        (
            "a_seg.npy",
            b"\x93NUMPY" + bytes(60),
            "is an array of NumPy; .* of a _seg.npy of Cellpose, its masks",
        ),
        ("a.tif", b"II*\0" + bytes(60), "is an image; give a table of points, or, .* wsis points --labels"),
        ("a.geojson", b'\n{"type": "FeatureCollection"}', "is JSON or GeoJSON; .* Measure > Export measurements"),
        ("a.xml", b'\xef\xbb\xbf<?xml version="1.0"?>', "is XML or HTML; save the points as a table in CSV"),
    ],
)
def test_files_of_other_kinds_are_told_with_what_to_do(tmp_path, name, content, sentence):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        workbook(path, *content)
    with pytest.raises(UserError, match=f": this {sentence}") as info:
        read_points(path)
    assert str(info.value).startswith(f"{path}: ")


def test_a_table_that_is_only_called_a_workbook_is_read(tmp_path):
    (tmp_path / "Results.xls").write_text(" \tX\tY\n1\t20.5\t10\n")  # ImageJ calls its text so
    assert read_points(tmp_path / "Results.xls")[0].tolist() == [[10, 20.5]]


def test_a_folder_of_spreadsheets_says_how_to_save_them(tmp_path):
    workbook(tmp_path / "a.xlsx", "xl/workbook.xml")
    for where in (tmp_path, tmp_path / "*.xlsx"):
        with pytest.raises(UserError, match=r"xlsx: spreadsheets are not read; save each as CSV \(in Excel"):
            named_points(where)
    (tmp_path / "b.csv").write_text("x,y\n")
    assert list(named_points(tmp_path)) == [tmp_path / "b.csv"]


# Columns of other programs


def test_micrometres_in_the_name_of_a_column(tmp_path):
    path = tmp_path / "a.tsv"
    for micro in "µμ":  # two letters that look the same
        path.write_text(f"Image\tCentroid X {micro}m\tCentroid Y {micro}m\na.tif\t2\t1\n", encoding="utf-8")
        assert read_points(path, pixel_size=0.5)[0].tolist() == [[2, 4]]
        with pytest.raises(UserError, match="the points are in micrometres, but the size of a pixel is not known"):
            read_points(path)


def test_points_of_several_images_are_frames_only_if_a_column_counts_them(tmp_path):
    assert read(tmp_path, "image,axis-0,axis-1,axis-2\na,0,1,2\nb,1,3,4\n") == {0: [[1, 2]], 1: [[3, 4]]}
    with pytest.raises(UserError, match="holds the points of 2 images by its column ImageNumber"):
        read(tmp_path, "ImageNumber,Location_Center_X,Location_Center_Y\n1,1,2\n2,3,4\n")


def test_columns_of_one_name_may_say_the_same(tmp_path):
    assert read(tmp_path, "x,y,x\n2,1,2\n") == {0: [[1, 2]]}


def test_corners_of_boxes_are_told(tmp_path):
    with pytest.warns(UserWarning, match="has a width and a height, so x and y may be corners of boxes; if"):
        read(tmp_path, "name,x,y,width,height\na,2,1,9,9\n")
    assert read(tmp_path, " ,X,Y,BX,BY,Width,Height\n1,2,1,0,0,4,2\n") == {0: [[1, 2]]}


# Checking


def test_points_inside_pass():
    check_points(np.array([[-0.5, -0.5], [99.49, 49.49], [0, 0]]), (100, 50), name="a.csv")
    check_points(np.empty((0, 2)), (100, 50), name="a.csv")


@pytest.mark.parametrize("point", [(-0.51, 3), (3, -0.51), (99.5, 3), (3, 49.5), (np.nan, 3)])
def test_points_outside_are_named(point):
    sentence = (
        rf"a\.csv: point 1 \(counted from 0\) at row {point[0]:g}, column {point[1]:g} is outside the image "
        r"of 100 rows and 50 columns, and so is 2 at row 2000, column 2000; correct them"
    )
    with pytest.raises(ValueError, match=sentence):
        check_points(np.array([(5, 5), point, (2000, 2000)]), (100, 50), name="a.csv")


def test_points_on_the_very_border_are_moved_inside():
    points = np.array([[5.0, 5.0], [99.7, 3.0], [-1.2, 49.9], [98.2, 49.49]])
    with pytest.warns(UserWarning, match=r"^a: 2 points were less than a pixel outside of the image, and moved"):
        moved = moved_inside(points, (100, 50), name="a")
    np.testing.assert_array_equal(moved, [[5, 5], [99, 3], [0, 49], [98.2, 49.49]])
    with pytest.raises(UserError, match=r"^a: point 1 .* at row 100\.6, column 3 is outside .* columns; corr"):
        moved_inside(np.array([[99.7, 5.0], [100.6, 3.0]]), (100, 50), name="a")


def test_of_many_points_outside_some_ten_are_told():
    points = np.full((40, 2), 2000.0)
    with pytest.raises(UserError, match="; 10 at row 2000, column 2000; and 29 more; correct them") as info:
        check_points(points, (100, 50), name="a")
    assert "; 11 at" not in str(info.value)


def test_swapped_rows_and_columns_are_told():
    with pytest.raises(ValueError, match=r"point 0 .* row 20, column 80 .*; rows and columns look swapped"):
        check_points(np.array([[20.0, 80.0], [5.0, 5.0]]), (100, 50), name="a.csv")
    with pytest.raises(ValueError, match=r"; correct it, or check that the points are in pixels"):
        check_points(np.array([[20.0, 80.0], [80.0, 20.0]]), (100, 50), name="a.csv")


# Writing

FORMATS = get_args(PointFormat)
coordinates = npst.arrays(
    np.float64, st.tuples(st.integers(0, 20), st.just(2)), elements=st.floats(-1000, 100_000, width=32)
)


@settings(deadline=None, max_examples=60)
@given(points=coordinates)
@pytest.mark.parametrize("format", FORMATS)
def test_points_there_and_back(tmp_path_factory, format, points):
    path = tmp_path_factory.getbasetemp() / "new" / "there_and_back.csv"
    write_points(path, points, format=format)
    frames = read_points(path)
    assert list(frames) == [0]
    np.testing.assert_allclose(frames[0], points, rtol=0, atol=0.00501)


@settings(deadline=None, max_examples=60)
@given(sequence=st.dictionaries(st.integers(0, 2000), coordinates, max_size=5))
@pytest.mark.parametrize("format", FORMATS)
def test_points_of_a_sequence_there_and_back(tmp_path_factory, format, sequence):
    path = tmp_path_factory.getbasetemp() / "new" / "sequence.csv"
    write_points(path, sequence, format=format)
    # A table has no line for a frame without a point, and its header alone is an image without cells.
    expected = {frame: sequence[frame] for frame in sorted(sequence) if len(sequence[frame])}
    frames = read_points(path)
    assert list(frames) == (list(expected) or [0])
    assert expected or not len(frames[0])
    for frame, points in expected.items():
        np.testing.assert_allclose(frames[frame], points, rtol=0, atol=0.00501)


def test_points_are_written_as_napari_does_unless_told_otherwise(tmp_path):
    write_points(str(tmp_path / "new" / "a.csv"), np.array([[1.0, 2.345], [10.5, 0.0]]))
    assert (tmp_path / "new" / "a.csv").read_bytes() in (
        b"index,axis-0,axis-1\n0,1.00,2.35\n1,10.50,0.00\n",
        b"index,axis-0,axis-1\n0,1.00,2.34\n1,10.50,0.00\n",
    )


@pytest.mark.parametrize(
    ("format", "image", "sequence"),
    [
        (
            "napari",
            "index,axis-0,axis-1\n0,1.00,2.50\n",
            "index,axis-0,axis-1,axis-2\n0,0,3.00,4.00\n1,7,1.00,2.50\n",
        ),
        ("imagej", " ,X,Y\n1,2.50,1.00\n", " ,X,Y,Frame\n1,4.00,3.00,1\n2,2.50,1.00,8\n"),
        ("csv", "row,column\n1.00,2.50\n", "frame,row,column\n0,3.00,4.00\n7,1.00,2.50\n"),
    ],
)
def test_each_format_has_its_columns(tmp_path, format, image, sequence):
    point, path = np.array([[1, 2.5]]), tmp_path / "a.csv"
    write_points(path, point, format=format)
    assert path.read_text() == image
    write_points(path, {7: point, 0: np.array([[3.0, 4.0]])}, format=format)
    assert path.read_text() == sequence


@pytest.mark.parametrize(("interruption", "told"), [(KeyboardInterrupt,) * 2, (OSError, UserError)])
def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch, interruption, told):
    path = tmp_path / "a.csv"
    path.write_text("old")

    def write_a_little_and_stop(target, *_, **__):
        target.write_bytes(b"half")
        raise interruption

    monkeypatch.setattr(Path, "write_text", write_a_little_and_stop)
    with pytest.raises(told):
        write_points(path, np.zeros((1, 2)))
    assert [file.name for file in tmp_path.iterdir()] == ["a.csv"]
    assert path.read_bytes() == b"old"
