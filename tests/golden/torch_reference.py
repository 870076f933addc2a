"""Reads torch_reference.npz, which `make_torch_reference.py` wrote, and makes Flax variables of its weights."""

import pathlib

import numpy as np

from wsis_jax.network.unet import UNet, Variables

# PyTorch's name of a number: the collection and the name in Flax.
_NAMES = {
    ("conv", "weight"): ("params", "kernel"),
    ("norm", "weight"): ("params", "scale"),
    ("norm", "bias"): ("params", "bias"),
    ("norm", "running_mean"): ("batch_stats", "mean"),
    ("norm", "running_var"): ("batch_stats", "var"),
    ("output", "weight"): ("params", "kernel"),
    ("output", "bias"): ("params", "bias"),
}


def load_reference() -> dict[str, np.ndarray]:
    """Returns every array of the file, in PyTorch's layout (batch, channel, height, width)."""
    with np.load(pathlib.Path(__file__).with_name("torch_reference.npz")) as file:
        return dict(file)


def reference_network(*, align_corners: bool) -> tuple[UNet, Variables]:
    """Returns the network of the file."""
    variables: dict = {"params": {}, "batch_stats": {}}
    for name, value in load_reference().items():
        if not name.startswith("weights/"):
            continue
        *path, last = name.removeprefix("weights/").split(".")
        collection, leaf = _NAMES[path[-1].split("_")[0], last]
        branch = variables[collection]
        for part in path:
            branch = branch.setdefault(part, {})
        branch[leaf] = value.transpose(2, 3, 1, 0) if value.ndim == 4 else value  # (row, column, in, out)
    return UNet((4, 6, 8), (6, 4), align_corners=align_corners), variables
