"""One forward pass, and what it leaves behind: all that a backward pass needs, in bits.

Given which units every ReLU let through and which unit won every pooling window, the network is linear. A record
holds just that: one bit for a unit in front of a ReLU, two for a pooling window.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt8

from wsis_jax.core import MIRRORS, ContributionConfig
from wsis_jax.network.rules import BackwardRule
from wsis_jax.network.unet import UNet, Variables, forward, inside_frame, with_channels


class Record(NamedTuple):
    """What a forward pass leaves behind, of one image or, with a leading axis, of a batch.

    Bits are packed along the channels, eight to a byte, the first in the highest bit.

    Attributes:
        likelihood: the likelihood map, 0..1.
        active: for every ReLU, in the order of the network, which units it lets a signal through.
        lower: for every pooling, whether the winner is in the lower row of its window; the first of equals wins.
        right: for every pooling, whether it is in the right column.
    """

    likelihood: Float[Array, "*batch height width"]
    active: tuple[UInt8[Array, "*batch _ _ _"], ...]
    lower: tuple[UInt8[Array, "*batch _ _ _"], ...]
    right: tuple[UInt8[Array, "*batch _ _ _"], ...]


class RecordedImage(NamedTuple):
    """What all cells of an image share on the way back; the sides of a record may be larger than the image's."""

    record: Record
    signal: Float[Array, "height width"]  # what starts in the centre regions, at the logits
    regions: Int[Array, "height width"]  # i in the centre region of cell i, counted from 1; 0 elsewhere
    frame: Int[Array, "2"]  # (height, width) of the image


@partial(jax.jit, static_argnames=("network", "rule"))
def record(
    network: UNet,
    variables: Variables,
    images: Float[Array, "batch height width *channels"],
    frame: Int[Array, "2"],
    *,
    rule: BackwardRule,
) -> Record:
    """Runs the network forward once and returns its record.

    Args:
        network: its activation must be a ReLU.
        variables: of the network; their type is that of the arithmetic.
        images: normalised, 0..1; sides multiples of `network.stride`; of one channel, without an axis for it.
        frame: (height, width) of the top left part that counts, multiples of `network.stride`; nothing outside it
            is active.
        rule: of the pass back; every unit is active for one that does not mask by the input.
    """
    before: list[Array] = []
    images = images.astype(jax.tree.leaves(variables)[0].dtype)

    def remember(x: Array) -> Array:
        before.append(x)
        return network.activation(x)

    listener = network.clone(activation=remember)
    logits = listener.apply(variables, with_channels(images), frame=frame, method="logits")
    levels = len(network.encoder)
    winners = [_winners(network.activation(x)) for x in before[1 : 2 * (levels - 1) : 2]]
    active = (
        x > 0
        if rule.masks_by_input
        else jnp.broadcast_to(inside_frame(x, frame // (images.shape[1] // x.shape[1])), x.shape)
        for x in before
    )
    return Record(
        likelihood=jax.nn.sigmoid(jnp.asarray(logits, jnp.float32)[..., 0]),
        active=tuple(jnp.packbits(x, axis=-1) for x in active),
        lower=tuple(jnp.packbits(lower, axis=-1) for lower, _ in winners),
        right=tuple(jnp.packbits(right, axis=-1) for _, right in winners),
    )


@partial(jax.jit, static_argnames=("network", "rule", "views"))
def record_and_likelihood(
    network: UNet,
    variables: Variables,
    images: Float[Array, "batch height width *channels"],
    shape: Int[Array, "2"],
    *,
    rule: BackwardRule,
    views: int,
) -> tuple[Record, Float[Array, "batch height width"]]:
    """Returns the record of images, and their likelihood maps, the mean of those of so many views of them.

    Maps are those of the images mirrored to sides that are multiples of `network.stride` (`pad_to_stride`).

    Args:
        network, variables, rule: those of `record`.
        images: normalised, 0..1; sides multiples of `network.stride`. What is outside of `shape` does not matter.
        shape: (height, width) of the images. What maps show outside of it has no meaning.
        views: 1, or 4: the mirror images, too, which go through the network one after the other.
    """
    frame = frame_of(shape, network.stride)
    records = record(network, variables, _shown(images, shape, 1, 1), frame, rule=rule)
    if views == 1:
        return records, records.likelihood

    def add(total: Array, steps: Int[Array, "2"]) -> tuple[Array, None]:
        seen = forward(network, variables, _shown(images, shape, steps[0], steps[1]), frame)
        return total + _shown(seen, shape, steps[0], steps[1]), None

    total, _ = jax.lax.scan(add, records.likelihood, jnp.array(MIRRORS))
    return records, total / views


def frame_of(shape: Int[Array, "2"], stride: int) -> Int[Array, "2"]:
    """Returns the (height, width) of an image rounded up to multiples of a stride: the frame of its record."""
    return -(-shape // stride) * stride


def _shown(
    images: Float[Array, "batch height width *channels"],
    shape: Int[Array, "2"],
    rows: int | Int[Array, ""],
    columns: int | Int[Array, ""],
) -> Float[Array, "batch height width *channels"]:
    """Returns images, or mirror images of steps of -1 along rows or columns, which are mirrored beyond `shape`."""
    for axis, (size, step) in enumerate(zip(shape, (rows, columns), strict=True), start=1):
        place = jnp.arange(images.shape[axis]) % (2 * size)
        place = jnp.where(place < size, place, 2 * size - 1 - place)
        place = jnp.where(step < 0, size - 1 - place, place)
        images = jnp.take(images, place, axis=axis, mode="clip")
    return images


@jax.jit
def one_of(records: Record, index: Int[Array, ""]) -> Record:
    """Returns the record of one image of a batch."""
    return jax.tree.map(lambda x: x[index], records)


@partial(jax.jit, static_argnames="settings")
def start_signal(y: Float[Array, "height width"], settings: ContributionConfig) -> Float[Array, "height width"]:
    """Returns Eq. 1 for all regions at once, as a signal on the logits, from the likelihood map."""
    signal = y if settings.start == "likelihood" else jnp.ones_like(y)
    return signal if settings.start_at == "logit" else signal * y * (1 - y)


def unpack(bits: UInt8[Array, "*axes bytes"], channels: int) -> Bool[Array, "*axes {channels}"]:
    """Returns the bits of a record, one boolean each."""
    return jnp.unpackbits(bits, axis=-1, count=channels).astype(bool)


def _winners(
    x: Float[Array, "batch height width channels"],
) -> tuple[Bool[Array, "batch _ _ channels"], Bool[Array, "batch _ _ channels"]]:
    """Returns, per 2 × 2 window, whether its greatest is in the lower row, and in the right column."""
    a, b, c, d = (x[:, row::2, column::2] for row in (0, 1) for column in (0, 1))
    lower = jnp.maximum(c, d) > jnp.maximum(a, b)
    return lower, jnp.where(lower, d > c, b > a)
