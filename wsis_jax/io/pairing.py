"""Pairs files by their names, and tells who has no partner."""

import difflib
import re
import warnings
from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path

from wsis_jax.core import UserError, in_short
from wsis_jax.io.paths import Named, stem

# What says the kind of a file at the end of its name; a longer ending comes before one that it ends with.
_ENDINGS = ("_points", "_corrections", "_cp_masks", "_masks", "_mask")
_NEAR = 0.75  # of 1: how alike two names are, by their letters, that are told as near
_HINTS = 3  # near names that are told


def bare_name(name: str) -> str:
    """Returns a name of a file without what says its kind: _points, _corrections, _mask, _masks or _cp_masks."""
    last = _last_part(name)
    return next((name.removesuffix(end) for end in _ENDINGS if last.endswith(end) and last != end), name)


def with_names(files: Named | Sequence[Path]) -> list[tuple[Path, str]]:
    """Returns files with their names; where they have none, with their stems."""
    return list(files.items()) if isinstance(files, Mapping) else [(path, stem(path)) for path in files]


def pair_by_name(
    first: Named | Sequence[Path], second: Named | Sequence[Path]
) -> tuple[list[tuple[Path, Path]], dict[Path, str], dict[Path, str]]:
    """Pairs the files of two lists that have the same name; one file and one file are always a pair.

    What then has no partner is paired by its `bare_name`: a and a_points; and then by the last part of its name,
    or of the bare one, `img` of `A1/img`, where no other file of either list has that: files in folders and files
    beside each other can so be pairs. One file and one file that are in no folder below are a pair, too, whatever
    is in folders.

    Returns:
        The pairs, the files of `first` without a partner and those of `second`, each in the order given.

    Raises:
        UserError: If two files of one list have the same name, or would be paired by the same bare name.
    """
    of_first, of_second = _by_name(first), _by_name(second)
    partner_of = {path: of_second[name] for name, path in of_first.items() if name in of_second}
    partner_of |= _pair_bare(_without(of_first, partner_of), _without(of_second, partner_of.values()))
    taken = set(partner_of.values())
    candidates: list[tuple[Path | None, Path | None]] = []
    for key in (_last_part, lambda name: _last_part(bare_name(name))):
        last_second = _unique(of_second, key)
        candidates += [(path, last_second.get(last)) for last, path in _unique(of_first, key).items()]
    candidates += [(only(of_first), only(of_second)) for only in (_only, _only_flat)]
    for path, partner in candidates:
        if path and partner and path not in partner_of and partner not in taken:
            partner_of[path] = partner
            taken.add(partner)
    pairs = [(path, partner_of[path]) for path in of_first.values() if path in partner_of]
    return pairs, _without(of_first, partner_of), _without(of_second, taken)


def _pair_bare(first: Named, second: Named) -> dict[Path, Path]:
    """Pairs files by their bare names; UserError where that would pair a file with several."""
    common = {*map(bare_name, first.values())} & {*map(bare_name, second.values())}
    of_first, of_second = (
        _by_name({path: bare_name(name) for path, name in files.items() if bare_name(name) in common})
        for files in (first, second)
    )
    return {path: of_second[name] for name, path in of_first.items()}


def pair_with_partners(
    images: Named | Sequence[Path],
    partners: Named | Sequence[Path],
    *,
    partner: str,
    example: str,
    what: str = "image",
    warn_alone: bool = True,
) -> list[tuple[Path, Path]]:
    """Pairs images with other files as `pair_by_name` does, and warns of those that are left out.

    Args:
        images, partners: the files.
        partner: what the others are, for messages.
        example: two names that fit, likewise.
        what: what `images` are, likewise.
        warn_alone: whether images without a partner are left out; else they are left to the caller.

    Raises:
        UserError: If there is no pair, or two files of one list have the same name.
    """
    pairs, alone, left = pair_by_name(images, partners)
    if not pairs:
        path, name = next(iter(alone.items()))
        raise UserError(
            f"{path}: neither this {what} nor any other has a {partner} of its name; name them alike, as in "
            f"{example}{near(name, left)}"
        )
    if alone and warn_alone:
        hint = near(next(iter(alone.values())), left)
        warnings.warn(f"{in_short([*alone])}: left out, since no {partner} has that name{hint}", stacklevel=3)
    if left:
        hint = "" if warn_alone else near(next(iter(left.values())), alone)
        warnings.warn(f"{in_short([*left])}: left out, since no {what} has that name{hint}", stacklevel=3)
    return pairs


def near(name: str, others: Named) -> str:
    """Returns the end of a message that tells which other files have nearly a name; empty where none has.

    Names are near if the words of one are all in the other, as those of `a` are in `A_Points`, or if they have the
    same numbers and are alike by their letters.
    """
    words, numbers = _words(name), _numbers(name)
    alike = []
    for path, other in others.items():
        letters = difflib.SequenceMatcher(None, name.casefold(), other.casefold())
        within = words and (words <= _words(other) or _words(other) <= words) and _words(other)
        if within or (numbers == _numbers(other) and letters.ratio() >= _NEAR):
            alike.append((-letters.ratio(), str(path)))
    if not alike:
        return ""
    *before, last = [path for _, path in sorted(alike)[:_HINTS]]
    return (
        f"; {', '.join(before)} and {last} have nearly that name" if before else f"; {last} has nearly that name"
    )


def _words(name: str) -> set[str]:
    """Returns the words and numbers of a name, in small letters."""
    return set(re.findall(r"[^\W_]+", name.casefold()))


def _numbers(name: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"[0-9]+", name)]


def _by_name(files: Named | Sequence[Path]) -> dict[str, Path]:
    """Returns files by their names, in the order given."""
    named: dict[str, Path] = {}
    for path, name in with_names(files):
        if name in named:
            raise UserError(f"{path}: {named[name]} would be paired by the same name; remove or rename one")
        named[name] = path
    return named


def _without(files: Mapping[str, Path], paths: Container[Path]) -> dict[Path, str]:
    """Returns the others of files that are given by their names."""
    return {path: name for name, path in files.items() if path not in paths}


def _only(files: Mapping[str, Path]) -> Path | None:
    """Returns the file of a list of one."""
    return next(iter(files.values())) if len(files) == 1 else None


def _only_flat(files: Mapping[str, Path]) -> Path | None:
    """Returns the file that alone is in no folder below the one given."""
    return _only({name: path for name, path in files.items() if "/" not in name})


def _last_part(name: str) -> str:
    """Returns the name of a file without the way to it."""
    return name.rpartition("/")[2]


def _unique(files: Mapping[str, Path], key: Callable[[str], str]) -> dict[str, Path]:
    """Returns files by a part of their names, without those that share it."""
    counts = Counter(map(key, files))
    return {key(name): path for name, path in files.items() if counts[key(name)] == 1}
