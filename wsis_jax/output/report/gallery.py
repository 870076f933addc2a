"""The gallery of a page: pictures of images in layers to switch between, one of each shown at a time."""

import base64
import io
from collections.abc import Sequence
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
    by_channel,
    corner_of,
    part_resized_from,
    replacing,
    resize_labels,
    resize_labels_part,
)
from wsis_jax.io import SourceImage
from wsis_jax.output.pictures import (
    contribution_picture,
    heat_picture,
    image_picture,
    label_picture,
    with_outlines,
)
from wsis_jax.output.report.html import text

_Thing = TypeVar("_Thing")

SHOWN = 24  # images in a gallery; with more, a page gets too large
_SIDE = 900  # pixels, the longest of a picture
_MOST_PIXELS = 10_000**2  # of a picture that a report is made of
_CROWD = 0.005  # points a pixel, each drawn with nine
_QUALITY = 80  # of its compression, out of 100
_EFFORT = 2  # of its compression, out of 6: 4, the default, takes twice as long for files 2 % smaller

LAYERS = {
    "image": "The image, its contrast stretched.",
    "likelihood": "The likelihood map: how sure the network is of a cell centre, from black (0) to white (1).",
    "contribution": "The contribution maps: the pixels that a detection came from, in the colour of its cell.",
    "outlines": "The outlines of the cells, and a cross where each was detected, if there are not too many.",
    "labels": "The label image: the pixels of each cell.",
}
"""What the layers of an image show, by name, in the order of their buttons."""


class Item(NamedTuple):
    """One image of a gallery."""

    name: str  # plain text
    note: str  # a few words more, plain text
    layers: dict[str, Path]  # files of pictures, by the name of the layer


def layer_files(folder: Path, name: str) -> dict[str, Path]:
    """Returns where the pictures of an image are, or will be, by the name of the layer."""
    return {layer: folder / f"{name}_{layer}.webp" for layer in LAYERS}


def write_layers(folder: Path, source: SourceImage, found: Segmentation) -> list[Path]:
    """Writes the pictures of an image for the gallery, `<name>_<layer>.webp`, and returns their paths."""
    step = sampling_step(source.shape)
    pixels = np.asarray(source.image)[::step, ::step]
    labels = resize_labels(found.labels, picture_shape(source.shape))
    likelihood, contribution = heat_picture(found.detection.likelihood), contribution_picture(found.winner)
    maps = {"likelihood": likelihood, "contribution": contribution}
    return write_pictures(folder, source, pixels, labels, found.points, **maps)


def overview(
    image: Plane, labels: Plane, blocks: Sequence[Window], parallel_map: ParallelMap
) -> tuple[Float32[np.ndarray, "_ _ *channels"], Int32[np.ndarray, "_ _"]]:
    """Returns pixels of an image, in steps of `sampling_step`, and its labels at the size of pictures.

    They come from blocks, windows that cover the image: neither it nor its labels need fit into memory.
    """
    whole = image.shape[0], image.shape[1]
    step, shape = sampling_step(whole), picture_shape(whole)
    pixels = np.zeros([*(-(-side // step) for side in whole), *image.shape[2:]], np.float32)
    seen = np.zeros(shape, np.int32)
    sizes, parts = Resizing(whole, shape), parallel_map(_sampled, blocks, image=image, labels=labels)
    for block, (of_image, of_labels) in zip(blocks, parts, strict=True):
        rows, columns = (slice(-(-side.start // step), -(-side.stop // step)) for side in block)
        pixels[rows, columns] = of_image
        seen[part_resized_from(sizes, block)] = of_labels
    return pixels, seen


def _sampled(
    block: Window, *, image: Plane, labels: Plane
) -> tuple[Float32[np.ndarray, "_ _ *channels"], Int32[np.ndarray, "_ _"]]:
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


def write_pictures(
    folder: Path,
    source: SourceImage,
    pixels: Float[np.ndarray, "_ _ *channels"],
    labels: Int[np.ndarray, "height width"],
    points: Float[np.ndarray, "cells 2"],
    **maps: UInt8[np.ndarray, "_ _ 3"],
) -> list[Path]:
    """Writes the pictures of an image under the names of their layers, and returns their paths.

    Args:
        folder: to write to.
        source: the image.
        pixels: of the image, no fewer than the labels; a picture shows the mean of them.
        labels: at the size of the pictures: drawn at another, outlines would be too thin to see.
        points: in pixels of the image; not drawn where so many would hide the image.
        maps: pictures of other layers, of any size.
    """
    size = labels.shape[::-1]
    small = np.nan_to_num(pixels.astype(np.float32))
    image = by_channel(lambda one: np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BOX)), small)
    crosses = (points + 0.5) * (np.array(labels.shape) / np.array(source.shape)) - 0.5
    picture = image_picture(image)
    outlines = with_outlines(picture, labels, crosses if len(points) < labels.size * _CROWD else None)
    others = {name: Image.fromarray(one).resize(size, Image.Resampling.BILINEAR) for name, one in maps.items()}
    pictures = {
        "image": Image.fromarray(picture),
        **others,
        "outlines": Image.fromarray(outlines),
        "labels": Image.fromarray(label_picture(labels)),
    }
    files = layer_files(folder, source.name)
    for layer, drawn in pictures.items():
        with replacing(files[layer]) as temporary:
            drawn.save(temporary, format="WEBP", quality=_QUALITY, method=_EFFORT)
    return [files[layer] for layer in pictures]


def evenly(things: Sequence[_Thing], count: int) -> list[_Thing]:
    """Returns `count` evenly spaced items of a list, with the first and the last, or all if there are fewer."""
    places = np.linspace(0, len(things) - 1, min(count, len(things)))
    return [things[i] for i in np.round(places).astype(int)]


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
        UserError: if the file is not a picture, or too large to be one of ours: nothing else may get into a page.
    """
    try:
        with Image.open(path, formats=("PNG", "WEBP")) as picture:
            if picture.width * picture.height > _MOST_PIXELS:
                raise ValueError("it has too many pixels")
            if picture.format == "WEBP":
                data = path.read_bytes()
            else:
                compressed = io.BytesIO()
                picture.convert("RGB").save(compressed, format="WEBP", quality=_QUALITY, method=_EFFORT)
                data = compressed.getvalue()
    except Exception as error:  # of many classes, for a damaged file
        raise UserError(f"{path}: cannot be read as a picture; delete it, and make the report again") from error
    return f"data:image/webp;base64,{base64.b64encode(data).decode()}"
