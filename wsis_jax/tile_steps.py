"""The steps of a segmentation in tiles: each takes all parts of the image and leaves numbers or files behind."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, Int, Int64

from wsis_jax import evidence
from wsis_jax.checkpoint import Run
from wsis_jax.config import Config
from wsis_jax.fusing import label_nearest, settle_orphans
from wsis_jax.guided import WinnerMap, record_images, winner_map
from wsis_jax.halos import Halos, View, view_of
from wsis_jax.likelihood import nearest_peak, peak_pixels, plateau_centres
from wsis_jax.outlines import Whole, cell_reach, costs_of, cuts_of, surroundings
from wsis_jax.record import Record, one_of
from wsis_jax.scaling import resize_labels_part, smooth_part
from wsis_jax.seeds import greatest_contributions
from wsis_jax.segmentation import region_radius
from wsis_jax.streaming import Scratch, Window, grown, within
from wsis_jax.unet import Variables, forward

# The mirror images that the network sees beside the image: upside down, left to right, and both.
_FLIPS = ((-1, 1), (1, -1), (-1, -1))

Peaks = Int64[np.ndarray, "cells 2"]


class Job(NamedTuple):
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


def detect(job: Job) -> tuple[Peaks, Float32[np.ndarray, " cells"]]:
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
        pixels.append(places + np.array([part[0].start, part[1].start]))
        job.step()
    at, scores = np.concatenate(pixels), np.concatenate(values)
    kept = ((at >= border) & (at < np.array(job.small.shape) - border)).all(1)
    at, scores = at[kept], scores[kept]
    order = np.lexsort(at.T[::-1])
    peaks = plateau_centres(at[order])
    return peaks, _scores(job, peaks, at[order], scores[order])


def _scores(
    job: Job, peaks: Peaks, pixels: Int64[np.ndarray, "pixels 2"], values: Float32[np.ndarray, " pixels"]
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


def _likelihood(job: Job, part: Window) -> Float32[np.ndarray, "rows columns"]:
    """Returns the likelihood map of a part, as `segmentation.detect` computes it."""
    view = job.view(part, job.halos.field)
    likelihood = view.shown(np.asarray(job.record(view.of(job.small)).likelihood)[0])
    if job.config.detect.views == 1:
        return likelihood
    for flip in _FLIPS:
        view = job.view(part, job.halos.field, flip)
        seen = jnp.asarray(view.of(job.small)[None], jnp.float32)
        mirrored = np.asarray(forward(job.run.model, job.variables, seen, jnp.array(job.sides)))[0]
        likelihood = likelihood + view.shown(mirrored)
    return likelihood / 4


def observe(job: Job, peaks: Peaks) -> tuple[evidence.Rim, evidence.Look | None]:
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


def propagate(
    job: Job, peaks: Peaks, folder: Path
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


def _winners(job: Job, peaks: Peaks, cells: Int64[np.ndarray, " near"], part: Window) -> WinnerMap:
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


def cut(job: Job, peaks: Peaks, winner: tuple[Scratch, Scratch], whole: Whole, fused: Scratch) -> None:
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


def write(job: Job, peaks: Peaks, fused: Scratch, out: Any, whole: tuple[int, int], blocks: list[Window]) -> None:
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


def _near(peaks: Peaks, part: Window, margin: int) -> Int64[np.ndarray, " near"]:
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
