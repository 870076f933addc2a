"""The front part of the method, kept: likelihood map, peaks and winner map of an image, ready to be cut.

The network and the contribution maps take seconds an image, cuts a fraction of one; a sweep of the cuts computes
the front part once and finds it again in the work folder.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Int32

from experiments.folds import Case
from wsis_jax.core import Config, Detection, WinnerMap, replacing, scale_points
from wsis_jax.cutting import cut_and_fuse
from wsis_jax.metrics import PointMatch, Scores, match_labels, match_points, pool_scores
from wsis_jax.network import Model
from wsis_jax.points import centre_regions
from wsis_jax.segmentation import detect, propagate

Peaks = Literal["found", "true"]


class Front(NamedTuple):
    """One image on its way to the cuts, in pixels of the network, and the truth about it."""

    case: Case
    detection: Detection
    winner: WinnerMap
    config: Config  # of the run

    def points(self) -> np.ndarray:
        """Returns the peaks in pixels of the image as given."""
        ratio = np.array(self.case.masks.shape) / np.array(self.detection.likelihood.shape)
        return (self.detection.peaks + 0.5) * ratio - 0.5


def front(run: Model, case: Case, folder: Path, settings: Sequence[str] = (), *, peaks: Peaks = "found") -> Front:
    """Returns the front part of an image, from the folder of its run if it was computed before.

    Args:
        run: a trained model.
        case: image and truth.
        folder: of the run; fronts are kept beside its weights.
        settings: changes of the settings of detection and contributions.
        peaks: those that the network found, or (as a ceiling) the true ones.
    """
    config = run.config.override(settings)
    parts = config.to_dict()
    weights = sorted(path.name for path in (folder / "weights").iterdir())
    seen = hashlib.sha256(
        np.ascontiguousarray(case.image).data
    ).hexdigest()  # a name may come to mean another crop
    described = [
        seen,
        weights,
        parts["image"],
        parts["detect"],
        parts["contribution"],
        parts["cut"]["reach"],
        peaks,
    ]
    key = hashlib.sha256(json.dumps(described).encode()).hexdigest()[:12]
    file = folder / "fronts" / f"{case.name}-{key}.npz"
    if not file.exists():
        detection = detect(run, case.image, config=config)
        if peaks == "true":
            detection = _at_true_peaks(detection, case, config)
        winner = propagate(run, detection, config=config)
        file.parent.mkdir(exist_ok=True)
        with replacing(file) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **detection._asdict(), **winner._asdict())
    with np.load(file) as kept:
        return Front(
            case,
            Detection(*(kept[name] for name in Detection._fields)),
            WinnerMap(*(kept[name] for name in WinnerMap._fields)),
            run.config,
        )


def _at_true_peaks(detection: Detection, case: Case, config: Config) -> Detection:
    """Returns the detection with the clicked points in place of the peaks."""
    shape = detection.likelihood.shape
    places = np.round(scale_points(case.points, config.network_scale)).astype(np.int64)
    peaks = np.unique(np.clip(places, 0, np.array(shape) - 1), axis=0)
    regions = centre_regions(
        detection.likelihood,
        peaks,
        region=config.detect.region,
        radius=config.region_radius,
        response=config.detect.response,
    )
    return detection._replace(peaks=peaks, regions=regions)


def cut_front(front: Front, config: Config) -> Int32[np.ndarray, "height width"]:
    """Returns the label image of a front, in pixels of the image as given."""
    image, peaks = front.detection.image, front.detection.peaks
    return cut_and_fuse(image, peaks, front.winner, config=config).fit(peaks, front.case.masks.shape)


def score(
    fronts: Sequence[Front], segment: Callable[[Front], Int32[np.ndarray, "height width"]], *, distance: float
) -> Scores:
    """Returns the pooled scores of a way to get label images from fronts; points count within a distance."""
    return pool_scores(
        [match_labels(segment(front), front.case.masks) for front in fronts],
        [match_front_points(front, distance) for front in fronts],
    )


def match_front_points(front: Front, distance: float) -> PointMatch:
    """Compares the peaks of a front with the true points, in pixels of the image."""
    return match_points(front.points(), front.case.points, distance=distance)
