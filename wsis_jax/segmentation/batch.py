"""Many files: segmenting images one after the other, while the one before is cut out, or on a cluster.

The network works on one image while a thread cuts out the cells of the image before and writes its files. No more
than these two are in memory. With the workers of a cluster, each image is a task of its own, and only images in
tiles are led from here, their tiles tasks.
"""

from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from wsis_jax.core import Config, remove_leftovers, shared_sides
from wsis_jax.core.errors import UserError
from wsis_jax.io import Frames, check_axes, check_channel, open_frames, stem
from wsis_jax.network import Model
from wsis_jax.output import FILES, SHOWN, Format, evenly
from wsis_jax.segmentation.cluster import Workers, WorkersDied
from wsis_jax.segmentation.manifest import Entry, Manifest, digest_of_model, key_of
from wsis_jax.segmentation.one_image import (
    AS_IT_IS,
    FAILURES,
    Done,
    Means,
    Outcome,
    Reading,
    Work,
    begin,
    failing,
    segment_alone,
)
from wsis_jax.segmentation.pipeline import seen_shape
from wsis_jax.segmentation.tiled.files import in_tiles


class _Batch(NamedTuple):
    """What is the same for all images of a batch."""

    work: Work
    means: Means
    manifest: Manifest | None
    made_with: str
    workers: Workers | None


class _Step(NamedTuple):
    """What is left to do of an image, and whether that needs no more waiting."""

    finish: Callable[[], Outcome]
    ready: Callable[[], bool] = lambda: True


