"""The models that the widgets offer: of the package, and those trained or opened, which are remembered."""

import json
from contextlib import suppress
from pathlib import Path

from platformdirs import user_config_path
from psygnal import Signal

from wsis_jax.core import EXPECTED_ERRORS, read_json, write_text
from wsis_jax.network import best_weights, packaged_models

_REMEMBERED = 12  # run folders


class Models:
    """Names of models and run folders, as `load_model` takes them, the newest last.

    Attributes:
        added: emitted with the name of a model that was trained or opened; the name may be known already.
        file: where run folders are remembered from one start to the next.
        chosen: the model that a widget took last.
    """

    added = Signal(str)

    def __init__(self, file: Path) -> None:
        self.file = file
        self._names = [*packaged_models(), *_remembered(file)]
        self.chosen = self._names[-1] if self._names else ""

    def names(self) -> list[str]:
        """Returns all of them."""
        return list(self._names)

    def add(self, run: str | Path) -> None:
        """Adds a run folder, and remembers it."""
        name = str(run)
        if name not in packaged_models():
            name = str(Path(name).absolute())
            self._names = [*(one for one in self._names if one != name), name]
            runs = [one for one in self._names if one not in packaged_models()]
            # A folder that cannot be written to is no reason not to go on.
            with suppress(*EXPECTED_ERRORS):
                write_text(self.file, json.dumps({"models": runs[-_REMEMBERED:]}, indent=1) + "\n")
        self.chosen = name
        self.added.emit(name)


def _remembered(file: Path) -> list[str]:
    """Returns the run folders that were remembered and still hold a model; none if the file is damaged."""
    try:
        tree = read_json(file, what="the list of models", remedy="delete it") if file.is_file() else {}
        names = tree["models"] if isinstance(tree, dict) and "models" in tree else []
    except EXPECTED_ERRORS:
        return []
    runs = []
    for name in names if isinstance(names, list) else []:
        with suppress(*EXPECTED_ERRORS, ValueError):  # it was moved away, or deleted
            if isinstance(name, str) and name not in runs and best_weights(Path(name)):
                runs.append(name)
    return runs


MODELS = Models(user_config_path("wsis_jax", appauthor=False) / "models.json")
"""The models that every widget of this napari offers."""
