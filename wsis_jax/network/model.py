"""Trained models: the network, its variables and its settings, from a run folder or from the package."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from wsis_jax.core import Config, MissingFile, UserError, check_bytes, in_words, kept_arrays, read_json, so_many
from wsis_jax.network.packaged import model_folder, packaged_models
from wsis_jax.network.receptive_field import widths
from wsis_jax.network.unet import UNet, Variables, check_widths, fold_batch_norm, in_precision, shapes_of_variables
from wsis_jax.network.weights import digest, latest, load
from wsis_jax.network.windowed import Kernels, backward_kernels


@partial(jax.tree_util.register_dataclass, data_fields=["variables", "kernels"], meta_fields=["network", "config"])
@dataclass(frozen=True, eq=False)
class Model:
    """A trained model, ready for use; a JAX pytree whose leaves are its arrays.

    Attributes:
        network: the U-Net, batch norm folded.
        variables: its variables, in `config.unet.precision`.
        kernels: the kernels that carry signals back, in the same precision.
        config: the settings to use, at first those of the training; `image.scale` and `likelihood.sigma` are
            numbers.
    """

    network: UNet
    variables: Variables
    kernels: Kernels
    config: Config

    @classmethod
    def of(cls, network: UNet, variables: Variables, config: Config) -> "Model":
        """Returns the model of a network, with batch norm or without, its float32 variables and settings."""
        variables, kernels = _prepared(network, variables, config.unet.precision)
        return cls(network.clone(batch_norm=False), variables, kernels, config)

    def using(self, config: Config) -> "Model":
        """Returns the model with other settings.

        What `unet.precision` has taken from the variables does not come back: go to float32 by `load_model`.

        Raises:
            UserError: if they choose more or fewer channels than the network sees.
        """
        check_inputs(self.network, config)
        if config == self.config:
            return self
        if config.unet.precision == self.config.unet.precision:
            return replace(self, config=config)
        return Model.of(self.network, self.variables, config)


@partial(jax.jit, static_argnames=("network", "precision"))
def _prepared(network: UNet, variables: Variables, precision: str) -> tuple[Variables, Kernels]:
    """Returns the variables without batch norm, and the kernels that carry signals back, in a precision."""
    variables = in_precision(fold_batch_norm(network, variables)[1], precision)
    return variables, backward_kernels(variables)


def check_inputs(network: UNet, config: Config) -> None:
    """Raises UserError if settings choose more or fewer channels than a network learned from."""
    if config.image.inputs != network.inputs:
        chosen = in_words(config.image.channels or "grey")
        raise UserError(
            f"the model learned from {so_many(network.inputs)}, but --channel (image.channels) chooses "
            f"{so_many(config.image.inputs)}, {chosen}; choose as many as it learned from"
        )


def build_model(config: Config) -> UNet:
    """Returns the (untrained) network that a configuration describes.

    Raises:
        UserError: if its widths do not fit each other, or it does not fit into memory.
    """
    check_widths(config.unet.encoder, config.unet.decoder)
    corners, inputs = config.unet.align_corners, config.image.inputs
    model = UNet(config.unet.encoder, config.unet.decoder, align_corners=corners, inputs=inputs)
    weights = sum(9 * out * (into + out) for into, out in widths(model.encoder, model.decoder, inputs=inputs))
    check_bytes("unet.encoder", 4 * weights, remedy="choose smaller widths")
    return model


def load_model(folder: str | Path) -> Model:
    """Returns the best model of a run folder, or a model that comes with the package.

    Args:
        folder: a run folder, or the name of a model of the package, such as "phase-contrast"; a folder of that
            name wins.

    Raises:
        MissingFile: if it is no such name, and no folder that holds a trained model.
        UserError: if its `config.json` or its weights cannot be read, or do not fit each other.
    """
    folder = model_folder(folder)
    weights, config = best_weights(folder), load_config(folder)
    network = build_model(config)

    def prepared() -> dict[str, Any]:
        variables, kernels = _prepared(network, load_variables(folder), config.unet.precision)
        return {"variables": variables, "kernels": kernels}

    kept = kept_arrays(prepared, key=(digest(weights), network, config.unet.precision))
    return Model(network.clone(batch_norm=False), kept["variables"], kept["kernels"], config)


def load_variables(folder: Path) -> Variables:
    """Returns the variables of a run folder's best model with its batch norm, for a training to begin with.

    Errors are those of `load_model`.
    """
    weights, network = best_weights(folder), build_model(load_config(folder))
    # Zeros in their form, without tracing or compiling what would draw them.
    zeros = partial(np.zeros, dtype=np.float32)
    template = jax.tree.map(zeros, shapes_of_variables(network), is_leaf=lambda leaf: isinstance(leaf, tuple))
    return load(weights, jax.device_put(template))


def best_weights(folder: Path) -> Path:
    """Returns the folder of the best model's weights in a run folder.

    Raises:
        MissingFile: if the run folder holds no trained model.
    """
    step = latest(folder / "weights")
    if step is None:
        reason = f"{folder}: no trained model here; make one with 'wsis train ... --run {folder}'"
        if folder.is_file():
            reason = f"{folder}: is a file and no trained model; give the run folder of wsis train"
        names = ", ".join(packaged_models())
        raise MissingFile(f"{reason}, or use one that comes with the package: {names}" if names else reason)
    return folder / "weights" / str(step)


def load_config(folder: Path) -> Config:
    """Reads `config.json`.

    Raises:
        MissingFile: if there is none.
        UserError: if it is not a configuration of this package.
    """
    file = folder / "config.json"
    if not file.is_file():
        raise MissingFile(f"{folder}: no config.json here, so this is not a run folder")
    tree = read_json(file, what="a configuration of wsis_jax")
    try:
        if not isinstance(tree, dict):
            raise UserError(f"it holds a {type(tree).__name__}, not sections of settings")
        return Config.from_dict(tree)
    except UserError as error:
        raise UserError(f"{file}: not a configuration of wsis_jax ({error})") from error
