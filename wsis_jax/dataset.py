"""Images and points become training samples; samples become batches of patches."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64
from scipy import ndimage

from wsis_jax.likelihood import render_likelihood
from wsis_jax.scaling import resize_image, scale_points

Augmentation = Literal["none", "exact", "free"]


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
    samples: Sequence[Sample], *, batch: int, patch: int, augment: Augmentation, seed: int, step: int
) -> tuple[Float32[np.ndarray, "{batch} {patch} {patch} 1"], Float32[np.ndarray, "{batch} {patch} {patch} 1"]]:
    """Returns the patches of one training step and their likelihood maps.

    The batch depends on `seed` and `step` alone, so a resumed training sees what an unbroken one would have.
    Images smaller than a patch are continued by mirroring, image and target alike.

    Args:
        samples: what to draw from.
        batch: number of patches.
        patch: their side, in pixels.
        augment: "none"; "exact" for quarter turns, flips and changes of the intensity, which invent no pixel; or
            "free" for any angle and a zoom of up to e^±0.25 as well, which few images need to be learnt from.
        seed, step: of the training.
    """
    random = np.random.default_rng([seed, step])
    pairs = [
        _draw_patch(samples[int(random.integers(len(samples)))], patch, augment, random) for _ in range(batch)
    ]
    images, targets = (np.stack(part)[..., None].astype(np.float32) for part in zip(*pairs, strict=True))
    return images, targets


def _draw_patch(
    sample: Sample, patch: int, augment: Augmentation, random: np.random.Generator
) -> tuple[Float[np.ndarray, "{patch} {patch}"], Float[np.ndarray, "{patch} {patch}"]]:
    """Draws one random patch out of image and target."""
    if augment == "free":
        image, target = _turn_and_zoom(sample, patch, random)
    else:
        image, target = _crop(sample, patch, random)
    if augment == "none":
        return image, target
    turns, flip = int(random.integers(4)), int(random.integers(2))
    image, target = (np.rot90(a, turns)[:, :: 1 - 2 * flip] for a in (image, target))
    return _jitter(image, random), target


def _crop(
    sample: Sample, patch: int, random: np.random.Generator
) -> tuple[Float32[np.ndarray, "{patch} {patch}"], Float32[np.ndarray, "{patch} {patch}"]]:
    """Cuts out a patch as it is."""
    top, left = (int(random.integers(max(side - patch, 0) + 1)) for side in sample.image.shape)
    window = np.s_[top : top + patch, left : left + patch]
    image, target = sample.image[window], sample.likelihood[window]
    missing = [(0, patch - side) for side in image.shape]
    return np.pad(image, missing, mode="symmetric"), np.pad(target, missing, mode="symmetric")


def _turn_and_zoom(
    sample: Sample, patch: int, random: np.random.Generator
) -> tuple[Float32[np.ndarray, "{patch} {patch}"], Float32[np.ndarray, "{patch} {patch}"]]:
    """Cuts out a patch at any angle and a little smaller or larger."""
    angle, zoom = random.uniform(0, 2 * np.pi), np.exp(random.uniform(-0.25, 0.25))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / zoom
    # Centres stay so far inside that at most corners are mirrored.
    margins = [min(0.35 * patch, side / 2) for side in sample.image.shape]
    centre = [random.uniform(m, side - m) for m, side in zip(margins, sample.image.shape, strict=True)]
    offset = np.array(centre) - 0.5 - turn @ np.full(2, (patch - 1) / 2)
    image, target = (
        ndimage.affine_transform(a, turn, offset, (patch, patch), order=1, mode="reflect")
        for a in (sample.image, sample.likelihood)
    )
    # Zoomed Gaussians are wider or narrower; this power gives them back their sigma: exp(-(d/z)²/2σ²)^z².
    return image, np.clip(target, 0, 1) ** np.float32(zoom**2)


def _jitter(
    image: Float[np.ndarray, "height width"], random: np.random.Generator
) -> Float[np.ndarray, "height width"]:
    """Changes exposure, contrast and noise, which vary between images more than normalisation evens out."""
    gamma, gain = np.exp(random.uniform(-0.3, 0.3, 2))
    image = (image**gamma - 0.5) * gain + 0.5 + random.uniform(-0.1, 0.1)
    return image + random.normal(0, random.uniform(0, 0.03), image.shape)
