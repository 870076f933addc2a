"""Many files: each image is read, segmented and written; one that fails does not stop the others.

The network works on one image while a thread cuts out the cells of the image before and writes its files. No more
than these two are in memory. With the workers of a cluster, each image is a task of its own; only images in tiles
are led from here, and each of their tiles is a task.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from wsis_jax.core import (
    Config,
    LocatedCells,
    UserError,
    WriteError,
    check_inside,
    collecting_warnings,
    fitting,
    remove_leftovers,
    rounded_up,
    sentence,
    shared_sides,
    stage,
    warn_about_image,
)
from wsis_jax.io import (
    Files,
    Frames,
    Named,
    PointUnit,
    SourceImage,
    check_axes,
    moved_inside,
    open_frames,
    points_of_frames,
    with_names,
)
from wsis_jax.network import Model, check_inputs
from wsis_jax.output import DEFAULT_FORMATS, SHOWN, FormatChoice, WriteImage, choose_formats, evenly
from wsis_jax.points import check_unit
from wsis_jax.segmentation.clicks import pair_points
from wsis_jax.segmentation.cluster import Workers, WorkersDied
from wsis_jax.segmentation.manifest import ImageResult, Manifest, digest_of_model, key_of
from wsis_jax.segmentation.pipeline import locate, outline, seen_shape
from wsis_jax.segmentation.tiled.tiling import TileOptions
from wsis_jax.segmentation.tiled.writing import WantedFiles, in_tiles, segment_large

# Pairs of sides that the images of a batch are padded to. Programs of one more pair take as long to compile as
# dozens of images to segment, so that more of them pay where there are many images.
_SIDES, _MORE_SIDES, _MANY = 2, 4, 100

FAILURES = (ValueError, OSError, ImportError, MemoryError)
"""Errors that one image may fail by while others succeed; any other error is a fault of the program."""


class BatchOptions(NamedTuple):
    """How the images of a batch are read, segmented and written.

    Attributes:
        config: settings other than those of the model; `image.channels` says which channels are segmented.
        kinds: names of the formats to write, as `choose_formats` takes them; of an image in tiles, those that
            `segment_large` can write.
        axes: names for the axes of TIFF files instead of those that they give, likewise.
        pixel_size: side of a pixel in µm instead of what the files tell.
        tiles: whether images are segmented in tiles; None for those of more than `files.TILED_ABOVE` pixels of the
            network.
        points: point files, each a file, a folder or a pattern, paired with the images by name: their cells are
            outlined, and no others, as `segment` does it. None: those that are detected.
        points_in: "pixels", or "um" for micrometres; None for what the point files say, or else pixels.
        workers: workers of a cluster, which segment the images, or the tiles of large ones, and write all files
            but the manifest; files and results are the same. None: this process does it.
    """

    config: Config | None = None
    kinds: Sequence[str] = DEFAULT_FORMATS.kinds
    axes: str | None = None
    pixel_size: float | None = None
    tiles: bool | None = None
    points: Files | None = None
    points_in: PointUnit | None = None
    workers: Workers | None = None


DEFAULT_OPTIONS = BatchOptions()


class Batch(NamedTuple):
    """What is the same for all images of a batch, in whatever process they are segmented.

    Attributes:
        out: the folder to write to.
        options: those of the batch, without workers.
        config: the settings.
        formats: of the files to write.
        sides: (height, width) that programs are compiled for, see `shared_sides`.
        shown: names of the images in the gallery of the page.
    """

    out: Path
    options: BatchOptions
    config: Config
    formats: FormatChoice
    sides: list[tuple[int, int]]
    shown: frozenset[str]

    def in_tiles(self, shape: tuple[int, int]) -> bool:
        """Tells whether an image of this (height, width) in its own pixels is segmented in tiles."""
        return in_tiles(seen_shape(shape, self.config), self.options.tiles)


class _File(NamedTuple):
    """An image file, and its name, which those of its images begin with."""

    path: Path
    name: str


class _Image(NamedTuple):
    """One of the images in an open file."""

    file: _File
    frames: Frames
    index: int
    points: Float64[np.ndarray, "cells 2"] | None = None  # to outline; None: what is detected

    @property
    def name(self) -> str:
        return self.frames.names[self.index]

    @property
    def shape(self) -> tuple[int, int]:
        return self.frames.shapes[self.index]


class _Pending(NamedTuple):
    """The rest of the work on an image: a function that does it, and one that tells whether it would not wait."""

    finish: Callable[[], ImageResult]
    ready: Callable[[], bool] = lambda: True


def segment_files(
    model: Model,
    files: Named | Sequence[Path],
    out: Path,
    *,
    options: BatchOptions = DEFAULT_OPTIONS,
    on_image: Callable[[ImageResult, int], None] = lambda result, total: None,
    on_tile: Callable[[str, int, int], None] = lambda name, done, total: None,
) -> list[ImageResult]:
    """Segments files one after the other; a file that cannot be segmented does not stop the others.

    An image has the name that `Frames.names` says: the file's, and what tells it from others in that file. A name
    with folders in it, as `A1/img`, puts the results into such folders. Images that an earlier batch finished in
    the same folder are skipped, unless the file, the settings, the weights or the kinds have changed since, or one
    of its files is gone; `manifest.jsonl` in the folder records them.

    Args:
        model: a trained model.
        files: the files; with their names, as `named_images` finds them, or else called by their stems.
        out: the folder to write to.
        options: how they are read, segmented and written.
        on_image: called with the result of each image, in order, and the number of all images.
        on_tile: called with the name of an image in tiles, the number of its parts done, and of all.

    Raises:
        WriteError: if there is no room for results, or their folder cannot be written to; finished images stay.
        UserError: if two images have the same name, so that one's results would replace the other's, or the names
            do not suit the kinds, or options do not go together, or the manifest is damaged, or the cluster is
            gone; finished images are recorded.
    """
    runner = _BatchRunner(model, [_File(*one) for one in with_names(files)], out, options, on_tile)
    results: list[ImageResult] = []

    def tell(result: ImageResult) -> None:
        results.append(result)
        on_image(result, len(runner.names))

    with runner.format.writing(out, runner.names) as write:
        pending = (
            one
            for file, names in zip(runner.files, runner.names_of_files, strict=True)
            for one in runner.begin_file(file, names, write)
        )
        (_finish_beside if options.workers is None else _finish_when_ready)(pending, tell)
    if options.workers is not None:
        remove_leftovers(out)  # of workers that died
    return results


class _BatchRunner:
    """Begins the images of a batch, here or on a cluster, and records those that are finished.

    Attributes:
        files: the image files.
        format: what is written.
        names: of all images.
        names_of_files: of the images in each file.
    """

    def __init__(
        self,
        model: Model,
        files: Sequence[_File],
        out: Path,
        options: BatchOptions,
        on_tile: Callable[[str, int, int], None],
    ) -> None:
        check_axes(options.axes)
        self.format = choose_formats(options.kinds)
        if options.workers is not None and not self.format.resumable:
            kind = self.format.kinds[0]
            raise UserError(f"{kind} numbers the cells of all images in their order, one by one; leave out --dask")
        self.files, self._model, self._workers, self._on_tile = files, model, options.workers, on_tile
        config = options.config or model.config
        check_inputs(model.network, config)
        self._points = None if options.points is None else pair_points(dict(files), options.points)
        announced = [_announced(file, options, config) for file in files]
        self.names_of_files = [names for names, _ in announced]
        self.names = [name for names in self.names_of_files for name in names]
        _check_names(files, self.names_of_files)
        for folder in {(out / name).parent for name in self.names}:
            check_inside(out, folder)
        remove_leftovers(out)
        self._manifest = Manifest(out) if self.format.resumable else None
        given = [options.axes, options.pixel_size, options.tiles]
        given += [options.points_in] if options.points_in else []
        self._made_with = digest_of_model(model, config, *given, self.format.kinds)
        shapes = [seen_shape(shape, config) for _, shapes in announced for shape in shapes]
        whole = [shape for shape in shapes if not in_tiles(shape, options.tiles)]
        self._batch = Batch(
            out,
            options._replace(workers=None),
            config,
            self.format,
            shared_sides(
                whole, stride=model.network.stride, programs=_SIDES if len(whole) < _MANY else _MORE_SIDES
            ),
            frozenset(evenly(self.names, SHOWN)),
        )

    def begin_file(self, file: _File, names: list[str], write: WriteImage) -> Generator[_Pending, None, None]:
        """Begins each image of a file, and yields what is left to do."""
        key, path = "", file.path
        try:
            done: list[ImageResult | None] = [None] * len(names)
            if self._manifest is not None:
                key = self._key_of(path)
                done = [self._manifest.finished(path, name, key) for name in names]
            if None not in done:
                yield from (_pending_result(result) for result in done if result is not None)
                return
            with _open(file, self._batch.options, self._batch.config) as frames:
                if frames.names != names:
                    count = len(frames.names)
                    raise UserError(f"{path}: holds {count} images where {len(names)} were there; retry")
                points = self._points_in(path, frames)
                for index, result in enumerate(done):
                    if result is None:
                        image = _Image(file, frames, index, points[index])
                        yield self._recording(self._begin(image, write), key)
                    else:
                        yield _pending_result(result)
        except FAILURES as error:
            yield _pending_result(_failed(file.name, path, error, []))

    @stage("read")
    def _key_of(self, path: Path) -> str:
        """Returns the key of an image file, with its point file where there are any."""
        if self._points is None:
            return key_of(path, self._made_with)
        return key_of(path, key_of(self._point_file(path), self._made_with))

    def _point_file(self, path: Path) -> Path:
        """Returns the point file of an image file."""
        if self._points is None or path not in self._points:
            raise UserError(f"{path}: has no point file of its name among those of --points; add it")
        return self._points[path]

    def _points_in(self, path: Path, frames: Frames) -> list[Float64[np.ndarray, "_ 2"] | None]:
        """Returns the points of each image in a file; none where they are to be detected."""
        count, options = len(frames.names), self._batch.options
        if self._points is None:
            return [None] * count
        by_frame = points_of_frames(
            self._point_file(path),
            count,
            image=path,
            unit=options.points_in,
            pixel_size=options.pixel_size or frames.pixel_size,
            planes=frames.planes,
        )
        return [by_frame.get(index, np.empty((0, 2))) for index in range(count)]

    def _begin(self, image: _Image, write: WriteImage) -> _Pending:
        """Begins an image here, or has a worker do all of it."""
        options = TileOptions(on_tile=partial(self._on_tile, image.name))
        if self._workers is not None:
            if not self._batch.in_tiles(image.shape):
                return self._submit(self._workers, image)
            options = options._replace(parallel_map=self._workers.map, scratch=self._batch.out)
        return _Pending(begin_image(self._model, self._batch, image, write, options))

    def _submit(self, workers: Workers, image: _Image) -> _Pending:
        """Has a worker segment an image."""
        name, file, same = image.name, image.file, {"model": self._model, "batch": self._batch}
        task = workers.submit(segment_alone, file=file, index=image.index, points=image.points, **same)

        def finish() -> ImageResult:
            try:
                return workers.result(task)
            except WorkersDied as error:
                return _failed(name, file.path, error, [])

        return _Pending(finish, task.done)

    def _recording(self, pending: _Pending, key: str) -> _Pending:
        """Returns the same work, which also records the image in the manifest when all its files are written."""

        def finish() -> ImageResult:
            result = pending.finish()
            if self._manifest is not None and result.error is None:
                result = result._replace(key=key)
                self._manifest.add(result)
            return result

        return pending._replace(finish=finish)


def _check_names(files: Sequence[_File], names_of_files: Sequence[Sequence[str]]) -> None:
    """Raises UserError if two images, which may be in one file, have the same name."""
    first: dict[str, Path] = {}
    for (path, _), names in zip(files, names_of_files, strict=True):
        for name in names:
            if name in first:
                remedy = "rename one"
                if path.parent != first[name].parent:
                    remedy = "give the folder that holds both folders, or each an --out of its own"
                raise UserError(
                    f"two images are called {name}, so their results would be too: {first[name]} and {path}; "
                    f"{remedy}"
                )
            first[name] = path


def _open(file: _File, options: BatchOptions, config: Config) -> AbstractContextManager[Frames]:
    """Opens the images in a file, of the channels that the model sees."""
    return open_frames(file.path, channel=config.image.channels, axes=options.axes, name=file.name)


@stage("read")
def _announced(file: _File, options: BatchOptions, config: Config) -> tuple[list[str], list[tuple[int, int]]]:
    """Returns the names of the images that a file says it holds, and their (height, width) if it can be read."""
    try:
        with _open(file, options, config) as frames:
            return frames.names, frames.shapes
    except FAILURES:
        return [file.name], []  # opening it again says what is wrong with it


def _finish_beside(pending: Iterable[_Pending], tell: Callable[[ImageResult], None]) -> None:
    """Finishes each image in a thread, while the next one is begun."""
    waiting: list[Future[ImageResult]] = []
    with ThreadPoolExecutor(1) as worker:
        for one in pending:
            waiting.append(worker.submit(one.finish))
            if len(waiting) > 1:
                tell(waiting.pop(0).result())
        for future in waiting:
            tell(future.result())


def _finish_when_ready(pending: Iterable[_Pending], tell: Callable[[ImageResult], None]) -> None:
    """Finishes images in order, but begins all, so that no worker waits for work."""
    waiting: deque[_Pending] = deque()
    for one in pending:
        waiting.append(one)
        while waiting and waiting[0].ready():
            tell(waiting.popleft().finish())
    for one in waiting:
        tell(one.finish())


# One image


def segment_alone(
    model: Model, batch: Batch, file: _File, index: int, points: Float64[np.ndarray, "_ 2"] | None
) -> ImageResult:
    """Segments one image of a file and writes its files, in a process that sees no other image of the batch.

    Its formats must be some that can be resumed. `index` is that of the image in the file; `points` are those to
    outline, if they are not to be detected.
    """
    with _open(file, batch.options, batch.config) as frames:
        image = _Image(file, frames, index, points)
        shown = [image.name] if image.name in batch.shown else []
        with batch.formats.writing(batch.out, shown) as write:
            return begin_image(model, batch, image, write, TileOptions())()


def begin_image(
    model: Model, batch: Batch, image: _Image, write: WriteImage, options: TileOptions
) -> Callable[[], ImageResult]:
    """Does the network's part of an image, and returns a function that does the rest.

    Both raise `WriteError` alone, which all other images would fail by, too; other errors are in the result.
    """
    with collecting_warnings() as warnings:
        try:
            source = image.frames.source(image.index)
            if batch.options.pixel_size is not None:
                source = source._replace(pixel_size=batch.options.pixel_size)
            tiled = batch.in_tiles(image.shape)
            with stage("read"):
                source = source if tiled else source.read()
            if image.points is not None:
                guess = batch.options.points_in is None and not tiled
                image = image._replace(points=_checked(image.points, source, guess=guess))
                options = options._replace(points=image.points)
            if tiled:
                wanted = WantedFiles(batch.out, batch.formats, image.name in batch.shown)
                files, found = segment_large(model, source, wanted, config=batch.config, options=options)
                cells = len(found.points)
                result = ImageResult(
                    image.name, image.file.path, cells, warnings, files=files, dropped=found.dropped
                )
                return lambda: result
            seen = seen_shape(image.shape, batch.config)
            sides = fitting(rounded_up(seen, model.network.stride), batch.sides)
            pixels, points = np.asarray(source.image)[None], None if image.points is None else [image.points]
            (located,) = locate(model, pixels, config=batch.config, sides=sides, points=points)
        except FAILURES as error:
            failure = _failed(image.name, image.file.path, error, warnings)
            return lambda: failure
    return partial(_cut_out, batch, image.file.path, source, located, write, warnings)


def _checked(
    points: Float64[np.ndarray, "cells 2"], source: SourceImage, *, guess: bool
) -> Float64[np.ndarray, "cells 2"]:
    """Returns points, those on the very border moved inside.

    Raises:
        UserError: for others outside, or, with `guess`, if they seem to be in micrometres.
    """
    if not len(points):
        warn_about_image("there is no point in it, so it holds no cells")
    if guess:
        check_unit(np.asarray(source.image), points, source.pixel_size, name=source.name)
    return moved_inside(points, source.shape, name=None)


def _cut_out(
    batch: Batch, path: Path, source: SourceImage, located: LocatedCells, write: WriteImage, before: list[str]
) -> ImageResult:
    """Cuts out the cells and writes the files; `before` are the warnings up to here."""
    with collecting_warnings() as warnings:
        try:
            result = outline(located, source.shape, config=batch.config)
            with stage("files"):
                files = write(source, result)
        except FAILURES as error:
            return _failed(source.name, path, error, before + warnings)
    cells, said = len(result.points), before + warnings
    return ImageResult(source.name, path, cells, said, files=files, dropped=result.dropped)


def _failed(name: str, path: Path, error: Exception, warnings: list[str]) -> ImageResult:
    """Returns the result of an image that failed by an error, and that there were warnings of before.

    Raises:
        WriteError: if the error is one.
    """
    if isinstance(error, WriteError):
        raise error
    said = sentence(error)
    named = isinstance(error, OSError | ImportError) or str(path) in said or said.startswith(f"{name}: ")
    return ImageResult(name, path, None, warnings, said if named else f"{name}: {said}")


def _pending_result(result: ImageResult) -> _Pending:
    """Returns the work that is left on an image that has a result."""
    return _Pending(lambda: result)
