"""Between layers of napari and arrays: planes of an image, points in its pixels, results and samples as layers.

A layer may have more axes than rows and columns, which come last; the others, such as time, are called its steps.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Float64
from napari.layers import Image, Layer, Points

from wsis_jax.core import Channels, UserError, channel_count, in_words, so_many
from wsis_jax.io import LUMINANCE
from wsis_jax.points import suggest_sigma
from wsis_jax.synthetic import draw_scene

LayerData = tuple[Any, dict[str, Any], str]
"""The data of a layer, its attributes, and its kind, as plugins of napari give them."""

Step = tuple[int, ...]
"""Where a plane is on all axes of a layer but rows and columns."""


def pixels_of(image: Image) -> Any:
    """Returns the array of a layer, at full resolution; it may be lazy."""
    return image.data[0] if image.multiscale else image.data


def steps_of(image: Image) -> list[Step]:
    """Returns the steps of all planes of a layer."""
    return list(np.ndindex(*pixels_of(image).shape[: image.ndim - 2]))


def shown_step(image: Image, position: Sequence[float]) -> Step:
    """Returns the step of a layer at a position of the viewer on all its axes, such as `viewer.dims.point`."""
    places = image.world_to_data(position)[:-2]
    return tuple(
        int(np.clip(round(float(place)), 0, length - 1))
        for place, length in zip(places, pixels_of(image).shape, strict=False)
    )


class Shown(NamedTuple):
    """The pixels of an image layer, which threads other than that of the viewer may read."""

    name: str
    pixels: Any
    rgb: bool  # whether colours are on the last axis
    # (height, width) of each plane of a stack in which smaller images are continued by zeros
    shapes: Sequence[tuple[int, int]] | None = None

    @classmethod
    def by(cls, image: Image) -> "Shown":
        """Returns the pixels of a layer."""
        return cls(image.name, pixels_of(image), image.rgb, image.metadata.get("shapes"))

    def plane(self, step: Step, channels: Channels | None) -> Float32[np.ndarray, "height width *channels"]:
        """Returns the values of a plane, as they are, of the channels that a model sees; None: all colours.

        The channels of a layer are its colours. A layer without colours is one channel, whichever that is.

        Raises:
            UserError: if the layer has no such channels.
        """
        values = np.asarray(self.pixels[step])
        if self.shapes is not None and len(step) == 1:
            height, width = self.shapes[step[0]]
            values = values[:height, :width]
        if channels is None:
            channels = "colours" if self.rgb else "grey"
        if channels == "grey":
            return (values[..., :3] @ LUMINANCE if self.rgb else values).astype(np.float32)
        if not self.rgb and channel_count(channels) == 1:
            return values.astype(np.float32)
        numbers = (0, 1, 2) if channels == "colours" else channels
        have = values.shape[-1] if self.rgb else 1
        if max(numbers) >= have:
            raise UserError(
                f"{self.name}: this layer has {so_many(have)}, but the model takes {len(numbers)} "
                f"(image.channels={in_words(channels)}); choose a layer in RGB, or give the file to wsis segment"
            )
        return values[..., numbers if len(numbers) > 1 else numbers[0]].astype(np.float32)


def points_by_step(points: Points, image: Layer) -> dict[Step, Float64[np.ndarray, "_ 2"]]:
    """Returns the points of a layer by the step of an image that they are in, (row, column) in its pixels.

    Raises:
        UserError: if the points have too few axes to tell the step.
    """
    if points.ndim < image.ndim:
        raise UserError(
            f"{points.name}: these points have {points.ndim} axes and {image.name} has {image.ndim}, so that "
            "nobody knows which step they belong to; click in a points layer of as many axes"
        )
    places = places_in(points, image)
    steps = np.round(places[:, :-2]).astype(int)
    return {
        tuple(map(int, step)): places[(steps == step).all(axis=1), -2:].astype(np.float64)
        for step in np.unique(steps, axis=0)
    }


def places_in(points: Points, other: Layer) -> Float64[np.ndarray, "points axes"]:
    """Returns where the points of a layer are in pixels of another one, on all its axes."""
    places = [other.world_to_data(points.data_to_world(point)) for point in points.data]
    return np.array(places, np.float64).reshape(-1, other.ndim)


def placement(image: Image, step: Step, ratio: tuple[float, float] = (1.0, 1.0)) -> dict[str, Any]:
    """Returns the attributes that put a layer on an image.

    Args:
        image: the layer beneath.
        step: of it that step 0 of the other is to lie on.
        ratio: the side of a pixel of the other, in pixels of the image; its top left corner is that of the image.
    """
    # The centre of a pixel is at an integer, so large pixels begin farther in.
    start = image.data_to_world([*step, *((side - 1) / 2 for side in ratio)])
    scale = np.array(image.scale, float)
    scale[-2:] *= ratio
    same = {name: getattr(image, name) for name in ("rotate", "shear", "affine", "units")}
    return {**same, "scale": scale, "translate": image.affine.inverse(start)}


def dot_size(points: Sequence[Float64[np.ndarray, "_ 2"]]) -> float:
    """Returns how large to draw points: a quarter of their spacing, in pixels."""
    try:
        return suggest_sigma(points)
    except UserError:  # there are no two
        return 10.0


def drawn_scene() -> list[LayerData]:
    """Returns the sample data: a drawn image, its cells (hidden) and rough clicks on them.

    The cells are of the size that the model of the package learned from.
    """
    scene = draw_scene(0, shape=(512, 512), cells=40, diameter=46.0, touching=0.3)
    dots = {"size": dot_size([scene.points]), "face_color": "yellow"}
    return [
        (scene.image, {"name": "drawn scene"}, "image"),
        (scene.labels, {"name": "drawn scene true cells", "visible": False}, "labels"),
        (scene.points, {"name": "drawn scene points", **dots}, "points"),
    ]
