"""Saved trees of arrays, in folders `<step>/`: written whole or not at all, by all processes of a training.

The only file that imports orbax, and only where it is used: a model that was used before is loaded without. Arrays
are saved as numbers; nothing is pickled.
"""

import hashlib
import logging
import os
import re
import shutil
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax

from wsis_jax.core import (
    UserError,
    as_first,
    by_first,
    check_inside,
    is_first,
    remove_folder,
    replacing_folder,
    temporary_name,
    wait_for_all,
)

if TYPE_CHECKING:
    from orbax.checkpoint import v1 as ocp

RESUME = "go on with --resume"
"""What a user does once there is room again for what could not be saved."""


def save(folder: Path, step: int, tree: Any) -> None:
    """Saves a tree as `folder/step`, whole or not at all.

    Orbax has to be called in all processes of a training, and writes in the first.

    Raises:
        WriteError: if there is no room for it, or the folder takes nothing.
        UserError: if a link leads out of the run folder.
    """
    from orbax.checkpoint import v1 as ocp

    logging.getLogger("absl").addFilter(_is_of_others)  # for good, since threads may log after all is over
    try:
        with _replacing_for_all(check_inside(folder.parent, folder / str(step))) as temporary:
            try:
                ocp.save(str(temporary.resolve()), tree)
            except ValueError as error:  # its text holds the number of the system's error
                if (found := re.search(r"os_error_code='(\d+)'", str(error))) is None:
                    raise
                raise OSError(int(found[1]), os.strerror(int(found[1]))) from error
    finally:
        remove_unfinished(folder)


def _is_of_others(record: logging.LogRecord) -> bool:
    """Tells whether a line of the log is not one of the many that threads of orbax write before they raise it."""
    return "_SignalingThread.run() raised" not in record.getMessage()


@contextmanager
def _replacing_for_all(folder: Path) -> Generator[Path, None, None]:
    """Context manager yielding, in all processes, the temporary folder that the first one makes and then moves."""
    name = temporary_name(folder, as_first(os.getpid()))
    with replacing_folder(folder, then=RESUME) if is_first() else nullcontext(name) as temporary:
        wait_for_all("made room for what is saved")
        yield temporary


@by_first
def remove_unfinished(folder: Path) -> None:
    """Removes saves that were not finished; orbax, too, writes under another name and renames."""
    for path in folder.glob("*"):
        if path.is_dir() and not path.name.isdigit():
            shutil.rmtree(path, ignore_errors=True)


@by_first
def keep(folder: Path, step: int) -> None:
    """Removes the saves of all other steps."""
    for path in folder.glob("*"):
        if path.is_dir() and path.name != str(step):
            remove_folder(path)


def load(path: Path, template: Any) -> Any:
    """Returns a saved tree in the form of `template`."""
    from orbax.checkpoint import v1 as ocp

    try:
        place = str(path.resolve())
        with _alone():
            # Compared first: where orbax itself finds other shapes, it leaves coroutines that nobody awaits.
            if _shapes(ocp.metadata(place).metadata) != _shapes(template):
                raise ValueError("its arrays have other shapes")
            return ocp.load(place, template)
    except Exception as error:  # orbax raises many unrelated classes for damaged files
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"{path}: damaged, or of a network of another shape than config.json says ({reason})"
        ) from error


def digest(path: Path) -> str:
    """Returns what tells a saved tree from every other one: of the names and the bytes of all its files."""
    content = hashlib.sha256()
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        content.update(f"{file.relative_to(path).as_posix()}\0{file.stat().st_size}\0".encode())
        content.update(file.read_bytes())
    return content.hexdigest()


def _alone() -> "ocp.Context":
    """Returns the context in which orbax loads without waiting for the other processes of a training."""
    from orbax.checkpoint import v1 as ocp

    context, this = ocp.Context(), jax.process_index()
    context.multiprocessing.primary_host = this
    context.multiprocessing.active_processes = {this}
    context.multiprocessing.barrier_sync_key_prefix = f"process_{this}_"
    return context


def _shapes(tree: Any) -> list[tuple[int, ...]]:
    """Returns the shapes of all arrays of a tree, sorted."""
    return sorted(tuple(leaf.shape) for leaf in jax.tree.leaves(tree))


def latest(folder: Path) -> int | None:
    """Returns the greatest step saved in a folder."""
    steps = [int(path.name) for path in folder.glob("*") if re.fullmatch("[0-9]{1,12}", path.name)]
    return max(steps, default=None)
