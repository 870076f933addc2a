"""The reader of folders: of results, whose images are one stack, and of trainings."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wsis_jax.core import EXPECTED_ERRORS, sentence
from wsis_jax.viewer.layers import LayerData, dot_size
from wsis_jax.viewer.results_folder import ImageFiles, images_of
from wsis_jax.viewer.widgets import MODELS

Read = Callable[[str], list[Any]]
"""Reads a folder; returns its layers, or `[(None,)]` where there is nothing to add."""


def get_reader(path: str | Sequence[str]) -> Read | None:
    """Returns what reads a run folder or a folder of results, and None for anything else."""
    folder = Path(path) if isinstance(path, str | Path) else None
    if folder is None or not folder.is_dir():
        return None
    if (folder / "config.json").is_file() and ((folder / "weights").is_dir() or (folder / "samples").is_dir()):
        return _showing_errors(read_training)
    return _showing_errors(read_results) if images_of(folder) else None


def _showing_errors(read: Callable[[Path], list[LayerData]]) -> Read:
    """Returns a reader that shows errors in a sentence."""

    def reader(path: str) -> list[Any]:
        from napari.utils.notifications import show_error

        try:
            return read(Path(path)) or [(None,)]
        except EXPECTED_ERRORS as error:
            show_error(sentence(error))
            return [(None,)]

    return reader


def read_training(folder: Path) -> list[LayerData]:
    """Offers the model of a run folder to the widgets, and returns its pictures of held-out images.

    They are one stack of colour pictures, from the first to the last that was drawn as the network learned.
    """
    from napari.utils.notifications import show_info

    from wsis_jax.network import best_weights

    files = sorted((folder / "samples").glob("step_*.png"))
    best_weights(folder)  # raises where it holds no model
    MODELS.add(folder)
    show_info(f"{folder}: its model is chosen in the widget “Segment cells”.")
    if not files:
        return []
    from PIL import Image

    pictures = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    steps = [int(file.stem.removeprefix("step_")) for file in files]
    shape = np.max([picture.shape for picture in pictures], axis=0).tolist()
    stack = np.stack([_padded(picture, shape) for picture in pictures])
    return [(stack, {"name": f"{folder.name} as it learned", "rgb": True, "metadata": {"steps": steps}}, "image")]


def read_results(folder: Path) -> list[LayerData]:
    """Returns the layers of a folder of results.

    Those of several images are stacks, in the order of their names (`metadata["names"]`), read as they are shown;
    smaller images are continued by zeros.
    """
    images = images_of(folder)
    about = {"metadata": {"names": [image.name for image in images]}}
    title = images[0].name if len(images) == 1 else folder.resolve().name
    shapes = [image.shape() for image in images]
    frame = tuple(np.max(shapes, axis=0).tolist())
    layers: list[LayerData] = []

    def add(kind: str, part: str, **attributes: Any) -> None:
        data = _stacked(images, part, frame)
        if data is not None:
            layers.append((data, {"name": f"{title} {part}", **about, **attributes}, kind))

    hidden = {"visible": False, "blending": "additive", "colormap": "magma"}
    if any(image.has("image") for image in images):
        add("image", "image")
    else:
        add("image", "overlay", rgb=True)
    add("image", "likelihood", contrast_limits=(0, 1), **hidden)
    add("image", "contributions", **hidden)
    add("labels", "winners", visible=False)
    add("labels", "cells")
    if any(image.has("points") for image in images):
        layers.append(_points_layer(images, f"{title} points", about))
    return layers


def _points_layer(images: Sequence[ImageFiles], name: str, about: dict[str, Any]) -> LayerData:
    """Returns the detected cells of all images, with what the tables tell of them."""
    import pandas

    points = [image.points() for image in images]
    tables = [image.table(len(own)) for image, own in zip(images, points, strict=True)]
    places = np.concatenate(points)
    if len(images) > 1:
        places = np.c_[np.repeat(np.arange(len(images)), [len(own) for own in points]), places]
    attributes = {"name": name, "features": pandas.concat(tables, ignore_index=True), "size": dot_size(points)}
    return places, {**about, **attributes, "face_color": "yellow"}, "points"


def _stacked(images: Sequence[ImageFiles], part: str, frame: tuple[int, int]) -> Any | None:
    """Returns a part of one image, or of several as a lazy stack; None where no image has it."""
    there = [image for image in images if image.has(part)]
    if not there:
        return None
    if len(images) == 1:
        return images[0].read(part)
    import dask.array

    example = there[0].read(part)
    shape = (*frame, *example.shape[2:])

    def read(block_info: Any) -> np.ndarray:
        index = block_info[None]["array-location"][0][0]
        image = images[index]
        plane = image.read(part) if image.has(part) else np.zeros((0, 0, *shape[2:]), example.dtype)
        return _padded(plane.astype(example.dtype), shape)[None]

    chunks = ((1,) * len(images), *((side,) for side in shape))
    return dask.array.map_blocks(read, chunks=chunks, dtype=example.dtype, meta=example[None, :0])


def _padded(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Returns an array continued by zeros."""
    return np.pad(array, [(0, whole - own) for own, whole in zip(array.shape, shape, strict=True)])
