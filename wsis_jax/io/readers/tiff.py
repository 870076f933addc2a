"""What has to hold for a TIFF before its pages are read: none is missing, and none is in another folder."""

import struct
from pathlib import Path
from xml.etree import ElementTree

import tifffile

from wsis_jax.core import UserError, check_name


def check_pages(tiff: tifffile.TiffFile) -> None:
    """Raises UserError if pages are missing; tifffile leaves out what was cut off with the end of a file."""
    layout, handle = tiff.tiff, tiff.filehandle
    last = tiff.pages[len(tiff.pages) - 1].offset
    handle.seek(last)
    (tags,) = struct.unpack(layout.tagnoformat, handle.read(layout.tagnosize))
    handle.seek(last + layout.tagnosize + tags * layout.tagsize)
    (following,) = struct.unpack(layout.offsetformat, handle.read(layout.offsetsize))
    if following:  # the last page of a whole file names no next page
        raise ValueError(f"pages are missing after the first {len(tiff.pages)}")


def check_other_files(path: Path, tiff: tifffile.TiffFile) -> None:
    """Raises UserError if a TIFF says that some of its pages are in a file of another folder."""
    named: list[str] = []
    if tiff.is_ome:
        named = _named_in(tiff.ome_metadata or "")
    if tiff.is_ndtiff:
        named += [entry[1] for entry in tifffile.read_ndtiff_index(path.with_name("NDTiff.index"))]
    for name in filter(None, named):
        try:
            check_name(name)
        except ValueError as error:
            raise UserError(f"{path}: names a file of another folder, {name[:80]!r}; copy it beside") from error


def _named_in(xml: str) -> list[str]:
    """Returns the files that OME-XML names; a plain search would miss what is written as entities."""
    try:
        return [one.get("FileName", "") for one in ElementTree.fromstring(xml).iter()]
    except ElementTree.ParseError:
        if "FileName" in xml:  # tifffile tries harder to understand it
            raise
        return []
