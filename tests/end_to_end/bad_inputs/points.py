"""Tables of points."""

import os
import zipfile
from pathlib import Path

import numpy as np
from roifile import ROI_TYPE, ImagejRoi

from tests.end_to_end.bad_inputs.shop import CLICKS, GREY, image, pair
from wsis_jax.io.point_file import write_points
from wsis_jax.synthetic import draw_scene

_TRAIN = "train ok.tif --points"
_SEGMENT = "segment RUN --out OUT"

CASES = {
    "missing points": (f"{_TRAIN} nowhere.csv", 2, "nowhere.csv: there is no such file"),
    "no common name": ("train images --points other", 2, "name them alike"),
    "point outside": (f"{_TRAIN} outside.csv", 2, "outside.csv: point 1 (counted from 0) at row 42"),
    "point a thousand million pixels away": (
        f"{_TRAIN} far.csv",
        2,
        "far.csv: point 0 (counted from 0) at row 1e+09",
    ),
    "coordinate of 300 digits": (
        f"{_TRAIN} digits.csv",
        2,
        "digits.csv: 1e+300 in line 2, column x, is too large",
    ),
    "rows and columns swapped": (f"{_TRAIN} swapped.csv", 2, "swapped.csv: point 1 .* look swapped"),
    "empty points": (f"{_TRAIN} empty.csv", 2, "empty.csv: the file is empty"),
    "quotes alone": (f"{_TRAIN} quotes.csv", 2, "quotes.csv: the header `` is not understood"),
    "no point": (f"{_TRAIN} header.csv", 2, "header.csv: holds no point"),
    "unknown header": (f"{_TRAIN} unknown.csv", 2, "unknown.csv: the header `left,top`"),
    "word for a number": (f"{_TRAIN} word.csv", 2, "word.csv: `many` in line 2"),
    "infinity for a number": (f"{_TRAIN} infinite.csv", 2, "infinite.csv: `inf` in line 3"),
    "field too few": (f"{_TRAIN} few.csv", 2, "few.csv: line 3 has 1 fields and the header 2"),
    "field of a million letters": (f"{_TRAIN} field.csv", 2, "field.csv: line 2 is not a table"),
    "numbers without a header": (f"{_TRAIN} bare.csv", 2, "bare.csv: the first line, `3,4`, holds numbers alone"),
    "workbook of Excel": (
        f"{_TRAIN} sheet.xlsx",
        2,
        "sheet.xlsx: this is a workbook of Excel; save .* (in Excel: File",
    ),
    "old workbook of Excel": (f"{_TRAIN} old.xls", 2, "old.xls: this is a workbook of Excel"),
    "spreadsheet of LibreOffice": (f"{_TRAIN} calc.ods", 2, "calc.ods: this is a spreadsheet; save .* Text CSV"),
    "folder of spreadsheets": (
        f"{_TRAIN} sheets",
        2,
        "sheets/a.xlsx: spreadsheets are not read; save each as CSV",
    ),
    "clicks in a workbook": (
        f"{_SEGMENT} ok.tif --points sheet.xlsx",
        3,
        "sheet.xlsx: this is a workbook of Excel",
    ),
    "workbook to convert": ("points sheet.xlsx --out OUT", 3, "sheet.xlsx: this is a workbook of Excel"),
    "true points in a workbook": (
        "evaluate mask.tif mask.tif --points sheet.xlsx",
        2,
        "sheet.xlsx: this is a workbook of Excel",
    ),
    "GeoJSON as points": (f"{_TRAIN} cells.geojson", 2, "cells.geojson: this is JSON or GeoJSON; save the points"),
    "array of NumPy as points": (
        f"{_TRAIN} a_seg.npy",
        2,
        "a_seg.npy: this is an array of NumPy; save the points",
    ),
    "image as points": (f"{_TRAIN} ok.tif", 2, "ok.tif: this is an image; give a table of points, or"),
    "lines as ROIs": (
        f"{_TRAIN} line.roi",
        2,
        "line.roi: the ROI line is neither points nor an area (but of the kind",
    ),
    "damaged ROIs": (f"{_TRAIN} cut.zip", 2, "cut.zip: the ROIs are damaged"),
    "ZIP file without ROIs": (f"{_TRAIN} backup.zip", 2, "backup.zip: this is a ZIP file without ROIs of ImageJ"),
    "ROIs of some frames": (
        "train film.tif --points some.zip",
        2,
        "some.zip: some ROIs have a position in the stack",
    ),
    "ROIs of slices and times": (
        "train film.tif --points stack.zip",
        2,
        "stack.zip: both slice and time of the ROIs",
    ),
    "ROI beyond the image": ("train film.tif --points beyond.roi", 2, "beyond.roi: has points in frame 8"),
    "binary points": (f"{_TRAIN} binary.csv", 2, "binary.csv: this is not a text file in UTF-8"),
    "points in UTF-16 without its mark": (f"{_TRAIN} utf16.csv", 2, "utf16.csv: this is not a text file in UTF-8"),
    "points in micrometres": (
        "train scaled.tif --points micrometres.csv",
        2,
        "scaled.tif with micrometres.csv: the points look as if they were in micrometres, at the 0.5 µm a pixel",
    ),
    "clicks in micrometres": (
        f"{_SEGMENT} scaled.tif --points micrometres.csv",
        3,
        "scaled: the points look as if they were in micrometres",
    ),
    "true points in micrometres": (
        "evaluate scaled-mask.tif scaled-mask.tif --points micrometres.csv",
        2,
        "scaled-mask: the points look as if they were in micrometres",
    ),
    "micrometres of an image without a scale": (
        f"{_TRAIN} ok.csv --points-in um",
        2,
        "ok.csv: the points are in micrometres, but the size of a pixel is not known",
    ),
    "micrometres to score without a scale": (
        "evaluate mask.tif mask.tif --points ok.csv --points-in um",
        2,
        "--points-in um needs the side of a pixel",
    ),
    "point on the very border": (
        "train border --points border",
        0,
        "border/a.tif with border/a.csv: 1 point was less than a pixel outside of the image, and moved",
    ),
    "true point on the very border": (
        "evaluate mask.tif mask.tif --points border/a.csv",
        0,
        "border/a.csv: 1 point was less than a pixel outside of the image, and moved",
    ),
    "true points outside": (
        "evaluate mask.tif mask.tif --points far.csv",
        2,
        "far.csv: point 0 (counted from 0) at row 1e+09, column 1e+09 is outside the image .* correct them",
    ),
    "several lines wrong": (
        f"{_TRAIN} lines-wrong.csv",
        2,
        "lines-wrong.csv: line 3 has 1 fields and the header 2; `many` in line 4, column y, is not a number; c",
    ),
    "forty lines wrong": (f"{_TRAIN} forty.csv", 2, "`b` in line 11, column y, is not a number; and 30 more"),
    "several files wrong": (
        "train images --points faulty",
        2,
        "faulty/a.csv: point 0 .* error: faulty/b.csv: `many` in line 2",
    ),
    "true points wrong in several files": (
        "evaluate twice twice --points faulty",
        2,
        "faulty/a.csv: point 0 .* error: faulty/b.csv: `many` in line 2",
    ),
    "points of several images": (
        f"{_TRAIN} images.csv",
        2,
        "images.csv: holds the points of 2 images by its column",
    ),
    "corners of boxes": (
        "points boxes.csv --out OUT",
        0,
        "boxes.csv: has a width and a height, so x and y may be",
    ),
    "points of 300 MiB": (
        f"{_TRAIN} long.csv",
        2,
        "long.csv: has 300 MiB of text, but at most 256 MiB can be read",
    ),
    "header that steers the terminal": (f"{_TRAIN} steer.csv", 2, r"steer.csv: the header `\x1b[2Ja,b` is not"),
    "clicks of no image": (f"{_SEGMENT} images --points other", 2, "nor any other has a point file of its name"),
    "clicks outside": (f"{_SEGMENT} ok.tif --points outside.csv", 3, "ok: point 1 (counted from 0) at row 42"),
    "clicks that are not a table": (f"{_SEGMENT} ok.tif --points unknown.csv", 3, "the header `left,top`"),
    "clicks in other frames": (f"{_SEGMENT} ok.tif --points frames.csv", 3, "but ok.tif has 1 frame(s)"),
    "pipe of points": (f"{_TRAIN} pipe.csv", 2, "pipe.csv: there is no such file"),
    "frame beyond the image": ("train film.tif --points frames.csv", 2, "frames.csv: has points in frame 5"),
    "negative frame": ("train film.tif --points negative.csv", 2, "negative.csv: the frame -1 in line 2"),
    "half a frame": ("train film.tif --points half.csv", 2, "half.csv: the frame 0.5 in line 2"),
    "two counts of frames": ("train film.tif --points both.csv", 2, "both.csv: both frame and slice change"),
    "times and planes": ("train film.tif --points planes.csv", 2, "planes.csv: both z and t change"),
    "planes in micrometres": (
        "train film.tif --points heights.csv",
        2,
        "heights.csv: the frame 0.5 in line 2 (and in 1 more) is not a whole number from 0 on; number",
    ),
    "lines of a shapes layer": (f"{_TRAIN} lines.csv", 2, "lines.csv: the shape in line 2 is not a rectangle"),
    "spots of TrackMate in micrometres": (f"{_TRAIN} track.csv", 2, "track.csv: the points are in micrometres"),
    "nothing to take points from": (
        "points --out OUT",
        2,
        "give one of POINTS, --nuclei, --labels and --ctc, not none",
    ),
    "two ways to points": ("points ok.csv --labels mask.tif --out OUT", 2, "not POINTS and --labels"),
    "damaged points to convert": ("points word.csv --out OUT", 3, "word.csv: `many` in line 2"),
    "far points to look at": ("points far.csv --out OUT", 0, ""),
    "missing sequence": ("points --ctc nowhere --out OUT", 2, "nowhere: there is no such folder"),
    "sequence without markers": ("points --ctc sequence --out OUT", 2, "sequence_GT/TRA: there is no such folder"),
    "sequence without images": ("points --ctc points --out OUT", 2, "points: holds no t000.tif"),
    "10^4 points in one place": ("points heap.csv --out OUT", 3, ""),
}

