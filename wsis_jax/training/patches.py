"""Images and points become training samples; samples become batches of patches, drawn on the accelerator."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Float64, Int, Key

from wsis_jax.core import UserError, resize_image, scale_points
from wsis_jax.points import render_likelihood

_UNKNOWN = 2.5  # × sigma around a place that may be a cell: farther out its Gaussian would be below 0.05
_KNOWN = 0.1  # likelihood above which a known point says what is right

Augmentation = Literal["none", "exact", "free"]


class Sample(NamedTuple):
    """One annotated image in the pixels of the network.

    Attributes:
        image: normalised, 0..1.
        points: rough centroids, (row, column).
        likelihood: the target map, 0..1; NaN where it is not known.
    """

    image: Float32[np.ndarray, "height width"]
    points: Float64[np.ndarray, "cells 2"]
    likelihood: Float32[np.ndarray, "height width"]


class Pixels(NamedTuple):
    """All samples of a training, one behind the other, where the training step reads them; a pytree.

    Attributes:
        values: image and likelihood of every pixel, row by row.
        starts: the first pixel of each sample.
        shapes: (height, width) of each.
    """

    values: Float32[Array, "pixels 2"]
    starts: Int[Array, " samples"]
    shapes: Int[Array, "samples 2"]


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


def leave_out(sample: Sample, places: Float[np.ndarray, "places 2"], *, sigma: float) -> Sample:
    """Returns a sample whose likelihood is not known around places that may be cells: within 2.5 sigma.

    Where the likelihood of a known point is above a tenth it stays known.

    Args:
        sample: as `make_sample` returns it.
        places: (row, column) in its pixels.
        sigma: of the likelihood map, in its pixels.
    """
    near = render_likelihood(places, sample.image.shape, sigma=sigma) > np.exp(-(_UNKNOWN**2) / 2)
    likelihood = np.where(near & (sample.likelihood < _KNOWN), np.float32(np.nan), sample.likelihood)
    return sample._replace(likelihood=likelihood)


def hold_out(count: int, *, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Returns the indices of the images to train on and of those held out, both sorted.

    The share is rounded down: of few images none can be spared (with a share of 0.2, of fewer than five). Where
    nothing is held out the second list is that of the training images: the validation then tells how well the
    model remembers, not how well it does.
    """
    # The margin: 0.29 × 100 is a hair less than 29.
    held = min(int(count * share + 1e-9), count - 1)
    if held == 0:
        return list(range(count)), list(range(count))
    order = np.random.default_rng(seed).permutation(count)
    return sorted(map(int, order[held:])), sorted(map(int, order[:held]))


def put_samples(samples: Sequence[Sample]) -> Pixels:
    """Returns the samples as arrays of the accelerator, which the whole training then reads.

    Raises:
        UserError: if they have 2³¹ pixels or more, which 32-bit indices do not reach.
    """
    sizes = [sample.image.size for sample in samples]
    if sum(sizes) >= 2**31:
        raise UserError(f"{sum(sizes)} pixels are too many to train on; use fewer images or a smaller image.scale")
    values = [np.stack([sample.image, sample.likelihood], axis=-1).reshape(-1, 2) for sample in samples]
    return Pixels(
        jnp.asarray(np.concatenate(values)),
        jnp.asarray(np.cumsum([0, *sizes[:-1]])),
        jnp.asarray([sample.image.shape for sample in samples]),
    )


def draw_batch(
    key: Key[Array, ""],
    pixels: Pixels,
    step: int | Int[Array, ""],
    *,
    batch: int,
    patch: int,
    augment: Augmentation,
) -> tuple[Float32[Array, "{batch} {patch} {patch} 1"], Float32[Array, "{batch} {patch} {patch} 1"]]:
    """Returns the patches of one training step and their likelihood maps; to be compiled into that step.

    The batch depends on `key` and `step` alone, so a resumed training sees what an unbroken one would have.
    Images are continued by mirroring where a patch reaches beyond them, image and target alike.

    Args:
        key: of the training.
        pixels: what to draw from.
        step: of the training.
        batch: number of patches.
        patch: their side, in pixels.
        augment: "none"; "exact" for quarter turns, flips and changes of the intensity, which invent no pixel; or
            "free" for any angle and a zoom of up to e^±0.25 as well, which few images need to be learnt from.
    """

    def draw(key: Key[Array, ""]) -> tuple[Array, Array]:
        return _draw_patch(key, pixels, patch, augment)

    images, targets = jax.vmap(draw)(jax.random.split(jax.random.fold_in(key, step), batch))
    return images[..., None], targets[..., None]


