"""Images and points become training samples; samples become batches of patches."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64

from wsis_jax.likelihood import render_likelihood
from wsis_jax.scaling import resize_image, scale_points


class Sample(NamedTuple):
    """One annotated image in the pixels of the network.

    Attributes:
        image: normalised, 0..1.
        points: rough centroids, (row, column).
        likelihood: the target map, 0..1.
    """

    image: Float32[np.ndarray, "height width"]
    points: Float64[np.ndarray, "cells 2"]
    likelihood: Float32[np.ndarray, "height width"]


def make_sample(
    image: Float[np.ndarray, "height width"],
    points: Float[np.ndarray, "cells 2"],
    *,
    scale: float,
    sigma: float,
) -> Sample:
    """Returns the sample of a normalised image and its points.

    Args:
        image: 0..1, in its own pixels.
        points: (row, column) in its own pixels.
        scale: factor by which the image is resized for the network.
        sigma: of the likelihood map, in the image's own pixels.
    """
    small, scaled = resize_image(image, scale), scale_points(points, scale)
    return Sample(small, scaled, render_likelihood(scaled, small.shape, sigma=sigma * scale))


def hold_out(count: int, *, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Returns the indices of the images to train on and of those held out, both sorted.

    At least one image is held out where there are two and `share` is above 0. With a single image, or a share
    of 0, nothing is held out, and the second list is that of the training images: the validation then tells
    how well the model remembers, not how well it does.
    """
    held = min(max(round(count * share), 1), count - 1) if share > 0 else 0
    if held == 0:
        return list(range(count)), list(range(count))
    order = np.random.default_rng(seed).permutation(count)
    return sorted(map(int, order[held:])), sorted(map(int, order[:held]))


def draw_batch(
    samples: Sequence[Sample], *, batch: int, patch: int, augment: bool, seed: int, step: int
) -> tuple[Float32[np.ndarray, "{batch} {patch} {patch} 1"], Float32[np.ndarray, "{batch} {patch} {patch} 1"]]:
    """Returns the patches of one training step and their likelihood maps.

    The batch depends on `seed` and `step` alone, so a resumed training sees what an unbroken one would have.
    Images smaller than a patch are continued by mirroring, image and target alike.
    """
    random = np.random.default_rng([seed, step])
    pairs = [
        _draw_patch(samples[int(random.integers(len(samples)))], patch, augment, random) for _ in range(batch)
    ]
    images, targets = (np.stack(part)[..., None] for part in zip(*pairs, strict=True))
    return images, targets


def _draw_patch(
    sample: Sample, patch: int, augment: bool, random: np.random.Generator
) -> tuple[Float32[np.ndarray, "{patch} {patch}"], Float32[np.ndarray, "{patch} {patch}"]]:
    """Cuts one random patch out of image and target, and turns, flips and jitters it."""
    height, width = sample.image.shape
    top, left = (random.integers(max(side - patch, 0) + 1) for side in (height, width))
    window = np.s_[top : top + patch, left : left + patch]
    image, target = sample.image[window], sample.likelihood[window]
    missing = [(0, patch - side) for side in image.shape]
    if any(after for _, after in missing):
        image, target = np.pad(image, missing, mode="symmetric"), np.pad(target, missing, mode="symmetric")
    if augment:
        turns, flip = int(random.integers(4)), int(random.integers(2))
        image, target = (np.rot90(a, turns)[:, :: 1 - 2 * flip] for a in (image, target))
        # Exposure and contrast vary between images more than percentile normalisation evens out.
        gain, offset = random.uniform(0.75, 1.25), random.uniform(-0.1, 0.1)
        image = (image - 0.5) * gain + 0.5 + offset
    return np.ascontiguousarray(image, np.float32), np.ascontiguousarray(target, np.float32)
