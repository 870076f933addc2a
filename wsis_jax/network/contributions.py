"""Contribution maps: which pixels each detection came from (paper §3.2, Eq. 1-5).

`contributions`, `contribution_windows` and `winner_map` are pure functions of JAX arrays, for `jax.jit` (with
`reach` static), `jax.vmap` over images and `jax.export`. `contribution_maps` and `winner_map_in_chunks` take the
same steps from the host: chunk after chunk, shared by the devices, within the memory. There signals go back
through windows of a record or, to compare, through the whole image (`contribution.method`).
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from itertools import chain, pairwise
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Float32, Int, Int32

from wsis_jax.core import (
    Config,
    Detection,
    UserError,
    WinnerMap,
    check_bytes,
    compiler_options,
    copy,
    fewer_cells,
    is_out_of_memory,
    local_mesh,
    shared_by_all,
    split,
)
from wsis_jax.network.model import Model
from wsis_jax.network.receptive_field import Span, Windows, windows, working_bytes
from wsis_jax.network.record import Record, RecordedImage, one_of, record, record_and_likelihood, start_signal
from wsis_jax.network.rules import relu_of, rule_of
from wsis_jax.network.unet import UNet, Variables, check_sides, pad_to_stride, with_channels
from wsis_jax.network.windowed import back, clamped, compiled_back, cut_views

# Cells at a time beyond which nothing is gained: a CPU's caches are full, an accelerator is busy.
_LARGEST_CHUNK = {"cpu": 8, "accelerator": 64}
# Peaks that the program of a winner map has room for; it doubles where there are more.
_LEAST_ROOM = 1024


class Cells(NamedTuple):
    """Cells whose signals are to go back.

    Attributes:
        image: normalised, 0..1; sides multiples of the network's stride; of one channel or several.
        regions: i + 1 in the centre region of cell i, 0 elsewhere; a cell without one contributes nothing.
        peaks: (row, column) of every cell, in the image. Regions should lie around them: the farther a region
            goes from its peak, the larger are the windows of all cells.
        reach: contributions farther than this from the cell's peak, in pixels, are left at 0; None: none are.
        half: how far regions go from their peaks, per axis, if it is known: in parts of an image that of the
            whole, so that windows are the same (see `half_of`). None: as far as these regions go.
    """

    image: Float[np.ndarray, "height width *channels"]
    regions: Int[np.ndarray, "height width"]
    peaks: Int[np.ndarray, "cells 2"]
    reach: float | None = None
    half: int | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of the image."""
        return self.regions.shape[0], self.regions.shape[1]


class Linear(NamedTuple):
    """The network at one image, ready for backward passes through all of it: the pull-back, and Eq. 1."""

    pullback: Callable[[Array], tuple[Array]]
    signal: Float[Array, "height width"]


# The layers of a winner map while cells are merged: best value, owner, runner-up. They are one array, the values
# by their bits, because XLA updates it in place; three arrays it copies as a whole for every cell.
Layers: TypeAlias = Int[Array, "3 height width"]


# Pure functions


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
    maps = _windows_back(model, _recorded(model, image, regions), ids, peaks, spans=spans)
    places = peaks[:, :, None] + np.arange(span.low, span.high + 1)[None, None]
    inside = (places >= 0) & (places < jnp.array(regions.shape)[None, :, None])
    near = _in_reach(maps, peaks, span=span, reach=reach)
    return jnp.where(inside[:, 0, :, None] & inside[:, 1, None, :], near, 0)


def winner_map(
    model: Model,
    image: Float[Array, "height width *channels"],
    regions: Int[Array, "height width"],
    peaks: Int[Array, "cells 2"],
    *,
    reach: float | None,
) -> WinnerMap:
    """Returns the winner map of the contribution maps, as JAX arrays; arguments and errors are theirs.

    A chunk of cells at a time goes back and is merged, so the memory does not grow with the number of cells.
    """
    spans, count = windows_of_model(model, reach=reach), len(peaks)
    if not count:
        return _winner_of(*_no_winner(regions.shape, None))
    seen, chunk = _recorded(model, image, regions), min(chunk_of(model, spans), count)
    return _winner_of(*merged_in_chunks(model, seen, peaks, count, spans=spans, chunk=chunk, reach=reach))


