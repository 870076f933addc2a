"""Segmentation: a trained model and an image to a label image, with every step on the way."""

import warnings
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64, Int32, Int64

from wsis_jax.checkpoint import Run
from wsis_jax.config import Config
from wsis_jax.guided import WinnerMap, winner_map
from wsis_jax.imageio import is_constant, normalize_image
from wsis_jax.instances import cut_cells, foreground_seeds, fuse_nearest, fuse_sequentially
from wsis_jax.likelihood import centre_regions, find_peaks
from wsis_jax.scaling import resize_image, resize_labels
from wsis_jax.unet import pad_to_stride, predict


class Detection(NamedTuple):
    """What the network says of an image; pixels are those of the network.

    Attributes:
        image: normalised and resized, 0..1.
        likelihood: the likelihood map, 0..1.
        peaks: (row, column) of the cells, in raster order.
        regions: i + 1 in the centre region of cell i.
    """

    image: Float32[np.ndarray, "height width"]
    likelihood: Float32[np.ndarray, "height width"]
    peaks: Int64[np.ndarray, "cells 2"]
    regions: Int32[np.ndarray, "height width"]


class Segmentation(NamedTuple):
    """The result of `segment`.

    Attributes:
        labels: 0 for background, i + 1 for the cell of `points[i]`; pixels of the image as given.
        points: (row, column) of the detected cells, in pixels of the image as given.
        scores: the likelihood at each point, 0..1.
        detection: the steps up to the centre regions, in pixels of the network.
        winner: the winner map, in pixels of the network.
    """

    labels: Int32[np.ndarray, "image_height image_width"]
    points: Float64[np.ndarray, "cells 2"]
    scores: Float32[np.ndarray, " cells"]
    detection: Detection
    winner: WinnerMap


def detect(run: Run, image: Float[np.ndarray, "height width"], *, config: Config | None = None) -> Detection:
    """Returns likelihood map, peaks and centre regions of an image of grey values of any range.

    Args:
        run: a trained model.
        image: grey values as read from the file.
        config: settings other than those of the run, for instance of `preset("paper", run.config)`.
    """
    config = config or run.config
    settings, sigma, scale = config.image, *_sigma_and_scale(config)
    values = image.astype(np.float32)
    normalized = normalize_image(values, method=settings.normalization, low=settings.low, high=settings.high)
    small = resize_image(normalized, scale)
    if is_constant(values):
        # The network has never seen an image without any contrast, and there is nothing in it to find.
        warnings.warn("the image is constant, so it holds no cells", stacklevel=2)
        likelihood = np.zeros_like(small)
    else:
        likelihood = predict(run.model, run.variables, small)
    found = config.detect
    peaks = find_peaks(
        likelihood,
        threshold=found.threshold,
        min_distance=found.min_distance,
        exclude_border=found.exclude_border,
        quantize=found.quantize,
    )
    regions = centre_regions(
        likelihood, peaks, region=found.region, radius=found.radius * sigma * scale, response=found.response
    )
    return Detection(small, likelihood, peaks, regions)


def segment(run: Run, image: Float[np.ndarray, "height width"], *, config: Config | None = None) -> Segmentation:
    """Segments the cells of an image: detection, contribution maps, one graph cut per cell, one label image.

    Args:
        run: a trained model, from `load_run` or `train`.
        image: grey values of any range; any size.
        config: settings other than those of the run, for instance of `preset("paper", run.config)`.

    Raises:
        ValueError: if the image holds NaN or infinite values.
    """
    config = config or run.config
    if not np.isfinite(image).all():
        raise ValueError("the image holds values that are no numbers (NaN or infinite); replace them first")
    detection = detect(run, image, config=config)
    winner = propagate(run, detection, config=config)
    labels = cut_and_fuse(detection, winner, config=config)
    # By the sides as they are, not by the scale, which rounding changed.
    ratio = np.array(image.shape) / np.array(detection.image.shape)
    return Segmentation(
        labels=resize_labels(labels, image.shape),
        points=(detection.peaks + 0.5) * ratio - 0.5,
        scores=detection.likelihood[tuple(detection.peaks.T)],
        detection=detection,
        winner=winner,
    )


def propagate(run: Run, detection: Detection, *, config: Config) -> WinnerMap:
    """Returns the winner map of the detected cells' contribution maps."""
    settings = config.contribution
    padded, frame = pad_to_stride(detection.image, run.model.stride)
    margin = [(0, p - n) for p, n in zip(padded.shape, detection.image.shape, strict=True)]
    winner = winner_map(
        run.model,
        run.variables,
        padded,
        np.pad(detection.regions, margin),
        cells=len(detection.peaks),
        method=settings.method,
        rule=settings.rule,
        start=settings.start,
        start_at=settings.start_at,
        chunk=settings.chunk,
    )
    return WinnerMap(*(part[frame] for part in winner))


def cut_and_fuse(detection: Detection, winner: WinnerMap, *, config: Config) -> Int32[np.ndarray, "height width"]:
    """Returns the label image of the detected cells, in pixels of the network."""
    settings = config.cut
    sigma, scale = _sigma_and_scale(config)
    seeds = foreground_seeds(
        winner.value,
        winner.owner,
        scale=settings.seed_scale,
        threshold=settings.seed_threshold,
        min_area=settings.min_seed_area,
    )
    cuts = cut_cells(
        detection.image,
        detection.peaks,
        seeds,
        reach=None if settings.reach is None else settings.reach * sigma * scale,
        data=settings.data,
        data_weight=settings.data_weight,
        edge_weight=settings.edge_weight,
        edge_bright=settings.edge_bright,
        edge_step=settings.edge_step,
        edge_pixel=settings.edge_pixel,
        conflict=settings.conflict,
        fill_others=settings.fill_others,
        dilate=settings.dilate,
        erode=settings.erode,
    )
    fuse = fuse_nearest if settings.overlap == "nearest" else fuse_sequentially
    return fuse(cuts, detection.peaks, detection.image.shape)


def _sigma_and_scale(config: Config) -> tuple[float, float]:
    """Returns the two settings that a trained model always has as numbers."""
    sigma, scale = config.likelihood.sigma, config.image.scale
    if sigma is None or scale is None:
        raise ValueError("likelihood.sigma and image.scale must be numbers; take the config of a trained run")
    return sigma, scale
