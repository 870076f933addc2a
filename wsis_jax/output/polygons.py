"""Label images to polygons: the rings of pixel edges around cells, exactly.

A corner is (row, column) of the grid between the pixels: the image's top-left corner is (0, 0), and the pixel
(row, column) reaches from the corner of the same numbers to (row + 1, column + 1). In the coordinates of points,
whose zero is the centre of a pixel, each number is half a pixel less. ImageJ and QuPath count as corners do.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Int64
from skimage.measure import label as connect

# (row, column) of a step to the right, down, to the left and up: each is a right turn from the one before.
_STEPS = np.array([(0, 1), (1, 0), (0, -1), (-1, 0)])
# With its pixel on the right-hand side, an edge in each of these directions begins at this corner of the pixel.
_BEGINS = np.array([(0, 0), (0, 1), (1, 1), (1, 0)])


class Polygon(NamedTuple):
    """A part of a cell whose pixels are connected by their edges.

    Rings are closed: the first corner follows the last, and is not repeated. None touches itself. The part lies on
    the right-hand side of a ring as one sees it: the outer one runs clockwise, holes run the other way.
    """

    exterior: Int64[np.ndarray, "_ 2"]  # (row, column) of the corners of the outer ring
    holes: list[Int64[np.ndarray, "_ 2"]]  # the same for every hole


class _Edges(NamedTuple):
    """The pixel edges around all parts, in raster order of their pixels."""

    pixel: Int64[np.ndarray, "edges 2"]  # (row, column) of the pixel on the right-hand side, which is of the part
    direction: Int64[np.ndarray, " edges"]  # an index of `_STEPS`
    part: Int64[np.ndarray, " edges"]  # the part's number
    following: Int64[np.ndarray, " edges"]  # the index of the next edge of the ring


def cell_polygons(
    labels: Int[np.ndarray, "height width"], *, corner: tuple[int, int] = (0, 0)
) -> dict[int, list[Polygon]]:
    """Returns the polygons of every cell under its label; the labels rise.

    Pixels that touch at a corner alone are of different parts, unless they are connected elsewhere: every polygon
    is valid as the OGC has it, and those of a cell touch at points at most. Its area is the number of its pixels.

    Args:
        labels: 0 for background, any other number for a cell.
        corner: (row, column) where in the image `labels` begins.
    """
    polygons: dict[int, list[Polygon]] = {int(label): [] for label in np.unique(labels[labels != 0])}
    edges, seen = _trace(labels), {}
    for ring in _rings(edges):
        direction, part = edges.direction[ring], int(edges.part[ring[0]])
        turns = ring[direction != np.roll(direction, 1)]
        corners = edges.pixel[turns] + _BEGINS[edges.direction[turns]] + np.array(corner)
        if part in seen:
            seen[part].holes.append(corners)
        else:
            # Nothing of a part is above its first pixel, so that the first of its rings is the outer one.
            seen[part] = Polygon(corners, [])
            polygons[int(labels[tuple(edges.pixel[ring[0]])])].append(seen[part])
    return polygons


def cell_outlines(labels: Int[np.ndarray, "height width"]) -> dict[int, Int64[np.ndarray, "_ 2"]]:
    """Returns (row, column) of the outermost pixels of every cell under its label, along its outline, clockwise.

    Each is one of the eight neighbours of the next. Of a cell of several parts it is the longest outline.
    """
    outlines = {int(label): np.empty((0, 2), np.int64) for label in np.unique(labels[labels != 0])}
    edges, seen = _trace(labels), set()
    for ring in _rings(edges):
        part, pixels = edges.part[ring[0]], edges.pixel[ring]
        if part in seen:
            continue  # a hole
        seen.add(part)
        # A pixel may have several edges in a row.
        left = (pixels != np.roll(pixels, -1, axis=0)).any(axis=1)
        pixels = pixels[left] if left.any() else pixels[:1]
        label = int(labels[tuple(pixels[0])])
        if len(pixels) > len(outlines[label]):
            outlines[label] = pixels
    return outlines


def _trace(labels: Int[np.ndarray, "height width"]) -> _Edges:
    """Returns the edges of all parts of all cells."""
    width = labels.shape[1] + 2
    parts = np.pad(connect(labels, connectivity=1, background=0).astype(np.int64), 1)
    # Whether the part ends on each side of a pixel: above, on the right, below, on the left.
    inner = parts[1:-1, 1:-1]
    ends = np.stack(
        [inner != beside for beside in (parts[:-2, 1:-1], parts[1:-1, 2:], parts[2:, 1:-1], parts[1:-1, :-2])],
        axis=-1,
    )
    ends &= (inner > 0)[..., None]
    row, column, direction = np.nonzero(ends)
    flat, steps = parts.ravel(), _STEPS @ np.array([width, 1])
    here = (row + 1) * width + column + 1
    ahead = here + steps[direction]
    ahead_left = ahead + steps[direction - 1]
    part = flat[here]
    # A part that touches itself at a corner is left through it, so that its hole there is a ring of its own.
    turns_left = flat[ahead_left] == part
    straight = ~turns_left & (flat[ahead] == part)
    next_pixel = np.where(turns_left, ahead_left, np.where(straight, ahead, here))
    next_direction = (direction + np.where(turns_left, -1, np.where(straight, 0, 1))) % 4
    following = np.searchsorted(here * 4 + direction, next_pixel * 4 + next_direction)
    return _Edges(np.stack([row, column], axis=1), direction, part, following)


def _rings(edges: _Edges) -> Iterator[Int64[np.ndarray, " edges"]]:
    """Yields the indices of the edges of each ring, rings and edges from the first in raster order on."""
    following = edges.following.tolist()
    done = bytearray(len(following))
    for first in range(len(following)):
        if done[first]:
            continue
        ring, edge = [], first
        while not done[edge]:
            done[edge] = True
            ring.append(edge)
            edge = following[edge]
        yield np.array(ring)
