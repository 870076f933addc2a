"""One image of a batch: read, located, cut out and written; errors and warnings are part of what became of it."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from wsis_jax.core import (
    Config,
    Located,
    ParallelMap,
    WriteError,
    collecting_warnings,
    fitting,
    rounded_up,
    serial_map,
)
from wsis_jax.core.errors import sentence
from wsis_jax.io import Frame, Frames, open_frames
from wsis_jax.network import Model
from wsis_jax.output import Write, format_of
from wsis_jax.segmentation.pipeline import locate, outline, seen_shape
from wsis_jax.segmentation.tiled.files import Large, in_tiles, segment_large

FAILURES = (ValueError, OSError, ImportError, MemoryError)
"""What one image may fail by, and others succeed; other errors are faults of the program."""


class Outcome(NamedTuple):
    """What became of one image of a batch.

    Attributes:
        name: of the image.
        source: the file that it is in.
        cells: how many were found; None where it failed.
        warnings: what there is to say of it.
        error: why it failed, or None.
        skipped: whether an earlier batch had finished it.
    """

    name: str
    source: Path
    cells: int | None
    warnings: list[str]
    error: str | None
    skipped: bool = False


class Reading(NamedTuple):
    """How image files are read.

    Attributes:
        channel: the channel to segment, counted from 0, as `open_frames` takes it.
        axes: names for the axes of TIFF files instead of those that they give, likewise.
        pixel_size: side of a pixel in µm instead of what the files tell.
        tiles: whether images are segmented in tiles; None for those of more than `files.TILED_ABOVE` pixels of the
            network.
    """

    channel: int | None = None
    axes: str | None = None
    pixel_size: float | None = None
    tiles: bool | None = None


AS_IT_IS = Reading()


class Work(NamedTuple):
    """What is to be done with all images of a batch, whoever does it.

    Attributes:
        out: the folder to write to.
        config: the settings to use.
        reading: how the files are read.
        sides: what programs are compiled for, see `shapes.shared_sides`.
        kinds: the kinds of files to write.
    """

    out: Path
    config: Config
    reading: Reading
    sides: list[tuple[int, int]]
    kinds: tuple[str, ...]


class Means(NamedTuple):
    """What a process segments images with.

    Attributes:
        model: a trained model.
        write: writes the files of an image.
        shown: names of images in the gallery of the page.
        over, scratch: of images in tiles, see `tiling.segment_tiled`.
        on_tile: called with the name of an image in tiles, the number of its parts done, and of all.
    """

    model: Model
    write: Write
    shown: frozenset[str] = frozenset()
    over: ParallelMap = serial_map
    scratch: Path | None = None
    on_tile: Callable[[str, int, int], None] = lambda name, done, total: None


class Done(NamedTuple):
    """What became of an image, and the files that were written of it."""

    outcome: Outcome
    files: list[Path]


def begin(work: Work, means: Means, path: Path, frames: Frames, index: int) -> Callable[[], Done]:
    """Does the network's part of an image, and returns what is left to do; an error is that of the image.

    This and what is left raise `WriteError` alone: what all other images would fail by, too.

    Args:
        work, means: what is to be done, and with what.
        path: the file.
        frames: its images.
        index: of the image among them.
    """
    name = frames.names[index]
    shape = seen_shape(frames.shapes[index], work.config)
    with collecting_warnings() as remarks:
        try:
            if in_tiles(shape, work.reading.tiles):
                return _tiled(work, means, path, frames, index, remarks)
            frame = frames.read(index)
            if work.reading.pixel_size is not None:
                frame = frame._replace(pixel_size=work.reading.pixel_size)
            sides = fitting(rounded_up(shape, means.model.network.stride), work.sides)
            (located,) = locate(means.model, frame.image[None], config=work.config, sides=sides)
        except FAILURES as error:
            return failing(name, path, error, remarks)
    return _cutting(work, means, path, frame, located, remarks)


def failing(name: str, path: Path, error: Exception, remarks: list[str]) -> Callable[[], Done]:
    """Returns a function that says why an image failed, and what it was warned of.

    Raises:
        WriteError: if it is one.
    """
    if isinstance(error, WriteError):
        raise error
    said = sentence(error)
    named = isinstance(error, OSError | ImportError) or str(path) in said or said.startswith(f"{name}: ")
    return lambda: Done(Outcome(name, path, None, remarks, said if named else f"{name}: {said}"), [])


def segment_alone(model: Model, work: Work, path: Path, index: int, *, shown: bool) -> Done:
    """Segments one image of a file from the start to its files, in a process that knows nothing of the batch.

    Args:
        model: a trained model.
        work: what is to be done; its kinds are of a format that can be resumed.
        path: the file.
        index: of the image in it.
        shown: whether the image is in the gallery of the page.
    """
    with (
        open_frames(path, channel=work.reading.channel, axes=work.reading.axes) as frames,
        format_of(work.kinds).writing(work.out, frames.names[index : index + 1] if shown else []) as write,
    ):
        return begin(work, Means(model, write), path, frames, index)()


def _tiled(
    work: Work, means: Means, path: Path, frames: Frames, index: int, remarks: list[str]
) -> Callable[[], Done]:
    """Segments an image in tiles, network and cuts; nothing is left to do."""
    name = frames.names[index]
    pixel_size = work.reading.pixel_size or frames.pixel_size(index)
    files, cells = segment_large(
        means.model,
        Large(name, frames.plane(index), frames.planes(index), pixel_size),
        work.out,
        config=work.config,
        kinds=work.kinds,
        shown="report" in work.kinds and name in means.shown,
        over=means.over,
        scratch=means.scratch,
        on_tile=lambda done, total: means.on_tile(name, done, total),
    )
    return lambda: Done(Outcome(name, path, cells, remarks, None), files)


def _cutting(
    work: Work, means: Means, path: Path, frame: Frame, located: Located, before: list[str]
) -> Callable[[], Done]:
    """Returns a function that cuts out the cells of an image, writes its files and says what became of it."""

    def cut() -> Done:
        with collecting_warnings() as remarks:
            try:
                result = outline(located, frame.image.shape, config=work.config)
                files = means.write(frame, result)
            except FAILURES as error:
                return failing(frame.name, path, error, before + remarks)()
        return Done(Outcome(frame.name, path, len(result.points), before + remarks, None), files)

    return cut
