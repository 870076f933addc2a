"""One forward pass, and what it leaves behind: all that a backward pass needs, in bits.

Given which units every ReLU let through and which unit won every pooling window, the network is linear. A record
holds just that: one bit for a unit in front of a ReLU, two for a pooling window.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt8

from wsis_jax.core import ContributionConfig
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


@partial(jax.jit, static_argnames=("network", "rule"))
def record_with_views(
    network: UNet,
    variables: Variables,
    images: Float[Array, "batch height width *channels"],
    views: Float[Array, "batch views height width *channels"],
    frame: Int[Array, "2"],
    *,
    rule: BackwardRule,
) -> tuple[Record, Float[Array, "batch views height width"]]:
    """Returns the record of images, and the likelihood maps of other views of them, from one program.

    Arguments are those of `record`; the views go through the network one after the other.
    """
    records = record(network, variables, images, frame, rule=rule)
    maps = jax.lax.map(lambda view: forward(network, variables, view, frame), jnp.moveaxis(views, 1, 0))
    return records, jnp.moveaxis(maps, 0, 1)


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
