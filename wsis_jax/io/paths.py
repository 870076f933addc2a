"""Finds files, and pairs them by name."""

import json
import re
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from unicodedata import normalize

from wsis_jax.core import MissingFile, UserError, read_text, reading

Files = str | Path | Sequence[str | Path]
"""A file, a folder or a pattern, or several of them."""

MANIFEST = "manifest.jsonl"
"""The file in a folder of results that names what was written."""

CORRECTIONS = "_corrections.csv"
"""The end of the name of corrected points, which replace the `<name>_points.csv` of a result beside them."""

# What a file is, at the end of its name; a longer ending comes before one that it ends with.
_ENDINGS = ("_labels", "_points", CORRECTIONS.removesuffix(".csv"), "_cp_masks", "_masks", "_mask")


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
    within = re.search(r"\.zarr[/\\]", str(where), re.IGNORECASE) is not None and ".zarr" in suffixes
    kept = [
        path
        for path in candidates
        if (path.suffix.lower() in suffixes or (within and not path.suffix and _is_group(path)))
        and not path.name.startswith(".")
    ]
    files = sorted(path for path in kept if path.is_file() or is_image_folder(path))
    if not files:
        raise MissingFile(f"{where}: {problem}")
    return files


def _is_group(path: Path) -> bool:
    """Tells whether a folder in a Zarr is a group, as images are, and no array."""
    if (path / ".zgroup").is_file():
        return True
    described = path / "zarr.json"
    return described.is_file() and re.search(r'"node_type"\s*:\s*"group"', read_text(described)) is not None


def list_images(where: Files) -> list[Path]:
    """Lists image files as `list_files` does, but of a folder or a pattern none that was written as a result.

    These are the files that the folder's manifest names, and the pictures of `wsis points`, `<name>_points.png`
    beside `<name>.csv` or the image.

    Raises:
        MissingFile: If there is no such file, or there are results alone.
    """
    from wsis_jax.io.readers import IMAGE_SUFFIXES

    wheres = [where] if isinstance(where, str | Path) else where
    results: dict[Path, set[Path]] = {}
    found: dict[Path, None] = {}
    for each in wheres:
        files = list_files(each, suffixes=IMAGE_SUFFIXES)
        if files != [Path(each)]:
            for folder in {file.parent for file in files} - results.keys():
                results[folder] = _written(folder)
            kept = [file for file in files if file not in results[file.parent] and not _is_drawn(file)]
            if not kept:
                raise MissingFile(
                    f"{each}: holds results of wsis segment and no other image; give the folder that holds the "
                    "images"
                )
            files = kept
        found |= dict.fromkeys(files)
    return list(found)


def list_points(where: Files, *, suffixes: Sequence[str]) -> list[Path]:
    """Lists point files as `list_files` does, but of a folder of results only the points in it.

    These are the files `<name>_points.csv`; of other files that the folder's manifest names, such as tables of
    cells, none is listed. Corrected points, `<name>_corrections.csv`, take the place of those beside them, if both
    are meant.

    Raises:
        MissingFile: If there is no such file.
    """
    wheres = [where] if isinstance(where, str | Path) else where
    found: dict[Path, None] = {}
    for each in wheres:
        files = list_files(each, suffixes=suffixes)
        if files != [Path(each)]:
            results = {file for folder in {file.parent for file in files} for file in _written(folder)}
            files = [file for file in files if file not in results or file.name.endswith("_points.csv")]
            if not files:
                raise MissingFile(f"{each}: holds results of wsis segment, but no points; add points to --format")
        found |= dict.fromkeys(files)
    corrected = {
        file.with_name(f"{file.name.removesuffix(CORRECTIONS)}_points.csv")
        for file in found
        if file.name.endswith(CORRECTIONS)
    }
    return [file for file in found if file not in corrected]


def _written(folder: Path) -> set[Path]:
    """Returns the files that the manifest of a folder names; a damaged line names none."""
    path, files = folder / MANIFEST, []
    if not path.is_file():
        return set()
    with reading(path):
        lines = read_text(path, errors="replace").splitlines()
    for line in lines:
        with suppress(ValueError, TypeError, KeyError, RecursionError):
            files += [folder / name for name in json.loads(line)["files"]]
    return set(files)


