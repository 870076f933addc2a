"""How good a network is on held-out samples: scores, and pictures of a few of them, one with its outlines."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8
from scipy.spatial import KDTree

from wsis_jax.core import Config, Detection, Window, by_first, inside, is_constant, resize_image
from wsis_jax.cutting import FusedCells, cut_and_fuse
from wsis_jax.io import write_picture
from wsis_jax.metrics import match_points
from wsis_jax.network import Model, UNet, Variables, predict, propagate
from wsis_jax.output import detection_picture, heat_picture, overlay, strip
from wsis_jax.points import centre_regions, find_peaks
from wsis_jax.training.patches import Sample

_SHOWN = 3  # images in a picture
_HEIGHT = 280  # of each, in pixels of the picture
_CAPTION = 40  # characters
# Of one image a part is outlined, so that a picture costs a second or two however large images are.
_PART, _AROUND = 140, 26  # pixels of the network: its side, and how much more is looked at on each side
_ZOOM = 2  # pixels of the picture in one of them
_MOST_OUTLINED = 200  # cells; an untrained network may find thousands


def validate(network: UNet, variables: Variables, samples: Sequence[Sample], config: Config) -> dict[str, float]:
    """Returns the mean squared error and the pooled detection scores of samples.

    A detection counts within a quarter of a cell's diameter of its point; see `_detect` for what differs from
    `segment`. Batch norm is not folded.

    Returns:
        `validation_loss` (where targets are known), `f_measure`, `precision` and `recall`.
    """
    squares: list[float] = []
    hits = found = cells = 0
    for sample in samples:
        likelihood, peaks = _detect(network, variables, sample, config)
        error = likelihood - sample.likelihood
        known = error if sample.weight is None else error[sample.weight > 0]
        squares.append(float(np.mean(known**2)))
        match = match_points(peaks.astype(np.float64), sample.points, distance=_nearness(config))
        hits, found, cells = hits + match.true_positives, found + len(peaks), cells + len(sample.points)
    return {
        "validation_loss": float(np.mean(squares)),
        "f_measure": 2 * hits / (found + cells) if found + cells else 1.0,
        "precision": hits / found if found else float(not cells),
        "recall": hits / cells if cells else float(not found),
    }


def _nearness(config: Config) -> float:
    """Returns how near to its point a detection counts, in pixels of the network: a quarter of a diameter."""
    return config.cell_diameter * config.network_scale / 4


def _detect(
    network: UNet, variables: Variables, sample: Sample, config: Config
) -> tuple[Float32[np.ndarray, "height width"], Int64[np.ndarray, "peaks 2"]]:
    """Returns likelihood map and peaks of a sample, detected as `segment` does, but in one view of the image.

    Likelihood maps of mirror images would make every validation four times as long. Scores are therefore those of
    one view. The best model is chosen by the loss, which is that of one view in training, too.
    """
    likelihood, settings = predict(network, variables, sample.image), config.detect
    peaks = find_peaks(
        np.zeros_like(likelihood) if is_constant(sample.image) else likelihood,
        threshold=settings.threshold,
        min_distance=settings.min_distance,
        exclude_border=settings.exclude_border,
        quantize=settings.quantize,
    )
    return likelihood, peaks


@by_first
def write_samples(
    file: Path, network: UNet, variables: Variables, samples: Sequence[Sample], config: Config
) -> None:
    """Writes a PNG picture of the first few samples: points against peaks, and likelihood maps.

    Beside that of most points are the outlines of the cells found in a part of it, cut as `segment` does.
    """
    shown = samples[:_SHOWN]
    richest = max(range(len(shown)), key=lambda index: len(shown[index].points))
    rows = []
    for index, sample in enumerate(shown):
        likelihood, peaks = _detect(network, variables, sample, config)
        panels = _panels(sample, likelihood, peaks, _nearness(config))
        if index == richest:
            model = Model.of(network, variables, config)
            panels.append(_outlined(model, sample, likelihood, peaks))
        rows.append(strip(panels, height=_HEIGHT))
    width = max(row.shape[1] for row in rows)
    filled = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    write_picture(file, np.concatenate(filled))


def _panels(
    sample: Sample,
    likelihood: Float32[np.ndarray, "height width"],
    peaks: Int64[np.ndarray, "peaks 2"],
    near: float,
) -> list[tuple[str, UInt8[np.ndarray, "_ _ 3"]]]:
    """Draws one sample: points against peaks within `near` of them, and the likelihood map."""
    match = match_points(peaks, sample.points, distance=near)
    zoom = _HEIGHT / sample.image.shape[0]
    drawn = detection_picture(sample.image, sample.points, peaks, pairs=match.pairs, radius=near, zoom=zoom)
    counts = f"{match.true_positives} of {len(sample.points)} found, {match.false_positives} more"
    return [(_short(sample.name), drawn), (counts, heat_picture(likelihood))]


# Outlines


def _outlined(
    model: Model,
    sample: Sample,
    likelihood: Float32[np.ndarray, "height width"],
    peaks: Int64[np.ndarray, "peaks 2"],
) -> tuple[str, UInt8[np.ndarray, "_ _ 3"]]:
    """Returns a caption, and the part of a sample that has most points with the outlines of the cells in it."""
    part = richest_part(sample.points, (likelihood.shape[0], likelihood.shape[1]), side=_PART)
    rows, columns = (slice(max(one.start - _AROUND, 0), one.stop + _AROUND) for one in part)
    image, likelihood = sample.image[rows, columns], likelihood[rows, columns]
    corner = np.array([rows.start, columns.start])
    near, caption = peaks[inside(peaks - corner, image.shape[:2])] - corner, "outlines in a part of it"
    if len(near) > _MOST_OUTLINED:
        caption, near = f"{len(near)} peaks are too many to outline", near[:0]
    shape = _ZOOM * image.shape[0], _ZOOM * image.shape[1]
    labels = _cut(model, image, likelihood, near).fit(near, shape)
    picture = overlay(resize_image(image, float(_ZOOM)), labels, (near + 0.5) * _ZOOM - 0.5)
    here = (slice(_ZOOM * (one.start - at), _ZOOM * (one.stop - at)) for one, at in zip(part, corner, strict=True))
    return caption, picture[*here]


def richest_part(points: Float64[np.ndarray, "points 2"], shape: tuple[int, int], *, side: int) -> Window:
    """Returns the square around one of the points of an image that holds most of them, or that in its middle.

    Args:
        points: (row, column) in pixels of the image.
        shape: (height, width) of the image, which the square does not leave.
        side: of the square, in pixels; a side of the image that is less takes its place.
    """
    sides = np.minimum(side, shape)
    centres = points if len(points) else np.array([shape]) / 2
    corners = np.clip(np.round(centres - sides / 2), 0, np.array(shape) - sides).astype(np.int64)
    if len(points):
        held = KDTree(points).query_ball_point(corners + (sides - 1) / 2, side / 2, p=np.inf, return_length=True)
        corners = corners[[int(np.argmax(held))]]
    (row, column), (height, width) = corners[0].tolist(), sides.tolist()
    return slice(row, row + height), slice(column, column + width)


def _cut(
    model: Model,
    image: Float32[np.ndarray, "height width *channels"],
    likelihood: Float32[np.ndarray, "height width"],
    peaks: Int64[np.ndarray, "peaks 2"],
) -> FusedCells:
    """Returns the cells at peaks, cut out as `segment` does; all in pixels of the network."""
    if not len(peaks):
        return FusedCells(np.zeros(likelihood.shape, np.int32), blur=0.0)
    config = model.config
    found = config.detect
    regions = centre_regions(
        likelihood, peaks, region=found.region, radius=config.region_radius, response=found.response
    )
    winner = propagate(model, Detection(image, likelihood, peaks, regions), config=config)
    return cut_and_fuse(image, peaks, winner, config=config)


def _short(name: str) -> str:
    """Returns the name of an image without folders, in characters that the font of pictures has."""
    short = " with ".join(part.replace("\\", "/").rpartition("/")[2] for part in name.split(" with "))
    short = short if len(short) <= _CAPTION else short[: _CAPTION - 1] + "…"
    return short.encode("latin-1", "replace").decode("latin-1")
