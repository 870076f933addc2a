"""Finds files, and names them."""

import json
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from unicodedata import normalize

from wsis_jax.core import MissingFile, UserError, check_place, read_text, reading

Files = str | Path | Sequence[str | Path]
"""A file, a folder or a pattern, or several of them."""

Named = Mapping[Path, str]
"""Files in order, each with its name: see `named_files`."""

MANIFEST = "manifest.jsonl"
"""The file in a folder of results that names what was written."""

CORRECTIONS = "_corrections.csv"
"""The end of the name of corrected points, which replace the `<name>_points.csv` of a result beside them."""

_POINTS = "_points.csv"
# What Cellpose writes beside an image.
_CELLPOSE = re.compile(r"(.+)_(?:cp_masks|cp_output|cp_flows|cp_outlines|flows)")


def list_files(where: Files, *, suffixes: Sequence[str]) -> list[Path]:
    """Lists the paths of the files that `named_files` finds."""
    return list(named_files(where, suffixes=suffixes))


def named_files(where: Files, *, suffixes: Sequence[str]) -> dict[Path, str]:
    """Finds the files meant by a file's name, a folder or a pattern, or by several of them.

    A folder is searched with all folders in it, but for hidden ones, run folders of trainings, and folders that
    are one image, as those of Zarr are.

    Args:
        where: A file (whatever its suffix; a folder of Zarr counts as a file), a folder, or a pattern such as
            `day?/*.tif` or `**/*.tif`.
        suffixes: The endings to keep in a folder or of a pattern, as `.tif`, in small letters; capitals match too.

    Returns:
        At least one file, sorted by path, hidden ones left out. The name of each is its `stem`; of a file in a
        folder below the one given, or below the part of a pattern before its first wildcard, the way there comes
        first, as in `A1/img`.

    Raises:
        MissingFile: If there is no such file.
        UserError: If the folder may not be read; of one below there is a warning.
    """
    if not isinstance(where, str | Path):
        return {path: name for each in where for path, name in named_files(each, suffixes=suffixes).items()}
    from wsis_jax.io.readers import is_image_folder  # not above: `wsis --help` need not wait for NumPy

    where = Path(where)
    if where.is_file() or is_image_folder(where):
        return {where: stem(where)}
    endings = ", ".join(suffixes)
    if where.is_dir():
        base, candidates = where, _below(where)
        problem = f"the folder holds no file ending in {endings}; give the folder that holds the files"
    elif re.search(r"[*?\[]", str(where)):
        base = _fixed_part(where)
        candidates = base.glob(str(where.relative_to(base)))
        problem = f"the pattern matches no file ending in {endings}; check it, and quote it for the shell"
    else:
        raise MissingFile(f"{where}: there is no such file or folder; check the path")
    within = re.search(r"\.zarr[/\\]", str(where), re.IGNORECASE) is not None and ".zarr" in suffixes
    kept = [
        path
        for path in candidates
        if (path.suffix.lower() in suffixes or (within and not path.suffix and _is_group(path)))
        and not _is_hidden(path, base, where)
    ]
    files = sorted(path for path in kept if path.is_file() or is_image_folder(path))
    if not files:
        raise MissingFile(f"{where}: {problem}")
    return {path: _name_below(base, path) for path in files}


def _below(folder: Path, around: frozenset[str] = frozenset()) -> Iterator[Path]:
    """Yields what is in a folder and in the folders below that `named_files` searches.

    `around` are the folders that it is in, since links may lead in a circle. There is a warning about a folder
    below that may not be read, as disks have some that belong to the system.
    """
    from wsis_jax.io.readers import is_image_folder

    real = os.path.realpath(folder)
    if real in around:
        return
    try:
        if around and (is_image_folder(folder) or _is_run(folder)):
            return
        with reading(folder):
            inside = list(folder.iterdir())
    except (OSError, UserError) as error:
        if not around:
            raise
        warnings.warn(f"{folder}: left out, since it may not be read ({error})", stacklevel=2)
        return
    yield from inside
    for path in inside:
        if path.is_dir() and not path.name.startswith(".") and path.suffix.lower() != ".zarr":
            yield from _below(path, around | {real})


def _is_run(folder: Path) -> bool:
    """Tells whether a folder is that of a training, whose pictures are not images."""
    return (folder / "config.json").is_file() and any((folder / part).is_dir() for part in ("weights", "samples"))


def _fixed_part(pattern: Path) -> Path:
    """Returns the folder that a pattern names before its first wildcard; a folder may have one in its name."""
    around = [*reversed(pattern.parents)]
    return next(
        folder
        for folder, inner in zip(around, [*around[1:], pattern], strict=True)
        if re.search(r"[*?\[]", inner.name) and not inner.is_dir()
    )


def _is_hidden(path: Path, base: Path, where: Path) -> bool:
    """Tells whether a file is hidden, or is in a hidden folder that was not asked for."""
    asked = any(part.startswith(".") for part in where.relative_to(base).parts)
    return any(part.startswith(".") for part in (path.parts[-1:] if asked else path.relative_to(base).parts))


def _name_below(base: Path, path: Path) -> str:
    """Returns the name of a file, with the way to it from a folder."""
    outer = next((above for above in path.parents if above.suffix.lower() == ".zarr"), path)
    way = outer.parent.relative_to(base).parts if outer.parent.is_relative_to(base) else ()
    return "/".join((*(normalize("NFC", part) for part in way), stem(path)))


def _is_group(path: Path) -> bool:
    """Tells whether a folder in a Zarr is a group, as images are, and no array."""
    if (path / ".zgroup").is_file():
        return True
    described = path / "zarr.json"
    return described.is_file() and re.search(r'"node_type"\s*:\s*"group"', read_text(described)) is not None


