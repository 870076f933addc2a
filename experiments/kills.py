"""Are results lost when a process is killed? Trainings and batches are, and end as if they never had been.

    python -m experiments.kills --kills 50

Small trainings and batches of small images, all drawn, are killed by SIGKILL at random moments, and run again
until they are done; half of the kills wait for a moment at which something is being written. In the end every file
must be that of an unbroken run, byte for byte. Weights and states are compared array by array: the library that
stores them writes the time, and names of chance, into its files.

Exit code 1, and the differences, if there are any.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, NoReturn

import numpy as np
import tifffile

# Imported once, before processes are forked off; JAX starts its threads only in them.
from wsis_jax import cli
from wsis_jax.io import write_points
from wsis_jax.network import build_model, load_config, load_variables
from wsis_jax.output.report import results_page
from wsis_jax.segmentation import batch
from wsis_jax.synthetic import draw_scene
from wsis_jax.training import data, initial_state, make_optimizer, run_folder, trainer

_SETTINGS = (
    *("image.scale=1", "likelihood.sigma=3", "unet.encoder=[2,4]", "unet.decoder=[2]", "train.steps=12"),
    *("train.batch=2", "train.patch=32", "train.learning_rate=0.02", "train.warmup=2", "train.evaluate_every=3"),
    "train.validation=0.34",
)
_LIVES = 100  # of one run, after which it is taken for one that never ends
assert all((batch, results_page, trainer, data))


class Case(NamedTuple):
    """What is killed.

    Attributes:
        name: of it.
        folder: what its folder is called, which is in its pages.
        begin: the command, to be followed by a folder.
        go_on: what it takes to go on with what was begun.
        code: its exit code when it is done.
        starts: the module and the name of a function that is called when the first step, or image, comes.
        unlike: tells in a line how two folders differ, or returns None.
    """

    name: str
    folder: str
    begin: list[str]
    go_on: list[str]
    code: int
    starts: tuple[ModuleType, str]
    unlike: Callable[[Path, Path], str | None]


def draw(folder: Path) -> list[Case]:
    """Draws images and points into a folder, and returns what can be done with them."""
    for part in ("learn", "points", "find"):
        (folder / part).mkdir(parents=True)
    for number in range(12):
        scene = draw_scene(number, shape=(48, 48), cells=4, diameter=13.0)
        grey = np.round(scene.image * 60_000).astype(np.uint16)
        if number < 3:
            tifffile.imwrite(folder / "learn" / f"{number}.tif", grey)
            write_points(folder / "points" / f"{number}.csv", scene.points)
        else:
            tifffile.imwrite(folder / "find" / f"{number}.tif", grey[: 48 - number])
    (folder / "find" / "damaged.tif").write_text("no image")
    words = [word for setting in _SETTINGS for word in ("--set", setting)]
    train = ["train", str(folder / "learn"), "--points", str(folder / "points"), *words, "--run"]
    low = ("--set", "detect.threshold=0.1")  # so little has been learned
    segment = ["segment", str(folder / "whole" / "run"), str(folder / "find"), *low, "--out"]
    return [
        Case("training", "run", train, ["--resume"], 0, (trainer, "train_until_done"), trainings_unlike),
        Case("batch", "results", segment, [], 3, (batch, "open_frames"), files_unlike),
    ]


def start(case: Case, folder: Path, log: Path) -> int:
    """Runs a case in a process of its own, and returns its number once the first step or image comes."""
    begun = (folder / "config.json").is_file()
    command = [*case.begin, str(folder), *(case.go_on if begun else [])]
    reading, writing = os.pipe()
    if (process := os.fork()) != 0:
        os.close(writing)
        os.read(reading, 1)  # nothing, if it ends before
        os.close(reading)
        return process
    with log.open("ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    module, name = case.starts
    function = getattr(module, name)

    def told(*arguments: Any, **options: Any) -> Any:
        setattr(module, name, function)
        os.write(writing, b".")
        return function(*arguments, **options)

    setattr(module, name, told)
    _end(lambda: cli.main(command))


def _end(work: Callable[[], int]) -> NoReturn:
    """Ends a process that was forked off with the exit code of its work."""
    code = 70
    try:
        code = work()
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    os._exit(code)


def outcome(process: int, *, wait: bool) -> int | None:
    """Returns the exit code of a process, or None if it is still at work."""
    ended, status = os.waitpid(process, 0 if wait else os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def kill_at(process: int, moment: float, written: Path | None) -> int | None:
    """Kills a process so many seconds from now, or once it then writes to a folder.

    Returns its exit code if it ended before.
    """
    due = time.monotonic() + moment
    while time.monotonic() < due or (written is not None and not is_writing(written)):
        if (code := outcome(process, wait=False)) is not None:
            return code
        time.sleep(0.0005)
    os.kill(process, signal.SIGKILL)
    code = outcome(process, wait=True)
    return None if code == -signal.SIGKILL else code


def is_writing(folder: Path) -> bool:
    """Tells whether there are temporary names in a folder."""
    inside = (folder, folder / "weights", folder / "state", folder / "samples", folder / "report")
    return any(path.name.endswith("tmp") for one in inside if one.is_dir() for path in one.iterdir())


def try_case(case: Case, folder: Path, *, kills: int, luck: random.Random) -> list[str]:
    """Kills what a case does so many times; returns what went wrong."""
    log, whole, timed = folder / f"{case.name}.log", folder / "whole" / case.folder, folder / "timed" / case.folder
    began = 0.0
    for place in (whole, timed):  # the second time with the programs compiled
        process = start(case, place, log)
        began = time.monotonic()
        assert outcome(process, wait=True) == case.code, f"the unbroken {case.name} failed; see {log}"
    seconds = time.monotonic() - began
    wrong = []
    if unlike := case.unlike(whole, timed):
        wrong.append(f"two unbroken runs of a {case.name} differ: {unlike}")
    done = runs = at_writing = 0
    while done < kills:
        runs += 1
        broken, code, waits = folder / f"{case.name} {runs}" / case.folder, None, False
        for _ in range(_LIVES):
            process = start(case, broken, log)
            if done < kills:
                waits = luck.random() < 0.5
                code = kill_at(process, luck.uniform(0, seconds), broken if waits else None)
            else:
                code = outcome(process, wait=True)
            if code is not None:
                break
            done, at_writing = done + 1, at_writing + int(waits)
        if code != case.code:
            wrong.append(f"{broken} ended with the exit code {code}")
        elif unlike := case.unlike(whole, broken):
            wrong.append(f"{broken}: {unlike}")
        else:
            shutil.rmtree(broken.parent)
        print(f"{case.name}: {done} of {kills} kills, {runs} runs, {len(wrong)} wrong", flush=True)
    print(
        f"{case.name}: {at_writing} of {done} kills while it wrote; {len(wrong)} of {runs} runs wrong", flush=True
    )
    return wrong


def files_unlike(whole: Path, broken: Path, *, but: Sequence[str] = ()) -> str | None:
    """Compares all files of two folders, but those of some folders in them, byte for byte."""

    def contents(folder: Path) -> dict[str, bytes]:
        files = [path for path in folder.rglob("*") if path.is_file()]
        names = {path.relative_to(folder): path for path in files}
        return {str(name): path.read_bytes() for name, path in names.items() if name.parts[0] not in but}

    ours, theirs = contents(whole), contents(broken)
    if ours.keys() != theirs.keys():
        return f"only one has {', '.join(sorted(ours.keys() ^ theirs.keys()))}"
    differ = [name for name, content in ours.items() if content != theirs[name]]
    return f"{', '.join(differ)} differ" if differ else None


def trainings_unlike(whole: Path, broken: Path) -> str | None:
    """Compares two run folders, weights and states array by array, in a process of its own."""
    if unlike := files_unlike(whole, broken, but=("weights", "state")):
        return unlike
    for kind in ("weights", "state"):
        names = [sorted(path.name for path in (folder / kind).iterdir()) for folder in (whole, broken)]
        if names[0] != names[1]:
            return f"{kind}/ holds {names[1]}, not {names[0]}"
    if (process := os.fork()) == 0:
        _end(lambda: int(not _equal(arrays_of(whole), arrays_of(broken))))
    return "weights or state differ" if outcome(process, wait=True) else None


def _equal(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> bool:
    """Tells whether two lists hold equal arrays."""
    return all(np.array_equal(one, other) for one, other in zip(ours, theirs, strict=True))


def arrays_of(run: Path) -> list[np.ndarray]:
    """Returns all arrays of the weights and the state of a run folder."""
    import jax

    config = load_config(run)
    variables = load_variables(run)
    blank = initial_state(build_model(config), make_optimizer(config.train), 0, variables)
    trees = variables, run_folder.load_state(run, blank)
    return [np.asarray(leaf) for leaf in jax.tree.leaves(trees)]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the experiment and returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="of each kind (default 50)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default 0)")
    arguments = parser.parse_args(argv)
    luck = random.Random(arguments.seed)
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")  # compiled programs, shared by all processes
    cases = draw(folder)
    wrong = [line for case in cases for line in try_case(case, folder, kills=arguments.kills, luck=luck)]
    if wrong:
        print("\n".join(wrong), f"What was left is in {folder}.", sep="\n")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
