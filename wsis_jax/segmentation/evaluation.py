"""Label images scored against hand-made masks, file by file and pooled."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int32

from wsis_jax.core import UserError, inside
from wsis_jax.io import (
    LABEL_SUFFIXES,
    MASK_SUFFIXES,
    Files,
    named_files,
    named_points,
    near,
    pair_by_name,
    pair_with_partners,
    read_labels,
    read_pixel_size,
    read_points,
)
from wsis_jax.metrics import Scores, centroids, match_labels, match_points, pool_scores


class Evaluation(NamedTuple):
    """Scores of each image, by the name of its label image, and of all cells together."""

    pooled: Scores
    images: dict[str, Scores]

    def to_dict(self) -> dict[str, Any]:
        """Returns `{"pooled": scores, "images": {name: scores}}`, ready for JSON."""
        images = {name: scores.to_dict() for name, scores in self.images.items()}
        return {"pooled": self.pooled.to_dict(), "images": images}


def evaluate(
    labels: Files,
    masks: Files,
    *,
    points: Files | None = None,
    distance: float = 10.0,
    components: bool = False,
    pixel_size: float | None = None,
) -> Evaluation:
    """Compares label images with masks, each a file, a folder or a pattern, paired by name.

    The detection scores compare points. The predicted ones are those of `<name>_points.csv` beside the label
    image, which `wsis segment` writes, or else the centroids of its labels; the true ones are those of
    `points`, or else the centroids of the masks.

    Args:
        labels: predicted label images; a trailing `_labels` of the name does not count.
        masks: true label images.
        points: true centroids.
        distance: pixels within which a predicted point counts as a true one.
        pixel_size: side of a pixel in µm, where `points` are in micrometres; None where they are in pixels.
        components: whether each connected part of a mask is a cell, as `read_labels` explains it.

    Raises:
        MissingFile: if a name leads to no file.
        UserError: if no two files have the same name, or a file cannot be read, or shapes differ; if the true
            points seem to be in micrometres, and the file of the masks tells the size of a pixel.
    """
    if not distance >= 0:
        raise UserError(f"the distance must be 0 or more, not {distance}")
    names, pairs = _pairs(labels, masks, MASK_SUFFIXES if components else LABEL_SUFFIXES)
    truth = _true_points(points, {path: names[path] for path, _ in pairs}, pixel_size)
    matches = {}
    for label_path, mask_path in pairs:
        predicted, true = read_labels(label_path), read_labels(mask_path, components=components)
        if predicted.shape != true.shape:
            raise UserError(
                f"{label_path}: is {predicted.shape[0]} × {predicted.shape[1]} pixels but {mask_path} is "
                f"{true.shape[0]} × {true.shape[1]}; compare images of the same size"
            )
        name = names[label_path]
        if name in truth and pixel_size is None:
            _check_unit(truth[name], true, read_pixel_size(mask_path), name)
        beside = label_path.with_name(f"{label_path.stem.removesuffix('_labels')}_points.csv")
        detected = _only_frame(beside) if beside.is_file() else centroids(predicted)
        wanted = truth[name] if name in truth else centroids(true)
        matches[name] = match_labels(predicted, true), match_points(detected, wanted, distance=distance)
    images = {name: pool_scores([cells], [found]) for name, (cells, found) in matches.items()}
    pooled = pool_scores([cells for cells, _ in matches.values()], [found for _, found in matches.values()])
    return Evaluation(pooled, images)


def _pairs(
    labels: Files, masks: Files, suffixes: Sequence[str]
) -> tuple[dict[Path, str], list[tuple[Path, Path]]]:
    """Returns label images with their names, and with the masks of the same; warns of those that have none.

    `suffixes` are those of masks.
    """
    # The masks may be the results of another model.
    predictions, truths = (
        {file: name for file, name in named_files(where, suffixes=kept).items() if not _beside_labels(file)}
        for where, kept in ((labels, LABEL_SUFFIXES), (masks, suffixes))
    )
    pairs = pair_with_partners(
        predictions, truths, partner="mask", example="a_labels.tif and a.tif", what="label image"
    )
    return predictions, pairs


def _true_points(
    points: Files | None, labels: dict[Path, str], pixel_size: float | None
) -> dict[str, Float64[np.ndarray, "_ 2"]]:
    """Returns the true points by the names of label images; every one must have some, if any has."""
    if points is None:
        return {}
    pairs, missing, left = pair_by_name(labels, named_points(points))
    for name in missing.values():
        raise UserError(
            f"{name}: has no point file among those of --points; add it, or leave --points out{near(name, left)}"
        )
    return {labels[path]: _only_frame(file, pixel_size) for path, file in pairs}


def _check_unit(
    points: Float64[np.ndarray, "cells 2"],
    masks: Int32[np.ndarray, "height width"],
    pixel_size: float | None,
    name: str,
) -> None:
    """Raises UserError if points lie in the cells much more often as micrometres than as pixels."""

    def in_cells(places: Float64[np.ndarray, "cells 2"]) -> int:
        places = places[inside(places, masks.shape)]
        return int(np.count_nonzero(masks[tuple(np.floor(places + 0.5).astype(int).T)]))

    if pixel_size is None or not len(points):
        return
    if in_cells(points / pixel_size) > max(2 * in_cells(points), len(points) / 2, 2):
        raise UserError(
            f"{name}: the points look as if they were in micrometres, since they lie in the cells of the mask "
            f"only so; give --points-in um --pixel-size {pixel_size:g}"
        )


def _only_frame(path: Path, pixel_size: float | None = None) -> Float64[np.ndarray, "cells 2"]:
    """Returns the points of a file that holds those of one image; in micrometres where `pixel_size` is given."""
    by_frame = read_points(path, unit=None if pixel_size is None else "um", pixel_size=pixel_size)
    if len(by_frame) > 1:
        raise UserError(f"{path}: holds the points of {len(by_frame)} frames; give a file for each image")
    return next(iter(by_frame.values()))


def _beside_labels(path: Path) -> bool:
    """Tells whether a file is written beside a label image: its picture, or its labels once more."""
    name = path.stem.removesuffix("_cp_masks")
    return name.endswith("_overlay") or (name != path.stem and path.with_name(f"{name}_labels.tif").exists())
