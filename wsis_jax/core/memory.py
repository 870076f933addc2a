"""Running out of memory, on a device or beside it, and telling of it in a sentence."""

from collections.abc import Generator
from contextlib import contextmanager

import jax

from wsis_jax.core.errors import OutOfMemory, warn_about_image


def is_out_of_memory(error: Exception) -> bool:
    """Tells whether an error says that there is not enough memory, be it of NumPy, Python or JAX."""
    of_jax = isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error)
    return isinstance(error, MemoryError) or of_jax


@contextmanager
def explaining_out_of_memory(message: str) -> Generator[None, None, None]:
    """Raises `OutOfMemory` of this sentence where a block runs out of memory and does not tell itself."""
    try:
        yield
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if isinstance(error, OutOfMemory) or not is_out_of_memory(error):
            raise
        raise OutOfMemory(message) from error


def fewer_cells(chunk: int, error: Exception) -> int:
    """Returns how many cells to take at a time where so many were too many for the memory.

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
