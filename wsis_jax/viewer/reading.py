"""The reader of folders: of results, whose images become one stack of layers, and of trainings."""

import glob
import os
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float64

from wsis_jax.core import EXPECTED_ERRORS, UserError, sentence
from wsis_jax.io import CORRECTIONS, open_omezarr, read_labels, read_points, read_shape, results_in
from wsis_jax.output import FORMATS
from wsis_jax.segmentation import edits_of
from wsis_jax.viewer.layers import LayerData, dot_size
from wsis_jax.viewer.marks import Made, marked, new_group
from wsis_jax.viewer.models import MODELS
from wsis_jax.viewer.results import DOTS, new_point_features, outline_when_added, rows_of

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
            height, width = open_omezarr(self.files["zarr"] / "labels" / "cells")[0].shape
            return height, width
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

    def corrected(self) -> Float64[np.ndarray, "cells 2"]:
        """Returns (row, column) of the cells as somebody corrected them; the detected ones where nobody did."""
        file = self.folder / f"{self.name}{CORRECTIONS}"
        if not file.is_file():
            return self.points()
        return next(iter(read_points(file).values()))

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
            raise UserError(f"{file}: is not a table of cells ({error}); segment the image again") from error
        table = known.reindex(labels).rename_axis("label").reset_index()
        return table.assign(image=self.name)


def _endings() -> list[tuple[str, str]]:
    """Returns endings of names and the kinds of files that have them; the longer of two endings comes first."""
    tiled = FORMATS["labels"].path(Path(), "", tiled=True).name
    return [(tiled, "labels"), *((FORMATS[kind].ending, kind) for kind in _SHOWN)]


def images_of(folder: Path) -> list[ImageFiles]:
    """Returns the images of a folder of results, by name; none where it is no such folder."""
    found: dict[str, dict[str, Path]] = {}
    folders = {folder, *(path.parent for path in results_in(folder))}
    for path in (path for each in folders if each.is_dir() for path in each.iterdir()):
        for ending, kind in _endings():
            if path.name.endswith(ending) and not path.name.startswith("."):
                name = path.relative_to(folder).as_posix().removesuffix(ending)
                found.setdefault(name, {})[kind] = path
                break
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
    return np.asarray(open_omezarr(image.files["zarr"])[0][0])


def _overlay(image: ImageFiles) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(image.files["overlay"]).convert("RGB"))


def _cells(image: ImageFiles) -> np.ndarray:
    if "labels" in image.files:
        return read_labels(image.files["labels"])
    return np.asarray(open_omezarr(image.files["zarr"] / "labels" / "cells")[0]).astype(np.int32)


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
    """Returns the reader of a folder; None for anything else.

    napari asks its user which plugin is to read a folder, and offers the first by name, which is this one. So any
    other folder is read as napari reads it by itself.
    """
    folder = Path(path) if isinstance(path, str | Path) else None
    if folder is None or not folder.is_dir():
        return None
    if not is_ours(folder):
        from napari_builtins.io import napari_get_reader

        return napari_get_reader(str(folder))
    return _showing_errors(layers_of_folder)


def prefer_here(folder: Path) -> None:
    """Lets napari open a folder with this plugin from now on, as *Remember this choice* of its question does.

    Whatever somebody prefers already for the folder, by itself or by a pattern, stays.
    """
    from napari.plugins.utils import get_preferred_reader
    from napari.settings import get_settings

    path, settings = f"{folder.resolve()}{os.sep}", get_settings().plugins
    if get_preferred_reader(path) is None:
        with suppress(OSError):  # of settings that cannot be saved
            settings.extension2reader = {**settings.extension2reader, glob.escape(path): "wsis-jax"}


def is_ours(folder: Path) -> bool:
    """Tells whether a folder is a run or holds results."""
    return _is_run(folder) or bool(images_of(folder))


def _is_run(folder: Path) -> bool:
    return (folder / "config.json").is_file() and ((folder / "weights").is_dir() or (folder / "samples").is_dir())