_TEXTS = {
    "far": "x,y\n1e9,1e9\n-1e9,0\n",
    "digits": "x,y\n1e300,2\n",
    "quotes": '""',
    "unknown": "left,top\n1,2\n",
    "word": "x,y\n1,many\n",
    "infinite": "x,y\n1,2\ninf,3\n",
    "few": "x,y\n1,2\n3\n",
    "field": "x,y\n" + "1" * 10**6 + ",2\n",
    "binary": "x,y\n1,2\n\0\1\2",
    "steer": "\x1b[2Ja,b\n1,2\n",
    "frames": "frame,x,y\n0,1,2\n5,1,2\n",
    "negative": "frame,x,y\n-1,1,2\n",
    "half": "frame,x,y\n0.5,1,2\n",
    "both": "x,y,frame,slice\n1,2,1,1\n1,2,2,2\n",
    "planes": "t,z,y,x\n0,0,1,2\n0,1,1,2\n1,0,1,2\n",
    "heights": "z,y,x\n0.5,1,2\n1.5,1,2\n",
    "lines": "index,shape-type,vertex-index,axis-0,axis-1\n0,line,0,1,2\n0,line,1,3,4\n",
    "track": "LABEL,POSITION_X,POSITION_Y\nLabel,X,Y\nLabel,X,Y\n,(micron),(micron)\na,1,2\n",
    "lines-wrong": "x,y\n1,2\n3\n1,many\n",
    "forty": "x,y\n" + "a,b\n" * 40,
    "images": "image,x,y\na.tif,1,2\nb.tif,3,4\n",
    "boxes": "x,y,width,height\n1,2,9,9\n40,30,9,9\n",
    "bare": "3,4\n5,6\n",
    "heap": "x,y\n" + "5,5\n" * 10**4 + "9,9\n",
}


