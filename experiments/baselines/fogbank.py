"""FogBank (Chalfoun, Majurski, Dima et al. 2014, BMC Bioinformatics 15:431): cells are peaks in a sea of fog.

The foreground is a landscape whose peaks are dark pixels, or bright ones. The fog that covers it falls in steps
of a few percentiles. A peak that comes out of it and is large enough is a new cell; one that hangs together with
a known cell is part of that cell. So cells grow as the fog falls, and never into each other.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float32, Int32, Real
from scipy import ndimage
from skimage.measure import label
from skimage.segmentation import watershed

from experiments.baselines.common import check_image, tidy
from experiments.baselines.egt import empirical_gradient_threshold, gradient_magnitude, nearest_rank
from experiments.baselines.fog_border import BorderFilter, border_mask
from experiments.baselines.fog_seeds import find_seeds, geodesic_distance
from experiments.space import Choice, Range, Space

FogImage = Literal["intensity", "gradient", "background", "seeds"]
"""What the fog falls on: grey value, its gradient, or the distance from the background or from the seeds."""

Image = Float[np.ndarray, "height width"]
Mask = Bool[np.ndarray, "height width"]
Labels = Int32[np.ndarray, "height width"]


@dataclass(frozen=True)
class FogBank:
    """The method and its parameters, all of them with the defaults of the authors' released tool.

    The tool's areas are for cells of several thousand pixels.
    """

    greedy: float | int = 0  # this and the next two: see `empirical_gradient_threshold`
    min_cell: float | int = 1000  # pixels
    min_hole: float | int = 2000  # pixels
    fog_on: FogImage = "intensity"
    direction: Literal["min2max", "max2min"] = "min2max"  # which values come out of the fog first
    bin: float | int = 5  # percentiles by which the fog falls
    min_peak: float | int = 1000  # pixels of an 8-connected part out of the fog that make it a cell
    min_object: float | int = 1000  # cells of so many pixels or fewer are divided among their neighbours
    border: BorderFilter | None = None  # lines where cells grow last of all; None for no lines
    border_percentile: float | int = 85  # of the image; what is stronger is border
    seeded: bool = False  # cells are the seeds, and what no seed reaches, instead of the peaks
    seed_low: float | int = 3  # percentiles of the foreground's grey values, between which are seeds
    seed_high: float | int = 10
    min_seed: float | int = 15  # pixels
    max_seed: float | int = 120  # pixels
    seed_gap: float | int = 25  # pixels between the centres of seeds of one cell

    def __post_init__(self) -> None:
        if not 0 < self.bin <= 100:
            raise ValueError(f"bin must be a number of percentiles above 0 and up to 100, not {self.bin}")
        if not 0 <= self.border_percentile <= 100:
            raise ValueError(f"border_percentile must lie in 0..100, not {self.border_percentile}")
        if not 0 <= self.seed_low < self.seed_high <= 100:
            raise ValueError(
                f"seed_low must be less than seed_high, both in 0..100, not {self.seed_low} and {self.seed_high}"
            )
        if self.min_peak < 1:
            raise ValueError(f"min_peak must be at least 1 pixel, not {self.min_peak}")

    def segment(
        self, image: Float32[np.ndarray, "height width"], points: Real[np.ndarray, "cells 2"] | None = None
    ) -> Labels:
        """Returns the label image; see `Baseline`. Points are not looked at."""
        del points
        check_image(image)
        foreground = empirical_gradient_threshold(
            image, min_cell=self.min_cell, min_hole=self.min_hole, greedy=self.greedy
        )
        if not foreground.any():
            return np.zeros(image.shape, np.int32)
        border = np.zeros(image.shape, bool)
        if self.border is not None:
            border = border_mask(image, foreground, strength=self.border, percentile=self.border_percentile)
        seeds = np.zeros(image.shape, np.int32)
        if self.seeded or self.fog_on == "seeds":
            seeds = find_seeds(
                image,
                foreground,
                border,
                low=self.seed_low,
                high=self.seed_high,
                min_area=self.min_seed,
                max_area=self.max_seed,
                gap=self.seed_gap,
            )
        terrain = fog_image(image, foreground, seeds > 0, self.fog_on)
        visible = fog_levels(terrain, foreground, bin=self.bin, direction=self.direction)
        if self.seeded:
            labels = fall(visible, foreground & ~border, seeds, min_peak=np.inf)
            labels = add_peaks(grow(labels, foreground), foreground, self.min_object)  # what no seed reached
        else:
            labels = fall(visible, foreground & ~border, np.zeros_like(seeds), min_peak=self.min_peak)
        return tidy(reconnect(share_out_small(grow(labels, foreground), foreground, self.min_object)))


def space(diameter: float) -> Space:
    """Returns what is tuned, for cells of a median diameter in pixels."""
    area = np.pi / 4 * diameter**2
    return {
        "greedy": Range(-20, 30, whole=True),
        "min_cell": Range(0.05 * area, area, log=True),
        "min_hole": Range(0.01 * area, area, log=True),
        "fog_on": Choice(("intensity", "gradient", "background", "seeds")),
        "direction": Choice(("min2max", "max2min")),
        "bin": Choice((1, 5, 10)),
        "min_peak": Range(0.005 * area, 0.4 * area, log=True),
        "min_object": Range(0.1 * area, 0.6 * area),
        "border": Choice((None, "intensity", "gradient")),
        "border_percentile": Range(75, 95),
        "seeded": Choice((False, True)),
        "seed_high": Range(5, 30),
        "min_seed": Range(0.005 * area, 0.05 * area, log=True),
        "max_seed": Range(0.1 * area, 0.6 * area, log=True),
        "seed_gap": Range(0.3 * diameter, 1.2 * diameter),
    }


def fog_image(image: Image, foreground: Mask, seeds: Mask, fog_on: FogImage) -> Image:
    """Returns what the fog falls on, see `FogImage`; only its values in the foreground matter."""
    if fog_on == "intensity":
        return image
    if fog_on == "gradient":
        return gradient_magnitude(image)
    if fog_on == "background":
        if foreground.all():
            return np.zeros(image.shape)
        return ndimage.distance_transform_edt(foreground)
    if not seeds.any():
        return np.zeros(image.shape)
    distance = geodesic_distance(foreground | seeds, np.argwhere(seeds))
    return np.minimum(distance, distance[np.isfinite(distance)].max())


def fog_levels(
    terrain: Image, foreground: Mask, *, bin: float | int, direction: Literal["min2max", "max2min"]
) -> Iterator[Mask]:
    """Yields the foreground that is out of the fog at each of its levels, ever more of it until all.

    Args:
        terrain: what the fog falls on.
        foreground: where there are cells; at least one pixel.
        bin: percentiles of the terrain in the foreground from one level to the next, beginning with 0.
        direction: whether the least values come out first, or the greatest.
    """
    levels = np.unique(nearest_rank(terrain[foreground], np.append(np.arange(0.0, 100.0, bin), 100.0)))
    if direction == "min2max":
        yield from (foreground & (terrain <= level) for level in levels)
    else:
        yield from (foreground & (terrain >= level) for level in levels[::-1])


def fall(visible: Iterable[Mask], allowed: Mask, labels: Labels, *, min_peak: float | int) -> Labels:
    """Returns the cells when the fog has fallen and all of the allowed pixels that they reach are theirs.

    Args:
        visible: what is out of the fog, from level to level.
        allowed: where cells may be.
        labels: cells that are known beforehand.
        min_peak: pixels that make a peak a new cell; infinity for no new ones.
    """
    for mask in visible:
        labels = grow(labels, mask & allowed)
        labels = add_peaks(labels, mask & allowed, min_peak)
    return labels


def grow(labels: Labels, mask: Mask) -> Labels:
    """Returns the labels grown into the mask, each pixel to the label nearest on 4-connected ways in it."""
    free = mask & (labels == 0)
    # Labels that touch no free pixel cannot grow, and take time.
    near = _beside(free) & (labels > 0)
    if not near.any():
        return labels
    # A watershed of a flat image floods in the order of distance.
    flat = np.zeros(labels.shape, np.uint8)
    return labels + np.where(free, watershed(flat, labels * near, mask=free | near, connectivity=1), 0)


def add_peaks(labels: Labels, mask: Mask, min_area: float | int) -> Labels:
    """Returns the labels and, as new ones, the 8-connected parts of the rest of the mask that are large enough."""
    parts, _ = ndimage.label(mask & (labels == 0), np.ones((3, 3)))
    large = np.bincount(parts.ravel()) >= min_area
    large[0] = False
    if not large.any():
        return labels
    numbers = np.where(large, labels.max() + np.cumsum(large), 0).astype(np.int32)
    return labels + numbers[parts]


def share_out_small(labels: Labels, foreground: Mask, min_object: float | int) -> Labels:
    """Returns the labels without those of `min_object` pixels or fewer, whose pixels the others grow into."""
    return grow(np.where(np.bincount(labels.ravel())[labels] > min_object, labels, 0), foreground)


def _beside(mask: Mask) -> Mask:
    """Returns the pixels with a 4-neighbour in the mask; SciPy's dilation takes ten times as long."""
    beside = np.zeros_like(mask)
    beside[1:] |= mask[:-1]
    beside[:-1] |= mask[1:]
    beside[:, 1:] |= mask[:, :-1]
    beside[:, :-1] |= mask[:, 1:]
    return beside


