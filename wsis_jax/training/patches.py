"""Training samples made of images and points, and batches of patches drawn from them on the accelerator."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Float64, Int, Key

from wsis_jax.core import UserError, resize_image, scale_points
from wsis_jax.cutting import Appearance
from wsis_jax.points import render_likelihood

_UNKNOWN = 2.5  # × sigma around a place that may be a cell: farther out its Gaussian would be below 0.05
_KNOWN = 0.1  # likelihood from which a target is known, since it is that of a point

Augmentation = Literal["none", "exact", "free"]


class Sample(NamedTuple):
    """One annotated image in the pixels of the network, with the weight of the error of each pixel.

    The weight is 1, or 0 where the target is not known; None where all of it is known. How cells look is None
    where too little of them is seen to tell, or nobody asked.
    """

    image: Float32[np.ndarray, "height width *channels"]  # normalised, 0..1
    points: Float64[np.ndarray, "cells 2"]  # rough centroids, (row, column)
    likelihood: Float32[np.ndarray, "height width"]  # the target map, 0..1
    weight: Float32[np.ndarray, "height width"] | None = None
    name: str = "an image"  # for messages and reports
    appearance: Appearance | None = None  # how cells look at the points


class Pixels(NamedTuple):
    """The pixels of all samples of a training, one sample after the other, on the accelerator; a pytree."""

    values: Float32[Array, "pixels values"]  # channels and, last, likelihood of every pixel, row by row
    starts: Int[Array, " samples"]  # the first pixel of each sample
    shapes: Int[Array, "samples 2"]  # (height, width) of each
    weights: Float32[Array, " pixels"] | None = None  # of every pixel, 0 or 1; None where all targets are known


class Batch(NamedTuple):
    """The patches of one training step, their likelihood maps and, as in `Pixels`, weights; a pytree."""

    images: Float32[Array, "batch height width channels"]
    targets: Float32[Array, "batch height width 1"]
    weights: Float32[Array, "batch height width 1"] | None = None


def make_sample(
    image: Float[np.ndarray, "height width *channels"],
    points: Float[np.ndarray, "cells 2"],
    *,
    scale: float,
    sigma: float,
    name: str = "an image",
) -> Sample:
    """Returns the sample of a normalised image (0..1) and its points (row, column).

    Args:
        image, points, sigma: in the image's own pixels; the sigma is that of the likelihood map.
        scale: factor by which the image is resized for the network.
    """
    small, scaled = resize_image(image, scale), scale_points(points, scale)
    return Sample(small, scaled, render_likelihood(scaled, small.shape[:2], sigma=sigma * scale), name=name)


def leave_out(sample: Sample, places: Float[np.ndarray, "places 2"], *, sigma: float) -> Sample:
    """Returns a sample with weight 0 within 2.5 sigma of places that may be cells.

    The weight stays 1 where the likelihood of a known point is 0.1 or more. Places (row, column) and the sigma of
    the likelihood map are in pixels of the sample.
    """
    near = render_likelihood(places, sample.likelihood.shape, sigma=sigma) > np.exp(-(_UNKNOWN**2) / 2)
    unknown = near & (sample.likelihood < _KNOWN)
    return sample._replace(weight=1 - unknown.astype(np.float32)) if unknown.any() else sample


def hold_out(count: int, *, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Returns the indices of the images to train on and of those held out, both sorted.

    The share is rounded down: with a share of 0.2, fewer than five images are all trained on. Where nothing is
    held out, both lists are the same, and the validation scores are those of training images.
    """
    # The margin: in floating point 0.29 × 100 is less than 29.
    held = min(int(count * share + 1e-9), count - 1)
    if held == 0:
        return list(range(count)), list(range(count))
    order = np.random.default_rng(seed).permutation(count)
    return sorted(map(int, order[held:])), sorted(map(int, order[:held]))


def put_samples(samples: Sequence[Sample]) -> Pixels:
    """Copies the samples to the accelerator, once for the whole training.

    Raises:
        UserError: if they have 2³¹ pixels or more, which 32-bit indices do not reach.
    """
    sizes = [sample.likelihood.size for sample in samples]
    if sum(sizes) >= 2**31:
        raise UserError(f"{sum(sizes)} pixels are too many to train on; use fewer images or a smaller image.scale")
    values = [np.dstack([sample.image, sample.likelihood]) for sample in samples]
    weights = None
    if any(sample.weight is not None for sample in samples):
        ones = (np.ones_like(sample.likelihood) if sample.weight is None else sample.weight for sample in samples)
        weights = jnp.asarray(np.concatenate([weight.reshape(-1) for weight in ones]))
    return Pixels(
        jnp.asarray(np.concatenate([one.reshape(-1, one.shape[2]) for one in values])),
        jnp.asarray(np.cumsum([0, *sizes[:-1]])),
        jnp.asarray([sample.likelihood.shape for sample in samples]),
        weights,
    )


def draw_batch(
    key: Key[Array, ""],
    pixels: Pixels,
    step: int | Int[Array, ""],
    *,
    batch: int,
    patch: int,
    augment: Augmentation,
) -> Batch:
    """Returns random patches of the samples; a pure function of arrays, compiled as a part of the training step.

    The batch depends on `key` and `step` alone, so a resumed training sees what an unbroken one would have.
    Where a patch reaches beyond an image, image, target and weight are continued by mirroring.

    Args:
        key, step: of the training.
        pixels: what to draw from.
        batch: number of patches.
        patch: their side, in pixels.
        augment: "none"; "exact" for quarter turns, flips and changes of the intensity, which invent no pixel; or
            "free" for any angle and a zoom of up to e^±0.25 as well, which helps to learn from few images.
    """
    keys = jax.random.split(jax.random.fold_in(key, step), batch)
    images, targets, weights = jax.vmap(lambda key: _draw_patch(key, pixels, patch, augment))(keys)
    return Batch(images, targets[..., None], None if weights is None else weights[..., None])


