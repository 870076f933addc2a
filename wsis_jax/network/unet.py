"""The U-Net that draws likelihood maps, its padding, and its batch norm folded away for inference.

The only file besides `layers.py` that knows Flax. The module is one set of numbers and one
activation function: `model.clone(activation=guided_relu)` is the network of guided backpropagation, with the
same variables.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int

from wsis_jax.core import UserError, so_many
from wsis_jax.network.layers import BatchNorm, convolve, max_pool
from wsis_jax.network.receptive_field import widths

Variables = Mapping[str, Any]
"""What `UNet.init` returns: `params`, and `batch_stats` where there is batch norm."""

# The likelihood of almost every pixel is near 0; a first output of sigmoid(-2) = 0.12 spares the training
# the hundreds of steps in which it would only learn that.
_OUTPUT_BIAS = -2.0


class DoubleConv(nn.Module):
    """Convolution 3 × 3, batch norm, activation; twice."""

    features: int  # output channels of both convolutions
    activation: Callable[[Array], Array]
    batch_norm: bool  # without it the convolutions carry a bias instead

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch height width channels"],
        *,
        train: bool,
        inside: Bool[Array, "1 height width 1"] | None = None,
    ) -> Float[Array, "batch height width {self.features}"]:
        """Returns the activated features, of the same height and width; zeros where not `inside`."""
        for i in range(2):
            options = {"use_bias": not self.batch_norm, "conv_general_dilated": convolve}
            x = nn.Conv(self.features, (3, 3), **options, name=f"conv_{i}")(x)
            if self.batch_norm:
                x = BatchNorm(name=f"norm_{i}")(x, train=train)
            x = self.activation(_keep(x, inside))
        return x


class UNet(nn.Module):
    """U-Net from an image to the likelihood map of cell positions (Ronneberger et al. 2015; paper §3.1).

    Encoder: `DoubleConv`, then max pooling and `DoubleConv` per further level. Decoder: bilinear ×2, the skip
    connection of that level in front of it, `DoubleConv`. A 1 × 1 convolution and a sigmoid end it.

    Attributes:
        encoder: output channels of each level, full resolution first.
        decoder: output channels of each level on the way up, deepest first; one fewer than `encoder`.
        activation: the ReLU; its backward rule is what `whole_image.py` exchanges.
        align_corners: upsample so that corner pixels keep their values, as the authors' network does. The
            default, half-pixel centres, commutes with shifts by whole input pixels; aligned corners do not.
        batch_norm: False for a network whose batch norm was folded by `fold_batch_norm`.
        inputs: channels of the images.
    """

    encoder: tuple[int, ...] = (64, 128, 256, 512, 512)
    decoder: tuple[int, ...] = (256, 128, 64, 64)
    activation: Callable[[Array], Array] = nn.relu
    align_corners: bool = False
    batch_norm: bool = True
    inputs: int = 1

    @property
    def stride(self) -> int:
        """Sides of input images must be multiples of this: 2 to the number of poolings."""
        return 2 ** (len(self.encoder) - 1)

    @nn.compact
    def logits(
        self,
        images: Float[Array, "batch height width {self.inputs}"],
        *,
        frame: Int[Array, "2"] | None = None,
        train: bool = False,
    ) -> Float[Array, "batch height width 1"]:
        """Returns the likelihood map before its sigmoid; arguments and errors are those of a call."""
        if images.shape[-1] != self.inputs:
            raise UserError(f"the images have {so_many(images.shape[-1])}, but the network sees {self.inputs}")
        check_widths(self.encoder, self.decoder)
        check_sides(images.shape[1:3], self.stride)
        levels = range(len(self.encoder))
        inside = [None if frame is None else inside_frame(images, frame, level) for level in levels]
        skips: list[Array] = []
        x = _keep(images, inside[0])
        for level, features in enumerate(self.encoder):
            if level:
                skips.append(x)
                x = max_pool(x)
            block = DoubleConv(features, self.activation, self.batch_norm, name=f"encoder_{level}")
            x = block(x, train=train, inside=inside[level])
        for depth, features in enumerate(self.decoder):
            level = len(self.decoder) - 1 - depth
            below = None if frame is None else frame // 2 ** (level + 1)
            doubled = upsample(x, align_corners=self.align_corners, frame=below)
            x = jnp.concatenate([skips.pop(), _keep(doubled, inside[level])], axis=-1)
            block = DoubleConv(features, self.activation, self.batch_norm, name=f"decoder_{depth}")
            x = block(x, train=train, inside=inside[level])
        return nn.Conv(1, (1, 1), bias_init=nn.initializers.constant(_OUTPUT_BIAS), name="output")(x)

    def __call__(
        self,
        images: Float[Array, "batch height width {self.inputs}"],
        *,
        frame: Int[Array, "2"] | None = None,
        train: bool = False,
    ) -> Float[Array, "batch height width 1"]:
        """Returns the likelihood map, 0..1.

        Args:
            images: normalised images, 0..1, with sides that are multiples of `stride`.
            frame: (height, width), multiples of `stride`, of the images' top left part that counts. The map is
                there what it would be for images of that size, so that one program serves images of many sizes.
            train: use (and update) the statistics of the batch in batch norm.

        Raises:
            UserError: if a side is not a multiple of `stride`, the images have other channels than the network, or
                the widths do not fit together.
        """
        return nn.sigmoid(self.logits(images, frame=frame, train=train))


def check_widths(encoder: tuple[int, ...], decoder: tuple[int, ...]) -> None:
    """Raises UserError unless every level of the encoder but the deepest has a width on the way up."""
    levels, up = len(encoder), len(decoder)
    if up != levels - 1:
        raise UserError(f"a U-Net of {levels} encoder levels needs {levels - 1} decoder widths, not {up}")


def check_sides(shape: Sequence[Any], stride: int) -> None:
    """Raises UserError unless the sides of an image, numbers or symbols, are multiples of a network's stride."""
    if shape[0] % stride or shape[1] % stride:
        raise UserError(
            f"image sides {shape[0]} × {shape[1]} are not multiples of {stride}; pad them with pad_to_stride"
        )


