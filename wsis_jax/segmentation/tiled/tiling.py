"""Segmentation of images that do not fit into memory: tile after tile, equal to that of the whole image.

Each step of `pipeline.segment` is done for all tiles before the next begins. Between steps, 20 bytes for each
pixel of the network are in files (`steps.scratch_array`): the image, the winner map, and the fused cuts. In memory
are one tile with its halo (`halos.Halos`), the peaks, and the statistics of the whole image (`ImageStats`).

The tiles of a step do not depend on each other, so that other processes may do them (`cluster.Workers`).
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial, reduce
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64, Num, Real, UInt32

from wsis_jax.core import (
    SHARE,
    Config,
    ImageConfig,
    LeftOut,
    ParallelMap,
    Plane,
    Progress,
    Reach,
    Resizing,
    UserError,
    Window,
    check_channels,
    corner_of,
    grey,
    grid_windows,
    normalize_image,
    part_before_resizing,
    range_without_areas,
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

_Counts = Int64[np.ndarray, "*sets 65536"]  # of numbers, by the upper half of their bits; of several sets of them
_LowCounts = Int64[np.ndarray, "_ 65536"]  # of those with one of some upper halves, by the lower half
_Split = Callable[[np.ndarray], list[np.ndarray]]  # an array into sets of numbers that are ranked together
# Counts, least and greatest values of a part.
_Summary = tuple[_Counts, Float32[np.ndarray, "1 1 *channels"], Float32[np.ndarray, "1 1 *channels"]]


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
    (values,) = _at_ranks(small, parts, high, [(total - 1) // 2, total // 2], parallel_map, split=_as_grey)
    return np.median(values)


def value_ranges(
    image: Plane,
    settings: ImageConfig,
    blocks: list[Window],
    parallel_map: ParallelMap,
    uncounted: ParallelMap,
) -> list[tuple[float, float]]:
    """Returns the values that become 0 and 1, of each channel or of all alike, as `normalize_by` chooses them.

    They are equal where all values are. What not all images need, since it looks at areas at their border, is done
    by the `uncounted` map.
    """
    # For its errors.
    normalize_image(
        np.zeros((1, 1), np.float32), method=settings.normalization, low=settings.low, high=settings.high
    )
    split = _together if settings.channels == "colours" else _apart
    high = reduce(np.add, parallel_map(_bits_of, blocks, image=image, split=split))
    total = int(high[0].sum())
    few = int(SHARE * total)
    wanted = [0, few, total - 1 - few, total - 1, *_ranks_of_percentiles(settings, total, (0, 0))]
    found = _at_ranks(image, blocks, high, wanted, parallel_map, split=split)
    least, low_value, high_value, greatest = found[:, :4].T
    if settings.normalization == "max":
        return [
            (0.0 if one < other else float(one), float(other)) for one, other in zip(least, greatest, strict=True)
        ]
    areas = 0, 0
    if (least < greatest).any():
        a_pixel = total // (image.shape[0] * image.shape[1])
        outer = partial(_outer_area, image, blocks, parallel_map=uncounted)
        areas = (
            a_pixel * outer(least) if (least == low_value).all() else 0,
            a_pixel * outer(greatest) if (greatest == high_value).all() else 0,
        )

    @cache
    def without(left_out: LeftOut) -> Float32[np.ndarray, "sets 6"]:
        if not any(left_out):
            return found[:, 4:]
        ranks = _ranks_of_percentiles(settings, total, left_out)
        return _at_ranks(image, blocks, high, ranks, uncounted, split=split)

    def percentiles(left_out: LeftOut, *, which: int) -> tuple[float, float, float]:
        shares = [percentile_ranks(p, total - sum(left_out))[2] for p in _percentiles_of(settings)]
        pairs = without(left_out)[which].reshape(3, 2)
        bottom, middle, top = (between(one[0], one[1], share) for one, share in zip(pairs, shares, strict=True))
        return bottom, middle, top

    def above(value: float, *, which: int) -> tuple[int, int]:
        return _above(image, blocks, value, parallel_map=uncounted, channel=which)

    ranges = []
    for which in range(len(found)):
        extremes = float(least[which]), float(greatest[which])
        bottom, top = range_without_areas(
            areas,
            extremes,
            total,
            partial(percentiles, which=which),
            partial(above, which=which) if split is _apart else None,
        )
        ranges.append((bottom, top) if bottom < top else extremes)
    return ranges


def _ranks_of_percentiles(settings: ImageConfig, total: int, left_out: LeftOut) -> list[int]:
    """Returns the ranks, two each, that percentiles and median lie between where some extremes are left out."""
    found = [percentile_ranks(p, total - sum(left_out))[:2] for p in _percentiles_of(settings)]
    return [rank + left_out[0] for pair in found for rank in pair]


def _percentiles_of(settings: ImageConfig) -> tuple[float, float, float]:
    """Returns which percentiles are looked at, the median among them."""
    return settings.low, 50.0, settings.high


def _outer_area(
    image: Plane, blocks: list[Window], value: Float32[np.ndarray, " sets"], *, parallel_map: ParallelMap
) -> int:
    """Returns how many pixels see a side of the image through a value of each channel, or of all; see `Reach`."""
    reach = Reach.everywhere((image.shape[0], image.shape[1]))
    for block, part in zip(blocks, parallel_map(_reach, blocks, image=image, value=value), strict=True):
        reach.add(block, part)
    return reach.pixels()


def _reach(block: Window, *, image: Plane, value: Float32[np.ndarray, " sets"]) -> Reach:
    """Returns how far pixels all of whose channels have a value reach into a block from its sides."""
    others = np.asarray(image[block], np.float32) != value
    return Reach.of(others if others.ndim == 2 else others.any(axis=2))


def _above(
    image: Plane, blocks: list[Window], value: float, *, parallel_map: ParallelMap, channel: int
) -> tuple[int, int]:
    """Returns how many pixels of a channel are above a value, and how many of them see the border (`Reach`)."""
    reach, bright = Reach.everywhere((image.shape[0], image.shape[1])), 0
    found = parallel_map(_above_in, blocks, image=image, value=value, channel=channel)
    for block, (count, part) in zip(blocks, found, strict=True):
        reach.add(block, part)
        bright += count
    return bright, reach.pixels()


def _above_in(block: Window, *, image: Plane, value: float, channel: int) -> tuple[int, Reach]:
    """Returns how many pixels of a channel are above a value in a block, and how far they reach into it."""
    over = _apart(np.asarray(image[block], np.float32))[channel].astype(np.float64) > value
    return int(np.count_nonzero(over)), Reach.of(~over)


def _bits_of(block: Window, *, image: Plane, split: _Split) -> _Counts:
    """Returns the `high_bits` of the values in a block."""
    values = np.asarray(image[block], np.float32)
    if not np.isfinite(values).all():
        raise UserError("the image holds values that are not numbers (NaN or infinite); replace them first")
    return np.stack([high_bits(some) for some in split(values)])


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


def _at_ranks(
    array: Plane,
    parts: list[Window],
    high: _Counts,
    ranks: list[int],
    parallel_map: ParallelMap,
    *,
    split: _Split,
) -> Float32[np.ndarray, "sets ranks"]:
    """Returns the values of given ranks in each set that an array is split into, from the `high_bits` of all."""
    tops = [tops_of(one, ranks) for one in high]
    low = reduce(_added, parallel_map(_low_bits_of, parts, array=array, tops=tops, split=split))
    return np.stack([ordered_values(one, bits, ranks) for one, bits in zip(high, low, strict=True)])


def _low_bits_of(part: Window, *, array: Plane, tops: list[list[int]], split: _Split) -> list[_LowCounts]:
    """Returns the `low_bits` of each set of a part of an array."""
    sets = split(np.asarray(array[part], np.float32))
    return [low_bits(values, some) for values, some in zip(sets, tops, strict=True)]


def _added(one: list[_LowCounts], other: list[_LowCounts]) -> list[_LowCounts]:
    return [mine + theirs for mine, theirs in zip(one, other, strict=True)]


# What numbers are ranked together


def _apart(values: Float32[np.ndarray, "rows columns *channels"]) -> list[Float32[np.ndarray, "rows columns"]]:
    """Returns each channel by itself."""
    return [values] if values.ndim == 2 else list(np.moveaxis(values, -1, 0))


def _together(values: Float32[np.ndarray, "rows columns channels"]) -> list[Float32[np.ndarray, "_ _ _"]]:
    """Returns all channels as one set."""
    return [values]


def _as_grey(values: Float32[np.ndarray, "rows columns *channels"]) -> list[Float32[np.ndarray, "rows columns"]]:
    """Returns the mean of the channels, which the cut looks at."""
    return [grey(values)]


# Order statistics of an array that is read in parts: exact, in two passes whose counts add up


def high_bits(values: Num[np.ndarray, "..."]) -> _Counts:
    """Returns how many numbers have each upper half of their bits, in the order of the numbers: the first pass.

    Numbers are taken as float32 and must be finite.
    """
    return np.bincount(_ordered(values) >> 16, minlength=1 << 16)


def tops_of(high: _Counts, ranks: Sequence[int]) -> list[int]:
    """Returns the upper halves that numbers of given ranks have, sorted, from the counts of all numbers."""
    return np.unique(np.searchsorted(np.cumsum(high), ranks, side="right")).tolist()


def low_bits(values: Num[np.ndarray, "..."], tops: Sequence[int]) -> _LowCounts:
    """Returns how many numbers have each lower half, of those with each of some upper halves: the second pass."""
    bits = _ordered(values)
    upper = bits >> 16
    return np.stack([np.bincount(bits[upper == top] & 0xFFFF, minlength=1 << 16) for top in tops])


def ordered_values(high: _Counts, low: _LowCounts, ranks: Sequence[int]) -> Float32[np.ndarray, " ranks"]:
    """Returns the numbers of given ranks, exactly.

    Args:
        high: the sum of the `high_bits` of all parts.
        low: the sum of the `low_bits` of all parts, for the `tops_of` these ranks.
        ranks: 0 for the least number, up to one less than there are.
    """
    ends, tops, found = np.cumsum(high), tops_of(high, ranks), []
    for rank in ranks:
        top = int(np.searchsorted(ends, rank, side="right"))
        below = ends[top] - high[top]
        half = np.searchsorted(np.cumsum(low[tops.index(top)]), rank - below, side="right")
        found.append((top << 16) | int(half))
    return _number(np.array(found, np.uint32))


def percentile_ranks(percentile: float, total: int) -> tuple[int, int, float]:
    """Returns the ranks that a percentile of so many numbers lies between, and how far from the first, 0..1."""
    place = percentile / 100 * (total - 1)
    rank = min(int(place), total - 1)
    return rank, min(rank + 1, total - 1), place - rank


def between(low: np.floating, high: np.floating, share: float) -> float:
    """Returns what `np.percentile` makes of the numbers at both ranks."""
    return float(np.quantile(np.array([low, high], np.float64), share))


def _ordered(values: Num[np.ndarray, "..."]) -> UInt32[np.ndarray, " numbers"]:
    """Returns the bits of float32 numbers, changed so that they have the order of the numbers."""
    bits = (np.asarray(values, np.float32).ravel() + np.float32(0)).view(np.uint32)  # -0 becomes 0
    return np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))


def _number(ordered: UInt32[np.ndarray, " numbers"]) -> Float32[np.ndarray, " numbers"]:
    """Returns the numbers of changed bits."""
    return np.where(ordered >> 31, ordered & np.uint32(0x7FFFFFFF), ~ordered).astype(np.uint32).view(np.float32)
