"""OME-Zarr (NGFF 0.4 and 0.5): images are opened without reading them, labels are written chunk by chunk."""

import math
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from wsis_jax.core import MissingFile, UserError, check_name, check_values, grid_windows, replacing_folder
from wsis_jax.io.readers import Stack, in_micrometres, side_of_square, stack_of

NGFF = "0.5"
"""The version of the specification of OME-Zarr that is written."""


@contextmanager
def open_zarr(path: Path, axes: str | None) -> Generator[list[Stack], None, None]:
    """Context manager yielding the images of full resolution of an OME-Zarr, which names its axes itself.

    There is one, or one for each series of what bioformats2raw wrote, or for each field of a plate.
    """
    places = _places_in(path)
    stacks = []
    for place in places:
        array, names, pixel_size = open_omezarr(path.joinpath(*place))
        stack = stack_of(path, array, names.upper(), pixel_size=pixel_size, chunks=array.chunks)
        stacks.append(stack._replace(place="_".join(place) if len(places) > 1 else ""))
    yield stacks


def _places_in(path: Path) -> list[tuple[str, ...]]:
    """Returns the folders, each by its parts, of the images in an OME-Zarr; that of a single image has no part."""
    attributes = _attributes(path)
    if "multiscales" in attributes:
        return [()]
    try:
        if "plate" in attributes:
            wells = [_parts(well["path"]) for well in attributes["plate"]["wells"]]
            return [
                (*well, *_parts(image["path"]))
                for well in wells
                for image in _attributes(path.joinpath(*well))["well"]["images"]
            ] or [()]
        if "well" in attributes:
            return [_parts(image["path"]) for image in attributes["well"]["images"]] or [()]
        if "bioformats2raw.layout" in attributes:
            listed = _attributes(path / "OME").get("series") or _numbered(path)
            return [_parts(one) for one in listed] or [()]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: its list of images is damaged; give the folder of one of them") from error
    return [()]


def _attributes(path: Path) -> dict[str, Any]:
    """Returns what a group of an OME-Zarr says of itself; nothing where it is none, as opening it tells."""
    try:
        attributes: Any = zarr.open_group(path, mode="r").attrs.asdict()
        attributes = attributes.get("ome", attributes)
    except Exception:  # of the library, or of metadata of another form
        return {}
    return attributes if isinstance(attributes, dict) else {}


def _parts(path: object) -> tuple[str, ...]:
    """Returns the parts of a path that metadata give; ValueError if it leads elsewhere."""
    parts = tuple(str(path).split("/"))
    for part in parts:
        check_name(part)
        if not part.isalnum():  # it becomes a part of names
            raise ValueError(f"{part!r} is not a place of an image")
    return parts


def _numbered(path: Path) -> list[str]:
    """Returns the names of the folders 0, 1, 2 and so on, as far as there are."""
    return [str(number) for number in takewhile(lambda number: (path / str(number)).is_dir(), count())]


def open_omezarr(path: str | Path) -> tuple[zarr.Array, str, float | None]:
    """Opens the image of full resolution of an OME-Zarr, without reading its pixels.

    Returns:
        The array; the names of its axes, such as "tczyx"; and the side of a pixel in micrometres, or None if it is
        not given in a unit of length or pixels are not square.

    Raises:
        MissingFile: if there is no such folder.
        UserError: if it is not an OME-Zarr image, or is damaged.
    """
    path = Path(path)
    if not path.is_dir():
        raise MissingFile(f"{path}: there is no such folder; check the path")
    try:
        group = zarr.open_group(path, mode="r")
        attributes: Any = group.attrs.asdict()
        multiscale = attributes.get("ome", attributes)["multiscales"][0]
        axes = "".join(axis["name"].lower() for axis in multiscale["axes"])
        first = multiscale["datasets"][0]
        array = group[first["path"]]
        if not isinstance(array, zarr.Array):
            raise TypeError("it is a group")
        pixel_size = _pixel_size(multiscale, first)
    except Exception as error:  # of the library, or of metadata of another form
        raise UserError(
            f"{path}: is not an OME-Zarr image of version 0.4 or 0.5; give the folder of one"
        ) from error
    if len(set(axes)) != array.ndim or len(axes) != array.ndim or not {"y", "x"} <= set(axes):
        raise UserError(f"{path}: its axes '{axes[:60]}' do not match its array; write it again")
    _check_storage(path, array)
    return array, axes, pixel_size


def _check_storage(path: Path, array: zarr.Array) -> None:
    """Raises UserError for an array whose values are not numbers, or whose chunks do not fit into memory.

    A pickled object is a program that runs when it is read; it is refused here, whatever the library does.
    """
    described: Any = array.metadata
    codecs = (*(described.filters or ()), described.compressor) if described.zarr_format == 2 else ()
    pickled = any(getattr(codec, "codec_id", "") == "pickle" for codec in codecs)
    if array.dtype.kind not in "buifc" or pickled:
        raise UserError(f"{path}: its values are not numbers but objects; write it again as numbers")
    if 0 in array.chunks:
        raise UserError(f"{path}: its chunks have no pixels; write it again")
    for piece in (array.chunks, array.shards or ()):
        check_values(path, math.prod(piece), remedy="write it again with smaller chunks")


