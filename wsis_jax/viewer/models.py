"""The trained models that the widgets offer: those of the package, and those trained or opened meanwhile."""

from pathlib import Path

from psygnal import Signal

from wsis_jax.network import packaged_models


class Models:
    """Names of models and run folders, as `load_model` takes them, the newest last.

    Attributes:
        added: emitted with the name of a model that was trained or opened; it may be known already.
    """

    added = Signal(str)

    def __init__(self) -> None:
        self._names = packaged_models()

    def names(self) -> list[str]:
        """Returns all of them."""
        return list(self._names)

    def add(self, run: str | Path) -> None:
        """Adds a run folder."""
        name = str(run)
        if name not in self._names:
            self._names.append(name)
        self.added.emit(name)


OFFERED = Models()
"""What every widget of this napari offers."""
