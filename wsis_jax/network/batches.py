"""Recorded forward passes from the host: a model's, of a batch of images, which the devices share.

The pure functions are those of `record.py`.
"""

import jax
import numpy as np
from jaxtyping import Array, Float

from wsis_jax.core import copy, local_mesh, split
from wsis_jax.network.model import Model
from wsis_jax.network.record import Record, record, record_and_likelihood
from wsis_jax.network.rules import rule_of


def record_images(
    model: Model, images: Float[np.ndarray, "batch height width *channels"], frame: tuple[int, int]
) -> Record:
    """Returns the record of a batch of images; `images` and `frame` are those of `record`.

    The images are shared by as many devices as can do so evenly.
    """
    network, mesh = model.network.clone(activation=jax.nn.relu), local_mesh(len(images))
    variables, frames = copy((model.variables, np.array(frame)), mesh)
    seen = split(np.asarray(images, np.float32), mesh)
    return record(network, variables, seen, frames, rule=rule_of(model.config.contribution.rule))


def record_and_detect(
    model: Model, images: Float[np.ndarray, "batch height width *channels"], shape: tuple[int, int]
) -> tuple[Record, Float[Array, "batch height width"]]:
    """Returns the record of a batch of images, and their likelihood maps, by as many views as the settings say.

    `images` and `shape` are those of `record_and_likelihood`; devices share the images as in `record_images`.
    """
    network, mesh = model.network.clone(activation=jax.nn.relu), local_mesh(len(images))
    variables, shapes = copy((model.variables, np.array(shape)), mesh)
    seen = split(np.asarray(images, np.float32), mesh)
    rule, views = rule_of(model.config.contribution.rule), model.config.detect.views
    return record_and_likelihood(network, variables, seen, shapes, rule=rule, views=views)
