"""Finds files, and pairs them by name."""

import re
from collections.abc import Sequence
from pathlib import Path

from wsis_jax.core import MissingFile, UserError

Files = str | Path | Sequence[str | Path]
"""A file, a folder or a pattern, or several of them."""


def list_files(where: Files, *, suffixes: Sequence[str]) -> list[Path]:
    """Lists the files meant by a file's name, a folder or a pattern, or by several of them.

    Args:
        where: A file (whatever its suffix; a folder of Zarr counts as a file), a folder, or a pattern such as
            `day?/*.tif` or `**/*.tif`.
        suffixes: The endings to keep in a folder or of a pattern, as `.tif`, in small letters; capitals match too.

    Returns:
        At least one file, sorted by path; hidden files are skipped.

    Raises:
        MissingFile: If there is no such file.
    """
    from wsis_jax.io.readers import is_image_folder  # not above: `wsis --help` need not wait for NumPy

    if not isinstance(where, str | Path):
        found = {path: None for each in where for path in list_files(each, suffixes=suffixes)}
        return list(found)
    where = Path(where)
    if where.is_file() or is_image_folder(where):
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
    files = sorted(path for path in kept if path.is_file() or is_image_folder(path))
    if not files:
        raise MissingFile(f"{where}: {problem}")
    return files


def stem(path: str | Path) -> str:
    """Returns the name to pair a file by: without its suffix, `.ome` before that, and `_labels` at the end."""
    return Path(path).stem.removesuffix(".ome").removesuffix("_labels")


def pair_by_stem(
    first: Sequence[Path], second: Sequence[Path]
) -> tuple[list[tuple[Path, Path]], list[Path], list[Path]]:
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


def _by_stem(paths: Sequence[Path]) -> dict[str, Path]:
    """Returns files by their stems, in the order given."""
    named: dict[str, Path] = {}
    for path in paths:
        if (name := stem(path)) in named:
            raise UserError(f"{path}: {named[name]} would be paired by the same name; remove or rename one")
        named[name] = path
    return named
