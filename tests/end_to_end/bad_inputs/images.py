"""Images that are not images, damaged, or name files elsewhere."""

import io
import os
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from tests.end_to_end.bad_inputs.shop import CLICKS, GREY, image, pair
from wsis_jax.io.label_file import write_picture
from wsis_jax.io.point_file import write_points

CASES = {
    "missing image": ("train nowhere.tif --points ok.csv", 2, "nowhere.tif: there is no such file"),
    "missing folder": ("train nowhere/ --points ok.csv", 2, "nowhere: there is no such file or folder"),
    "empty image": ("train empty.tif --points ok.csv", 2, "empty.tif: the file is empty"),
    "text as image": ("train text.tif --points ok.csv", 2, "text.tif: this is not an image"),
    "truncated image": ("train cut.tif --points ok.csv", 2, "cut.tif: the image is damaged"),
    "truncated PNG": ("train cut.png --points ok.csv", 2, "cut.png: the image is damaged"),
    "truncated JPEG": ("train cut.jpg --points ok.csv", 2, "cut.jpg: the image is damaged"),
    "bytes of a TIFF and nothing else": ("segment RUN magic.tif --out OUT", 3, "magic.tif: the image is damaged"),
    "pages missing": ("segment RUN pages.tif --out OUT", 3, "pages.tif: the image is damaged (pages are missing"),
    "image of another kind": ("train odd.tif --points ok.csv", 2, "odd.tif: this is not an image of a known kind"),
    "NaN in an image": ("train nan.tif --points ok.csv", 2, "nan.tif: frame 0 holds NaN"),
    "infinity in an image": ("segment RUN infinite.tif --out OUT", 3, "infinite.tif: frame 0 holds NaN"),
    "complex numbers": ("segment RUN complex.tif --out OUT", 3, "complex.tif: the values are complex"),
    "five colours": ("segment RUN five.tif --out OUT", 3, "five.tif: a pixel has 5 channels"),
    "folder without images": ("train points --points ok.csv", 2, "points: the folder holds no file"),
    "pattern without images": ("train *.gif --points ok.csv", 2, "*.gif: the pattern matches no file"),
    "link to nowhere": ("segment RUN nowhere-link.tif --out OUT", 2, "nowhere-link.tif: there is no such file"),
    "link to itself": ("segment RUN loop.tif --out OUT", 2, "loop.tif: there is no such file"),
    "pipe as image": ("segment RUN pipe.tif --out OUT", 2, "pipe.tif: there is no such file"),
    "name that steers the terminal": ("segment RUN steer --out OUT", 3, r"a\x1b[2J\nb.tif: the file is empty"),
    "name in brackets of markup": ("segment RUN a[/b].tif --out OUT", 3, "a[/b].tif: the file is empty"),
    "pages in another folder": (
        "segment RUN away.ome.tif --out OUT",
        3,
        "away.ome.tif: refers to a file in another",
    ),
    "pages at an absolute path": (
        "segment RUN root.ome.tif --out OUT",
        3,
        "root.ome.tif: refers to a file in another",
    ),
    "pages in a file that is missing": (
        "segment RUN lost.ome.tif --out OUT",
        3,
        "lost.ome.tif: the image is damaged",
    ),
    "axes that are not letters": ("segment RUN slash.tif --out OUT", 3, "slash.tif: the names of its axes"),
    "channels last": (
        "train last.tif --points ok.csv",
        2,
        "last.tif: holds 40 images of 48 × 2 pixels, which look",
    ),
    "channels last to segment": (
        "segment RUN last.tif --out OUT",
        3,
        "last.tif: holds 40 images of 48 × 2 pixels",
    ),
    "axes given twice": ("segment RUN ok.tif --axes YY --out OUT", 2, "axes 'YY' do not describe an image"),
    "axes too many": ("segment RUN ok.tif --axes TYX --out OUT", 3, "ok.tif: axes 'TYX' do not match its 2 axes"),
    # Worth a warning
    "constant image": (
        "train constant --points constant",
        0,
        "flat.tif with constant/flat.csv: constant, so there is nothing to learn from",
    ),
    "image smaller than a patch": (
        "train small --points small",
        0,
        "tiny.tif with small/tiny.csv: smaller than a patch of 32 pixels",
    ),
    "one image only": ("train ok.tif --points ok.csv", 0, "no image is held out"),
    "image without points": ("train lonely --points points", 0, "lonely/c.tif: left out, since no point file"),
    "points without image": ("train images --points more", 0, "more/c.csv: left out, since no image"),
    # The same, segmented
    "missing image to segment": ("segment RUN nowhere.tif --out OUT", 2, "nowhere.tif: there is no such file"),
    "empty image to segment": ("segment RUN empty.tif --out OUT", 3, "empty.tif: the file is empty"),
    "text as image to segment": ("segment RUN text.tif --out OUT", 3, "text.tif: this is not an image"),
    "truncated image to segment": ("segment RUN cut.tif --out OUT", 3, "cut.tif: the image is damaged"),
    "NaN in an image to segment": ("segment RUN nan.tif --out OUT", 3, "nan.tif: frame 0 holds NaN"),
    "constant image to segment": ("segment RUN constant/flat.tif --out OUT", 0, "flat: the image is constant"),
    "two images of one name": ("segment RUN twins --out OUT", 2, "two images are called ok"),
    "one name in two folders": (
        "segment RUN lonely/a.tif images/a.tif --out OUT",
        2,
        "would be too: lonely/a.tif and images/a.tif; give the folder that holds both folders, or each an --out",
    ),
    "names that are nearly the same": (
        "train near --points near",
        2,
        "near/A.TIF: neither this image .* near/a_Points.csv has nearly that name",
    ),
    "one point file for the same name in two folders": (
        "train plate --points flat",
        2,
        "plate/A1/img.tif: neither this image .* flat/img.csv has nearly that name",
    ),
}


