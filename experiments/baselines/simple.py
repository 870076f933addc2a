"""The rivals that everyone should beat: from an image and its points to a label image, without any learning."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int32, Integer, Real
from scipy import ndimage
from skimage.filters import sobel, threshold_otsu
from skimage.segmentation import random_walker, watershed

from experiments.baselines.common import check_image, check_points, divide, remembered, tidy, to_pixels
from experiments.space import Choice, Range, Space
from wsis_jax.core import is_constant, nearest_peak


@dataclass(frozen=True)
class VoronoiDisc:
    """A disc around every point, cut by the Voronoi lines between points."""

    radius: float | int = 31  # pixels; the paper's authors' centre region, at their sigma of 12

    def segment(
        self, image: Float32[np.ndarray, "height width"], points: Real[np.ndarray, "cells 2"] | None = None
    ) -> Int32[np.ndarray, "height width"]:
        """Returns the label image; see `Baseline`."""
        check_image(image)
        places = to_pixels(check_points(points, image.shape), image.shape)
        if is_constant(image) or not len(places):
            return np.zeros(image.shape, np.int32)
        index, distance = nearest_peak(places, image.shape)
        return tidy(np.where(distance <= self.radius, index + 1, 0))

    @staticmethod
    def space(diameter: float) -> Space:
        """Returns what is tuned, for cells of this median diameter in pixels."""
        return {"radius": Range(0.2 * diameter, 1.2 * diameter)}


@dataclass(frozen=True)
class MarkerWatershed:
    """Otsu's threshold of the local standard deviation, flooded from the points along the gradient."""

    window: float | int = 3  # sigma of the window of the standard deviation, pixels
    threshold: float | int = 1  # × Otsu's
    smooth: float | int = 1  # sigma of the blur before the gradient, pixels

    def segment(
        self, image: Float32[np.ndarray, "height width"], points: Real[np.ndarray, "cells 2"] | None = None
    ) -> Int32[np.ndarray, "height width"]:
        """Returns the label image; see `Baseline`."""
        check_image(image)
        places = to_pixels(check_points(points, image.shape), image.shape)
        if is_constant(image) or not len(places):
            return np.zeros(image.shape, np.int32)
        markers = _markers(places, image.shape)
        mask = _busy(image, self.window, self.threshold) | (markers > 0)
        return tidy(watershed(sobel(ndimage.gaussian_filter(image, self.smooth)), markers, mask=mask))

    @staticmethod
    def space(diameter: float) -> Space:
        """Returns what is tuned, for cells of this median diameter in pixels."""
        return {
            "window": Range(0.02 * diameter, 0.3 * diameter, log=True),
            "threshold": Range(0.2, 2, log=True),
            "smooth": Range(0.01 * diameter, 0.2 * diameter, log=True),
        }


@dataclass(frozen=True)
class OtsuThreshold:
    """Otsu's threshold of the grey values, divided at the points: what users of fluorescence do.

    Cells are the side of the threshold on which most points are.
    """

    smooth: float | int = 1  # sigma of the blur before it, pixels
    factor: float | int = 1  # × Otsu's threshold
    division: Literal["points", "watershed"] = "points"  # Voronoi lines, or a watershed of distances

    def segment(
        self, image: Float32[np.ndarray, "height width"], points: Real[np.ndarray, "cells 2"] | None = None
    ) -> Int32[np.ndarray, "height width"]:
        """Returns the label image; see `Baseline`."""
        check_image(image)
        places = to_pixels(check_points(points, image.shape), image.shape)
        if is_constant(image) or not len(places):
            return np.zeros(image.shape, np.int32)
        blurred = ndimage.gaussian_filter(image, self.smooth)
        mask = blurred > self.factor * threshold_otsu(blurred)
        if mask[tuple(places.T)].mean() < 0.5:
            mask = ~mask
        if self.division == "points":
            return divide(mask, "points", places)
        markers = _markers(places, image.shape)
        return tidy(watershed(-ndimage.distance_transform_edt(mask), markers, mask=mask | (markers > 0)))

    @staticmethod
    def space(diameter: float) -> Space:
        """Returns what is tuned, for cells of this median diameter in pixels."""
        return {
            "smooth": Range(0.01 * diameter, 0.2 * diameter, log=True),
            "factor": Range(0.5, 1.5),
            "division": Choice(("points", "watershed")),
        }


