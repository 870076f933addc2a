"""Segmentation of images that do not fit into memory: tile after tile, equal to that of the whole image.

Each step of `segmentation.segment` is done for all tiles before the next begins. What it leaves behind is in files
until then (`streaming.Scratch`): the image in pixels of the network, the winner map, and the cuts fused, 16 bytes
a pixel of the network. In memory are one tile with its halo (`halos.Halos`), the peaks, and a few numbers that
tell of the whole image: range and median of its grey values, whether rims are bright, how the ground looks.
"""

import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64

from wsis_jax.checkpoint import Run
from wsis_jax.config import Config, ImageConfig
from wsis_jax.halos import halos_of, view_sides
from wsis_jax.imageio import normalize_image, stretch
from wsis_jax.limits import in_words
from wsis_jax.outlines import Whole
from wsis_jax.scaling import part_before_resizing, resize_part
from wsis_jax.segmentation import seen_shape
from wsis_jax.streaming import (
    HighBits,
    Plane,
    Scratch,
    Window,
    between,
    ordered_values,
    percentile_ranks,
    scratch_folder,
    windows_over,
)
from wsis_jax.tile_steps import Job, cut, detect, observe, propagate, write
from wsis_jax.unet import in_precision


def segment_tiled(
    run: Run,
    image: Plane,
    out: Any,
    *,
    config: Config | None = None,
    tile: int = 1024,
    on_tile: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Float64[np.ndarray, "cells 2"], Float32[np.ndarray, " cells"]]:
    """Segments an image of any size tile by tile; the labels are those that `segment` gives for the whole.

    They are equal label for label, but for what rounding may do: the network's numbers differ in the last bit
    between windows of different sides. Chains of parts of cells that were cut off from their peaks are followed
    as far as `halos.Halos` says.

    Args:
        run: a trained model.
        image: grey values of any range, (height, width), read by slices: a zarr array, a memory map, an array.
        out: what label i + 1 for the cell of point i, and 0 for the background, are written to by slices; of the
            image's shape, of type int32 or uint32. Writes follow its chunks, if it has any.
        config: settings other than those of the run.
        tile: side of a tile in pixels of the network. The network is shown 300 to 400 pixels more, which takes
            a few hundred bytes of memory a pixel, by its width.
        on_tile: called with the number of parts done, of all steps, and of parts in all.

    Returns:
        (row, column) of the cells in pixels of the image, and the likelihood there, 0..1.

    Raises:
        ValueError: if the image holds NaN or infinite values, image and `out` do not fit together, or a setting
            needs the whole image at once; names it.
        OSError: if there is no room for 16 bytes a pixel of the network in the folder of temporary files.
    """
    config = config or run.config
    _check(run, image, out, config, tile)
    shape, whole = seen_shape((image.shape[0], image.shape[1]), config), (image.shape[0], image.shape[1])
    blocks, parts = _blocks(out, whole, tile / config.network_scale), windows_over(shape, (tile, tile))
    steps = _Counter(5 * len(parts) + 2 * len(blocks), on_tile)
    with scratch_folder() as folder:
        small, median = _shrink(image, folder, shape, config, blocks, parts, steps)
        halos = halos_of(run.model, config)
        sides = view_sides(
            shape, tile, max(halos.field + config.detect.min_distance, halos.record), run.model.stride
        )
        job = Job(
            run, in_precision(run.variables, config.unet.precision), config, small, parts, sides, halos, steps
        )
        peaks, scores = np.empty((0, 2), np.int64), np.empty(0, np.float32)
        if median is None:
            warnings.warn("the image is constant, so it holds no cells", stacklevel=2)
        else:
            peaks, scores = detect(job)
        fused = Scratch(folder / "fused", shape, np.int32)
        if median is not None and len(peaks):
            rim, look = observe(job, peaks)
            winner, greatest = propagate(job, peaks, folder)
            cut(job, peaks, winner, Whole(median, rim, look, greatest), fused)
        write(job, peaks, fused, out, whole, blocks)
    steps.finish()
    ratio = np.array(whole) / np.array(shape)
    return (peaks + 0.5) * ratio - 0.5, scores


class _Counter:
    """Counts parts and tells how many are done."""

    def __init__(self, total: int, tell: Callable[[int, int], None]) -> None:
        self._done, self._total, self._tell = 0, total, tell

    def __call__(self) -> None:
        self._done += 1
        self._tell(self._done, self._total)

    def finish(self) -> None:
        """Tells that all is done, where steps were left out."""
        if self._done < self._total:
            self._done = self._total
            self._tell(self._done, self._total)


