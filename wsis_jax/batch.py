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
from wsis_jax.frames import Frame
from wsis_jax.imageio import check_channel, count_frames, read_image, read_shape
from wsis_jax.manifest import Entry, Manifest, digest_of_run, key_of
from wsis_jax.results import FILES, Format, Write
from wsis_jax.segmentation import Located, locate, outline, seen_shape
from wsis_jax.shapes import fitting, rounded_up, shared_sides


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


class _Batch(NamedTuple):
    """What is the same for all images of a batch."""

    run: Run
    out: Path
    config: Config
    sides: list[tuple[int, int]]
    write: Write
    manifest: Manifest | None
    caught: "_Caught"


def segment_files(
    run: Run,
    files: Sequence[Path],
    out: Path,
    *,
    config: Config,
    channel: int | None = None,
    format: Format = FILES,
    on_image: Callable[[Outcome, int], None] = lambda outcome, total: None,
) -> list[Outcome]:
    """Segments files one after the other; a file that cannot be segmented does not stop the others.

    The name of an image is the file's stem, followed by `_0000`, `_0001`, … for the pages of a multi-page file.
    Images that an earlier batch finished in the same folder are skipped, unless the file, the settings, the
    weights or the format have changed since or a file of the results is gone; `manifest.jsonl` in the folder tells
    which.

    Args:
        run: a trained model.
        files: image files.
        out: the folder to write to.
        config: the settings to use.
        channel: the channel to segment, counted from 0, as `read_image` takes it.
        format: what to write of each image, a result of `results.format_of`.
        on_image: called with the outcome of each image, in order, and the number of images in all.

    Raises:
        ValueError: if two images have the same name, so that one's results would replace the other's, or the names
            do not suit the format, or if `channel` is negative, or the manifest is damaged.
    """
    check_channel(channel)
    names_of = [_names(path, channel) for path in files]
    names = [name for of_file in names_of for name in of_file]
    if clash := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"two images are called {clash[0]}, so their results would be too; rename one")
    remove_leftovers(out)
    manifest = Manifest(out) if format.resumable else None
    made_with = digest_of_run(run, config, channel, format.kinds)
    outcomes: list[Outcome] = []

    def tell(outcome: Outcome) -> None:
        outcomes.append(outcome)
        on_image(outcome, len(names))

    with format.writing(out, names) as write, _catching() as caught, ThreadPoolExecutor(1) as worker:
        batch = _Batch(run, out, config, _plan_sides(run, files, config), write, manifest, caught)
        waiting: list[Future[Outcome]] = []
        for path, of_file in zip(files, names_of, strict=True):
            for step in _steps(batch, path, of_file, channel, made_with):
                waiting.append(worker.submit(step))
                if len(waiting) > 1:
                    tell(waiting.pop(0).result())
        for future in waiting:
            tell(future.result())
    return outcomes


def _steps(
    batch: _Batch, path: Path, names: list[str], channel: int | None, made_with: str
) -> Generator[Callable[[], Outcome], None, None]:
    """Does the network's part of each image of a file, and yields what is left to do, in another thread."""
    try:
        key = key_of(path, made_with) if batch.manifest else ""
        done = [None if batch.manifest is None else batch.manifest.finished(name, key) for name in names]
        frames = read_image(path, channel=channel) if None in done else None
        if frames is not None and len(frames) != len(names):
            raise ValueError(f"{path}: has {len(frames)} frames where {len(names)} were announced; retry")
    except (ValueError, OSError) as error:
        failed = Outcome(stem(path), path, None, [], str(error))
        yield lambda: failed
        return
    for index, (name, entry) in enumerate(zip(names, done, strict=True)):
        if frames is None or entry is not None:
            assert entry is not None
            skipped = Outcome(name, path, entry.cells, entry.warnings, None, skipped=True)
            yield lambda skipped=skipped: skipped
            continue
        values = frames[index]
        frame = Frame(name, values, values[None])
        shape = seen_shape(values.shape, batch.config)
        sides = fitting(rounded_up(shape, batch.run.model.stride), batch.sides)
        try:
            (located,) = locate(batch.run, values[None], config=batch.config, sides=sides)
        except ValueError as error:
            failed = Outcome(name, path, None, batch.caught.take(), f"{name}: {error}")
            yield lambda failed=failed: failed
        else:
            yield _cutting(batch, path, frame, located, key, batch.caught.take())


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
        heard, cells = said + batch.caught.take(), len(result.points)
        if batch.manifest is not None:
            names = [file.relative_to(batch.out).as_posix() for file in files]
            batch.manifest.add(Entry(frame.name, key, cells, heard, names))
        return Outcome(frame.name, path, cells, heard, None)

    return cut


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


def _names(path: Path, channel: int | None) -> list[str]:
    """Returns the names of the images in a file."""
    try:
        count = count_frames(path, channel=channel)
    except (ValueError, OSError):
        count = 1  # reading the pixels says what is wrong with it
    return [stem(path)] if count == 1 else [f"{stem(path)}_{index:04d}" for index in range(count)]


def _plan_sides(run: Run, files: Sequence[Path], config: Config) -> list[tuple[int, int]]:
    """Returns the few sides that the images are padded to, so that not every size compiles programs."""
    shapes = []
    for path in files:
        try:
            shapes.append(seen_shape(read_shape(path), config))
        except (ValueError, OSError):
            continue  # reading the pixels says what is wrong with it
    return shared_sides(shapes, stride=run.model.stride)
