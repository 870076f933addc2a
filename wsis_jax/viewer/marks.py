"""What the plugin knows of the layers that it made: a mark in their metadata, `metadata["wsis_jax"]`.

It says the `part` of a layer in a result, and the `group` of layers that it belongs to.
"""

import uuid
from typing import Any, NamedTuple

from napari.components import ViewerModel
from napari.layers import Layer
from psygnal import Signal

from wsis_jax.core import Config
from wsis_jax.viewer.layers import Step

_KEY = "wsis_jax"
_OFFERED = ("image", "points")  # parts that one may train on, or segment


class Changes:
    """Tells widgets of one another's work.

    Attributes:
        outlined: emitted with the layer of cells that were outlined, once more or for the first time.
    """

    outlined = Signal(object)


CHANGES = Changes()


class Made(NamedTuple):
    """What cells were made with, so that they can be outlined again in the same way.

    Attributes:
        model: as `load_model` takes it; empty where nobody knows, as of a folder of results.
        diameter: of the cells, in pixels; None as the model learned them.
        settings: those changed, as in `cut.reach=4`.
        threshold: of detection; None before the model was loaded.
        sigma: of the likelihood map, in pixels of the image; likewise.
    """

    model: str
    diameter: float | None = None
    settings: tuple[str, ...] = ()
    threshold: float | None = None
    sigma: float | None = None

    def config(self, learned: Config) -> Config:
        """Returns the settings, from those of the model."""
        return (learned if self.diameter is None else learned.for_diameter(self.diameter)).override(self.settings)

    def known(self, config: Config) -> "Made":
        """Returns the same, with what the settings say."""
        sigma = config.network_sigma / config.network_scale
        return self._replace(threshold=config.detect.threshold, sigma=sigma)


def new_group() -> str:
    """Returns a name for layers that belong together."""
    return uuid.uuid4().hex


def marked(part: str, group: str, **more: Any) -> dict[str, Any]:
    """Returns the metadata of a layer that is a part of a result."""
    return {_KEY: {"part": part, "group": group, **more}}


def mark_of(layer: Layer) -> dict[str, Any]:
    """Returns the mark of a layer, which may be changed; empty for a layer of others."""
    mark = layer.metadata.get(_KEY)
    return mark if isinstance(mark, dict) else {}


def set_mark(layer: Layer, part: str, group: str, **more: Any) -> None:
    """Marks a layer as a part of a result."""
    layer.metadata = {**layer.metadata, **marked(part, group, **more)}


def is_offered(layer: Layer) -> bool:
    """Tells whether a layer may be trained on or segmented: it is not a map or picture that was made of one."""
    return mark_of(layer).get("part", "image") in _OFFERED


def offered(viewer: ViewerModel, kind: type[Layer]) -> list[Any]:
    """Returns the layers of a kind that may be trained on or segmented."""
    return [layer for layer in viewer.layers if isinstance(layer, kind) and is_offered(layer)]


def plane_name(layer: Layer, step: Step) -> str:
    """Returns what to call a plane of a layer: its image, where the layer knows them, else its step."""
    names = layer.metadata.get("names")
    if names and len(step) == 1 and step[0] < len(names):
        return names[step[0]]
    return ", ".join([layer.name, *(f"plane {at}" for at in step)])
