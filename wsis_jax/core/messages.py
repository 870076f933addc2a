"""Remarks: warnings of this package that stay with the image that they are about.

What Python does with warnings is the same in all threads. A library that ignores some for a moment in one swallows
those of another, and a batch has two; so remarks go to a list of each thread's own, and none is lost.
"""

import warnings
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

# Of each thread its own.
_taken: ContextVar[list[str] | None] = ContextVar("_taken", default=None)


def remark(message: str, *, stacklevel: int = 2) -> None:
    """Warns as `warnings.warn` does, or, in a block of `taking_remarks`, adds the message to its list.

    Args:
        message: a sentence for people.
        stacklevel: whose line the warning names, as of `warnings.warn`: 2 that of the caller.
    """
    taken = _taken.get()
    if taken is None:
        warnings.warn(message, stacklevel=stacklevel + 1)
    else:
        taken.append(message)


@contextmanager
def taking_remarks() -> Generator[list[str], None, None]:
    """Lends the list of what is remarked in this thread, in the block; none becomes a warning."""
    taken: list[str] = []
    token = _taken.set(taken)
    try:
        yield taken
    finally:
        _taken.reset(token)
