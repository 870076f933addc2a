"""The steps of a segmentation in tiles: each takes all parts of the image and leaves numbers or files behind.

What a step does with a part is a function of its own, which any process may call: it knows the part, the run and
the `Job`, and leaves files behind that no other part's are.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, Float64, Int, Int64

from wsis_jax.core import (
    Config,
    ParallelMap,
    Resizing,
    Window,
    WinnerMap,
    corner_of,
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
    ImageStats,
    costs_of,
    cuts_of,
    greatest_contributions,
    label_nearest,
    settle_orphans,
    surroundings,
    terms,
)
from wsis_jax.network import Model, Record, forward, in_precision, one_of, record_images, winner_map
from wsis_jax.output import margin_sums
from wsis_jax.points import peak_pixels, plateau_centres
from wsis_jax.segmentation.tiled.halos import Halos, View, view_of
from wsis_jax.segmentation.tiled.scratch import Scratch

# The mirror images that the network sees beside the image: upside down, left to right, and both.
_FLIPS = ((-1, 1), (1, -1), (-1, -1))

Peaks = Int64[np.ndarray, "cells 2"]


class Winners(NamedTuple):
    """The layers of a winner map, in files."""

    value: Scratch
    owner: Scratch
    runner_up: Scratch

    def of(self, window: Window) -> WinnerMap:
        """Returns the winner map of a part."""
        return WinnerMap(*(layer[window] for layer in self))


class Labelled(NamedTuple):
    """The labels of a block of the image, and what its pixels say of how sure their cells are.

    Attributes:
        labels: 0 for background, i + 1 for the cell of peak i.
        cells: indices of the peaks that there are sums of.
        sums, pixels: of each, see `cell_table.margin_sums`.
    """

    labels: Int[np.ndarray, "rows columns"]
    cells: Int[np.ndarray, " here"]
    sums: Float64[np.ndarray, " here"]
    pixels: Int[np.ndarray, " here"]


class Job(NamedTuple):
    """What all steps need beside the run: settings, the image in pixels of the network, and margins of parts."""

    config: Config
    small: Scratch
    sides: tuple[int, int]
    halos: Halos

    def view(self, model: Model, part: Window, halo: int, flip: tuple[int, int] = (1, 1)) -> View:
        """Returns what the network is shown for a part."""
        stride = model.network.stride
        return view_of(part, self.small.shape, sides=self.sides, halo=halo, stride=stride, flip=flip)

    def record(self, model: Model, seen: Float32[np.ndarray, "height width"]) -> Record:
        """Returns the record of a view."""
        variables = in_precision(model.variables, self.config.unet.precision)
        return record_images(model.network, variables, seen[None], self.sides, rule=self.config.contribution.rule)


def detect_in_tiles(
    model: Model, job: Job, parts: Sequence[Window], over: ParallelMap
) -> tuple[Peaks, Float32[np.ndarray, " cells"]]:
    """Returns the peaks, as `find_peaks` orders them, and the likelihood there."""
    border = job.config.detect.exclude_border
    pixels, values = [np.empty((0, 2), np.int64)], [np.empty(0, np.float32)]
    for places, likelihood in over(_peak_pixels, parts, model=model, job=job):
        pixels.append(places)
        values.append(likelihood)
    at, scores = np.concatenate(pixels), np.concatenate(values)
    kept = ((at >= border) & (at < np.array(job.small.shape) - border)).all(1)
    at, scores = at[kept], scores[kept]
    order = np.lexsort(at.T[::-1])
    at, scores = at[order], scores[order]
    peaks = plateau_centres(at)
    numbers, wanted = (np.ravel_multi_index(tuple(places.T), job.small.shape) for places in (at, peaks))
    index = np.minimum(np.searchsorted(numbers, wanted), max(len(numbers) - 1, 0))
    # The middle of a bent plateau lies beside it.
    bent = np.flatnonzero(numbers[index] != wanted)
    beside = [(slice(row, row + 1), slice(column, column + 1)) for row, column in peaks[bent].tolist()]
    scores = scores[index]
    scores[bent] = [value[0, 0] for value in serial_map(likelihood_of, beside, model=model, job=job)]
    return peaks, scores


def _peak_pixels(
    part: Window, *, model: Model, job: Job
) -> tuple[Int64[np.ndarray, "pixels 2"], Float32[np.ndarray, " pixels"]]:
    """Returns the pixels of a part that are peaks or parts of one, and the likelihood there."""
    found = job.config.detect
    around = grow(part, found.min_distance, whole_window(job.small.shape))
    likelihood = likelihood_of(around, model=model, job=job)
    candidates = peak_pixels(
        likelihood, threshold=found.threshold, min_distance=found.min_distance, quantize=found.quantize
    )
    inner = relative_to(part, around)
    places = np.argwhere(candidates[inner])
    return places + np.array([part[0].start, part[1].start]), likelihood[inner][tuple(places.T)]


def likelihood_of(part: Window, *, model: Model, job: Job) -> Float32[np.ndarray, "rows columns"]:
    """Returns the likelihood map of a part, as `pipeline.detect` computes it."""
    view = job.view(model, part, job.halos.field)
    likelihood = view.shown(np.asarray(job.record(model, view.of(job.small)).likelihood)[0])
    if job.config.detect.views == 1:
        return likelihood
    variables = in_precision(model.variables, job.config.unet.precision)
    for flip in _FLIPS:
        view = job.view(model, part, job.halos.field, flip)
        seen = jnp.asarray(view.of(job.small)[None], jnp.float32)
        mirrored = np.asarray(forward(model.network, variables, seen, jnp.array(job.sides)))[0]
        likelihood = likelihood + view.shown(mirrored)
    return likelihood / 4


def observe(
    job: Job, peaks: Peaks, parts: Sequence[Window], over: ParallelMap
) -> tuple[terms.Rim, terms.Look | None]:
    """Returns which rims the cells have, and how background and bodies look."""
    rim, brighter, look = job.config.cut.rim, 0.0, None
    for more_brighter, more in over(_look, parts, job=job, peaks=peaks):
        brighter += more_brighter
        look = more if look is None or more is None else look.join(more)
    rim = rim if rim != "auto" else "bright" if brighter >= 0 else "dark"
    return rim, look if look is not None and look.tells else None


def _look(part: Window, *, job: Job, peaks: Peaks) -> tuple[float, terms.Look | None]:
    """Returns by how much rims are brighter than they are dark in a part, and how background and bodies look."""
    settings, distances = job.config.cut, surroundings(job.config)
    around = grow(part, terms.margin(**distances), whole_window(job.small.shape))
    image, corner = job.small[around], [side.start for side in around]
    brighter, look = 0.0, None
    if settings.rim == "auto":
        own = peaks[_near(peaks, part, 0)] - corner
        brighter = float(terms.brighter_than_dark(image, own, **distances))
    if settings.background_weight:
        distance = nearest_peak(peaks, window_shape(part), corner=(part[0].start, part[1].start))[1]
        look = terms.look_of(image, distance, relative_to(part, around), **distances)
    return brighter, look


def propagate_in_tiles(
    model: Model, job: Job, peaks: Peaks, folder: Path, parts: Sequence[Window], over: ParallelMap
) -> tuple[Winners, Float32[np.ndarray, " owners"]]:
    """Returns the winner map, and the greatest contribution of every owner."""
    winner = Winners(
        job.small.beside(folder / "value", np.float32),
        job.small.beside(folder / "owner", np.int32),
        job.small.beside(folder / "runner_up", np.float32),
    )
    greatest = np.zeros(len(peaks) + 1, np.float32)
    for owners, more in over(_contribute, parts, model=model, job=job, peaks=peaks, layers=winner):
        greatest[owners] = np.maximum(greatest[owners], more)
    if job.config.cut.seed_scale == "max":
        greatest[:] = greatest.max()
    return winner, greatest


def _contribute(
    part: Window, *, model: Model, job: Job, peaks: Peaks, layers: Winners
) -> tuple[Int64[np.ndarray, " here"], Float32[np.ndarray, " here"]]:
    """Writes the winner map of a part; returns its owners, and the greatest contribution of each."""
    cells = _near(peaks, part, job.halos.contributors)
    if not len(cells):
        return cells, np.zeros(0, np.float32)
    winner = _winners(model, job, peaks, cells, part)
    for layer, values in zip(layers, winner, strict=True):
        layer[part] = values
    owners = np.union1d(0, cells + 1)
    return owners, greatest_contributions(winner.value, winner.owner, owners=len(peaks) + 1)[owners]


def _winners(model: Model, job: Job, peaks: Peaks, cells: Int64[np.ndarray, " near"], part: Window) -> WinnerMap:
    """Returns the winner map of a part, from the cells that may contribute to it."""
    view = job.view(model, part, job.halos.record)
    corner = int(view.rows[0]), int(view.columns[0])
    discs = grow(part, job.halos.contributors + job.halos.half, whole_window(job.small.shape))
    index, distance = nearest_peak(peaks, window_shape(discs), corner=(discs[0].start, discs[1].start))
    numbers = _numbers(cells, len(peaks))
    regions = np.zeros(job.sides, np.int32)
    there = tuple(slice(s.start - c, s.stop - c) for s, c in zip(discs, corner, strict=True))
    regions[there] = np.where(distance <= job.config.region_radius, numbers[index + 1], 0)
    seen = view.of(job.small)
    winner = winner_map(
        model.network,
        in_precision(model.variables, job.config.unet.precision),
        seen,
        regions,
        peaks[cells] - corner,
        reach=job.config.cell_reach,
        settings=job.config.contribution,
        recorded=one_of(job.record(model, seen), jnp.array(0)),
        half=job.halos.half,
    )
    value, owner, runner_up = (layer[view.part] for layer in winner)
    return WinnerMap(value, _named(cells + 1)[owner], runner_up)


def cut(part: Window, *, job: Job, peaks: Peaks, winner: Winners, whole: ImageStats, fused: Scratch) -> None:
    """Writes the labels of the cuts in a part, before what is cut off from its peak is settled."""
    cells = _near(peaks, part, job.halos.masks)
    if not len(cells):
        return
    around = grow(part, job.halos.cuts, whole_window(job.small.shape))
    value, owner, _ = winner.of(around)
    # The cells to cut come first; of others there are seeds and claims.
    others = np.setdiff1d(owner[owner > 0], cells + 1)
    named = _named(np.concatenate([cells + 1, others]))
    numbers = _numbers(named[1:] - 1, len(peaks))
    local = WinnerMap(value, numbers[owner], np.zeros_like(value))
    places = peaks[cells] - [side.start for side in around]
    known = whole._replace(greatest=whole.greatest[named])
    costs = costs_of(job.small[around], places, local, config=job.config, whole=known)
    labels = label_nearest(cuts_of(costs, places, config=job.config), places, value.shape)
    fused[part] = named[labels[relative_to(part, around)]]


def labels_of(
    block: Window, *, job: Job, peaks: Peaks, fused: Scratch, winner: Winners | None, whole: tuple[int, int]
) -> Labelled:
    """Returns the labels of a block of the image in its own pixels, of which it has (height, width) `whole`."""
    sizes = Resizing(fused.shape, whole)
    blur = job.config.cut.smooth * job.config.network_sigma
    rows, columns = (
        slice(side.start * seen // given, -(-side.stop * seen // given))
        for side, seen, given in zip(block, fused.shape, whole, strict=True)
    )
    around = grow((rows, columns), job.halos.labels, whole_window(fused.shape))
    corner = corner_of(around)
    labels = fused[around]
    named = np.unique(labels[labels > 0])
    labels = _numbers(named - 1, len(peaks))[labels]
    cells = peaks[named - 1]
    labels = settle_orphans(labels, cells - corner)
    if blur:
        labels = smooth_part(labels, cells, sizes, block, blur=blur, corner=corner)
    else:
        labels = resize_labels_part(labels, sizes, block, corner=corner)
    return _labelled(block, labels, _named(named), winner, whole)


def _labelled(
    block: Window,
    labels: Int[np.ndarray, "rows columns"],
    named: Int[np.ndarray, " numbers"],
    winner: Winners | None,
    whole: tuple[int, int],
) -> Labelled:
    """Returns the labels of a block, given as numbers of some cells, and how sure these are by it."""
    cells = named[1:] - 1
    if winner is None or not len(cells):
        return Labelled(named[labels], cells[:0], np.zeros(0), cells[:0])
    sizes = Resizing(whole, winner.value.shape)
    part = part_resized_from(sizes, block)
    seen = resize_labels_part(labels, sizes, part, corner=corner_of(block))
    value, owner, runner_up = winner.of(part)
    # Of owners that are not here no label is.
    numbers = np.searchsorted(named, owner).clip(max=len(named) - 1)
    local = WinnerMap(value, np.where(named[numbers] == owner, numbers, 0).astype(np.int32), runner_up)
    return Labelled(named[labels], cells, *margin_sums(seen, local, len(cells)))


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
