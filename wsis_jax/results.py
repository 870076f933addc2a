"""The kinds of files that segmentations are written as.

A kind is a context manager: it takes the folder and the names of all images that may come, refuses names that do
not suit it, and lends a function that writes one result. What tells of all images is written at the end.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

from wsis_jax.ctc import writing_ctc
from wsis_jax.frames import Frame
from wsis_jax.imageio import write_labels, write_picture
from wsis_jax.pictures import overlay
from wsis_jax.points import write_points
from wsis_jax.segmentation import Segmentation

Write = Callable[[Frame, Segmentation], list[Path]]
"""Writes the result of an image, and returns the files written."""

Writing = Callable[[Path, Sequence[str]], AbstractContextManager[Write]]
"""Opens a folder for the results of the images of these names."""


@contextmanager
def writing_files(out: Path, names: Sequence[str]) -> Generator[Write, None, None]:
    """Writes `<name>_labels.tif`, `<name>_overlay.png` and `<name>_points.csv` (the detected cells)."""

    def write(frame: Frame, result: Segmentation) -> list[Path]:
        files = [out / f"{frame.name}_{ending}" for ending in ("overlay.png", "points.csv", "labels.tif")]
        write_picture(files[0], overlay(frame.image, result.labels, result.points))
        write_points(files[1], result.points)
        write_labels(files[2], result.labels)  # last: where it is, all is
        return files

    yield write


@contextmanager
def writing_masks(out: Path, names: Sequence[str]) -> Generator[Write, None, None]:
    """Writes `mask<frame>.tif` for an image, and `res_track.txt`; see `writing_ctc`."""
    with writing_ctc(out, names) as write:
        yield lambda frame, result: [write(frame.name, result.labels)]


class Format(NamedTuple):
    """What is written of images, and whether a batch that stopped can go on in the same folder."""

    writing: Writing
    resumable: bool


FILES = Format(writing_files, resumable=True)
# Labels are unique only among masks that are written together.
FORMATS = {"files": FILES, "ctc": Format(writing_masks, resumable=False)}
