"""Graph cut with asymmetric boundary costs, after Bensch and Ronneberger (ISBI 2015).

In positive phase contrast a cell is dark and its halo bright: both the outline of the cell and the outer edge of
the halo are strong edges, but only at the outline does the image become brighter outwards. A cut that favours such
edges alone finds the cell where a symmetric cut finds the halo. That is the paper's; no code of it was released,
so that the weights are those of Boykov and Funka-Lea (2006), and the numbers were chosen anew.
"""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float, Float32, Float64, Int32, Integer, Real
from scipy import ndimage
from skimage.filters import threshold_otsu

from experiments.baselines.asymmetric_cut import asymmetric_costs, contrast, directed_cut
from experiments.baselines.common import (
    Division,
    check_image,
    check_points,
    clean,
    divide,
    flatten,
    remembered,
)
from experiments.baselines.joint_histogram import Counts, count, log_ratio, look_up
from experiments.space import Choice, Range, Space

Example: TypeAlias = tuple[Float[np.ndarray, "_ _"], Integer[np.ndarray, "_ _"]]
"""An image, 0..1, and its label image of the same shape."""

_SURE = 4.0  # log odds beyond which the regional term knows no better
_FAINT = 1 / 255  # a spread below one step of an 8-bit image is not contrast


@dataclass(frozen=True)
class Bensch:
    """The mask that ends where the image becomes brighter outwards, divided into cells.

    It is the x of least Σ_p U(p)⁺ [x(p) = 0] + U(p)⁻ [x(p) = 1] + Σ_(p → q) w(p → q) [x(p) = 1, x(q) = 0] over
    eight neighbours in both directions, with w of `asymmetric_costs`. The image I is flattened, smoothed and
    divided by its spread. The regional term is U = clip(V + bias, ±4), and V is

    * "histogram": log p(I, s | cell) - log p(I, s | background), learnt from examples,
    * "deviation": 4 (s / t - 1), with t Otsu's threshold of s, which needs no examples,

    where s is the local standard deviation of I. The directed costs are the paper's; the division into connected
    components is that of a later comparison; all else is reconstructed. Noise without cells whose spread, once
    smoothed, is above 1/255 is scaled as cells are, and may be taken for such.

    Raises:
        ValueError: for parameters that make no sense; when segmenting, for "histogram" without examples or with
            examples that are not such, and what `Baseline.segment` raises.
    """

    regional: Literal["histogram", "deviation"] = "histogram"
    examples: tuple[Example, ...] = field(default=(), repr=False, compare=False)  # for "histogram"
    polarity: Literal[1, -1] = 1  # 1 where cells are darker than their halos, -1 where they are brighter
    smoothing: float | int = 1.0  # standard deviation of a Gaussian, pixels
    window: int = 9  # side of the square of the local standard deviation, pixels; odd
    bias: float | int = 0.0  # towards cells, log odds
    weight: float | int = 5.0  # of the boundary
    tolerance: float | int = 1.0  # of `asymmetric_costs`, in units of the image's contrast
    wrong_way: float | int = 1.0  # of `asymmetric_costs`
    min_area: float | int = 160.0  # pixels; a fifth of a cell of 32 pixels
    max_hole: float | int = 80.0  # pixels
    opening: int = 1  # radius, pixels
    division: Division = "components"

    def __post_init__(self) -> None:
        """Refuses parameters that make no sense."""
        if self.regional not in ("histogram", "deviation"):
            raise ValueError(f'regional must be "histogram" or "deviation", not {self.regional!r}')
        if self.polarity not in (1, -1):
            raise ValueError(f"polarity must be 1 (dark cells) or -1 (bright cells), not {self.polarity}")
        if self.window < 3 or self.window % 2 == 0:
            raise ValueError(f"window must be an odd number of pixels from 3 on, not {self.window}")
        if self.tolerance <= 0:
            raise ValueError(f"tolerance must be above 0, not {self.tolerance}")
        for name in ("smoothing", "weight", "wrong_way", "min_area", "max_hole", "opening"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, not {getattr(self, name)}")

    def segment(
        self, image: Float32[np.ndarray, "height width"], points: Real[np.ndarray, "cells 2"] | None = None
    ) -> Int32[np.ndarray, "height width"]:
        """Returns the label image of an image; points are of use to the division "points" alone."""
        check_image(image)
        if self.division == "points":
            check_points(points, image.shape)
        table = self._learnt() if self.regional == "histogram" else None
        level = _level(image, polarity=self.polarity, smoothing=self.smoothing)
        if not level.any():
            return np.zeros(image.shape, np.int32)
        deviation = _deviation(level, window=self.window)
        if table is None:
            evidence = _SURE * (deviation / threshold_otsu(deviation) - 1)
        else:
            evidence = look_up(table, level, deviation)
        costs = asymmetric_costs(
            level,
            weight=self.weight,
            tolerance=self.tolerance * contrast(level),
            wrong_way=self.wrong_way,
        )
        mask = directed_cut(np.clip(evidence + self.bias, -_SURE, _SURE), costs)
        mask = clean(mask, min_area=self.min_area, max_hole=self.max_hole, opening=self.opening)
        return divide(mask, self.division, points)

    def _learnt(self) -> Float64[np.ndarray, "levels deviations"]:
        """Returns the log ratio that the examples give."""
        if not self.examples:
            raise ValueError(
                'the regional term "histogram" is learnt from examples; give some, or take "deviation"'
            )
        features = {"polarity": self.polarity, "smoothing": self.smoothing, "window": self.window}
        counts = np.sum([_counts(image, masks, **features) for image, masks in self.examples], axis=0)
        if not counts.any(axis=(1, 2)).all():
            raise ValueError("the examples must show cells and background; add one that holds what is missing")
        return log_ratio(counts)


def space(diameter: float) -> Space:
    """Returns what is tuned; `bias` also moves the threshold of the regional term "deviation".

    Args:
        diameter: median of the cells, in pixels.
    """
    pixel = diameter / 32
    area = np.pi * diameter**2 / 4
    return {
        "smoothing": Choice((0.0, pixel, 1.5 * pixel, 2 * pixel)),
        "window": Choice(tuple(2 * max(1, round(half * pixel)) + 1 for half in (1, 2, 4, 7))),
        "bias": Range(-3, 2),
        "weight": Range(0.3, 30, log=True),
        "tolerance": Range(0.2, 4, log=True),
        "wrong_way": Range(1, 4, log=True),
        "min_area": Range(0.1 * area, 0.6 * area),
        "max_hole": Range(0, 0.6 * area),
        "opening": Choice(tuple(round(radius * pixel) for radius in range(6))),
    }


@remembered
def _level(
    image: Float[np.ndarray, "height width"], *, polarity: int, smoothing: float | int
) -> Float32[np.ndarray, "height width"]:
    """Returns I: flattened, with dark cells, smoothed, and divided by its spread; zeros if there is no contrast.

    The spread is a quarter of what lies between the percentiles that two standard deviations are away from the
    mean of a normal distribution.
    """
    level = ndimage.gaussian_filter(polarity * flatten(image), smoothing)
    low, high = np.percentile(level, (2.275, 97.725))
    spread = (high - low) / 4
    return (level / spread).astype(np.float32) if spread > _FAINT else np.zeros_like(level)


@remembered
def _deviation(level: Float32[np.ndarray, "height width"], *, window: int) -> Float32[np.ndarray, "height width"]:
    """Returns the local standard deviation s."""
    exact = level.astype(np.float64)
    mean = ndimage.uniform_filter(exact, window)
    variance = ndimage.uniform_filter(exact**2, window) - mean**2
    return np.sqrt(np.maximum(variance, 0)).astype(np.float32)


@remembered
def _counts(
    image: Float[np.ndarray, "_ _"],
    masks: Integer[np.ndarray, "_ _"],
    *,
    polarity: int,
    smoothing: float | int,
    window: int,
) -> Counts:
    """Returns the histograms of one example."""
    check_image(image)
    if masks.shape != image.shape:
        raise ValueError(f"an example's masks must have the shape of its image, {image.shape}, not {masks.shape}")
    level = _level(image, polarity=polarity, smoothing=smoothing)
    return count(level, _deviation(level, window=window), masks > 0)
