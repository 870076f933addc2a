"""The settings of the paper and of its authors' code, beside the default."""

import dataclasses
from typing import Literal

from wsis_jax.core.config import (
    Config,
    ContributionConfig,
    CutConfig,
    DetectConfig,
    ImageConfig,
    LikelihoodConfig,
    TrainConfig,
    UNetConfig,
)
from wsis_jax.core.errors import UserError

PresetName = Literal["default", "paper", "reference"]


def preset(name: PresetName, base: Config | None = None) -> Config:
    """Returns the named preset; of `base`, only what concerns a trained model's use is replaced.

    "default" is the project's choice, "paper" follows the text, "reference" the authors' released code
    (wherever the two differ; the README lists the differences that are not copied). With a `base`, the
    configuration of a trained model, image, likelihood, network and training stay what the model was made with.

    Raises:
        UserError: for an unknown name.
    """
    presets = {"default": Config(), "paper": _PAPER, "reference": _REFERENCE}
    if name not in presets:
        raise UserError(f"unknown preset '{name}'; known are {', '.join(presets)}")
    chosen = presets[name]
    if base is None:
        return chosen
    return dataclasses.replace(base, detect=chosen.detect, contribution=chosen.contribution, cut=chosen.cut)


def small_network(config: Config) -> Config:
    """Returns the settings with the network, and the training, for a computer without an accelerator.

    A quarter of the widths, smaller patches and fewer of them.
    """
    return dataclasses.replace(
        config,
        unet=dataclasses.replace(config.unet, encoder=(16, 32, 64, 128, 128), decoder=(64, 32, 16, 16)),
        train=dataclasses.replace(config.train, batch=8, patch=192, steps=900, learning_rate=2e-3),
    )


_PAPER = Config(
    image=ImageConfig(normalization="max", scale=1.0),
    train=TrainConfig(augment="none", schedule="constant"),
    detect=DetectConfig(views=1, region="response"),
    contribution=ContributionConfig(start="likelihood"),
    cut=CutConfig(
        seed_scale="max",
        seed_threshold=0.03,
        claim_weight=0.0,
        conflict="background",
        reach=None,
        data_weight=1.5,
        background_weight=0.0,
        edge_weight=20.0,
        edge_falloff=10.0,
        rim="bright",
        smooth=0.0,
    ),
)

_REFERENCE = Config(
    image=ImageConfig(normalization="max", scale=1.0),
    likelihood=LikelihoodConfig(sigma=12.0),
    unet=UNetConfig(align_corners=True),
    train=TrainConfig(patch=256, augment="exact", schedule="constant", warmup=0, select="loss"),
    detect=DetectConfig(
        views=1, threshold=125 / 255, min_distance=2, exclude_border=2, quantize=True, region="disc", radius=2.58
    ),
    contribution=ContributionConfig(start="one"),
    cut=CutConfig(
        seed_scale="raw",
        seed_threshold=0.01,
        claim_weight=0.0,
        fill_others=True,
        conflict="background",
        reach=None,
        data="flat",
        data_weight=2e-4,
        background_weight=0.0,
        edge_weight=20.0,
        edge_falloff=10.0,
        rim="bright",
        smooth=0.0,
        edge_pixel="first",
        dilate=2,
        erode=1,
        overlap="sequential",
    ),
)