def upsample(
    x: Float[Array, "batch height width channels"], *, align_corners: bool, frame: Int[Array, "2"] | None = None
) -> Float[Array, "batch 2*height 2*width channels"]:
    """Returns the features at twice the height and width, bilinearly interpolated.

    With half-pixel centres (`align_corners=False`) every new pixel is 3/4 of the nearer old one and 1/4 of the
    farther, the border repeated; written as shifts, since `jax.image.resize` would multiply by dense matrices.
    With aligned corners the old corner pixels are the new ones, which needs sides of at least 2. The border is
    that of the `frame`, (height, width) of the top left part that counts, if one is given.
    """
    batch, height, width, channels = x.shape
    if not align_corners:
        rows, columns = (None, None) if frame is None else frame
        return _double(_double(x, axis=1, border=rows), axis=2, border=columns)
    if height < 2 or width < 2:
        raise UserError("align_corners needs features of at least 2 × 2; use a larger image or fewer levels")
    size = jnp.array([height, width]) if frame is None else frame
    scale = (2 * size - 1) / (size - 1)
    shape = (batch, 2 * height, 2 * width, channels)
    return jax.image.scale_and_translate(
        x, shape, (1, 2), scale, (1 - scale) / 2, method="linear", antialias=False
    )


def _double(x: Array, *, axis: int, border: Array | None) -> Array:
    """Doubles one axis by linear interpolation at half-pixel centres; `border` is where the axis ends early."""
    n = x.shape[axis]
    if border is not None:
        last = jax.lax.dynamic_slice_in_dim(x, border - 1, 1, axis=axis)
        beyond = jnp.arange(n) >= border
        x = jnp.where(jnp.expand_dims(beyond, [i for i in range(x.ndim) if i != axis]), last, x)
    first, last = jax.lax.slice_in_dim(x, 0, 1, axis=axis), jax.lax.slice_in_dim(x, n - 1, n, axis=axis)
    before = jnp.concatenate([first, jax.lax.slice_in_dim(x, 0, n - 1, axis=axis)], axis=axis)
    after = jnp.concatenate([jax.lax.slice_in_dim(x, 1, n, axis=axis), last], axis=axis)
    pairs = jnp.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis=axis + 1)
    return pairs.reshape(*x.shape[:axis], 2 * n, *x.shape[axis + 1 :])


