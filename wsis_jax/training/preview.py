"""Sample pictures of a training: what the network makes of a few held-out images as it learns."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from wsis_jax.core import Config, by_first
from wsis_jax.io import write_picture
from wsis_jax.metrics import match_points
from wsis_jax.network import UNet, Variables, predict
from wsis_jax.output import detection_picture, heat_picture, strip
from wsis_jax.points import find_peaks
from wsis_jax.training.patches import Sample

_SHOWN = 3  # images in a picture
_HEIGHT = 280  # of each, in pixels of the picture
_CAPTION = 40  # characters


def sample_file(run: Path, step: int) -> Path:
    """Returns the file of the sample pictures of a step."""
    return run / "samples" / f"step_{step:06d}.png"


@by_first
def write_samples(
    run: Path,
    step: int,
    model: UNet,
    variables: Variables,
    held_out: Sequence[tuple[str, Sample]],
    config: Config,
) -> None:
    """Writes `samples/step_<step>.png`: a few images with points against peaks, and their likelihood maps.

    Args:
        run: the run folder.
        step: of the training.
        model: the network, batch norm not folded.
        variables: its variables at that step.
        held_out: names and samples, of which the first few are drawn.
        config: the settings; a peak is right within sigma of a point, as in validation.
    """
    rows = []
    for name, sample in held_out[:_SHOWN]:
        likelihood = np.nan_to_num(predict(model, variables, sample.image))  # where a training went astray
        found = config.detect
        peaks = find_peaks(likelihood, threshold=found.threshold, min_distance=found.min_distance)
        rows.append(_draw(name, sample, likelihood, peaks, config.network_sigma))
    width = max(row.shape[1] for row in rows)
    blank = [np.full((len(row), width - row.shape[1], 3), 255, np.uint8) for row in rows]
    picture = np.concatenate(
        [np.concatenate(pair, axis=1) for pair in zip(rows, blank, strict=True)],
    )
    write_picture(sample_file(run, step), picture)


def _draw(
    name: str,
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
    panels = [(_short(name), drawn), (counts, heat_picture(likelihood))]
    return strip(panels, height=_HEIGHT)


def _short(name: str) -> str:
    """Returns the name of an image without folders, as the font of pictures can write it."""
    short = " with ".join(part.replace("\\", "/").rpartition("/")[2] for part in name.split(" with "))
    short = short if len(short) <= _CAPTION else short[: _CAPTION - 1] + "…"
    return short.encode("latin-1", "replace").decode("latin-1")
