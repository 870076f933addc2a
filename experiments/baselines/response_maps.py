"""The classifier of Zhou's method, the peaks of its class map, and the peak response map of each."""

from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.serialization import msgpack_restore
from jaxtyping import Array, Bool, Float, Float32, Int
from scipy import sparse

from experiments.baselines.common import remembered
from experiments.baselines.peak_backprop import normalized, with_relevance
from wsis_jax.network import convolve, max_pool, pad_to_stride

STRIDE = 8  # pixels of the image per unit of the class map
_WIDTHS = (8, 16, 32, 64)  # channels of each stage; log2(STRIDE) poolings between them
# The field of a unit is 68 pixels; a window with its border farther than that from the peak is as good as the
# whole image.
_WINDOW = 96  # pixels, around the unit of a peak
_CHUNK = 16  # peaks at a time


class Classifier(nn.Module):
    """A small fully convolutional network from an image to the class map of cells, its logits at stride 8.

    Takes the place of ResNet-50 with the weights of ImageNet, whose stride of 32 is as large as a cell.
    """

    @nn.compact
    def __call__(self, x: Float[Array, "batch height width 2"]) -> Float[Array, "batch height//8 width//8"]:
        """Returns class maps of images as `with_negatives` gives them, sides multiples of the stride."""
        for stage, width in enumerate(_WIDTHS):
            if stage:
                x = max_pool(x)
            for i in range(2):
                layer = nn.Conv(
                    width,
                    (3, 3),
                    kernel_init=nn.initializers.he_normal(),
                    conv_general_dilated=convolve,
                    name=f"conv_{stage}_{i}",
                )
                x = nn.relu(layer(x))
        return nn.Conv(1, (1, 1), name="output")(x)[..., 0]


def with_negatives(images: Float[Array, "batch height width"]) -> Float[Array, "batch height width 2"]:
    """Returns images of 0..1 with their negatives: relevance goes to where the input is large, and cells are dark.

    It is the relevance of both channels that counts, so this is not part of the network that is walked back.
    """
    return jnp.stack([images, 1 - images], axis=-1)


class Responses(NamedTuple):
    """What the classifier says of an image: its class map, and each peak with its peak response map.

    Attributes:
        classes: logits at stride 8, of the image padded to multiples of it.
        peaks: (row, column) in the class map, of all peaks of windows of 3 × 3 above the median.
        maps: peak response map of each peak, which sums to 1 within the padded image; (peaks, height · width).
    """

    classes: Float32[np.ndarray, "rows columns"]
    peaks: Int[np.ndarray, "peaks 2"]
    maps: sparse.csr_array


def find_class_peaks(classes: Float[np.ndarray, "rows columns"], window: int) -> Bool[np.ndarray, "rows columns"]:
    """Returns where the greatest value of the window around a unit, the first of equals, is its own.

    As in the released code; a plateau has one peak at most in a window.
    """
    half = window // 2
    padded = np.pad(classes, half, constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (window, window))
    return windows.reshape(*classes.shape, -1).argmax(axis=-1) == window * window // 2


def peak_score(classes: Float[Array, "batch rows columns"]) -> Float[Array, " batch"]:
    """Returns the mean of the peaks that reach the median of their class map (peak stimulation, Eq. 1).

    The gradient reaches the peaks alone, each by its share.
    """
    median = jnp.median(classes, axis=(1, 2), keepdims=True)
    greatest = jax.lax.reduce_window(classes, -jnp.inf, jax.lax.max, (1, 3, 3), (1, 1, 1), "SAME")
    peaks = jax.lax.stop_gradient((classes == greatest) & (classes >= median))
    return jnp.where(peaks, classes, 0).sum((1, 2)) / peaks.sum((1, 2))


@remembered
def respond(image: Float[np.ndarray, "height width"], stored: bytes) -> Responses:
    """Returns the class map of an image, its peaks and their peak response maps.

    Args:
        image: grey values, 0..1.
        stored: the weights of the classifier, as `flax.serialization.msgpack_serialize` gives them.
    """
    weights = msgpack_restore(stored)
    padded, _ = pad_to_stride(image.astype(np.float32), STRIDE)
    classes = np.asarray(_class_map(weights, jnp.asarray(padded[None])))[0]
    peaks = np.argwhere(find_class_peaks(classes, 3) & (classes >= np.median(classes)))
    return Responses(classes, peaks, _response_maps(weights, padded, peaks, image.shape))


@jax.jit
def _class_map(weights: Any, images: Float[Array, "batch height width"]) -> Float[Array, "batch rows columns"]:
    return jnp.asarray(Classifier().apply(weights, with_negatives(images)))


def _response_maps(weights: Any, padded, peaks: Int[np.ndarray, "peaks 2"], shape) -> sparse.csr_array:
    """Returns the peak response maps within the image of a shape, each from a window of the padded image."""
    sides = np.minimum(_WINDOW, padded.shape)
    # In whole units, so that the poolings of a window are those of the image.
    units = np.clip(peaks - sides // STRIDE // 2, 0, (np.array(padded.shape) - sides) // STRIDE)
    places, values, counts = [], [], [0]
    for first in range(0, len(peaks), _CHUNK):
        here = np.minimum(np.arange(first, first + _CHUNK), len(peaks) - 1)  # the last fills up the chunk
        corners = STRIDE * units[here]
        views = np.stack([padded[r : r + sides[0], c : c + sides[1]] for r, c in corners])
        back = np.asarray(_back(weights, jnp.asarray(views), jnp.asarray(peaks[here] - units[here])))
        for (row, column), relevance in zip(corners[: len(peaks) - first], back, strict=False):
            relevance = relevance[: shape[0] - row, : shape[1] - column]
            rows, columns = np.nonzero(relevance)
            places.append((rows + row) * shape[1] + columns + column)
            values.append(relevance[rows, columns])
            counts.append(len(rows))
    size = len(peaks), shape[0] * shape[1]
    if not places:
        return sparse.csr_array(size, dtype=np.float32)
    return sparse.csr_array((np.concatenate(values), np.concatenate(places), np.cumsum(counts)), shape=size)


@jax.jit
def _back(
    weights: Any, views: Float[Array, "chunk height width"], peaks: Int[Array, "chunk 2"]
) -> Float[Array, "chunk height width"]:
    """Returns the peak response map of one peak in each view."""
    classes, pullback = jax.vjp(partial(with_relevance(Classifier().apply), weights), with_negatives(views))
    signal = jnp.zeros_like(classes).at[jnp.arange(len(peaks)), peaks[:, 0], peaks[:, 1]].set(1)
    return normalized(pullback(signal)[0].sum(axis=-1), (1, 2))
