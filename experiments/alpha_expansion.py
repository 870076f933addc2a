"""Question: are cells outlined better by one joint cut of all labels than by a cut per cell and shared pixels?

    python -m experiments.alpha_expansion DATA/phase_fibroblast DATA/phase_nuclei_hela --work runs/crossval

Alpha-expansion (Boykov, Veksler and Zabih 2001) minimises, over label images with a label for every cell and one
for the background, the very costs that the cuts of single cells have: preference, claims, seeds and edges. It
starts from the label image of the method and offers every label in turn to the pixels in its reach, until no label
wins any. Images and peaks are those of `experiments.ablation`.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import maxflow
import numpy as np
from jaxtyping import Float, Int, Int32
from scipy import ndimage

from experiments.ablation import training_fronts
from experiments.fronts import Front, cut_front, score
from wsis_jax.core import Config, Window, corner_of, grow, whole_window
from wsis_jax.cutting import CellMask, Costs, FusedCells, component_of, costs_of, cut_and_fuse, fuse_nearest

_SWEEPS = 4
_NEVER = 1e6


def main(argv: Sequence[str] | None = None) -> None:
    """Prints a row for each way and set of images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--work", type=Path, default=Path("runs/crossval"), metavar="DIR")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--images", type=int, default=4, help="at most so many of each set")
    parser.add_argument("--true-peaks", action="store_true", help="at the clicks, not at what was found")
    arguments = parser.parse_args(argv)
    print("| set | way | mDice | AP50 | seconds an image |\n|---|---|---|---|---|")
    for data in arguments.data:
        fronts, _ = training_fronts(arguments, data, [])
        for name, segment in {"a cut per cell, shared": cut_front, "alpha-expansion": joint}.items():
            started = time.perf_counter()
            scores = score(fronts, lambda one, segment=segment: segment(one, one.config), distance=20.0)
            seconds = (time.perf_counter() - started) / len(fronts)
            print(f"| {data.name} | {name} | {scores.mdice:.3f} | {scores.ap50:.3f} | {seconds:.1f} |", flush=True)


def joint(one: Front, config: Config) -> Int32[np.ndarray, "height width"]:
    """Returns the label image of least joint cost that alpha-expansion finds, in pixels of the image as given."""
    detection = one.detection
    image, peaks = detection.image, detection.peaks
    costs = costs_of(image, peaks, one.winner, config=config)
    reach = config.cell_reach
    assert reach is not None
    labels = cut_and_fuse(image, peaks, one.winner, config=config).labels
    costs.seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)  # a peak is its cell's, whatever else is
    whole = whole_window(image.shape)
    # The part of the image within reach of each peak, and a rim of one pixel.
    windows = [
        grow((slice(row, row + 1), slice(column, column + 1)), int(np.ceil(reach)) + 1, whole)
        for row, column in peaks.tolist()
    ]
    for _ in range(_SWEEPS):
        before = labels.copy()
        for label, window in enumerate([whole, *windows]):
            labels[window] = _expand(label, window, labels, costs, peaks, reach)
        if np.array_equal(labels, before):
            break
    # As the method does: a cell is the part that holds its peak, without holes.
    parts = []
    for label, (peak, window) in enumerate(zip(peaks, windows, strict=True), start=1):
        place = peak - corner_of(window)
        parts.append(CellMask(window, ndimage.binary_fill_holes(component_of(labels[window] == label, place))))
    fused = FusedCells(fuse_nearest(parts, peaks, image.shape), costs.blur)
    return fused.fit(peaks, one.case.masks.shape)


def _unary(
    labels: Int[np.ndarray, "rows columns"],
    window: Window,
    costs: Costs,
    peaks: Int[np.ndarray, "cells 2"],
    reach: float,
) -> Float[np.ndarray, "rows columns"]:
    """Returns what every pixel of a window costs with its label; nothing as background."""
    assert costs.claims is not None
    owner, weight, seeds = costs.claims.owner[window], costs.claims.weight[window], costs.seeds[window]
    cost = np.where(labels > 0, -costs.preference[window] - np.where(owner == labels, weight, -weight), 0.0)
    rows, columns = np.indices(labels.shape) + np.array([window[0].start, window[1].start])[:, None, None]
    at = np.vstack([[[np.inf, np.inf]], peaks])[labels]
    far = np.hypot(rows - at[..., 0], columns - at[..., 1]) > reach
    return cost + _NEVER * ((labels > 0) & far) + _NEVER * ((seeds > 0) & (seeds != labels))


def _expand(
    label: int,
    window: Window,
    labels: Int[np.ndarray, "height width"],
    costs: Costs,
    peaks: Int[np.ndarray, "cells 2"],
    reach: float,
) -> Int32[np.ndarray, "rows columns"]:
    """Returns the labels of a window after the best move in which pixels take one label or stay."""
    old = labels[window]
    stay = _unary(old, window, costs, peaks, reach)
    take = _unary(np.full_like(old, label), window, costs, peaks, reach)
    # The rim of the window stays: what lies beyond it is not looked at.
    if label:
        rim = np.ones(old.shape, bool)
        rim[1:-1, 1:-1] = False
        take = take + 2 * _NEVER * rim
    graph = maxflow.GraphFloat(old.size, 2 * old.size)
    nodes = graph.add_grid_nodes(old.shape)
    push = (take - stay).astype(np.float64)  # what taking the label costs more than staying
    for here, there, edge in (
        (np.s_[:, :-1], np.s_[:, 1:], costs.right[window][:, :-1]),
        (np.s_[:-1], np.s_[1:], costs.down[window][:-1]),
    ):
        a, b = old[here], old[there]
        both, first, second = edge * (a != b), edge * (a != label), edge * (b != label)
        # V(stay, stay) = both, V(stay, take) = first, V(take, stay) = second, V(take, take) = 0.
        push[here] += second - both
        push[there] -= second
        between = (first + second - both).ravel().astype(float)
        graph.add_edges(nodes[here].ravel(), nodes[there].ravel(), between, np.zeros_like(between))
    # On the source's side a pixel stays.
    graph.add_grid_tedges(nodes, np.maximum(push, 0), np.maximum(-push, 0))
    graph.maxflow()
    return np.where(graph.get_grid_segments(nodes), label, old).astype(np.int32)


if __name__ == "__main__":
    main()
