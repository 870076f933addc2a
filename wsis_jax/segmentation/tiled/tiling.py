"""Segmentation of images that do not fit into memory: tile after tile, equal to that of the whole image.

Each step of `pipeline.segment` is done for all tiles before the next begins. What it leaves behind is in files
until then (`streaming.Scratch`): the image in pixels of the network, the winner map, and the cuts fused, 20 bytes
a pixel of the network. In memory are one tile with its halo (`halos.Halos`), the peaks, and a few numbers that
tell of the whole image: range and median of its grey values, whether rims are bright, how the ground looks.

The tiles of a step do not know of each other, so that other processes may do them (`cluster.Workers`).
"""

from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int64

from wsis_jax.core import (
    Config,
    ImageConfig,
    ParallelMap,
    Plane,
    Progress,
    Resizing,
    Window,
    corner_of,
    grid_windows,
    normalize_image,
    part_before_resizing,
    resize_part,
    serial_map,
    stretch,
    warn_about_image,
)
from wsis_jax.core.errors import UserError
from wsis_jax.cutting import ImageStats
from wsis_jax.network import Model
from wsis_jax.output import mean_margins
from wsis_jax.segmentation.pipeline import seen_shape
from wsis_jax.segmentation.tiled.halos import halos_of, view_sides
from wsis_jax.segmentation.tiled.scratch import Scratch, scratch_folder
from wsis_jax.segmentation.tiled.statistics import (
    between,
    high_bits,
    low_bits,
    ordered_values,
    percentile_ranks,
    tops_of,
)
from wsis_jax.segmentation.tiled.steps import Job, cut, detect_in_tiles, labels_of, observe, propagate_in_tiles

_SCRATCH = 20  # bytes a pixel of the network: image, three layers of the winner map, cuts


class Tiled(NamedTuple):
    """What was found in an image in tiles, beside its labels.

    Attributes:
        points: (row, column) of the cells in pixels of the image.
        scores: the likelihood there, 0..1.
        confidence: how sure each cell is, see `cell_table.contribution_margins`.
    """

    points: Float64[np.ndarray, "cells 2"]
    scores: Float32[np.ndarray, " cells"]
    confidence: Float64[np.ndarray, " cells"]


def segment_tiled(
    model: Model,
    image: Plane,
    out: Any,
    *,
    config: Config | None = None,
    tile: int = 1024,
    over: ParallelMap = serial_map,
    scratch: str | Path | None = None,
    on_tile: Callable[[int, int], None] = lambda done, total: None,
) -> Tiled:
    """Segments an image of any size tile by tile; the labels are those that `segment` gives for the whole.

    They are equal label for label, but for what rounding may do: the network's numbers differ in the last bit
    between windows of different sides. Chains of parts of cells that were cut off from their peaks are followed
    as far as `halos.Halos` says.

    Args:
        model: a trained model.
        image: grey values of any range, (height, width), read by slices: a zarr array, a memory map, an array.
        out: what label i + 1 for the cell of point i, and 0 for the background, are written to by slices; of the
            image's shape, of type int32 or uint32. Writes follow its chunks, if it has any.
        config: settings other than those of the model.
        tile: side of a tile in pixels of the network. The network is shown 300 to 400 pixels more, which takes
            a few hundred bytes of memory a pixel, by its width.
        over: what calls the functions of a step with tile after tile; `clusters.Workers.over` has the workers of a
            cluster do it. `image` is then read there, `out` still written to here.
        scratch: folder for temporary files; None for where TMPDIR says. Workers must see it.
        on_tile: called with the number of parts done, of all steps, and of parts in all.

    Raises:
        UserError: if the image holds NaN or infinite values, image and `out` do not fit together, or a setting
            needs the whole image at once; names it. Also if there is no room for 20 bytes a pixel of the network
            in the folder of temporary files.
        WriteError: if that is full in the meantime.
    """
    config = config or model.config
    _check(model, image, out, config, tile)
    shape, whole = seen_shape((image.shape[0], image.shape[1]), config), (image.shape[0], image.shape[1])
    with scratch_folder(None if scratch is None else Path(scratch), room=_SCRATCH * shape[0] * shape[1]) as folder:
        blocks, parts = _blocks(out, whole, tile / config.network_scale), grid_windows(shape, (tile, tile))
        steps = Progress(6 * len(parts) + 3 * len(blocks), on_tile)
        over = steps.counting(over)
        small = Scratch(folder / "image", shape, np.float32, tile)
        median = _shrink(image, small, config, blocks, parts, over)
        halos = halos_of(model.network, config)
        sides = view_sides(
            shape, tile, max(halos.field + config.detect.min_distance, halos.record), model.network.stride
        )
        job = Job(config, small, sides, halos)
        peaks, scores = np.empty((0, 2), np.int64), np.empty(0, np.float32)
        if median is None:
            warn_about_image("the image is constant, so it holds no cells")
        else:
            peaks, scores = detect_in_tiles(model, job, parts, over)
        fused, winner = small.beside(folder / "fused", np.int32), None
        if median is not None and len(peaks):
            rim, look = observe(job, peaks, parts, over)
            winner, greatest = propagate_in_tiles(model, job, peaks, folder, parts, over)
            known = ImageStats(median, rim, look, greatest)
            for _ in over(cut, parts, job=job, peaks=peaks, winner=winner, whole=known, fused=fused):
                pass
        sums, pixels = np.zeros(len(peaks)), np.zeros(len(peaks), np.int64)
        labels = over(labels_of, blocks, job=job, peaks=peaks, fused=fused, winner=winner, whole=whole)
        for block, here in zip(blocks, labels, strict=True):
            out[block] = here.labels.astype(out.dtype)
            sums[here.cells] += here.sums
            pixels[here.cells] += here.pixels
    steps.finish()
    ratio = np.array(whole) / np.array(shape)
    return Tiled((peaks + 0.5) * ratio - 0.5, scores, mean_margins(sums, pixels))


