"""Images that announce, or unpack to, more than any memory holds; that of the tests is 16 GiB."""

import struct
import zlib
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from tests.end_to_end.bad_inputs.shop import GREY, image

_MANY = "needs 1,000,000,000,000 values at once, but 16 GiB of memory hold at most 1,073,741,824"

CASES = {
    "PNG of 10^6 × 10^6": ("segment RUN huge.png --out OUT", 3, f"huge.png: {_MANY}"),
    "PNG of 10^6 × 10^6 to learn from": ("train huge.png --points ok.csv", 2, f"huge.png: {_MANY}"),
    "JPEG of 65,500 × 65,500": ("segment RUN huge.jpg --out OUT", 3, "huge.jpg: needs 4,290,250,000 values"),
    "TIFF of 10^6 × 10^6, cut off": (
        "segment RUN huge.tif --out OUT",
        3,
        "huge.tif: the image is damaged (it ends",
    ),
    "TIFF of 10^6 × 10^6, compressed": (
        "segment RUN packed.tif --no-tiles --out OUT",
        3,
        f"packed.tif: {_MANY}",
    ),
    "TIFF of 10^6 × 10^6, compressed, to learn from": (
        "train packed.tif --points ok.csv",
        2,
        f"packed.tif: {_MANY}",
    ),
    "TIFF of 10^6 × 10^6, compressed, in tiles": (
        "segment RUN packed.tif --out OUT",
        3,
        "packed.tif: needs 1,000,000,000,000 values at once",
    ),
    "labels of 10^6 × 10^6": ("evaluate packed.tif packed.tif", 2, f"packed.tif: {_MANY}"),
    "TIFF tile larger than its image": ("segment RUN tile.tif --out OUT", 3, "tile.tif: needs 10,000,000,000"),
    "TIFF that unpacks to more than it says": (
        "segment RUN bomb.tif --out OUT",
        3,
        "bomb.tif: the image is damaged",
    ),
    "markers of 10^6 × 10^6": ("points --labels packed.tif --out OUT", 3, f"packed.tif: {_MANY}"),
}


def _png(width: int, height: int) -> bytes:
    """Returns a PNG that says how large it is, and holds nearly nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def _change(path: Path, **tags: int) -> None:
    with tifffile.TiffFile(path, mode="r+") as tiff:
        for name, value in tags.items():
            tiff.pages[0].tags[name].overwrite(value, dtype="I")


def make(folder: Path) -> None:
    (folder / "huge.png").write_bytes(_png(10**6, 10**6))
    Image.fromarray(GREY.astype(np.uint8)).save(folder / "huge.jpg")
    data = (folder / "huge.jpg").read_bytes()
    place = data.index(b"\xff\xc0") + 5  # height and width of the frame
    (folder / "huge.jpg").write_bytes(data[:place] + struct.pack(">HH", 65_500, 65_500) + data[place + 4 :])
    million = {"ImageWidth": 10**6, "ImageLength": 10**6, "RowsPerStrip": 10**6}
    for name, options in {"huge": {}, "packed": {"compression": "zlib"}}.items():
        image(folder / f"{name}.tif", GREY.astype(np.uint8), metadata=None, **options)
        _change(folder / f"{name}.tif", **million)
    image(folder / "tile.tif", GREY, metadata=None, compression="zlib", tile=(16, 16))
    with tifffile.TiffFile(folder / "tile.tif", mode="r+") as tiff:
        tags = tiff.pages[0].tags
        tags["TileOffsets"].overwrite(tags["TileOffsets"].value[:1])
        tags["TileByteCounts"].overwrite(tags["TileByteCounts"].value[:1])
    _change(folder / "tile.tif", TileWidth=10**5, TileLength=10**5)
    image(folder / "bomb.tif", GREY, metadata=None, compression="zlib")
    bomb = zlib.compress(bytes(100 << 20), 1)  # 100 MiB in half a megabyte
    with (folder / "bomb.tif").open("ab") as file:
        start = file.tell()
        file.write(bomb)
    _change(folder / "bomb.tif", StripOffsets=start, StripByteCounts=len(bomb))
