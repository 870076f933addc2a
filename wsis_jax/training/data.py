"""Images and their points: read from files, found in nuclear stains, taken from label images or CTC folders."""

import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64

from wsis_jax.core import (
    EXPECTED_ERRORS,
    ChannelChoice,
    Channels,
    UserError,
    channels_of,
    collecting_faults,
    sentence,
)
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
    is_in_colours,
    moved_inside,
    moved_near,
    named_files,
    named_images,
    named_points,
    near,
    pair_by_name,
    pair_with_partners,
    points_of_frames,
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
from wsis_jax.points import PointReport, check_unit, find_nuclei, inspect_points

# Frame, row, column, and channels if there are several: of an image and of its stain they may differ.
_Frames = Float32[np.ndarray, "_ _ _ *channels"]

# Training sets


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
        more, have = f" and {len(left_out) - 1} more are", "they have"
        more, have = (" is", "it has") if len(left_out) == 1 else (more, have)
        warnings.warn(f"{image_path}: page {left_out[0]}{more} left out, since {have} no points", stacklevel=3)
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
                    points = _nuclear_points(stain[index], stain_path, nuclear_diameter)
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
        more = f" and {len(empty) - 1} more" if len(empty) > 1 else ""
        warnings.warn(f"{empty[0]}{more}: left out, since no nucleus was found in its stain", stacklevel=2)
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


def _nuclear_points(
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


# Points on their way between files


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
    points: Files,
    *,
    images: Files | None = None,
    channel: ChannelChoice = None,
    points_in: PointUnit | None = None,
    pixel_size: float | None = None,
    axes: str | None = None,
) -> PointFiles:
    """Reads point files, of whatever kind; see `read_points`.

    `points_in` and `pixel_size` are as in `read_training_set`; `images`, of which `channel` and `axes` are read,
    are those whose files may tell the latter, and which plane of a stack is which frame.
    """
    files = named_points(points)
    paths = {} if images is None else named_images(images)
    facts = {file: _facts_of(path, channel, axes) for path, file in pair_by_name(paths, files)[0]}

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
        return {index: _nuclear_points(frame, path, diameter) for index, frame in enumerate(frames)}

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
    images: Files | None,
    *,
    channel: ChannelChoice = None,
    points_in: PointUnit | None = None,
    axes: str | None = None,
) -> tuple[list[PointSet], list[str]]:
    """Pairs points with images by name and frame, and says what has no partner.

    An image without a file of points has none. `images` is None for points alone; `channel` and `axes` are as
    `read_image` takes them. Unless `points_in` tells what the points are in, those that look as if they
    were in micrometres are an error, too, as `check_unit` tells it.

    Returns:
        The sets, and errors: of `points`, of images that cannot be read, and of points that have no image.
    """
    errors, sets = list(points.errors), []
    paths = {} if images is None else named_images(images)
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
