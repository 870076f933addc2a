"""Masks as results of the Cell Tracking Challenge."""

import re
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Int32
from skimage.segmentation import relabel_sequential

from wsis_jax.core import UserError, write_text
from wsis_jax.io import write_labels

Labels = Int32[np.ndarray, "height width"]

WriteMask = Callable[[str, Labels], Path]

_MOST_LABELS = np.iinfo(np.uint16).max  # in a sequence, for the challenge's own programs


@contextmanager
def writing_ctc(out: Path, names: Sequence[str]) -> Generator[WriteMask, None, None]:
    """Context manager yielding a function that writes the mask of a frame into a folder such as dataset/01_RES.

    Nothing is tracked: every cell is a track of its own, of one frame, with a label that no other frame has. The
    tracks are written when the block is left, also by an error. The masks have 16 bits up to 65,535 cells in the
    sequence; from the mask that exceeds them on 32, with a warning.

    Args:
        out: The folder to write to, without results as yet.
        names: All images that may come, in order; see `frame_numbers`.

    Yields:
        A function that takes the name of an image and its labels, 0 for background, and returns the file.

    Raises:
        UserError: If two images are of the same frame, or the folder holds results: labels are unique only among
            masks that are written together.
    """
    numbers = frame_numbers(names)
    if old := [*out.glob("mask*.tif"), *out.glob("res_track.txt")]:
        raise UserError(f"{old[0]}: the folder holds results already; give another one")
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
        UserError: If two names end in the same number.
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
            raise UserError(
                f"{by_number[number]} and {name} would both be mask{number}.tif; give the images of one sequence "
                "at a time, or rename one"
            )
        by_number[number] = name
    return {name: number for number, name in by_number.items()}
