"""The clicks that a run folder keeps, on their way back to the images in the viewer."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image

from wsis_jax.core import Channels
from wsis_jax.viewer.layers import LayerData, Shown, dot_size, placement, steps_of
from wsis_jax.viewer.marks import offered
from wsis_jax.viewer.results import DOTS, rows_of

_MANY = 100  # planes of a layer: more are not compared with what was learned from


def layers_of_clicks(viewer: ViewerModel, run: Path) -> tuple[list[LayerData], list[str]]:
    """Returns a layer of points for each image layer that the training in a run folder learned from.

    Images are known by their pixels, whatever their names.

    Returns:
        The layers, and the names of images that are not open.

    Raises:
        UserError: if the folder is damaged.
    """
    from wsis_jax.network import load_config
    from wsis_jax.training import read_clicks

    learned = {one.digest: one for one in read_clicks(run) or []}
    if not learned:
        return [], []
    channels, layers, seen = load_config(run).image.channels, [], set()
    for image in offered(viewer, Image):
        steps = [step for step in steps_of(image)[:_MANY] if learned]
        digests = {step: _digest(Shown.by(image), step, channels) for step in steps}
        own = {step: learned[digest].points for step, digest in digests.items() if digest in learned}
        seen |= {*digests.values()}
        if own:
            layers.append(_layer(image, own))
    return layers, [one.name for digest, one in learned.items() if digest not in seen]


def _digest(shown: Shown, step: tuple[int, ...], channels: Channels | None) -> str | None:
    """Returns the digest of a plane as the network sees it; None where it has not the channels."""
    from wsis_jax.core import UserError
    from wsis_jax.training import digest_of_image

    try:
        return digest_of_image(shown.plane(step, channels))
    except UserError:
        return None


def _layer(image: Image, points: dict[tuple[int, ...], np.ndarray]) -> LayerData:
    rows: Sequence[np.ndarray] = [rows_of(step, own, np.zeros(len(own)))[:, :-1] for step, own in points.items()]
    about = {"name": f"{image.name} clicks", "size": dot_size(list(points.values()))}
    return np.concatenate(rows), {**placement(image, (0,) * (image.ndim - 2)), **about, **DOTS}, "points"
