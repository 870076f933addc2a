"""Images and their points, to be learned from: read from files, or found in nuclear stains."""

import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64

from wsis_jax.core import (
    ChannelChoice,
    Channels,
    UserError,
    channels_of,
    collecting_faults,
    in_short,
)
from wsis_jax.io import (
    Files,
    Named,
    PointUnit,
    is_in_colours,
    moved_inside,
    named_images,
    named_points,
    pair_with_partners,
    points_of_frames,
    read_facts,
    read_image,
    read_points,
)
from wsis_jax.points import check_unit, find_nuclei, inspect_points

# Frame, row, column, and channels if there are several: of an image and of its stain they may differ.
_Frames = Float32[np.ndarray, "_ _ _ *channels"]


class TrainingSet(NamedTuple):
    """Images and their points, to be trained on.

    Attributes:
        images: values of any range; each of one channel, or all of the same several channels.
        points: (row, column) of each image's cells, roughly.
        names: of the images, for messages and reports.
        uncertain: (row, column) of places in each image that may be cells without a point; they are left out of
            the loss. None: there are no such places.
    """

    images: list[Float32[np.ndarray, "_ _ *channels"]]
    points: list[Float64[np.ndarray, "_ 2"]]
    names: list[str]
    uncertain: list[Float64[np.ndarray, "_ 2"]] | None = None

    def add(
        self, image: Float32[np.ndarray, "_ _ *channels"], points: Float64[np.ndarray, "_ 2"], name: str
    ) -> None:
        """Adds an image with its points."""
        self.images.append(image)
        self.points.append(points)
        self.names.append(name)


def read_training_set(
    images: Files,
    points: Files,
    *,
    channel: ChannelChoice = None,
    points_in: PointUnit | None = None,
    pixel_size: float | None = None,
    axes: str | None = None,
) -> TrainingSet:
    """Reads images and points, each a file, a folder or a pattern, paired by name.

    An image without a point file, and a point file without an image, are left out with a warning; so is a page
    of a multi-page image that the point file does not mention.

    Args:
        images: images to learn from.
        points: files of the centroids in them.
        channel: the channels to learn from, as `read_image` takes them; `image.channels` of the settings of the
            training is to say the same, or None. None here: colours where all images have them, else grey values.
        points_in: "pixels", or "um" for micrometres; None for what the point files say, or else pixels.
        pixel_size: side of a pixel in µm, instead of what the image files tell.
        axes: names for the axes of TIFF files, as `read_image` takes them.

    Raises:
        MissingFile: if a name leads to no file.
        UserError: if a file cannot be read, no image and point file have the same name, or no image has a point;
            if points look as if they were in micrometres, as `check_unit` tells it, and `points_in` is None. It
            tells of ten files, and the number of others.
    """
    pairs = _pair(images, named_points(points), partner="point file", example="a.tif and a.csv")
    channel = _colours_or_grey([image for image, _ in pairs], axes) if channel is None else channel
    result = TrainingSet([], [], [])
    with collecting_faults() as fault:
        for image_path, points_path in pairs:
            with fault():
                for image, own, name in _read_pair(
                    image_path, points_path, channel=channel, points_in=points_in, pixel_size=pixel_size, axes=axes
                ):
                    result.add(image, own, name)
    if not any(map(len, result.points)):
        raise UserError(
            f"{pairs[0][1]}: holds no point, nor does any other file, so there is nothing to learn; add some"
        )
    return result


def _read_pair(
    image_path: Path,
    points_path: Path,
    *,
    channel: ChannelChoice,
    points_in: PointUnit | None,
    pixel_size: float | None,
    axes: str | None,
) -> list[tuple[Float32[np.ndarray, "_ _ *channels"], Float64[np.ndarray, "_ 2"], str]]:
    """Returns the images of a file that have points, with these and a name; an error tells of both files."""
    try:
        facts = read_facts(image_path, channel=channel, axes=axes)
        frames = read_image(image_path, channel=channel, axes=axes)
    except UserError:
        with collecting_faults() as fault:
            with fault():
                raise
            with fault():  # of the points, whether they can be read
                read_points(points_path, unit="pixels", planes={})
        raise
    size = pixel_size or facts.pixel_size
    by_frame = points_of_frames(
        points_path, len(frames), image=image_path, unit=points_in, pixel_size=size, planes=facts.planes
    )
    found = []
    with collecting_faults() as fault:
        for index, own in by_frame.items():
            frame, name = frames[index], _name(image_path, points_path, index, len(frames))
            with fault():
                if points_in is None:
                    check_unit(frame, own, size, name=name)
                found.append((frame, moved_inside(own, (frame.shape[0], frame.shape[1]), name=name), name))
    if left_out := sorted(set(range(len(frames))) - set(by_frame)):
        are, have = ("is", "it has") if len(left_out) == 1 else ("are", "they have")
        warnings.warn(
            f"{image_path}: page {in_short(left_out)} {are} left out, since {have} no points", stacklevel=3
        )
    return found