def list_images(where: Files) -> list[Path]:
    """Lists the paths of the files that `named_images` finds."""
    return list(named_images(where))


def named_images(where: Files) -> dict[Path, str]:
    """Finds image files as `named_files` does; in a folder or by a pattern, files of results are left out.

    These are the files that the manifest of their folder, or of one above, names; what a batch that was killed
    left, `<name>_overlay.png` and `<name>_labels.tif` beside other results; the pictures of `wsis points`,
    `<name>_points.png` beside `<name>.csv` or the image; and the masks, flows and pictures of Cellpose beside the
    image.

    Raises:
        MissingFile: If there is no such file, or there are results alone.
    """
    from wsis_jax.io.readers import IMAGE_SUFFIXES

    known: dict[Path, set[Path]] = {}
    found: dict[Path, str] = {}
    for each in [where] if isinstance(where, str | Path) else where:
        files = named_files(each, suffixes=IMAGE_SUFFIXES)
        if list(files) != [Path(each)]:
            files = {
                file: name for file, name in files.items() if not (_is_made(file) or _is_result(file, None, known))
            }
            if not files:
                raise MissingFile(
                    f"{each}: holds results of wsis segment and no other image; give the folder that holds the "
                    "images"
                )
        found |= files
    return found


def points_of_results(where: str | Path, files: Named) -> dict[Path, str]:
    """Returns the point files among those of a folder or a pattern, of which some may be results.

    Of files that a manifest names, such as tables of cells, those called `<name>_points.csv` are points. Those of
    results in folders below, and their corrections, are kept only if there are no others.

    Raises:
        MissingFile: If there are none.
    """
    known: dict[Path, set[Path]] = {}
    points = {
        file: name
        for file, name in files.items()
        if file.name.endswith(_POINTS) or not _is_result(file, None, known)
    }
    if not points:
        raise MissingFile(f"{where}: holds results of wsis segment, but no points; add points to --format")
    own = {file: name for file, name in points.items() if not _is_result(_before(file), Path(where), known)}
    return own or points


def corrected_first(files: Named) -> dict[Path, str]:
    """Returns point files without those that `<name>_corrections.csv` beside them takes the place of."""
    corrected = {_before(file) for file in files if file.name.endswith(CORRECTIONS)}
    return {file: name for file, name in files.items() if file not in corrected}


def _before(file: Path) -> Path:
    """Returns the points of a result that a file has corrections of; any other file as it is."""
    name = file.name
    return file.with_name(name.removesuffix(CORRECTIONS) + _POINTS) if name.endswith(CORRECTIONS) else file


def _is_result(file: Path, within: Path | None, known: dict[Path, set[Path]]) -> bool:
    """Tells whether the manifest of a folder around a file names it, or, with `within`, of one below that folder.

    `known` keeps what manifests name, by the folder.
    """
    file, top = _absolute(file), None if within is None else _absolute(within)
    for folder in file.parents:
        if top is not None and not (folder.is_relative_to(top) and folder != top):
            return False
        if folder not in known:
            known[folder] = results_in(folder)
        if file in known[folder]:
            return True
    return False


def _absolute(path: Path) -> Path:
    """Returns a path from the root on, without `..`; links are not followed, as those to images may be."""
    return Path(os.path.abspath(path))  # noqa: PTH100


def results_in(folder: Path) -> set[Path]:
    """Returns the files that the manifest of a folder names, or that it has of the Cell Tracking Challenge.

    A damaged line of a manifest names none.

    Raises:
        UserError: If the manifest cannot be read.
    """
    path, files = folder / MANIFEST, []
    if (folder / "res_track.txt").is_file():
        files += folder.glob("mask[0-9]*.tif")
    if not path.is_file():
        return set(files)
    with reading(path):
        lines = read_text(path, errors="replace").splitlines()
    for line in lines:
        with suppress(ValueError, TypeError, KeyError, RecursionError):
            files += [folder / check_place(name) for name in json.loads(line)["files"]]
    return set(files)


def _is_made(file: Path) -> bool:
    """Tells whether a file is a result by its name, and by a file beside it.

    That is an image, of what Cellpose made; points or another result, of ours that no manifest names yet; and of a
    picture that `wsis points` drew the points or the image.
    """
    from wsis_jax.io.readers import IMAGE_SUFFIXES

    if of_cellpose := _CELLPOSE.fullmatch(file.stem):
        return any(file.with_name(f"{of_cellpose[1]}{end}").exists() for end in IMAGE_SUFFIXES)
    if ours := re.fullmatch(r"(.+)(?:_overlay\.png|_labels\.tif)", file.name):
        ends = ("_points.csv", "_cells.csv", "_overlay.png", "_labels.tif")
        return any(file.with_name(f"{ours[1]}{end}").exists() for end in ends if not file.name.endswith(end))
    if not file.name.endswith("_points.png"):
        return False
    name = file.name.removesuffix("_points.png")
    names = {name, re.sub(r"_\d{4,}$", "", name)}
    return any(file.with_name(f"{one}{end}").exists() for one in names for end in (".csv", *IMAGE_SUFFIXES))


def stem(path: str | Path) -> str:
    """Returns the name of a file alone: without its suffix, `.ome` before that, and `_labels` at the end.

    An image in a folder of Zarr has the name of that, and its place there, as in `plate_A_1_0`. Letters with
    accents are in the form NFC, since some disks take them apart: what looks the same is the same.
    """
    path = Path(path)
    outer = next((above for above in path.parents if above.suffix.lower() == ".zarr"), None)
    if outer is not None and not path.suffix:  # an image of a collection
        return "_".join((stem(outer), *path.relative_to(outer).parts))
    name = normalize("NFC", path.stem)
    return (name[: -len(".ome")] if name.lower().endswith(".ome") else name).removesuffix("_labels")
