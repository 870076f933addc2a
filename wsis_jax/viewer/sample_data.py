"""Sample data: cells that were drawn, of the size that the model of the package knows."""

from typing import Any

from wsis_jax.points import suggest_sigma
from wsis_jax.synthetic import draw_scene

_SHAPE, _CELLS, _DIAMETER, _TOUCHING = (512, 512), 40, 46.0, 0.3


def drawn_scene() -> list[tuple[Any, dict[str, Any], str]]:
    """Returns the layers of a drawn scene: the image, its cells (hidden), and rough clicks on them."""
    scene = draw_scene(0, shape=_SHAPE, cells=_CELLS, diameter=_DIAMETER, touching=_TOUCHING)
    size = suggest_sigma([scene.points])
    return [
        (scene.image, {"name": "drawn scene"}, "image"),
        (scene.labels, {"name": "drawn scene true cells", "visible": False}, "labels"),
        (scene.points, {"name": "drawn scene points", "size": size, "face_color": "yellow"}, "points"),
    ]
