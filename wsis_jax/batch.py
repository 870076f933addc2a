"""Many files: segmenting images one after the other."""

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from wsis_jax.checkpoint import Run
from wsis_jax.config import Config
from wsis_jax.files import stem
from wsis_jax.frames import Frame
from wsis_jax.imageio import check_channel, count_frames, read_image, read_shape
from wsis_jax.results import Write, Writing, writing_files
from wsis_jax.segmentation import seen_shape, segment
from wsis_jax.shapes import fitting, rounded_up, shared_sides


class Outcome(NamedTuple):
    """What became of one image of a batch: a number of cells, or an error."""

    name: str
    cells: int | None
    warnings: list[str]
    error: str | None


def segment_files(
    run: Run,
    files: Sequence[Path],
    out: Path,
    *,
    config: Config,
    channel: int | None = None,
    writing: Writing = writing_files,
    on_file: Callable[[list[Outcome]], None] = lambda outcomes: None,
) -> list[Outcome]:
    """Segments files one after the other; a file that cannot be segmented does not stop the others.

    The name of an image is the file's stem, followed by `_0000`, `_0001`, … for the pages of a multi-page file.

    Args:
        run: a trained model.
        files: image files.
        out: the folder to write to.
        config: the settings to use.
        channel: the channel to segment, counted from 0, as `read_image` takes it.
        writing: what to write of each image, one of `results.FORMATS`.
        on_file: called with the outcomes of each file.

    Raises:
        ValueError: if two images have the same name, so that one's results would replace the other's, or the names
            do not suit `writing`, or if `channel` is negative.
    """
    check_channel(channel)
    names_of = [_names(path, channel) for path in files]
    names = [name for of_file in names_of for name in of_file]
    if clash := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"two images are called {clash[0]}, so their results would be too; rename one")
    outcomes: list[Outcome] = []
    sides = _plan_sides(run, files, config)
    with writing(out, names) as write:
        for path, of_file in zip(files, names_of, strict=True):
            try:
                frames = read_image(path, channel=channel)
                if len(frames) != len(of_file):
                    raise ValueError(
                        f"{path}: has {len(frames)} frames where {len(of_file)} were announced; retry"
                    )
            except (ValueError, OSError) as error:
                found = [Outcome(stem(path), None, [], str(error))]
            else:
                found = [
                    _segment_one(run, frame, write, name, config, sides)
                    for frame, name in zip(frames, of_file, strict=True)
                ]
            on_file(found)
            outcomes += found
    return outcomes


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


def _segment_one(
    run: Run,
    image: Float32[np.ndarray, "height width"],
    write: Write,
    name: str,
    config: Config,
    sides: list[tuple[int, int]],
) -> Outcome:
    """Segments one image, writes its files and says what became of it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            shape = seen_shape(image.shape, config)
            result = segment(run, image, config=config, sides=fitting(rounded_up(shape, run.model.stride), sides))
        except ValueError as error:
            return Outcome(name, None, [str(w.message) for w in caught], f"{name}: {error}")
        write(Frame(name, image, image[None]), result)
    return Outcome(name, len(result.points), [str(w.message) for w in caught], None)
