"""Arithmetic of images: channels, grey values, mirror images, sizes before and after resizing, sides to pad to.

An image of one channel is an array (height, width), and one of several is (height, width, channels).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int, Int32, Int64, Real, Shaped
from scipy import ndimage
from skimage.transform import resize

from wsis_jax.core.border_areas import SHARE, LeftOut, Reach, range_without_areas
from wsis_jax.core.channels import Channels, channel_count
from wsis_jax.core.config import ImageConfig
from wsis_jax.core.errors import UserError
from wsis_jax.core.geometry import inside
from wsis_jax.core.windows import Window, corner_of, grow, intersect, relative_to, whole_window, window_shape
from wsis_jax.core.words import so_many

# Above one half no two cells can claim a pixel; a little more, since cuts run on the outer flank of a rim.
_LEVEL = 0.6
# Merging looks at all pairs of sizes; beyond so many, sizes are rounded up more coarsely first.
_MOST_SIZES = 48

Sides = tuple[int, int]

_Image = Float32[np.ndarray, "height width *channels"]
_Labels = Int[np.ndarray, "height width"]
_Resized = Int32[np.ndarray, "new_height new_width"]
_Peaks = Real[np.ndarray, "cells 2"]

MIRRORS = ((-1, 1), (1, -1), (-1, -1))
"""Steps along rows and columns of the mirror images that the network may see: upside down, left to right, both."""


# Channels


def check_channels(shape: Sequence[int], channels: Channels | None, *, name: str = "the image") -> None:
    """Raises UserError unless an array of a shape is an image of as many channels as are to be seen.

    `name` begins the message. `channels` None means grey values, as for models older than this setting.
    """
    channels = channels or "grey"
    shape = tuple(shape)
    if len(shape) not in (2, 3) or 0 in shape:
        raise UserError(
            f"{name} is of shape {shape}; give an array of rows and columns, "
            "and a third axis if it has several channels"
        )
    have, want = shape[2] if len(shape) == 3 else 1, channel_count(channels)
    if shape[2:] == (1,):
        raise UserError(f"{name} is of shape {shape}; remove its last axis, which has one channel alone")
    if have != want:
        setting = channels if isinstance(channels, str) else list(channels)
        raise UserError(
            f"{name} has {so_many(have)}, but the model takes {want} (image.channels={setting}); "
            "give an image with as many, or train a model on other channels (--channel)"
        )


def by_channel(
    function: Callable[[np.ndarray], np.ndarray], image: Shaped[np.ndarray, "height width *channels"]
) -> np.ndarray:
    """Applies a function to each channel of an image, and returns the results as the channels of one image."""
    if image.ndim == 2:
        return function(image)
    return np.stack([function(image[..., channel]) for channel in range(image.shape[2])], axis=-1)


def grey(image: Float[np.ndarray, "height width *channels"]) -> Float[np.ndarray, "height width"]:
    """Returns the mean of the channels of a normalised image, for methods that need a single channel.

    It is not the luminance of colours, nearly all of which is green: cells are as often red or blue.
    """
    return image if image.ndim == 2 else image.mean(axis=2)


# Grey values


def is_constant(image: Float[np.ndarray, "height width *channels"]) -> bool:
    """Tells whether all pixels are equal: nothing can be found in such an image, and a caller may warn."""
    return bool((image.min(axis=(0, 1)) == image.max(axis=(0, 1))).all())


def normalize_by(settings: ImageConfig, image: _Image) -> _Image:
    """Returns an image normalised for the network, as the settings say; see `normalize_image`.

    The three colours of a picture are stretched by the same range, so that hues stay as they are.
    Channels chosen by number, such as fluorescent stains, are each stretched by their own range, since their
    exposures differ and a faint one would be lost beside a bright one.
    """
    return normalize_image(
        image,
        method=settings.normalization,
        low=settings.low,
        high=settings.high,
        alike=settings.channels == "colours",
    )


def normalize_image(
    image: _Image, *, method: Literal["percentile", "max"], low: float, high: float, alike: bool = False
) -> _Image:
    """Brings finite grey values to 0..1.

    Args:
        method: `percentile` stretches between two percentiles and clips; where the two are equal (a few cells
            on an even ground) between the least and the greatest value instead. Unscanned areas, where all
            channels show nothing, and a bright edge do not count (`border_areas.range_without_areas`). `max`
            divides by the greatest value, as the reference does, and clips at 0.
        low: Lower percentile, from 0; used by `percentile` alone, as is `high`.
        high: Upper percentile, above `low` and up to 100.
        alike: Whether all channels are stretched between the same values, those of all of them together; or each
            is by itself.

    Returns:
        A new image. A constant image becomes zeros, silently: see `is_constant`; so does a constant channel of
        those that are stretched by themselves.

    Raises:
        UserError: If the percentiles are out of order or out of range.
    """
    if method == "percentile" and not 0 <= low < high <= 100:
        raise UserError(f"percentiles {low:g} and {high:g} cannot be used; choose 0 <= low < high <= 100")
    values = image.astype(np.float64)  # A difference of two float32 may overflow, a quotient lose digits.
    areas = _outer_areas(values, alike=alike) if method == "percentile" else (0, 0)

    def normalized(part: Float64[np.ndarray, "height width *channels"]) -> _Image:
        if method == "max":
            bottom, top = 0.0, part.max()
        else:
            bottom, top = _percentiles(part, low, high, areas, alike=alike)
            if bottom >= top:
                bottom, top = part.min(), part.max()
        if bottom >= top or is_constant(part):
            return np.zeros(part.shape, np.float32)
        return stretch(part, bottom, top)

    return normalized(values) if alike else by_channel(normalized, values)


def _outer_areas(values: Float64[np.ndarray, "height width *channels"], *, alike: bool) -> LeftOut:
    """Returns how many pixels see a side of the image through the least value alone, and through the greatest.

    Of several channels a pixel has that value if all of its channels have it: the extreme of each, or, if they are
    stretched `alike`, that of all of them together.
    """
    axes = None if alike else (0, 1)
    extremes = values.min(axis=axes), values.max(axis=axes)
    if np.array_equal(*extremes):
        return 0, 0
    areas = []
    for extreme in extremes:
        others = values != extreme
        others = others if values.ndim == 2 else others.any(axis=2)
        rare = others.size - np.count_nonzero(others) <= SHARE * others.size
        areas.append(0 if rare else Reach.of(others).pixels())
    return areas[0], areas[1]


def _percentiles(
    values: Float64[np.ndarray, "height width *channels"], low: float, high: float, areas: LeftOut, *, alike: bool
) -> tuple[float, float]:
    """Returns two percentiles of an image, or of a channel, without those `_outer_areas` that show nothing."""
    a_pixel = values[0, 0].size

    def percentiles(left_out: LeftOut) -> tuple[float, float, float]:
        first, last = left_out
        kept = np.sort(values, axis=None)[first : values.size - last] if any(left_out) else values
        bottom, middle, top = np.percentile(kept, [low, 50, high])
        return bottom, middle, top

    def above(value: float) -> tuple[int, int]:
        over = values > value
        return int(np.count_nonzero(over)), Reach.of(~over).pixels()

    return range_without_areas(
        (areas[0] * a_pixel, areas[1] * a_pixel),
        (values.min(), values.max()),
        values.size,
        percentiles,
        None if alike else above,
    )


def stretch(values: Float[np.ndarray, "*shape"], bottom: float, top: float) -> Float32[np.ndarray, "*shape"]:
    """Returns grey values with `bottom` at 0 and `top` at 1, clipped to that range."""
    return np.clip((values.astype(np.float64) - bottom) / (top - bottom), 0, 1).astype(np.float32)


def mirror(images: np.ndarray, steps: tuple[int, int], *, axis: int = 0) -> np.ndarray:
    """Returns a view of images, mirrored by one of `MIRRORS`; `axis` is that of rows, columns are on the next."""
    return images[(*[slice(None)] * axis, slice(None, None, steps[0]), slice(None, None, steps[1]))]


# Sizes


def scaled_shape(shape: Sequence[int], scale: float) -> tuple[int, int]:
    """Returns the (height, width) that an image of a shape has after `resize_image`; at least 1 × 1."""
    return max(round(shape[0] * scale), 1), max(round(shape[1] * scale), 1)


def resize_image(
    image: Float[np.ndarray, "height width *channels"], scale: float
) -> Float32[np.ndarray, "scaled_height scaled_width *channels"]:
    """Returns the image at `scale` times its size, smoothed before it is made smaller."""
    if scale == 1:
        return image.astype(np.float32)
    shape = scaled_shape(image.shape, scale)
    resized = partial(resize, output_shape=shape, order=1, mode="reflect", anti_aliasing=scale < 1)
    return by_channel(resized, image.astype(np.float32))


class Resizing(NamedTuple):
    """The (height, width) of a whole image before it is resized, and after."""

    before: Sides
    after: Sides


def resize_part(
    image: Float32[np.ndarray, "rows columns *channels"], sizes: Resizing, part: Window, *, corner: tuple[int, int]
) -> Float32[np.ndarray, "part_rows part_columns *channels"]:
    """Returns a part of what `resize_image` makes of an image, from the part of the image that it takes.

    Args:
        image: grey values 0..1, all that `part_before_resizing` says.
        sizes: of the whole image.
        part: the window of the resized image to return.
        corner: (row, column) where in the whole image `image` begins.
    """
    if sizes.after == sizes.before:
        rows, columns = (slice(s.start - c, s.stop - c) for s, c in zip(part, corner, strict=True))
        return image[rows, columns]
    factors = np.divide(sizes.before, sizes.after)
    # Whole pixels are taken off after the place is computed, so that it is the very same within its pixel.
    places = [
        (np.arange(s.start, s.stop) + 0.5) * k - 0.5 - c for s, k, c in zip(part, factors, corner, strict=True)
    ]
    grid = np.meshgrid(*places, indexing="ij")

    def resized(channel: Float32[np.ndarray, "_ _"]) -> Float32[np.ndarray, "_ _"]:
        if (factors > 1).any():
            channel = ndimage.gaussian_filter(channel, np.maximum(0, (factors - 1) / 2), mode="mirror")
        return ndimage.map_coordinates(channel, grid, order=1, mode="mirror").clip(0, 1)

    return by_channel(resized, image)


def part_before_resizing(sizes: Resizing, part: Window) -> Window:
    """Returns the window of an image that `resize_part` takes for a part; arguments are its own."""
    if sizes.after == sizes.before:
        return part
    rows, columns = (
        slice(
            max(int((s.start + 0.5) * k - 0.5) - _taps(k) - 1, 0),
            min(int(np.ceil((s.stop - 0.5) * k - 0.5)) + _taps(k) + 2, n),
        )
        for s, k, n in zip(part, np.divide(sizes.before, sizes.after), sizes.before, strict=True)
    )
    return rows, columns


def _taps(factor: float) -> int:
    """Returns how many pixels away smoothing looks before an image is made smaller by a factor."""
    return int(4 * max(factor - 1, 0) / 2 + 0.5)


def scale_points(points: Real[np.ndarray, "points 2"], scale: float) -> Float64[np.ndarray, "points 2"]:
    """Returns the points of an image in the pixels of the same image at `scale` times its size.

    A pixel centre is at an integer, so the image's corner is at (-0.5, -0.5) in both and stays where it is.
    """
    return (np.asarray(points, np.float64) + 0.5) * scale - 0.5


def resize_labels(labels: _Labels, shape: Sides) -> _Resized:
    """Returns the label image at another size, every pixel taking the label of the nearest old one."""
    return resize_labels_part(labels, Resizing(labels.shape, shape), whole_window(shape), corner=(0, 0))


def resize_labels_part(labels: _Labels, sizes: Resizing, part: Window, *, corner: tuple[int, int]) -> _Resized:
    """Returns a part of what `resize_labels` makes of a label image, from a part of that.

    Args:
        labels: a part of the label image that holds all that `part` shows.
        sizes: of the whole label image.
        part: the window of the resized label image to return.
        corner: (row, column) where in the whole label image `labels` begins.
    """
    rows, columns = (
        _nearest(np.arange(s.start, s.stop), old, new) - c
        for s, old, new, c in zip(part, sizes.before, sizes.after, corner, strict=True)
    )
    return labels[np.ix_(rows, columns)].astype(np.int32)


def part_resized_from(sizes: Resizing, block: Window) -> Window:
    """Returns the window of a resized label image whose pixels are those that a block of the label image has.

    The windows of blocks that cover a label image cover the resized one, and do not overlap.
    """
    rows, columns = (
        slice(*np.searchsorted(_nearest(np.arange(new), old, new), (side.start, side.stop)).tolist())
        for side, old, new in zip(block, sizes.before, sizes.after, strict=True)
    )
    return rows, columns


def pixels_taken(pixels: Int[np.ndarray, "points 2"], sizes: Resizing) -> Int64[np.ndarray, "points 2"]:
    """Returns the pixels of a label image, (row, column), that `resize_labels` takes those of its result from.

    `sizes` are those of the label image and of the result.
    """
    sides = zip(pixels.T, sizes.before, sizes.after, strict=True)
    return np.stack([_nearest(along, old, new) for along, old, new in sides], axis=1)


def _nearest(rows: Int[np.ndarray, " rows"], old: int, new: int) -> Int[np.ndarray, " rows"]:
    """Returns which of `old` rows, or columns, each of `new` ones is taken from by `resize_labels`; they rise."""
    return np.minimum((rows + 0.5) * old / new, old - 1).astype(np.intp)


def smooth_labels(labels: _Labels, peaks: _Peaks, shape: Sides, *, blur: float) -> _Resized:
    """Returns the label image at another size, with outlines as smooth as if they had been drawn there.

    Every cell is blurred alone and has the pixels where more than 0.6 of it is left, as far as they are connected
    to its peak: steps of single pixels go, and so does a margin of about a fourth of the blur. It takes no pixel
    of another cell. A cell that would lose its peak, being thinner than the blur, is what `resize_labels` makes of
    it.

    Args:
        labels: 0 for background, i + 1 for the cell of `peaks[i]`.
        peaks: (row, column) in pixels of `labels`: pixels of the cells, or places that are pixels of the result.
        shape: (height, width) of the result.
        blur: standard deviation in pixels of `labels`; 0: none, as `resize_labels` does.
    """
    sizes = Resizing(labels.shape, shape)
    return smooth_part(labels, peaks, sizes, whole_window(shape), blur=blur, corner=(0, 0))


def smooth_part(
    labels: _Labels, peaks: _Peaks, sizes: Resizing, part: Window, *, blur: float, corner: tuple[int, int]
) -> _Resized:
    """Returns a part of what `smooth_labels` makes of a label image, from a part of that.

    Args:
        labels: a part of the label image; it holds the whole of all cells of which `part` shows anything, and
            3 blurs and 2 pixels around them, as far as the label image goes.
        peaks: of the cells, in pixels of the whole label image.
        sizes, part, corner: as in `resize_labels_part`.
        blur: as in `smooth_labels`.
    """
    nearest = resize_labels_part(labels, sizes, part, corner=corner)
    if not blur:
        return nearest
    smooth = np.zeros(nearest.shape, np.int32)
    ratio = np.array(sizes.after) / np.array(sizes.before)
    places = np.clip(np.round((peaks + 0.5) * ratio - 0.5).astype(int), 0, np.array(sizes.after) - 1)
    for label, window in enumerate(ndimage.find_objects(labels), start=1):
        if window is None:
            continue
        around = grow(window, int(np.ceil(3 * blur)) + 1, whole_window(labels.shape))
        low = np.array(corner_of(around)) + corner
        high = low + window_shape(around)
        first, last = np.ceil(low * ratio).astype(int), np.minimum((high * ratio).astype(int), sizes.after)
        pixels = slice(int(first[0]), int(last[0])), slice(int(first[1]), int(last[1]))
        shown = intersect(pixels, part)
        if min(window_shape(shown)) <= 0:
            continue
        grid = [
            (np.arange(s.start, s.stop) + 0.5) / k - 0.5 - n for s, k, n in zip(pixels, ratio, low, strict=True)
        ]
        resized = resize_labels_part(labels, sizes, pixels, corner=corner)
        share = _blurred(labels[around] == label, grid, blur)
        share[(resized != label) & (resized != 0)] = 0  # Else a cell that is thin could cut this one in two.
        own = _part_at(places[label - 1] - first, share > _LEVEL)
        own = resized == label if own is None else own
        smooth[relative_to(shown, part)][own[relative_to(shown, pixels)]] = label
    return smooth


def _blurred(
    mask: Bool[np.ndarray, "_ _"], grid: list[Float64[np.ndarray, " _"]], blur: float
) -> Float32[np.ndarray, "_ _"]:
    """Returns a blurred cell at the pixels of a grid, whose rows and columns are in pixels of the mask."""
    share = ndimage.gaussian_filter(mask.astype(np.float32), blur, mode="nearest")
    return ndimage.map_coordinates(share, np.meshgrid(*grid, indexing="ij"), order=1, mode="nearest")


def _part_at(place: Int[np.ndarray, " 2"], mask: Bool[np.ndarray, "_ _"]) -> Bool[np.ndarray, "_ _"] | None:
    """Returns the connected part of a mask that holds a place, or None where the mask does not."""
    parts, _ = ndimage.label(mask, np.ones((3, 3)))
    if not (inside(place[None], parts.shape)[0] and parts[tuple(place)]):
        return None
    return parts == parts[tuple(place)]


# Sides that images are padded to, so that a folder of many sizes needs few compiled programs


def shared_sides(shapes: Iterable[Sides], *, stride: int, programs: int = 4) -> list[Sides]:
    """Returns at most `programs` pairs of sides; every shape fits into one of them.

    Starting from the shapes themselves, the two whose union wastes the fewest pixels become one, until few
    enough are left.

    Args:
        shapes: (height, width) of every image, in pixels of the network.
        stride: sides are multiples of this.
        programs: how many pairs may be left, at least 1.
    """
    shapes = list(shapes)
    while len(counts := Counter(rounded_up(shape, stride) for shape in shapes)) > _MOST_SIZES:
        stride *= 2
    while len(counts) > programs:
        _, a, b = min((_waste(a, b, counts), a, b) for a, b in combinations(sorted(counts), 2))
        both = counts.pop(a) + counts.pop(b)
        counts[_union(a, b)] += both
    return sorted(counts)


def fitting(shape: Sides, sides: Sequence[Sides]) -> Sides | None:
    """Returns the smallest of the sides that a shape fits into, or None if there is none."""
    large_enough = [pair for pair in sides if pair[0] >= shape[0] and pair[1] >= shape[1]]
    return min(large_enough, key=lambda pair: pair[0] * pair[1], default=None)


def rounded_up(shape: Sides, stride: int) -> Sides:
    """Returns the sides rounded up to multiples of the stride."""
    return -(-shape[0] // stride) * stride, -(-shape[1] // stride) * stride


def _union(a: Sides, b: Sides) -> Sides:
    return max(a[0], b[0]), max(a[1], b[1])


def _waste(a: Sides, b: Sides, counts: Counter[Sides]) -> int:
    """Returns how many pixels more are computed when two pairs of sides become one."""
    union = _union(a, b)
    return sum(counts[pair] * (union[0] * union[1] - pair[0] * pair[1]) for pair in (a, b))
