"""Limits of the machine: how much a file or a setting may ask for, running out of memory, and versions.

What asks for too much is refused before anything is allocated, by one rule: what is read or computed in one piece
has to fit into the memory of this machine, and a value of an image takes 16 bytes on its way (as stored, as
float32 and as float64). An image that is segmented in tiles is not one piece.
"""

import json
import os
import platform
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from wsis_jax.core.errors import OutOfMemory, UserError, warn_about_image

_BYTES_A_VALUE = 16
_BYTES_A_CHUNK = 16 << 10  # of memory to read a chunk of Zarr, whatever its size
_BYTES_A_LETTER = 64  # of text that is parsed as fields or JSON
_MOST_IMAGES = 1_000_000  # in a file: each has a name, an entry and files of its own
_USUAL = 8 << 30  # bytes of memory, where the system does not say


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
    """Raises UserError if so many values of an image do not fit into memory; three colours are three values."""
    most = memory() // _BYTES_A_VALUE
    if values > most:
        raise UserError(
            f"{name}: needs {_count(values)} values at once, but {format_bytes(memory())} of memory "
            f"hold at most {_count(most)}; {remedy}"
        )


def check_chunks(path: Path, chunks: int) -> None:
    """Raises UserError if a part of a file that is read at once lies in too many chunks."""
    most = memory() // _BYTES_A_CHUNK
    if chunks > most:
        raise UserError(
            f"{path}: is stored in {_count(chunks)} chunks, but {format_bytes(memory())} of memory hold "
            f"at most {_count(most)} at a time; write it again with larger chunks"
        )


def check_images(path: Path, images: int) -> None:
    """Raises UserError if a file says that it holds more images than can be listed."""
    if images > _MOST_IMAGES:
        raise UserError(
            f"{path}: is described as {_count(images)} images, but at most {_count(_MOST_IMAGES)} can be read; "
            "check its axes, or save it in parts"
        )


def check_bytes(name: str, needed: int | float, *, remedy: str) -> None:
    """Raises UserError if a setting asks for more bytes than this machine has."""
    if needed > memory():
        raise UserError(
            f"{name}: would take {format_bytes(needed)} of the {format_bytes(memory())} of memory; {remedy}"
        )


def read_text(path: Path, *, encoding: str = "utf-8", errors: str = "strict") -> str:
    """Reads a text file that is parsed in memory.

    Raises:
        OSError: if it cannot be read.
        UserError: if it is too long for this machine, or no text in this encoding.
    """
    size, most = path.stat().st_size, memory() // _BYTES_A_LETTER
    if size > most:
        raise UserError(
            f"{path}: has {format_bytes(size)} of text, but at most {format_bytes(most)} can be read; "
            "give a smaller file"
        )
    return path.read_text(encoding=encoding, errors=errors)


def read_json(path: Path, *, what: str = "readable as JSON", remedy: str | None = None) -> Any:
    """Reads a file of JSON.

    Args:
        what: what the error says the file is not, where it is not JSON.
        remedy: what to do in that case.

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
    """Returns a number as text; one of many digits by its power of ten."""
    return f"{number:,}" if number < 10**15 else f"10^{len(str(number)) - 1}"


def format_bytes(count: int | float) -> str:
    """Returns a number of bytes as text."""
    gibibytes = count / 2**30
    if gibibytes < 1:
        return f"{count / 2**20:.3g} MiB"
    if gibibytes < 1000:
        return f"{gibibytes:.3g} GiB"
    return f"{gibibytes:,.0f} GiB" if gibibytes < 10**9 else "more than 10^9 GiB"


# Running out of memory


def is_out_of_memory(error: Exception) -> bool:
    """Tells whether an error of NumPy, Python or JAX says that there is not enough memory."""
    import jax

    of_jax = isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error)
    return isinstance(error, MemoryError) or of_jax


@contextmanager
def explaining_out_of_memory(message: str) -> Generator[None, None, None]:
    """Context manager that raises `OutOfMemory` with this sentence where its block runs out of memory."""
    try:
        yield
    except Exception as error:
        if isinstance(error, OutOfMemory) or not is_out_of_memory(error):
            raise
        raise OutOfMemory(message) from error


def fewer_cells(chunk: int, error: Exception) -> int:
    """Returns how many cells to process at a time after this many needed too much memory.

    Raises:
        OutOfMemory: if it was one.
    """
    if chunk == 1:
        raise OutOfMemory(
            "the contribution map of a single cell does not fit into memory; set cut.reach lower or "
            "contribution.method=window, or segment in tiles (--tiles)"
        ) from error
    warn_about_image(
        f"the memory is too small for {chunk} cells at a time, so {chunk // 2} were taken; set "
        f"contribution.chunk={chunk // 2} to begin with that",
        stacklevel=3,
    )
    return chunk // 2


# Versions


def versions(*, device: bool = True) -> dict[str, str]:
    """Returns what results may depend on, by name: versions of this package and its libraries, and the device.

    Packages that are not installed are left out. Without `device` it is left out, too, and JAX is not started.
    """
    found: dict[str, str] = {}
    for package in ("wsis-jax", "jax", "jaxlib", "flax", "optax", "numpy"):
        with suppress(PackageNotFoundError):
            found[package.replace("-", "_")] = version(package)
    found |= {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    if device:
        import jax

        devices = jax.devices()
        found["device"] = f"{len(devices)} × {devices[0].device_kind}"
    return found
