"""Contribution maps: which pixels each detection came from (paper §3.2, Eq. 1-3).

`contributions` and `contribution_windows` are pure functions of JAX arrays, for `jax.jit` (with `reach` static),
`jax.vmap` over images and `jax.export`. The cells of an image share one recorded forward pass, and the signal of
each goes back through windows of the record. `winners.py` merges the maps of all cells into a winner map, and
`chunks.py` takes the same steps from the host.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from wsis_jax.core import UserError, check_bytes
from wsis_jax.network.model import Model
from wsis_jax.network.receptive_field import Span, Windows, windows, working_bytes
from wsis_jax.network.record import RecordedImage, record, start_signal
from wsis_jax.network.rules import rule_of
from wsis_jax.network.windowed import back, cut_views

# Cells at a time beyond which nothing is gained: a CPU's caches are full, an accelerator is busy.
_LARGEST_CHUNK = {"cpu": 8, "accelerator": 64}


def contributions(
    model: Model,
    image: Float[Array, "height width *channels"],
    regions: Int[Array, "height width"],
    peaks: Int[Array, "cells 2"],
    *,
    reach: float | None,
) -> Float[Array, "cells height width"]:
    """Returns the contribution map g⁰(u) of every cell, clamped to at least 0 in every channel; see `clamped`.

    The signal of Eq. 1 starts inside the cell's centre region and is propagated back to the image. The guided
    rule is positively homogeneous but not additive, so cells cannot share a pass.

    Args:
        model: a trained model; its settings say how signals start and go back.
        image, regions, peaks, reach: those of `Cells`. Of a region counts what is within `config.region_radius`
            of its peak, per axis; a cell without one has a map of zeros.

    Raises:
        UserError: if `detect.region` is "response", which bounds no region.
    """
    maps = contribution_windows(model, image, regions, peaks, reach=reach)
    return _placed(maps, peaks, windows_of_model(model, reach=reach).encoder[0].input.low, regions.shape)


def contribution_windows(
    model: Model,
    image: Float[Array, "height width *channels"],
    regions: Int[Array, "height width"],
    peaks: Int[Array, "cells 2"],
    *,
    reach: float | None,
) -> Float[Array, "cells side side"]:
    """Returns the contribution maps as windows around the peaks, 0 outside the image; see `contributions`.

    Pixel (0, 0) of a window is that of the peak + `windows_of_model(model, reach=reach).encoder[0].input.low`.
    """
    spans = windows_of_model(model, reach=reach)
    ids, span = jnp.arange(1, peaks.shape[0] + 1), spans.encoder[0].input
    if peaks.shape[0] == 0:
        return jnp.zeros((0, span.size, span.size))
    maps = windows_back(model, recorded_image(model, image, regions), ids, peaks, spans=spans)
    places = peaks[:, :, None] + np.arange(span.low, span.high + 1)[None, None]
    inside = (places >= 0) & (places < jnp.array(regions.shape)[None, :, None])
    near = in_reach(maps, peaks, span=span, reach=reach)
    return jnp.where(inside[:, 0, :, None] & inside[:, 1, None, :], near, 0)


# The two steps: an image to its record, and its cells from there back to the image


def recorded_image(model: Model, image: Array, regions: Array) -> RecordedImage:
    """Returns what the cells of one image share."""
    frame, settings = jnp.array(regions.shape), model.config.contribution
    records = record(model.network, model.variables, image[None], frame, rule=rule_of(settings.rule))
    seen = jax.tree.map(lambda x: x[0], records)
    return RecordedImage(seen, start_signal(seen.likelihood, settings), regions, frame)


def windows_back(
    model: Model,
    image: RecordedImage,
    ids: Int[Array, " cells"],
    peaks: Int[Array, "cells 2"],
    *,
    spans: Windows,
    back: Callable[..., Float[Array, "cells side side"]] = back,
) -> Float[Array, "cells side side"]:
    """Returns the windows of cells `ids` (1-based) around their peaks; `back` may be the compiled one."""
    views = cut_views(image, ids, peaks, spans=spans)
    return back(model.network, model.kernels, views, spans=spans, rule=rule_of(model.config.contribution.rule))


# Maps and their places


def _disc(span: Span, reach: float) -> Bool[np.ndarray, "side side"]:
    """Returns which pixels of a window are in reach of its peak."""
    steps = np.arange(span.low, span.high + 1)
    return np.hypot(steps[:, None], steps[None, :]) <= reach


def _placed(windows: Array, peaks: Int[Array, "cells 2"], low: int, shape: tuple[int, ...]) -> Array:
    """Returns maps of a shape with windows of cells in them, whose first pixels are at the peaks + `low`."""
    side = windows.shape[-1]
    rows, columns = (jnp.arange(n)[None] - peaks[:, axis, None] - low for axis, n in enumerate(shape))
    rows, columns = (jnp.where(i < 0, side, i) for i in (rows, columns))  # negative indices would wrap around
    cells = jnp.arange(peaks.shape[0])[:, None, None]
    return windows.at[cells, rows[:, :, None], columns[:, None, :]].get(mode="fill", fill_value=0)


def in_reach(maps: Array, peaks: Int[Array, "cells 2"], *, span: Span | None, reach: float | None) -> Array:
    """Returns maps with zeros beyond the reach of their cells; `span` is that of windows, None of whole images."""
    if reach is None:
        return maps
    if span is not None:
        return jnp.where(_disc(span, reach)[None], maps, 0)
    far = int(reach)
    near = jnp.broadcast_to(_disc(Span(-far, far), reach), (peaks.shape[0], 2 * far + 1, 2 * far + 1))
    return jnp.where(_placed(near, peaks, -far, maps.shape[1:]), maps, 0)


# How large windows are, and how many cells go back at a time


def windows_of_model(model: Model, *, reach: float | None) -> Windows:
    """Returns the windows of the pure functions; their size is fixed, whatever regions and peaks there are."""
    if model.config.detect.region != "disc":
        raise UserError(
            "detect.region=response bounds no centre region, but windows of contributions are of a fixed size; "
            "set detect.region=disc, and a detect.radius (× sigma) that your regions do not exceed"
        )
    half, levels = int(model.config.region_radius), len(model.network.encoder)
    return windows(levels, half=half, reach=None if reach is None else int(reach))


def chunk_of(model: Model, spans: Windows) -> int:
    """Returns how many cells go back through windows at a time, by the settings and the memory that they allow."""
    settings, network = model.config.contribution, model.network
    cost = working_bytes(spans, network.encoder, network.decoder, inputs=network.inputs)
    check_bytes("cut.reach and detect.radius", cost, remedy="choose smaller ones, or a smaller likelihood.sigma")
    return settings.chunk or affordable(cost, settings.memory)


def affordable(cost: int, memory: float) -> int:
    """Returns how many cells of a cost in bytes to take at a time, with the memory in GiB; a power of two."""
    largest = _LARGEST_CHUNK["cpu" if jax.default_backend() == "cpu" else "accelerator"]
    return min(1 << max(int(memory * 2**30 / cost).bit_length() - 1, 0), largest)
