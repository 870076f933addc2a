"""Label images that are hard to write: holes, parts, corners, borders, gaps in the numbers, no cells."""

import numpy as np


def _odd() -> np.ndarray:
    labels = np.zeros((24, 31), np.int32)
    labels[2:9, 3:12] = 1
    labels[4:6, 5:8] = 0  # a hole
    labels[4, 6] = 4  # with a cell in it
    labels[7, 9] = 0
    labels[12:15, 0:4] = 2  # at the border
    labels[15:18, 4:7] = 2  # a part that touches at a corner
    labels[20:23, 10:20] = 2  # and one far away
    labels[0, 30] = 6  # a single pixel; there is no label 3 or 5
    labels[10:16, 20:28] = np.where(np.indices((6, 8)).sum(axis=0) % 2, 7, 0)  # a chess board
    labels[18:20, 22:28] = 8
    labels[18, 28:31] = 8
    return labels


ODD = {
    "odd": _odd(),
    "empty": np.zeros((7, 9), np.int32),
    "full": np.ones((5, 4), np.int32),
    "noise": np.random.default_rng(3).integers(0, 9, (20, 17)).astype(np.int32),
}


def many() -> np.ndarray:
    """72,900 cells of a pixel each, which no 16 bits can count."""
    labels = np.zeros((540, 540), np.int32)
    labels[::2, ::2] = np.arange(1, 270 * 270 + 1).reshape(270, 270)
    return labels
