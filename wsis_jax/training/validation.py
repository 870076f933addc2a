"""How good a network is on samples, as training asks from time to time."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from wsis_jax.core import Config
from wsis_jax.metrics import match_points
from wsis_jax.network import UNet, predict
from wsis_jax.points import find_peaks
from wsis_jax.training.patches import Sample


def validate(model: UNet, variables: Any, samples: Sequence[Sample], config: Config) -> dict[str, float]:
    """Returns the mean squared error and the pooled detection scores of samples.

    A detection counts within sigma of its point.
    """
    assert config.likelihood.sigma is not None
    assert config.image.scale is not None
    squares: list[float] = []
    hits = found = cells = 0
    for sample in samples:
        likelihood = predict(model, variables, sample.image)
        known = ~np.isnan(sample.likelihood)
        squares.append(float(np.mean((likelihood - sample.likelihood)[known] ** 2)))
        detect = config.detect
        peaks = find_peaks(likelihood, threshold=detect.threshold, min_distance=detect.min_distance)
        distance = config.likelihood.sigma * config.image.scale
        match = match_points(peaks.astype(np.float64), sample.points, distance=distance)
        hits, found, cells = hits + match.true_positives, found + len(peaks), cells + len(sample.points)
    return {
        "validation_loss": float(np.mean(squares)),
        "f_measure": 2 * hits / (found + cells) if found + cells else 1.0,
        "precision": hits / found if found else float(not cells),
        "recall": hits / cells if cells else float(not found),
    }
