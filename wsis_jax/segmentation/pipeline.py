"""Segmentation: a trained model and an image to a label image, with every step on the way."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32, Real

from wsis_jax.core import (
    MIRRORS,
    Config,
    Detection,
    LocatedCells,
    Segmentation,
    UserError,
    check_channels,
    check_values,
    explaining_out_of_memory,
    is_constant,
    mirror,
    normalize_by,
    resize_image,
    rounded_up,
    scaled_shape,
    stage,
    warn_about_image,
)
from wsis_jax.cutting import cut_and_fuse
from wsis_jax.network import Model, Record, pad_to_stride, propagate, record_images, record_images_and_views
from wsis_jax.points import centre_regions, find_peaks
from wsis_jax.segmentation.clicks import Clicks, marks_of, no_cell_there, place_clicks
from wsis_jax.segmentation.kept_cells import areas_of, choose_cells, warn_of_size, without_specks

_Image = Float[np.ndarray, "height width *channels"]
_Images = Float[np.ndarray, "batch height width *channels"]
_Points = Real[np.ndarray, "_ 2"]
# In pixels of the network.
_Small = Float32[np.ndarray, "height width *channels"]
_Map = Float32[np.ndarray, "height width"]


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
        raise UserError("the image holds values that are no numbers (NaN or infinite); replace them first")
    with stage("forward"):
        smalls = [_prepare(image, config) for image in images]
    located = []
    height, width = smalls[0].shape[:2]
    with explaining_out_of_memory(
        f"{height} × {width} pixels of the network do not fit into memory; segment in tiles (--tiles)"
    ):
        with stage("forward"):
            records, likelihoods = _look(model, smalls, config=config, sides=sides)
        for index, (small, likelihood, clicks) in enumerate(zip(smalls, likelihoods, clicked, strict=True)):
            with stage("forward"):
                detection = _find(small, likelihood, config=config, clicks=clicks)
            with stage("contributions"):
                winner = propagate(model, detection, config=config, recorded=records, index=index)
            given = None if clicks is None else clicks.points
            located.append(LocatedCells(detection, winner, given, learned_diameter(model, config)))
    return located


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


def _look(
    model: Model, smalls: list[_Small], *, config: Config, sides: tuple[int, int] | None
) -> tuple[Record, Float32[np.ndarray, "batch height width"]]:
    """Passes images of equal size through the network; returns their record and likelihood maps."""
    stride, shape = model.network.stride, smalls[0].shape[:2]
    frame = rounded_up(shape, stride)
    height, width = sides or frame
    if height < frame[0] or width < frame[1]:
        raise UserError(
            f"sides {height} × {width} are less than those of the image in pixels of the network, "
            f"{frame[0]} × {frame[1]}"
        )

    def padded(images: list[_Small]) -> Float32[np.ndarray, "batch _ _ *channels"]:
        framed = np.stack([pad_to_stride(image, stride)[0] for image in images])
        beyond = ((0, 0), (0, height - frame[0]), (0, width - frame[1]), (0, 0))
        return np.pad(framed, beyond[: framed.ndim])

    model = model.using(config)  # each device passes its share of the images
    if config.detect.views == 1:
        records = record_images(model, padded(smalls), frame)
        return records, np.asarray(records.likelihood)[:, : shape[0], : shape[1]]
    # The network is not quite as blind to mirroring as cells are: where its views agree there is a cell.
    views = np.stack([padded([mirror(small, steps) for small in smalls]) for steps in MIRRORS], axis=1)
    records, seen = record_images_and_views(model, padded(smalls), views, frame)
    likelihoods = np.asarray(records.likelihood)[:, : shape[0], : shape[1]]
    for view, steps in zip(np.asarray(seen).swapaxes(0, 1), MIRRORS, strict=True):
        likelihoods = likelihoods + mirror(view[:, : shape[0], : shape[1]], steps, axis=1)
    return records, likelihoods / 4


def _find(small: _Small, likelihood: _Map, *, config: Config, clicks: Clicks | None = None) -> Detection:
    """Returns what there is to detect in an image, or what it is of the cells that were clicked."""
    if is_constant(small):
        if clicks is not None and len(clicks.peaks):
            raise no_cell_there()
        # The network has never seen an image without any contrast, and there is nothing in it to find.
        warn_about_image("the image is constant, so it holds no cells")
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
