"""Many files: segmenting images one after the other, while the one before is cut out.

The network works on one image while a thread cuts out the cells of the image before and writes its files. No more
than these two are in memory.
"""

import threading
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from wsis_jax.checkpoint import Run
from wsis_jax.config import Config
from wsis_jax.files import remove_leftovers, stem
from wsis_jax.frames import Frame, Frames, check_channel, open_frames
from wsis_jax.large import in_tiles, segment_large
from wsis_jax.limits import reason
from wsis_jax.manifest import Entry, Manifest, digest_of_run, key_of
from wsis_jax.results import FILES, Format, Write
from wsis_jax.segmentation import Located, locate, outline, seen_shape
from wsis_jax.shapes import fitting, rounded_up, shared_sides
from wsis_jax.stacks import check_axes


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
        tiles: whether images are segmented in tiles; None for those of more than `large.TILED_ABOVE` pixels of the
            network.
    """

    channel: int | None = None
    axes: str | None = None
    pixel_size: float | None = None
    tiles: bool | None = None


_AS_IT_IS = Reading()


class _Batch(NamedTuple):
    """What is the same for all images of a batch."""

    run: Run
    out: Path
    config: Config
    reading: Reading
    sides: list[tuple[int, int]]
    format: Format
    write: Write
    manifest: Manifest | None
    made_with: str
    caught: "_Caught"
    on_tile: Callable[[str, int, int], None]


_Step = Generator[Callable[[], Outcome], None, None]


def segment_files(
    run: Run,
    files: Sequence[Path],
    out: Path,
    *,
    config: Config,
    reading: Reading = _AS_IT_IS,
    format: Format = FILES,
    on_image: Callable[[Outcome, int], None] = lambda outcome, total: None,
    on_tile: Callable[[str, int, int], None] = lambda name, done, total: None,
) -> list[Outcome]:
    """Segments files one after the other; a file that cannot be segmented does not stop the others.

    The name of an image is that of `Frames.names`: the file's stem, and where it holds several, what tells them
    apart.
    Images that an earlier batch finished in the same folder are skipped, unless the file, the settings, the
    weights or the format have changed since or a file of the results is gone; `manifest.jsonl` in the folder tells
    which.

    Args:
        run: a trained model.
        files: image files.
        out: the folder to write to.
        config: the settings to use.
        reading: how the files are read.
        format: what to write of each image, a result of `results.format_of`; of an image in tiles, see
            `large.segment_large`.
        on_image: called with the outcome of each image, in order, and the number of images in all.
        on_tile: called with the name of an image in tiles, the number of its parts done, and of all.

    Raises:
        ValueError: if two images have the same name, so that one's results would replace the other's, or the names
            do not suit the format, or if `reading` cannot be, or the manifest is damaged.
    """
    check_channel(reading.channel)
    check_axes(reading.axes)
    announced = [_announced(path, reading) for path in files]
    names = [name for of_file in announced for name in of_file.names]
    if clash := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"two images are called {clash[0]}, so their results would be too; rename one")
    remove_leftovers(out)
    manifest = Manifest(out) if format.resumable else None
    made_with = digest_of_run(run, config, *reading, format.kinds)
    shapes = [seen_shape(shape, config) for of_file in announced for shape in of_file.shapes]
    whole = [shape for shape in shapes if not in_tiles(shape, reading.tiles)]
    sides = shared_sides(whole, stride=run.model.stride)
    outcomes: list[Outcome] = []

    def tell(outcome: Outcome) -> None:
        outcomes.append(outcome)
        on_image(outcome, len(names))

    with format.writing(out, names) as write, _catching() as caught, ThreadPoolExecutor(1) as worker:
        batch = _Batch(run, out, config, reading, sides, format, write, manifest, made_with, caught, on_tile)
        waiting: list[Future[Outcome]] = []
        for path, of_file in zip(files, announced, strict=True):
            for step in _steps(batch, path, of_file.names):
                waiting.append(worker.submit(step))
                if len(waiting) > 1:
                    tell(waiting.pop(0).result())
        for future in waiting:
            tell(future.result())
    return outcomes


def _steps(batch: _Batch, path: Path, names: list[str]) -> _Step:
    """Does the network's part of each image of a file, and yields what is left to do, in another thread."""
    try:
        key = key_of(path, batch.made_with) if batch.manifest else ""
        done = [None if batch.manifest is None else batch.manifest.finished(name, key) for name in names]
        if None not in done:
            yield from (_skipping(path, entry) for entry in done if entry is not None)
            return
        with open_frames(path, channel=batch.reading.channel, axes=batch.reading.axes) as frames:
            if frames.names != names:
                raise ValueError(f"{path}: holds {len(frames.names)} images where {len(names)} were there; retry")
            for index, entry in enumerate(done):
                yield _step(batch, path, frames, index, key) if entry is None else _skipping(path, entry)
    except (ValueError, OSError, ImportError, MemoryError) as error:
        yield _failing(stem(path), path, [], reason(error))


