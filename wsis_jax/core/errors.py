"""Errors that a user can mend, and warnings that stay with the image that they are about.

The command line and the viewer show a `UserError` as one line. Whatever else is raised is a fault of the program,
and keeps its traceback.
"""

import warnings
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar


class UserError(ValueError):
    """What a user can mend; the text is one sentence: which file or argument, what is wrong, what to do."""


# The base that has a memory layout of its own comes first, so that Dask can send the error to another process.


class MissingFile(FileNotFoundError, UserError):
    """A file or folder that is not there."""


class WriteError(OSError, UserError):
    """Nothing can be written where results are to go: whatever comes next would fail, too."""


class OutOfMemory(MemoryError, UserError):
    """There was not enough memory; says for what, and what to change."""


# What the system refuses is no fault of the program either.
EXPECTED_ERRORS = (UserError, OSError, MemoryError)
"""Errors that the command line and the viewer show as one line, by `sentence`."""


def sentence(error: BaseException) -> str:
    """Returns what an error says, as a sentence for the user."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        where = "" if error.filename is None else f"{error.filename}: "
        return f"{where}{error.strerror.lower()}; check the path, the room on the disk and your permissions"
    if isinstance(error, MemoryError):
        what = f" ({error})" if str(error) else ""
        remedy = "close other programs, give smaller images, or segment in tiles (--tiles)"
        return f"there is not enough memory{what}; {remedy}"
    return str(error)


# Of each thread its own.
_collected: ContextVar[list[str] | None] = ContextVar("_taken", default=None)


def warn_about_image(message: str, *, stacklevel: int = 2) -> None:
    """Warns as `warnings.warn` does, or, in a block of `collecting_warnings`, adds the message to its list.

    `stacklevel` says whose line the warning names, as of `warnings.warn`: 2 that of the caller.
    """
    taken = _collected.get()
    if taken is None:
        warnings.warn(message, stacklevel=stacklevel + 1)
    else:
        taken.append(message)


@contextmanager
def collecting_warnings() -> Generator[list[str], None, None]:
    """Context manager yielding the list of the warnings about an image that its block makes in this thread."""
    taken: list[str] = []
    token = _collected.set(taken)
    try:
        yield taken
    finally:
        _collected.reset(token)
