"""Contribution maps: which pixels each detection came from (paper §3.2, Eq. 1-5)."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int

from wsis_jax.core import (
    ContributionConfig,
    UserError,
    WinnerMap,
    check_bytes,
    copy,
    fewer_cells,
    is_out_of_memory,
    local_mesh,
    shared_by_all,
    split,
)
from wsis_jax.network.full_pass import Linear, back_many, back_one, linearize
from wsis_jax.network.receptive_field import Windows, windows, working_bytes
from wsis_jax.network.record import Record, one_of, record, start_signal
from wsis_jax.network.unet import UNet, Variables, fold_batch_norm
from wsis_jax.network.windowed import backward_kernels, compiled_back, cut_views

_DEFAULT = ContributionConfig()
# Cells at a time beyond which nothing is gained: a CPU's caches are full, an accelerator is busy.
_LARGEST_CHUNK = {"cpu": 8, "accelerator": 64}


def contribution_maps(
    model: UNet,
    variables: Variables,
    image: Float[np.ndarray, "height width"],
    regions: Int[np.ndarray, "height width"],
    peaks: Int[np.ndarray, "cells 2"],
    *,
    reach: float | None = None,
    settings: ContributionConfig = _DEFAULT,
    recorded: Record | Linear | None = None,
) -> Float32[np.ndarray, "cells height width"]:
    """Returns the contribution map g⁰(u) of every cell, clamped to at least 0.

    The signal of Eq. 1 starts inside the cell's centre region and is propagated back to the image. The guided
    rule is positively homogeneous but not additive, so cells cannot share a pass. The method of `settings`
    changes the cost alone: "window" looks only at the units that matter to a cell, so that its cost does not
    grow with the image and falls with `reach`; "vmap" propagates chunks of cells through the whole image; "loop"
    one cell after the other.

    Args:
        model: the network, with any activation: the rule replaces it.
        variables: its variables.
        image: normalised, 0..1; sides multiples of `model.stride`.
        regions: i + 1 in the centre region of cell i, 0 elsewhere; a cell without one has a map of zeros.
        peaks: (row, column) of every cell, in the image. Regions should lie around them: the farther a region
            goes from its peak, the larger are the windows of all cells.
        reach: contributions farther than this from the cell's peak, in pixels, are left at 0; None: none are.
        settings: method, rule, start of the signal, and how much memory a chunk of cells may take.
        recorded: the forward pass of this image, if it is done: for "window" what `record` returned for the
            rule's network, whose sides may be larger than the image's; for the others what `linearize` did.

    Raises:
        UserError: if a side of the image is no multiple of `model.stride`, or a peak is not in the image.
        OutOfMemory: if a single cell does not fit into memory; fewer at a time are tried before, with a warning.
    """
    maps = np.zeros((len(peaks), *image.shape), np.float32)
    for cell, window, values in _propagate(model, variables, image, regions, peaks, reach, settings, recorded):
        maps[cell][window] = values
    return maps


def winner_map(
    model: UNet,
    variables: Variables,
    image: Float[np.ndarray, "height width"],
    regions: Int[np.ndarray, "height width"],
    peaks: Int[np.ndarray, "cells 2"],
    *,
    reach: float | None = None,
    settings: ContributionConfig = _DEFAULT,
    recorded: Record | Linear | None = None,
    half: int | None = None,
) -> WinnerMap:
    """Returns the winner map of the contribution maps without ever holding more than a chunk of them.

    Arguments and errors are those of `contribution_maps`. In parts of an image the cells are looked at in the
    windows of the whole if `half` is that of the whole: how far regions go from their peaks, see `half_of`.
    """
    value, runner_up = np.zeros((2, *image.shape), np.float32)
    owner = np.zeros(image.shape, np.int32)
    for cell, window, values in _propagate(
        model, variables, image, regions, peaks, reach, settings, recorded, half
    ):
        best = value[window]
        wins = values > best  # strictly: the first of equals keeps the pixel
        runner_up[window] = np.where(wins, best, np.maximum(runner_up[window], values))
        value[window] = np.where(wins, values, best)
        owner[window][wins] = cell + 1
    return WinnerMap(value, owner, runner_up)


def record_images(
    model: UNet,
    variables: Variables,
    images: Float[np.ndarray, "batch height width"],
    frame: tuple[int, int],
    *,
    rule: str,
) -> Record:
    """Returns the record that a rule needs of a batch of images; arguments are those of `record`.

    The images are shared by as many devices as can do so evenly.
    """
    network, mesh = model.clone(activation=jax.nn.relu), local_mesh(len(images))
    variables, frames = copy((variables, np.array(frame)), mesh)
    seen = split(np.asarray(images, np.float32), mesh)
    return record(network, variables, seen, frames, blind=rule == "deconvnet")


class _Chunk(NamedTuple):
    """The maps of the cells from `first` on; each has its corner `offset` from its peak, or (None) the image's."""

    first: int
    maps: Float[Array, "cells side side"]
    offset: int | None


