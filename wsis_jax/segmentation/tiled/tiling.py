"""Segmentation of images that do not fit into memory: tile after tile, equal to that of the whole image.

Each step of `pipeline.segment` is done for all tiles before the next begins. Between steps, 20 bytes for each
pixel of the network are in files (`steps.scratch_array`): the image, the winner map, and the fused cuts. In memory
are one tile with its halo (`halos.Halos`), the peaks, and the statistics of the whole image (`ImageStats`).

The tiles of a step do not depend on each other, so that other processes may do them (`cluster.Workers`).
"""

import dataclasses
from collections.abc import Callable, Iterable
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64, Real

from wsis_jax.core import (
    Config,
    ParallelMap,
    Plane,
    Progress,
    Resizing,
    UserError,
    Window,
    check_channels,
    corner_of,
    grey,
    grid_windows,
    part_before_resizing,
    resize_part,
    serial_map,
    stretch,
    warn_about_image,
)
from wsis_jax.cutting import NEEDS_APPEARANCE, ImageStats, check_cut, chosen_settings
from wsis_jax.network import Model, check_inputs
from wsis_jax.output import TiledCells, mean_margins
from wsis_jax.segmentation.clicks import marks_of, no_cell_there, place_clicks
from wsis_jax.segmentation.kept_cells import numbers_of, warn_of_size, without_specks
from wsis_jax.segmentation.pipeline import learned_diameter, seen_shape
from wsis_jax.segmentation.tiled.halos import halos_of, view_sides
from wsis_jax.segmentation.tiled.order_statistics import Counts, as_grey, at_ranks, high_bits
from wsis_jax.segmentation.tiled.steps import (
    BlockLabels,
    TiledImage,
    WinnerMapFiles,
    cut,
    detect_in_tiles,
    labels_of,
    likelihood_at,
    observe,
    propagate_in_tiles,
    scratch_array,
    scratch_bytes,
    scratch_folder,
    write_chunk,
)
from wsis_jax.segmentation.tiled.value_ranges import value_ranges

# Counts, least and greatest values of a part.
_Summary = tuple[Counts, Float32[np.ndarray, "1 1 *channels"], Float32[np.ndarray, "1 1 *channels"]]


class TileOptions(NamedTuple):
    """How the tiles of an image are segmented.

    Attributes:
        parallel_map: calls the function of a step with tile after tile; `cluster.Workers.map` has the workers of a
            cluster do it. The image is then read there, and labels are still written here.
        scratch: folder for temporary files, which all workers must see; None for where TMPDIR says.
        on_tile: called with the number of parts done, of all steps, and the number of all parts.
        points: (row, column) of the cells to outline, as `segment` takes them; None: those that are detected.
    """

    parallel_map: ParallelMap = serial_map
    scratch: str | Path | None = None
    on_tile: Callable[[int, int], None] = lambda done, total: None
    points: Real[np.ndarray, "cells 2"] | None = None


DEFAULT_TILE_OPTIONS = TileOptions()