def segment_files(
    model: Model,
    files: Sequence[Path],
    out: Path,
    *,
    config: Config,
    reading: Reading = AS_IT_IS,
    format: Format = FILES,
    workers: Workers | None = None,
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
        model: a trained model.
        files: image files.
        out: the folder to write to.
        config: the settings to use.
        reading: how the files are read.
        format: what to write of each image, a result of `registry.format_of`; of an image in tiles, see
            `files.segment_large`.
        workers: of a cluster, which do the images, or the tiles of large ones, and write all but the manifest;
            results, manifest and outcomes are the same. None: this process does.
        on_image: called with the outcome of each image, in order, and the number of images in all.
        on_tile: called with the name of an image in tiles, the number of its parts done, and of all.

    Raises:
        WriteError: if there is no room for results, or their folder takes nothing; what is finished stays so.
        UserError: if two images have the same name, so that one's results would replace the other's, or the names
            do not suit the format, or if `reading` cannot be, or the manifest is damaged, or the format is not one
            for workers.
        UserError: if the cluster is gone; what is finished is noted.
    """
    check_channel(reading.channel)
    check_axes(reading.axes)
    if workers is not None and not format.resumable:
        raise UserError(
            f"{format.kinds[0]} numbers the cells of all images in their order, one by one; leave out --dask"
        )
    announced = [_announced(path, reading) for path in files]
    names = [name for of_file in announced for name in of_file.names]
    if clash := [name for name, count in Counter(names).items() if count > 1]:
        raise UserError(f"two images are called {clash[0]}, so their results would be too; rename one")
    remove_leftovers(out)
    manifest = Manifest(out) if format.resumable else None
    made_with = digest_of_model(model, config, *reading, format.kinds)
    shapes = [seen_shape(shape, config) for of_file in announced for shape in of_file.shapes]
    whole = [shape for shape in shapes if not in_tiles(shape, reading.tiles)]
    work = Work(out, config, reading, shared_sides(whole, stride=model.network.stride), format.kinds)
    outcomes: list[Outcome] = []

    def tell(outcome: Outcome) -> None:
        outcomes.append(outcome)
        on_image(outcome, len(names))

    with format.writing(out, names) as write:
        means = Means(model, write, frozenset(evenly(names, SHOWN)), on_tile=on_tile)
        if workers is not None:
            means = means._replace(over=workers.over, scratch=out)
        batch = _Batch(work, means, manifest, made_with, workers)
        steps = (
            step
            for path, of_file in zip(files, announced, strict=True)
            for step in _steps(batch, path, of_file.names)
        )
        (_finish_beside if workers is None else _finish_when_ready)(steps, tell)
    if workers is not None:
        remove_leftovers(out)  # of workers that died
    return outcomes


def _finish_beside(steps: Iterable[_Step], tell: Callable[[Outcome], None]) -> None:
    """Finishes each image in a thread, while the next one is begun."""
    waiting: list[Future[Outcome]] = []
    with ThreadPoolExecutor(1) as worker:
        for step in steps:
            waiting.append(worker.submit(step.finish))
            if len(waiting) > 1:
                tell(waiting.pop(0).result())
        for future in waiting:
            tell(future.result())


def _finish_when_ready(steps: Iterable[_Step], tell: Callable[[Outcome], None]) -> None:
    """Finishes images in order, but begins all, so that no worker waits for work."""
    waiting: deque[_Step] = deque()
    for step in steps:
        waiting.append(step)
        while waiting and waiting[0].ready():
            tell(waiting.popleft().finish())
    for step in waiting:
        tell(step.finish())


def _steps(batch: _Batch, path: Path, names: list[str]) -> Generator[_Step, None, None]:
    """Begins each image of a file, here or on a cluster, and yields what is left to do."""
    try:
        key = key_of(path, batch.made_with) if batch.manifest else ""
        done = [None if batch.manifest is None else batch.manifest.finished(name, key) for name in names]
        if None not in done:
            yield from (_skipping(path, entry) for entry in done if entry is not None)
            return
        with open_frames(path, channel=batch.work.reading.channel, axes=batch.work.reading.axes) as frames:
            if frames.names != names:
                raise UserError(f"{path}: holds {len(frames.names)} images where {len(names)} were there; retry")
            for index, entry in enumerate(done):
                yield _step(batch, path, frames, index, key) if entry is None else _skipping(path, entry)
    except FAILURES as error:
        yield _step_of(batch, key="", finish=failing(stem(path), path, error, []))


def _step(batch: _Batch, path: Path, frames: Frames, index: int, key: str) -> _Step:
    """Begins an image; what is left to do ends with a line in the manifest."""
    name = frames.names[index]
    tiled = in_tiles(seen_shape(frames.shapes[index], batch.work.config), batch.work.reading.tiles)
    if batch.workers is None or tiled:
        return _step_of(batch, key, begin(batch.work, batch.means, path, frames, index))
    workers = batch.workers
    task = workers.submit(
        segment_alone,
        model=batch.means.model,
        work=batch.work,
        path=path,
        index=index,
        shown=name in batch.means.shown,
    )

    def finish() -> Done:
        try:
            return workers.result(task)
        except WorkersDied as error:
            return failing(name, path, error, [])()

    return _step_of(batch, key, finish)._replace(ready=task.done)


def _step_of(batch: _Batch, key: str, finish: Callable[[], Done]) -> _Step:
    """Returns the step that notes an image in the manifest when all its files are written."""

    def noted() -> Outcome:
        outcome, files = finish()
        if batch.manifest is not None and outcome.error is None:
            written = [file.relative_to(batch.work.out).as_posix() for file in files]
            batch.manifest.add(Entry(outcome.name, key, outcome.cells or 0, outcome.warnings, written))
        return outcome

    return _Step(noted)


def _skipping(path: Path, entry: Entry) -> _Step:
    return _Step(lambda: Outcome(entry.name, path, entry.cells, entry.warnings, None, skipped=True))


class _Announced(NamedTuple):
    """The images of a file by its description: their names, and (height, width) of those that can be read."""

    names: list[str]
    shapes: list[tuple[int, int]]


def _announced(path: Path, reading: Reading) -> _Announced:
    """Returns what a file says that it holds."""
    try:
        with open_frames(path, channel=reading.channel, axes=reading.axes) as frames:
            return _Announced(frames.names, frames.shapes)
    except FAILURES:
        return _Announced([stem(path)], [])  # opening it again says what is wrong with it
