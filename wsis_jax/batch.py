"""Many files: reading training pairs, and segmenting images one after the other."""

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64

from wsis_jax.checkpoint import Run
from wsis_jax.config import Config
from wsis_jax.files import Where, list_files, name_some, pair_by_stem, stem
from wsis_jax.imageio import IMAGE_SUFFIXES, count_frames, read_image, read_shape
from wsis_jax.points import POINT_SUFFIXES, read_points
from wsis_jax.results import Write, Writing, writing_files
from wsis_jax.segmentation import seen_shape, segment
from wsis_jax.shapes import fitting, rounded_up, shared_sides


class TrainingSet(NamedTuple):
    """Images with their points, as `train` takes them; `names` tell the files in messages."""

    images: list[Float32[np.ndarray, "_ _"]]
    points: list[Float64[np.ndarray, "_ 2"]]
    names: list[str]


class Outcome(NamedTuple):
    """What became of one image of a batch: a number of cells, or an error."""

    name: str
    cells: int | None
    warnings: list[str]
    error: str | None


def read_training_set(images: Where, points: Where) -> TrainingSet:
    """Reads images and points, each a file, a folder or a pattern, paired by stem.

    An image without a point file, and a point file without an image, are left out with a warning; so is a page
    of a multi-page image that the point file does not mention.

    Raises:
        FileNotFoundError: if a name leads to no file.
        ValueError: if a file cannot be read, no image and point file have the same stem, or no
            image has a point.
    """
    pairs, lonely_images, lonely_points = pair_by_stem(
        list_files(images, suffixes=IMAGE_SUFFIXES), list_files(points, suffixes=POINT_SUFFIXES)
    )
    if not pairs:
        raise ValueError(
            f"{lonely_images[0]}: neither this image nor any other has a point file of its name; "
            "name them alike, as in a.tif and a.csv"
        )
    if lonely_images:
        warnings.warn(f"{name_some(lonely_images)}: left out, since no point file has that name", stacklevel=2)
    if lonely_points:
        warnings.warn(f"{name_some(lonely_points)}: left out, since no image has that name", stacklevel=2)
    result = TrainingSet([], [], [])
    for image_path, points_path in pairs:
        frames, by_frame = read_image(image_path), read_points(points_path)
        if len(frames) == 1 and len(by_frame) == 1:
            # Of a single image it does not matter what its frame is called.
            by_frame = {0: next(iter(by_frame.values()))}
        if beyond := [frame for frame in by_frame if frame >= len(frames)]:
            raise ValueError(
                f"{points_path}: has points in frame {beyond[0]}, but {image_path} has {len(frames)} frame(s), "
                "counted from 0; correct the frame numbers"
            )
        for index, frame in enumerate(frames):
            if index not in by_frame:
                warnings.warn(f"{image_path}: page {index} is left out, since it has no points", stacklevel=2)
                continue
            result.images.append(frame)
            result.points.append(by_frame[index])
            name = f"{image_path} with {points_path}"
            result.names.append(name if len(frames) == 1 else f"{name}, frame {index}")
    if not any(map(len, result.points)):
        raise ValueError(
            f"{pairs[0][1]}: holds no point, nor does any other file, so there is nothing to learn; add some"
        )
    return result


def segment_files(
    run: Run,
    files: Sequence[Path],
    out: Path,
    *,
    config: Config,
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
        writing: what to write of each image, one of `results.FORMATS`.
        on_file: called with the outcomes of each file.

    Raises:
        ValueError: if two images have the same name, so that one's results would replace the other's, or the names
            do not suit `writing`.
    """
    names_of = [_names(path) for path in files]
    names = [name for of_file in names_of for name in of_file]
    if clash := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"two images are called {clash[0]}, so their results would be too; rename one")
    outcomes: list[Outcome] = []
    sides = _plan_sides(run, files, config)
    with writing(out, names) as write:
        for path, of_file in zip(files, names_of, strict=True):
            try:
                frames = read_image(path)
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


def _names(path: Path) -> list[str]:
    """Returns the names of the images in a file."""
    try:
        count = count_frames(path)
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
        write(name, image, result)
    return Outcome(name, len(result.points), [str(w.message) for w in caught], None)