def inside_frame(x: Array, frame: Int[Array, "2"], level: int = 0) -> Bool[Array, "1 _ _ 1"]:
    """Returns which units lie in the frame, `level` poolings below the features x and the frame's own level."""
    # Not `side >> level`: a side is not a number, but a symbol, while a function for any size is exported.
    rows, columns = (
        jnp.arange(side // 2**level) < size >> level for side, size in zip(x.shape[1:3], frame, strict=True)
    )
    return (rows[:, None] & columns[None, :])[None, :, :, None]


def _keep(x: Array, inside: Array | None) -> Array:
    """Returns the features with zeros outside the frame, which is what convolutions see beyond a border."""
    return x if inside is None else jnp.where(inside, x, 0)


def with_channels(images: Float[Array, "batch height width *channels"]) -> Float[Array, "batch height width _"]:
    """Returns a batch with the axis of channels that images of a single channel do not have."""
    return images[..., None] if images.ndim == 3 else images


def pad_to_stride(
    image: Float[np.ndarray, "height width *channels"], stride: int
) -> tuple[Float[np.ndarray, "padded_height padded_width *channels"], tuple[slice, slice]]:
    """Returns the image mirrored at its bottom and right to sides that are multiples of `stride`.

    The second value cuts the original frame out of anything of the padded size. Mirroring, unlike zeros,
    invents no edge that a network could take for a cell's.
    """
    height, width = image.shape[:2]
    padding = ((0, -height % stride), (0, -width % stride), (0, 0))[: image.ndim]
    return np.pad(image, padding, mode="symmetric"), (slice(height), slice(width))


def fold_batch_norm(model: UNet, variables: Variables) -> tuple[UNet, Variables]:
    """Returns the same network for inference with every batch norm folded into its convolution.

    In inference batch norm is the affine map (x - mean) · scale / √(variance + ε) + bias per channel, so it can
    be multiplied into the kernel before it: fewer passes over memory, and the contribution maps stay what they
    were, since the folded kernel is the product of both linear maps.
    """
    return (model.clone(batch_norm=False), _folded(variables)) if model.batch_norm else (model, variables)


@jax.jit
def _folded(variables: Variables) -> Variables:
    """Returns the variables without batch norm; one program, where operations one by one would be dozens."""

    def fold(params: Mapping[str, Any], stats: Mapping[str, Any]) -> dict[str, Any]:
        folded: dict[str, Any] = {}
        for name, value in params.items():
            if name.startswith("conv_"):
                norm, statistics = params[name.replace("conv", "norm")], stats[name.replace("conv", "norm")]
                gain = norm["scale"] / jnp.sqrt(statistics["var"] + 1e-5)
                kernel = value["kernel"] * gain[None, None, None, :]
                folded[name] = {"kernel": kernel, "bias": norm["bias"] - statistics["mean"] * gain}
            elif name.startswith(("encoder_", "decoder_")):
                folded[name] = fold(value, stats[name])
            elif name == "output":
                folded[name] = value
        return folded

    return {"params": fold(variables["params"], variables["batch_stats"])}


@partial(jax.jit, static_argnames="precision")
def in_precision(variables: Variables, precision: str) -> Variables:
    """Returns the variables as "float32" or "bfloat16" numbers, which is what the network then computes in."""
    return jax.tree.map(lambda x: x.astype(precision), variables)


def shapes_of_variables(model: UNet) -> dict[str, Any]:
    """Returns the shapes of the variables of a network with batch norm, as `UNet.init` gives them."""
    pairs = widths(model.encoder, model.decoder, inputs=model.inputs)
    levels = len(model.encoder)
    names = [f"encoder_{level}" for level in range(levels)]
    names += [f"decoder_{levels - 2 - level}" for level in range(levels - 1)]
    params: dict[str, Any] = {}
    stats: dict[str, Any] = {}
    for name, (into, out) in zip(names, pairs, strict=True):
        params[name], stats[name] = {}, {}
        for i, inputs in enumerate((into, out)):
            params[name] |= {f"conv_{i}": {"kernel": (3, 3, inputs, out)}}
            params[name] |= {f"norm_{i}": {"bias": (out,), "scale": (out,)}}
            stats[name] |= {f"norm_{i}": {"mean": (out,), "var": (out,)}}
    last = (model.decoder or model.encoder)[-1]
    params["output"] = {"kernel": (1, 1, last, 1), "bias": (1,)}
    return {"params": params, "batch_stats": stats}


def initial_variables(model: UNet, seed: int) -> Variables:
    """Returns fresh variables of a network."""
    return _initialize(model, jax.random.key(seed))


def predict(
    model: UNet, variables: Variables, image: Float[np.ndarray, "height width *channels"]
) -> Float32[np.ndarray, "height width"]:
    """Returns the likelihood map of one normalised image of any size, 0..1."""
    padded, frame = pad_to_stride(image, model.stride)
    return np.asarray(forward(model, variables, jnp.asarray(padded[None])))[0, *frame]


@partial(jax.jit, static_argnames="model")
def forward(
    model: UNet,
    variables: Variables,
    images: Float[Array, "batch height width *channels"],
    frame: Int[Array, "2"] | None = None,
) -> Float32[Array, "batch height width"]:
    """Returns likelihood maps, 0..1, from one compiled program for all frames of images of equal size.

    Arguments and errors are those of a call of the network, but that images of one channel have no axis of
    channels; the type of the variables is that of the arithmetic.
    """
    images = images.astype(jax.tree.leaves(variables)[0].dtype)
    logits = model.apply(variables, with_channels(images), frame=frame, method="logits")
    # The sigmoid is taken of float32 numbers, as in a record.
    return jax.nn.sigmoid(jnp.asarray(logits, jnp.float32)[..., 0])


@partial(jax.jit, static_argnames="model")
def _initialize(model: UNet, key: jax.Array) -> Variables:
    side = 2 * model.stride  # features of at least 2 × 2 everywhere, which aligned corners need
    return model.init(key, jnp.zeros((1, side, side, model.inputs)))
