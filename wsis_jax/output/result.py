"""A segmented image as the writers of formats take it: in memory, or in tiles with its cells read in groups.

What several formats need, such as the table of cells, is made when it is first asked for, and once.
"""

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64, Int32, Int64
from scipy import ndimage

from wsis_jax.core import ParallelMap, Plane, Segmentation, Window, corner_of, window_shape
from wsis_jax.io import SourceImage
from wsis_jax.output.cell_table import Columns, contribution_margins, in_micrometres, measure_cells
from wsis_jax.output.pictures import cell_colours
from wsis_jax.output.report.gallery import overview, write_layers, write_pictures


class Result:
    """A segmented image in memory.

    Attributes:
        source: the image, its arrays in memory.
        found: the result of `segment`.
        name: of the image.
        points: (row, column) of the detected cells, in pixels of the image.
    """

    def __init__(self, source: SourceImage, found: Segmentation) -> None:
        self.source, self.found, self.name, self.points = source, found, source.name, found.points
        self._measuring = Lock()

    @property
    def image(self) -> Float[np.ndarray, "height width *channels"]:
        """The values that were segmented."""
        return np.asarray(self.source.image)

    @property
    def labels(self) -> Int32[np.ndarray, "height width"]:
        """The label image: 0 for background, i + 1 for the cell of point i."""
        return self.found.labels

    @property
    def label_plane(self) -> Plane:
        """The label image as of images in tiles, which writers read by slices."""
        return self.labels

    @property
    def colours(self) -> Float[np.ndarray, "labels 3"]:
        """The colours of the labels 1, 2, 3, …, 0..1."""
        return cell_colours(int(self.labels.max()))[1:]

    @property
    def table(self) -> Columns:
        """The table of `measure_cells`, with every column."""
        with self._measuring:  # formats are written at the same time, and cached properties know no threads
            return self._table

    @cached_property
    def _table(self) -> Columns:
        return measure_cells(
            self.labels,
            channels=np.asarray(self.source.channels),
            scores=self.found.scores,
            confidence=contribution_margins(self.labels, self.found.winner, len(self.points)),
            pixel_size=self.source.pixel_size,
        )

    def for_cells(self, function: Callable[..., list[Any]], **same: Any) -> list[Any]:
        """Calls a function with the cells, and returns an item for each, by rising label.

        Args:
            function: takes a label image, rows of `table`, and as `corner` the (row, column) where in the image
                the label image begins. It has all pixels of the cells of these rows, and no others. Returns an
                item for each row. It may be called in another process.
            same: further arguments of the function.
        """
        return function(self.labels, self.table, corner=(0, 0), **same)

    def write_pictures(self, folder: Path) -> list[Path]:
        """Writes the pictures of the page of results, and returns the files."""
        return write_layers(folder, self.source, self.found)


class TiledCells(NamedTuple):
    """The cells of an image in tiles; their labels are written elsewhere."""

    points: Float64[np.ndarray, "cells 2"]  # (row, column) in pixels of the image
    scores: Float32[np.ndarray, " cells"]  # the likelihood there, 0..1
    confidence: Float64[np.ndarray, " cells"]  # how sure each cell is, see `contribution_margins`
    dropped: int = 0  # as in `Segmentation`


class Group(NamedTuple):
    """Some cells, and the window of the image that all of them lie in."""

    window: Window
    labels: Int64[np.ndarray, " cells"]  # rising
    low: Int64[np.ndarray, "cells 2"]  # (row, column) of the first pixels of each
    high: Int64[np.ndarray, "cells 2"]  # and beyond the last ones

    def numbers(self, labels: Plane) -> Int64[np.ndarray, "rows columns"]:
        """Returns the window of a label image, with i + 1 for cell i of these and 0 for all others."""
        values = np.asarray(labels[self.window]).astype(np.int64)
        if not len(self.labels):
            return np.zeros_like(values)
        places = np.searchsorted(self.labels, values).clip(max=len(self.labels) - 1)
        return np.where(self.labels[places] == values, places + 1, 0)