def layers_of_folder(folder: Path) -> list[LayerData]:
    """Returns the layers of a folder of results or of a run, whose model is then offered.

    Raises:
        UserError: if it is neither, or a file is damaged.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: is not a folder; choose one of results, or the run of a training")
    if _is_run(folder):
        return read_training(folder)
    if not images_of(folder):
        raise UserError(
            f"{folder}: holds neither results of wsis segment nor a trained model; open images with File > Open"
        )
    return read_results(folder)


def _showing_errors(read: Callable[[Path], list[LayerData]]) -> Read:
    """Returns a reader that shows errors in a sentence."""

    def reader(path: str) -> list[Any]:
        from napari import current_viewer
        from napari.utils.notifications import show_error

        if (viewer := current_viewer()) is not None:
            outline_when_added(viewer)
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
    about = {"name": f"{folder.name} as it learned", "rgb": True}
    return [(stack, {**about, "metadata": {"steps": steps, **marked("pictures", new_group())}}, "image")]


def read_results(folder: Path) -> list[LayerData]:
    """Returns the layers of a folder of results.

    Those of several images are stacks, in the order of their names (`metadata["names"]`), read as they are shown;
    smaller images are continued by zeros.
    """
    images = images_of(folder)
    names, group = [image.name for image in images], new_group()
    title = images[0].name if len(images) == 1 else folder.resolve().name
    shapes = [image.shape() for image in images]
    frame = tuple(np.max(shapes, axis=0).tolist())
    layers: list[LayerData] = []

    def about(part: str, **mark: Any) -> dict[str, Any]:
        several = {"shapes": shapes} if len(images) > 1 else {}
        return {"name": f"{title} {part}", "metadata": {"names": names, **several, **marked(part, group, **mark)}}

    def add(kind: str, part: str, **attributes: Any) -> None:
        data = _stacked(images, part, frame)
        if data is not None:
            layers.append((data, {**about(part), **attributes}, kind))

    hidden = {"visible": False, "blending": "additive", "colormap": "magma"}
    if any(image.has("image") for image in images):
        add("image", "image")
    else:
        add("image", "overlay", rgb=True)
    add("image", "likelihood", contrast_limits=(0, 1), **hidden)
    add("image", "contributions", **hidden)
    add("labels", "winners", visible=False)
    if any("points" in image.files for image in images):
        outlined, points = _points_layer(images)
        mark = about("cells", outlined=outlined, made=Made(""))
        original = dict(enumerate(image.corrected() for image in images))
        told = about("points", folder=str(folder.resolve()), original=original)
        points = (points[0], {**points[1], **told, **DOTS}, "points")
    else:
        mark, points = about("cells"), None
    add("labels", "cells", **mark)
    return layers if points is None else [*layers, points]


def _points_layer(images: Sequence[ImageFiles]) -> tuple[Float64[np.ndarray, "outlined columns"], LayerData]:
    """Returns the detected cells of all images, as they were outlined, and a layer of them as they were corrected.

    The layer has what the tables tell of the cells.
    """
    import pandas

    outlined, places, tables = [], [], []
    for index, image in enumerate(images):
        step = (index,) if len(images) > 1 else ()
        before, now = image.points(), image.corrected()
        numbers = np.arange(1, len(before) + 1)
        outlined.append(rows_of(step, before, numbers))
        places.append(rows_of(step, now, np.zeros(len(now)))[:, :-1])
        same = edits_of(before, now).before
        table = image.table(len(before)).reindex(same).assign(image=image.name)
        table["label"] = np.where(same < 0, 0, same + 1)
        tables.append(table)
    sizes = dot_size([image.points() for image in images])
    features = pandas.concat(tables, ignore_index=True)
    attributes = {"features": features, "feature_defaults": new_point_features(features), "size": sizes}
    return np.concatenate(outlined), (np.concatenate(places), attributes, "points")


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