_Plan = tuple[int, Callable[[int, int], Iterator[_Chunk]]]
"""How many cells to take at a time, and what yields the chunks of so many from a cell on."""


def _propagate(
    model, variables, image, regions, peaks, reach, settings, recorded, half=None
) -> Iterator[tuple[int, tuple[slice, slice], np.ndarray]]:
    """Yields every cell's index, the part of the image that its map is of, and the map there."""
    if image.shape[0] % model.stride or image.shape[1] % model.stride:
        raise UserError(
            f"image sides {image.shape[0]} × {image.shape[1]} are no multiples of {model.stride}; "
            "pad them with pad_to_stride"
        )
    if ((peaks < 0) | (peaks >= image.shape)).any():
        raise UserError(f"there are peaks outside the image of {image.shape[0]} × {image.shape[1]} pixels")
    if not len(peaks):
        return
    plan = _by_windows if settings.method == "window" else _by_images
    chunk, chunks_from = plan(model, variables, image, regions, peaks, reach, settings, recorded, half)
    done = 0
    while done < len(peaks):
        try:
            for cell, window, values in _one_behind(chunks_from(done, chunk), peaks, image.shape, reach):
                yield cell, window, values
                done = cell + 1
        except (MemoryError, jax.errors.JaxRuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            chunk = fewer_cells(chunk, error)


def _one_behind(
    chunks: Iterator[_Chunk], peaks, shape, reach
) -> Iterator[tuple[int, tuple[slice, slice], np.ndarray]]:
    """Yields the cells of all chunks; one is under way on the device while the one before is taken from there."""
    before = next(chunks)
    for chunk in chunks:
        yield from _taken(before, peaks, shape, reach)
        before = chunk
    yield from _taken(before, peaks, shape, reach)


def _taken(chunk: _Chunk, peaks, shape, reach) -> Iterator[tuple[int, tuple[slice, slice], np.ndarray]]:
    """Yields the cells of a chunk, cropped to the image and the reach."""
    maps = np.asarray(chunk.maps)
    for cell, values in enumerate(maps[: len(peaks) - chunk.first], chunk.first):
        corner = np.zeros(2, int) if chunk.offset is None else peaks[cell] + chunk.offset
        low, high = np.maximum(corner, 0), np.minimum(corner + values.shape, shape)
        if reach is not None:
            low, high = np.maximum(low, peaks[cell] - int(reach)), np.minimum(high, peaks[cell] + int(reach) + 1)
        window = slice(low[0], high[0]), slice(low[1], high[1])
        values = values[tuple(slice(a, b) for a, b in zip(low - corner, high - corner, strict=True))]
        if reach is not None:
            rows, columns = np.ogrid[window]
            values = np.where(np.hypot(rows - peaks[cell][0], columns - peaks[cell][1]) <= reach, values, 0)
        yield cell, window, values


# Through windows of a record


def _by_windows(model, variables, image, regions, peaks, reach, settings, recorded, half) -> _Plan:
    model, variables = fold_batch_norm(model, variables)
    if not isinstance(recorded, Record):
        records = record_images(model, variables, image[None], image.shape, rule=settings.rule)
        recorded = one_of(records, jnp.array(0))
    spans = windows_of_cells(model, regions, peaks, reach=reach, half=half)
    beyond = [(0, n - m) for n, m in zip(recorded.likelihood.shape, image.shape, strict=True)]
    # Where the cells do not fit into memory, fewer may lie on fewer devices.
    padded = np.pad(regions, beyond).astype(np.int32)
    arrays = recorded, _backward_kernels(variables), np.array(image.shape), padded

    def chunks_from(start: int, chunk: int) -> Iterator[_Chunk]:
        mesh = local_mesh(chunk)
        seen, kernels, frame, placed = copy(arrays, mesh)
        signal = start_signal(seen.likelihood, start=settings.start, start_at=settings.start_at)
        for first, ids in _chunks(start, len(peaks), chunk):
            mine, places = split((ids, peaks[np.minimum(ids, len(peaks)) - 1].astype(np.int32)), mesh)
            views = cut_views(seen, signal, placed, mine, places, spans=spans)
            clip = settings.rule != "gradient"
            maps = compiled_back()(model, kernels, views, places, frame, spans=spans, clip=clip)
            yield _Chunk(first, maps, spans.encoder[0].input.low)

    cost = working_bytes(spans, model.encoder, model.decoder)
    check_bytes("cut.reach and detect.radius", cost, remedy="choose smaller ones, or a smaller likelihood.sigma")
    return shared_by_all(settings.chunk or _affordable(cost, settings.memory)), chunks_from


_backward_kernels = jax.jit(backward_kernels)


def windows_of_cells(
    model: UNet,
    regions: Int[np.ndarray, "height width"],
    peaks: Int[np.ndarray, "cells 2"],
    *,
    reach: float | None,
    half: int | None = None,
) -> Windows:
    """Returns the windows in which "window" propagates cells; arguments are those of `winner_map`."""
    if half is None:
        pixels = np.argwhere(regions)
        owners = peaks[regions[tuple(pixels.T)] - 1]
        half = half_of(np.abs(pixels - owners).max(initial=0))
    return windows(len(model.encoder), half=half, reach=None if reach is None else int(reach))


def half_of(farthest: float | np.integer) -> int:
    """Returns how far regions go from their peaks, per axis, rounded up so that few different values occur."""
    return -(-int(farthest) // 6) * 6


def _affordable(cost: int, memory: float) -> int:
    """Returns how many cells of a cost in bytes to take at a time, with the memory in GiB; a power of two."""
    largest = _LARGEST_CHUNK["cpu" if jax.default_backend() == "cpu" else "accelerator"]
    return min(1 << max(int(memory * 2**30 / cost).bit_length() - 1, 0), largest)


def _chunks(start: int, cells: int, chunk: int) -> Iterator[tuple[int, Int[np.ndarray, " chunk"]]]:
    """Yields the first cell and the 1-based ids of every chunk from the cell `start` on.

    Ids beyond the last cell fill up the last chunk, so that one program serves any number of cells.
    """
    for first in range(start, cells, chunk):
        yield first, np.arange(first + 1, first + chunk + 1, dtype=np.int32)


# Through the whole image


def _by_images(model, variables, image, regions, peaks, reach, settings, recorded, half) -> _Plan:
    if not isinstance(recorded, Linear):
        recorded = linearize(model, variables, image, settings=settings)
    if settings.method == "loop":
        (pullback, signal), placed = recorded, jnp.asarray(regions, jnp.int32)

        def one_by_one(start: int, chunk: int) -> Iterator[_Chunk]:
            for cell in range(start, len(peaks)):
                yield _Chunk(cell, back_one(pullback, signal, placed, cell + 1), None)

        return 1, one_by_one

    def chunks_from(start: int, chunk: int) -> Iterator[_Chunk]:
        mesh = local_mesh(chunk)
        (pullback, signal), placed = copy((recorded, regions.astype(np.int32)), mesh)
        for first, ids in _chunks(start, len(peaks), chunk):
            yield _Chunk(first, back_many(pullback, signal, placed, split(ids, mesh)), None)

    units = sum(4 * n >> 2 * level for level, n in enumerate(model.encoder)) * image.size
    chunk = settings.chunk or _affordable(4 * units, settings.memory)
    # A cell that only fills up costs as much as another here, so that small numbers have programs of their own.
    return shared_by_all(min(chunk, 1 << (len(peaks) - 1).bit_length())), chunks_from
