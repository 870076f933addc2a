"""The side of a pixel in micrometres, as files tell it."""

from collections.abc import Sequence
from typing import Any

import tifffile

# The units that OME-XML, NGFF and ImageJ name.
_MICROMETRES = {
    **dict.fromkeys(("å", "angstrom"), 1e-4),
    **dict.fromkeys(("nm", "nanometer", "nanometre"), 1e-3),
    **dict.fromkeys(("µm", "μm", "um", "micron", "microns", "micrometer", "micrometre"), 1.0),
    **dict.fromkeys(("mm", "millimeter", "millimetre"), 1e3),
    **dict.fromkeys(("cm", "centimeter", "centimetre"), 1e4),
    **dict.fromkeys(("m", "meter", "metre"), 1e6),
    **dict.fromkeys(("in", "inch"), 25400.0),
}


def in_micrometres(size: float | int, unit: str) -> float | None:
    """Returns a length in micrometres, or None where the unit is none of length."""
    factor = _MICROMETRES.get(unit.strip().lower().replace("\\u00b5", "µ"))
    return None if factor is None else size * factor


def square(sides: Sequence[float | int | None]) -> float | None:
    """Returns the side of a pixel whose height and width are known, equal to a thousandth, and not 0."""
    height, width = sides
    if height is None or width is None or not height > 0 or abs(height - width) > 1e-3 * height:
        return None
    return float(width)


def pixel_size_of_tiff(tiff: tifffile.TiffFile) -> float | None:
    """Returns the side of a pixel in micrometres as OME-XML or ImageJ wrote it, or None.

    The resolution of other programs is left alone: it is most often that of a screen or a printer.
    """
    if tiff.is_ome:
        return _of_ome(tifffile.xml2dict(tiff.ome_metadata or ""))
    if tiff.is_imagej:
        unit = str((tiff.imagej_metadata or {}).get("unit", ""))
        tags = tiff.pages.first.tags
        per_unit = [tags[name].value if name in tags else (0, 1) for name in ("YResolution", "XResolution")]
        return square([in_micrometres(below / above, unit) if above else None for above, below in per_unit])
    return None


def _of_ome(ome: Any) -> float | None:
    """Returns that of the first image of OME-XML."""
    try:
        images = ome["OME"]["Image"]
        pixels = (images[0] if isinstance(images, list | tuple) else images)["Pixels"]
        sizes = [pixels[f"PhysicalSize{axis}"] for axis in "YX"]
        units = [str(pixels.get(f"PhysicalSize{axis}Unit", "µm")) for axis in "YX"]
        return square([in_micrometres(float(size), unit) for size, unit in zip(sizes, units, strict=True)])
    except (KeyError, IndexError, TypeError, ValueError):
        return None