def _check(model: Model, image: Plane, out: Any, config: Config, tile: int) -> None:
    """Raises UserError for what cannot be segmented in tiles."""
    if len(image.shape) != 2 or min(image.shape) < 1:
        raise UserError(f"the image is of shape {tuple(image.shape)}; give one of rows and columns")
    if tuple(out.shape) != tuple(image.shape):
        raise UserError(f"the labels are to have shape {tuple(out.shape)}; give them the image's {image.shape}")
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


def _blocks(out: Any, shape: tuple[int, int], side: float) -> list[Window]:
    """Returns windows over the image, of about a side, that end where chunks of `out` end."""
    chunks = getattr(out, "shards", None) or getattr(out, "chunks", None) or (1, 1)
    rows, columns = (max(round(side / chunk), 1) * chunk for chunk in chunks)
    return grid_windows(shape, (rows, columns))


# From the image to what the network sees


def _shrink(
    image: Plane, small: Scratch, config: Config, blocks: list[Window], parts: list[Window], over: ParallelMap
) -> np.float32 | None:
    """Writes the image, normalised and in pixels of the network; returns the median, or None if it is constant."""
    grey = _grey_range(image, config.image, blocks, over)
    high = reduce(np.add, over(_shrunk_bits, parts, image=image, small=small, grey=grey))
    total = int(high.sum())
    values = _at_ranks(small, parts, high, [0, (total - 1) // 2, total // 2, total - 1], over)
    return None if values[0] == values[-1] else np.median(values[1:3])


def _grey_range(
    image: Plane, settings: ImageConfig, blocks: list[Window], over: ParallelMap
) -> tuple[float, float]:
    """Returns the grey values that become 0 and 1, as `normalize_image` chooses them; equal if all are."""
    # For its errors.
    normalize_image(
        np.zeros((1, 1), np.float32), method=settings.normalization, low=settings.low, high=settings.high
    )
    high = reduce(np.add, over(_grey_bits, blocks, image=image))
    total = int(high.sum())
    places = [percentile_ranks(p, total) for p in (settings.low, settings.high)]
    ranks = [0, total - 1, *(rank for low, above, _ in places for rank in (low, above))]
    least, greatest, *found = _at_ranks(image, blocks, high, ranks, over)
    if least == greatest:
        return float(least), float(greatest)
    if settings.normalization == "max":
        return 0.0, float(greatest)
    bottom, top = (between(found[2 * i], found[2 * i + 1], share) for i, (_, _, share) in enumerate(places))
    return (bottom, top) if bottom < top else (float(least), float(greatest))


def _grey_bits(block: Window, *, image: Plane) -> Int64[np.ndarray, "65536"]:
    """Returns the `high_bits` of the grey values in a block."""
    values = np.asarray(image[block], np.float32)
    if not np.isfinite(values).all():
        raise UserError("the image holds values that are no numbers (NaN or infinite); replace them first")
    return high_bits(values)


def _shrunk_bits(
    part: Window, *, image: Plane, small: Scratch, grey: tuple[float, float]
) -> Int64[np.ndarray, "65536"]:
    """Writes a part of the image as the network sees it, and returns its `high_bits`."""
    whole, (bottom, top) = (image.shape[0], image.shape[1]), grey
    sizes = Resizing(whole, small.shape)
    taken = part_before_resizing(sizes, part)
    values = np.asarray(image[taken], np.float32)
    normalized = stretch(values, bottom, top) if bottom < top else np.zeros_like(values)
    small[part] = shrunk = resize_part(normalized, sizes, part, corner=corner_of(taken))
    return high_bits(shrunk)


def _at_ranks(
    array: Plane | Scratch,
    parts: list[Window],
    high: Int64[np.ndarray, "65536"],
    ranks: list[int],
    over: ParallelMap,
) -> Float32[np.ndarray, " ranks"]:
    """Returns the values of an array at given ranks, from the `high_bits` of all."""
    low = reduce(np.add, over(_low_bits_of, parts, array=array, tops=tops_of(high, ranks)))
    return ordered_values(high, low, ranks)


def _low_bits_of(part: Window, *, array: Plane | Scratch, tops: list[int]) -> Int64[np.ndarray, "tops 65536"]:
    """Returns the `low_bits` of a part of an array."""
    return low_bits(np.asarray(array[part]), tops)
