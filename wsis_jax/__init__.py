"""Cell instance segmentation learnt from rough cell centroids alone.

Conventions, the same in every file:

* Arrays are (row, column); a point is (row, column) in pixels, and the centre of the top-left pixel is (0, 0).
* Images are float32, 0..1 after normalisation; batches are (batch, height, width, channel).
* Labels are 0 for background and 1..N for cells; saved as uint16 up to 65,535 cells and as uint32 above.
* Lengths are pixels; sigma is a standard deviation.
"""

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wsis_jax.core.config import Config as Config
    from wsis_jax.core.normalization import normalize_image as normalize_image
    from wsis_jax.core.presets import preset as preset
    from wsis_jax.core.types import Segmentation as Segmentation
    from wsis_jax.core.types import WinnerMap as WinnerMap
    from wsis_jax.io.label_file import read_image as read_image
    from wsis_jax.io.label_file import write_labels as write_labels
    from wsis_jax.io.point_file import read_points as read_points
    from wsis_jax.metrics import match_labels as match_labels
    from wsis_jax.metrics import match_points as match_points
    from wsis_jax.metrics import pool_scores as pool_scores
    from wsis_jax.network.contributions import contribution_maps as contribution_maps
    from wsis_jax.network.contributions import winner_map as winner_map
    from wsis_jax.network.model import Run as Run
    from wsis_jax.network.model import load_run as load_run
    from wsis_jax.network.rules import guided_relu as guided_relu
    from wsis_jax.network.unet import UNet as UNet
    from wsis_jax.network.unet import fold_batch_norm as fold_batch_norm
    from wsis_jax.output.cell_table import measure_cells as measure_cells
    from wsis_jax.points.checks import PointReport as PointReport
    from wsis_jax.points.checks import inspect_points as inspect_points
    from wsis_jax.points.likelihood import centre_regions as centre_regions
    from wsis_jax.points.likelihood import find_peaks as find_peaks
    from wsis_jax.points.likelihood import render_likelihood as render_likelihood
    from wsis_jax.points.nuclei import Nuclei as Nuclei
    from wsis_jax.points.nuclei import find_nuclei as find_nuclei
    from wsis_jax.points.suggestions import suggest_sigma as suggest_sigma
    from wsis_jax.segmentation.pipeline import segment as segment
    from wsis_jax.segmentation.pipeline import segment_batch as segment_batch
    from wsis_jax.segmentation.tiled.tiling import segment_tiled as segment_tiled
    from wsis_jax.synthetic import draw_scene as draw_scene
    from wsis_jax.training.trainer import train as train

__version__ = version("wsis-jax")

# Where each public name lives; it is imported when it is first used, so that `wsis --help` does not wait for
# JAX.
_HOMES = {
    "Config": "config",
    "Nuclei": "nuclei",
    "PointReport": "inspection",
    "Run": "model",
    "Segmentation": "types",
    "UNet": "unet",
    "WinnerMap": "types",
    "centre_regions": "likelihood",
    "contribution_maps": "guided",
    "draw_scene": "synthetic",
    "find_nuclei": "nuclei",
    "find_peaks": "likelihood",
    "fold_batch_norm": "unet",
    "guided_relu": "relu",
    "inspect_points": "inspection",
    "load_run": "model",
    "match_labels": "metrics",
    "match_points": "metrics",
    "measure_cells": "cells",
    "normalize_image": "normalization",
    "pool_scores": "metrics",
    "preset": "presets",
    "read_image": "imageio",
    "read_points": "points",
    "render_likelihood": "likelihood",
    "segment": "segmentation",
    "segment_batch": "segmentation",
    "segment_tiled": "tiling",
    "suggest_sigma": "suggestions",
    "train": "training",
    "winner_map": "guided",
    "write_labels": "imageio",
}
__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(f"wsis_jax.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'wsis_jax' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
