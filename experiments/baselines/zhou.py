"""Peak response maps (Zhou et al., CVPR 2018): a classifier's peaks, walked back to pixels, choose proposals."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from flax.serialization import msgpack_serialize
from jaxtyping import Bool, Float, Float32, Int, Int32, Real
from scipy import ndimage, sparse
from skimage.transform import resize

from experiments.baselines.common import check_image, remembered, tidy
from experiments.baselines.proposals import Proposals, propose
from experiments.baselines.response_maps import STRIDE, Responses, find_class_peaks, respond
from experiments.space import Choice, Range, Space

_NEAR = 0.5  # diameters from the peak within which a proposal must come
_BORDER = np.ones((5, 5))  # of the morphological gradient of a proposal, as in the released code


class _Overlaps(NamedTuple):
    """Every pair of a peak and a proposal near it.

    Attributes:
        peak: its index.
        proposal: its index.
        within: the peak response inside the proposal, 0..1.
        border: the peak response on its border, 0..1.
    """

    peak: Int[np.ndarray, " pairs"]
    proposal: Int[np.ndarray, " pairs"]
    within: Float32[np.ndarray, " pairs"]
    border: Float32[np.ndarray, " pairs"]


@dataclass(frozen=True)
class Zhou:
    """The proposal that fits the peak response map best, for every peak of the class map.

    Defaults are those of the released demonstration but for what its network of 20 classes of photographs and its
    proposals set: `peak_threshold`, there 30 of logits of ResNet-50, and the limits of areas, there 2·10⁻⁵ and
    0.85 of the image. Peaks are found on the class map itself: interpolated linearly, as in the paper, it has its
    maxima at the same places.

    Attributes:
        weights: of the classifier, as `zhou_training.learn` returns them.
        diameter: of a median cell, pixels.
        window: side of the window in which a peak is the greatest value, units of the class map, odd.
        peak_threshold: logit that a peak has to exceed; at 0 a cell is as likely as none.
        inside: alpha, the weight of the response inside a proposal beside that on its border.
        background: beta, the weight of background pixels in a proposal.
        likely: kappa; background is where the class map, scaled to 0..1, is below kappa times its mean.
        overlap: intersection over union from which the lower of two chosen proposals goes.
        min_area: of a proposal, pixels.
        max_area: of a proposal, pixels.
    """

    weights: Mapping[str, Any] = field(repr=False, compare=False)
    diameter: float | int = 32.0
    window: int = 3
    peak_threshold: float | int = 0.0
    inside: float | int = 0.8
    background: float | int = 1e-5
    likely: float | int = 0.95
    overlap: float | int = 0.3
    min_area: float | int = 0.0
    max_area: float | int = np.inf

    def __post_init__(self) -> None:
        """Raises ValueError for parameters that make no sense."""
        if self.window < 3 or self.window % 2 == 0:
            raise ValueError(f"window must be odd and at least 3, not {self.window}")
        if self.diameter <= 0:
            raise ValueError(f"diameter must be positive, not {self.diameter:g}")
        if not 0 < self.overlap <= 1:
            raise ValueError(f"overlap must lie in 0..1 and not be 0, not {self.overlap:g}")

    def segment(
        self, image: Float32[np.ndarray, "height width"], points: Real[np.ndarray, "cells 2"] | None = None
    ) -> Int32[np.ndarray, "height width"]:
        """Returns the label image of an image; points are not used. See `Baseline.segment`."""
        del points
        check_image(image)
        nothing = np.zeros(image.shape, np.int32)
        if image.min() == image.max():
            return nothing
        stored = msgpack_serialize(dict(self.weights))
        responses, proposals = respond(image, stored), propose(image, diameter=self.diameter)
        overlaps = find_overlaps(image, stored, self.diameter)
        choice, scores = self._retrieve(responses, proposals, overlaps)
        return paint(proposals, choice[np.argsort(scores, kind="stable")], self.overlap)

    def _retrieve(
        self, responses: Responses, proposals: Proposals, overlaps: _Overlaps
    ) -> tuple[Int[np.ndarray, " chosen"], Float[np.ndarray, " chosen"]]:
        """Returns the proposal of the highest score of every peak, and the score; peaks without one are left out.

        The score is alpha R·S + R·Ŝ - beta Q·S (Eq. 6).
        """
        classes, peaks = responses.classes, tuple(responses.peaks.T)
        valid = (find_class_peaks(classes, self.window) & (classes > self.peak_threshold))[peaks]
        sized = (proposals.areas >= self.min_area) & (proposals.areas <= self.max_area)
        unlikely = proposals.masks @ background(classes, proposals.shape, self.likely).ravel().astype(np.float32)
        score = self.inside * overlaps.within + overlaps.border - self.background * unlikely[overlaps.proposal]
        allowed = np.flatnonzero(valid[overlaps.peak] & sized[overlaps.proposal])
        order = allowed[np.lexsort((-score[allowed], overlaps.peak[allowed]))]
        _, first = np.unique(overlaps.peak[order], return_index=True)
        best = order[first]
        return overlaps.proposal[best], score[best]


@remembered
def find_overlaps(image: Float[np.ndarray, "height width"], stored: bytes, diameter: float | int) -> _Overlaps:
    """Returns how much of each peak response map lies in, and on the border of, the proposals near its peak.

    Args:
        image: grey values, 0..1.
        stored: the weights of the classifier, as bytes.
        diameter: of a median cell, pixels.
    """
    responses, proposals = respond(image, stored), propose(image, diameter=diameter)
    near = sparse.csr_array(_discs(responses.peaks, image.shape, _NEAR * diameter) @ proposals.masks.T)
    peak, proposal = near.nonzero()
    within, border = (
        sparse.csr_array(responses.maps @ masks.T).toarray()[peak, proposal]
        for masks in (proposals.masks, borders(proposals))
    )
    return _Overlaps(peak, proposal, within, border)


def _discs(peaks: Int[np.ndarray, "peaks 2"], shape: tuple[int, int], radius: float) -> sparse.csr_array:
    """Returns, of every peak, the pixels within a radius of the middle of its unit, as rows of a matrix."""
    centres = np.minimum(STRIDE * peaks + STRIDE // 2, np.array(shape) - 1)
    reach = np.arange(-int(radius), int(radius) + 1)
    offsets = np.argwhere(np.hypot(*np.meshgrid(reach, reach, indexing="ij")) <= radius) - int(radius)
    places = centres[:, None] + offsets
    peak, offset = np.nonzero(((places >= 0) & (places < shape)).all(axis=-1))
    pixels = np.ravel_multi_index(tuple(places[peak, offset].T), shape)
    size = len(peaks), shape[0] * shape[1]
    return sparse.csr_array((np.ones(len(peak), np.float32), (peak, pixels)), shape=size)


def borders(proposals: Proposals) -> sparse.csr_array:
    """Returns the morphological gradients of proposals, dilated less eroded, as the rows of a matrix."""
    shape, half = proposals.shape, len(_BORDER) // 2
    places, counts = [], [0]
    for index in range(len(proposals.areas)):
        rows, columns = np.unravel_index(proposals.pixels(index), shape)
        top, left = rows.min() - half, columns.min() - half
        crop = np.zeros((rows.max() + half + 1 - top, columns.max() + half + 1 - left), bool)
        crop[rows - top, columns - left] = True
        edge = ndimage.binary_dilation(crop, _BORDER) & ~ndimage.binary_erosion(crop, _BORDER)
        rows, columns = np.nonzero(edge)
        rows, columns = rows + top, columns + left
        inside = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
        places.append(rows[inside] * shape[1] + columns[inside])
        counts.append(len(places[-1]))
    pixels = np.concatenate([np.zeros(0, np.int64), *places])
    return sparse.csr_array((np.ones(len(pixels), np.float32), pixels, np.cumsum(counts)), proposals.masks.shape)


@remembered
def _enlarged(
    classes: Float32[np.ndarray, "rows columns"], shape: tuple[int, int]
) -> Float32[np.ndarray, "height width"]:
    """Returns the class map as large as the image by cubic interpolation, scaled to 0..1."""
    sides = np.array(classes.shape) * STRIDE
    large = resize(classes, sides, order=3, mode="edge")[: shape[0], : shape[1]]
    return (large - large.min()) / max(float(np.ptp(large)), 1e-12)


def background(
    classes: Float32[np.ndarray, "rows columns"], shape: tuple[int, int], likely: float | int
) -> Bool[np.ndarray, "height width"]:
    """Returns where the class map, as large as the image and scaled to 0..1, is below a multiple of its mean."""
    large = _enlarged(classes, shape)
    return large < likely * large.mean()


def paint(
    proposals: Proposals, chosen: Int[np.ndarray, " chosen"], overlap: float | int
) -> Int32[np.ndarray, "height width"]:
    """Returns the label image of proposals after non-maximum suppression; higher scores lie over lower ones.

    Args:
        proposals: to choose from.
        chosen: their indices, by ascending score.
        overlap: intersection over union from which the lower of two goes.
    """
    masks, areas = proposals.masks[chosen], proposals.areas[chosen]
    common = (masks @ masks.T).toarray()
    alike = common >= overlap * (areas[:, None] + areas - common)
    kept: list[int] = []
    for index in reversed(range(len(chosen))):
        if not alike[index, kept].any():
            kept.append(index)
    labels = np.zeros(proposals.shape, np.int32)
    for label, index in enumerate(reversed(kept), start=1):
        labels.ravel()[proposals.pixels(int(chosen[index]))] = label
    return tidy(labels)


def space(diameter: float) -> Space:
    """Returns what is tuned, for cells of a median diameter in pixels."""
    area = np.pi / 4 * diameter**2
    return {
        "window": Choice((3, 5)),
        "peak_threshold": Range(-5.0, 30.0),
        "inside": Range(0.03, 10.0, log=True),
        "background": Range(1e-5, 1e-2, log=True),
        "likely": Range(0.8, 3.0, log=True),
        "overlap": Range(0.05, 0.5),
        "min_area": Range(0.2 * area, 0.9 * area),
        "max_area": Range(1.2 * area, 4.0 * area),
    }
