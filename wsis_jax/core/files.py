"""Reads and writes files so that errors are sentences and no half-written file is ever left.

Everything is written under a temporary name beside its place and then moved there: an interrupted run leaves the
old file or none. An error of writing is a `WriteError` if nothing else could be written there either.
"""

import errno
import os
import re
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeGuard

from wsis_jax.core.errors import MissingFile, OutOfMemory, UserError, WriteError

_REASONS = {
    errno.ENOSPC: "the disk is full; make room",
    errno.EDQUOT: "the quota of the disk is used up; make room",
    errno.EFBIG: "it is larger than a file may be here; raise the limit (ulimit -f) or choose another disk",
    errno.EROFS: "the disk can only be read; choose another folder",
    errno.EACCES: "its folder may not be written to; choose another folder",
    errno.EPERM: "its folder may not be written to; choose another folder",
    errno.EEXIST: "there is a file in the place of its folder; move it away or choose another folder",
    errno.ENOTDIR: "there is a file in the place of its folder; move it away or choose another folder",
}


def _is_name(name: object) -> TypeGuard[str]:
    """Tells whether a name is text that cannot be a path."""
    return isinstance(name, str) and name not in ("", ".", "..") and not any(mark in name for mark in "/\\\0")


def check_name(name: object) -> str:
    """Returns a file name that was read from a file; UserError if it is not a plain name but might be a path."""
    if not _is_name(name):
        raise UserError(f"{str(name)[:80]!r} is not a plain file name, and might lead out of this folder")
    return name


def check_place(place: object) -> str:
    """Returns a relative path read from a file, such as `A1/img`; UserError if it may leave its folder."""
    if not isinstance(place, str) or not all(map(_is_name, place.split("/"))):
        raise UserError(f"{str(place)[:80]!r} is not a plain file name, and might lead out of this folder")
    return place


def check_inside(folder: Path, path: Path) -> Path:
    """Returns a path below a folder; UserError if a link leads it elsewhere.

    Images and points may be links to anywhere; what is written, deleted or shown must be inside of the folder.
    """
    # `os.path.realpath` copes with loops of links, where `Path.resolve` raises.
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
        raise UserError(f"{path}: is a link that leads out of {folder}; remove it, or copy what it leads to")
    return path


@contextmanager
def reading(path: Path, *, damaged: str | None = None) -> Generator[None, None, None]:
    """Context manager that turns an error while a file is opened or read into a UserError that names the file.

    Args:
        damaged: what is wrong with the file if a library raises something, as "the image is damaged"; None lets
            what is not an error of the system pass.

    Raises:
        MissingFile: if there is no such file.
        OutOfMemory: if there is not enough memory to read it.
        UserError: if the system refuses to read it, as a folder or without permission, or it is damaged.
    """
    try:
        yield
    except UserError:
        raise
    except MemoryError as error:
        raise OutOfMemory(f"{path}: there is not enough memory to read it; close other programs") from error
    except Exception as error:  # decoders raise a dozen unrelated classes for a damaged file
        if isinstance(error, OSError) and (error.strerror is not None or damaged is None):  # of the system
            if isinstance(error, FileNotFoundError):
                raise MissingFile(f"{error.filename or path}: there is no such file; check the path") from error
            reason = (error.strerror or str(error)).lower()
            raise UserError(f"{path}: cannot be read ({reason}); check the path and your permissions") from error
        if damaged is None:
            raise
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path}: {damaged} ({reason}); copy or export it again") from error


