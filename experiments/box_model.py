"""What: puts a trained model into the package, where `wsis segment NAME` finds it after the installation.

Copies the best weights of a run folder and its `config.json`, with today's defaults for how to detect and cut, to
`wsis_jax/network/models/NAME/`, in place of what is there of them; the model card in it, `README.md`,
stays and has to be there first. Metrics and the state of the training are left behind. Refuses a model that
cannot be loaded, or that
makes the folder larger than 4 MB.

    python -m experiments.box_model runs/phase-contrast phase-contrast

RUN is the folder of a trained model; the card says how that of its name was trained. Takes seconds.
"""

import argparse
import dataclasses
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from wsis_jax.core import preset
from wsis_jax.network import MODELS, best_weights, load_config, load_model
from wsis_jax.training import save_config

_LIMIT = 4_000_000  # bytes: what everyone who installs the package downloads


def main(argv: Sequence[str] | None = None) -> None:
    """Boxes a model and says what was written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("name", metavar="NAME", help="what users call the model")
    arguments = parser.parse_args(argv)
    size = box(arguments.run, MODELS / arguments.name)
    print(f"{MODELS / arguments.name}: {size / 1e6:.2f} MB")


def box(run: Path, target: Path, *, limit: int = _LIMIT) -> int:
    """Copies what is needed to use a trained model to a folder, and returns the folder's size in bytes.

    Args:
        run: a run folder.
        target: the folder of the model, with its card.
        limit: the greatest size that is allowed, in bytes.

    Raises:
        FileNotFoundError: if `run` holds no trained model, or `target` no model card.
        ValueError: if the model cannot be loaded, or is too large; `target` is then as it was.
    """
    card = target / "README.md"
    if not card.is_file():
        raise FileNotFoundError(f"{card}: there is no model card; write it first, like that of another model")
    if not run.is_dir():
        raise FileNotFoundError(f"{run}: there is no such folder; give the folder of a trained model")
    with tempfile.TemporaryDirectory(dir=target) as temporary:
        new = Path(temporary)
        weights = best_weights(run)
        # orbax notes in a file of its own, which it does not read, where on the disk the weights were saved.
        ignored = shutil.ignore_patterns("commit_success.txt")
        shutil.copytree(weights, new / "weights" / weights.name, ignore=ignored)
        config = preset("default", load_config(run))
        # What it started from is a folder of this machine.
        save_config(new, dataclasses.replace(config, train=dataclasses.replace(config.train, start=None)))
        load_model(new)
        if (size := _size(new) + card.stat().st_size) > limit:
            raise ValueError(
                f"{run}: the model takes {size / 1e6:.2f} MB and may take {limit / 1e6:.2f}; train a narrower one"
            )
        shutil.rmtree(target / "weights", ignore_errors=True)
        for part in ("weights", "config.json"):
            (new / part).replace(target / part)
    return size


def _size(folder: Path) -> int:
    """Returns the bytes of all files of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
