"""TIFF, plain or by ImageJ, OME and others: one array for each series, read page by page."""

import math
import struct
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile

from wsis_jax.core import UserError, check_name, check_values
from wsis_jax.io.readers import (
    LUMINANCE,
    NO_PIXELS,
    TOO_LARGE,
    Stack,
    in_micrometres,
    of_scenes,
    side_of_square,
    stack_of,
)

Shown = tuple[np.ndarray, str]
"""Values, and the names of their axes."""

# Pictures of a slide and of its label, which scanners put beside it.
_OF_SLIDES = ("label", "macro", "thumbnail")
# Compressions that leave YCbCr as it is; the decoders of the others return RGB.
_PLAIN = (
    tifffile.COMPRESSION.NONE,
    tifffile.COMPRESSION.LZW,
    tifffile.COMPRESSION.PACKBITS,
    tifffile.COMPRESSION.DEFLATE,
    tifffile.COMPRESSION.ADOBE_DEFLATE,
)

# The last axis of an array with channels last is so short, and the two before it are so long.
_MOST_CHANNELS = 6
_LEAST_SIDE = 16


@contextmanager
def open_tiff(path: Path, axes: str | None) -> Generator[list[Stack], None, None]:
    """Context manager yielding the arrays of a TIFF: one for each series, a run of pages of the same kind.

    Thumbnails, masks of transparency, and the pictures that scanners take of a slide and its label are left out.
    `axes` are names for the axes, in order, instead of those that the file gives.

    Raises:
        UserError: if it holds no pixels or names files of other folders, or its axes are not known.
        Exception: whatever tifffile raises for a damaged file, and ValueError if a part of it is missing.
    """
    with tifffile.TiffFile(path) as tiff:
        _check_pages(tiff)
        _check_other_files(path, tiff)
        series = [(one, _axes_of(one), tuple(one.get_shape())) for one in _images(tiff)]
        pixel_size = _pixel_size(tiff)
        if not series:
            raise UserError(f"{path}: {NO_PIXELS}")
        if not all(isinstance(side, int) for _, _, shape in series for side in shape):
            raise ValueError("the length of an axis is not a whole number")
        if axes is None:
            _check_companion(path, tiff)
        for one, _, _ in series:
            _check_colours(path, one.keyframe)
        named = [((one, shape), _axis_names(path, given, shape, axes)) for one, given, shape in series]
        stacks = [stack_of(path, _sliceable(path, *one), names, pixel_size=pixel_size) for one, names in named]
        shown = [_as_shown(stack, one.keyframe) for stack, (one, _, _) in zip(stacks, series, strict=True)]
        yield of_scenes(shown, [one.name for one, _, _ in series])


def _images(tiff: tifffile.TiffFile) -> list[tifffile.TiffPageSeries]:
    """Returns the series of a TIFF without those that only go with an image; all, if there is no other."""
    own = [
        one
        for one in tiff.series
        if not (one.keyframe.is_reduced or one.keyframe.is_mask)
        and not (one.kind not in ("ome", "imagej", "shaped") and one.name.lower() in _OF_SLIDES)
    ]
    return own or list(tiff.series)


def _axes_of(series: tifffile.TiffPageSeries) -> str:
    """Returns the names of the axes that a file gives; samples that are neither colours nor alpha are channels.

    Three or four grey samples of 8 bits are colours: some programs write these so.
    """
    page, names = series.keyframe, series.get_axes()
    grey = page.photometric in (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.MINISWHITE)
    colours = page.samplesperpixel in (3, 4) and page.bitspersample == 8
    if not grey or colours or page.samplesperpixel == 1 or any(page.extrasamples) or "C" in names:
        return names
    return names.replace("S", "C")


