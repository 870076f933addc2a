"""From the host: recorded forward passes, and contribution maps and winner maps a chunk of cells after the other.

`record_images` and `record_and_detect` run the programs of `record.py`; the devices share the images.
`contribution_maps` and `winner_map_in_chunks` return as NumPy arrays what the pure functions of `contributions.py`
and `winners.py` return. The devices share the cells of each chunk, and fewer cells at a time are tried where the
memory is too small. Signals go back through windows of a record or, to compare, through the whole image
(`whole_image.py`): `contribution.method` chooses.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from itertools import chain, pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Float32, Int

from wsis_jax.core import (
    Config,
    Detection,
    UserError,
    WinnerMap,
    compiler_options,
    copy,
    fewer_cells,
    is_out_of_memory,
    local_mesh,
    shared_by_all,
    split,
)
from wsis_jax.network.contributions import affordable, chunk_of, in_reach, windows_back
from wsis_jax.network.model import Model
from wsis_jax.network.receptive_field import Span, Windows, half_of, windows
from wsis_jax.network.record import Record, RecordedImage, one_of, record, record_and_likelihood, start_signal
from wsis_jax.network.rules import rule_of
from wsis_jax.network.unet import UNet, Variables, check_sides, pad_to_stride
from wsis_jax.network.whole_image import Linear, back_many, back_one, linearize
from wsis_jax.network.windowed import compiled_back
from wsis_jax.network.winners import Layers, merged, merged_in_chunks, no_winner, place_of_image, winner_of_layers

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


# One forward pass of a batch of images


def record_images(
    model: Model, images: Float[np.ndarray, "batch height width *channels"], frame: tuple[int, int]
) -> Record:
    """Returns the record of a batch of images; `images` and `frame` are those of `record`.

    The images are shared by as many devices as can do so evenly.
    """
    network, *arrays = _shared(model, images, frame)
    return record(network, *arrays, rule=rule_of(model.config.contribution.rule))


def record_and_detect(
    model: Model, images: Float[np.ndarray, "batch height width *channels"], shape: tuple[int, int]
) -> tuple[Record, Float[Array, "batch height width"]]:
    """Returns the record of a batch of images, and their likelihood maps, by as many views as the settings say.

    `images` and `shape` are those of `record_and_likelihood`; devices share the images as in `record_images`.
    """
    (network, *arrays), config = _shared(model, images, shape), model.config
    rule, views = rule_of(config.contribution.rule), config.detect.views
    return record_and_likelihood(network, *arrays, rule=rule, views=views)


def _shared(
    model: Model, images: Float[np.ndarray, "batch height width *channels"], shape: tuple[int, int]
) -> tuple[UNet, Variables, Any, Any]:  # arrays; the type checker takes them for what they were before
    """Returns the network with its ReLUs, and its variables, the images and a shape, shared by the devices."""
    mesh = local_mesh(len(images))
    variables, sides = copy((model.variables, np.array(shape)), mesh)
    seen = split(np.asarray(images, np.float32), mesh)
    return model.network.clone(activation=jax.nn.relu), variables, seen, sides


# Maps of all cells of an image


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
        UserError: if a side of the image is not a multiple of the network's stride, or a peak is not in the image.
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
    return winner_of_layers(np.asarray(winner)[:, *place_of_image(cells.shape, plan.span)], cells.shape)


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


# A winner map by one program: through windows, on one device


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


# Chunk after chunk, by any method


_in_reach_compiled = jax.jit(in_reach, static_argnames=("span", "reach"))
_no_winner_compiled = jax.jit(no_winner, static_argnums=(0, 1))
_merged_compiled = jax.jit(merged, static_argnames=("span", "reach"), donate_argnames="winner")


class _Plan(NamedTuple):
    """How cells go back, chunk after chunk; `on` devices there is a function of a chunk's ids and peaks."""

    chunk: int  # how many cells to take at a time
    on: Callable[[Mesh], Callable[..., Float[Array, "chunk _ _"]]]
    span: Span | None  # of the windows; None where maps are of the whole image


def _plan(model: Model, cells: Cells, recorded: Record | None, linear: Linear | None) -> _Plan:
    """Returns how the cells go back by the `contribution.method` of the settings."""
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


# How chunks go back through windows of a record


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
        return lambda ids, peaks: windows_back(there, image, ids, peaks, spans=spans, back=compiled_back())

    return _Plan(shared_by_all(chunk_of(model, spans)), on, spans.encoder[0].input)


def windows_of_cells(network: UNet, cells: Cells) -> Windows:
    """Returns the windows in which the method "window" propagates cells."""
    half = cells.half
    if half is None:
        pixels = np.argwhere(cells.regions)
        owners = cells.peaks[cells.regions[tuple(pixels.T)] - 1]
        half = half_of(np.abs(pixels - owners).max(initial=0))
    return windows(len(network.encoder), half=half, reach=None if cells.reach is None else int(cells.reach))


# How chunks go back through the whole image


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
    chunk = settings.chunk or affordable(4 * units, settings.memory)
    # A cell that only fills up costs as much as another here, so that small numbers have programs of their own.
    return _Plan(1 if loop else shared_by_all(min(chunk, 1 << (count - 1).bit_length())), on, None)
