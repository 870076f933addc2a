"""Writes results as Zarr: an image with its labels as OME-Zarr, and the evidence that labels were made of."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from wsis_jax.core import Segmentation, replacing_folder
from wsis_jax.io import NGFF, SourceImage, multiscales

if TYPE_CHECKING:
    import zarr

_CHUNK = 1024  # pixels a side


def write_ome_zarr(
    path: str | Path,
    source: SourceImage,
    labels: Int[np.ndarray, "height width"],
    colours: Float[np.ndarray, "labels 3"],
) -> None:
    """Writes a folder of OME-Zarr 0.5: the image, of one resolution, and the label image `labels/cells`.

    Labels have 16 bits up to 65,535, else 32.

    Args:
        path: the folder; its name should end in .ome.zarr.
        source: the image, in memory.
        labels: 0 for background, from 1 on cells.
        colours: of the labels 1, 2, 3, …, 0..1, as viewers shall show them.
    """
    import zarr

    kind = np.uint16 if labels.max() <= np.iinfo(np.uint16).max else np.uint32
    present = np.unique(labels[labels > 0]).tolist()
    image_label: dict[str, Any] = {"source": {"image": "../../"}}
    if present:  # an empty list would not be valid
        levels = np.round(colours * 255).astype(int).tolist()
        image_label["colors"] = [{"label-value": one, "rgba": [*levels[one - 1], 255]} for one in present]
    with replacing_folder(path) as temporary:
        root = zarr.create_group(temporary, attributes={"ome": multiscales(source.name, "cyx", source.pixel_size)})
        _add(root, "0", np.asarray(source.channels), "cyx")
        group = root.create_group("labels", attributes={"ome": {"version": NGFF, "labels": ["cells"]}})
        ome = multiscales("cells", "yx", source.pixel_size) | {"image-label": image_label}
        _add(group.create_group("cells", attributes={"ome": ome}), "0", labels.astype(kind), "yx")


def write_evidence(path: str | Path, result: Segmentation) -> None:
    """Writes a folder of Zarr with what the cells of an image were found and cut by.

    The arrays are `image` (as the network saw it, 0..1, several channels on a third axis), `likelihood`, the
    winner map as `value` (the greatest contribution to a pixel), `owner` (i + 1 where it is that of cell i, 0
    where there is none) and `runner_up` (the greatest of any other cell), all in pixels of the network, and
    `peaks`, (row, column) in these pixels. The attribute `image_shape` is the (height, width) of the image as
    given. The path should end in .zarr.
    """
    import zarr

    detection, winner = result.detection, result.winner
    maps = {
        "image": detection.image,
        "likelihood": detection.likelihood,
        "value": winner.value,
        "owner": winner.owner,
        "runner_up": winner.runner_up,
    }
    with replacing_folder(path) as temporary:
        root = zarr.create_group(temporary, attributes={"image_shape": list(result.labels.shape)})
        for name, values in maps.items():
            _add(root, name, values, "yxc"[: values.ndim])
        _add(root, "peaks", detection.peaks, ("cell", "axis"))


def _add(group: "zarr.Group", name: str, values: np.ndarray, axes: str | tuple[str, ...]) -> None:
    """Writes an array into a group."""
    most = [1 if axis == "c" else _CHUNK for axis in axes]
    chunks = tuple(min(max(side, 1), limit) for side, limit in zip(values.shape, most, strict=True))
    group.create_array(name, data=np.ascontiguousarray(values), chunks=chunks, dimension_names=list(axes))