def windows_of_model(model: Model, *, reach: float | None) -> Windows:
    """Returns the windows of the pure functions; their size is fixed, whatever regions and peaks there are."""
    if model.config.detect.region != "disc":
        raise UserError(
            "detect.region=response bounds no centre region, but windows of contributions are of a fixed size; "
            "set detect.region=disc, and a detect.radius (× sigma) that your regions do not exceed"
        )
    half, levels = int(model.config.region_radius), len(model.network.encoder)
    return windows(levels, half=half, reach=None if reach is None else int(reach))


# The two steps: an image to its record, and its cells from there back to the image


def _recorded(model: Model, image: Array, regions: Array) -> RecordedImage:
    """Returns what the cells of one image share."""
    frame, settings = jnp.array(regions.shape), model.config.contribution
    records = record(model.network, model.variables, image[None], frame, rule=rule_of(settings.rule))
    seen = jax.tree.map(lambda x: x[0], records)
    return RecordedImage(seen, start_signal(seen.likelihood, settings), regions, frame)


def merged_in_chunks(
    model: Model,
    image: RecordedImage,
    peaks: Int[Array, "_ 2"],
    count: int | Int[Array, ""],
    *,
    spans: Windows,
    chunk: int,
    reach: float | None,
) -> Layers:
    """Returns the layers of the winner map of the first `count` peaks, a chunk of cells after the other.

    Args:
        model: a trained model; of its settings the backward rule counts.
        image: what the cells share.
        peaks: (row, column); what comes after the first `count` does not matter.
        count: how many cells there are.
        spans: the windows of a cell.
        chunk: how many cells go back at a time.
        reach: contributions farther than this from the peak are left out, in pixels; None: none are.
    """
    span, shape = spans.encoder[0].input, image.regions.shape

    def step(i: Array, winner: Layers) -> Layers:
        ids = i * chunk + jnp.arange(1, chunk + 1, dtype=jnp.int32)
        places = peaks[jnp.minimum(ids, count) - 1]
        maps = _windows_back(model, image, ids, places, spans=spans)
        return _merged(winner, maps, places, ids, span=span, reach=reach)

    winner = jax.lax.fori_loop(0, -(-count // chunk), step, _no_winner(shape, span))
    return winner[:, *_inner(shape, span)]


def _windows_back(
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


def _in_reach(maps: Array, peaks: Int[Array, "cells 2"], *, span: Span | None, reach: float | None) -> Array:
    """Returns maps with zeros beyond the reach of their cells; `span` is that of windows, None of whole images."""
    if reach is None:
        return maps
    if span is not None:
        return jnp.where(_disc(span, reach)[None], maps, 0)
    far = int(reach)
    near = jnp.broadcast_to(_disc(Span(-far, far), reach), (peaks.shape[0], 2 * far + 1, 2 * far + 1))
    return jnp.where(_placed(near, peaks, -far, maps.shape[1:]), maps, 0)


_as_bits = partial(jax.lax.bitcast_convert_type, new_dtype=jnp.int32)
_as_values = partial(jax.lax.bitcast_convert_type, new_dtype=jnp.float32)


def _winner_of(best: Array, owner: Array, second: Array) -> WinnerMap:
    """Returns a winner map of JAX arrays from its layers."""
    of_device: Callable[..., WinnerMap] = WinnerMap
    return of_device(_as_values(best), owner, _as_values(second))


def _no_winner(shape: tuple[int, ...], span: Span | None) -> Layers:
    """Returns the layers of no cells, with room around them for the windows of peaks at the border."""
    beyond = span.size - 1 if span else 0
    return jnp.zeros((3, *(n + beyond for n in shape)), jnp.int32)


def _inner(shape: tuple[int, ...], span: Span | None) -> tuple[slice, ...]:
    """Returns where the image is in a winner map with room around it."""
    margin = -span.low if span else 0
    return tuple(slice(margin, margin + n) for n in shape)


def _merged(
    winner: Layers,
    maps: Float[Array, "cells _ _"],
    peaks: Int[Array, "cells 2"],
    ids: Int[Array, " cells"],
    *,
    span: Span | None,
    reach: float | None,
) -> Layers:
    """Returns the layers of a winner map with further cells in it, one after the other.

    Args:
        winner: of the cells before, from `_no_winner` at first.
        maps: at least 0; those of ids beyond the last cell are 0 everywhere.
        peaks: of the cells.
        ids: of the cells, counted from 1.
        span: of the windows that the maps are; None if they are of the whole image.
        reach: contributions farther than this from the peak are left out; None: none are.
    """
    maps = _in_reach(maps, peaks, span=span, reach=reach)
    # A peak is where its window begins, given the room.
    corners = jnp.pad(jnp.zeros_like(peaks) if span is None else peaks, ((0, 0), (1, 0)))

    def merge(i: Array, winner: Layers) -> Layers:
        best, owner, second = jax.lax.dynamic_slice(winner, corners[i], (3, *maps.shape[1:]))
        values = _as_bits(maps[i])  # of numbers of at least 0 the bits are in the order of the numbers
        wins = values > best  # strictly: the first of equals keeps the pixel
        new = (
            jnp.where(wins, values, best),
            jnp.where(wins, ids[i], owner),
            jnp.where(wins, best, jnp.maximum(second, values)),
        )
        return jax.lax.dynamic_update_slice(winner, jnp.stack(new), corners[i])

    return jax.lax.fori_loop(0, maps.shape[0], merge, winner)


# Driven from the host


def contribution_maps(
    model: Model, cells: Cells, *, recorded: Record | None = None, linear: Linear | None = None
) -> Float32[np.ndarray, "cells height width"]:
    """Returns the contribution map of every cell, as `contributions` does, a chunk of cells at a time.

    The `contribution.method` of the settings changes the cost alone: "window" looks only at the units that matter
    to a cell, so that its cost does not grow with the image and falls with the reach; "vmap" propagates chunks of
    cells through the whole image; "loop" one cell after the other.

    Args:
        model: a trained model; its settings say how, and how much memory a chunk of cells may take.
        cells: to propagate.
        recorded: the forward pass of this image for "window", if it is done: from `record_images`, with a model of
            the same rule; its sides may be larger than the image's.
        linear: the forward pass for "vmap" and "loop", if it is done: from `linearize`.

    Raises:
        UserError: if a side of the image is no multiple of the network's stride, or a peak is not in the image.
        OutOfMemory: if a single cell does not fit into memory; fewer at a time are tried before, with a warning.
    """
    shape, count = cells.shape, len(cells.peaks)
    maps = np.zeros((count, *shape), np.float32)
    plan = _plan(model, cells, recorded, linear)
    for ids, peaks, chunk in _in_chunks(plan, cells):
        near = _in_reach_compiled(chunk, peaks, span=plan.span, reach=cells.reach)
        corners = peaks + plan.span.low if plan.span else np.zeros_like(peaks)
        for cell, corner, values in zip(ids[ids <= count] - 1, corners, np.asarray(near), strict=False):
            first, end = np.maximum(corner, 0), np.minimum(corner + values.shape, shape)
            part = (slice(a, b) for a, b in zip(first - corner, end - corner, strict=True))
            maps[cell, first[0] : end[0], first[1] : end[1]] = values[*part]
    return maps


def winner_map_in_chunks(
    model: Model,
    cells: Cells,
    *,
    recorded: Record | None = None,
    index: int | None = None,
    linear: Linear | None = None,
) -> WinnerMap:
    """Returns the winner map of the contribution maps, a chunk of cells at a time; see `contribution_maps`.

    By windows, one device does it in one program, whatever the number of cells; several share each chunk.
    `recorded` may be of a batch of images, of which `index` is the one.
    """
    if not len(cells.peaks):
        nothing = np.zeros(cells.shape, np.float32)
        return WinnerMap(nothing, np.zeros(cells.shape, np.int32), nothing.copy())
    if model.config.contribution.method == "window" and jax.local_device_count() == 1:
        return _winner_by_one_program(model, cells, recorded, index)
    if recorded is not None and index is not None:
        recorded = one_of(recorded, jnp.array(index))
    plan = _plan(model, cells, recorded, linear)
    # Records of images of many sizes have few shapes, and so have the programs that merge.
    padded = plan.span is not None and recorded is not None
    winner = _no_winner_compiled(recorded.likelihood.shape if padded else cells.shape, plan.span)
    for ids, peaks, maps in _in_chunks(plan, cells):
        maps = jax.device_put(maps, jax.local_devices()[0])
        winner = _merged_compiled(winner, maps, peaks, ids, span=plan.span, reach=cells.reach)
    return winner_of_layers(np.asarray(winner)[:, *_inner(cells.shape, plan.span)], cells.shape)


def winner_of_layers(layers: Int32[np.ndarray, "3 _ _"], shape: tuple[int, int]) -> WinnerMap:
    """Returns the winner map of an image of (height, width) `shape`, in arrays of its own, from its layers."""
    best, owner, second = layers[:, : shape[0], : shape[1]].copy()
    return WinnerMap(best.view(np.float32), owner, second.view(np.float32))


def _winner_by_one_program(model: Model, cells: Cells, recorded: Record | None, index: int | None) -> WinnerMap:
    """Returns a winner map by windows; fewer cells at a time are tried where the memory is too small."""
    shape, count = cells.shape, len(cells.peaks)
    _check_cells(model, cells)
    if recorded is None:
        recorded, index = record_images(model, cells.image[None], shape), 0
    spans, sides = windows_of_cells(model.network, cells), recorded.likelihood.shape[-2:]
    regions = np.pad(cells.regions, [(0, n - m) for n, m in zip(sides, shape, strict=True)]).astype(np.int32)
    peaks = np.zeros((max(_LEAST_ROOM, 1 << (count - 1).bit_length()), 2), np.int32)
    peaks[:count] = cells.peaks
    # Without the settings and variables that the program does not use, so that it serves all others.
    light = replace(model, variables={}, config=Config(contribution=model.config.contribution))
    size = chunk_of(model, spans)
    while True:
        try:
            layers = compiled_winner()(
                light,
                recorded,
                None if index is None else np.int32(index),
                regions,
                np.array(shape, np.int32),
                peaks,
                np.int32(count),
                spans=spans,
                chunk=size,
                reach=cells.reach,
            )
            return winner_of_layers(np.asarray(layers), shape)
        except (MemoryError, jax.errors.JaxRuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            size = fewer_cells(size, error)


@cache
def compiled_winner() -> Callable[..., Layers]:
    """Returns `_winner_of_record`, compiled; one program serves all images of the same sides."""
    return jax.jit(
        _winner_of_record, static_argnames=("spans", "chunk", "reach"), compiler_options=compiler_options()
    )


def _winner_of_record(
    model: Model,
    records: Record,
    index: Int[Array, ""] | None,
    regions: Int[Array, "height width"],
    frame: Int[Array, "2"],
    peaks: Int[Array, "_ 2"],
    count: Int[Array, ""],
    *,
    spans: Windows,
    chunk: int,
    reach: float | None,
) -> Layers:
    """Returns the layers of a winner map from the record of an image, or of a batch of which it is one."""
    seen = records if index is None else one_of(records, index)
    image = RecordedImage(seen, start_signal(seen.likelihood, model.config.contribution), regions, frame)
    return merged_in_chunks(model, image, peaks, count, spans=spans, chunk=chunk, reach=reach)


def propagate(
    model: Model,
    detection: Detection,
    *,
    config: Config,
    recorded: Record | None = None,
    index: int | None = None,
) -> WinnerMap:
    """Returns the winner map of the detected cells' contribution maps, as far as cells reach (`cut.reach`).

    `recorded` is the record of the image's forward pass, if there is one already, or of a batch of which the image
    is the one of `index`.
    """
    padded, frame = pad_to_stride(detection.image, model.network.stride)
    margin = [(0, p - n) for p, n in zip(padded.shape[:2], detection.regions.shape, strict=True)]
    cells = Cells(padded, np.pad(detection.regions, margin), detection.peaks, reach=config.cell_reach)
    winner = winner_map_in_chunks(model.using(config), cells, recorded=recorded, index=index)
    return WinnerMap(*(part[frame] for part in winner))


_in_reach_compiled = jax.jit(_in_reach, static_argnames=("span", "reach"))
_no_winner_compiled = jax.jit(_no_winner, static_argnums=(0, 1))
_merged_compiled = jax.jit(_merged, static_argnames=("span", "reach"), donate_argnames="winner")


def record_images(
    model: Model, images: Float[np.ndarray, "batch height width *channels"], frame: tuple[int, int]
) -> Record:
    """Returns the record of a batch of images; `images` and `frame` are those of `record`.

    The images are shared by as many devices as can do so evenly.
    """
    network, mesh = model.network.clone(activation=jax.nn.relu), local_mesh(len(images))
    variables, frames = copy((model.variables, np.array(frame)), mesh)
    seen = split(np.asarray(images, np.float32), mesh)
    return record(network, variables, seen, frames, rule=rule_of(model.config.contribution.rule))


def record_and_detect(
    model: Model, images: Float[np.ndarray, "batch height width *channels"], shape: tuple[int, int]
) -> tuple[Record, Float[Array, "batch height width"]]:
    """Returns the record of a batch of images, and their likelihood maps, by as many views as the settings say.

    `images` and `shape` are those of `record_and_likelihood`; devices share the images as in `record_images`.
    """
    network, mesh = model.network.clone(activation=jax.nn.relu), local_mesh(len(images))
    variables, shapes = copy((model.variables, np.array(shape)), mesh)
    seen = split(np.asarray(images, np.float32), mesh)
    rule, views = rule_of(model.config.contribution.rule), model.config.detect.views
    return record_and_likelihood(network, variables, seen, shapes, rule=rule, views=views)


class _Plan(NamedTuple):
    """How cells go back, chunk after chunk; `on` devices there is a function of a chunk's ids and peaks."""

    chunk: int  # how many cells to take at a time
    on: Callable[[Mesh], Callable[..., Float[Array, "chunk _ _"]]]
    span: Span | None  # of the windows; None where maps are of the whole image


def _plan(model: Model, cells: Cells, recorded: Record | None, linear: Linear | None) -> _Plan:
    """Returns how to do it by the method of the settings."""
    height, width = cells.shape
    _check_cells(model, cells)
    if not len(cells.peaks):
        return _Plan(1, lambda _: lambda ids, _: jnp.zeros((len(ids), height, width)), None)
    if model.config.contribution.method == "window":
        return _by_windows(model, cells, recorded)
    return _by_images(model, cells, linear)


def _check_cells(model: Model, cells: Cells) -> None:
    """Raises UserError for an image whose sides do not suit the network, or peaks outside of it."""
    height, width = cells.shape
    check_sides(cells.shape, model.network.stride)
    if ((cells.peaks < 0) | (cells.peaks >= cells.shape)).any():
        raise UserError(f"there are peaks outside the image of {height} × {width} pixels")


def _in_chunks(
    plan: _Plan, cells: Cells
) -> Iterator[tuple[Int[np.ndarray, " chunk"], Int[np.ndarray, "chunk 2"], Float[Array, "chunk _ _"]]]:
    """Yields 1-based ids, peaks and maps of every chunk; fewer cells at a time where the memory is too small.

    Ids beyond the last cell fill up the last chunk, so that one program serves all.
    """
    done, size, count = 0, plan.chunk, len(cells.peaks)
    while done < count:
        ids = [np.arange(start, start + size, dtype=np.int32) + 1 for start in range(done, count, size)]
        chunks = [(some, cells.peaks[np.minimum(some, count) - 1].astype(np.int32)) for some in ids]
        mesh = local_mesh(size)  # fewer cells may lie on fewer devices
        try:
            back = plan.on(mesh)
            for chunk, maps in zip(chunks, _one_ahead(back(*split(one, mesh)) for one in chunks), strict=True):
                yield *chunk, maps
                done += size
        except (MemoryError, jax.errors.JaxRuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            size = fewer_cells(size, error)


def _one_ahead(chunks: Iterator[Array]) -> Iterator[Array]:
    """Yields arrays when they are ready; the next is under way on the device meanwhile."""
    for maps, _ in pairwise(chain(chunks, [None])):
        yield jax.block_until_ready(maps)


# Driven from the host: through windows of a record


def _by_windows(model: Model, cells: Cells, recorded: Record | None) -> _Plan:
    shape = cells.shape
    if recorded is None:
        recorded = one_of(record_images(model, cells.image[None], shape), jnp.array(0))
    spans = windows_of_cells(model.network, cells)
    beyond = [(0, n - m) for n, m in zip(recorded.likelihood.shape, shape, strict=True)]
    arrays: Any = recorded, np.pad(cells.regions, beyond).astype(np.int32), np.array(shape), model.kernels

    def on(mesh: Mesh) -> Callable[..., Array]:
        record, placed, frame, kernels = copy(arrays, mesh)
        image = RecordedImage(record, start_signal(record.likelihood, model.config.contribution), placed, frame)
        there = replace(model, kernels=kernels)
        return lambda ids, peaks: _windows_back(there, image, ids, peaks, spans=spans, back=compiled_back())

    return _Plan(shared_by_all(chunk_of(model, spans)), on, spans.encoder[0].input)


def chunk_of(model: Model, spans: Windows) -> int:
    """Returns how many cells go back through windows at a time, by the settings and the memory that they allow."""
    settings, network = model.config.contribution, model.network
    cost = working_bytes(spans, network.encoder, network.decoder, inputs=network.inputs)
    check_bytes("cut.reach and detect.radius", cost, remedy="choose smaller ones, or a smaller likelihood.sigma")
    return settings.chunk or _affordable(cost, settings.memory)


def windows_of_cells(network: UNet, cells: Cells) -> Windows:
    """Returns the windows in which the method "window" propagates cells."""
    half = cells.half
    if half is None:
        pixels = np.argwhere(cells.regions)
        owners = cells.peaks[cells.regions[tuple(pixels.T)] - 1]
        half = half_of(np.abs(pixels - owners).max(initial=0))
    return windows(len(network.encoder), half=half, reach=None if cells.reach is None else int(cells.reach))


def half_of(farthest: float | int | np.integer) -> int:
    """Returns how far regions go from their peaks, per axis, rounded up so that few different values occur."""
    return -(-int(farthest) // 6) * 6


def _affordable(cost: int, memory: float) -> int:
    """Returns how many cells of a cost in bytes to take at a time, with the memory in GiB; a power of two."""
    largest = _LARGEST_CHUNK["cpu" if jax.default_backend() == "cpu" else "accelerator"]
    return min(1 << max(int(memory * 2**30 / cost).bit_length() - 1, 0), largest)


# Driven from the host: through the whole image, by JAX's own backward pass, which windows must equal


def linearize(
    model: Model, image: Float[np.ndarray, "height width *channels"] | Float[Array, "height width *channels"]
) -> Linear:
    """Returns what the methods "vmap" and "loop" need of the forward pass of an image."""
    settings = model.config.contribution
    twin = model.network.clone(activation=relu_of(rule_of(settings.rule)))
    likelihood, pullback = _pullback_of(twin, model.variables, jnp.asarray(image, jnp.float32))
    return Linear(pullback, start_signal(likelihood, settings))


@partial(jax.jit, static_argnames="twin")
def _pullback_of(
    twin: UNet, variables: Variables, image: Float[Array, "height width *channels"]
) -> tuple[Float[Array, "height width"], Callable[[Array], tuple[Array]]]:
    """Runs the network forward once; returns the likelihood map and the pull-back from its logits to the image.

    The type of the variables is that of the arithmetic; maps and signals outside the network are float32.
    """

    def forward(x: Float[Array, "height width *channels"]) -> Float[Array, "height width"]:
        images = with_channels(x[None]).astype(jax.tree.leaves(variables)[0].dtype)
        return jnp.asarray(twin.apply(variables, images, method="logits"), jnp.float32)[0, :, :, 0]

    logits, pullback = jax.vjp(forward, image)
    return jax.nn.sigmoid(logits), pullback


def _by_images(model: Model, cells: Cells, linear: Linear | None) -> _Plan:
    linear, regions = linear or linearize(model, cells.image), cells.regions.astype(np.int32)
    settings, count = model.config.contribution, len(cells.peaks)
    loop = settings.method == "loop"

    def on(mesh: Mesh) -> Callable[..., Array]:
        there, placed = copy((linear, regions), mesh)
        if loop:
            return lambda ids, _: back_one(there, placed, ids[0])[None]
        return lambda ids, _: back_many(there, placed, ids)

    units = sum(4 * n >> 2 * level for level, n in enumerate(model.network.encoder)) * cells.regions.size
    chunk = settings.chunk or _affordable(4 * units, settings.memory)
    # A cell that only fills up costs as much as another here, so that small numbers have programs of their own.
    return _Plan(1 if loop else shared_by_all(min(chunk, 1 << (count - 1).bit_length())), on, None)


@jax.jit
def back_one(
    linear: Linear, regions: Int[Array, "height width"], cell: Int[Array, ""]
) -> Float[Array, "height width"]:
    """Returns the contribution map of a cell, by its 1-based id; zeros for ids beyond the last cell."""
    (gradient,) = linear.pullback(jnp.where(regions == cell, linear.signal, 0))
    return clamped(with_channels(gradient[None])[0])


@jax.jit
def back_many(
    linear: Linear, regions: Int[Array, "height width"], ids: Int[Array, " chunk"]
) -> Float[Array, "chunk height width"]:
    """Returns the contribution maps of a chunk of cells, as `back_one` does."""
    return jax.vmap(partial(back_one, linear, regions))(ids)