def make(folder: Path) -> None:
    pair(folder, "ok")
    for name in ("a", "b"):
        for place in ("images", "lonely"):
            image(folder / place / f"{name}.tif")
        for place in ("points", "more"):
            write_points(folder / place / f"{name}.csv", CLICKS)
    image(folder / "lonely" / "c.tif")
    write_points(folder / "more" / "c.csv", CLICKS)
    for place, name, values in [("constant", "flat", np.full_like(GREY, 7)), ("small", "tiny", GREY[:16, :20])]:
        pair(folder / place, "ok", GREY, CLICKS[:1])
        pair(folder / place, name, values, CLICKS[:1])
    for name in ("A.TIF", "other.TIF"):
        image(folder / "near" / name)
    write_points(folder / "near" / "a_Points.csv", CLICKS)
    for well in ("A1", "A2"):
        image(folder / "plate" / well / "img.tif")
    write_points(folder / "flat" / "img.csv", CLICKS)
    image(folder / "twins" / "ok.tif")
    write_picture(folder / "twins" / "ok.png", np.zeros((8, 8, 3), np.uint8))
    # No images
    (folder / "empty.tif").touch()
    (folder / "text.tif").write_text("This is not an image.")
    (folder / "magic.tif").write_bytes(b"II*\0")
    (folder / "odd.tif").write_bytes(b"GIF89a" + bytes(40))
    (folder / "steer").mkdir()
    (folder / "steer" / "a\x1b[2J\nb.tif").touch()
    (folder / "a[").mkdir()
    (folder / "a[" / "b].tif").touch()
    (folder / "nowhere-link.tif").symlink_to("nowhere.tif")
    (folder / "loop.tif").symlink_to("loop.tif")
    os.mkfifo(folder / "pipe.tif")
    # Damaged
    (folder / "cut.tif").write_bytes((folder / "ok.tif").read_bytes()[:-900])
    for kind in ("png", "jpg"):
        Image.fromarray(GREY.astype(np.uint8)).save(whole := folder / f"whole.{kind}")
        (folder / f"cut.{kind}").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
        whole.unlink()
    image(folder / "pages.tif", np.stack([GREY] * 3), metadata=None, photometric="minisblack")
    with tifffile.TiffFile(folder / "pages.tif") as tiff:
        last = tiff.pages[2].offset
    (folder / "pages.tif").write_bytes((folder / "pages.tif").read_bytes()[:last])
    # Values
    broken = GREY.astype(np.float32)
    broken[3, 4] = np.nan
    image(folder / "nan.tif", broken)
    image(folder / "infinite.tif", np.where(np.isnan(broken), np.inf, broken).astype(np.float32))
    image(folder / "complex.tif", GREY.astype(np.complex64))
    image(folder / "five.tif", np.stack([GREY] * 5, -1), photometric="rgb", planarconfig="contig")
    image(folder / "last.tif", np.stack([GREY] * 2, axis=-1), photometric="minisblack")
    image(folder / "slash.tif", np.stack([GREY] * 2), metadata={"axes": "/YX"})
    # Multi-file OME-TIFF, whose other file is there and would be read
    for name, other in {"away": "../beside.tif", "root": "/srv/ok.tif", "lost": "gone.tif"}.items():
        (folder / f"{name}.ome.tif").write_bytes(_ome(other))


def _ome(other: str) -> bytes:
    """Returns a TIFF that says that its second page is in another file."""
    parts = "".join(
        f'<TiffData FirstT="{t}" IFD="0" PlaneCount="1"><UUID FileName="{name}">urn:uuid:{t}</UUID></TiffData>'
        for t, name in enumerate(("this.ome.tif", other))
    )
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:0"><Image ID="Image:0">'
        '<Pixels DimensionOrder="XYCZT" ID="Pixels:0" Type="uint16" SizeX="48" SizeY="40" '
        'SizeC="1" SizeZ="1" SizeT="2">'
        f'<Channel ID="Channel:0:0" SamplesPerPixel="1"/>{parts}</Pixels></Image></OME>'
    )
    tifffile.imwrite(file := io.BytesIO(), GREY, description=xml, metadata=None)
    return file.getvalue()
