"""Writes results as Zarr: an image with its labels as OME-Zarr, and the evidence that labels were made of."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from wsis_jax.core import Plane, Segmentation, replacing_folder
from wsis_jax.io import NGFF, SourceImage, half_sides

if TYPE_CHECKING:
    import dask.array
    import zarr
    from ome_zarr.classes import OMEZarrImage

_CHUNK = 1024  # pixels a side
_MOST_16_BITS = np.iinfo(np.uint16).max


def write_ome_zarr(
    path: str | Path, source: SourceImage, labels: Plane, colours: Float[np.ndarray, "labels 3"]
) -> None:
    """Writes a folder of OME-Zarr 0.5: the image and the label image `labels/cells`, both in several resolutions.

    Each level has half the sides of the one before, down to 1024 pixels. Images are resized smoothly, and
    labels by nearest neighbour. Both are read by chunks. Labels have 16 bits up to 65,535. Greater ones have 32
    bits, and no colours.

    Args:
        path: the folder; its name should end in .ome.zarr.
        source: the image.
        labels: 0 for background, from 1 on cells.
        colours: of the labels 1, 2, 3, … to the greatest, 0..1, as viewers shall show them.
    """
    import dask.array
    import zarr

    few = len(colours) <= _MOST_16_BITS
    image_label: dict[str, Any] = {"source": {"image": "../../"}}
    if len(colours) and few:  # an empty list would not be valid
        levels = np.round(colours * 255).astype(int).tolist()
        image_label["colors"] = [{"label-value": i, "rgba": [*one, 255]} for i, one in enumerate(levels, start=1)]
    with replacing_folder(path) as temporary, dask.config.set(scheduler="threads"):
        root = zarr.create_group(temporary)
        channels = dask.array.stack([_lazy(channel) for channel in source.channels])
        _add_levels(root, _described(source.name, channels, source.pixel_size))
        group = root.create_group("labels", attributes={"ome": {"version": NGFF, "labels": ["cells"]}})
        numbers = _lazy(labels).astype(np.uint16 if few else np.uint32)
        _add_levels(group.create_group("cells"), _described("cells", numbers, source.pixel_size), image_label)


def _lazy(plane: Plane) -> "dask.array.Array":
    """Returns an array that is read by chunks; one at a time, since files may not allow more."""
    import dask.array

    chunks = tuple(min(side, _CHUNK) for side in plane.shape)
    return dask.array.from_array(plane, chunks=chunks, lock=True, name=False, meta=np.empty((0, 0), plane.dtype))


def _described(name: str, values: "dask.array.Array", pixel_size: float | int | None) -> "OMEZarrImage":
    """Returns an image, or labels, with axes and the side of a pixel in µm, if it is known."""
    from ome_zarr.classes import OMEZarrImage

    side, axes = float(pixel_size or 1), "cyx"[-values.ndim :]
    scale = {axis: 1.0 if axis == "c" else side for axis in axes}
    units = None if pixel_size is None else {"y": "micrometer", "x": "micrometer"}
    return OMEZarrImage(values, axes=axes, scale=scale, axes_units=units, name=name)


def _add_levels(group: "zarr.Group", image: "OMEZarrImage", image_label: dict[str, Any] | None = None) -> None:
    """Writes an image, or, with what is known of them, labels, into a group, in several resolutions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of its own older parts, when it is imported
        import ome_zarr.writer  # noqa: F401
    from ome_zarr.classes import OMEZarrLabels, OMEZarrMultiscale
    from ome_zarr.scale import Methods

    height, width = map(int, image.data.shape[-2:])
    factors = [2**i for i in range(1, len(half_sides((height, width), _CHUNK)) + 1)]
    if image_label is None:
        levels: Any = OMEZarrMultiscale(image, factors, Methods.RESIZE)
        levels.omero = None  # a guess of the contrast, which viewers make better
    else:
        levels = OMEZarrLabels(image, factors, Methods.NEAREST)
        levels.image_label = image_label
    chunks = (1,) * (image.data.ndim - 2) + (min(height, _CHUNK), min(width, _CHUNK))
    levels.to_ome_zarr(group, storage_options={"chunks": chunks}, version=NGFF, overwrite=True)


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