def _draw_patch(
    key: Key[Array, ""], pixels: Pixels, patch: int, augment: Augmentation
) -> tuple[Float[Array, "{patch} {patch}"], Float[Array, "{patch} {patch}"]]:
    """Draws one random patch out of image and target."""
    which, turned, placed, jittered = jax.random.split(key, 4)
    sample = jax.random.randint(which, (), 0, len(pixels.starts))
    grid = jnp.indices((patch, patch))
    if augment != "none":
        swap, flip_rows, flip_columns = jax.random.bernoulli(turned, shape=(3,))
        grid = jnp.where(swap, grid[::-1], grid)
        flips = jnp.stack([flip_rows, flip_columns])[:, None, None]
        grid = jnp.where(flips, patch - 1 - grid, grid)
    if augment == "free":
        image, target = _turn_and_zoom(placed, pixels, sample, grid)
    else:
        spare = jnp.maximum(pixels.shapes[sample] - patch, 0)
        corner = jax.random.randint(placed, (2,), 0, spare + 1)
        image, target = jnp.moveaxis(_read(pixels, sample, grid + corner[:, None, None]), -1, 0)
    return (image if augment == "none" else _jitter(jittered, image)), target


def _read(
    pixels: Pixels, sample: Int[Array, ""], place: Int[Array, "2 rows columns"]
) -> Float[Array, "rows columns 2"]:
    """Returns (image, likelihood) at pixels of a sample, which is continued by mirroring."""
    shape = pixels.shapes[sample][:, None, None]
    there = place % (2 * shape)
    row, column = jnp.minimum(there, 2 * shape - 1 - there)
    return pixels.values[pixels.starts[sample] + row * shape[1] + column]


def _interpolate(
    pixels: Pixels, sample: Int[Array, ""], place: Float[Array, "2 rows columns"]
) -> Float[Array, "rows columns 2"]:
    """Returns (image, likelihood) between the pixels of a sample, linearly interpolated."""
    first = jnp.floor(place)
    (down, right), corner = place - first, first.astype(jnp.int32)
    interpolated = jnp.zeros((*place.shape[1:], 2))
    for step_down, rows in ((0, 1 - down), (1, down)):
        for step_right, columns in ((0, 1 - right), (1, right)):
            values = _read(pixels, sample, corner + jnp.array([step_down, step_right])[:, None, None])
            interpolated += (rows * columns)[..., None] * values
    return interpolated


def _turn_and_zoom(
    key: Key[Array, ""], pixels: Pixels, sample: Int[Array, ""], grid: Int[Array, "2 patch patch"]
) -> tuple[Float[Array, "patch patch"], Float[Array, "patch patch"]]:
    """Cuts out a patch at any angle and a little smaller or larger."""
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
    image, target = jnp.moveaxis(_interpolate(pixels, sample, place), -1, 0)
    # Zoomed Gaussians are wider or narrower; this power gives them back their sigma: exp(-(d/z)²/2σ²)^z².
    return image, jnp.clip(target, 0, 1) ** zoom**2


def _jitter(key: Key[Array, ""], image: Float[Array, "height width"]) -> Float[Array, "height width"]:
    """Changes exposure, contrast and noise, which vary between images more than normalisation evens out."""
    keys = jax.random.split(key, 4)
    gamma, gain = jnp.exp(jax.random.uniform(keys[0], (2,), minval=-0.3, maxval=0.3))
    image = (image**gamma - 0.5) * gain + 0.5 + jax.random.uniform(keys[1], minval=-0.1, maxval=0.1)
    return image + jax.random.uniform(keys[2], maxval=0.03) * jax.random.normal(keys[3], image.shape)
