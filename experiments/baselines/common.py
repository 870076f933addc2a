"""What the baselines share: one signature, checks of input, flattening, and the way from a mask to labels."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from functools import wraps
from typing import Any, Literal, ParamSpec, Protocol, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Float32, Int32, Integer, Real
from scipy import ndimage
from skimage.morphology import disk
from skimage.segmentation import watershed

from wsis_jax.core import nearest_peak

Division = Literal["components", "distance", "points"]
"""How a mask becomes cells: its connected components, a watershed of distances, or the nearest point."""

_P = ParamSpec("_P")
_T = TypeVar("_T")
_REMEMBERED = 128  # results of each stage; more are forgotten, the one that was asked for longest ago first
_memories: list[OrderedDict[Any, Any]] = []


class Baseline(Protocol):
    """A method: a frozen dataclass of its parameters, and of what it learnt, with one function."""

    def segment(
        self, image: Float32[np.ndarray, "height width"], points: Real[np.ndarray, "cells 2"] | None = None
    ) -> Int32[np.ndarray, "height width"]:
        """Returns the label image of an image.

        Args:
            image: grey values, 0..1.
            points: (row, column) of the cells, in pixels; None for methods that take none.

        Returns:
            0 for background and 1..N for cells, each one 4-connected; no cell if there is none in the image.

        Raises:
            ValueError: for an image or points that are not such.
        """
        ...


def check_image(image: np.ndarray) -> None:
    """Raises ValueError unless the image is two-dimensional with finite grey values of 0..1."""
    if image.ndim != 2 or image.size == 0:
        raise ValueError(f"the image must have two dimensions, height and width, not shape {image.shape}")
    if not np.isfinite(image).all():
        raise ValueError("the image holds values that are not numbers (NaN or infinite); replace them first")
    if image.min() < 0 or image.max() > 1:
        raise ValueError(
            f"the image's grey values must lie in 0..1, not {image.min():g}..{image.max():g}; normalise it first"
        )


def check_points(points: np.ndarray | None, shape: tuple[int, int]) -> Real[np.ndarray, "cells 2"]:
    """Returns the points; raises ValueError unless they are (row, column) inside the image."""
    if points is None:
        raise ValueError("this method needs points, (row, column) of the cells; there are none")
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"points must have shape (cells, 2), not {points.shape}")
    if not np.isfinite(points).all():
        raise ValueError("points must be finite numbers")
    outside = ((points < -0.5) | (points > np.array(shape) - 0.5)).any(axis=1)
    if outside.any():
        row, column = points[np.argmax(outside)]
        raise ValueError(
            f"the point ({row:g}, {column:g}) lies outside the image of {shape[0]} × {shape[1]} pixels"
        )
    return points


def to_pixels(points: Real[np.ndarray, "cells 2"], shape: tuple[int, int]) -> Integer[np.ndarray, "cells 2"]:
    """Returns the pixels that hold the points."""
    return np.clip(np.round(points).astype(np.int64), 0, np.array(shape) - 1)


def flatten(image: Float[np.ndarray, "height width"]) -> Float32[np.ndarray, "height width"]:
    """Returns the image less the second-order polynomial of row and column that fits it best."""
    row, column = (np.linspace(-1, 1, side) for side in image.shape)
    powers = [(0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2)]
    terms = np.stack([np.outer(row**i, column**j).ravel() for i, j in powers], axis=1)
    # Of the normal equations, since those of all pixels take many times as long; an image of one pixel has fewer.
    best, *_ = np.linalg.lstsq(terms.T @ terms, terms.T @ image.ravel(), rcond=None)
    return (image - (terms @ best).reshape(image.shape)).astype(np.float32)


def clean(
    mask: Bool[np.ndarray, "height width"],
    *,
    min_area: float | int,
    max_hole: float | int,
    opening: int = 0,
    closing: int = 0,
) -> Bool[np.ndarray, "height width"]:
    """Returns the mask closed, without small holes, opened, and without small 8-connected parts.

    Args:
        mask: of all cells together.
        min_area: parts of fewer pixels go.
        max_hole: 4-connected holes of fewer pixels than this are filled; infinity fills all.
        opening: radius of the disc that the mask is opened with, pixels.
        closing: radius of the disc that it is closed with, pixels.
    """
    if closing:
        padded = np.pad(mask, closing, mode="edge")  # closing must not eat into what touches the border
        mask = ndimage.binary_closing(padded, disk(closing))[closing:-closing, closing:-closing]
    holes = ndimage.binary_fill_holes(mask) & ~mask
    mask = mask | (holes & ~_at_least(holes, max_hole, connectivity=1))
    if opening:
        padded = np.pad(mask, opening, mode="edge")
        mask = ndimage.binary_opening(padded, disk(opening))[opening:-opening, opening:-opening]
    return _at_least(mask, min_area, connectivity=2)


def _at_least(
    mask: Bool[np.ndarray, "height width"], area: float | int, *, connectivity: int
) -> Bool[np.ndarray, "height width"]:
    """Returns the connected parts of at least so many pixels."""
    labels, _ = ndimage.label(mask, ndimage.generate_binary_structure(2, connectivity))
    large = np.bincount(labels.ravel()) >= area
    large[0] = False
    return large[labels]


def divide(
    mask: Bool[np.ndarray, "height width"], how: Division, points: Real[np.ndarray, "cells 2"] | None = None
) -> Int32[np.ndarray, "height width"]:
    """Returns the cells of a mask.

    Args:
        mask: of all cells together.
        how: "components" are the 8-connected parts, as the paper's authors took them; "distance" floods them
            from the maxima of the distance to their border; "points" gives every pixel to the nearest point in
            its part, and drops parts without a point.
        points: (row, column), for "points".
    """
    parts, _ = ndimage.label(mask, np.ones((3, 3)))
    if how == "components":
        return tidy(parts)
    if how == "distance":
        distance = ndimage.gaussian_filter(ndimage.distance_transform_edt(mask), 1)
        tops = (distance == ndimage.maximum_filter(distance, 5)) & mask
        markers, _ = ndimage.label(tops, np.ones((3, 3)))
        return tidy(watershed(-distance, markers, mask=mask))
    places = to_pixels(check_points(points, mask.shape), mask.shape)
    places = places[mask[tuple(places.T)]]
    labels, windows = np.zeros(mask.shape, np.int32), ndimage.find_objects(parts)
    for part in np.unique(parts[tuple(places.T)]):
        window = windows[part - 1]
        inside = parts[window] == part
        here = np.flatnonzero(parts[tuple(places.T)] == part)
        corner = np.array([side.start for side in window])
        index, _ = nearest_peak(places[here] - corner, inside.shape)
        labels[window][inside] = here[index[inside]] + 1
    return tidy(labels)


def tidy(labels: Integer[np.ndarray, "height width"]) -> Int32[np.ndarray, "height width"]:
    """Returns the label image with only the largest 4-connected part of every cell, numbered from 1 upwards."""
    result, count = np.zeros(labels.shape, np.int32), 0
    for label, window in enumerate(ndimage.find_objects(labels), start=1):
        if window is None:
            continue
        parts, _ = ndimage.label(labels[window] == label)
        count += 1
        result[window][parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])] = count
    return result


def remembered(stage: Callable[_P, _T]) -> Callable[_P, _T]:
    """Decorates a stage of a method so that a sweep of later parameters does not compute it again.

    Arguments are arrays, which are known by their content, or anything that can be a key.
    """
    memory: OrderedDict[Any, Any] = OrderedDict()
    _memories.append(memory)

    @wraps(stage)
    def once(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        key = tuple(map(_key, args)), tuple((name, _key(kwargs[name])) for name in sorted(kwargs))
        if key not in memory:
            memory[key] = stage(*args, **kwargs)
            if len(memory) > _REMEMBERED:
                memory.popitem(last=False)
        memory.move_to_end(key)
        return memory[key]

    return once


def forget() -> None:
    """Forgets the results of all stages, so that the next call can be timed."""
    for memory in _memories:
        memory.clear()


def _key(value: Any) -> Any:
    """Returns what an argument is known by."""
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype.str, hashlib.sha1(np.ascontiguousarray(value).data).hexdigest()
    return value
