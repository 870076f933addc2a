"""A training that starts from a trained model: its settings, the size of the cells, the weights to begin with."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

from wsis_jax.core import Config, TrainConfig, UserError, so_many
from wsis_jax.network import Variables, best_weights, load_config, load_variables, model_folder

_STEPS, _WARMUP, _EVALUATE_EVERY = 300, 20, 50


def going_on(model: str | Path) -> Config:
    """Returns the settings of a training that starts from a trained model (`train.start`).

    They are those of the model, but for two things. Diameter, sigma and scale are left open: `train` measures the
    cells, and scales the images so that they are as large to the network as those that it learned. And the
    training is shorter: 300 steps, of which 20 warm up, at half the learning rate of a model that learned from
    nothing.

    Args:
        model: a run folder, or the name of a model of the package.

    Raises:
        MissingFile: if it is neither.
        UserError: if its `config.json` cannot be read.
    """
    folder = model_folder(model)
    best_weights(folder)  # says what is missing, and which models there are
    learned = load_config(folder)
    rate = learned.train.learning_rate
    return dataclasses.replace(
        learned,
        image=dataclasses.replace(learned.image, diameter=None, scale=None),
        likelihood=dataclasses.replace(learned.likelihood, sigma=None),
        train=dataclasses.replace(
            learned.train,
            start=name_of_start(model),
            steps=_STEPS,
            warmup=_WARMUP,
            evaluate_every=_EVALUATE_EVERY,
            learning_rate=rate if learned.train.start else rate / 2,
            validation=TrainConfig().validation,
            patience=TrainConfig().patience,
        ),
    )


def name_of_start(model: str | Path) -> str:
    """Returns what `train.start` calls a model: its name in the package, or its folder from the root on."""
    folder = model_folder(model)
    return str(model) if folder != Path(model) else str(folder.resolve())


def check_start(config: Config) -> None:
    """Raises UserError if the network of the settings is not that of the model that `train.start` names."""
    start = config.train.start
    if start is None:
        return
    best_weights(model_folder(start))
    learned = load_config(model_folder(start))
    for key in ("encoder", "decoder", "align_corners"):
        has, wanted = (getattr(one.unet, key) for one in (learned, config))
        if has != wanted:
            raise UserError(
                f"{start}: its network has unet.{key}={json.dumps(has)}, not {json.dumps(wanted)}; leave the "
                "setting out, or learn from nothing (without --from)"
            )
    if learned.image.inputs != config.image.inputs:
        raise UserError(
            f"{start}: learned from {so_many(learned.image.inputs)}, but {so_many(config.image.inputs)} "
            "are chosen (--channel, image.channels); choose as many, or learn from nothing (without --from)"
        )


def start_variables(start: str) -> Variables:
    """Returns the weights that a training begins with, with their batch norm; see `load_variables`."""
    return load_variables(model_folder(start))


def fit_to_start(config: Config, measure: Callable[[], float]) -> Config:
    """Returns settings with which cells are as large to the network as those that the model learned.

    So sigma stays what it is in pixels of the network, unless `image.scale` or `likelihood.sigma` say otherwise.

    Args:
        config: with `train.start`; of diameter, sigma and scale those that are None are filled in.
        measure: returns the typical diameter of the cells, in pixels of the image; called where it is needed.

    Raises:
        UserError: if the cells are so much larger or smaller that a setting is out of range.
    """
    sigma, scale, diameter = config.likelihood.sigma, config.image.scale, config.image.diameter
    if config.train.start is None or None not in (sigma, scale, diameter):
        return config
    learned = load_config(model_folder(config.train.start))
    if diameter is None:
        # As many sigma wide as the cells that the model learned.
        in_sigma = learned.cell_diameter * learned.network_scale / learned.network_sigma
        diameter = measure() if sigma is None else in_sigma * sigma
    fitting = learned.for_diameter(diameter)
    return dataclasses.replace(
        config,
        image=dataclasses.replace(
            config.image, diameter=diameter, scale=fitting.image.scale if scale is None else scale
        ),
        likelihood=dataclasses.replace(
            config.likelihood, sigma=fitting.likelihood.sigma if sigma is None else sigma
        ),
    )
