"""The steps of a segmentation in tiles: each takes all parts of the image, and returns numbers or writes files.

What a step does with a part is a function of its own, which any process may call with the part, the model and the
`TiledImage`. It writes to chunks of files that no other part writes to.
"""

import math
import os
import shutil
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, Float64, Int, Int64

from wsis_jax.core import (
    MIRRORS,
    Config,
    CutConfig,
    ParallelMap,
    Plane,
    Resizing,
    UserError,
    Window,
    WinnerMap,
    corner_of,
    explaining_write_errors,
    format_bytes,
    grey,
    grow,
    nearest_peak,
    part_resized_from,
    relative_to,
    resize_labels_part,
    serial_map,
    smooth_part,
    whole_window,
    window_shape,
)
from wsis_jax.cutting import (
    NEEDS_APPEARANCE,
    Appearance,
    Axis,
    BackgroundModel,
    CellExtent,
    ChannelMoments,
    ImageStats,
    MapHistograms,
    Rim,
    appearance_of,
    axis_of,
    background_features,
    channel_moments,
    chosen_settings,
    costs_of,
    cut_cells,
    fit_background,
    greatest_contributions,
    label_nearest,
    local_variance,
    map_histograms,
    reassign_fragments,
    rim_contrast,
    rim_of,
    with_channels,
)
from wsis_jax.network import Cells, Model, Record, forward, one_of, record_images, winner_map_in_chunks
from wsis_jax.output import margin_sums
from wsis_jax.points import peak_pixels, plateau_centres
from wsis_jax.segmentation.kept_cells import areas_of, numbers_of
from wsis_jax.segmentation.tiled.halos import Halos, View, view_of

_ELSEWHERE = "choose another disk for temporary files (TMPDIR; with --dask the folder of results)"
_THEN = f"do the same again, or {_ELSEWHERE}"

Peaks = Int64[np.ndarray, "cells 2"]


class WinnerMapFiles(NamedTuple):
    """The arrays of a winner map, in files."""

    value: Plane
    owner: Plane
    runner_up: Plane

    @classmethod
    def create(cls, folder: Path, shape: tuple[int, int], side: int) -> "WinnerMapFiles":
        """Returns a new winner map without cells; arguments are those of `scratch_array`."""
        dtypes = {"value": np.float32, "owner": np.int32, "runner_up": np.float32}
        return cls(**{name: scratch_array(folder / name, shape, dtype, side) for name, dtype in dtypes.items()})

    def of(self, window: Window) -> WinnerMap:
        """Returns the winner map of a part."""
        return WinnerMap(*(layer[window] for layer in self))


class BlockLabels(NamedTuple):
    """The labels of a block of the image, and the sums of margins that the confidence of its cells is made of.

    Attributes:
        labels: 0 for background, i + 1 for the cell of peak i.
        cells: indices of the peaks that there are sums of.
        sums, pixels: of each cell, see `cell_table.margin_sums`.
        areas: pixels of each cell in the block.
    """

    labels: Int[np.ndarray, "rows columns"]
    cells: Int[np.ndarray, " here"]
    sums: Float64[np.ndarray, " here"]
    pixels: Int[np.ndarray, " here"]
    areas: Int[np.ndarray, " here"]