_Patch = tuple[
    Float[Array, "patch patch channels"], Float[Array, "patch patch"], Float[Array, "patch patch"] | None
]  # image, target, weight


def _draw_patch(key: Key[Array, ""], pixels: Pixels, patch: int, augment: Augmentation) -> _Patch:
    """Draws one random patch."""
    which, turned, placed, jittered = jax.random.split(key, 4)
    sample = jax.random.randint(which, (), 0, len(pixels.starts))
    grid = jnp.indices((patch, patch))
    if augment != "none":
        swap, flip_rows, flip_columns = jax.random.bernoulli(turned, shape=(3,))
        grid = jnp.where(swap, grid[::-1], grid)
        flips = jnp.stack([flip_rows, flip_columns])[:, None, None]
        grid = jnp.where(flips, patch - 1 - grid, grid)
    if augment == "free":
        image, target, weight = _turn_and_zoom(placed, pixels, sample, grid)
    else:
        spare = jnp.maximum(pixels.shapes[sample] - patch, 0)
        corner = jax.random.randint(placed, (2,), 0, spare + 1)
        index = _index(pixels, sample, grid + corner[:, None, None])
        image, target = pixels.values[index][..., :-1], pixels.values[index][..., -1]
        weight = None if pixels.weights is None else pixels.weights[index]
    return image if augment == "none" else _jitter(jittered, image), target, weight


def _index(
    pixels: Pixels, sample: Int[Array, ""], place: Int[Array, "2 rows columns"]
) -> Int[Array, "rows columns"]:
    """Returns where the pixels of a sample are, which is continued by mirroring."""
    shape = pixels.shapes[sample][:, None, None]
    there = place % (2 * shape)
    row, column = jnp.minimum(there, 2 * shape - 1 - there)
    return pixels.starts[sample] + row * shape[1] + column


def _interpolate(
    pixels: Pixels, sample: Int[Array, ""], place: Float[Array, "2 rows columns"]
) -> tuple[Float[Array, "rows columns values"], Float[Array, "rows columns"] | None]:
    """Returns channels and likelihood between the pixels of a sample, linearly interpolated, and the weight.

    A target is known where all four pixels that it is interpolated from are.
    """
    first = jnp.floor(place)
    (down, right), corner = place - first, first.astype(jnp.int32)
    interpolated = jnp.zeros((*place.shape[1:], pixels.values.shape[1]))
    weight = None if pixels.weights is None else jnp.ones(place.shape[1:])
    for step_down, rows in ((0, 1 - down), (1, down)):
        for step_right, columns in ((0, 1 - right), (1, right)):
            index = _index(pixels, sample, corner + jnp.array([step_down, step_right])[:, None, None])
            interpolated += (rows * columns)[..., None] * pixels.values[index]
            if weight is not None and pixels.weights is not None:
                weight *= pixels.weights[index]
    return interpolated, weight


def _turn_and_zoom(
    key: Key[Array, ""], pixels: Pixels, sample: Int[Array, ""], grid: Int[Array, "2 patch patch"]
) -> _Patch:
    """Draws image, target and weight of a patch at any angle, a little smaller or larger."""
    keys, patch = jax.random.split(key, 3), grid.shape[1]
    angle = jax.random.uniform(keys[0], maxval=2 * jnp.pi)
    zoom = jnp.exp(jax.random.uniform(keys[1], minval=-0.25, maxval=0.25))
    side = pixels.shapes[sample].astype(jnp.float32)
    # Centres stay so far inside that at most corners are mirrored.
    margin = jnp.minimum(0.35 * patch, side / 2)
    centre = margin + jax.random.uniform(keys[2], (2,)) * (side - 2 * margin) - 0.5
    row, column = (grid - (patch - 1) / 2) / zoom
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    place = jnp.stack([cosine * row - sine * column, sine * row + cosine * column]) + centre[:, None, None]
    interpolated, weight = _interpolate(pixels, sample, place)
    image, target = interpolated[..., :-1], interpolated[..., -1]
    # Zoomed Gaussians are wider or narrower; this power gives them back their sigma: exp(-(d/z)²/2σ²)^z².
    return image, jnp.clip(target, 0, 1) ** zoom**2, weight


def _jitter(
    key: Key[Array, ""], image: Float[Array, "height width channels"]
) -> Float[Array, "height width channels"]:
    """Changes exposure, contrast and noise, which vary between images more than normalisation evens out.

    Each channel is changed by itself: stains are exposed, or take, more or less than others.
    """
    keys, channels = jax.random.split(key, 4), image.shape[-1]
    gamma, gain = jnp.exp(jax.random.uniform(keys[0], (2, 1, 1, channels), minval=-0.3, maxval=0.3))
    shift = jax.random.uniform(keys[1], (1, 1, channels), minval=-0.1, maxval=0.1)
    image = (image**gamma - 0.5) * gain + 0.5 + shift
    return image + jax.random.uniform(keys[2], maxval=0.03) * jax.random.normal(keys[3], image.shape)
