"""The images in a file, one at a time: which axes are frames and channels, and grey values of them."""

import math
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Shaped

from wsis_jax.core import (
    ChannelChoice,
    Channels,
    Plane,
    UserError,
    Window,
    channel_count,
    channels_of,
    check_images,
    in_words,
    so_many,
)
from wsis_jax.io.paths import stem
from wsis_jax.io.readers import LUMINANCE, WHOLE, Stack, open_stacks


class SourceImage(NamedTuple):
    """An image to segment, with what its file tells: read by slices, or in memory after `read`.

    Attributes:
        name: of the results, unique in a batch.
        image: values to segment, as they are stored, float32: (height, width) of one channel, or (height, width,
            channels) of several.
        channels: grey values of all channels of the same place, the segmented ones among them, float32.
        pixel_size: side of a pixel in µm, or None where it is unknown.
    """

    name: str
    image: Plane
    channels: Sequence[Plane] | Float32[np.ndarray, "channels height width"]
    pixel_size: float | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)."""
        return self.image.shape[0], self.image.shape[1]

    def read(self) -> "SourceImage":
        """Returns the image with all its values in memory, as arrays; an error is one of `Frames.values`."""
        image = np.asarray(self.image[WHOLE])
        alone = len(self.channels) == 1 and image.ndim == 2
        channels = [image] if alone else [np.asarray(plane[WHOLE]) for plane in self.channels]
        return self._replace(image=image, channels=np.stack(channels))


class _Place(NamedTuple):
    """Where an image lies in a file: the array, and the place on each axis of frames."""

    stack: Stack
    at: dict[str, int]


class Frames:
    """The images in a file that is open.

    Attributes:
        names: one for each image: that of the file, and where there are several, `_0000`, or, on more axes than
            one, the place on each, as in `_t0003_z0012`; of scenes that have names, or of a collection, the scene
            or the place before, as in `_A_1_0`.
        shapes: (height, width) of each.
        pixel_size: side of a pixel of the first in µm, or None where it is unknown.
        planes: the lengths of the axes of channels and frames that are longer than 1, in order; of several arrays
            in a file none.
        channels: those that are segmented.
        opening: opens the file again, in this process or another.
    """

    def __init__(
        self, path: Path, stacks: Sequence[Stack], channels: Channels, axes: str | None, name: str | None = None
    ) -> None:
        """Takes the arrays of the file, the channels to segment, axes as the user gave them, and its name."""
        name = stem(path) if name is None else name
        images = sum(math.prod(n for axis, n in stack.sizes.items() if axis not in "YX") for stack in stacks)
        check_images(path, images)
        places = [_Place(stack, at) for stack in stacks for at in _places(path, stack.sizes, channels)]
        self._path, self.channels, self._pages = path, channels, None
        self.opening = partial(open_frames, path, channel=channels, axes=axes, name=name)
        unnamed = {axis for stack in stacks for axis in stack.sizes} <= {"I", "Q", "Y", "X"}
        if isinstance(channels, tuple) and axes is None and unnamed and len(places) > 1:
            self._pages, places = places, places[:1]  # Pages without a name are the channels of one image.
        self._places = places
        self.pixel_size = stacks[0].pixel_size
        long = {axis: n for axis, n in stacks[0].sizes.items() if axis not in "YXS" and n > 1}
        self.planes = {"C": len(self._pages)} if self._pages is not None else long if len(stacks) == 1 else {}
        endings = _suffixes(places)
        if len({*endings}) < len(places):  # a scene may be called as a frame of another is
            endings = _suffixes([one._replace(stack=one.stack._replace(place="")) for one in places])
        self.names = [f"{name}{ending}" for ending in endings]
        self.shapes = [(place.stack.sizes["Y"], place.stack.sizes["X"]) for place in places]

    def source(self, index: int) -> SourceImage:
        """Returns an image, of which nothing is read before it is asked for; errors then are those of `values`."""
        channels = [LazyPlane(self, index, number) for number in range(self._channels(index))]
        pixel_size = self._places[index].stack.pixel_size
        return SourceImage(self.names[index], LazyPlane(self, index, None), channels, pixel_size)

    def values(
        self, index: int, number: int | None = None, window: Window = WHOLE
    ) -> Float32[np.ndarray, "_ _ *channels"]:
        """Reads values of an image, or of a window of it.

        Args:
            index: of the image.
            number: of one of all its channels, where colours are channels; None for what is segmented.
            window: rows and columns.

        Returns:
            Rows and columns; and where several channels are segmented these, on a last axis.

        Raises:
            UserError: if the file is damaged, there is no such channel, or a value is complex, or, in what is
                segmented, NaN or infinite.
        """
        place = self._places[index]
        if number is None:
            return self._segmented(index, window)
        if self._pages is not None:
            return self._grey(self._pages[number], window, None)
        if isinstance(self.channels, tuple) and "C" in place.stack.sizes:
            return self._grey(place, window, number)
        if self._channels(index) == 1:
            return self._segmented(index, window)
        values, axes = place.stack.read(place.at, window)
        return _as_float(values.take(number, axes.index("S")), axes.replace("S", ""))

    def _segmented(self, index: int, window: Window) -> Float32[np.ndarray, "_ _ *channels"]:
        """Reads the values to segment; NaN and infinite ones are an error."""
        if self.channels == "grey":
            values = self._grey(self._places[index], window, None)
        elif self.channels == "colours":
            values = self._colours(self._places[index], window)
        else:
            planes = [self._channel(index, window, channel) for channel in self.channels]
            values = planes[0] if len(planes) == 1 else np.stack(planes, axis=-1)
        if not np.isfinite(values).all():
            raise UserError(f"{self._path}: frame {index} holds NaN or infinite values; replace them by numbers")
        return values

    def _channel(self, index: int, window: Window, channel: int) -> Float32[np.ndarray, "_ _"]:
        """Reads one of the channels that were chosen by their numbers."""
        if self._pages is None:
            return self._grey(self._places[index], window, channel)
        if len({(page.stack.sizes["Y"], page.stack.sizes["X"]) for page in self._pages}) > 1:
            raise UserError(f"{self._path}: the pages differ in size; save them as separate files")
        self._check_channel(channel, len(self._pages))
        return self._grey(self._pages[channel], window, None)

    def _channels(self, index: int) -> int:
        """Returns how many channels an image has, alpha not counted."""
        place = self._places[index]
        if self._pages is not None:
            return len(self._pages)
        if isinstance(self.channels, tuple) and "C" in place.stack.sizes:
            return place.stack.sizes["C"]
        pixel, axes = place.stack.read(place.at, (slice(0, 1), slice(0, 1)))  # some files tell only then
        colours = pixel.shape[axes.index("S")] if "S" in axes else 1
        return {2: 1, 4: 3}.get(colours, colours)

    def _grey(self, place: _Place, window: Window, channel: int | None) -> Float32[np.ndarray, "_ _"]:
        """Returns the grey values of a channel; None stands for the only one, or for the colours together."""
        stack, at = place
        if channel is not None and "C" in stack.sizes:
            self._check_channel(channel, stack.sizes["C"])
            at, channel = at | {"C": channel}, None
        values, axes = self._read(_Place(stack, at), window)
        if channel is not None:
            self._check_channel(channel, values.shape[axes.index("S")] if "S" in axes else 1)
        if "S" in axes:
            colours = np.moveaxis(values, axes.index("S"), -1)
            values, axes = self._one_colour(colours, channel), axes.replace("S", "")
        return _as_float(values, axes)

    def _colours(self, place: _Place, window: Window) -> Float32[np.ndarray, "_ _ 3"]:
        """Returns red, green and blue; alpha is left out."""
        values, axes = self._read(place, window)
        have = values.shape[axes.index("S")] if "S" in axes else 1
        if have not in (3, 4):
            raise UserError(
                f"{self._path}: is not an image in colours, which the model or --channel asks for, since a pixel "
                f"has {so_many(have)}; give RGB, or three channels by their numbers (--channel 0,1,2)"
            )
        planes = [_as_float(values.take(colour, axes.index("S")), axes.replace("S", "")) for colour in range(3)]
        return np.stack(planes, axis=-1)

    def _read(self, place: _Place, window: Window) -> tuple[np.ndarray, str]:
        """Reads values and the names of their axes; complex numbers are an error."""
        values, axes = place.stack.read(place.at, window)
        if np.iscomplexobj(values):
            raise UserError(f"{self._path}: the values are complex numbers; save their magnitude as the image")
        return values, axes

    def _one_colour(
        self, colours: Shaped[np.ndarray, "_ _ colours"], channel: int | None
    ) -> Shaped[np.ndarray, "_ _"]:
        """Returns one colour, or, for None, the luminance of grey (+ alpha) or RGB (+ alpha)."""
        if channel is not None:
            return colours[..., channel]
        if colours.shape[-1] > 4:
            raise UserError(f"{self._path}: a pixel has {colours.shape[-1]} channels; choose one (--channel)")
        return colours[..., 0] if colours.shape[-1] <= 2 else colours[..., :3] @ LUMINANCE

    def _check_channel(self, channel: int, count: int) -> None:
        """Raises UserError if an image of so many channels lacks one that is asked for."""
        if channel >= count:
            raise UserError(
                f"{self._path}: there is no channel {channel}; the file has {so_many(count)}, counted from 0, but "
                f"--channel, --nuclear-channel or the model asks for {in_words(self.channels)}"
            )


class LazyPlane:
    """Values in a file, float32, of which windows are read when they are asked for.

    They are (height, width), or, of several channels that are segmented together, (height, width, channels).

    Sent to another process, it opens its file for each window, since it is not known when to close it.
    """

    def __init__(self, frames: Frames, index: int, number: int | None) -> None:
        """Takes the open file, and image and channel as `Frames.values` does."""
        count = channel_count(frames.channels) if number is None else 1
        self.shape: tuple[int, ...] = (*frames.shapes[index], *([count] if count > 1 else []))
        self.dtype, self._frames = np.dtype(np.float32), frames
        self._index, self._number, self._opening = index, number, frames.opening

    def __getitem__(self, window: Window) -> Float32[np.ndarray, "_ _ *channels"]:
        """Returns the values in a window."""
        with self._opening() if self._frames is None else nullcontext(self._frames) as frames:
            return frames.values(self._index, self._number, window)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_frames": None}


@contextmanager
def open_frames(
    path: str | Path, *, channel: ChannelChoice = None, axes: str | None = None, name: str | None = None
) -> Generator[Frames, None, None]:
    """Opens the images of a file, whose pixels are read when they are asked for.

    All places on axes other than rows, columns, colours and channels are images of their own: times, planes,
    pages, scenes. RGB becomes luminance, unless its colours are asked for; alpha is ignored. Values of which 0
    is white are inverted, and those of a palette become its colours; but a look-up table that a program lays over
    grey values, where greater ones are brighter, is ignored. Integers above 2^24 lose their last digits in
    float32.

    Args:
        path: a TIFF, PNG or JPEG, a folder of OME-Zarr, or, with the extra `bioio`, a file of a microscope.
        channel: the channels to segment, as `channels_of` takes them: numbers, counted from 0; "colours" for red,
            green and blue; None or "grey" for grey values, of a
            file that names no more than one channel. Numbers are of channels that the file names, or else
            of the colours of a pixel, alpha among them, or else of pages that the file calls nothing. What has one
            channel alone is read as it is.
        axes: names for the axes of a TIFF instead of those that it gives, a letter each, as in `TZCYX`: `Y` for
            rows, `X` for columns, `C` for channels, `S` for colours, any other for frames.
        name: of the file, which those of its images begin with, as `named_images` returns it; None for its stem.

    Raises:
        MissingFile: if there is no such file.
        UserError: if the file is empty, damaged or not an image; if `channel` is not a choice, or not given where
            there are frames of several; if the axes have no names, or `axes` does not fit.
        UserError: if the package that reads such files is not installed.
    """
    channels = channels_of(channel)
    with open_stacks(Path(path), axes=axes) as stacks:
        yield Frames(Path(path), stacks, channels, axes, name)


def _places(path: Path, sizes: Mapping[str, int], channels: Channels) -> list[dict[str, int]]:
    """Returns the places on the axes of frames, all that there are, in the order of the array."""
    if channels == "colours" and sizes.get("C", 1) > 1:
        raise UserError(
            f"{path}: has {sizes['C']} channels where the model or --channel asks for colours; choose three of "
            "them by their numbers, as in --channel 0,1,2"
        )
    if channels == "grey" and sizes.get("C", 1) > 1:
        raise UserError(
            f"{path}: has {sizes['C']} channels; choose one, or up to four together (--channel; of a stain "
            "--nuclear-channel), or, if a TIFF calls frames channels, name its axes (--axes)"
        )
    hidden = "YXSC" if isinstance(channels, tuple) else "YXS"
    frames = {axis: size for axis, size in sizes.items() if axis not in hidden}
    return [dict(zip(frames, map(int, at), strict=True)) for at in np.ndindex(*frames.values())]


def _suffixes(places: Sequence[_Place]) -> list[str]:
    """Returns what tells the images of a file from each other: of a collection first the place in it."""
    counts = Counter(place.stack.place for place in places)
    numbers: Counter[str] = Counter()
    suffixes = []
    for place in places:
        where = place.stack.place
        suffixes.append(f"{'_' if where else ''}{where}{_suffix(place, numbers[where], counts[where])}")
        numbers[where] += 1
    return suffixes


def _suffix(place: _Place, number: int, count: int) -> str:
    """Returns what tells an image of a file from the others."""
    long = {axis: at for axis, at in place.at.items() if place.stack.sizes[axis] > 1}
    if len(long) > 1 and math.prod(place.stack.sizes[axis] for axis in long) == count:
        return "".join(f"_{axis.lower()}{at:04d}" for axis, at in long.items())
    return f"_{number:04d}" if count > 1 else ""


def _as_float(values: Shaped[np.ndarray, "_ _"], axes: str) -> Float32[np.ndarray, "_ _"]:
    """Returns grey values by rows and columns, as float32."""
    with np.errstate(over="ignore"):  # What does not fit becomes infinite, and is reported as that.
        return (values if axes == "YX" else values.T).astype(np.float32)