def _step(batch: _Batch, path: Path, frames: Frames, index: int, key: str) -> Callable[[], Outcome]:
    """Does the network's part of one image, and returns what is left to do; an error is that of its own."""
    name = frames.names[index]
    shape = seen_shape(frames.shapes[index], batch.config)
    try:
        if in_tiles(shape, batch.reading.tiles):
            return _tiled(batch, path, frames, index, key)
        frame = frames.read(index)
    except (ValueError, OSError, ImportError, MemoryError) as error:
        return _failing(name, path, batch.caught.take(), reason(error))
    if batch.reading.pixel_size is not None:
        frame = frame._replace(pixel_size=batch.reading.pixel_size)
    sides = fitting(rounded_up(shape, batch.run.model.stride), batch.sides)
    try:
        (located,) = locate(batch.run, frame.image[None], config=batch.config, sides=sides)
    except ValueError as error:
        return _failing(name, path, batch.caught.take(), f"{name}: {error}")
    return _cutting(batch, path, frame, located, key, batch.caught.take())


def _tiled(batch: _Batch, path: Path, frames: Frames, index: int, key: str) -> Callable[[], Outcome]:
    """Segments an image in tiles, network and cuts; nothing is left to do."""
    name = frames.names[index]
    files, cells = segment_large(
        batch.run,
        frames.plane(index),
        batch.out,
        name,
        config=batch.config,
        kinds=batch.format.kinds,
        pixel_size=batch.reading.pixel_size or frames.pixel_size(index),
        on_tile=lambda done, total: batch.on_tile(name, done, total),
    )
    heard = batch.caught.take()
    return lambda: _noted(batch, path, name, key, cells, heard, files)


def _skipping(path: Path, entry: Entry) -> Callable[[], Outcome]:
    return lambda: Outcome(entry.name, path, entry.cells, entry.warnings, None, skipped=True)


def _failing(name: str, path: Path, heard: list[str], error: str) -> Callable[[], Outcome]:
    return lambda: Outcome(name, path, None, heard, error)


def _cutting(
    batch: _Batch, path: Path, frame: Frame, located: Located, key: str, said: list[str]
) -> Callable[[], Outcome]:
    """Returns a function that cuts out the cells of an image, writes its files and says what became of it."""

    def cut() -> Outcome:
        try:
            result = outline(located, frame.image.shape, config=batch.config)
        except ValueError as error:
            return Outcome(frame.name, path, None, said + batch.caught.take(), f"{frame.name}: {error}")
        files = batch.write(frame, result)
        heard = said + batch.caught.take()
        return _noted(batch, path, frame.name, key, len(result.points), heard, files)

    return cut


def _noted(
    batch: _Batch, path: Path, name: str, key: str, cells: int, heard: list[str], files: list[Path]
) -> Outcome:
    """Notes an image whose files are all written, and says what became of it."""
    if batch.manifest is not None:
        written = [file.relative_to(batch.out).as_posix() for file in files]
        batch.manifest.add(Entry(name, key, cells, heard, written))
    return Outcome(name, path, cells, heard, None)


class _Caught:
    """The warnings of each thread, as what is said of the image that it is at."""

    def __init__(self) -> None:
        self._own = threading.local()

    def add(self, message: Any, *_: Any) -> None:
        self._own.messages = [*getattr(self._own, "messages", []), str(message)]

    def take(self) -> list[str]:
        messages, self._own.messages = getattr(self._own, "messages", []), []
        return messages


@contextmanager
def _catching() -> Generator[_Caught, None, None]:
    """Catches warnings by thread, where `catch_warnings(record=True)` would mix those of two images."""
    caught = _Caught()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = caught.add  # pyrefly: ignore[bad-assignment]
        yield caught


class _Announced(NamedTuple):
    """The images of a file by its description: their names, and (height, width) of those that can be read."""

    names: list[str]
    shapes: list[tuple[int, int]]


def _announced(path: Path, reading: Reading) -> _Announced:
    """Returns what a file says that it holds."""
    try:
        with open_frames(path, channel=reading.channel, axes=reading.axes) as frames:
            return _Announced(frames.names, frames.shapes)
    except (ValueError, OSError, ImportError):
        return _Announced([stem(path)], [])  # opening it again says what is wrong with it