def _is_drawn(file: Path) -> bool:
    """Tells whether a file is a picture that `wsis points` drew of a file beside it, or of a frame of one."""
    from wsis_jax.io.readers import IMAGE_SUFFIXES

    if not file.name.endswith("_points.png"):
        return False
    name = file.name.removesuffix("_points.png")
    names = {name, re.sub(r"_\d{4,}$", "", name)}
    return any(file.with_name(f"{one}{end}").exists() for one in names for end in (".csv", *IMAGE_SUFFIXES))


def stem(path: str | Path) -> str:
    """Returns the name to pair a file by: without its suffix, `.ome` before that, and `_labels` at the end.

    An image in a folder of Zarr has the name of that, and its place there, as in `plate_A_1_0`. Letters with
    accents are in the form NFC, since some disks take them apart: what looks the same is the same.
    """
    path = Path(path)
    outer = next((above for above in path.parents if above.suffix.lower() == ".zarr"), None)
    if outer is not None and not path.suffix:  # an image of a collection
        return "_".join((stem(outer), *path.relative_to(outer).parts))
    return normalize("NFC", path.stem).removesuffix(".ome").removesuffix("_labels")


def bare_stem(path: str | Path) -> str:
    """Returns the `stem` without what says the kind of a file: _points, _corrections, _mask, _masks, _cp_masks."""
    name = stem(path)
    return next((name.removesuffix(end) for end in _ENDINGS if name.endswith(end) and name != end), name)


def pair_by_stem(
    first: Sequence[Path], second: Sequence[Path]
) -> tuple[list[tuple[Path, Path]], list[Path], list[Path]]:
    """Pairs the files of two lists that have the same `stem`; one file and one file are always a pair.

    Files that find no partner so are paired by their `bare_stem`: a.tif and a_points.csv.

    Returns:
        The pairs, the files of `first` without a partner and those of `second`, each in the order given.

    Raises:
        UserError: If two files of one list have the same stem.
    """
    of_first, of_second = _by_stem(first), _by_stem(second)
    if len(first) == len(second) == 1:
        return [(first[0], second[0])], [], []
    partners = {path: of_second[name] for name, path in of_first.items() if name in of_second}
    first_left = [path for path in first if path not in partners]
    second_left = [path for name, path in of_second.items() if name not in of_first]
    partners |= _pair_bare(first_left, second_left)
    taken = set(partners.values())
    return (
        [(path, partners[path]) for path in first if path in partners],
        [path for path in first_left if path not in partners],
        [path for path in second_left if path not in taken],
    )


def _pair_bare(first: Sequence[Path], second: Sequence[Path]) -> dict[Path, Path]:
    """Pairs files by `bare_stem`; UserError where that would pair a file with several."""
    names = {bare_stem(path) for path in first} & {bare_stem(path) for path in second}
    sides = [
        _by_stem([path for path in paths if bare_stem(path) in names], bare_stem) for paths in (first, second)
    ]
    return {path: sides[1][name] for name, path in sides[0].items()}


def pair_with_partners(
    images: Sequence[Path],
    partners: Sequence[Path],
    *,
    partner: str,
    example: str,
    what: str = "image",
    warn_alone: bool = True,
) -> list[tuple[Path, Path]]:
    """Pairs images with other files as `pair_by_stem` does, and warns of those that are left out.

    Args:
        images, partners: the files.
        partner: what the others are, for messages.
        example: two names that fit, likewise.
        what: what `images` are, likewise.
        warn_alone: whether images without a partner are left out; else they are left to the caller.

    Raises:
        UserError: If there is no pair, or two files of one list have the same stem.
    """
    pairs, alone, left = pair_by_stem(images, partners)
    if not pairs:
        raise UserError(
            f"{alone[0]}: neither this {what} nor any other has a {partner} of its name; name them alike, as in "
            f"{example}"
        )
    if alone and warn_alone:
        warnings.warn(f"{name_some(alone)}: left out, since no {partner} has that name", stacklevel=3)
    if left:
        warnings.warn(f"{name_some(left)}: left out, since no {what} has that name", stacklevel=3)
    return pairs


def name_some(paths: Sequence[Path]) -> str:
    """Returns the first of several paths and the number of the others, for a message of one line."""
    return str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"


def _by_stem(paths: Sequence[Path], name_of: Callable[[Path], str] = stem) -> dict[str, Path]:
    """Returns files by their stems, in the order given."""
    named: dict[str, Path] = {}
    for path in paths:
        if (name := name_of(path)) in named:
            raise UserError(f"{path}: {named[name]} would be paired by the same name; remove or rename one")
        named[name] = path
    return named
