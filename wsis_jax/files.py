"""Finding files, pairing them by name, and writing them so that no half of one is ever left.

Everything is written under a temporary name beside its place and then moved there: an interrupted run leaves the
old file or none.
"""

import os
import re
import shutil
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

Where = str | Path | Sequence[str | Path]
"""A file, a folder or a pattern; or several of them."""


def list_files(where: Where, *, suffixes: Sequence[str]) -> list[Path]:
    """Lists the files meant by a file's name, a folder or a pattern, or by several of them.

    Args:
        where: A file (whatever its suffix; a folder of Zarr is one), a folder, or a pattern such as `day?/*.tif`
            or `**/*.tif`.
        suffixes: Endings to keep in a folder or of a pattern, as `.tif`; small letters mean capitals too.

    Returns:
        At least one file, sorted by path; hidden files are skipped.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    if not isinstance(where, str | Path):
        found = {path: None for each in where for path in list_files(each, suffixes=suffixes)}
        return list(found)
    where = Path(where)
    if where.is_file() or is_zarr(where):
        return [where]
    endings = ", ".join(suffixes)
    if where.is_dir():
        candidates = where.iterdir()
        problem = f"the folder holds no file ending in {endings}; give the folder that holds the files"
    elif re.search(r"[*?\[]", str(where)):
        candidates = Path(where.anchor).glob(str(where.relative_to(where.anchor)))
        problem = f"the pattern matches no file ending in {endings}; check it, and quote it for the shell"
    else:
        raise FileNotFoundError(f"{where}: there is no such file or folder; check the path")
    kept = [path for path in candidates if path.suffix.lower() in suffixes and not path.name.startswith(".")]
    files = sorted(path for path in kept if path.is_file() or is_zarr(path))
    if not files:
        raise FileNotFoundError(f"{where}: {problem}")
    return files


def is_zarr(path: Path) -> bool:
    """Tells whether a path is a folder of Zarr, which counts as a file."""
    return any((path / name).is_file() for name in ("zarr.json", ".zgroup", ".zarray"))


def stem(path: str | Path) -> str:
    """Returns the name to pair files by: without the suffix, `.ome` before it, and a trailing `_labels`."""
    return Path(path).stem.removesuffix(".ome").removesuffix("_labels")


def pair_by_stem(first: list[Path], second: list[Path]) -> tuple[list[tuple[Path, Path]], list[Path], list[Path]]:
    """Pairs the files of two lists that have the same `stem`; one file and one file are always a pair.

    Returns:
        The pairs, the files of `first` without a partner and those of `second`, each in the order given.

    Raises:
        ValueError: If two files of one list have the same stem.
    """
    of_first, of_second = _by_stem(first), _by_stem(second)
    if len(first) == len(second) == 1:
        return [(first[0], second[0])], [], []
    pairs = [(path, of_second[name]) for name, path in of_first.items() if name in of_second]
    first_alone = [path for name, path in of_first.items() if name not in of_second]
    second_alone = [path for name, path in of_second.items() if name not in of_first]
    return pairs, first_alone, second_alone


def check_name(name: object) -> str:
    """Returns a name from a file that others are called by, if it cannot lead to another folder.

    Raises:
        ValueError: if it is no text, or may be a path.
    """
    if not isinstance(name, str) or name in ("", ".", "..") or any(mark in name for mark in "/\\\0"):
        raise ValueError(f"{str(name)[:80]!r} is no name of a file in this folder")
    return name


def check_inside(folder: Path, path: Path) -> Path:
    """Returns a path below a folder if links do not lead it elsewhere.

    What is read as numbers may be a link to anywhere; what is written, deleted or shown must be inside.

    Raises:
        ValueError: if it is outside.
    """
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):  # which bears loops of links
        raise ValueError(f"{path}: is a link that leads out of {folder}; remove it, or copy what it leads to")
    return path


def name_some(paths: Sequence[Path]) -> str:
    """Returns the first of several paths and the number of the others, for a message of one line."""
    return str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"


def _by_stem(paths: list[Path]) -> dict[str, Path]:
    """Returns the paths under their stems, in the order given."""
    named: dict[str, Path] = {}
    for path in paths:
        if (name := stem(path)) in named:
            raise ValueError(f"{path}: {named[name]} would be paired by the same name; remove or rename one")
        named[name] = path
    return named


def write_text(path: str | Path, text: str) -> None:
    """Writes a text in UTF-8, its line ends as they are."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


@contextmanager
def replacing(path: str | Path) -> Generator[Path, None, None]:
    """Lends a name beside `path`; what is written there takes the place of `path`, or goes on an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Hidden from `list_files` of another process. Not by `tempfile`: its files only their owner may read.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: str | Path) -> Generator[Path, None, None]:
    """Lends a name beside `path` for a folder, which takes the place of `path`, or goes on an error.

    For a moment, while the old folder is set aside, there is none.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, old = (path.with_name(f".{path.name}.{os.getpid()}.{end}") for end in ("tmp", "old"))
    try:
        yield temporary
        if path.exists():
            path.replace(old)
        temporary.replace(path)
    finally:
        for left in (temporary, old):
            shutil.rmtree(left, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Removes what processes that were killed left half-written under temporary names in a folder and below."""
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
    if os.name != "posix":  # where asking by a signal would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