def segment_tiled(
    model: Model,
    image: Plane,
    out: Any,
    *,
    config: Config | None = None,
    tile: int = 1024,
    options: TileOptions = DEFAULT_TILE_OPTIONS,
) -> TiledCells:
    """Segments an image of any size tile by tile; the labels are those that `segment` gives for the whole.

    They are equal label for label, except for rounding: the network's numbers differ in the last bit between views
    of different sizes. Chains of fragments of cells are followed as far as `halos.Halos` says.

    Args:
        image: values of any range, (height, width) or (height, width, channels) as `segment` takes them, read by
            slices of rows and columns: a zarr array, a memory map, an array.
        out: array that labels are written to, and read from, by slices: i + 1 for the cell of point i, and 0 for
            the background; (height, width), of type int32 or uint32. Writes follow its chunks, if it has any.
        config: settings other than those of the model.
        tile: side of a tile in pixels of the network. The network is shown 300 to 400 pixels more, which takes
            a few hundred bytes of memory a pixel, by its width.
        options: how tiles are segmented, where temporary files are, and which cells to outline.

    Raises:
        UserError: if the image holds NaN or infinite values, image and `out` do not fit together, a setting needs
            the whole image at once, or temporary files, of each pixel of the network 20 bytes and 4 for every
            channel but the first, have no room; for points, as `segment` does.
        WriteError: if the disk of that folder is full in the meantime.
    """
    config = config or model.config
    _check(model, image, out, config, tile)
    whole = image.shape[0], image.shape[1]
    clicks = None if options.points is None else place_clicks(options.points, whole, config=config)
    shape, scratch = seen_shape(whole, config), None if options.scratch is None else Path(options.scratch)
    blocks, parts = _blocks(out, whole, tile / config.network_scale), grid_windows(shape, (tile, tile))
    rounds = 8 if config.cut.data in NEEDS_APPEARANCE else 6
    steps = Progress(rounds * len(parts) + 3 * len(blocks), options.on_tile)
    parallel_map = steps.counting(options.parallel_map)
    seen = (*shape, *image.shape[2:])
    with scratch_folder(scratch, room=scratch_bytes(seen, tile)) as folder:
        small = scratch_array(folder / "image", seen, np.float32, tile)
        ranges = value_ranges(image, config.image, blocks, parallel_map, options.parallel_map)
        median = _shrink(image, small, ranges, parts, parallel_map)
        halos = halos_of(model.network, config)
        halo = max(halos.field + config.detect.min_distance, halos.record)
        tiled = TiledImage(config, small, view_sides(shape, tile, halo, model.network.stride), halos)
        peaks, scores = np.empty((0, 2), np.int64), np.empty(0, np.float32)
        if median is None:
            if clicks is not None and len(clicks.peaks):
                raise no_cell_there()
            warn_about_image("the image is constant, so it holds no cells")
        elif clicks is None:
            peaks, scores = detect_in_tiles(model, tiled, parts, parallel_map)
        else:
            tiled, peaks = tiled._replace(marks=marks_of(clicks.points, np.divide(whole, shape))), clicks.peaks
            scores = likelihood_at(model, tiled, peaks, parts, parallel_map)
        fused, winner = scratch_array(folder / "fused", shape, np.int32, tile), None
        if median is not None and len(peaks):
            winner = WinnerMapFiles.create(folder, shape, tile)
            seen = observe(tiled, peaks, parts, parallel_map)
            chosen = dataclasses.replace(config, cut=chosen_settings(config.cut, seen.appearance))
            tiled = tiled._replace(config=chosen)
            greatest = propagate_in_tiles(model, tiled, peaks, winner, parts, parallel_map)
            stats = ImageStats(median, *seen, greatest, peaks)
            for _ in parallel_map(cut, parts, tiled=tiled, peaks=peaks, winner=winner, stats=stats, fused=fused):
                pass
        labels = parallel_map(labels_of, blocks, tiled=tiled, peaks=peaks, fused=fused, winner=winner, whole=whole)
        confidence, areas = _write_labels(out, blocks, labels, len(peaks))
    kept = without_specks(areas, config)
    if (learned := learned_diameter(model, config)) is not None:
        warn_of_size(areas[kept], learned)
    if clicks is not None:
        kept = np.arange(len(areas))
    if len(kept) < len(areas):
        _renumber(out, blocks, numbers_of(kept, len(areas)))
    steps.finish()
    points = clicks.points if clicks is not None else (peaks + 0.5) * np.divide(whole, shape) - 0.5
    return TiledCells(points[kept], scores[kept], confidence[kept], dropped=len(areas) - len(kept))


def _write_labels(
    out: Any, blocks: list[Window], labels: Iterable[BlockLabels], count: int
) -> tuple[Float64[np.ndarray, " cells"], Int64[np.ndarray, " cells"]]:
    """Writes the labels of all blocks, and returns how sure each of so many cells is, and its area."""
    sums, pixels, areas = np.zeros(count), np.zeros(count, np.int64), np.zeros(count, np.int64)
    for block, here in zip(blocks, labels, strict=True):
        out[block] = here.labels.astype(out.dtype)
        sums[here.cells] += here.sums
        pixels[here.cells] += here.pixels
        areas[here.cells] += here.areas
    return mean_margins(sums, pixels), areas