def create_labels(
    path: str | Path, shape: tuple[int, int], *, chunks: tuple[int, int], pixel_size: float | None = None
) -> zarr.Array:
    """Creates an OME-Zarr label image (NGFF 0.5) of zeros, uint32, written to by slices; nothing may be there yet.

    `chunks` is the (height, width) of the parts that are compressed, each into a file; `pixel_size` is the side of
    a pixel in micrometres, if it is known.
    """
    group = zarr.create_group(path, zarr_format=3, attributes={"ome": _label_metadata([shape], pixel_size)})
    return _create_level(group, 0, shape, chunks)


@contextmanager
def writing_labels(
    path: str | Path, shape: tuple[int, int], *, chunks: tuple[int, int], pixel_size: float | None = None
) -> Generator[zarr.Array, None, None]:
    """Context manager yielding the array of `create_labels`; it appears at `path` at the end, or not at all.

    Then it has levels of half the sides each, down to one chunk, so that viewers open it at once.
    """
    with replacing_folder(path) as temporary:
        yield create_labels(temporary, shape, chunks=chunks, pixel_size=pixel_size)
        _add_levels(temporary, chunks, pixel_size)


def half_sides(shape: tuple[int, int], most: int) -> list[tuple[int, int]]:
    """Returns the shapes of the lower resolutions of an image, each with half the sides of the one before.

    The last one has no side above `most`, or a side of one pixel.
    """
    shapes = [shape]
    while max(shapes[-1]) > most and min(shapes[-1]) > 1:
        shapes.append((shapes[-1][0] // 2, shapes[-1][1] // 2))
    return shapes[1:]


def _add_levels(path: Path, chunks: tuple[int, int], pixel_size: float | None) -> None:
    """Adds levels to a label image: of four pixels the lower right one, as a mean of numbers would be none."""
    group = zarr.open_group(path, mode="r+")
    level: Any = group["0"]
    shapes = [level.shape, *half_sides(level.shape, max(chunks))]
    for number, shape in enumerate(shapes[1:], start=1):
        smaller = _create_level(group, number, shape, chunks)
        for window in grid_windows(shape, chunks):
            rows, columns = (slice(2 * side.start, 2 * side.stop) for side in window)
            smaller[window] = np.asarray(level[rows, columns])[1::2, 1::2]
        level = smaller
    group.attrs["ome"] = _label_metadata(shapes, pixel_size)


def _create_level(group: zarr.Group, number: int, shape: tuple[int, int], chunks: tuple[int, int]) -> zarr.Array:
    """Creates the array of a level of labels."""
    chunks = min(chunks[0], shape[0]), min(chunks[1], shape[1])
    return group.create_array(
        str(number), shape=shape, chunks=chunks, dtype=np.uint32, fill_value=0, dimension_names=("y", "x")
    )


def _label_metadata(shapes: list[tuple[int, int]], pixel_size: float | int | None) -> dict[str, Any]:
    """Returns the metadata of labels of these shapes, in the arrays `0`, `1` and so on; pixels are in µm."""
    space = {"type": "space"} if pixel_size is None else {"type": "space", "unit": "micrometer"}
    side, datasets = float(pixel_size or 1), []
    for number, shape in enumerate(shapes):
        scale = [side * full / here for full, here in zip(shapes[0], shape, strict=True)]
        # Where the centre of the first pixel lies.
        steps: list[dict[str, Any]] = [{"type": "scale", "scale": scale}]
        steps += [{"type": "translation", "translation": [(one - side) / 2 for one in scale]}] if number else []
        datasets.append({"path": str(number), "coordinateTransformations": steps})
    axes = [{"name": axis} | space for axis in "yx"]
    described = {"name": "labels", "axes": axes, "datasets": datasets}
    return {"version": NGFF, "multiscales": [described], "image-label": {}}


def _pixel_size(multiscale: Mapping[str, Any], dataset: Mapping[str, Any]) -> float | None:
    """Returns the side of a pixel of a dataset in micrometres; None if it is unknown or pixels are not square."""
    sides = []
    for index, axis in enumerate(multiscale["axes"]):
        if axis["name"].lower() in "yx":
            size: float | int = 1
            for part in (dataset, multiscale):
                for transformation in part.get("coordinateTransformations", []):
                    size *= transformation["scale"][index] if transformation["type"] == "scale" else 1
            sides.append(in_micrometres(size, axis.get("unit", "")))
    return side_of_square(sides)
