"""Errors that a user can mend, and warnings that stay with the image that they are about.

The command line and the viewer show a `UserError` as one line. Whatever else is raised is a fault of the program,
and keeps its traceback.
"""

import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

from wsis_jax.core.words import first_of


class UserError(ValueError):
    """An error that the user can correct; its text says which file or argument, what is wrong, what to do."""


# The base that has a memory layout of its own comes first, so that Dask can send the error to another process.


class MissingFile(FileNotFoundError, UserError):
    """A file or folder that is not there."""


class WriteError(OSError, UserError):
    """Nothing can be written to the folder of results, so the images that follow would fail, too."""


class OutOfMemory(MemoryError, UserError):
    """There was not enough memory; says for what, and what to change."""


class Faults(UserError):
    """Several errors that a user can correct, reported together; the text has a line for each.

    Attributes:
        sentences: what each of them says.
    """

    def __init__(self, sentences: Sequence[str]) -> None:
        super().__init__(sentences)
        self.sentences = tuple(sentences)

    def __str__(self) -> str:
        return "\n".join(first_of(self.sentences))


# What the system refuses is not a fault of the program either.
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


def sentences(error: BaseException) -> list[str]:
    """Returns what an error says, a sentence for each of its faults, of more than ten their number."""
    return first_of(error.sentences) if isinstance(error, Faults) else [sentence(error)]


@contextmanager
def collecting_faults() -> Generator[Callable[[], AbstractContextManager[None]], None, None]:
    """Context manager yielding a function; each block under a context manager that it returns may fail alone.

    Errors of the user in these blocks are raised together at the end: one as it is, several as `Faults`.
    Errors of the disk or the memory, which would make all blocks fail, are raised at once.
    """
    found: list[UserError] = []

    @contextmanager
    def one() -> Generator[None, None, None]:
        try:
            yield
        except (WriteError, OutOfMemory):
            raise
        except UserError as error:
            found.append(error)

    yield one
    # A file may be read twice, as labels and as masks.
    told = list(dict.fromkeys(said for error in found for said in _all_of(error)))
    if len(told) > 1:
        raise Faults(told)
    if found:
        raise found[0]


def _all_of(error: UserError) -> Sequence[str]:
    return error.sentences if isinstance(error, Faults) else [str(error)]


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
