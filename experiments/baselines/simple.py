"""The rivals that everyone should beat: from an image and its peaks to a label image, without any learning."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Int32
from scipy import ndimage
from skimage.filters import sobel, threshold_otsu
from skimage.segmentation import watershed

from wsis_jax.likelihood import nearest_peak


@dataclass(frozen=True)
class VoronoiDisc:
    """A disc around every peak, cut by the Voronoi lines between peaks."""

    radius: float  # pixels

    def segment(
        self, image: Float[np.ndarray, "height width"], peaks: Int[np.ndarray, "cells 2"]
    ) -> Int32[np.ndarray, "height width"]:
        """Returns the label image; label i + 1 belongs to `peaks[i]`."""
        index, distance = nearest_peak(peaks, image.shape)
        return np.where(distance <= self.radius, index + 1, 0).astype(np.int32)


@dataclass(frozen=True)
class MarkerWatershed:
    """Otsu's threshold of the local standard deviation, flooded from the peaks along the gradient."""

    sigma: float = 3.0  # pixels; of the window of the local standard deviation

    def segment(
        self, image: Float[np.ndarray, "height width"], peaks: Int[np.ndarray, "cells 2"]
    ) -> Int32[np.ndarray, "height width"]:
        """Returns the label image; label i + 1 belongs to `peaks[i]`."""
        mean = ndimage.gaussian_filter(image, self.sigma)
        variance = ndimage.gaussian_filter(image**2, self.sigma) - mean**2
        deviation = np.sqrt(np.maximum(variance, 0))
        markers = np.zeros(image.shape, np.int32)
        markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
        mask = (deviation > threshold_otsu(deviation)) | (markers > 0)
        return watershed(sobel(ndimage.gaussian_filter(image, 1)), markers, mask=mask).astype(np.int32)


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
