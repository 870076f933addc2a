"""The cells of a label image that does not fit into memory: some at a time, but each whole."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int64
from scipy import ndimage

from wsis_jax.core import ParallelMap, Plane, Window, window_shape
from wsis_jax.output.cell_table import Columns, in_micrometres, measure_cells
from wsis_jax.output.formats.qupath import cell_features


class Group(NamedTuple):
    """Some cells, and the window that all of them lie in.

    Attributes:
        window: of the image.
        labels: of the cells, rising.
        low, high: (row, column) of the box of each: of its first pixels, and beyond its last ones.
    """

    window: Window
    labels: Int64[np.ndarray, " cells"]
    low: Int64[np.ndarray, "cells 2"]
    high: Int64[np.ndarray, "cells 2"]

    @property
    def corner(self) -> tuple[int, int]:
        """(row, column) where the window begins."""
        return self.window[0].start, self.window[1].start

    def numbers(self, labels: Plane) -> Int64[np.ndarray, "rows columns"]:
        """Returns the window of a label image, with i + 1 for cell i of these and 0 for all others."""
        values = np.asarray(labels[self.window]).astype(np.int64)
        if not len(self.labels):
            return np.zeros_like(values)
        places = np.searchsorted(self.labels, values).clip(max=len(self.labels) - 1)
        return np.where(self.labels[places] == values, places + 1, 0)


class Measured(NamedTuple):
    """What is known of the cells of a group.

    Attributes:
        table: a row of `measure_cells` for each.
        features: of each its line of `qupath.cell_features`; empty if they were not asked for.
    """

    table: Columns
    features: list[str]


def groups_of(labels: Plane, blocks: Sequence[Window], over: ParallelMap) -> list[Group]:
    """Returns all cells, each in the group of the first block that it has pixels in.

    Args:
        labels: 0 for background, any other number for a cell.
        blocks: windows that cover the label image, each small enough to be in memory.
        over: calls what finds the boxes of the cells in each block.
    """
    boxes = list(over(_boxes, blocks, labels=labels))
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


def measure_group(
    group: Group,
    *,
    labels: Plane,
    channels: Sequence[Plane],
    scores: Float32[np.ndarray, " detections"],
    confidence: Float[np.ndarray, " detections"],
    pixel_size: float | int | None,
    features_of: str | None,
) -> Measured:
    """Returns what `measure_cells` and `cell_features` say of the cells of a group, as of the whole image.

    Args:
        group: of cells of the label image.
        labels: the label image, read by slices.
        channels: grey values of every channel, likewise.
        scores, confidence, pixel_size: as `measure_cells` takes them.
        features_of: the name of the image, if there are to be features.
    """
    numbers, own = group.numbers(labels), group.labels - 1
    table = measure_cells(
        numbers,
        channels=np.stack([np.asarray(channel[group.window], np.float32) for channel in channels]),
        scores=scores[own],
        confidence=confidence[own],
    )
    table |= {"label": group.labels}
    for name, start in zip(("row", "column"), group.corner, strict=True):
        table[name] = table[name] + start
    table["touches_border"] = (group.low == 0).any(1) | (group.high == labels.shape).any(1)
    if pixel_size is not None:
        table = in_micrometres(table, pixel_size)
    if features_of is None:
        return Measured(table, [])
    named = np.concatenate([[0], group.labels])[numbers]
    return Measured(table, cell_features(features_of, named, table, corner=group.corner))


def measure_groups(groups: Sequence[Group], over: ParallelMap, **same: Any) -> Measured:
    """Returns what is known of the cells of all groups, by rising label; `same` is what `measure_group` takes."""
    nothing = Group((slice(0, 1), slice(0, 1)), *(np.zeros(shape, np.int64) for shape in (0, (0, 2), (0, 2))))
    parts = list(over(measure_group, groups or [nothing], **same))  # a table without rows has columns, too
    order = np.argsort(np.concatenate([part.table["label"] for part in parts]))
    table = {name: np.concatenate([part.table[name] for part in parts])[order] for name in parts[0].table}
    features = [feature for part in parts for feature in part.features]
    return Measured(table, [features[i] for i in order] if features else [])