def _axis_names(path: Path, given: str, shape: Sequence[int], axes: str | None) -> str:
    """Returns the names of the axes of a series: those of the user or, for None, those that the file gives."""
    if axes is not None:
        if len(axes) != len(shape):
            have = f"{len(shape)} axes of lengths {', '.join(map(str, shape))}"
            raise UserError(f"{path}: axes '{axes}' do not match its {have}; name each of them once")
        return axes
    if len(set(given)) < len(given):
        raise UserError(
            f"{path}: the file does not name its {len(shape)} axes, of lengths {', '.join(map(str, shape))}; "
            "name them, as in --axes TZYX"
        )
    _check_channels_last(path, given, shape)
    return given


def _check_channels_last(path: Path, names: str, shape: Sequence[int]) -> None:
    """Raises UserError for a stack of many images that are but a few pixels wide: their pixels are channels."""
    wide, high = shape[-1], shape[-2] if len(shape) > 1 else 1
    if len(shape) < 3 or names[-2:] != "YX" or wide > _MOST_CHANNELS or min(high, shape[-3]) < _LEAST_SIDE:
        return
    count, renamed = math.prod(shape[:-2]), f"{names[:-3].replace('Y', 'T')}YXC"
    raise UserError(
        f"{path}: holds {count:,} images of {high} × {wide} pixels, which look like channels on the last axis; "
        f"give --axes {renamed} and the channel, as in --channel 0, or --axes {names}, if they are images"
    )


def _sliceable(path: Path, series: tifffile.TiffPageSeries, shape: tuple[int, ...]) -> Any:
    """Returns what reads parts of a series: a memory map if its values are in one piece, or else `_Pages`."""
    page = series.keyframe
    if series.kind == "ome" and any(one is None for one in series.pages):
        raise ValueError("some of its pages are in files that are not beside it")
    in_one_piece = page.is_memmappable and series.dataoffset is not None and not series.is_multifile
    if in_one_piece and page.dtype is not None and 0 not in shape:
        dtype, offset = np.dtype(page.parent.byteorder + page.dtype.char), series.dataoffset or 0
        if offset + math.prod(shape) * dtype.itemsize <= path.stat().st_size:
            return np.memmap(path, dtype, "r", offset, shape)
        raise ValueError("it ends before its pixels do")
    return _Pages(path, series, shape)


class _Pages:
    """The array of a series, of which one page is decoded at a time and the last one kept.

    Where pages are not the last axes of the array, all of it is decoded at once.
    """

    def __init__(self, path: Path, series: tifffile.TiffPageSeries, shape: tuple[int, ...]) -> None:
        self.shape, self._path, self._series = shape, path, series
        inner = tuple(series.keyframe.shape)
        self._outer = shape[: len(shape) - len(inner)]
        whole = shape[len(self._outer) :] == inner and math.prod(self._outer) == len(series)
        self._by_page = whole and not series.is_multifile
        self._kept: tuple[int | None, np.ndarray] | None = None

    def __getitem__(self, index: tuple[Any, ...]) -> np.ndarray:
        outer, inner = index[: len(self._outer)], index[len(self._outer) :]
        if not self._by_page or any(isinstance(place, slice) for place in outer):
            return self._page(None)[index]
        return self._page(int(np.ravel_multi_index(outer, self._outer)) if outer else 0)[inner]

    def _page(self, number: int | None) -> np.ndarray:
        """Returns the values of a page or, for None, of all."""
        if self._kept is None or self._kept[0] != number:
            page, pages = self._series.keyframe, 1 if number is not None else len(self._series)
            # A compressed part may be larger than its page.
            check_values(self._path, pages * max(page.size, math.prod(page.chunks)), remedy=TOO_LARGE)
            if len(page.dataoffsets) < math.prod(page.chunked):  # tifffile fills missing parts with zeros
                raise ValueError(f"{len(page.dataoffsets)} of {math.prod(page.chunked)} parts of a page are there")
            if number is None:
                values = self._series.asarray().reshape(self.shape)
            elif (page := self._series[number]) is None:
                raise ValueError(f"page {number} is missing")
            else:
                values = page.asarray()
            self._kept = number, values
        return self._kept[1]