def read_stained_set(
    images: Files,
    stains: Files,
    *,
    channel: ChannelChoice = None,
    nuclear_channel: int | None = None,
    nuclear_diameter: float | None = None,
    axes: str | None = None,
) -> TrainingSet:
    """Reads images and finds their points in images of a nuclear stain: the centres of the nuclei.

    Images and stains are files, folders or patterns, paired by name, and frame by frame. They may be two channels
    of the same files. An image without a stain, and a stain without an image, are left out with a warning; so is
    an image in whose stain there is no nucleus, since its cells may not have been stained.

    Args:
        images: images to learn from.
        stains: images of the nuclear stain in the same places, at the same magnification; nuclei are bright.
        channel: the channels to learn from, as in `read_training_set`.
        nuclear_channel: the channel of the stain, counted from 0.
        nuclear_diameter: the typical diameter of a nucleus in pixels; None to estimate it from each stain.
        axes: names for the axes of TIFF files, images and stains, as `read_image` takes them.

    Raises:
        MissingFile: if a name leads to no file.
        UserError: if a file cannot be read, no image and stain have the same name, or an image and its stain
            differ in size or number of frames or are the same pixels; if no nucleus was found in any stain, or
            `nuclear_diameter` is not above 0 or exceeds a stain. It tells of ten files, and the number of others.
    """
    if nuclear_diameter is not None and not nuclear_diameter > 0:  # not once for each stain
        raise UserError(
            f"the nuclear diameter must be above 0, not {nuclear_diameter}; give that of a nucleus in pixels"
        )
    example = "images/a.tif and stains/a.tif"
    pairs = _pair(images, named_images(stains), partner="stain", example=example)
    result, empty = TrainingSet([], [], []), []
    with collecting_faults() as fault:
        for image_path, stain_path in pairs:
            with fault():
                if channels_of(channel) == channels_of(nuclear_channel) and image_path.samefile(stain_path):
                    raise UserError(
                        f"{image_path}: is the image and its own stain; give other files of the stain, or tell "
                        "the two channels apart (--channel, --nuclear-channel)"
                    )
                frames, stain = _read_both(image_path, stain_path, channel, nuclear_channel, axes)
                for index, frame in enumerate(frames):
                    name = _name(image_path, stain_path, index, len(frames))
                    points = nuclear_points(stain[index], stain_path, nuclear_diameter)
                    if len(points):
                        result.add(frame, points, name)
                    else:
                        empty.append(name)
    if not result.images:
        raise UserError(
            f"{pairs[0][1]}: no nucleus was found in this stain, nor in any other, so there is nothing to learn; "
            "check that it is the stain, and the channel of it (--nuclear-channel)"
        )
    if empty:
        warnings.warn(f"{in_short(empty)}: left out, since no nucleus was found in its stain", stacklevel=2)
    return result


def _colours_or_grey(paths: Sequence[Path], axes: str | None) -> Channels:
    """Returns what images are learned from if nobody chose; warns where colours are lost.

    Those that cannot be read have no say: the error comes when they are read.
    """
    told: dict[Path, bool] = {}
    for path in paths:
        with suppress(UserError):
            told[path] = is_in_colours(path, axes=axes)
    paths, coloured = list(told), [path for path, colours in told.items() if colours]
    if 0 < len(coloured) < len(paths):
        warnings.warn(
            f"{coloured[0]}: is in colours and {next(path for path in paths if path not in coloured)} is not, so "
            "that all images are learned from in grey values; for colours leave the grey ones out",
            stacklevel=3,
        )
    return "colours" if len(coloured) == len(paths) else "grey"


def _read_both(
    image: Path, stain: Path, channel: ChannelChoice, nuclear_channel: int | None, axes: str | None
) -> tuple[_Frames, _Frames]:
    """Returns the frames of an image and of its stain, which must be alike; an error tells of both files."""
    with collecting_faults() as fault:
        with fault():
            frames = read_image(image, channel=channel, axes=axes)
        with fault():
            of_stain = read_image(stain, channel=nuclear_channel, axes=axes)
    _check_alike(frames, of_stain, image, stain)
    return frames, of_stain


def nuclear_points(
    stain: Float32[np.ndarray, "height width"], path: Path, diameter: float | None
) -> Float64[np.ndarray, "nuclei 2"]:
    """Returns the centres of the nuclei; an error names the file of the stain."""
    try:
        return find_nuclei(stain, diameter=diameter).points
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def with_uncertain(data: TrainingSet) -> TrainingSet:
    """Returns the set with `uncertain`: places that look like cells and have no point."""
    reports = inspect_points(data.names, data.points, data.images)
    return data._replace(uncertain=[report.missing for report in reports])


def _pair(images: Files, partners: Named, *, partner: str, example: str) -> list[tuple[Path, Path]]:
    """Pairs images with other files by name, and warns of those left over; `partner` is what the others are."""
    return pair_with_partners(named_images(images), partners, partner=partner, example=example)


def _check_alike(image: _Frames, stain: _Frames, image_path: Path, stain_path: Path) -> None:
    """Refuses a stain of another size or number of frames than its image's."""
    if image.shape[1:3] != stain.shape[1:3]:
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
