"""What is fuzzed: readers, each with whole files to begin with, and the rule that all of them keep.

A reader takes any bytes and either reads them or raises one of a few errors with one sentence. `fuzz/run`
does it for a night with atheris; `tests/end_to_end/test_fuzz.py` for seconds with hypothesis.
"""

import io
import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import numpy as np
import tifffile
import zarr
from PIL import Image
from roifile import ROI_TYPE, ImagejRoi

from wsis_jax.cli.report import write_report
from wsis_jax.core import Config
from wsis_jax.io import read_image, read_points
from wsis_jax.network import load_config
from wsis_jax.segmentation import Manifest
from wsis_jax.training import load_facts, read_metrics, training_report

ALLOWED = (ValueError, OSError)
"""What a reader may raise; anything else is a mistake of ours."""

_MEMORY = 256 << 20  # bytes, so that what is allowed is read in a second

_GREY = np.random.default_rng(0).integers(0, 255, (24, 20)).astype(np.uint8)


class Target(NamedTuple):
    """A reader, the name that its file has, and whole files."""

    read: Callable[[Path], object]
    name: str
    seeds: list[bytes]


def check(target: Target, data: bytes, folder: Path) -> bool:
    """Reads bytes as a file in an empty folder, and tells if they could be read.

    Raises:
        Exception: what no reader may raise.
    """
    path = folder / target.name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    try:
        with mock.patch("wsis_jax.core.limits.memory", return_value=_MEMORY):
            target.read(path)
    except ALLOWED as error:
        if not 0 < len(str(error)) < 2000:
            raise RuntimeError("the message is not a sentence") from error
        return False
    return True


def once(target: Target, data: bytes) -> bool:
    """Does `check` in a folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        return check(target, data, folder)
    finally:
        shutil.rmtree(folder)


def _tiff(values: np.ndarray, **options: object) -> bytes:
    tifffile.imwrite(file := io.BytesIO(), values, **options)  # pyrefly: ignore[bad-argument-type]
    return file.getvalue()


def _picture(kind: str, values: np.ndarray) -> bytes:
    Image.fromarray(values).save(file := io.BytesIO(), format=kind)
    return file.getvalue()


def _tiffs() -> list[bytes]:
    film, colour = np.stack([_GREY, _GREY]), np.stack([_GREY] * 3, -1)
    return [
        _tiff(_GREY),
        _tiff(film, ome=True, metadata={"axes": "TYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}),
        _tiff(film, imagej=True, metadata={"axes": "TYX", "unit": "um"}),
        _tiff(film, compression="zlib", tile=(16, 16)),
        _tiff(_GREY.astype(np.uint16), compression="lzw"),
        _tiff(colour, photometric="rgb", compression="jpeg"),
        _tiff(_GREY.astype(np.float32), bigtiff=True, predictor=True, compression="zstd"),
    ]


def _pictures() -> list[bytes]:
    colour = np.stack([_GREY] * 3, -1)
    return [_picture(kind, one) for kind in ("PNG", "JPEG") for one in (_GREY, colour)]


def _rois() -> list[bytes]:
    corners = np.array([(20, 10), (40, 30), (5, 60)])
    point, polygon = ImagejRoi.frompoints(corners, t=2), ImagejRoi.frompoints(corners.astype(np.float32), name="a")
    point.roitype, point.counters, point.counter_positions = ROI_TYPE.POINT, np.zeros(3, np.uint8), np.arange(1, 4)
    path = np.array([0, 1, 1, 1, 9, 1, 2, 9, 9, 1, 9, 4], np.float32)
    oval = ImagejRoi(roitype=ROI_TYPE.OVAL, left=4, top=2, right=9, bottom=7, position=3)
    composite = ImagejRoi(roitype=ROI_TYPE.RECT, multi_coordinates=path, shape_roi_size=len(path))
    return [roi.tobytes() for roi in (point, polygon, oval, composite)]


def _archive(entries: list[bytes]) -> bytes:
    with zipfile.ZipFile(file := io.BytesIO(), "w") as archive:
        for number, entry in enumerate(entries):
            archive.writestr(f"{number}.roi", entry)
    return file.getvalue()


def _zarr_metadata(version: int) -> bytes:
    """Returns what describes an array of zarr."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        zarr.create_array(folder / "a", shape=(4, 5), chunks=(4, 5), dtype="uint16", zarr_format=version)
        return (folder / "a" / ("zarr.json" if version == 3 else ".zarray")).read_bytes()
    finally:
        shutil.rmtree(folder)


