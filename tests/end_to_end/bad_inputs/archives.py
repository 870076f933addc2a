"""Folders of OME-Zarr whose metadata are absurd, damaged or hostile."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from tests.end_to_end.bad_inputs.shop import GREY, image
from tests.zarr_images import write_image

_NO_IMAGE = "is not an OME-Zarr image of version 0.4 or 0.5"

CASES = {
    "Zarr of 10^6 × 10^6 to learn from": (
        "train huge.zarr --points ok.csv",
        2,
        "huge.zarr: needs 1,000,000,000,000",
    ),
    "Zarr of 10^6 × 10^6, whole": (
        "segment RUN huge.zarr --no-tiles --out OUT",
        3,
        "huge.zarr: needs 1,000,000,",
    ),
    "Zarr of 10^6 × 10^6, in tiles": ("segment RUN huge.zarr --out OUT", 3, "huge: the image needs 18,643 GiB"),
    "Zarr with a chunk of 10^6 × 10^6": (
        "segment RUN chunk.zarr --out OUT",
        3,
        "chunk.zarr: needs 1,000,000,000,",
    ),
    "Zarr with 10^8 chunks": (
        "segment RUN dust.zarr --no-tiles --out OUT",
        3,
        "dust.zarr: is stored in 100,020,001 chunks",
    ),
    "Zarr of 10^9 times": (
        "segment RUN times.zarr --out OUT",
        3,
        "times.zarr: is described as 1,000,000,000 images",
    ),
    "Zarr whose array is in another folder": ("segment RUN away.zarr --out OUT", 3, f"away.zarr: {_NO_IMAGE}"),
    "Zarr whose array is at an absolute path": ("segment RUN root.zarr --out OUT", 3, f"root.zarr: {_NO_IMAGE}"),
    "Zarr of pickled objects": ("segment RUN pickle.zarr --out OUT", 3, f"pickle.zarr: {_NO_IMAGE}"),
    "Zarr of texts": ("segment RUN texts.zarr --out OUT", 3, "texts.zarr: its values are not numbers but objects"),
    "Zarr with an axis called /": ("segment RUN slash.zarr --out OUT", 3, "slash.zarr: the names of its axes"),
    "Zarr without an image": ("segment RUN group.zarr --out OUT", 3, f"group.zarr: {_NO_IMAGE}"),
    "Zarr whose metadata are not JSON": ("segment RUN damaged.zarr --out OUT", 3, f"damaged.zarr: {_NO_IMAGE}"),
    "Zarr with a damaged chunk": ("segment RUN bits.zarr --out OUT", 3, "bits.zarr: the image is damaged"),
}


def _change(file: Path, *place: Any, to: Any) -> None:
    """Changes a value in metadata."""
    tree = at = json.loads(file.read_text())
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = to
    file.write_text(json.dumps(tree))


def make(folder: Path) -> None:
    for name in ("huge", "chunk", "dust", "away", "root", "bits", "damaged"):
        write_image(folder / f"{name}.zarr", GREY, "yx")
    _change(folder / "huge.zarr" / "0" / "zarr.json", "shape", to=[10**6, 10**6])
    _change(
        folder / "chunk.zarr" / "0" / "zarr.json", "chunk_grid", "configuration", "chunk_shape", to=[10**6, 10**6]
    )
    _change(folder / "dust.zarr" / "0" / "zarr.json", "shape", to=[10**4, 10**4])
    _change(folder / "dust.zarr" / "0" / "zarr.json", "chunk_grid", "configuration", "chunk_shape", to=[1, 1])
    shutil.rmtree(folder / "dust.zarr" / "0" / "c")  # a chunk that is not there is zeros
    path = ("attributes", "ome", "multiscales", 0, "datasets", 0, "path")
    _change(folder / "away.zarr" / "zarr.json", *path, to="../huge.zarr/0")
    _change(folder / "root.zarr" / "zarr.json", *path, to=str(folder / "huge.zarr" / "0"))
    (folder / "damaged.zarr" / "zarr.json").write_text('{"zarr_format": 3,')
    for chunk in (folder / "bits.zarr" / "0" / "c").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(b"\xff" * 20)
    for name, axes in {"times": "tyx", "slash": "/yx"}.items():
        write_image(folder / f"{name}.zarr", np.stack([GREY] * 2), axes)
    _change(folder / "times.zarr" / "0" / "zarr.json", "shape", to=[10**9, 40, 48])
    zarr.create_group(folder / "group.zarr")
    write_image(folder / "pickle.zarr", GREY, "yx", version="0.4")
    _change(folder / "pickle.zarr" / "0" / ".zarray", "filters", to=[{"id": "pickle"}])
    write_image(folder / "texts.zarr", GREY, "yx", version="0.4")
    group = zarr.open_group(folder / "texts.zarr", mode="a")
    del group["0"]
    group.create_array("0", shape=(4, 5), chunks=(4, 5), dtype="U3")
    image(folder / "ok.tif")
