"""How good a network is on held-out samples: scores, and pictures of a few of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from wsis_jax.core import Config, by_first, is_constant
from wsis_jax.io import write_picture
from wsis_jax.metrics import match_points
from wsis_jax.network import UNet, Variables, predict
from wsis_jax.output import detection_picture, heat_picture, strip
from wsis_jax.points import find_peaks
from wsis_jax.training.patches import Sample

_SHOWN = 3  # images in a picture
_HEIGHT = 280  # of each, in pixels of the picture
_CAPTION = 40  # characters


def validate(network: UNet, variables: Variables, samples: Sequence[Sample], config: Config) -> dict[str, float]:
    """Returns the mean squared error and the pooled detection scores of samples.

    A detection counts within sigma of its point; see `_detect` for what differs from `segment`. Batch norm is not
    folded.

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
        match = match_points(peaks.astype(np.float64), sample.points, distance=config.network_sigma)
        hits, found, cells = hits + match.true_positives, found + len(peaks), cells + len(sample.points)
    return {
        "validation_loss": float(np.mean(squares)),
        "f_measure": 2 * hits / (found + cells) if found + cells else 1.0,
        "precision": hits / found if found else float(not cells),
        "recall": hits / cells if cells else float(not found),
    }


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
    """Writes a PNG picture of the first few samples: points against peaks, and likelihood maps."""
    rows = [
        _draw(sample, *_detect(network, variables, sample, config), config.network_sigma)
        for sample in samples[:_SHOWN]
    ]
    width = max(row.shape[1] for row in rows)
    filled = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    write_picture(file, np.concatenate(filled))


def _draw(
    sample: Sample,
    likelihood: Float32[np.ndarray, "height width"],
    peaks: Int64[np.ndarray, "peaks 2"],
    sigma: float,
) -> UInt8[np.ndarray, "_ _ 3"]:
    """Draws one sample: points against peaks, and the likelihood map."""
    match = match_points(peaks, sample.points, distance=sigma)
    zoom = _HEIGHT / sample.image.shape[0]
    drawn = detection_picture(sample.image, sample.points, peaks, pairs=match.pairs, radius=sigma, zoom=zoom)
    counts = f"{match.true_positives} of {len(sample.points)} found, {match.false_positives} more"
    panels = [(_short(sample.name), drawn), (counts, heat_picture(likelihood))]
    return strip(panels, height=_HEIGHT)


def _short(name: str) -> str:
    """Returns the name of an image without folders, in characters that the font of pictures has."""
    short = " with ".join(part.replace("\\", "/").rpartition("/")[2] for part in name.split(" with "))
    short = short if len(short) <= _CAPTION else short[: _CAPTION - 1] + "…"
    return short.encode("latin-1", "replace").decode("latin-1")