# How values are shown


def _as_shown(stack: Stack, page: tifffile.TiffPage) -> Stack:
    """Returns a stack that reads values as they are shown, where 0 is white or the values have a palette.

    A palette that shows greater values brighter, apart from the least and the greatest, is one of those that
    programs lay over grey values: these are read as they are. Inks and YCbCr become RGB.
    """
    show: Callable[[np.ndarray, str], Shown]
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
        bits = page.bitspersample

        def show(values: np.ndarray, axes: str) -> Shown:
            return _inverted(values, bits), axes

    elif page.photometric == tifffile.PHOTOMETRIC.PALETTE and page.colormap is not None:
        palette = np.asarray(page.colormap).T
        if (np.diff((palette @ LUMINANCE)[1:-1]) >= 0).all():
            return stack

        def show(values: np.ndarray, axes: str) -> Shown:
            return palette[values], f"{axes}S"

    elif page.photometric == tifffile.PHOTOMETRIC.SEPARATED and page.samplesperpixel >= 4:
        show = _rgb_of_cmyk
    elif page.photometric == tifffile.PHOTOMETRIC.YCBCR and page.compression in _PLAIN:
        show = _rgb_of_ycbcr
    else:
        return stack
    return stack._replace(read=lambda at, window: show(*stack.read(at, window)), stored=stack.read)


def _check_colours(path: Path, page: tifffile.TiffPage) -> None:
    """Raises UserError if the colours of a page are neither grey, RGB, nor of a kind that becomes RGB."""
    if page.photometric in (
        tifffile.PHOTOMETRIC.CIELAB,
        tifffile.PHOTOMETRIC.ICCLAB,
        tifffile.PHOTOMETRIC.ITULAB,
    ):
        raise UserError(f"{path}: its colours are CIELab, which is not read; save it as RGB")


def _rgb_of_cmyk(values: np.ndarray, axes: str) -> Shown:
    """Returns the colours of four inks, of which 0 is none, without the profile of a printer."""
    white = float(np.iinfo(values.dtype).max) if values.dtype.kind in "iu" else 1.0
    paper = 1 - np.moveaxis(values, axes.index("S"), -1)[..., :4] / white
    colours = white * paper[..., :3] * paper[..., 3:]
    return np.round(colours).astype(values.dtype) if values.dtype.kind in "iu" else colours, _colours_last(axes)


def _rgb_of_ycbcr(values: np.ndarray, axes: str) -> Shown:
    """Returns the colours of luminance and two differences of colour, by ITU-R BT.601 and of 8 bits."""
    light, blue, red = np.moveaxis(values.astype(float), axes.index("S"), 0)[:3]
    blue, red = blue - 128, red - 128
    green = light - (LUMINANCE[2] * 1.772 * blue + LUMINANCE[0] * 1.402 * red) / LUMINANCE[1]
    colours = np.stack([light + 1.402 * red, green, light + 1.772 * blue], axis=-1)
    return np.round(colours.clip(0, 255)).astype(np.uint8), _colours_last(axes)


def _colours_last(axes: str) -> str:
    return f"{axes.replace('S', '')}S"


def _inverted(values: np.ndarray, bits: int) -> np.ndarray:
    """Returns the brightness that values of so many bits stand for, where 0 is white."""
    if values.dtype.kind == "u":
        return values.dtype.type(2**bits - 1) - values
    return ~values if values.dtype.kind in "ib" else -values


# What has to hold before pages are read


def _check_pages(tiff: tifffile.TiffFile) -> None:
    """Raises ValueError if pages are missing; tifffile leaves out those beyond the end of a truncated file."""
    layout, handle = tiff.tiff, tiff.filehandle
    last = tiff.pages[len(tiff.pages) - 1].offset
    handle.seek(last)
    (tags,) = struct.unpack(layout.tagnoformat, handle.read(layout.tagnosize))
    handle.seek(last + layout.tagnosize + tags * layout.tagsize)
    (following,) = struct.unpack(layout.offsetformat, handle.read(layout.offsetsize))
    if following:  # the last page of a whole file names no next page
        raise ValueError(f"pages are missing after the first {len(tiff.pages)}")


