"""Reading training sets: images, and the points in them that are given or found in a nuclear stain."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64

from wsis_jax.core import UserError
from wsis_jax.io import (
    IMAGE_SUFFIXES,
    POINT_SUFFIXES,
    Where,
    list_files,
    name_some,
    pair_by_stem,
    read_image,
    read_points,
)
from wsis_jax.points import find_nuclei, inspect_points

_Frames = Float32[np.ndarray, "_ _ _"]  # frame, row, column: of an image and of its stain they may differ


class TrainingSet(NamedTuple):
    """Images with their points, as `train` takes them; `names` tell the files in messages."""

    images: list[Float32[np.ndarray, "_ _"]]
    points: list[Float64[np.ndarray, "_ 2"]]
    names: list[str]

    def add(self, image: Float32[np.ndarray, "_ _"], points: Float64[np.ndarray, "_ 2"], name: str) -> None:
        """Adds an image with its points."""
        self.images.append(image)
        self.points.append(points)
        self.names.append(name)


def read_training_set(images: Where, points: Where, *, channel: int | None = None) -> TrainingSet:
    """Reads images and points, each a file, a folder or a pattern, paired by stem.

    An image without a point file, and a point file without an image, are left out with a warning; so is a page
    of a multi-page image that the point file does not mention.

    Args:
        images: images to learn from.
        points: files of the centroids in them.
        channel: the channel to learn from, counted from 0, as `read_image` takes it.

    Raises:
        MissingFile: if a name leads to no file.
        UserError: if a file cannot be read, no image and point file have the same stem, or no
            image has a point.
    """
    pairs = _pair(images, points, suffixes=POINT_SUFFIXES, partner="point file", example="a.tif and a.csv")
    result = TrainingSet([], [], [])
    for image_path, points_path in pairs:
        frames, by_frame = read_image(image_path, channel=channel), read_points(points_path)
        if len(frames) == 1 and len(by_frame) == 1:
            # Of a single image it does not matter what its frame is called.
            by_frame = {0: next(iter(by_frame.values()))}
        if beyond := [frame for frame in by_frame if frame >= len(frames)]:
            raise UserError(
                f"{points_path}: has points in frame {beyond[0]}, but {image_path} has {len(frames)} frame(s), "
                "counted from 0; correct the frame numbers"
            )
        for index, frame in enumerate(frames):
            if index not in by_frame:
                warnings.warn(f"{image_path}: page {index} is left out, since it has no points", stacklevel=2)
                continue
            result.add(frame, by_frame[index], _name(image_path, points_path, index, len(frames)))
    if not any(map(len, result.points)):
        raise UserError(
            f"{pairs[0][1]}: holds no point, nor does any other file, so there is nothing to learn; add some"
        )
    return result


def read_stained_set(
    images: Where, stains: Where, *, channel: int | None = None, nuclear_channel: int | None = None
) -> TrainingSet:
    """Reads images and finds their points in images of a nuclear stain: the centres of the nuclei.

    Images and stains are files, folders or patterns, paired by stem, and frame by frame. They may be the very same
    files, of which the two channels then tell which is which. An image without a stain, and a stain without an
    image, are left out with a warning; so is an image in whose stain there is no nucleus, since that says nothing
    about cells without stain.

    Args:
        images: images to learn from.
        stains: images of the nuclear stain in the same places, at the same magnification; nuclei are bright.
        channel: the channel to learn from, counted from 0, as `read_image` takes it.
        nuclear_channel: the channel of the stain, in the same way.

    Raises:
        MissingFile: if a name leads to no file.
        UserError: if a file cannot be read, no image and stain have the same stem, or an image and its stain
            differ in size or number of frames or are the same pixels; if no nucleus was found in any stain.
    """
    pairs = _pair(
        images, stains, suffixes=IMAGE_SUFFIXES, partner="stain", example="images/a.tif and stains/a.tif"
    )
    result, empty = TrainingSet([], [], []), []
    for image_path, stain_path in pairs:
        if channel == nuclear_channel and image_path.samefile(stain_path):
            raise UserError(
                f"{image_path}: is the image and its own stain; give other files of the stain, or tell the two "
                "channels apart (--channel, --nuclear-channel)"
            )
        frames, stain = read_image(image_path, channel=channel), read_image(stain_path, channel=nuclear_channel)
        _check_alike(frames, stain, image_path, stain_path)
        for index, frame in enumerate(frames):
            name, nuclei = _name(image_path, stain_path, index, len(frames)), find_nuclei(stain[index])
            if len(nuclei.points):
                result.add(frame, nuclei.points, name)
            else:
                empty.append(name)
    if not result.images:
        raise UserError(
            f"{pairs[0][1]}: no nucleus was found in this stain, nor in any other, so there is nothing to learn; "
            "check that it is the stain, and the channel of it (--nuclear-channel)"
        )
    for name in empty:
        warnings.warn(f"{name}: left out, since no nucleus was found in its stain", stacklevel=2)
    return result


def unmarked(data: TrainingSet) -> list[Float64[np.ndarray, "_ 2"]]:
    """Returns the (row, column) of places in each image that look like cells and have no point."""
    return [report.missing for report in inspect_points(data.names, data.points, data.images)]


def _pair(
    images: Where, partners: Where, *, suffixes: Sequence[str], partner: str, example: str
) -> list[tuple[Path, Path]]:
    """Pairs images with other files by stem, and warns of those that are left over; `partner` names the others."""
    pairs, lonely_images, lonely_partners = pair_by_stem(
        list_files(images, suffixes=IMAGE_SUFFIXES), list_files(partners, suffixes=suffixes)
    )
    if not pairs:
        raise UserError(
            f"{lonely_images[0]}: neither this image nor any other has a {partner} of its name; "
            f"name them alike, as in {example}"
        )
    if lonely_images:
        warnings.warn(f"{name_some(lonely_images)}: left out, since no {partner} has that name", stacklevel=3)
    if lonely_partners:
        warnings.warn(f"{name_some(lonely_partners)}: left out, since no image has that name", stacklevel=3)
    return pairs


def _check_alike(image: _Frames, stain: _Frames, image_path: Path, stain_path: Path) -> None:
    """Refuses a stain of another size or number of frames than its image's."""
    if image.shape[1:] != stain.shape[1:]:
        raise UserError(
            f"{image_path}: is {image.shape[1]} × {image.shape[2]} pixels but its stain {stain_path} is "
            f"{stain.shape[1]} × {stain.shape[2]}; give a stain of the same size"
        )
    if len(image) != len(stain):
        raise UserError(
            f"{image_path}: has {len(image)} frame(s) but its stain {stain_path} has {len(stain)}; give a stain "
            "for each frame, or choose the channels (--channel, --nuclear-channel)"
        )


def _name(image_path: Path, partner: Path, frame: int, frames: int) -> str:
    """Returns what to call an image in messages: its file, that of its points if it is another, and the frame."""
    name = str(image_path) if image_path == partner else f"{image_path} with {partner}"
    return name if frames == 1 else f"{name}, frame {frame}"
