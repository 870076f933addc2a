"""Points on their way between files: read of any kind, paired with images, written as tables and pictures."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64

from wsis_jax.core import EXPECTED_ERRORS, ChannelChoice, UserError, sentence
from wsis_jax.io import (
    LABEL_SUFFIXES,
    MASK_SUFFIXES,
    ByFrame,
    Files,
    ImageFacts,
    Named,
    PointFormat,
    PointUnit,
    frames_beyond,
    moved_near,
    named_files,
    named_images,
    near,
    pair_by_name,
    read_ctc_points,
    read_facts,
    read_image,
    read_labels,
    read_points,
    renumber_frames,
    stem,
    write_picture,
    write_points,
)
from wsis_jax.metrics import centroids
from wsis_jax.output import points_picture
from wsis_jax.points import PointReport, check_unit
from wsis_jax.training.data import nuclear_points


class PointFiles(NamedTuple):
    """Points by the file that they come from, and a sentence on each file that could not be read.

    The names are those of the files that could, as `named_files` returns them.
    """

    by_file: dict[Path, ByFrame]
    errors: list[str]
    names: dict[Path, str]


class PointSet(NamedTuple):
    """The points of one frame, (row, column), and its image, if there is one, with the values as stored."""

    name: str  # that of the file, and the frame where there are several
    points: Float64[np.ndarray, "points 2"]
    image: Float32[np.ndarray, "height width *channels"] | None


def points_from_files(
    files: Named,
    *,
    images: Named | None = None,
    channel: ChannelChoice = None,
    points_in: PointUnit | None = None,
    pixel_size: float | None = None,
    axes: str | None = None,
) -> PointFiles:
    """Reads point files, of whatever kind, as `named_points` lists them; see `read_points`.

    `points_in` and `pixel_size` are as in `read_training_set`; `images`, as `named_images` lists them, of which
    `channel` and `axes` are read, are those whose files may tell the latter, and which plane of a stack is which
    frame.
    """
    facts = {file: _facts_of(path, channel, axes) for path, file in pair_by_name(images or {}, files)[0]}

    def read(file: Path) -> ByFrame:
        known = facts.get(file) or ImageFacts(None, None)
        size = pixel_size or known.pixel_size
        return read_points(file, unit=points_in, pixel_size=size, planes=known.planes)

    return _read(files, read)


def _facts_of(path: Path, channel: ChannelChoice, axes: str | None) -> ImageFacts:
    """Returns what an image file tells; nothing where it cannot be read."""
    try:
        return read_facts(path, channel=channel, axes=axes)
    except EXPECTED_ERRORS:
        return ImageFacts(None, None)


def points_from_stains(
    stains: Files, *, channel: int | None = None, diameter: float | None = None, axes: str | None = None
) -> PointFiles:
    """Finds the nuclei in images of a nuclear stain.

    `channel` and `axes` are as `read_image` takes them; `diameter` is that of a typical nucleus in pixels,
    None to estimate it from each image.
    """

    def read(path: Path) -> ByFrame:
        frames = read_image(path, channel=channel, axes=axes)
        return {index: nuclear_points(frame, path, diameter) for index, frame in enumerate(frames)}

    return _read(named_images(stains), read)


def points_from_labels(labels: Files, *, components: bool = False) -> PointFiles:
    """Takes the centroids of label images, or, with `components`, of the parts of masks; see `read_labels`."""
    files = named_files(labels, suffixes=MASK_SUFFIXES if components else LABEL_SUFFIXES)
    return _read(files, lambda path: {0: centroids(read_labels(path, components=components))})


def points_from_ctc(sequence: Path) -> tuple[PointFiles, list[Path]]:
    """Takes the markers of a sequence of the Cell Tracking Challenge; returns its images, too."""
    frames = read_ctc_points(sequence)
    names = {one.image: stem(one.image) for one in frames}
    return PointFiles({one.image: {0: one.points} for one in frames}, [], names), [*names]


def _read(files: Named, read: Callable[[Path], ByFrame]) -> PointFiles:
    """Reads files one by one; a bad one does not stop the others."""
    result, first = PointFiles({}, [], {}), dict[str, Path]()
    for path, name in files.items():
        if name in first:
            raise UserError(
                f"{path}: {first[name]} has that name, too, and so would its points; rename one, or give the "
                "folder that holds both folders"
            )
        first[name] = path
        try:
            result.by_file[path] = read(path)
            result.names[path] = name
        except EXPECTED_ERRORS as error:
            result.errors.append(sentence(error))
    return result


def pair_points_with_images(
    points: PointFiles,
    images: Named | None,
    *,
    channel: ChannelChoice = None,
    points_in: PointUnit | None = None,
    axes: str | None = None,
) -> tuple[list[PointSet], list[str]]:
    """Pairs points with images by name and frame, and says what has no partner.

    An image without a file of points has none. `images` are as `named_images` lists them, None for points alone;
    `channel` and `axes` are as
    `read_image` takes them. Unless `points_in` tells what the points are in, those that look as if they
    were in micrometres are an error, too, as `check_unit` tells it.

    Returns:
        The sets, and errors: of `points`, of images that cannot be read, and of points that have no image.
    """
    errors, sets = list(points.errors), []
    paths = images or {}
    pairs, without, alone = pair_by_name(paths, points.names)
    file_of = dict(pairs)
    for path, image_name in paths.items():
        try:
            frames = read_image(path, channel=channel, axes=axes)
        except EXPECTED_ERRORS as error:
            errors.append(sentence(error))
            continue
        by_frame: ByFrame = {}
        size = _facts_of(path, channel, axes).pixel_size if points_in is None and path in file_of else None
        if path in file_of:
            by_frame = renumber_frames(points.by_file[file_of[path]], len(frames))
            if fault := frames_beyond(by_frame, file_of[path], len(frames), image=path):
                errors.append(fault)
        for index, frame in enumerate(frames):
            name = _frame_name(image_name, index, len(frames))
            own = moved_near(by_frame.get(index, np.empty((0, 2))), (frame.shape[0], frame.shape[1]), name=name)
            sets.append(PointSet(name, own, frame))
            if points_in is None and path in file_of:
                try:
                    check_unit(frame, own, size, name=name)
                except UserError as error:
                    errors.append(str(error))
    for path, name in alone.items():
        if images is not None:
            errors.append(f"{path}: no image has the name of these points{near(name, without)}")
        by_frame = points.by_file[path]
        sets += [PointSet(_frame_name(name, frame, len(by_frame)), own, None) for frame, own in by_frame.items()]
    return sets, errors


def _frame_name(name: str, frame: int, frames: int) -> str:
    """Returns the name of a file, and the frame where there are several."""
    return name if frames == 1 else f"{name}_{frame:04d}"


def write_point_files(out: Path, points: PointFiles, *, format: PointFormat, keep: Sequence[Path] = ()) -> None:
    """Writes a file of points for each file read, of the same name.

    Raises:
        UserError: if one of them would replace a file of `keep`.
    """
    kept = {path.resolve() for path in keep}
    files = {path: out / f"{name}.csv" for path, name in points.names.items()}
    for file in files.values():
        if file.resolve() in kept:
            raise UserError(f"{file}: is one of the files given; choose another folder to write to")
    for path, by_frame in points.by_file.items():
        only = len(by_frame) == 1 and 0 in by_frame
        write_points(files[path], by_frame[0] if only else by_frame, format=format)


def write_point_pictures(
    out: Path, sets: Sequence[PointSet], reports: Sequence[PointReport], *, radius: float
) -> None:
    """Draws the points on each image; `radius` of the rings is in pixels of the images."""
    for one, report in zip(sets, reports, strict=True):
        if one.image is not None:
            doubled, missing = one.points[np.unique(report.doubled)], report.missing
            picture = points_picture(one.image, one.points, doubled=doubled, missing=missing, radius=radius)
            write_picture(out / f"{one.name}_points.png", picture)