@dataclass(frozen=True)
class RandomWalker:
    """Random walks between discs at the points and what is far from all of them (Grady 2006), then Voronoi lines.

    One walk tells cells from background; as many as there are cells would take minutes.
    """

    inner: float | int = 5  # radius of the discs, pixels
    outer: float | int = 30  # farther than this from all points is background, pixels
    beta: float | int = 130  # how hard it is to cross an edge; scikit-image's default
    smooth: float | int = 1  # sigma of the blur before it, pixels
    data: Literal["grey", "deviation"] = "grey"  # of the image, or the "deviation" in a window of 3 pixels

    def segment(
        self, image: Float32[np.ndarray, "height width"], points: Real[np.ndarray, "cells 2"] | None = None
    ) -> Int32[np.ndarray, "height width"]:
        """Returns the label image; see `Baseline`."""
        check_image(image)
        points = check_points(points, image.shape)
        if is_constant(image) or not len(points):
            return np.zeros(image.shape, np.int32)
        if not self.inner < self.outer:
            raise ValueError(f"inner must be less than outer, not {self.inner:g} and {self.outer:g}")
        _, distance = nearest_peak(to_pixels(points, image.shape), image.shape)
        seeds = np.select([distance <= self.inner, distance >= self.outer], [1, 2], 0)
        if not (seeds == 2).any():  # nothing is known to be background, so nothing is
            return divide(np.ones(image.shape, bool), "points", points)
        grey = image if self.data == "grey" else _deviation(image, 3)
        smooth = ndimage.gaussian_filter(grey, self.smooth)
        # Solved directly, which takes a tenth of the time of conjugate gradients.
        walked = random_walker(smooth, seeds, beta=self.beta, mode="bf")
        return divide(walked == 1, "points", points)

    @staticmethod
    def space(diameter: float) -> Space:
        """Returns what is tuned, for cells of this median diameter in pixels."""
        return {
            "inner": Range(0.05 * diameter, 0.4 * diameter),
            "outer": Range(0.45 * diameter, 1.5 * diameter),
            "beta": Range(10, 1000, log=True),
            "smooth": Range(0.01 * diameter, 0.2 * diameter, log=True),
            "data": Choice(("grey", "deviation")),
        }


@dataclass(frozen=True)
class VoronoiLikelihood:
    """The likelihood map above a threshold, cut by the Voronoi lines between peaks."""

    threshold: float = 0.3  # of the likelihood

    def segment(
        self, likelihood: Float[np.ndarray, "height width"], peaks: Int[np.ndarray, "cells 2"]
    ) -> Int32[np.ndarray, "height width"]:
        """Returns the label image; label i + 1 belongs to `peaks[i]`."""
        index, _ = nearest_peak(peaks, likelihood.shape)
        return np.where(likelihood > self.threshold, index + 1, 0).astype(np.int32)


def _markers(places: Integer[np.ndarray, "cells 2"], shape: tuple[int, int]) -> Int32[np.ndarray, "height width"]:
    """Returns an image with i + 1 at place i, and 0 elsewhere."""
    markers = np.zeros(shape, np.int32)
    markers[tuple(places.T)] = np.arange(1, len(places) + 1)
    return markers


@remembered
def _deviation(
    image: Float32[np.ndarray, "height width"], sigma: float | int
) -> Float32[np.ndarray, "height width"]:
    """Returns the standard deviation in a Gaussian window around every pixel."""
    mean = ndimage.gaussian_filter(image, sigma)
    return np.sqrt(np.maximum(ndimage.gaussian_filter(image**2, sigma) - mean**2, 0))


def _busy(
    image: Float32[np.ndarray, "height width"], sigma: float | int, factor: float | int
) -> Bool[np.ndarray, "height width"]:
    """Returns where the local standard deviation is above a multiple of Otsu's threshold."""
    deviation = _deviation(image, sigma)
    return deviation > factor * threshold_otsu(deviation)
