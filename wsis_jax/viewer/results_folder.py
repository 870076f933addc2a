"""What a folder of results holds of each image, read part by part."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float64

from wsis_jax.core import UserError
from wsis_jax.io import read_labels, read_points, read_shape

if TYPE_CHECKING:
    import pandas

# How the names of files end that tell of an image. Other programs write labels and points of such names, too.
_ENDINGS = {
    "labels": "_labels.tif",
    "overlay": "_overlay.png",
    "points": "_points.csv",
    "zarr": ".ome.zarr",
    "evidence": "_contributions.zarr",
}


class ImageFiles(NamedTuple):
    """The files that tell of one image.

    Attributes:
        name: of the image.
        files: by their kind; only those that are there.
        folder: where they are.
    """

    name: str
    files: dict[str, Path]
    folder: Path

    def has(self, part: str) -> bool:
        """Tells whether a part can be read: image, overlay, likelihood, contributions, winners, cells, points."""
        return bool(_NEEDED[part] & set(self.files))

    def shape(self) -> tuple[int, int]:
        """Returns (height, width) of the image; (0, 0) where only its points are there."""
        for kind in ("labels", "overlay"):
            if kind in self.files:
                return read_shape(self.files[kind])
        if "zarr" in self.files:
            return _open(self.files["zarr"])["labels/cells/0"].shape
        return tuple(_open(self.files["evidence"]).attrs["image_shape"]) if "evidence" in self.files else (0, 0)

    def read(self, part: str) -> np.ndarray:
        """Returns a part that is an image, in pixels of the image.

        Raises:
            UserError, OSError: if the file is damaged, or needs a package that is missing.
        """
        try:
            return _READ[part](self)
        except UserError:
            raise
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{self.folder / self.name}: the {part} of this image cannot be read ({error}); write it again"
            ) from error

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
        file = self.folder / f"{self.name}_cells.csv"
        known = pandas.read_csv(file, index_col="label") if file.is_file() else pandas.DataFrame()
        table = known.reindex(labels).rename_axis("label").reset_index()
        return table.assign(image=self.name)


def images_of(folder: Path) -> list[ImageFiles]:
    """Returns the images of a folder of results, by name; none where it is no such folder."""
    found: dict[str, dict[str, Path]] = {}
    for path in folder.iterdir():
        for kind, ending in _ENDINGS.items():
            if path.name.endswith(ending) and not path.name.startswith("."):
                found.setdefault(path.name.removesuffix(ending), {})[kind] = path
    ours = (folder / "manifest.jsonl").is_file() or any("labels" in files for files in found.values())
    return [ImageFiles(name, files, folder) for name, files in sorted(found.items())] if ours else []


def _open(path: Path) -> Any:
    """Returns the group of a Zarr."""
    try:
        import zarr
    except ImportError as error:
        raise UserError(f"{path}: needs zarr; install it with: pip install 'wsis-jax[zarr]'") from error
    return zarr.open_group(path, mode="r")


def _image(image: ImageFiles) -> np.ndarray:
    # Of several channels the first: which one was segmented, the file does not say.
    return np.asarray(_open(image.files["zarr"])["0"][0])


def _overlay(image: ImageFiles) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(image.files["overlay"]).convert("RGB"))


def _cells(image: ImageFiles) -> np.ndarray:
    if "labels" in image.files:
        return read_labels(image.files["labels"])
    return np.asarray(_open(image.files["zarr"])["labels/cells/0"]).astype(np.int32)


def _evidence(array: str) -> Callable[[ImageFiles], np.ndarray]:
    """Returns what reads an array in pixels of the network and brings it to those of the image."""

    def read(image: ImageFiles) -> np.ndarray:
        group = _open(image.files["evidence"])
        values, shape = np.asarray(group[array]), group.attrs["image_shape"]
        places = [((np.arange(n) + 0.5) * old / n).astype(int) for n, old in zip(shape, values.shape, strict=True)]
        return values[np.ix_(*places)]

    return read


_READ: dict[str, Callable[[ImageFiles], np.ndarray]] = {
    "image": _image,
    "overlay": _overlay,
    "likelihood": _evidence("likelihood"),
    "contributions": _evidence("value"),
    "winners": _evidence("owner"),
    "cells": _cells,
}
# The kinds of files of which a part needs one.
_NEEDED = {
    "image": {"zarr"},
    "overlay": {"overlay"},
    "likelihood": {"evidence"},
    "contributions": {"evidence"},
    "winners": {"evidence"},
    "cells": {"labels", "zarr"},
    "points": {"points"},
}