def write_text(path: str | Path, text: str) -> None:
    """Writes a text in UTF-8, with its line ends as they are."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def append_text(path: Path, text: str, *, then: str = "do the same again") -> None:
    """Adds a text to a file in UTF-8, all of it or nothing; `then` is as in `explaining_write_errors`."""
    with explaining_write_errors(path, then=then), path.open("ab", buffering=0) as file:
        before, left = file.seek(0, os.SEEK_END), memoryview(text.encode())
        try:
            while left:
                left = left[file.write(left) :]
        except OSError:
            file.truncate(before)
            raise


@contextmanager
def explaining_write_errors(path: Path, *, then: str = "do the same again") -> Generator[None, None, None]:
    """Context manager that turns an error while `path` is written into a message for the user.

    `then` is what to do after the reason is mended, in words.

    Raises:
        WriteError: if the disk or the folder takes nothing more.
        UserError: if this one file cannot be written.
        OSError: of another file, which is read meanwhile.
    """
    try:
        yield
    except UserError:
        raise
    except OSError as error:
        if error.filename is not None and not _nested(Path(error.filename), path.parent):
            raise  # it is about a file that is read meanwhile
        number = error.errno
        if number is None and shutil.disk_usage(_existing(path)).free < _LITTLE:
            number = errno.ENOSPC  # some libraries lose the number
        # If the folder takes files, the old file of this name is in use or belongs to another user.
        one_file = number in (errno.EACCES, errno.EPERM) and os.access(_existing(path), os.W_OK)
        if number in _REASONS and not one_file:
            raise WriteError(f"{path}: cannot be written, since {_REASONS[number]}, then {then}") from error
        raise UserError(
            f"{path}: cannot be written ({error.strerror or error}); change that, then {then}"
        ) from error


_LITTLE = 2**16  # bytes: a disk with fewer free counts as full


def _nested(first: Path, second: Path) -> bool:
    """Tells whether one of two paths is within the other."""
    first, second = first.absolute(), second.absolute()
    return first.is_relative_to(second) or second.is_relative_to(first)


def _existing(path: Path) -> Path:
    """Returns the innermost folder around a path that exists."""
    return next(folder for folder in path.absolute().parents if folder.is_dir())


def temporary_name(path: Path, process: int, end: str = "tmp") -> Path:
    """Returns the name beside `path` under which a process of this number writes; `remove_leftovers` finds it."""
    # Hidden, so that `list_files` of another process skips it. `tempfile` would make files for the owner alone.
    return path.with_name(f".{path.name}.{process}.{end}")


@contextmanager
def replacing(path: str | Path, *, then: str = "do the same again") -> Generator[Path, None, None]:
    """Context manager yielding a temporary path; what is written there replaces `path`, or is removed on an error.

    `then` and errors are those of `explaining_write_errors`.
    """
    path = Path(path)
    temporary = temporary_name(path, os.getpid())
    with explaining_write_errors(path, then=then):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: str | Path, *, then: str = "do the same again") -> Generator[Path, None, None]:
    """Context manager yielding a temporary path for a folder, which replaces `path`, or is removed on an error.

    For a moment between the two there is no folder at `path`. `then` and errors are those of
    `explaining_write_errors`.
    """
    path = Path(path)
    temporary, old = (temporary_name(path, os.getpid(), end) for end in ("tmp", "old"))
    with explaining_write_errors(path, then=then):
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in (temporary, old):  # an earlier process had this number, as happens in containers
            shutil.rmtree(left, ignore_errors=True)
        try:
            yield temporary
            if path.exists():
                path.replace(old)
            temporary.replace(path)
        finally:
            for left in (temporary, old):
                shutil.rmtree(left, ignore_errors=True)


def remove_folder(path: Path) -> None:
    """Removes a folder; if that is interrupted, the rest has a temporary name."""
    aside = temporary_name(path, os.getpid(), "old")
    shutil.rmtree(aside, ignore_errors=True)
    path.replace(aside)
    shutil.rmtree(aside, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Removes temporary files that processes left in a folder, or below it, when they were killed."""
    for path in folder.rglob(".*"):
        match = re.fullmatch(r"\..+\.([0-9]+)\.(tmp|old)", path.name)
        if match is None or _is_running(int(match[1])):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    """Tells whether there may be a process of this number."""
    if os.name != "posix":  # elsewhere the signal would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