def make(folder: Path) -> None:
    image(folder / "film.tif", np.stack([GREY, GREY]))
    image(folder / "sequence" / "t000.tif")
    for name in ("a", "b"):
        write_points(folder / "other" / f"x{name}.csv", CLICKS)
    write_points(folder / "outside.csv", CLICKS + np.array([[0, 0], [12, 0], [0, 0]]))
    write_points(folder / "swapped.csv", CLICKS[:, ::-1] + np.array([[0, 0], [5, 0], [0, 0]]))
    write_points(folder / "header.csv", np.empty((0, 2)))
    write_points(folder / "one.csv", CLICKS[:1])
    (folder / "empty.csv").touch()
    for name, text in _TEXTS.items():
        (folder / f"{name}.csv").write_text(text)
    (folder / "utf16.csv").write_bytes("x,y\n1,2\n".encode("utf-16-le"))
    scene = draw_scene(0, shape=(200, 240), cells=30, diameter=22.0)
    scale = {"imagej": True, "resolution": (2, 2), "metadata": {"unit": "um"}}
    image(folder / "scaled.tif", scene.image, **scale)
    image(folder / "scaled-mask.tif", scene.labels.astype(np.uint16), **scale)
    write_points(folder / "micrometres.csv", scene.points / 2, format="imagej")
    pair(folder / "border", "a", clicks=CLICKS + np.array([[0, 0], [9.7, 0], [0, 0]]))
    pair(folder / "border", "b")
    pair(folder / "faulty", "a", clicks=CLICKS + 1000)
    (folder / "faulty" / "a.tif").unlink()
    (folder / "faulty" / "b.csv").write_text("x,y\n1,many\n")
    for name in ("a", "b"):
        image(folder / "twice" / f"{name}.tif", np.zeros((40, 48), np.uint8))
    _make_other_kinds(folder)
    (folder / "long.csv").touch()
    os.truncate(folder / "long.csv", 300 << 20)  # a hole, which takes no room
    os.mkfifo(folder / "pipe.csv")


