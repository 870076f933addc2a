"""Finds files, and pairs them by name."""

import re
from collections.abc import Sequence
from pathlib import Path

from wsis_jax.core import MissingFile, UserError

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
        MissingFile: If there is no such file.
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
        raise MissingFile(f"{where}: there is no such file or folder; check the path")
    kept = [path for path in candidates if path.suffix.lower() in suffixes and not path.name.startswith(".")]
    files = sorted(path for path in kept if path.is_file() or is_zarr(path))
    if not files:
        raise MissingFile(f"{where}: {problem}")
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
        UserError: If two files of one list have the same stem.
    """
    of_first, of_second = _by_stem(first), _by_stem(second)
    if len(first) == len(second) == 1:
        return [(first[0], second[0])], [], []
    pairs = [(path, of_second[name]) for name, path in of_first.items() if name in of_second]
    first_alone = [path for name, path in of_first.items() if name not in of_second]
    second_alone = [path for name, path in of_second.items() if name not in of_first]
    return pairs, first_alone, second_alone


def name_some(paths: Sequence[Path]) -> str:
    """Returns the first of several paths and the number of the others, for a message of one line."""
    return str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"


def _by_stem(paths: list[Path]) -> dict[str, Path]:
    """Returns the paths under their stems, in the order given."""
    named: dict[str, Path] = {}
    for path in paths:
        if (name := stem(path)) in named:
            raise UserError(f"{path}: {named[name]} would be paired by the same name; remove or rename one")
        named[name] = path
    return named
