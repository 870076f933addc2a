"""Sequences of the Cell Tracking Challenge (https://celltrackingchallenge.net): reads points, writes masks.

A dataset is a folder of sequences 01, 02, …: images 01/t000.tif, …, their markers 01_GT/TRA/man_track000.tif, …
and results 01_RES/mask000.tif, … with 01_RES/res_track.txt. The number is that of the frame and has three digits
or four. The challenge's silver truth (01_ST) holds outlines alone, so that markers are always gold truth.
"""

import re
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int32
from skimage.segmentation import relabel_sequential

from wsis_jax.files import name_some, write_text
from wsis_jax.imageio import count_frames, read_labels, read_shape, write_labels
from wsis_jax.metrics import centroids

Labels = Int32[np.ndarray, "height width"]
WriteMask = Callable[[str, Labels], Path]

_MOST_LABELS = np.iinfo(np.uint16).max  # in a sequence, for the challenge's own programs


class MarkedImage(NamedTuple):
    """An image of a sequence, and the centroids of its markers."""

    image: Path
    points: Float64[np.ndarray, "markers 2"]  # (row, column) in pixels


def read_ctc_points(sequence: str | Path) -> list[MarkedImage]:
    """Reads the centroids of the tracking markers of a two-dimensional sequence, one point a marker.

    A frame whose markers are no file, and markers whose image is none, are left out with a warning. An image of
    markers that holds none is a frame without a cell.

    Args:
        sequence: The folder of the images, as dataset/01. Markers are looked for beside it, in dataset/01_GT/TRA.

    Returns:
        The images with points, by frame.

    Raises:
        FileNotFoundError: If there is no such folder, or none with markers.
        ValueError: If a folder holds no image or two of one frame, or no frame has markers; if the sequence is
            three-dimensional; if a file cannot be read, or an image and its markers differ in size.
    """
    sequence = Path(sequence).absolute()
    markers = sequence.with_name(f"{sequence.name}_GT") / "TRA"
    if not sequence.is_dir():
        raise FileNotFoundError(f"{sequence}: there is no such folder; give that of the images, as dataset/01")
    image_of = _by_frame(sequence, "t")
    if not markers.is_dir():
        raise FileNotFoundError(
            f"{markers}: there is no such folder; give a training sequence, whose markers are public"
        )
    markers_of = _by_frame(markers, "man_track")
    common = sorted(image_of.keys() & markers_of.keys())
    if not common:
        raise ValueError(f"{markers}: no frame is one of {sequence}; give folders of the same sequence")
    if unmarked := [path for frame, path in image_of.items() if frame not in markers_of]:
        warnings.warn(f"{name_some(unmarked)}: left out, since the frame has no markers", stacklevel=2)
    if lonely := [path for frame, path in markers_of.items() if frame not in image_of]:
        warnings.warn(f"{name_some(lonely)}: left out, since the frame has no image", stacklevel=2)
    return [_read_frame(image_of[frame], markers_of[frame]) for frame in common]


def _by_frame(folder: Path, prefix: str) -> dict[int, Path]:
    """Returns the files <prefix>TTT.tif of a folder by their frame, rising."""
    matches = [(re.fullmatch(prefix + r"([0-9]+)\.tif", path.name), path) for path in folder.iterdir()]
    files = sorted((int(match[1]), path) for match, path in matches if match)
    if not files:
        raise ValueError(f"{folder}: holds no {prefix}000.tif, {prefix}001.tif, …; give a sequence, as dataset/01")
    for (frame, path), (following, other) in pairwise(files):
        if frame == following:
            raise ValueError(f"{path}: {other} is of the same frame; remove one of them")
    return dict(files)


def _read_frame(image: Path, markers: Path) -> MarkedImage:
    """Reads the points of one frame."""
    for path in (image, markers):
        if (planes := count_frames(path)) > 1:
            raise ValueError(f"{path}: has {planes} planes; give a sequence in two dimensions")
    labels, shape = read_labels(markers), read_shape(image)
    if labels.shape != shape:
        raise ValueError(
            f"{markers}: is {labels.shape[0]} × {labels.shape[1]} pixels but {image} is {shape[0]} × {shape[1]}; "
            "give markers of this image"
        )
    return MarkedImage(image, centroids(labels))


@contextmanager
def writing_ctc(out: Path, names: Sequence[str]) -> Generator[WriteMask, None, None]:
    """Lends a function that writes the label image of a frame into a folder of results, such as dataset/01_RES.

    Nothing is tracked: every cell is a track of its own, of one frame, with a label that no other frame has. The
    tracks are written when the block is left, also by an error. The masks have 16 bits up to 65,535 cells in the
    sequence; from the mask that exceeds them on 32, with a warning.

    Args:
        out: The folder to write to, without results as yet.
        names: All images that may come, in order; see `frame_numbers`.

    Yields:
        A function that takes the name of an image and its labels, 0 for background, and returns the file.

    Raises:
        ValueError: If two images are of the same frame, or the folder holds results: labels are unique only among
            masks that are written together.
    """
    numbers = frame_numbers(names)
    if old := [*out.glob("mask*.tif"), *out.glob("res_track.txt")]:
        raise ValueError(f"{old[0]}: the folder holds results already; give another one")
    tracks: list[str] = []

    def write(name: str, labels: Labels) -> Path:
        before = len(tracks)
        unique, *_ = relabel_sequential(labels, offset=before + 1)
        file = out / f"mask{numbers[name]}.tif"
        write_labels(file, unique)
        frame = int(numbers[name])
        tracks.extend(f"{label} {frame} {frame} 0\n" for label in range(before + 1, unique.max() + 1))
        if before <= _MOST_LABELS < len(tracks):
            warnings.warn(
                f"the sequence has more than {_MOST_LABELS:,} cells, so masks have 32 bits from here on, but the "
                "challenge's own programs read 16; segment fewer images at a time for these",
                stacklevel=2,
            )
        return file

    try:
        yield write
    finally:
        write_text(out / "res_track.txt", "".join(tracks))


def frame_numbers(names: Sequence[str]) -> dict[str, str]:
    """Returns the frame of each image by its name, in as many digits as the longest number has, or in three.

    They are the numbers at the end of the names, as of t012 or of the page film_0012; unless a name has none: then
    the images are numbered in order, from 0.

    Raises:
        ValueError: If two names end in the same number.
    """
    found = [re.search(r"[0-9]+$", name) for name in names]
    texts = [match[0] for match in found if match]
    if len(texts) < len(names):
        texts = [str(index) for index in range(len(names))]
    width = max([3, *map(len, texts)])
    by_number: dict[str, str] = {}
    for name, text in zip(names, texts, strict=True):
        number = f"{int(text):0{width}d}"
        if number in by_number:
            raise ValueError(
                f"{by_number[number]} and {name} would both be mask{number}.tif; give the images of one sequence "
                "at a time, or rename one"
            )
        by_number[number] = name
    return {name: number for number, name in by_number.items()}
