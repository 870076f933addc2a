"""Invented phase-contrast scenes whose every cell is known: for tests, demonstrations and benchmarks.

A cell is where its level function is below 1; where two claim a pixel, the lower level has it. The thickness
of the cells becomes an image as in a phase-contrast microscope: dark bodies in bright halos. Numbers with no
reason beside them were chosen by eye, next to real images.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Complex128, Float32, Float64, Int32
from numpy.random import Generator, default_rng
from scipy import ndimage

_Map = Float64[np.ndarray, "height width"]
_Labels = Int32[np.ndarray, "height width"]
_Offsets = Complex128[np.ndarray, "rows columns"]  # column + i row, in pixels from the centre of a cell
_TRIES = 200  # places tried for a cell before the scene is called full
_MIN_VISIBLE = 0.5  # of a cell's own area; the rest may be off the image or under its neighbours
_CLEARANCE = 1.3  # the level up to which a cell that is to lie alone keeps others away
_DIRECTIONS = np.exp(1j * np.linspace(0, 2 * np.pi, 64, endpoint=False))


class Scene(NamedTuple):
    """An image of invented cells and what is true of it; cell i has label i + 1."""

    image: Float32[np.ndarray, "height width"]  # 0..1: background about 0.4, cells darker, halos brighter
    points: Float64[np.ndarray, "cells 2"]  # clicks near the centroids, in the image if not always in the cell
    labels: Int32[np.ndarray, "height width"]  # 0 for background, 1..N for cells, each one 4-connected
    nuclei: Float32[np.ndarray, "height width"]  # nuclear stain, 0..1: a blob in each cell, bright or faint


class _Outline(NamedTuple):
    """A cell's shape: a disc, made wavy, then stretched, then turned; its area is pi radius²."""

    center: Float64[np.ndarray, "2"]
    radius: float
    stretch: float  # square root of the ratio of length to width
    angle: float
    waves: Complex128[np.ndarray, " orders"]  # polynomial in e^(i phi); its real part is the log radius

    def straighten(self, offsets: _Offsets) -> _Offsets:
        """Undoes turn and stretch, and divides by the radius: about 1 on the rim."""
        turned = offsets * np.exp(-1j * self.angle) / self.radius
        return turned.real / self.stretch + 1j * turned.imag * self.stretch

    def level(self, straight: _Offsets) -> Float64[np.ndarray, "rows columns"]:
        """Returns the level of straightened offsets: 0 at the centre, 1 on the rim, and linear between."""
        return np.abs(straight) / np.exp(np.polyval(self.waves, np.exp(1j * np.angle(straight))).real)

    def reach(self, angle: float) -> float:
        """Returns the distance from the centre to the rim in a direction, in pixels."""
        return 1 / self.level(self.straighten(np.full((1, 1), np.exp(1j * angle)))).item()

    def window(self, shape: tuple[int, int]) -> tuple[slice, slice]:
        """Returns the part of the image that holds the cell and the clearance around it."""
        half = _CLEARANCE / self.level(self.straighten(_DIRECTIONS[None])).min() + 2
        (top, left), (bottom, right) = np.maximum(self.center - half, 0), self.center + half + 1
        return slice(int(top), min(int(bottom), shape[0])), slice(int(left), min(int(right), shape[1]))

    def straight_grid(self, window: tuple[slice, slice]) -> _Offsets:
        """Returns the straightened offset of every pixel of a window."""
        rows, columns = np.ogrid[window]
        return self.straighten((columns - self.center[1]) + 1j * (rows - self.center[0]))


def draw_scene(
    seed: int,
    *,
    shape: tuple[int, int],
    cells: int,
    diameter: float = 24.0,
    jitter: float = 1.0,
    touching: float = 0.5,
    noise: float = 0.015,
) -> Scene:
    """Draws a phase-contrast image of crowded cells, the same one for the same arguments.

    Args:
        seed: Of the random generator.
        shape: Height and width, in pixels.
        cells: Number of cells; none is allowed.
        diameter: Of the disc that has the area of an average cell, in pixels.
        jitter: Sigma of the clicks about the centroids, in pixels.
        touching: Share of the tries, 0..1, that put a cell against an earlier one; at 0 no two touch.
        noise: Sigma of the Gaussian noise of both images, whose range is 0..1.

    Raises:
        ValueError: If the cells do not fit into the image.
    """
    rng = default_rng(seed)
    labels, outlines = _place(rng, shape, cells, diameter, touching)
    centroids = np.array(ndimage.center_of_mass(labels > 0, labels, range(1, cells + 1))).reshape(cells, 2)
    clicks = np.clip(rng.normal(centroids, jitter), 0, np.array(shape) - 1)
    thickness, stain = _fill(rng, labels, outlines, diameter)
    image = _phase_contrast(rng, thickness, diameter) + rng.normal(0, noise, shape)
    nuclei = 0.03 + ndimage.gaussian_filter(stain, 0.04 * diameter) + rng.normal(0, noise, shape)
    return Scene(image.clip(0, 1).astype(np.float32), clicks, labels, nuclei.clip(0, 1).astype(np.float32))


