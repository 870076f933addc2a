"""What there is to know of a training beside its settings: what it learned from, and with which versions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.spatial import KDTree

from wsis_jax.core import Config, versions
from wsis_jax.training.patches import Sample


def training_facts(
    samples: Sequence[Sample], names: Sequence[str], held_out: Sequence[int], config: Config
) -> dict[str, Any]:
    """Returns what a training learns from, ready for JSON.

    Args:
        samples: all of them, in pixels of the network.
        names: of the samples.
        held_out: indices of those that only validations see.
        config: the settings.

    Returns:
        `versions`, and `images`: for each its name, its height and width in pixels of the network, the number of
        its points, their `spacing` (median distance to the nearest other one, in pixels of the image; None below
        two points), and whether it is held out.
    """
    held = set(held_out)
    images = [
        {
            "name": name,
            "height": sample.image.shape[0],
            "width": sample.image.shape[1],
            "points": len(sample.points),
            "spacing": _spacing(sample, config.network_scale),
            "held_out": index in held,
        }
        for index, (name, sample) in enumerate(zip(names, samples, strict=True))
    ]
    return {"images": images, "versions": versions()}


def _spacing(sample: Sample, scale: float) -> float | None:
    """Returns the median distance of a point to the nearest other one, in pixels of the image."""
    if len(sample.points) < 2:
        return None
    nearest = KDTree(sample.points).query(sample.points, k=2)[0][:, 1]
    return round(float(np.median(nearest)) / scale, 2)
