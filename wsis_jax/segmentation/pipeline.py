"""Segmentation: a trained model and an image to a label image, with every step on the way."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32, Real

from wsis_jax.core import (
    Config,
    Detection,
    LocatedCells,
    Segmentation,
    UserError,
    WinnerMap,
    check_channels,
    check_values,
    explaining_out_of_memory,
    is_constant,
    normalize_by,
    resize_image,
    rounded_up,
    scaled_shape,
    stage,
    warn_about_image,
)
from wsis_jax.cutting import cut_and_fuse
from wsis_jax.network import Model, Record, propagate, record_and_detect
from wsis_jax.points import centre_regions, find_peaks
from wsis_jax.segmentation.clicks import Clicks, marks_of, no_cell_there, place_clicks
from wsis_jax.segmentation.kept_cells import areas_of, choose_cells, warn_of_size, without_specks
from wsis_jax.segmentation.one_program import locate_at_once, suits

_Image = Float[np.ndarray, "height width *channels"]
_Images = Float[np.ndarray, "batch height width *channels"]
_Points = Real[np.ndarray, "_ 2"]
# In pixels of the network.
_Small = Float32[np.ndarray, "height width *channels"]
_Map = Float32[np.ndarray, "height width"]

_CONSTANT = "the image is constant, so it holds no cells"


def detect(model: Model, image: _Image, *, config: Config | None = None) -> Detection:
    """Returns likelihood map, peaks and centre regions of an image of values of any range.

    Arguments are those of `segment`.
    """
    config = config or model.config
    small = _prepare(image, config)
    return _find(small, _look(model, [small], config=config, sides=None)[1][0], config=config)


def segment(
    model: Model,
    image: _Image,
    *,
    config: Config | None = None,
    sides: tuple[int, int] | None = None,
    points: _Points | None = None,
) -> Segmentation:
    """Segments the cells of an image: detection, contribution maps, one graph cut per cell, one label image.

    Where points are given, their cells are outlined, and no others: one label for each, in their order, whatever
    its size. Of several points in one pixel of the network the first counts, with a warning.

    Args:
        model: a trained model, from `load_model` or `train`.
        image: values of any range; any size. (height, width) of one channel, or (height, width, channels) of
            those that the model learned from, in the order of `image.channels`.
        config: settings other than those of the model, for instance of `preset("paper", model.config)`, or for
            cells of another size, `model.config.for_diameter(60)`.
        sides: (height, width), multiples of `model.network.stride` and no less than the image has in pixels of the
            network: what programs are compiled for. Images of many sizes share them so. None: the image's own.
        points: (row, column) of the cells to outline, in pixels of the image; None: those that are detected.

    Raises:
        UserError: if the image holds NaN or infinite values, or has other channels than the model learned from; if
            a point is outside of it, or it is constant and there are points.
        OutOfMemory: if it does not fit into memory.
    """
    clicked = None if points is None else [points]
    return segment_batch(model, image[None], config=config, sides=sides, points=clicked)[0]


def segment_batch(
    model: Model,
    images: _Images,
    *,
    config: Config | None = None,
    sides: tuple[int, int] | None = None,
    points: Sequence[_Points] | None = None,
) -> list[Segmentation]:
    """Segments images of equal size, with one pass of the network forward for all of them.

    As many devices as can do so evenly share the images in that pass; all then share the cells of each image.

    Arguments and errors are those of `segment`, with points for each image; the results are too.
    """
    config = config or model.config
    located = locate(model, images, config=config, sides=sides, points=points)
    return [outline(one, (images.shape[1], images.shape[2]), config=config) for one in located]


def locate(
    model: Model,
    images: _Images,
    *,
    config: Config,
    sides: tuple[int, int] | None = None,
    points: Sequence[_Points] | None = None,
) -> list[LocatedCells]:
    """Returns the cells of images of equal size and their winner maps: the network's half of `segment_batch`.

    Arguments and errors are those of `segment_batch`.
    """
    if points is not None and len(points) != len(images):
        raise UserError(f"there are {len(images)} images and points for {len(points)}; give points for each")
    clicked: list[Clicks | None] = [None] * len(images)
    if points is not None:
        clicked = [place_clicks(own, images.shape[1:3], config=config) for own in points]
    if not np.isfinite(images).all():
        raise UserError("the image holds values that are not numbers (NaN or infinite); replace them first")
    with stage("network"):
        smalls = [_prepare(image, config) for image in images]
        height, width = smalls[0].shape[:2]
        with explaining_out_of_memory(
            f"{height} × {width} pixels of the network do not fit into memory; segment in tiles (--tiles)"
        ):
            found = None
            if suits(config, clicked=points is not None):
                found = _locate_at_once(model, smalls, config=config, sides=sides, clicked=clicked)
            if found is None:
                found = _locate_in_steps(model, smalls, config=config, sides=sides, clicked=clicked)
    learned = learned_diameter(model, config)
    return [
        LocatedCells(*one, None if clicks is None else clicks.points, learned)
        for one, clicks in zip(found, clicked, strict=True)
    ]


@stage("cuts")
def outline(located: LocatedCells, shape: tuple[int, int], *, config: Config) -> Segmentation:
    """Returns the cells cut out: the half of `segment_batch` that needs no network, only the CPU.

    `shape` is the (height, width) of the image as given; the settings are those that it was located with.
    """
    detection, winner, clicks, learned = located
    fused = cut_and_fuse(detection.image, detection.peaks, winner, config=config)
    # By the sides as they are, not by the scale, which rounding changed.
    ratio = np.array(shape) / np.array(detection.likelihood.shape)
    points = (detection.peaks + 0.5) * ratio - 0.5 if clicks is None else clicks
    marks = detection.peaks if clicks is None else marks_of(clicks, ratio)
    found = Segmentation(
        labels=fused.fit(marks, shape),
        points=points,
        scores=detection.likelihood[tuple(detection.peaks.T)],
        detection=detection,
        winner=winner,
    )
    areas = areas_of(found.labels, len(found.points))
    kept = without_specks(areas, config)
    if learned is not None:
        warn_of_size(areas[kept], learned)
    return found if clicks is not None else choose_cells(found, kept)


def learned_diameter(model: Model, config: Config) -> float | None:
    """Returns the diameter of the cells that a model learned; None if the settings are for cells of another."""
    return config.cell_diameter if config.cell_diameter == model.config.cell_diameter else None


def seen_shape(shape: Sequence[int], config: Config) -> tuple[int, int]:
    """Returns the (height, width) of an image in pixels of the network."""
    return scaled_shape(shape, config.network_scale)


def _prepare(image: _Image, config: Config) -> Float32[np.ndarray, "_ _ *channels"]:
    """Returns what the network sees of an image."""
    check_channels(image.shape, config.image.channels)
    values = math.prod(seen_shape(image.shape, config)) * config.image.inputs
    check_values("image.scale", values, remedy="choose a smaller one, or let the image go in tiles")
    return resize_image(normalize_by(config.image, image.astype(np.float32)), config.network_scale)


def _locate_at_once(
    model: Model,
    smalls: list[_Small],
    *,
    config: Config,
    sides: tuple[int, int] | None,
    clicked: list[Clicks | None],
) -> list[tuple[Detection, WinnerMap]] | None:
    """Returns the cells of images of equal size and their winner maps by one program; None where it cannot."""
    constant = [_is_empty(small, clicks) for small, clicks in zip(smalls, clicked, strict=True)]
    found = locate_at_once(
        model.using(config),
        _padded(smalls, model.network.stride, sides),
        (smalls[0].shape[0], smalls[0].shape[1]),
        constant=constant,
        clicked=[None if clicks is None else clicks.peaks for clicks in clicked],
    )
    if found is None:
        return None
    for _ in filter(None, constant):
        warn_about_image(_CONSTANT)
    return [
        (Detection(small, one.likelihood, one.peaks, one.regions), one.winner)
        for small, one in zip(smalls, found, strict=True)
    ]


def _locate_in_steps(
    model: Model,
    smalls: list[_Small],
    *,
    config: Config,
    sides: tuple[int, int] | None,
    clicked: list[Clicks | None],
) -> list[tuple[Detection, WinnerMap]]:
    """Returns the same by a program for each step, between which the host finds peaks; all devices share them."""
    records, likelihoods = _look(model, smalls, config=config, sides=sides)
    found = []
    for index, (small, likelihood, clicks) in enumerate(zip(smalls, likelihoods, clicked, strict=True)):
        detection = _find(small, likelihood, config=config, clicks=clicks)
        found.append((detection, propagate(model, detection, config=config, recorded=records, index=index)))
    return found


def _look(
    model: Model, smalls: list[_Small], *, config: Config, sides: tuple[int, int] | None
) -> tuple[Record, Float32[np.ndarray, "batch height width"]]:
    """Passes images of equal size through the network; returns their record and likelihood maps."""
    height, width = smalls[0].shape[:2]
    padded = _padded(smalls, model.network.stride, sides)
    records, likelihoods = record_and_detect(model.using(config), padded, (height, width))
    return records, np.asarray(likelihoods)[:, :height, :width]


def _padded(
    smalls: list[_Small], stride: int, sides: tuple[int, int] | None
) -> Float32[np.ndarray, "batch _ _ *channels"]:
    """Returns images with zeros up to the sides that programs are compiled for, see `segment`."""
    height, width = smalls[0].shape[:2]
    least = rounded_up((height, width), stride)
    sides = sides or least
    if sides[0] < least[0] or sides[1] < least[1]:
        raise UserError(
            f"sides {sides[0]} × {sides[1]} are less than those of the image in pixels of the network, "
            f"{least[0]} × {least[1]}"
        )
    padded = np.zeros((len(smalls), *sides, *smalls[0].shape[2:]), np.float32)
    padded[:, :height, :width] = smalls
    return padded


def _is_empty(small: _Small, clicks: Clicks | None) -> bool:
    """Returns whether an image has no contrast: the network has never seen one, and there is nothing in it.

    Raises:
        UserError: if a cell was clicked there.
    """
    if not is_constant(small):
        return False
    if clicks is not None and len(clicks.peaks):
        raise no_cell_there()
    return True


def _find(small: _Small, likelihood: _Map, *, config: Config, clicks: Clicks | None = None) -> Detection:
    """Returns what there is to detect in an image, or what it is of the cells that were clicked."""
    if _is_empty(small, clicks):
        warn_about_image(_CONSTANT)
        likelihood = np.zeros_like(likelihood)
    found, peaks = config.detect, None if clicks is None else clicks.peaks
    if peaks is None:
        peaks = find_peaks(
            likelihood,
            threshold=found.threshold,
            min_distance=found.min_distance,
            exclude_border=found.exclude_border,
            quantize=found.quantize,
        )
    # The likelihood need not be high where somebody clicked.
    region = found.region if clicks is None else "disc"
    regions = centre_regions(
        likelihood, peaks, region=region, radius=config.region_radius, response=found.response
    )
    return Detection(small, likelihood, peaks, regions)
