"""OME-Zarr (NGFF 0.4 and 0.5): planes read lazily, labels written by chunks."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wsis_jax.files import replacing_folder

if TYPE_CHECKING:
    import zarr

NGFF = "0.5"
"""The version of the specification of OME-Zarr that is written."""
# To micrometres; the units that NGFF recommends.
_MICROMETRES = {"angstrom": 1e-4, "nanometer": 1e-3, "micrometer": 1.0, "millimeter": 1e3, "meter": 1e6}


class LazyPlane:
    """Rows and columns of an array of more axes, at one place of each other axis; read by slices.

    Attributes:
        shape: (height, width).
        dtype: of the values.
        chunks: (height, width) of the chunks.
    """

    def __init__(self, array: "zarr.Array", axes: str, places: Mapping[str, int]) -> None:
        """Takes the plane at `places` of the axes but y and x."""
        self._array, self._axes, self._places = array, axes, places
        self.shape, self.chunks = self._sides(array.shape), self._sides(array.chunks)
        self.dtype = array.dtype

    def _sides(self, sides: tuple[int, ...]) -> tuple[int, int]:
        return sides[self._axes.index("y")], sides[self._axes.index("x")]

    def __getitem__(self, window: tuple[slice, slice]) -> np.ndarray:
        """Returns the values in a window."""
        at = {"y": window[0], "x": window[1], **self._places}
        values = np.asarray(self._array[tuple(at[axis] for axis in self._axes)])
        return values if self._axes.index("y") < self._axes.index("x") else values.T


def open_omezarr(path: str | Path) -> tuple["zarr.Array", str, float | None]:
    """Opens the image of full resolution of an OME-Zarr, without reading its pixels.

    Returns:
        The array; the names of its axes, such as "tczyx"; and the side of a pixel in micrometres, or None where
        it is not given in a unit of length or pixels are not square.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it is no OME-Zarr image, or is damaged.
        ImportError: if zarr is not installed.
    """
    zarr = _zarr()
    path = Path(path)
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: there is no such folder; check the path")
    try:
        group = zarr.open_group(path, mode="r")
        attributes: Any = group.attrs.asdict()
        multiscale = attributes.get("ome", attributes)["multiscales"][0]
        axes = "".join(axis["name"].lower() for axis in multiscale["axes"])
        first = multiscale["datasets"][0]
        array = group[first["path"]]
    except (KeyError, IndexError, TypeError, ValueError, FileNotFoundError) as error:
        raise ValueError(f"{path}: is no OME-Zarr image of version 0.4 or 0.5; give the folder of one") from error
    if not isinstance(array, zarr.Array) or len(axes) != array.ndim or not {"y", "x"} <= set(axes):
        raise ValueError(f"{path}: its axes '{axes}' do not fit its array; write it again")
    return array, axes, _pixel_size(multiscale, first)


def open_plane(path: str | Path, *, channel: int | None = None, time: int = 0, z: int = 0) -> LazyPlane:
    """Opens one plane of an OME-Zarr image; its pixels are read when it is sliced.

    Args:
        path: the folder of the image.
        channel: counted from 0; may be left out where there is one.
        time, z: likewise; 0 where there is no such axis.

    Raises:
        FileNotFoundError, ImportError: see `open_omezarr`.
        ValueError: if it is no OME-Zarr image, there is no such plane, or it has channels and none is named.
    """
    array, axes, _ = open_omezarr(path)
    count = array.shape[axes.index("c")] if "c" in axes else 1
    if channel is None and count > 1:
        raise ValueError(f"{path}: has {count} channels; say which, counted from 0")
    places = {"c": channel or 0, "t": time, "z": z}
    if more := [axis for axis in axes if axis not in {*places, "y", "x"}]:
        raise ValueError(f"{path}: has an axis '{more[0]}'; give an image of the axes t, c, z, y and x")
    for axis, place in places.items():
        length = array.shape[axes.index(axis)] if axis in axes else 1
        if not 0 <= place < length:
            raise ValueError(f"{path}: has no place {place} on axis {axis}, where {length} are; count from 0")
    return LazyPlane(array, axes, {axis: place for axis, place in places.items() if axis in axes})


def create_labels(
    path: str | Path, shape: tuple[int, int], *, chunks: tuple[int, int], pixel_size: float | None = None
) -> "zarr.Array":
    """Creates an OME-Zarr label image (NGFF 0.5) of zeros, to be written to by slices.

    Args:
        path: the folder to make; nothing may be there.
        shape: (height, width).
        chunks: (height, width) of the pieces that are compressed, each into a file.
        pixel_size: side of a pixel in micrometres, if it is known.

    Returns:
        The array, of type uint32.

    Raises:
        ImportError: if zarr is not installed.
    """
    zarr = _zarr()
    about = multiscales("labels", "yx", pixel_size) | {"image-label": {}}
    group = zarr.create_group(path, zarr_format=3, attributes={"ome": about})
    chunks = min(chunks[0], shape[0]), min(chunks[1], shape[1])
    return group.create_array(
        "0", shape=shape, chunks=chunks, dtype=np.uint32, fill_value=0, dimension_names=("y", "x")
    )


@contextmanager
def writing_labels(
    path: str | Path, shape: tuple[int, int], *, chunks: tuple[int, int], pixel_size: float | None = None
) -> Generator["zarr.Array", None, None]:
    """Lends the array of `create_labels`; all takes its place at `path` in the end, or goes on an error."""
    with replacing_folder(path) as temporary:
        yield create_labels(temporary, shape, chunks=chunks, pixel_size=pixel_size)


def multiscales(name: str, axes: str, pixel_size: float | int | None) -> dict[str, Any]:
    """Returns the metadata of an image of one resolution, in the array `0`, with the side of a pixel in µm."""
    space = {"type": "space"} if pixel_size is None else {"type": "space", "unit": "micrometer"}
    described = [{"name": axis} | ({"type": "channel"} if axis == "c" else space) for axis in axes]
    scale = [1.0 if axis == "c" else float(pixel_size or 1) for axis in axes]
    datasets = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": scale}]}]
    return {"version": NGFF, "multiscales": [{"name": name, "axes": described, "datasets": datasets}]}


def _pixel_size(multiscale: Mapping[str, Any], dataset: Mapping[str, Any]) -> float | None:
    """Returns the side of a pixel of a dataset in micrometres, if it is known and one."""
    sizes = set()
    for index, axis in enumerate(multiscale["axes"]):
        if axis["name"].lower() in "yx":
            size = _MICROMETRES.get(axis.get("unit", ""), 0.0)
            for part in (dataset, multiscale):
                for transformation in part.get("coordinateTransformations", []):
                    size *= transformation["scale"][index] if transformation["type"] == "scale" else 1
            sizes.add(size)
    size = sizes.pop()
    return size if not sizes and size > 0 else None


def _zarr() -> Any:
    """Returns the library; ImportError in a sentence if it is missing."""
    try:
        import zarr
    except ImportError as error:
        raise ImportError("OME-Zarr needs zarr; install it with: pip install 'wsis-jax[zarr]'") from error
    return zarr