def _renumber(out: Any, blocks: list[Window], numbers: Int32[np.ndarray, " labels"]) -> None:
    """Replaces labels that are written already by their numbers in a table: a cell is whole only when all are."""
    for block in blocks:
        out[block] = numbers[np.asarray(out[block])].astype(out.dtype)


def _check(model: Model, image: Plane, out: Any, config: Config, tile: int) -> None:
    """Raises UserError for what cannot be segmented in tiles."""
    check_inputs(model.network, config)
    check_channels(image.shape, config.image.channels)
    if tuple(out.shape) != (sides := tuple(image.shape[:2])):
        raise UserError(f"the labels are to have shape {tuple(out.shape)}; give them the image's {sides}")
    if np.dtype(out.dtype) not in (np.int32, np.uint32):
        raise UserError(f"the labels are to be of type {out.dtype}; give them int32 or uint32")
    if tile < 1:
        raise UserError(f"tiles must have a side of at least 1 pixel, not {tile}")
    whole_only = {
        "cut.overlap=sequential": config.cut.overlap == "sequential",
        "detect.region=response": config.detect.region == "response",
        f"contribution.method={config.contribution.method}": config.contribution.method != "window",
        "unet.align_corners=true": model.network.align_corners,
    }
    for setting, holds in whole_only.items():
        if holds:
            raise UserError(f"{setting} needs the whole image at once; change the setting, or do without tiles")
    halos_of(model.network, config)
    check_cut(config.cut)


def _blocks(out: Any, shape: tuple[int, int], side: float) -> list[Window]:
    """Returns windows over the image, of about a side, that end where chunks of `out` end."""
    chunks = getattr(out, "shards", None) or getattr(out, "chunks", None) or (1, 1)
    rows, columns = (max(round(side / chunk), 1) * chunk for chunk in chunks)
    return grid_windows(shape, (rows, columns))


# From the image to what the network sees


def _shrink(
    image: Plane, small: Plane, ranges: list[tuple[float, float]], parts: list[Window], parallel_map: ParallelMap
) -> np.float32 | None:
    """Writes the image, normalised and in pixels of the network; returns the median, or None if it is constant."""
    sizes = Resizing((image.shape[0], image.shape[1]), (small.shape[0], small.shape[1]))
    shrunk = parallel_map(_shrunk, parts, image=image, small=small, sizes=sizes, ranges=ranges)
    high, least, greatest = reduce(_joined, shrunk)
    if (least == greatest).all():
        return None
    total = int(high.sum())
    (values,) = at_ranks(small, parts, high, [(total - 1) // 2, total // 2], parallel_map, split=as_grey)
    return np.median(values)


def _shrunk(
    part: Window, *, image: Plane, small: Plane, sizes: Resizing, ranges: list[tuple[float, float]]
) -> _Summary:
    """Writes a part of the image as the network sees it, and returns what is to be known of it."""
    taken = part_before_resizing(sizes, part)
    values = np.asarray(image[taken], np.float32)
    if len(ranges) == 1:
        normalized = _stretched(values, *ranges[0])
    else:
        normalized = np.stack([_stretched(values[..., i], *one) for i, one in enumerate(ranges)], axis=-1)
    shrunk = resize_part(normalized, sizes, part, corner=corner_of(taken))
    write_chunk(small, part, shrunk)
    least, greatest = (extreme(shrunk, axis=(0, 1), keepdims=True) for extreme in (np.min, np.max))
    return high_bits(grey(shrunk))[None], least, greatest


def _joined(one: _Summary, other: _Summary) -> _Summary:
    """Returns what is to be known of two parts."""
    return one[0] + other[0], np.minimum(one[1], other[1]), np.maximum(one[2], other[2])


def _stretched(values: Float32[np.ndarray, "*shape"], bottom: float, top: float) -> Float32[np.ndarray, "*shape"]:
    """Returns values with `bottom` at 0 and `top` at 1; zeros where both are the same."""
    return stretch(values, bottom, top) if bottom < top else np.zeros_like(values)
