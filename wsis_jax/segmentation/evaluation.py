"""Label images scored against hand-made masks, file by file and pooled."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int32

from wsis_jax.core import UserError, collecting_faults, inside
from wsis_jax.io import (
    LABEL_SUFFIXES,
    MASK_SUFFIXES,
    Files,
    Named,
    bare_name,
    moved_inside,
    named_files,
    named_points,
    near,
    pair_by_name,
    pair_with_partners,
    read_labels,
    read_pixel_size,
    read_points,
)
from wsis_jax.metrics import LabelMatch, Scores, centroids, match_labels, match_points, pool_scores

_Points = Float64[np.ndarray, "_ 2"]


class Evaluation(NamedTuple):
    """Scores of each image, by name, and of all cells together.

    Attributes:
        pooled: scores of all cells.
        images: scores of each image, by the `bare_name` of its label image.
        distance: pixels within which a predicted point counted as a true one.
        is_half_diameter: whether that is half the median diameter of the true cells, since it was not given.
    """

    pooled: Scores
    images: dict[str, Scores]
    distance: float
    is_half_diameter: bool

    def to_dict(self) -> dict[str, Any]:
        """Returns `{"pooled": scores, "images": {name: scores}, "distance": pixels}`, ready for JSON."""
        images = {name: scores.to_dict() for name, scores in self.images.items()}
        return {"pooled": self.pooled.to_dict(), "images": images, "distance": self.distance}


def evaluate(
    labels: Files,
    masks: Files,
    *,
    points: Files | None = None,
    distance: float | None = None,
    components: bool = False,
    pixel_size: float | None = None,
) -> Evaluation:
    """Compares label images with masks, each a file, a folder or a pattern, paired by name.

    The detection scores compare points. The predicted ones are those of `<name>_points.csv` beside the label
    image, which `wsis segment` writes, or else the centroids of its labels; the true ones are those of
    `points`, or else the centroids of the masks.

    Args:
        labels: predicted label images; a trailing `_labels`, `_mask`, `_masks` or `_cp_masks` of a name does not
            count, here and in what follows.
        masks: true label images.
        points: true centroids.
        distance: pixels within which a predicted point counts as a true one; None: half the median diameter of
            the true cells, that of a disc of a cell's area.
        pixel_size: side of a pixel in µm, where `points` are in micrometres; None where they are in pixels.
        components: whether each connected part of a mask is a cell, as `read_labels` explains it.

    Raises:
        MissingFile: if a name leads to no file.
        UserError: if no two files have the same name, or a file cannot be read, or shapes differ; if the true
            points are outside of their image by a pixel or more, or seem to be in micrometres, and the file of the
            masks tells the size of a pixel; if `distance` is not given and there is no true cell to tell it, but
            there are true points. It tells of ten files, and the number of others.
    """
    if distance is not None and not distance >= 0:
        raise UserError(f"the distance must be 0 or more, not {distance}")
    pairs = _pairs(labels, masks, MASK_SUFFIXES if components else LABEL_SUFFIXES)
    files = _point_files(points, {label: name for name, label, _ in pairs})
    cells: dict[str, LabelMatch] = {}
    found: dict[str, tuple[_Points, _Points]] = {}
    with collecting_faults() as fault:
        for name, label_path, mask_path in pairs:
            truth = None
            with fault():
                truth = _only_frame(files[name], pixel_size) if name in files else None
            with fault():
                predicted, true = _read_pair(label_path, mask_path, components)
                if name in cells:
                    raise UserError(f"{label_path}: another label image is called {name}, too; rename one of them")
                if truth is not None and pixel_size is None:
                    _check_unit(truth, true, read_pixel_size(mask_path), name)
                if truth is not None:
                    truth = moved_inside(truth, true.shape, name=str(files[name]))
                wanted = centroids(true) if truth is None else truth
                beside = label_path.with_name(f"{label_path.stem.removesuffix('_labels')}_points.csv")
                detected = _only_frame(beside) if beside.is_file() else centroids(predicted)
                cells[name], found[name] = match_labels(predicted, true), (detected, wanted)
    within = _half_diameter(cells, found) if distance is None else distance
    hits = {name: match_points(*both, distance=within) for name, both in found.items()}
    images = {name: pool_scores([cells[name]], [hits[name]]) for name in cells}
    pooled = pool_scores(list(cells.values()), list(hits.values()))
    return Evaluation(pooled, images, within, distance is None)


def _half_diameter(cells: dict[str, LabelMatch], found: dict[str, tuple[_Points, _Points]]) -> float:
    """Returns half the median diameter of the true cells, in pixels; 0 where there is nothing to find.

    Raises:
        UserError: if there are true points, but no true cell.
    """
    areas = np.concatenate([match.areas for match in cells.values()])
    if len(areas):
        return float(np.sqrt(np.median(areas) / np.pi))
    for name, (_, wanted) in found.items():
        if len(wanted):
            raise UserError(
                f"{name}: has true points, but no mask has a cell, which would tell how near a point must be; "
                "give --distance"
            )
    return 0.0


def _pairs(labels: Files, masks: Files, suffixes: Sequence[str]) -> list[tuple[str, Path, Path]]:
    """Returns label images with the masks of the same name, after that name; warns of those that have none.

    `suffixes` are those of masks.
    """
    # The masks may be the results of another model.
    predictions, truths = (
        _labels_among(named_files(where, suffixes=kept))
        for where, kept in ((labels, LABEL_SUFFIXES), (masks, suffixes))
    )
    pairs = pair_with_partners(
        predictions, truths, partner="mask", example="a_labels.tif and a.tif", what="label image"
    )
    return [(bare_name(predictions[label]), label, mask) for label, mask in pairs]


def _point_files(points: Files | None, labels: Named) -> dict[str, Path]:
    """Returns the files of the true points by the names of label images; each must have one, if any has."""
    if points is None:
        return {}
    pairs, missing, left = pair_by_name(labels, named_points(points))
    if missing:
        name, *others = missing.values()
        more = f", nor have {len(others)} more" if others else ""
        raise UserError(
            f"{name}: has no point file among those of --points{more}; add it, or leave --points out"
            f"{near(name, left)}"
        )
    return {labels[label]: file for label, file in pairs}


def _read_pair(
    labels: Path, masks: Path, components: bool
) -> tuple[Int32[np.ndarray, "height width"], Int32[np.ndarray, "height width"]]:
    """Returns labels and masks, which must be of the same size; an error tells of both files."""
    with collecting_faults() as fault:
        with fault():
            predicted = read_labels(labels)
        with fault():
            true = read_labels(masks, components=components)
    if predicted.shape != true.shape:
        raise UserError(
            f"{labels}: is {predicted.shape[0]} × {predicted.shape[1]} pixels but {masks} is "
            f"{true.shape[0]} × {true.shape[1]}; compare images of the same size"
        )
    return predicted, true


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


_KINDS = ("_labels", "_cp_masks", "_masks", "_mask", "")  # ends of the names of label images, the surest first


def _labels_among(files: Named) -> dict[Path, str]:
    """Returns the label images: no pictures of results, and of an image and its masks side by side the masks."""
    if len(files) == 1:
        return dict(files)
    files = {path: name for path, name in files.items() if not path.stem.endswith("_overlay")}
    sure = {(path.parent, bare_name(name)): len(_KINDS) for path, name in files.items()}
    for path, name in files.items():
        sure[path.parent, bare_name(name)] = min(_kind(path), sure[path.parent, bare_name(name)])
    return {path: name for path, name in files.items() if _kind(path) == sure[path.parent, bare_name(name)]}


def _kind(path: Path) -> int:
    """Returns the place in `_KINDS` of the end of a file's name."""
    return next(place for place, end in enumerate(_KINDS) if path.stem.removesuffix(".ome").endswith(end))
