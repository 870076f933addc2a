"""Pictures of every stage: what a person looks at."""

import colorsys
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, Integer, UInt8
from PIL import Image, ImageDraw
from skimage.segmentation import find_boundaries

from wsis_jax.core import WinnerMap, grey, normalize_image

# Successive hues a golden angle apart: neighbours in number are never alike.
_GOLDEN = 0.61803
# Told apart with any colour vision, on grey (Okabe and Ito).
_POINT, _DOUBLED, _MISSING = (86, 220, 255), (255, 170, 0), (255, 80, 200)
_CAPTION = 18  # pixels above each picture of a strip


def cell_colours(cells: int) -> Float[np.ndarray, "{cells}+1 3"]:
    """Returns a colour for every label, 0..1; that of the background, label 0, is black."""
    hues = [colorsys.hsv_to_rgb((i * _GOLDEN) % 1, 0.75, 1.0) for i in range(cells)]
    return np.array([(0.0, 0.0, 0.0), *hues])


def _bytes(shares: Float[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """Returns values of 0..1 as those of a picture."""
    return np.rint(shares * 255).astype(np.uint8)


def image_picture(image: Float[np.ndarray, "height width *channels"]) -> UInt8[np.ndarray, "height width 3"]:
    """Returns values of any range as a picture, contrast stretched.

    Three channels are shown as red, green and blue, stretched alike; two or four as the grey values of their mean.
    """
    colours = image.ndim == 3 and image.shape[2] == 3
    stretched = normalize_image(image.astype(np.float32), method="percentile", low=0.5, high=99.5, alike=colours)
    return _bytes(stretched) if colours else np.repeat(_bytes(grey(stretched))[..., None], 3, axis=2)


def overlay(
    image: Float[np.ndarray, "height width *channels"],
    labels: Integer[np.ndarray, "height width"],
    points: Float[np.ndarray, "cells 2"] | None = None,
) -> UInt8[np.ndarray, "height width 3"]:
    """Returns the image with each cell's outline in its own colour, and its point as a small cross."""
    return with_outlines(image_picture(image), labels, points)


def with_outlines(
    picture: UInt8[np.ndarray, "height width 3"],
    labels: Integer[np.ndarray, "height width"],
    points: Float[np.ndarray, "cells 2"] | None = None,
) -> UInt8[np.ndarray, "height width 3"]:
    """Returns what `overlay` does, from the picture of an image."""
    picture = picture.copy()
    outlines = np.where(find_boundaries(labels, mode="inner"), labels, 0)
    colours = _bytes(cell_colours(int(labels.max(initial=0))))
    picture[outlines > 0] = colours[outlines[outlines > 0]]
    for row, column in np.round(points if points is not None else np.empty((0, 2))).astype(int):
        picture[max(row - 2, 0) : row + 3, max(column, 0) : column + 1] = (255, 255, 255)
        picture[max(row, 0) : row + 1, max(column - 2, 0) : column + 3] = (255, 255, 255)
    return picture


def points_picture(
    image: Float[np.ndarray, "height width *channels"],
    points: Float[np.ndarray, "points 2"],
    *,
    doubled: Float[np.ndarray, "doubled 2"],
    missing: Float[np.ndarray, "missing 2"],
    radius: float,
) -> UInt8[np.ndarray, "height width 3"]:
    """Returns the image with a cyan cross at each point, and rings around doubts.

    Args:
        image: values of any range, as `image_picture` shows them.
        points: (row, column) in its pixels.
        doubled: points to ring in orange: two on a cell.
        missing: places to ring in magenta: a cell, but no point.
        radius: of the rings, in pixels.
    """
    picture = Image.fromarray(image_picture(image))
    draw = ImageDraw.Draw(picture)
    arm, width = max(radius / 2, 2.0), max(round(min(image.shape[:2]) / 500), 1)
    for row, column in points:
        draw.line([(column - arm, row), (column + arm, row)], fill=_POINT, width=width)
        draw.line([(column, row - arm), (column, row + arm)], fill=_POINT, width=width)
    for places, colour in ((doubled, _DOUBLED), (missing, _MISSING)):
        for row, column in places:
            draw.circle((column, row), max(radius, 4.0), outline=colour, width=width)
    return np.asarray(picture)


def detection_picture(
    image: Float[np.ndarray, "height width *channels"],
    points: Float[np.ndarray, "points 2"],
    peaks: Int[np.ndarray, "peaks 2"],
    *,
    pairs: Int[np.ndarray, "pairs 2"],
    radius: float,
    zoom: float,
) -> UInt8[np.ndarray, "drawn_height drawn_width 3"]:
    """Returns the image with points against peaks: agreement in cyan, missed points magenta, other peaks orange.

    Args:
        image: values of any range, as `image_picture` shows them.
        points: (row, column) in its pixels; drawn as crosses.
        peaks: (row, column) in its pixels; drawn as rings.
        pairs: (peak, point), the indices of those that agree, as `match_points` returns them.
        radius: of the rings, in pixels of the image.
        zoom: pixels of the picture in one of the image.
    """
    height, width = (max(round(side * zoom), 1) for side in image.shape[:2])
    picture = Image.fromarray(image_picture(image)).resize((width, height), Image.Resampling.BILINEAR)
    draw, radius = ImageDraw.Draw(picture), max(radius * zoom, 4.0)
    arm, (right, found) = radius / 2, (set(pairs[:, i].tolist()) for i in (0, 1))
    for index, (row, column) in enumerate((peaks + 0.5) * zoom - 0.5):
        draw.circle((column, row), radius, outline=_POINT if index in right else _DOUBLED)
    for index, (row, column) in enumerate((points + 0.5) * zoom - 0.5):
        colour = _POINT if index in found else _MISSING
        draw.line([(column - arm, row), (column + arm, row)], fill=colour)
        draw.line([(column, row - arm), (column, row + arm)], fill=colour)
    return np.asarray(picture)


def heat_picture(values: Float[np.ndarray, "height width"]) -> UInt8[np.ndarray, "height width 3"]:
    """Returns values of 0..1 as black through red and yellow to white."""
    return _bytes(np.clip(3 * np.clip(values, 0, 1)[..., None] - np.arange(3, dtype=values.dtype), 0, 1))


def contribution_picture(winner: WinnerMap) -> UInt8[np.ndarray, "height width 3"]:
    """Returns the winner map: each pixel in the colour of its cell, as bright as its contribution."""
    # The largest contributions are few; a root shows the others too.
    brightness = np.sqrt(np.clip(winner.value / max(float(np.percentile(winner.value, 99.8)), 1e-12), 0, 1))
    colours = cell_colours(int(winner.owner.max(initial=0)))[winner.owner]
    return _bytes(colours * brightness[..., None])


def label_picture(labels: Integer[np.ndarray, "height width"]) -> UInt8[np.ndarray, "height width 3"]:
    """Returns a label image in colours."""
    return _bytes(cell_colours(int(labels.max(initial=0))))[labels]


def strip(
    pictures: Sequence[tuple[str, UInt8[np.ndarray, "_ _ 3"]]], *, height: int
) -> UInt8[np.ndarray, "strip_height strip_width 3"]:
    """Returns pictures side by side at one height, each under its caption."""
    columns = []
    for caption, picture in pictures:
        width = max(round(picture.shape[1] * height / picture.shape[0]), 1)
        panel = Image.new("RGB", (width + 4, height + _CAPTION), "white")
        panel.paste(Image.fromarray(picture).resize((width, height), Image.Resampling.NEAREST), (2, _CAPTION))
        ImageDraw.Draw(panel).text((4, 2), caption, fill="black")
        columns.append(np.asarray(panel))
    return np.concatenate(columns, axis=1)
