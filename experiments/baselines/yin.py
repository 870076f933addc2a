"""Understanding the phase contrast optics to restore artifact-free images (Yin, Kanade and Chen 2012)."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float32, Int32, Real
from skimage.filters import threshold_otsu

from experiments.baselines.common import Division, check_image, clean, divide, flatten, remembered
from experiments.baselines.restoration import Kernel, Solver, halo_kernel, restore
from experiments.space import Choice, Range, Space

Halo = Literal["released", "released-4", "rings", "physical"]

_HALOS: dict[str, tuple[Kernel, float, float]] = {  # kernel, outer radius and width of the phase ring
    "released": ("released", 4000.0, 800.0),  # the authors' linear model
    "released-4": ("released", 4.0, 0.8),  # their set for stem cells, at a reach of 2
    "rings": ("rings", 4000.0, 800.0),  # an independent version, at a reach of 3
    "physical": ("physical", 0.4, 0.08),  # the same ring, its outer radius where resolution ends; ours
}
_FAINTEST = 1e-3  # phase, in grey values, that is nothing: multiplicative updates leave such remains of it


@dataclass(frozen=True)
class Yin:
    """The phase that cells add, restored from the image, above a threshold.

    Finds cells darker than their halo. Defaults are those of the authors' code for the linear model, but for what
    it leaves to the user, how a restored image becomes cells.

    Raises:
        ValueError: for parameters that are out of their range.
    """

    kernel: Halo = "released"
    reach: int = 5  # pixels from the middle to the border of the kernel
    smoothness: float | int = 1  # ω_s
    sparsity: float | int = 0.5  # ω_r
    evenness: float | int = 100  # ε
    gamma: float | int = 3
    solver: Solver = "fista"  # ours; the paper has "multiplicative", which takes longer to the same minimum
    threshold: float | int = 1  # × Otsu's; as in the authors' example
    closing: int = 2  # radius, pixels; ours, as are those below: restored cells are in pieces
    max_hole: float | int = np.inf  # pixels
    min_area: float | int = 100  # pixels
    division: Division = "components"

    def __post_init__(self) -> None:
        for name, options in (("kernel", Halo), ("solver", Solver), ("division", Division)):
            if getattr(self, name) not in get_args(options):
                raise ValueError(
                    f"{name} must be one of {', '.join(get_args(options))}, not {getattr(self, name)}"
                )
        for name in ("smoothness", "sparsity", "evenness", "threshold", "closing", "max_hole", "min_area"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0, not {getattr(self, name)}")
        if not self.gamma > 0:
            raise ValueError(f"gamma must be above 0, not {self.gamma}")
        if self.reach < 1:
            raise ValueError(f"reach must be at least 1 pixel, not {self.reach}")

    def segment(
        self, image: Float32[np.ndarray, "height width"], points: Real[np.ndarray, "cells 2"] | None = None
    ) -> Int32[np.ndarray, "height width"]:
        """Returns the label image of an image; see `Baseline.segment`.

        Args:
            image: grey values, 0..1.
            points: (row, column) of the cells, for division by points only.
        """
        check_image(image)
        phase = self.restored(image)
        mask = phase > max(self.threshold * threshold_otsu(phase), _FAINTEST)
        mask = clean(mask, min_area=self.min_area, max_hole=self.max_hole, closing=self.closing)
        return divide(mask, self.division, points)

    def restored(self, image: Float32[np.ndarray, "height width"]) -> Float32[np.ndarray, "height width"]:
        """Returns the restored image: the phase, 0 or more."""
        return _restored(
            image,
            self.kernel,
            self.reach,
            smoothness=self.smoothness,
            sparsity=self.sparsity,
            evenness=self.evenness,
            gamma=self.gamma,
            solver=self.solver,
        )


@remembered
def _restored(
    image: Float32[np.ndarray, "height width"], kernel: Halo, reach: int, **settings: Any
) -> Float32[np.ndarray, "height width"]:
    """Returns the restored image."""
    kind, radius, width = _HALOS[kernel]
    return restore(flatten(image), halo_kernel(kind, radius=radius, width=width, reach=reach), **settings)


def space(diameter: float) -> Space:
    """Returns what is tuned, for cells of a median diameter in pixels."""
    area = np.pi / 4 * diameter**2
    return {
        "kernel": Choice(("released-4", "released", "rings", "physical")),
        "reach": Choice((2, 3, 5)),
        "smoothness": Choice((0.1, 0.3, 1, 3, 10)),
        "sparsity": Choice((0.001, 0.005, 0.05, 0.15, 0.5)),
        "gamma": Choice((0.1, 3)),
        "threshold": Range(0.05, 1.5, log=True),
        "closing": Range(0, diameter / 8, whole=True),
        "min_area": Range(0.05 * area, 0.6 * area, log=True),
    }