_ATTRIBUTES = {
    "version": "0.5",
    "multiscales": [
        {
            "axes": [{"name": "y", "type": "space", "unit": "micrometer"}, {"name": "x", "type": "space"}],
            "datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [0.5, 0.5]}]}],
        }
    ],
}
_GROUP = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": _ATTRIBUTES}}


def _read_zarr_group(path: Path) -> object:
    (path.parent / "0").mkdir(exist_ok=True)
    (path.parent / "0" / "zarr.json").write_bytes(_zarr_metadata(3))
    return read_image(path.parent)


def _read_zarr_array(path: Path) -> object:
    (path.parents[1] / "zarr.json").write_text(json.dumps(_GROUP))
    return read_image(path.parents[1])


def _read_old_zarr_array(path: Path) -> object:
    (path.parents[1] / ".zgroup").write_text('{"zarr_format": 2}')
    (path.parents[1] / ".zattrs").write_text(json.dumps(_ATTRIBUTES))
    return read_image(path.parents[1])


def _read_run(path: Path) -> object:
    (path.parent / "config.json").write_text(json.dumps(Config().override(["likelihood.sigma=4"]).to_dict()))
    return training_report(path.parent)


_FIGURES = {"loss": 0.1, "validation_loss": 0.2, "f_measure": 0.5, "precision": 0.5, "recall": 0.5}
_FACTS = {
    "images": [{"name": "a", "height": 9, "width": 9, "points": 3, "spacing": 2.5, "held_out": False}],
    "versions": {"jax": "0.9"},
}
_SUMMARY = {
    "run": "run",
    "images": [{"name": "a", "source": "a.tif", "cells": 3, "warnings": ["dark"]}],
    "failed": [{"name": "b", "source": "b.tif", "warnings": [], "error": "b.tif: is empty"}],
    "config": Config().to_dict(),
    "versions": {"jax": "0.9"},
}
_ENTRY = {"name": "a", "key": "0f", "cells": 3, "warnings": [], "files": ["a_labels.tif"]}

TARGETS = {
    "tiff": Target(read_image, "a.tif", _tiffs()),
    "picture": Target(read_image, "a.png", _pictures()),
    "points": Target(
        read_points,
        "a.csv",
        [
            b"index,axis-0,axis-1,axis-2\n0,0,1.5,2\n1,1,3,4\n",
            b" ,X,Y,Frame,Slice\n1,2.25,3,1,1\n2,4,5,2,1\n",
            b"\xef\xbb\xbf# frame, x, y\n0, 1, 2\n",
            b'row;"column"\n1;2\n\n3;4e1\n',
        ],
    ),
    "rois": Target(read_points, "a.roi", _rois()),
    "archive of rois": Target(read_points, "a.zip", [_archive(_rois()[1::2])]),
    "config": Target(
        lambda path: load_config(path.parent), "config.json", [json.dumps(Config().to_dict(), indent=1).encode()]
    ),
    "facts": Target(
        lambda path: (load_facts(path.parent), _read_run(path)), "training.json", [json.dumps(_FACTS).encode()]
    ),
    "metrics": Target(
        lambda path: (read_metrics(path.parent), _read_run(path)),
        "metrics.jsonl",
        [json.dumps({"step": 9, "best_step": 9, **_FIGURES}).encode() + b"\n"],
    ),
    "manifest": Target(
        lambda path: Manifest(path.parent).finished(Path("a.tif"), "a", "0f"),
        "manifest.jsonl",
        [json.dumps(_ENTRY).encode() + b"\n" + json.dumps(_ENTRY | {"name": "b"}).encode() + b"\n"],
    ),
    "summary": Target(
        lambda path: write_report(path.parents[1]), "report/summary.json", [json.dumps(_SUMMARY).encode()]
    ),
    "zarr_group": Target(_read_zarr_group, "zarr.json", [json.dumps(_GROUP).encode()]),
    "zarr_array": Target(_read_zarr_array, "0/zarr.json", [_zarr_metadata(3)]),
    "old_zarr_array": Target(_read_old_zarr_array, "0/.zarray", [_zarr_metadata(2)]),
}
