"""The reader of folders: of results, whose images become one stack of layers, and of trainings."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float64

from wsis_jax.core import EXPECTED_ERRORS, UserError, sentence
from wsis_jax.io import read_labels, read_points, read_shape, results_in
from wsis_jax.output import FORMATS
from wsis_jax.viewer.layers import LayerData, dot_size
from wsis_jax.viewer.widgets import MODELS

if TYPE_CHECKING:
    import pandas

# Formats whose files tell of an image. Other programs write labels and points of such names, too.
_SHOWN = ("labels", "overlay", "points", "zarr", "contributions")


class ImageFiles(NamedTuple):
    """The files that tell of one image."""

    name: str  # of the image
    files: dict[str, Path]  # by the name of their format; only those that are there
    folder: Path  # where they are

    def has(self, part: str) -> bool:
        """Tells whether a part that is an image can be read: one of `_PARTS`."""
        return bool(_PARTS[part][0] & set(self.files))

    def shape(self) -> tuple[int, int]:
        """Returns (height, width) of the image; (0, 0) where only its points are there."""
        for kind in ("labels", "overlay"):
            if kind in self.files:
                return read_shape(self.files[kind])
        if "zarr" in self.files:
            with _zarr(self.files["zarr"]) as group:
                return group["labels/cells/0"].shape
        if "contributions" in self.files:
            with _zarr(self.files["contributions"]) as group:
                return tuple(group.attrs["image_shape"])
        return 0, 0

    def read(self, part: str) -> np.ndarray:
        """Returns a part that is an image, in pixels of the image.

        Raises:
            UserError: if the file is damaged.
        """
        return _PARTS[part][1](self)

    def points(self) -> Float64[np.ndarray, "cells 2"]:
        """Returns (row, column) of the detected cells; none where the file is missing."""
        return read_points(self.files["points"])[0] if "points" in self.files else np.empty((0, 2))

    def table(self, cells: int) -> "pandas.DataFrame":
        """Returns the image's name and what `_cells.csv` says, if it is there, of each detected cell, in order.

        Args:
            cells: how many were detected; one without a pixel has no line in the file.
        """
        import pandas

        labels = np.arange(1, cells + 1)
        file = FORMATS["table"].path(self.folder, self.name)
        try:
            known = pandas.read_csv(file, index_col="label") if file.is_file() else pandas.DataFrame()
        except ValueError as error:
            raise UserError(f"{file}: is no table of cells ({error}); segment the image again") from error
        table = known.reindex(labels).rename_axis("label").reset_index()
        return table.assign(image=self.name)


def images_of(folder: Path) -> list[ImageFiles]:
    """Returns the images of a folder of results, by name; none where it is no such folder."""
    found: dict[str, dict[str, Path]] = {}
    folders = {folder, *(path.parent for path in results_in(folder))}
    for path in (path for each in folders if each.is_dir() for path in each.iterdir()):
        for kind in _SHOWN:
            ending = FORMATS[kind].ending
            if path.name.endswith(ending) and not path.name.startswith("."):
                name = path.relative_to(folder).as_posix().removesuffix(ending)
                found.setdefault(name, {})[kind] = path
    ours = (folder / "manifest.jsonl").is_file() or any("labels" in files for files in found.values())
    return [ImageFiles(name, files, folder) for name, files in sorted(found.items())] if ours else []


@contextmanager
def _zarr(path: Path) -> Generator[Any, None, None]:
    """Context manager yielding the group of a Zarr; what it lacks is an error of the file."""
    import zarr

    try:
        yield zarr.open_group(path, mode="r")
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise UserError(f"{path}: is damaged ({error}); segment the image again") from error


def _image(image: ImageFiles) -> np.ndarray:
    # Of several channels the first: which one was segmented, the file does not say.
    with _zarr(image.files["zarr"]) as group:
        return np.asarray(group["0"][0])


def _overlay(image: ImageFiles) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(image.files["overlay"]).convert("RGB"))


def _cells(image: ImageFiles) -> np.ndarray:
    if "labels" in image.files:
        return read_labels(image.files["labels"])
    with _zarr(image.files["zarr"]) as group:
        return np.asarray(group["labels/cells/0"]).astype(np.int32)


def _evidence(array: str) -> Callable[[ImageFiles], np.ndarray]:
    """Returns a function that reads an array in pixels of the network, resized to those of the image."""

    def read(image: ImageFiles) -> np.ndarray:
        with _zarr(image.files["contributions"]) as group:
            values, shape = np.asarray(group[array]), group.attrs["image_shape"]
        places = [((np.arange(n) + 0.5) * old / n).astype(int) for n, old in zip(shape, values.shape, strict=True)]
        return values[np.ix_(*places)]

    return read


# The kinds of files of which a part needs one, and what reads it.
_PARTS: dict[str, tuple[set[str], Callable[[ImageFiles], np.ndarray]]] = {
    "image": ({"zarr"}, _image),
    "overlay": ({"overlay"}, _overlay),
    "likelihood": ({"contributions"}, _evidence("likelihood")),
    "contributions": ({"contributions"}, _evidence("value")),
    "winners": ({"contributions"}, _evidence("owner")),
    "cells": ({"labels", "zarr"}, _cells),
}


# Layers

Read = Callable[[str], list[Any]]
"""Reads a folder; returns its layers, or `[(None,)]` where there is nothing to add."""


def get_reader(path: str | Sequence[str]) -> Read | None:
    """Returns the reader of a run folder or a folder of results; None for anything else."""
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
    if any("points" in image.files for image in images):
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