class TiledResult(Result):
    """A segmented image that need not fit into memory: `source` is read by slices, and so are the labels.

    Writers may use `source`, `name`, `points`, `label_plane`, `colours`, `table` and `for_cells`; the rest of a
    `Result` is not there. The blocks are windows that cover the image, each small enough to be in memory;
    `parallel_map` calls functions with each of them, or with groups of cells.
    """

    def __init__(
        self,
        source: SourceImage,
        labels: Plane,
        cells: TiledCells,
        blocks: Sequence[Window],
        parallel_map: ParallelMap,
    ) -> None:
        self.source, self.name, self.points = source, source.name, cells.points
        self._labels, self._cells, self._blocks, self._parallel_map = labels, cells, blocks, parallel_map

    @property
    def label_plane(self) -> Plane:
        """The label image: 0 for background, i + 1 for the cell of point i."""
        return self._labels

    @property
    def colours(self) -> Float[np.ndarray, "labels 3"]:
        """The colours of the labels 1, 2, 3, …, 0..1."""
        return cell_colours(len(self.points))[1:]

    @cached_property
    def _groups(self) -> list[Group]:
        """All cells; a group without cells where there are none, so that a table has its columns."""
        nothing = Group((slice(0, 1), slice(0, 1)), *(np.zeros(shape, np.int64) for shape in (0, (0, 2), (0, 2))))
        return groups_of(self._labels, self._blocks, self._parallel_map) or [nothing]

    @cached_property
    def _order(self) -> Int64[np.ndarray, " cells"]:
        """What sorts the cells of all groups, one group after the other, by their labels."""
        return np.argsort(np.concatenate([group.labels for group in self._groups]))

    @cached_property
    def table(self) -> Columns:
        """The table of `measure_cells` of the whole image."""
        same = {"labels": self._labels, "source": self.source, "cells": self._cells}
        parts = list(self._parallel_map(measure_group, self._groups, **same))
        return {name: np.concatenate([part[name] for part in parts])[self._order] for name in parts[0]}

    def for_cells(self, function: Callable[..., list[Any]], **same: Any) -> list[Any]:
        """Calls a function with groups of cells, and returns an item for each cell; see `Result.for_cells`."""
        ends = np.cumsum([len(group.labels) for group in self._groups])
        rows = np.split(np.argsort(self._order), ends[:-1])
        parts = [
            (group, {name: values[own] for name, values in self.table.items()})
            for group, own in zip(self._groups, rows, strict=True)
        ]
        made = self._parallel_map(_call, parts, labels=self._labels, make=partial(function, **same))
        items = [item for part in made for item in part]
        return [items[i] for i in self._order]

    def write_pictures(self, folder: Path) -> list[Path]:
        """Writes the pictures of the page of results that need no maps of the network, and returns the files."""
        seen = overview(self.source.image, self._labels, self._blocks, self._parallel_map)
        return write_pictures(folder, self.source, *seen, self.points)


def groups_of(labels: Plane, blocks: Sequence[Window], parallel_map: ParallelMap) -> list[Group]:
    """Returns all cells of a label image, each in the group of the first block that it has pixels in."""
    boxes = list(parallel_map(_boxes, blocks, labels=labels))
    named, low, high = (np.concatenate(of) for of in zip(*boxes, strict=True))
    blocks_of = np.repeat(np.arange(len(boxes)), [len(box[0]) for box in boxes])
    present, first, index = np.unique(named, return_index=True, return_inverse=True)
    lowest, highest = low[first], high[first]
    np.minimum.at(lowest, index, low)
    np.maximum.at(highest, index, high)
    groups = []
    for block in np.unique(blocks_of[first]):
        here = np.flatnonzero(blocks_of[first] == block)
        begin, end = lowest[here].min(0).tolist(), highest[here].max(0).tolist()
        window = slice(begin[0], end[0]), slice(begin[1], end[1])
        groups.append(Group(window, present[here], lowest[here], highest[here]))
    return groups


def _boxes(
    block: Window, *, labels: Plane
) -> tuple[Int64[np.ndarray, " here"], Int64[np.ndarray, "here 2"], Int64[np.ndarray, "here 2"]]:
    """Returns the labels in a block, and the first pixels of each and the ones beyond its last."""
    present, numbers = np.unique(np.asarray(labels[block]), return_inverse=True)
    background = len(present) > 0 and present[0] == 0
    numbers = numbers.reshape(window_shape(block)) + (0 if background else 1)
    boxes = [box for box in ndimage.find_objects(numbers) if box is not None]
    corner = np.array([side.start for side in block])
    low, high = (
        np.array([[getattr(side, name) for side in box] for box in boxes], np.int64).reshape(-1, 2) + corner
        for name in ("start", "stop")
    )
    return present[1 if background else 0 :].astype(np.int64), low, high


def measure_group(group: Group, *, labels: Plane, source: SourceImage, cells: TiledCells) -> Columns:
    """Returns the rows that the cells of a group have in the table of the whole image; `cells` are all of it."""
    numbers, own = group.numbers(labels), group.labels - 1
    table = measure_cells(
        numbers,
        channels=np.stack([np.asarray(channel[group.window], np.float32) for channel in source.channels]),
        scores=cells.scores[own],
        confidence=cells.confidence[own],
    )
    table |= {"label": group.labels}
    for name, start in zip(("row", "column"), corner_of(group.window), strict=True):
        table[name] = table[name] + start
    table["touches_border"] = (group.low == 0).any(1) | (group.high == labels.shape).any(1)
    return table if source.pixel_size is None else in_micrometres(table, source.pixel_size)


def _call(part: tuple[Group, Columns], *, labels: Plane, make: Callable[..., list[Any]]) -> list[Any]:
    """Returns what a function makes of the cells of a group."""
    group, table = part
    return make(np.concatenate([[0], group.labels])[group.numbers(labels)], table, corner=corner_of(group.window))
