"""Points on their way between files: from clicks, stains, label images or CTC folders, beside their images."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64

from wsis_jax.core import EXPECTED_ERRORS, UserError, sentence
from wsis_jax.io import (
    IMAGE_SUFFIXES,
    LABEL_SUFFIXES,
    POINT_SUFFIXES,
    PointFormat,
    Where,
    list_files,
    read_ctc_points,
    read_image,
    read_labels,
    read_points,
    stem,
    write_picture,
    write_points,
)
from wsis_jax.metrics import centroids
from wsis_jax.output import points_picture
from wsis_jax.points import PointReport, find_nuclei

ByFrame = Mapping[int, Float64[np.ndarray, "_ 2"]]


class PointFiles(NamedTuple):
    """Points by the stem of the file that they come from, and what could not be read."""

    by_stem: dict[str, ByFrame]
    errors: list[str]


class PointSet(NamedTuple):
    """The points of one image, and the image if there is one."""

    stem: str
    frame: int
    frames: int  # of the file
    points: Float64[np.ndarray, "points 2"]
    image: Float32[np.ndarray, "height width"] | None  # grey values as stored

    @property
    def name(self) -> str:
        """The stem, and the frame where there are several."""
        return self.stem if self.frames == 1 else f"{self.stem}_{self.frame:04d}"


def from_files(points: Where) -> PointFiles:
    """Reads point files, of whatever kind; see `read_points`."""
    return _read(list_files(points, suffixes=POINT_SUFFIXES), read_points)


def from_stains(stains: Where, *, channel: int | None = None) -> PointFiles:
    """Finds the nuclei in images of a nuclear stain; `channel` is as `read_image` takes it."""

    def read(path: Path) -> ByFrame:
        return {i: find_nuclei(frame).points for i, frame in enumerate(read_image(path, channel=channel))}

    return _read(list_files(stains, suffixes=IMAGE_SUFFIXES), read)


def from_labels(labels: Where) -> PointFiles:
    """Takes the centroids of label images."""
    return _read(list_files(labels, suffixes=LABEL_SUFFIXES), lambda path: {0: centroids(read_labels(path))})


def from_ctc(sequence: Path) -> tuple[PointFiles, list[Path]]:
    """Takes the markers of a sequence of the Cell Tracking Challenge; returns its images, too."""
    frames = read_ctc_points(sequence)
    by_stem: dict[str, ByFrame] = {stem(one.image): {0: one.points} for one in frames}
    return PointFiles(by_stem, []), [one.image for one in frames]


def _read(files: Sequence[Path], read: Callable[[Path], ByFrame]) -> PointFiles:
    """Reads files one by one; a bad one does not stop the others."""
    result = PointFiles({}, [])
    for path in files:
        if stem(path) in result.by_stem:
            raise UserError(f"{path}: another file has that name, and so would its points; rename one of them")
        try:
            result.by_stem[stem(path)] = read(path)
        except EXPECTED_ERRORS as error:
            result.errors.append(sentence(error))
    return result


def beside_images(
    points: PointFiles, images: Where | None, *, channel: int | None = None
) -> tuple[list[PointSet], list[str]]:
    """Puts points beside their images, paired by stem and frame, and says what has no partner.

    Args:
        points: what was read.
        images: files, folders or patterns; None for points alone. An image without a file of points has none.
        channel: of the images, as `read_image` takes it.

    Returns:
        The sets, and errors: of `points`, of images that cannot be read, and of points that have no image.
    """
    left, errors, sets = dict(points.by_stem), list(points.errors), []
    paths = [] if images is None else list_files(images, suffixes=IMAGE_SUFFIXES)
    if len(paths) == len(left) == 1:
        left = {stem(paths[0]): by_frame for by_frame in left.values()}
    for path in paths:
        by_frame = left.pop(stem(path), {})
        try:
            frames = read_image(path, channel=channel)
        except EXPECTED_ERRORS as error:
            errors.append(sentence(error))
            continue
        if len(frames) == len(by_frame) == 1:  # of a single image it does not matter what its frame is called
            by_frame = {0: next(iter(by_frame.values()))}
        if beyond := [frame for frame in by_frame if frame >= len(frames)]:
            errors.append(f"{path}: has {len(frames)} frame(s) but points in frame {beyond[0]}, counted from 0")
        for index, frame in enumerate(frames):
            own = by_frame.get(index, np.empty((0, 2)))
            sets.append(PointSet(stem(path), index, len(frames), own, frame))
    for name, by_frame in left.items():
        if images is not None:
            errors.append(f"{name}: no image has the name of these points")
        sets += [PointSet(name, frame, len(by_frame), own, None) for frame, own in by_frame.items()]
    return sets, errors


def write_point_files(out: Path, points: PointFiles, *, format: PointFormat, keep: Sequence[Path] = ()) -> None:
    """Writes a file of points for each stem.

    Raises:
        UserError: if one of them would replace a file of `keep`.
    """
    kept = {path.resolve() for path in keep}
    for name in points.by_stem:
        if (out / f"{name}.csv").resolve() in kept:
            raise UserError(f"{out / name}.csv: is one of the files given; choose another folder to write to")
    for name, by_frame in points.by_stem.items():
        only = len(by_frame) == 1 and 0 in by_frame
        write_points(out / f"{name}.csv", by_frame[0] if only else by_frame, format=format)


def write_pictures(out: Path, sets: Sequence[PointSet], reports: Sequence[PointReport], *, radius: float) -> None:
    """Draws the points on each image; `radius` of the rings is in pixels of the images."""
    for one, report in zip(sets, reports, strict=True):
        if one.image is not None:
            doubled, missing = one.points[np.unique(report.doubled)], report.missing
            picture = points_picture(one.image, one.points, doubled=doubled, missing=missing, radius=radius)
            write_picture(out / f"{one.name}_points.png", picture)
