"""How much a file or a setting may ask for; more is refused in words before anything is allocated.

There is one rule: what is read or computed in one piece has to fit into the memory of this machine, and a value of
an image takes 16 bytes on its way (as stored, as float32 and as float64). Images in tiles are no such piece.
"""

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

from wsis_jax.core.errors import UserError

_BYTES_A_VALUE = 16
_BYTES_A_CHUNK = 16 << 10  # of Zarr that is read, and a tenth of a millisecond
_BYTES_A_LETTER = 64  # of text that is taken apart into fields or JSON
_MOST_IMAGES = 1_000_000  # in a file: each has a name, an entry and files of its own
_USUAL = 8 << 30  # bytes of memory, where the system does not tell


@cache
def memory() -> int:
    """Returns the bytes of memory of this machine, or of the container that this process is in."""
    found = []
    if hasattr(os, "sysconf"):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and (text := limit.read_text().strip()).isdigit():
        found.append(int(text))
    return min(found, default=_USUAL)


def check_values(name: object, values: int, *, remedy: str) -> None:
    """Checks that values of an image may be in memory at a time; pixels of three colours are three each.

    Args:
        name: of the file, or of what asks for them.
        values: how many.
        remedy: what to do where they may not.

    Raises:
        UserError: if they are too many for this machine.
    """
    most = memory() // _BYTES_A_VALUE
    if values > most:
        raise UserError(
            f"{name}: asks for {_count(values)} values in one piece, but {format_bytes(memory())} of memory "
            f"allow {_count(most)}; {remedy}"
        )


def check_chunks(path: Path, chunks: int) -> None:
    """Raises UserError if what is to be read of a file lies in more pieces than can be read at a time."""
    most = memory() // _BYTES_A_CHUNK
    if chunks > most:
        raise UserError(
            f"{path}: lies in {_count(chunks)} chunks, but {format_bytes(memory())} of memory allow "
            f"{_count(most)} at a time; write it again with larger chunks"
        )


def check_images(path: Path, images: int) -> None:
    """Raises UserError if a file says that it holds more images than can be kept count of."""
    if images > _MOST_IMAGES:
        raise UserError(
            f"{path}: says that it holds {_count(images)} images, but {_count(_MOST_IMAGES)} are the most; "
            "check its axes, or save it in parts"
        )


def check_bytes(name: str, needed: int | float, *, remedy: str) -> None:
    """Raises UserError if a setting asks for more bytes than this machine has."""
    if needed > memory():
        raise UserError(
            f"{name}: would take {format_bytes(needed)} of the {format_bytes(memory())} of memory; {remedy}"
        )


def read_text(path: Path, *, encoding: str = "utf-8", errors: str = "strict") -> str:
    """Reads a text that is taken apart in memory.

    Raises:
        OSError: if it cannot be read.
        UserError: if it is too long for this machine, or no text in this encoding.
    """
    size, most = path.stat().st_size, memory() // _BYTES_A_LETTER
    if size > most:
        raise UserError(
            f"{path}: is a text of {format_bytes(size)}, but {format_bytes(most)} are the most; "
            "give a smaller file"
        )
    return path.read_text(encoding=encoding, errors=errors)


def read_json(path: Path, *, what: str = "readable as JSON", remedy: str | None = None) -> Any:
    """Reads a file of JSON.

    Args:
        path: the file.
        what: it is not, where it is no JSON.
        remedy: what to do then.

    Raises:
        OSError: if it cannot be read.
        UserError: if it is too long for this machine, or no JSON.
    """
    try:
        return json.loads(read_text(path))
    except UserError:
        raise
    except (ValueError, RecursionError) as error:
        why = "brackets are nested too deeply" if isinstance(error, RecursionError) else error
        raise UserError(f"{path}: not {what} ({why})" + (f"; {remedy}" if remedy else "")) from error


def _count(number: int) -> str:
    """Returns a number for reading; one of many digits by its power of ten."""
    return f"{number:,}" if number < 10**15 else f"10^{len(str(number)) - 1}"


def format_bytes(count: int | float) -> str:
    """Returns a number of bytes for reading."""
    gibibytes = count / 2**30
    if gibibytes < 1:
        return f"{count / 2**20:.3g} MiB"
    if gibibytes < 1000:
        return f"{gibibytes:.3g} GiB"
    return f"{gibibytes:,.0f} GiB" if gibibytes < 10**9 else "more than 10^9 GiB"
