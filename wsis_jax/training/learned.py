"""What a training learns from, kept in its run folder, and how it differs from what another one does.

    clicks.json    {"images": [{"name": "a.tif with a.csv", "digest": "5f…", "points": [[12.5, 30.25], …]}, …]}

Points are (row, column) in pixels of the image. `left_out`, where there are any, are places that are left out of
the loss. The file is written once, when the training begins.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Shaped

from wsis_jax.core import Config, UserError, by_first, first_of, read_json, scale_points, so_many, write_text
from wsis_jax.training.data import TrainingSet
from wsis_jax.training.patches import Sample

_MOST = 4  # differences that a message names


class LearnedImage(NamedTuple):
    """An image that a training learned from."""

    name: str  # for messages and reports
    digest: str  # of its pixels; see `digest_of_image`
    points: Float64[np.ndarray, "_ 2"]  # (row, column) of its cells, in its pixels
    left_out: Float64[np.ndarray, "_ 2"]  # (row, column) of places that are left out of the loss


def digest_of_image(*arrays: Shaped[np.ndarray, "..."]) -> str:
    """Returns a digest of the values of an image, or of several arrays, whatever type of numbers holds them."""
    digest = hashlib.blake2b(digest_size=16)
    for values in arrays:
        digest.update(str(values.shape).encode())
        digest.update(np.ascontiguousarray(values, np.float32).tobytes())
    return digest.hexdigest()


def learned_from(data: TrainingSet) -> list[LearnedImage]:
    """Returns what a training set holds."""
    uncertain = data.uncertain or [np.empty((0, 2))] * len(data.images)
    return [
        LearnedImage(name, digest_of_image(image), np.asarray(points, np.float64), places)
        for name, image, points, places in zip(data.names, data.images, data.points, uncertain, strict=True)
    ]


def learned_from_samples(samples: Sequence[Sample], config: Config) -> list[LearnedImage]:
    """Returns what samples hold that no training set was made to: their digest is of image, map and weight."""
    return [
        LearnedImage(
            one.name,
            digest_of_image(one.image, one.likelihood, *([] if one.weight is None else [one.weight])),
            scale_points(one.points, 1 / config.network_scale),
            np.empty((0, 2)),
        )
        for one in samples
    ]


# The file


@by_first
def save_clicks(folder: Path, learned: Sequence[LearnedImage]) -> None:
    """Writes `clicks.json`, an image a line."""
    lines = []
    for one in learned:
        entry: dict[str, Any] = {"name": one.name, "digest": one.digest, "points": one.points.tolist()}
        if len(one.left_out):
            entry["left_out"] = one.left_out.tolist()
        lines.append(json.dumps(entry, ensure_ascii=False))
    write_text(folder / "clicks.json", '{"images": [\n' + ",\n".join(lines) + "\n]}\n")


def read_clicks(run: str | Path) -> list[LearnedImage] | None:
    """Returns the images that the training in a run folder learned from, with their points.

    None where the folder does not tell, as that of an earlier version.

    Raises:
        UserError: if the file is damaged.
    """
    file = Path(run) / "clicks.json"
    if not file.is_file():
        return None
    remedy = "delete it to do without it"
    tree = read_json(file, remedy=remedy)
    try:
        return [
            LearnedImage(
                str(one["name"]), str(one["digest"]), _places(one["points"]), _places(one.get("left_out", []))
            )
            for one in tree["images"]
        ]
    except (TypeError, KeyError, ValueError, OverflowError, AttributeError) as error:
        raise UserError(f"{file}: does not hold the clicks of a training ({error}); {remedy}") from error


def _places(rows: Any) -> Float64[np.ndarray, "_ 2"]:
    """Returns places that a file lists; ValueError or TypeError if they are none."""
    places = np.array(rows, np.float64).reshape(len(rows), 2)
    if not np.isfinite(places).all():
        raise ValueError("a point is not finite")
    return places


# Differences


def differences(begun: Sequence[LearnedImage], now: Sequence[LearnedImage]) -> list[str]:
    """Returns a phrase for each thing in which two trainings learn from other images or points."""
    by_digest = {one.digest: one for one in now}
    by_name = {one.name: one for one in now}
    told = []
    for one in begun:
        same = by_digest.get(one.digest)
        if same is not None:
            told += _other_points(one, same)
        else:
            told.append(f"{_image(one)}: {'other pixels' if one.name in by_name else 'is missing now'}")
    if (
        told
        and len(told) == len(begun)
        and not any(one.digest in by_digest or one.name in by_name for one in begun)
    ):
        return ["all images are others"]
    known = {one.digest for one in begun} | {one.name for one in begun}
    told += [f"{_image(one)}: is new" for one in now if one.digest not in known and one.name not in known]
    if not told and [one.digest for one in begun] != [one.digest for one in now]:
        told = ["the images are in another order"]
    return first_of(told, _MOST)


def _other_points(begun: LearnedImage, now: LearnedImage) -> list[str]:
    """Returns how the points of an image differ, and the places left out."""
    if len(begun.points) != len(now.points):
        return [f"{_image(begun)}: {so_many(len(begun.points), 'point')}, {len(now.points)} now"]
    if not _same(begun.points, now.points):
        return [f"{_image(begun)}: {so_many(len(begun.points), 'point')}, in other places now"]
    if not _same(begun.left_out, now.left_out):
        return [f"{_image(begun)}: {len(begun.left_out)} places left out of the loss, {len(now.left_out)} now"]
    return []


def _image(one: LearnedImage) -> str:
    """Returns what a message calls an image."""
    return one.name if one.name.startswith("image ") else f"image {one.name}"


def _same(one: Float[np.ndarray, "_ 2"], other: Float[np.ndarray, "_ 2"]) -> bool:
    """Tells whether places are the same, in whatever order."""
    return one.shape == other.shape and sorted(one.tolist()) == sorted(other.tolist())