def _check_other_files(path: Path, tiff: tifffile.TiffFile) -> None:
    """Raises UserError if a TIFF says that some of its pages are in a file of another folder."""
    named = _named_in(tiff.ome_metadata or "") if tiff.is_ome else []
    if tiff.is_ndtiff:
        named += [entry[1] for entry in tifffile.read_ndtiff_index(path.with_name("NDTiff.index"))]
    for name in filter(None, named):
        try:
            check_name(name)
        except ValueError as error:
            raise UserError(
                f"{path}: refers to a file in another folder, {name[:80]!r}; copy that file beside this one"
            ) from error


def _check_companion(path: Path, tiff: tifffile.TiffFile) -> None:
    """Raises UserError if the file that describes a TIFF says that its pages are of several channels.

    Without that file, or where it cannot be read, pages are frames.
    """
    if not tiff.is_ome or "BinaryOnly" not in (tiff.ome_metadata or ""):
        return
    names = [one.get("MetadataFile", "") for one in ElementTree.fromstring(tiff.ome_metadata or "").iter()]
    companion = path.with_name(check_name(next(filter(None, names), "-")))
    try:
        described = ElementTree.parse(companion)
    except (OSError, ElementTree.ParseError):
        return
    planes = [one for one in described.iter() if one.tag.endswith("}TiffData")]
    channels = {
        plane.get("FirstC", "0") for plane in planes if path.name in {one.get("FileName") for one in plane}
    }
    if len(channels) > 1:
        raise UserError(
            f"{path}: its pages are of {len(channels)} channels, as {companion.name} tells; name its axes and "
            "choose one, as in --axes CYX --channel 0"
        )


def _named_in(xml: str) -> list[str]:
    """Returns the files that OME-XML names; a search in the text would miss names written with entities."""
    try:
        return [one.get("FileName", "") for one in ElementTree.fromstring(xml).iter()]
    except ElementTree.ParseError:
        if "FileName" in xml:  # tifffile may understand what the parser does not
            raise
        return []


# The side of a pixel


def _pixel_size(tiff: tifffile.TiffFile) -> float | None:
    """Returns the side of a pixel in micrometres as OME-XML or ImageJ wrote it, or None.

    The resolution that other programs write is ignored: it is most often that of a screen or a printer. So is one
    in inches, which ImageJ takes over from such pictures.
    """
    if tiff.is_ome:
        return _pixel_size_of_ome(tifffile.xml2dict(tiff.ome_metadata or ""))
    if tiff.is_imagej:
        unit = str((tiff.imagej_metadata or {}).get("unit", ""))
        if unit.strip().lower() in ("in", "inch", "inches"):
            return None
        tags = tiff.pages.first.tags
        per_unit = [tags[name].value if name in tags else (0, 1) for name in ("YResolution", "XResolution")]
        return side_of_square(
            [in_micrometres(below / above, unit) if above else None for above, below in per_unit]
        )
    return None


def _pixel_size_of_ome(ome: Any) -> float | None:
    """Returns the side of a pixel of the first image of OME-XML."""
    try:
        images = ome["OME"]["Image"]
        pixels = (images[0] if isinstance(images, list | tuple) else images)["Pixels"]
        sizes = [pixels[f"PhysicalSize{axis}"] for axis in "YX"]
        units = [str(pixels.get(f"PhysicalSize{axis}Unit", "µm")) for axis in "YX"]
        return side_of_square([in_micrometres(float(size), unit) for size, unit in zip(sizes, units, strict=True)])
    except (KeyError, IndexError, TypeError, ValueError):
        return None
