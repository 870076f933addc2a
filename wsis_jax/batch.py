"""Many files: segmenting images one after the other."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from wsis_jax.checkpoint import Run
from wsis_jax.config import Config
from wsis_jax.files import stem
from wsis_jax.imageio import check_channel, read_image, read_shape, write_labels, write_picture
from wsis_jax.points import write_points
from wsis_jax.report import overlay
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
    on_file: Callable[[list[Outcome]], None] = lambda outcomes: None,
) -> list[Outcome]:
    """Segments files one after the other; a file that cannot be segmented does not stop the others.

    Writes `<name>_labels.tif`, `<name>_overlay.png` and `<name>_points.csv` (the detected cells) for each
    image; name is the file's stem, followed by `_0000`, `_0001`, … for the pages of a multi-page file.

    Args:
        run: a trained model.
        files: image files.
        out: the folder to write to.
        config: the settings to use.
        channel: the channel to segment, counted from 0, as `read_image` takes it.
        on_file: called with the outcomes of each file.

    Raises:
        ValueError: if two files have the same stem, so that one's results would replace the other's, or if
            `channel` is negative.
    """
    check_channel(channel)
    stems = [stem(path) for path in files]
    if clash := {name for name in stems if stems.count(name) > 1}:
        raise ValueError(f"two images are called {min(clash)}, so their results would be too; rename one")
    outcomes: list[Outcome] = []
    sides = _plan_sides(run, files, config)
    for path in files:
        try:
            frames = read_image(path, channel=channel)
        except (ValueError, OSError) as error:
            found = [Outcome(stem(path), None, [], str(error))]
        else:
            found = [
                _segment_one(run, frame, out, stem(path) + (f"_{i:04d}" if len(frames) > 1 else ""), config, sides)
                for i, frame in enumerate(frames)
            ]
        on_file(found)
        outcomes += found
    return outcomes


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
    out: Path,
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
    write_picture(out / f"{name}_overlay.png", overlay(image, result.labels, result.points))
    write_points(out / f"{name}_points.csv", result.points)
    write_labels(out / f"{name}_labels.tif", result.labels)  # last: where it is, all is
    return Outcome(name, len(result.points), [str(w.message) for w in caught], None)
