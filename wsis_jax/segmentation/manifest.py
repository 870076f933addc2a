"""The record of finished images, by which a batch goes on where it stopped.

`manifest.jsonl` has a line of JSON for each image: name, key, cells, specks dropped, warnings, and files by their
paths in the folder. It is written when all files of the image are. The key tells what they were made of: the bytes
of the image, the settings and the weights.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from wsis_jax.core import Config, UserError, append_text, check_inside, check_place, read_text, write_text
from wsis_jax.io import MANIFEST
from wsis_jax.network import Model

_KEYS = {"name", "key", "cells", "dropped", "warnings", "files"}


class ImageResult(NamedTuple):
    """The result of one image of a batch.

    Attributes:
        name: of the image.
        source: the file that it is in.
        cells: how many were found; None where it failed.
        warnings: what there is to say about it.
        error: why it failed, or None.
        files: those that were written.
        key: tells what the files were made of, see `key_of`; empty where the image is not recorded.
        skipped: whether an earlier batch had finished it.
        dropped: how many other cells were too small to be any, as in `Segmentation`.
    """

    name: str
    source: Path
    cells: int | None
    warnings: list[str]
    error: str | None = None
    files: Sequence[Path] = ()
    key: str = ""
    skipped: bool = False
    dropped: int = 0


class Manifest:
    """The finished images of a folder of results.

    Args:
        folder: the folder; its manifest is read if there is one. A last line that was cut off by a crash is
            dropped, and of several lines of one image the last counts.

    Raises:
        UserError: if the manifest is damaged in another way.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._path = folder, folder / MANIFEST
        self._entries: dict[str, dict[str, Any]] = {}
        check_inside(folder, self._path)
        if not self._path.is_file():
            return
        try:
            text = read_text(self._path)
        except UnicodeDecodeError as error:
            raise UserError(
                f"{self._path}: is not text; delete the file, and all images are done again"
            ) from error
        whole = text[: text.rfind("\n") + 1]
        for number, line in enumerate(whole.split("\n")[:-1], start=1):
            try:
                entry = _entry(line)
            except (ValueError, TypeError, RecursionError) as error:
                raise UserError(
                    f"{self._path}: line {number} is damaged; delete the file, and all images are done again"
                ) from error
            self._entries[entry["name"]] = entry
        kept = "".join(json.dumps(entry) + "\n" for entry in self._entries.values())
        if kept != text:
            write_text(self._path, kept)

    def finished(self, source: Path, name: str, key: str) -> ImageResult | None:
        """Returns the result of an image of a file if it was made of the same, and its files are still there."""
        entry = self._entries.get(name)
        if entry is None or entry["key"] != key:
            return None
        files = [self._folder / file for file in entry["files"]]
        if not all(file.exists() for file in files):
            return None
        result = ImageResult(name, source, entry["cells"], entry["warnings"], files=files, key=key, skipped=True)
        return result._replace(dropped=entry["dropped"])

    def add(self, result: ImageResult) -> None:
        """Records an image whose files are all written."""
        entry = {
            "name": result.name,
            "key": result.key,
            "cells": result.cells or 0,
            "dropped": result.dropped,
            "warnings": result.warnings,
            "files": [file.relative_to(self._folder).as_posix() for file in result.files],
        }
        self._folder.mkdir(parents=True, exist_ok=True)
        append_text(self._path, json.dumps(entry) + "\n")
        self._entries[result.name] = entry


def digest_of_model(model: Model, config: Config, *options: object) -> str:
    """Returns a digest of the weights, the settings and further options of a batch."""
    digest = hashlib.sha256(json.dumps([config.to_dict(), *options]).encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(model.variables):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def key_of(path: Path, made_with: str) -> str:
    """Returns the key of an image file, or a folder of Zarr, segmented with what `digest_of_model` tells of.

    Raises:
        OSError: if it cannot be read.
    """
    if not path.is_dir():
        return hashlib.sha256(f"{_digest(path)} {made_with}".encode()).hexdigest()
    inside = sorted(file for file in path.rglob("*") if file.is_file())
    digests = "".join(f"{file.relative_to(path).as_posix()} {_digest(file)}\n" for file in inside)
    return hashlib.sha256(f"{digests} {made_with}".encode()).hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _entry(line: str) -> dict[str, Any]:
    """Returns what a line records; ValueError or TypeError if it is damaged, or a file is of another folder."""
    entry = json.loads(line)
    if not isinstance(entry, dict) or set(entry) | {"dropped"} != _KEYS:
        raise TypeError("it records something else")
    entry.setdefault("dropped", 0)  # of an earlier version
    texts = (entry["name"], entry["key"], *entry["warnings"], *entry["files"])
    numbers = entry["cells"], entry["dropped"]
    if not all(isinstance(text, str) for text in texts) or not all(type(number) is int for number in numbers):
        raise TypeError("a value is of another kind")
    for file in entry["files"]:
        check_place(file)
    return entry
