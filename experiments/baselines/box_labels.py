"""Labels of pixels from boxes (Li, Arnab, Torr, ECCV 2018): what to learn from, at first and in later rounds."""

import numpy as np
from jaxtyping import Float, Int, Int8, Int64, Real

from experiments.baselines.boxes import window_of
from experiments.baselines.grabcut import grab_all
from experiments.baselines.proposals import Proposals, propose

BACKGROUND, CELL, IGNORED = 0, 1, -1

_DEVIATION = 2 / 32  # diameters; sigma of the window of GrabCut's local standard deviation
# Below which a prediction of the network is ignored. The released code has 0.99, but a network that learnt for a
# minute is hardly ever so sure.
_CONFIDENCE = 0.9
# Share of a box that the network must call cell. The released code has 0.5, for boxes that fit tightly; of a box
# of 1.3 diameters a disc of the median diameter takes 0.46, and a long cell less.
_LEAST = 0.1


def seed_labels(
    image: Float[np.ndarray, "height width"], boxes: Int[np.ndarray, "cells 4"], *, diameter: float | int
) -> Int8[np.ndarray, "height width"]:
    """Returns CELL, BACKGROUND or IGNORED for each pixel.

    Cell is where, in any box, GrabCut's object and the proposal that fits the box best agree on it. Background is
    what lies in no box, and where both say so in all boxes that hold the pixel.

    Args:
        image: grey values, 0..1.
        boxes: of all cells.
        diameter: of a median cell, pixels.
    """
    proposals = propose(image, diameter=diameter)
    chosen = best_proposals(proposals, boxes)
    cell, doubted = np.zeros(image.shape, bool), np.zeros(image.shape, bool)
    grabbed = grab_all(image, boxes, sigma=_DEVIATION * diameter)
    for box, index, grab in zip(boxes, chosen, grabbed, strict=True):
        window = window_of(box, image.shape)
        proposed = proposals.mask(int(index))[window] if index >= 0 else np.zeros_like(grab)
        cell[window] |= grab & proposed
        doubted[window] |= grab ^ proposed
    return np.where(cell, CELL, np.where(doubted, IGNORED, BACKGROUND)).astype(np.int8)


def best_proposals(proposals: Proposals, boxes: Int[np.ndarray, "cells 4"]) -> Int64[np.ndarray, " cells"]:
    """Returns for each box the proposal whose own box has the largest intersection over union with it, or -1."""
    if not len(proposals.areas) or not len(boxes):
        return np.full(len(boxes), -1, np.int64)
    rows, columns = np.divmod(proposals.masks.indices, proposals.shape[1])
    starts = proposals.masks.indptr[:-1]
    low = np.stack([np.minimum.reduceat(axis, starts) for axis in (rows, columns)], axis=-1)
    high = np.stack([np.maximum.reduceat(axis, starts) for axis in (rows, columns)], axis=-1) + 1
    overlap = np.minimum(boxes[:, None, 2:], high) - np.maximum(boxes[:, None, :2], low)
    shared = np.maximum(overlap, 0).prod(axis=-1)
    together = (boxes[:, 2:] - boxes[:, :2]).prod(axis=-1)[:, None] + (high - low).prod(axis=-1) - shared
    ratio = shared / together
    return np.where(ratio.max(axis=1) > 0, ratio.argmax(axis=1), -1)


def clean_labels(
    predicted: Real[np.ndarray, "height width"],
    seeds: Int8[np.ndarray, "height width"],
    boxes: Int[np.ndarray, "cells 4"],
) -> Int8[np.ndarray, "height width"]:
    """Returns the labels of the next round, from what a network predicts and the seed labels.

    * What the network is not sure of is ignored.
    * The seeds' cells stay cells; what the network alone calls cell is ignored, in boxes and outside.
    * A box of which the network calls too little a cell is cell as a whole.

    Args:
        predicted: the probability of cell.
        seeds: of `seed_labels`.
        boxes: of all cells.
    """
    called = predicted > 0.5
    sure = np.maximum(predicted, 1 - predicted) >= _CONFIDENCE
    labels = np.where(sure & ~called, BACKGROUND, IGNORED)
    labels[seeds == CELL] = CELL
    for box in boxes:
        window = window_of(box, seeds.shape)
        if called[window].mean() < _LEAST:
            labels[window] = CELL
    return labels.astype(np.int8)