class TiledImage(NamedTuple):
    """An image in tiles, and what all steps need beside the model.

    Attributes:
        config: the settings.
        image: normalised, in pixels of the network, in a file; several channels are on a third axis.
        sides: (height, width) of what the network is shown at a time.
        halos: margins around a part.
        marks: places that labels are to hold where cells were clicked (`clicks.marks_of`); None for the peaks.
    """

    config: Config
    image: Plane
    sides: tuple[int, int]
    halos: Halos
    marks: Float64[np.ndarray, "cells 2"] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in pixels of the network."""
        return self.image.shape[0], self.image.shape[1]

    def view(self, model: Model, part: Window, halo: int, flip: tuple[int, int] = (1, 1)) -> View:
        """Returns the view that the network is shown for a part."""
        stride = model.network.stride
        return view_of(part, self.shape, sides=self.sides, halo=halo, stride=stride, flip=flip)

    def record(self, model: Model, seen: Float32[np.ndarray, "height width *channels"]) -> Record:
        """Returns the record of a view."""
        return record_images(model.using(self.config), seen[None], self.sides)


def detect_in_tiles(
    model: Model, tiled: TiledImage, parts: Sequence[Window], parallel_map: ParallelMap
) -> tuple[Peaks, Float32[np.ndarray, " cells"]]:
    """Returns the peaks, as `find_peaks` orders them, and the likelihood there."""
    border = tiled.config.detect.exclude_border
    found = parallel_map(_peak_pixels, parts, model=model, tiled=tiled)
    at, scores = map(np.concatenate, zip(*found, strict=True))
    kept = ((at >= border) & (at < np.array(tiled.shape) - border)).all(1)
    at, scores = at[kept], scores[kept]
    order = np.lexsort(at.T[::-1])
    at, scores = at[order], scores[order]
    peaks = plateau_centres(at)
    numbers, wanted = (np.ravel_multi_index(tuple(places.T), tiled.shape) for places in (at, peaks))
    index = np.minimum(np.searchsorted(numbers, wanted), max(len(numbers) - 1, 0))
    # The centre of a bent plateau lies outside of it.
    bent = np.flatnonzero(numbers[index] != wanted)
    beside = [(slice(row, row + 1), slice(column, column + 1)) for row, column in peaks[bent].tolist()]
    scores = scores[index]
    scores[bent] = [value[0, 0] for value in serial_map(likelihood_of, beside, model=model, tiled=tiled)]
    return peaks, scores


def _peak_pixels(
    part: Window, *, model: Model, tiled: TiledImage
) -> tuple[Int64[np.ndarray, "pixels 2"], Float32[np.ndarray, " pixels"]]:
    """Returns the pixels of a part that are peaks or parts of one, and the likelihood there."""
    found = tiled.config.detect
    around = grow(part, found.min_distance, whole_window(tiled.shape))
    likelihood = likelihood_of(around, model=model, tiled=tiled)
    candidates = peak_pixels(
        likelihood, threshold=found.threshold, min_distance=found.min_distance, quantize=found.quantize
    )
    inner = relative_to(part, around)
    places = np.argwhere(candidates[inner])
    return places + np.array(corner_of(part)), likelihood[inner][tuple(places.T)]


def likelihood_of(part: Window, *, model: Model, tiled: TiledImage) -> Float32[np.ndarray, "rows columns"]:
    """Returns the likelihood map of a part, as `pipeline.detect` computes it."""
    view = tiled.view(model, part, tiled.halos.field)
    likelihood = view.shown(np.asarray(tiled.record(model, view.of(tiled.image)).likelihood)[0])
    if tiled.config.detect.views == 1:
        return likelihood
    variables = model.using(tiled.config).variables
    for flip in MIRRORS:
        view = tiled.view(model, part, tiled.halos.field, flip)
        seen = jnp.asarray(view.of(tiled.image)[None], jnp.float32)
        mirrored = np.asarray(forward(model.network, variables, seen, jnp.array(tiled.sides)))[0]
        likelihood = likelihood + view.shown(mirrored)
    return likelihood / 4


def likelihood_at(
    model: Model, tiled: TiledImage, peaks: Peaks, parts: Sequence[Window], parallel_map: ParallelMap
) -> Float32[np.ndarray, " cells"]:
    """Returns the likelihood at pixels that were clicked."""
    scores = np.zeros(len(peaks), np.float32)
    for here, values in parallel_map(_likelihood_at, parts, model=model, tiled=tiled, peaks=peaks):
        scores[here] = values
    return scores


def _likelihood_at(
    part: Window, *, model: Model, tiled: TiledImage, peaks: Peaks
) -> tuple[Int64[np.ndarray, " here"], Float32[np.ndarray, " here"]]:
    """Returns the indices of the peaks in a part, and the likelihood there."""
    here = _near(peaks, part, 0)
    if not len(here):
        return here, np.zeros(0, np.float32)
    likelihood = likelihood_of(part, model=model, tiled=tiled)
    return here, likelihood[tuple((peaks[here] - np.array(corner_of(part))).T)]


class Observed(NamedTuple):
    """What the costs of all parts take from the whole image; see `cutting.ImageStats`."""

    rim: Rim
    background: BackgroundModel | None
    appearance: Appearance | None


def observe(tiled: TiledImage, peaks: Peaks, parts: Sequence[Window], parallel_map: ParallelMap) -> Observed:
    """Returns which rims the cells have, and how cells and background look."""
    appearance = None
    if tiled.config.cut.data in NEEDS_APPEARANCE:
        axis = axis_of(
            reduce(ChannelMoments.join, parallel_map(_channel_moments, parts, tiled=tiled, peaks=peaks))
        )
        if axis is not None:
            histograms = parallel_map(_map_histograms, parts, tiled=tiled, peaks=peaks, axis=axis)
            appearance = appearance_of(axis, reduce(MapHistograms.join, histograms))
    settings = chosen_settings(tiled.config.cut, appearance)
    contrast, model = 0.0, None
    for more_contrast, more in parallel_map(_observe, parts, tiled=tiled, peaks=peaks, settings=settings):
        contrast += more_contrast
        model = more if model is None or more is None else model.join(more)
    return Observed(settings.rim if settings.rim != "auto" else rim_of(contrast), model, appearance)


def _channel_moments(part: Window, *, tiled: TiledImage, peaks: Peaks) -> ChannelMoments:
    """Returns how cells and ground look in a part."""
    distance = nearest_peak(peaks, window_shape(part), corner=corner_of(part))[1]
    return channel_moments(with_channels(tiled.image[part]), distance, sigma=tiled.config.network_sigma)


def _map_histograms(part: Window, *, tiled: TiledImage, peaks: Peaks, axis: Axis) -> MapHistograms:
    """Returns the sums over a part that say how cells and ground look."""
    distance = nearest_peak(peaks, window_shape(part), corner=corner_of(part))[1]
    sigma = tiled.config.network_sigma
    around = grow(part, CellExtent.of(tiled.config).margin, whole_window(tiled.shape))
    values, inner = axis.map(with_channels(tiled.image[around])), relative_to(part, around)
    variance = local_variance(values, sigma=sigma)
    return map_histograms(values[inner], variance[inner], distance, axis=axis, sigma=sigma)


def _observe(
    part: Window, *, tiled: TiledImage, peaks: Peaks, settings: CutConfig
) -> tuple[float, BackgroundModel | None]:
    """Returns by how much rims are brighter than they are dark in a part, and how background and bodies look."""
    extent = CellExtent.of(tiled.config)
    around = grow(part, extent.margin, whole_window(tiled.shape))
    image, corner = grey(tiled.image[around]), corner_of(around)
    contrast, model = 0.0, None
    if settings.edge == "rim" and settings.rim == "auto":
        contrast = rim_contrast(image, peaks[_near(peaks, part, 0)] - corner, extent)
    if settings.background_weight:
        distance = nearest_peak(peaks, window_shape(part), corner=corner_of(part))[1]
        model = fit_background(background_features(image, extent)[relative_to(part, around)], distance, extent)
    return contrast, model


def propagate_in_tiles(
    model: Model,
    tiled: TiledImage,
    peaks: Peaks,
    winner: WinnerMapFiles,
    parts: Sequence[Window],
    parallel_map: ParallelMap,
) -> Float32[np.ndarray, " owners"]:
    """Writes the winner map, and returns the greatest contribution of every owner."""
    greatest = np.zeros(len(peaks) + 1, np.float32)
    for owners, more in parallel_map(_contribute, parts, model=model, tiled=tiled, peaks=peaks, layers=winner):
        greatest[owners] = np.maximum(greatest[owners], more)
    if tiled.config.cut.seed_scale == "max":
        greatest[:] = greatest.max()
    return greatest


def _contribute(
    part: Window, *, model: Model, tiled: TiledImage, peaks: Peaks, layers: WinnerMapFiles
) -> tuple[Int64[np.ndarray, " here"], Float32[np.ndarray, " here"]]:
    """Writes the winner map of a part; returns its owners, and the greatest contribution of each."""
    cells = _near(peaks, part, tiled.halos.contributors)
    if not len(cells):
        return cells, np.zeros(0, np.float32)
    winner = _winner_map(model, tiled, peaks, cells, part)
    for layer, values in zip(layers, winner, strict=True):
        write_chunk(layer, part, values)
    owners = np.union1d(0, cells + 1)
    return owners, greatest_contributions(winner.value, winner.owner, owners=len(peaks) + 1)[owners]


def _winner_map(
    model: Model, tiled: TiledImage, peaks: Peaks, cells: Int64[np.ndarray, " near"], part: Window
) -> WinnerMap:
    """Returns the winner map of a part, from the cells that may contribute to it."""
    view = tiled.view(model, part, tiled.halos.record)
    corner = int(view.rows[0]), int(view.columns[0])
    discs = grow(part, tiled.halos.contributors + tiled.halos.half, whole_window(tiled.shape))
    index, distance = nearest_peak(peaks, window_shape(discs), corner=corner_of(discs))
    numbers = numbers_of(cells, len(peaks))
    regions = np.zeros(tiled.sides, np.int32)
    there = tuple(slice(s.start - c, s.stop - c) for s, c in zip(discs, corner, strict=True))
    regions[there] = np.where(distance <= tiled.config.region_radius, numbers[index + 1], 0)
    seen = view.of(tiled.image)
    near = Cells(seen, regions, peaks[cells] - corner, reach=tiled.config.cell_reach, half=tiled.halos.half)
    recorded = one_of(tiled.record(model, seen), jnp.array(0))
    winner = winner_map_in_chunks(model.using(tiled.config), near, recorded=recorded)
    value, owner, runner_up = (layer[view.part] for layer in winner)
    return WinnerMap(value, _named(cells + 1)[owner], runner_up)


def cut(
    part: Window, *, tiled: TiledImage, peaks: Peaks, winner: WinnerMapFiles, stats: ImageStats, fused: Plane
) -> None:
    """Writes the labels of the fused cuts in a part, with the fragments that are cut off from their peaks."""
    cells = _near(peaks, part, tiled.halos.masks)
    if not len(cells):
        return
    around = grow(part, tiled.halos.cuts, whole_window(tiled.shape))
    value, owner, _ = winner.of(around)
    # The cells to cut come first; of others there are seeds and claims.
    others = np.setdiff1d(owner[owner > 0], cells + 1)
    named = _named(np.concatenate([cells + 1, others]))
    numbers = numbers_of(named[1:] - 1, len(peaks))
    local = WinnerMap(value, numbers[owner], np.zeros_like(value))
    places = peaks[cells] - corner_of(around)
    beside = peaks[_near(peaks, around, int(CellExtent.of(tiled.config).end) + 1)] - corner_of(around)
    known = stats._replace(greatest=stats.greatest[named], peaks=beside)
    costs = costs_of(tiled.image[around], places, local, config=tiled.config, stats=known)
    labels = label_nearest(cut_cells(costs, places, config=tiled.config), places, value.shape)
    write_chunk(fused, part, named[labels[relative_to(part, around)]])


def labels_of(
    block: Window,
    *,
    tiled: TiledImage,
    peaks: Peaks,
    fused: Plane,
    winner: WinnerMapFiles | None,
    whole: tuple[int, int],
) -> BlockLabels:
    """Returns the labels of a block of the image in its own pixels; the image has (height, width) `whole`."""
    sizes = Resizing(tiled.shape, whole)
    blur = float(tiled.config.cut.smooth or 0) * tiled.config.network_sigma  # None where there are no cells
    rows, columns = (
        slice(side.start * seen // given, -(-side.stop * seen // given))
        for side, seen, given in zip(block, tiled.shape, whole, strict=True)
    )
    around = grow((rows, columns), tiled.halos.labels, whole_window(tiled.shape))
    corner = corner_of(around)
    labels = fused[around]
    named = np.unique(labels[labels > 0])
    labels = numbers_of(named - 1, len(peaks))[labels]
    cells = peaks[named - 1]
    labels = reassign_fragments(labels, cells - corner)
    marks = cells if tiled.marks is None else tiled.marks[named - 1]
    labels = smooth_part(labels, marks, sizes, block, blur=blur, corner=corner)
    return _block_labels(block, labels, _named(named), winner, Resizing(whole, tiled.shape))


def _block_labels(
    block: Window,
    labels: Int[np.ndarray, "rows columns"],
    named: Int[np.ndarray, " numbers"],
    winner: WinnerMapFiles | None,
    sizes: Resizing,
) -> BlockLabels:
    """Returns labels, given as numbers of the cells `named`, as those of all cells, with the sums of margins."""
    cells = named[1:] - 1
    if winner is None or not len(cells):
        return BlockLabels(named[labels], cells[:0], np.zeros(0), cells[:0], cells[:0])
    part = part_resized_from(sizes, block)
    seen = resize_labels_part(labels, sizes, part, corner=corner_of(block))
    value, owner, runner_up = winner.of(part)
    # Owners that have no label here become 0.
    numbers = np.searchsorted(named, owner).clip(max=len(named) - 1)
    local = WinnerMap(value, np.where(named[numbers] == owner, numbers, 0).astype(np.int32), runner_up)
    sums, pixels = margin_sums(seen, local, len(cells))
    return BlockLabels(named[labels], cells, sums, pixels, areas_of(labels, len(cells)))


# Cells


def _near(peaks: Peaks, part: Window, margin: int) -> Int64[np.ndarray, " near"]:
    """Returns the indices of the peaks within a margin of a part."""
    low, high = (np.array([getattr(side, name) for side in part]) for name in ("start", "stop"))
    return np.flatnonzero(((peaks >= low - margin) & (peaks < high + margin)).all(1))


def _named(labels: Int[np.ndarray, " some"]) -> Int[np.ndarray, " numbers"]:
    """Returns a table from the numbers of some cells, from 1, to their labels."""
    return np.concatenate([[0], labels]).astype(np.int32)


# Arrays in files, for what does not fit into memory


def scratch_array(path: Path, shape: tuple[int, ...], dtype: type, side: int) -> Plane:
    """Returns a new array of zeros in a folder, in chunks of `side` by `side` pixels, one file for each.

    Its shape is (height, width), or with channels (height, width, channels).

    Several processes, also of several machines, may write different chunks at the same time. No values stay in
    memory between two accesses.

    Raises:
        WriteError: if the disk has no room, or the folder cannot be made.
    """
    import zarr  # slow to import, and not needed for images in memory

    chunks = (min(side, shape[0]), min(side, shape[1]), *shape[2:])
    with explaining_write_errors(path, then=_THEN):
        return zarr.create_array(path, shape=shape, dtype=dtype, chunks=chunks, compressors=None, fill_value=0)


def write_chunk(array: Any, chunk: Window, values: np.ndarray) -> None:
    """Writes one whole chunk of an array of `scratch_array`.

    Raises:
        WriteError: if the disk has no room for it.
    """
    # Zarr writes a chunk under another name and renames it (LocalStore, from 3.1.3), so that no other process ever
    # reads half of one, and a chunk that is written twice, since a worker seemed to have died, is whole as well.
    with explaining_write_errors(Path(array.store.root), then=_THEN):
        array[chunk] = values


def scratch_bytes(shape: tuple[int, ...], side: int) -> int:
    """Returns the bytes that all scratch arrays take of an image of a shape, in whole chunks.

    They are 20 a pixel of the network: the image, three layers of the winner map, and the cuts; and 4 more for
    every channel of the image but the first.
    """
    height, width = (-(-length // min(side, length)) * min(side, length) for length in shape[:2])
    return (16 + 4 * math.prod(shape[2:])) * height * width


@contextmanager
def scratch_folder(beside: Path | None = None, *, room: int) -> Generator[Path, None, None]:
    """Context manager yielding a folder for arrays of `scratch_array`, which is deleted afterwards.

    Args:
        beside: the folder to make it in; None for where TMPDIR says.
        room: bytes that are needed at most.

    Raises:
        UserError: if the disk has no room for them.
    """
    if beside is not None:
        beside.mkdir(parents=True, exist_ok=True)
    # `remove_leftovers` deletes folders of such a name, where a process that was killed left one.
    name = {"prefix": ".wsis-", "suffix": f".{os.getpid()}.tmp"}
    with tempfile.TemporaryDirectory(**name, dir=beside) as folder:
        if (free := shutil.disk_usage(folder).free) < room:
            raise UserError(
                f"the image needs {format_bytes(room)} of temporary files, and there are {format_bytes(free)} "
                f"free; make room, {_ELSEWHERE}, or choose a smaller image.scale"
            )
        yield Path(folder)