def _place(
    rng: Generator, shape: tuple[int, int], cells: int, diameter: float, touching: float
) -> tuple[_Labels, list[_Outline]]:
    """Returns labels and outlines of cells placed one after another, alone or against an earlier one."""
    labels, levels = np.zeros(shape, np.int32), np.ones(shape)
    outlines: list[_Outline] = []
    for _ in range(cells):
        for _ in range(_TRIES):
            outline = _draw_outline(rng, shape, diameter)
            alone = not outlines or rng.random() >= touching
            if not alone:
                neighbor, angle = outlines[rng.integers(len(outlines))], rng.uniform(-np.pi, np.pi)
                # Below 1, so that the two claim some of the same pixels and share a border.
                distance = rng.uniform(0.8, 0.95) * (neighbor.reach(angle) + outline.reach(angle + np.pi))
                step = distance * np.array([np.sin(angle), np.cos(angle)])
                outline = outline._replace(center=neighbor.center + step)
            if _settle(labels, levels, outlines, outline, alone):
                break
        else:
            raise ValueError(f"{cells} cells of diameter {diameter:g} do not fit into an image of {shape}.")
    for number, outline in enumerate(outlines, 1):  # drops what neighbours cut off
        part = labels[outline.window(shape)]
        mask = part == number
        part[mask & ~_largest_part(mask)] = 0
    return labels, outlines


def _draw_outline(rng: Generator, shape: tuple[int, int], diameter: float) -> _Outline:
    """Returns a random outline anywhere in the image."""
    orders = np.arange(5, 1, -1)  # waves around the rim: orders 0 and 1 would only scale and shift
    waves = np.zeros(6, complex)
    waves[:4] = rng.normal(0, 0.28 / orders) * np.exp(2j * np.pi * rng.random(4))
    waves[-1] = -np.log(np.mean(np.exp(2 * np.polyval(waves, _DIRECTIONS).real))) / 2  # keeps the area
    radius, aspect = diameter / 2 * rng.uniform(0.85, 1.15), rng.uniform(1, 2.2)
    return _Outline(rng.uniform(0, np.array(shape) - 1.0), radius, aspect**0.5, rng.uniform(0, np.pi), waves)


def _settle(labels: _Labels, levels: _Map, outlines: list[_Outline], outline: _Outline, alone: bool) -> bool:
    """Adds a cell to labels, levels and outlines if it, and all it takes pixels from, stay visible enough."""
    if not all(0 <= at <= side - 1 for at, side in zip(outline.center, labels.shape, strict=True)):
        return False
    window = outline.window(labels.shape)
    level, before = outline.level(outline.straight_grid(window)), labels[window].copy()
    if alone and before[ndimage.binary_dilation(level < _CLEARANCE)].any():  # by a pixel even for small cells
        return False
    won = level < levels[window]
    labels[window][won] = len(outlines) + 1
    outlines.append(outline)
    for number in {len(outlines), *before[won].tolist()} - {0}:
        other = outlines[number - 1]
        visible = _largest_part(labels[other.window(labels.shape)] == number).sum()
        if visible < _MIN_VISIBLE * np.pi * other.radius**2:
            labels[window] = before
            outlines.pop()
            return False
    levels[window] = np.minimum(levels[window], level)
    return True


def _largest_part(mask: Bool[np.ndarray, "rows columns"]) -> Bool[np.ndarray, "rows columns"]:
    """Returns the largest 4-connected part of a mask."""
    parts = ndimage.label(mask)[0]
    return mask & (parts == 1 + np.argmax(np.bincount(parts[mask], minlength=2)[1:]))


def _fill(rng: Generator, labels: _Labels, outlines: list[_Outline], diameter: float) -> tuple[_Map, _Map]:
    """Returns the optical thickness, about 1 in a body, and the stain of the nuclei, 0..1."""
    thickness, stain = np.zeros((2, *labels.shape))
    sizes = 0.04 * diameter, 0.1 * diameter
    fine, coarse = (ndimage.gaussian_filter(rng.normal(size=labels.shape), size) for size in sizes)
    grain = fine / fine.std() + coarse / coarse.std()  # organelles
    for number, outline in enumerate(outlines, 1):
        window = outline.window(labels.shape)
        mask, straight = labels[window] == number, outline.straight_grid(window)
        # By the distance to any border, so that a cell is thin also where it meets its neighbour.
        rim = 1 - 0.8 * np.exp(-ndimage.distance_transform_edt(mask) / (0.15 * outline.radius))
        visible = np.sqrt(mask.sum() / np.pi) / outline.radius  # the nucleus keeps to what is left of the cell
        middle = straight[mask].mean() + 0.1 * visible * (rng.normal() + 1j * rng.normal())
        from_nucleus = np.abs(straight - middle) / (visible * rng.uniform(0.4, 0.5))
        nucleus = mask / (1 + np.exp(12 * (from_nucleus - 1)))  # a disc with a soft edge
        body = rng.uniform(0.75, 1.3) * (1 + 0.13 * grain[window]) + rng.normal(-0.05, 0.2) * nucleus
        thickness[window] += mask * rim * body
        stain[window] += rng.uniform(0.15, 0.9) * nucleus * (1 + 0.1 * grain[window]).clip(0.7, 1.1)
    return thickness, stain


def _phase_contrast(rng: Generator, thickness: _Map, diameter: float) -> _Map:
    """Returns the noiseless image of a thickness map: bodies dark, halos bright, light uneven."""
    spot, ring, glow = (ndimage.gaussian_filter(thickness, s * diameter) for s in (0.03, 0.08, 0.25))
    row, column = (np.linspace(-1, 1, side) for side in thickness.shape)
    tilt = rng.normal(0, 0.04) * row[:, None] + rng.normal(0, 0.04) * column
    light = 1 + tilt - 0.05 * (row[:, None] ** 2 + column**2)
    # The halo fades over thick bodies: else the middle of a cluster would be as light as background.
    halo = (ring + 0.5 * glow) * np.exp(-3 * spot)
    return light * (0.4 - 0.25 * spot + 0.9 * halo)
