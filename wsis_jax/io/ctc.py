"""Sequences of the Cell Tracking Challenge (https://celltrackingchallenge.net): reads points, writes masks.

A dataset is a folder of sequences 01, 02, …: images 01/t000.tif, …, their markers 01_GT/TRA/man_track000.tif, …
and results 01_RES/mask000.tif, … with 01_RES/res_track.txt. The number is that of the frame and has three digits
or four. Markers are always gold truth (01_GT), since the silver truth (01_ST) holds outlines alone.
"""

import re
import warnings
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from wsis_jax.core import MissingFile, UserError, in_short
from wsis_jax.io.label_file import count_frames, read_labels, read_shape
from wsis_jax.metrics import centroids


class MarkedImage(NamedTuple):
    """An image of a sequence, and the centroids of its markers."""

    image: Path
    points: Float64[np.ndarray, "markers 2"]  # (row, column) in pixels


def read_ctc_points(sequence: str | Path) -> list[MarkedImage]:
    """Reads the centroids of the tracking markers of a two-dimensional sequence, one point per marker.

    Images without a file of markers, and files of markers without an image, are left out with a warning. A file
    that holds no marker is a frame without a cell.

    Args:
        sequence: The folder of the images, as dataset/01. Its markers are in dataset/01_GT/TRA.

    Returns:
        The images with their points, by rising frame.

    Raises:
        MissingFile: If there is no such folder, or no folder of markers.
        UserError: If a folder holds no image, or two of one frame; if no frame has markers; if the sequence is
            three-dimensional; if a file cannot be read, or an image and its markers differ in size.
    """
    sequence = Path(sequence).absolute()
    markers = sequence.with_name(f"{sequence.name}_GT") / "TRA"
    if not sequence.is_dir():
        raise MissingFile(f"{sequence}: there is no such folder; give that of the images, as dataset/01")
    image_of = _by_frame(sequence, "t")
    if not markers.is_dir():
        raise MissingFile(
            f"{markers}: there is no such folder; give a training sequence, whose markers are public"
        )
    markers_of = _by_frame(markers, "man_track")
    common = sorted(image_of.keys() & markers_of.keys())
    if not common:
        raise UserError(f"{markers}: none of its frames is in {sequence}; give folders of the same sequence")
    if unmarked := [path for frame, path in image_of.items() if frame not in markers_of]:
        warnings.warn(f"{in_short(unmarked)}: left out, since the frame has no markers", stacklevel=2)
    if lonely := [path for frame, path in markers_of.items() if frame not in image_of]:
        warnings.warn(f"{in_short(lonely)}: left out, since the frame has no image", stacklevel=2)
    return [_read_frame(image_of[frame], markers_of[frame]) for frame in common]


def _by_frame(folder: Path, prefix: str) -> dict[int, Path]:
    """Returns the files <prefix>TTT.tif of a folder by their frame, rising."""
    matches = [(re.fullmatch(prefix + r"([0-9]+)\.tif", path.name), path) for path in folder.iterdir()]
    files = sorted((int(match[1]), path) for match, path in matches if match)
    if not files:
        raise UserError(f"{folder}: holds no {prefix}000.tif, {prefix}001.tif, …; give a sequence, as dataset/01")
    for (frame, path), (following, other) in pairwise(files):
        if frame == following:
            raise UserError(f"{path}: {other} is of the same frame; remove one of them")
    return dict(files)


def _read_frame(image: Path, markers: Path) -> MarkedImage:
    """Reads the points of one frame."""
    for path in (image, markers):
        if (planes := count_frames(path)) > 1:
            raise UserError(f"{path}: has {planes} planes; give a sequence in two dimensions")
    labels, shape = read_labels(markers), read_shape(image)
    if labels.shape != shape:
        raise UserError(
            f"{markers}: is {labels.shape[0]} × {labels.shape[1]} pixels but {image} is {shape[0]} × {shape[1]}; "
            "give markers of this image"
        )
    return MarkedImage(image, centroids(labels))