def _make_other_kinds(folder: Path) -> None:
    (folder / "sheets").mkdir()
    for name, entry in [
        ("sheet.xlsx", "xl/workbook.xml"),
        ("sheets/a.xlsx", "xl/workbook.xml"),
        ("calc.ods", "mimetype"),
    ]:
        with zipfile.ZipFile(folder / name, "w") as archive:
            archive.writestr(entry, "content")
    (folder / "old.xls").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600))
    (folder / "cells.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    np.save(folder / "a_seg.npy", CLICKS)
    with zipfile.ZipFile(folder / "backup.zip", "w") as archive:
        archive.writestr("about.txt", "content")
    point, line = ImagejRoi.frompoints(CLICKS[:1]), ImagejRoi.frompoints(CLICKS)
    point.roitype, line.roitype = ROI_TYPE.POINT, ROI_TYPE.POLYLINE
    (folder / "line.roi").write_bytes(line.tobytes())
    for name, places in [("some", [(0, 0), (2, 1)]), ("stack", [(1, 2), (2, 1)])]:
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
            for number, (point.z_position, point.t_position) in enumerate(places):
                archive.writestr(f"{number}.roi", point.tobytes())
    (folder / "cut.zip").write_bytes((folder / "stack.zip").read_bytes()[:99])
    point.z_position, point.t_position = 0, 9
    (folder / "beyond.roi").write_bytes(point.tobytes())
