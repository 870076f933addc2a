"""The gallery of a page: pictures of images in layers to switch between, one of each shown at a time."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float, Float32, Int, Int32, UInt8
from PIL import Image

from wsis_jax.core import (
    ParallelMap,
    Plane,
    Resizing,
    Segmentation,
    UserError,
    Window,
    corner_of,
    part_resized_from,
    replacing,
    resize_labels,
    resize_labels_part,
)
from wsis_jax.io import SourceImage
from wsis_jax.output.pictures import contribution_picture, grey_picture, heat_picture, label_picture, overlay
from wsis_jax.output.report.page import text

_Thing = TypeVar("_Thing")

SHOWN = 24  # images in a gallery; with more, a page gets too large
_SIDE = 900  # pixels, the longest of a picture
_MOST_PIXELS = 10_000**2  # of a picture that a report is made of
_CROWD = 0.005  # points a pixel, each drawn with nine
_QUALITY = 80  # of its compression, out of 100

LAYERS = {
    "image": "The image, its contrast stretched.",
    "likelihood": "The likelihood map: how sure the network is of a cell centre, from black (0) to white (1).",
    "contribution": "The contribution maps: the pixels that a detection came from, in the colour of its cell.",
    "outlines": "The outlines of the cells, and a cross where each was detected, if there are not too many.",
    "labels": "The label image: the pixels of each cell.",
}
"""What the layers of an image show, by name, in the order of their buttons."""


class Item(NamedTuple):
    """One image of a gallery.

    Attributes:
        name: plain text.
        note: a few words more, plain text.
        layers: files of pictures, by the name of the layer.
    """

    name: str
    note: str
    layers: dict[str, Path]


def layer_files(folder: Path, name: str) -> dict[str, Path]:
    """Returns where the pictures of an image are, or will be, by the name of the layer."""
    return {layer: folder / f"{name}_{layer}.webp" for layer in LAYERS}


def write_layers(folder: Path, source: SourceImage, found: Segmentation) -> list[Path]:
    """Writes the pictures of an image for the gallery, `<name>_<layer>.webp`, and returns their paths.

    Args:
        folder: to write to.
        source: the image, in memory.
        found: what was found in it.
    """
    shape = picture_shape(source.shape)
    # The outlines are drawn at the size that they are seen at, or they would be too thin to see.
    step = sampling_step(source.shape)
    image, labels = _shrink(np.asarray(source.image)[::step, ::step], shape), resize_labels(found.labels, shape)
    points = (found.points + 0.5) * (np.array(shape) / np.array(source.shape)) - 0.5
    pictures = {
        "image": grey_picture(image),
        "likelihood": _resize(heat_picture(found.detection.likelihood), shape),
        "contribution": _resize(contribution_picture(found.winner), shape),
        "outlines": _outlined(image, labels, points),
        "labels": label_picture(labels),
    }
    return _write_pictures(folder, source.name, pictures)


def write_overview(
    folder: Path,
    source: SourceImage,
    labels: Plane,
    points: Float[np.ndarray, "cells 2"],
    blocks: Sequence[Window],
    parallel_map: ParallelMap,
) -> list[Path]:
    """Writes the pictures that need no maps of the network, of an image read by slices, and returns their paths.

    Args:
        folder: to write to.
        source: the image.
        labels: its label image.
        points: where cells were detected, in pixels of the image.
        blocks: windows that cover the image.
        parallel_map: calls what reads a block.
    """
    pixels, seen = overview(source.image, labels, blocks, parallel_map)
    ratio = np.array(seen.shape) / np.array(labels.shape)
    image = _shrink(pixels, seen.shape)
    pictures = {
        "image": grey_picture(image),
        "outlines": _outlined(image, seen, (points + 0.5) * ratio - 0.5),
        "labels": label_picture(seen),
    }
    return _write_pictures(folder, source.name, pictures)


def overview(
    image: Plane, labels: Plane, blocks: Sequence[Window], parallel_map: ParallelMap
) -> tuple[Float32[np.ndarray, "_ _"], Int32[np.ndarray, "_ _"]]:
    """Returns an image and its labels as small as pictures need them, from parts: neither need fit into memory.

    Args:
        image: grey values.
        labels: of the same size; 0 for background, any other number for a cell.
        blocks: windows that cover both.
        parallel_map: calls what reads a block.

    Returns:
        Pixels of the image, in steps of `sampling_step`, and the labels at the size of pictures.
    """
    whole = image.shape[0], image.shape[1]
    step, shape = sampling_step(whole), picture_shape(whole)
    pixels, seen = np.zeros([-(-side // step) for side in whole], np.float32), np.zeros(shape, np.int32)
    sizes, parts = Resizing(whole, shape), parallel_map(_sampled, blocks, image=image, labels=labels)
    for block, (of_image, of_labels) in zip(blocks, parts, strict=True):
        rows, columns = (slice(-(-side.start // step), -(-side.stop // step)) for side in block)
        pixels[rows, columns] = of_image
        seen[part_resized_from(sizes, block)] = of_labels
    return pixels, seen


def _sampled(
    block: Window, *, image: Plane, labels: Plane
) -> tuple[Float32[np.ndarray, "_ _"], Int32[np.ndarray, "_ _"]]:
    """Returns the pixels of a block that are shown."""
    whole = image.shape[0], image.shape[1]
    step, shape = sampling_step(whole), picture_shape(whole)
    rows, columns = (slice(-side.start % step, None, step) for side in block)
    sizes = Resizing(whole, shape)
    given = np.asarray(labels[block]).astype(np.int64)
    shown = resize_labels_part(given, sizes, part_resized_from(sizes, block), corner=corner_of(block))
    return np.asarray(image[block], np.float32)[rows, columns], shown


def picture_shape(shape: tuple[int, int]) -> tuple[int, int]:
    """Returns the (height, width) of the pictures of an image of (height, width) `shape`."""
    zoom = min(_SIDE / max(shape), 1.0)
    return max(round(shape[0] * zoom), 1), max(round(shape[1] * zoom), 1)


def sampling_step(shape: tuple[int, int]) -> int:
    """Returns the step n at which a large image is read for pictures: every n-th pixel of rows and columns."""
    pictured = picture_shape(shape)
    return max(min(shape[0] // (2 * pictured[0]), shape[1] // (2 * pictured[1])), 1)


def _write_pictures(folder: Path, name: str, pictures: Mapping[str, UInt8[np.ndarray, "_ _ 3"]]) -> list[Path]:
    """Writes pictures under the names of their layers."""
    files = layer_files(folder, name)
    for layer, picture in pictures.items():
        with replacing(files[layer]) as temporary:
            Image.fromarray(picture).save(temporary, format="WEBP", quality=_QUALITY)
    return [files[layer] for layer in pictures]


def _outlined(
    image: Float[np.ndarray, "height width"],
    labels: Int[np.ndarray, "height width"],
    points: Float[np.ndarray, "cells 2"],
) -> UInt8[np.ndarray, "height width 3"]:
    """Returns an image with outlines and points, or without points where so many would hide the image."""
    return overlay(image, labels, points if len(points) < image.size * _CROWD else None)


def _shrink(image: Float[np.ndarray, "height width"], shape: tuple[int, int]) -> Float[np.ndarray, "_ _"]:
    """Returns an image at a size no greater than its own, by the mean of its pixels."""
    small = np.nan_to_num(image.astype(np.float32))
    return np.asarray(Image.fromarray(small).resize(shape[::-1], Image.Resampling.BOX))


def _resize(picture: UInt8[np.ndarray, "_ _ 3"], shape: tuple[int, int]) -> UInt8[np.ndarray, "_ _ 3"]:
    """Returns a picture at another size."""
    return np.asarray(Image.fromarray(picture).resize(shape[::-1], Image.Resampling.BILINEAR))


def evenly(things: Sequence[_Thing], count: int) -> list[_Thing]:
    """Returns `count` things of a list, or all if there are fewer: first, last, and others at even distances."""
    if len(things) <= count:
        return list(things)
    return [things[i] for i in np.round(np.linspace(0, len(things) - 1, count)).astype(int)]


def gallery(items: Sequence[Item], *, layer: str, first: int = 0, what: str = "Image") -> str:
    """Returns the HTML of a gallery, or nothing where there are no items.

    Args:
        items: images with at least one layer each.
        layer: to begin with.
        first: index of the item to begin with.
        what: one of the items is called.
    """
    if not items:
        return ""
    there = [name for name in LAYERS if any(name in item.layers for item in items)]
    buttons = "".join(
        f'<button type="button" data-choose="{name}" data-about="{text(LAYERS[name])}" aria-pressed="false">'
        f"{name.capitalize()}<kbd>{place}</kbd></button>"
        for place, name in enumerate(there, start=1)
    )
    group = f'<div class="layers" role="group" aria-label="Layer">{buttons}</div>' if there else "<span></span>"
    pager = (
        f'<div class="pager"><button type="button" data-step="-1" aria-label="Previous {what.lower()}">←</button>'
        f'<span class="place" aria-live="polite">1 of {len(items)}</span>'
        f'<button type="button" data-step="1" aria-label="Next {what.lower()}">→</button></div>'
    )
    thumbs = "".join(
        f'<button type="button" data-item="{i}" aria-pressed="false" aria-label="{text(f"{what} {item.name}")}"'
        f' title="{text(item.name)}">{"<img alt=" + chr(34) * 2 + ">" if there else text(item.name)}</button>'
        for i, item in enumerate(items)
    )
    words = "" if there else " words"
    return (
        f'<div class="gallery" data-gallery data-first="{first}" data-layer="{layer}">'
        f'<div class="js-only"><div class="bar-of">{group}{pager}</div></div>'
        f'<div class="stage">{"".join(map(_figure, items))}</div>'
        f'<p class="note about js-only"></p>'
        f'<div class="strip{words}" role="group" aria-label="{what}s">{thumbs}</div></div>'
    )


def _figure(item: Item) -> str:
    """Returns all layers of an item, and its name."""
    pictures = "".join(
        f'<img data-layer="{layer}" alt="{text(f"{item.name}: {layer}")}" src="{_inline(path)}">'
        for layer, path in item.layers.items()
    )
    caption = f"<figcaption><b>{text(item.name)}</b><span>{text(item.note)}</span></figcaption>"
    return f'<figure class="item">{pictures}{caption}</figure>'


def _inline(path: Path) -> str:
    """Returns the address of a picture that holds it.

    Raises:
        UserError: if the file is no picture, or too large to be one of ours: nothing else may get into a page.
    """
    try:
        with Image.open(path, formats=("PNG", "WEBP")) as picture:
            if picture.width * picture.height > _MOST_PIXELS:
                raise ValueError("it has too many pixels")
            if picture.format == "WEBP":
                data = path.read_bytes()
            else:
                compressed = io.BytesIO()
                picture.convert("RGB").save(compressed, format="WEBP", quality=_QUALITY)
                data = compressed.getvalue()
    except Exception as error:  # of many classes, for a damaged file
        raise UserError(f"{path}: is no picture of a report; delete it, and make the report again") from error
    return f"data:image/webp;base64,{base64.b64encode(data).decode()}"