def reconnect(labels: Labels) -> Labels:
    """Returns the labels with each in one 4-connected part, the largest.

    Any other part goes to the label that it shares most sides of pixels with, or to the background if it touches
    none.
    """
    parts = label(labels, connectivity=1)
    owners = np.zeros(parts.max() + 1, np.int32)
    owners[parts] = labels
    areas = np.bincount(parts.ravel())
    areas[0] = 0
    order = np.lexsort((-areas, owners))
    first = np.unique(owners[order], return_index=True)[1]
    main = np.zeros(len(owners), bool)
    main[order[first]] = True
    owners[~main] = 0
    sides = np.concatenate(
        [
            np.stack([parts[:, :-1].ravel(), parts[:, 1:].ravel()]),
            np.stack([parts[:-1].ravel(), parts[1:].ravel()]),
        ],
        axis=1,
    )
    sides = sides[:, (sides[0] != sides[1]) & (sides > 0).all(axis=0)]
    sides = np.concatenate([sides, sides[::-1]], axis=1)  # (part, neighbour) both ways
    while True:  # a part may touch nothing but others that have to find an owner first
        lost = sides[:, (owners[sides[0]] == 0) & (owners[sides[1]] > 0)]
        if not lost.size:
            return owners[parts]
        pairs, counts = np.unique(np.stack([lost[0], owners[lost[1]]]), axis=1, return_counts=True)
        for index in np.lexsort((-pairs[1], counts)):  # the last to be written has the most sides
            owners[pairs[0, index]] = pairs[1, index]