def _check(run: Run, image: Plane, out: Any, config: Config, tile: int) -> None:
    """Raises ValueError for what cannot be segmented in tiles."""
    if len(image.shape) != 2 or min(image.shape) < 1:
        raise ValueError(f"the image is of shape {tuple(image.shape)}; give one of rows and columns")
    if tuple(out.shape) != tuple(image.shape):
        raise ValueError(f"the labels are to have shape {tuple(out.shape)}; give them the image's {image.shape}")
    if np.dtype(out.dtype) not in (np.int32, np.uint32):
        raise ValueError(f"the labels are to be of type {out.dtype}; give them int32 or uint32")
    if tile < 1:
        raise ValueError(f"tiles must have a side of at least 1 pixel, not {tile}")
    whole_only = {
        "cut.overlap=sequential": config.cut.overlap == "sequential",
        "detect.region=response": config.detect.region == "response",
        f"contribution.method={config.contribution.method}": config.contribution.method != "window",
        "unet.align_corners=true": run.model.align_corners,
    }
    for setting, holds in whole_only.items():
        if holds:
            raise ValueError(f"{setting} needs the whole image at once; change the setting, or do without tiles")
    halos_of(run.model, config)
    height, width = seen_shape((image.shape[0], image.shape[1]), config)
    needed, free = 16 * height * width, shutil.disk_usage(tempfile.gettempdir()).free
    if needed > free:
        raise ValueError(
            f"the image needs {in_words(needed)} of temporary files, and there are {in_words(free)} free; "
            "make room, set TMPDIR to a larger folder, or choose a smaller image.scale"
        )


def _blocks(out: Any, shape: tuple[int, int], side: float) -> list[Window]:
    """Returns windows over the image, of about a side, that end where chunks of `out` end."""
    chunks = getattr(out, "shards", None) or getattr(out, "chunks", None) or (1, 1)
    rows, columns = (max(round(side / chunk), 1) * chunk for chunk in chunks)
    return windows_over(shape, (rows, columns))


# From the image to what the network sees


def _shrink(
    image: Plane,
    folder: Path,
    shape: tuple[int, int],
    config: Config,
    blocks: list[Window],
    parts: list[Window],
    step: Callable[[], None],
) -> tuple[Scratch, np.float32 | None]:
    """Returns the image normalised and in pixels of the network, and its median, or None if it is constant."""
    bottom, top = _grey_range(image, config.image, blocks, step)
    small, high = Scratch(folder / "image", shape, np.float32), HighBits()
    whole = image.shape[0], image.shape[1]
    for part in parts:
        taken = part_before_resizing(shape, part, whole=whole)
        grey = np.asarray(image[taken], np.float32)
        normalized = stretch(grey, bottom, top) if bottom < top else np.zeros_like(grey)
        corner = taken[0].start, taken[1].start
        small[part] = values = resize_part(normalized, shape, part, whole=whole, corner=corner)
        high.add(values)
        step()
    ranks = [0, (high.total - 1) // 2, high.total // 2, high.total - 1]
    values = ordered_values(high, (small[part] for part in parts), ranks)
    return small, None if values[0] == values[-1] else np.median(values[1:3])


def _grey_range(
    image: Plane, settings: ImageConfig, blocks: list[Window], step: Callable[[], None]
) -> tuple[float, float]:
    """Returns the grey values that become 0 and 1, as `normalize_image` chooses them; equal if all are."""
    # For its errors.
    normalize_image(
        np.zeros((1, 1), np.float32), method=settings.normalization, low=settings.low, high=settings.high
    )
    high = HighBits()
    for block in blocks:
        values = np.asarray(image[block], np.float32)
        if not np.isfinite(values).all():
            raise ValueError("the image holds values that are no numbers (NaN or infinite); replace them first")
        high.add(values)
        step()
    places = [percentile_ranks(p, high.total) for p in (settings.low, settings.high)]
    ranks = [0, high.total - 1, *(rank for low, above, _ in places for rank in (low, above))]
    least, greatest, *found = ordered_values(high, (np.asarray(image[block]) for block in blocks), ranks)
    if least == greatest:
        return float(least), float(greatest)
    if settings.normalization == "max":
        return 0.0, float(greatest)
    bottom, top = (between(found[2 * i], found[2 * i + 1], share) for i, (_, _, share) in enumerate(places))
    return (bottom, top) if bottom < top else (float(least), float(greatest))
