"""Segmentation of images that do not fit into memory: tile after tile, equal to that of the whole image.

Each step of `segmentation.segment` is done for all tiles before the next begins. What it leaves behind is in files
until then (`streaming.Scratch`): the image in pixels of the network, the winner map, and the cuts fused; 16 bytes a
pixel of the network. In memory are one tile with its halo (`halos.Halos`), the peaks, and a few numbers that tell
of the whole image: the range and the median of its grey values, whether rims are bright, how the ground looks.
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, Float64, Int, Int64

from wsis_jax import evidence
from wsis_jax.checkpoint import Run
from wsis_jax.config import Config, ImageConfig
from wsis_jax.fusing import label_nearest, settle_orphans
from wsis_jax.guided import WinnerMap, record_images, winner_map
from wsis_jax.halos import Halos, View, halos_of, view_of, view_sides
from wsis_jax.imageio import normalize_image, stretch
from wsis_jax.likelihood import nearest_peak, peak_pixels, plateau_centres
from wsis_jax.outlines import Whole, cell_reach, costs_of, cuts_of, surroundings
from wsis_jax.record import Record, one_of
from wsis_jax.scaling import part_before_resizing, resize_labels_part, resize_part, smooth_part
from wsis_jax.seeds import greatest_contributions
from wsis_jax.segmentation import region_radius, seen_shape
from wsis_jax.streaming import (
    HighBits,
    Plane,
    Scratch,
    Window,
    between,
    grown,
    ordered_values,
    percentile_ranks,
    scratch_folder,
    windows_over,
    within,
)
from wsis_jax.unet import Variables, forward, in_precision

_VIEWS = ((1, 1), (-1, 1), (1, -1), (-1, -1))

Peaks = Int64[np.ndarray, "cells 2"]


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
        job = _Job(
            run, in_precision(run.variables, config.unet.precision), config, small, parts, sides, halos, steps
        )
        if median is None:
            warnings.warn("the image is constant, so it holds no cells", stacklevel=2)
            peaks, scores = np.empty((0, 2), np.int64), np.empty(0, np.float32)
        else:
            peaks, scores = _detect(job)
        fused = Scratch(folder / "fused", shape, np.int32)
        if len(peaks):
            rim, look = _surroundings(job, peaks)
            winner, greatest = _propagate(job, peaks, folder)
            _cut(job, peaks, winner, Whole(median, rim, look, greatest), fused)
        _write(job, peaks, fused, out, whole, blocks)
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


class _Job(NamedTuple):
    """What all steps need: model and settings, the image in pixels of the network, its parts and their margins."""

    run: Run
    variables: Variables
    config: Config
    small: Scratch
    parts: list[Window]
    sides: tuple[int, int]
    halos: Halos
    step: Callable[[], None]

    def view(self, part: Window, halo: int, flip: tuple[int, int] = (1, 1)) -> View:
        """Returns what the network is shown for a part."""
        stride = self.run.model.stride
        return view_of(part, self.small.shape, sides=self.sides, halo=halo, stride=stride, flip=flip)

    def record(self, seen: Float32[np.ndarray, "height width"]) -> Record:
        """Returns the record of a view."""
        rule = self.config.contribution.rule
        return record_images(self.run.model, self.variables, seen[None], self.sides, rule=rule)


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
    bottom, top = (between(*found[2 * i : 2 * i + 2], share) for i, (_, _, share) in enumerate(places))
    return (bottom, top) if bottom < top else (float(least), float(greatest))


# The steps


def _detect(job: _Job) -> tuple[Peaks, Float32[np.ndarray, " cells"]]:
    """Returns the peaks, as `find_peaks` orders them, and the likelihood there."""
    found, border = job.config.detect, job.config.detect.exclude_border
    pixels, values = [np.empty((0, 2), np.int64)], [np.empty(0, np.float32)]
    for part in job.parts:
        around = grown(part, found.min_distance, job.small.shape)
        likelihood = _likelihood(job, around)
        candidates = peak_pixels(
            likelihood, threshold=found.threshold, min_distance=found.min_distance, quantize=found.quantize
        )
        inner = within(part, around)
        places = np.argwhere(candidates[inner])
        values.append(likelihood[inner][tuple(places.T)])
        pixels.append(places + [part[0].start, part[1].start])
        job.step()
    at, scores = np.concatenate(pixels), np.concatenate(values)
    kept = ((at >= border) & (at < np.array(job.small.shape) - border)).all(1)
    at, scores = at[kept], scores[kept]
    order = np.lexsort(at.T[::-1])
    peaks = plateau_centres(at[order])
    return peaks, _scores(job, peaks, at[order], scores[order])


def _scores(
    job: _Job, peaks: Peaks, pixels: Int64[np.ndarray, "pixels 2"], values: Float32[np.ndarray, " pixels"]
) -> Float32[np.ndarray, " cells"]:
    """Returns the likelihood at the peaks, from that at the pixels of their plateaus."""
    numbers, wanted = (np.ravel_multi_index(tuple(places.T), job.small.shape) for places in (pixels, peaks))
    index = np.minimum(np.searchsorted(numbers, wanted), max(len(numbers) - 1, 0))
    scores = values[index]
    # The middle of a bent plateau lies beside it.
    for cell in np.flatnonzero(numbers[index] != wanted):
        row, column = map(int, peaks[cell])
        scores[cell] = _likelihood(job, (slice(row, row + 1), slice(column, column + 1)))[0, 0]
    return scores


def _likelihood(job: _Job, part: Window) -> Float32[np.ndarray, "rows columns"]:
    """Returns the likelihood map of a part, as `segmentation.detect` computes it."""
    view = job.view(part, job.halos.field)
    likelihood = view.shown(np.asarray(job.record(view.of(job.small)).likelihood)[0])
    if job.config.detect.views == 1:
        return likelihood
    for flip in _VIEWS[1:]:
        view = job.view(part, job.halos.field, flip)
        seen = jnp.asarray(view.of(job.small)[None], jnp.float32)
        mirrored = np.asarray(forward(job.run.model, job.variables, seen, jnp.array(job.sides)))[0]
        likelihood = likelihood + view.shown(mirrored)
    return likelihood / 4


def _surroundings(job: _Job, peaks: Peaks) -> tuple[evidence.Rim, evidence.Look | None]:
    """Returns which rims the cells have, and how background and bodies look."""
    settings, distances = job.config.cut, surroundings(job.config)
    brighter, look = 0.0, None
    for part in job.parts:
        around = grown(part, evidence.margin(**distances), job.small.shape)
        image, corner = job.small[around], [side.start for side in around]
        if settings.rim == "auto":
            own = peaks[_near(peaks, part, 0)] - corner
            brighter += evidence.brighter_than_dark(image, own, **distances)
        if settings.background_weight:
            distance = nearest_peak(peaks, _shape(part), corner=(part[0].start, part[1].start))[1]
            more = evidence.look_of(image, distance, within(part, around), **distances)
            look = more if look is None else look.join(more)
        job.step()
    rim = settings.rim if settings.rim != "auto" else "bright" if brighter >= 0 else "dark"
    return rim, look if look is not None and look.tells else None


def _propagate(
    job: _Job, peaks: Peaks, folder: Path
) -> tuple[tuple[Scratch, Scratch], Float32[np.ndarray, " owners"]]:
    """Returns value and owner of the winner map, and the greatest contribution of every owner."""
    value = Scratch(folder / "value", job.small.shape, np.float32)
    owner = Scratch(folder / "owner", job.small.shape, np.int32)
    greatest = np.zeros(len(peaks) + 1, np.float32)
    for part in job.parts:
        cells = _near(peaks, part, job.halos.contributors)
        if len(cells):
            winner = _winners(job, peaks, cells, part)
            value[part], owner[part] = winner.value, winner.owner
            more = greatest_contributions(winner.value, winner.owner, owners=len(greatest))
            greatest = np.maximum(greatest, more)
        job.step()
    if job.config.cut.seed_scale == "max":
        greatest[:] = greatest.max()
    return (value, owner), greatest


def _winners(job: _Job, peaks: Peaks, cells: Int64[np.ndarray, " cells"], part: Window) -> WinnerMap:
    """Returns the winner map of a part, from the cells that may contribute to it."""
    view = job.view(part, job.halos.record)
    corner = int(view.rows[0]), int(view.columns[0])
    discs = grown(part, job.halos.contributors + job.halos.half, job.small.shape)
    index, distance = nearest_peak(peaks, _shape(discs), corner=(discs[0].start, discs[1].start))
    numbers = _numbers(cells, len(peaks))
    regions = np.zeros(job.sides, np.int32)
    there = tuple(slice(s.start - c, s.stop - c) for s, c in zip(discs, corner, strict=True))
    regions[there] = np.where(distance <= region_radius(job.config), numbers[index + 1], 0)
    seen = view.of(job.small)
    winner = winner_map(
        job.run.model,
        job.variables,
        seen,
        regions,
        peaks[cells] - corner,
        reach=cell_reach(job.config),
        settings=job.config.contribution,
        recorded=one_of(job.record(seen), jnp.array(0)),
        half=job.halos.half,
    )
    value, owner, runner_up = (layer[view.part] for layer in winner)
    return WinnerMap(value, _named(cells + 1)[owner], runner_up)


def _cut(job: _Job, peaks: Peaks, winner: tuple[Scratch, Scratch], whole: Whole, fused: Scratch) -> None:
    """Writes the labels of the cuts, before parts of cells that are cut off from their peak are settled."""
    for part in job.parts:
        cells = _near(peaks, part, job.halos.masks)
        if len(cells):
            around = grown(part, job.halos.cuts, job.small.shape)
            value, owner = (layer[around] for layer in winner)
            # The cells to cut come first; of others there are seeds and claims.
            others = np.setdiff1d(owner[owner > 0], cells + 1)
            named = _named(np.concatenate([cells + 1, others]))
            numbers = _numbers(named[1:] - 1, len(peaks))
            local = WinnerMap(value, numbers[owner], np.zeros_like(value))
            places = peaks[cells] - [side.start for side in around]
            known = whole._replace(greatest=whole.greatest[named])
            costs = costs_of(job.small[around], places, local, config=job.config, whole=known)
            labels = label_nearest(cuts_of(costs, places, config=job.config), places, value.shape)
            fused[part] = named[labels[within(part, around)]]
        job.step()


def _write(
    job: _Job, peaks: Peaks, fused: Scratch, out: Any, whole: tuple[int, int], blocks: list[Window]
) -> None:
    """Writes the labels in the pixels of the image as given."""
    blur = job.config.cut.smooth * job.config.network_sigma
    for block in blocks:
        shown = (
            slice(side.start * seen // given, -(-side.stop * seen // given))
            for side, seen, given in zip(block, fused.shape, whole, strict=True)
        )
        rows, columns = shown
        around = grown((rows, columns), job.halos.labels, fused.shape)
        corner = around[0].start, around[1].start
        labels = fused[around]
        named = np.unique(labels[labels > 0])
        labels = _numbers(named - 1, len(peaks))[labels]
        cells = peaks[named - 1]
        labels = settle_orphans(labels, cells - corner)
        if blur:
            labels = smooth_part(labels, cells, whole, block, blur=blur, whole=fused.shape, corner=corner)
        else:
            labels = resize_labels_part(labels, whole, block, whole=fused.shape, corner=corner)
        out[block] = _named(named)[labels].astype(out.dtype)
        job.step()


# Cells


def _near(peaks: Peaks, part: Window, margin: int) -> Int64[np.ndarray, " cells"]:
    """Returns the indices of the peaks within a margin of a part."""
    low, high = (np.array([getattr(side, name) for side in part]) for name in ("start", "stop"))
    return np.flatnonzero(((peaks >= low - margin) & (peaks < high + margin)).all(1))


def _numbers(cells: Int[np.ndarray, " some"], count: int) -> Int[np.ndarray, " labels"]:
    """Returns what turns the label of a cell into its number among some cells, from 1; 0 for the others."""
    numbers = np.zeros(count + 1, np.int32)
    numbers[cells + 1] = np.arange(1, len(cells) + 1)
    return numbers


def _named(labels: Int[np.ndarray, " some"]) -> Int[np.ndarray, " numbers"]:
    """Returns what turns numbers of some cells, from 1, into their labels."""
    return np.concatenate([[0], labels]).astype(np.int32)


def _shape(window: Window) -> tuple[int, int]:
    return window[0].stop - window[0].start, window[1].stop - window[1].start
