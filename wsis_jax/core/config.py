"""Every setting of the method, with its default and its bounds; presets; JSON; `section.key=value` overrides.

Lengths are pixels of the images as given unless a comment says otherwise; "× sigma" counts in units of
`likelihood.sigma`. `None` means: chosen from the data when a model is trained, and stored in its run folder.
"""

import dataclasses
import json
import math
import types
import typing
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from wsis_jax.core.channels import Channels, channel_count, channels_of
from wsis_jax.core.errors import UserError

SIGMA_PER_DIAMETER = 0.25
"""Sigma of the likelihood map in diameters of a cell: neighbours that touch are then 4 sigma from each other."""

_MOST_LEVELS, _MOST_WIDTH = 10, 16_384  # of the network


def number(default: float | int | None, least: int = 0, most: int | float = 1e30) -> Any:
    """Returns the field of a number from `least` to `most`.

    `most` is far above what makes sense: beyond it, a typing mistake would take days or terabytes.
    """
    return field(default=default, metadata={"least": least, "most": most})


def positive(default: float | int | None, most: int | float = 1e30) -> Any:
    """Returns the field of a number above 0 and up to `most`."""
    return field(default=default, metadata={"least": 0, "most": most, "above_zero": True})


@dataclass(frozen=True)
class ImageConfig:
    """How an image becomes the input of the network; the same at training and at inference."""

    # What the network sees: "grey" for one channel, "colours" for red, green and blue, or numbers of channels.
    # None: colours where all images have them, else grey values
    channels: Channels | None = None
    # How grey values become 0..1: by the percentiles below, or divided by the greatest as in the authors' code
    normalization: Literal["percentile", "max"] = "percentile"
    low: float = number(1.0, 0, 100)  # percentile that becomes 0
    high: float = number(99.8, 0, 100)  # percentile that becomes 1
    # Images are resized by this before the network; None: sigma becomes 5 pixels
    scale: float | None = positive(None, 64)
    # Typical diameter of the cells; None: found from images and points. A trained model: see `Config.for_diameter`
    diameter: float | None = positive(None, 40_000)

    @property
    def inputs(self) -> int:
        """How many channels the network sees, from 1 to 4; 1 where that was not chosen yet."""
        return 1 if self.channels is None else channel_count(self.channels)


@dataclass(frozen=True)
class LikelihoodConfig:
    """The training target (paper §3.1)."""

    # Standard deviation of the Gaussian at each point; None: a quarter of `image.diameter` where cells are
    # stained, a fifth of it where they are not
    sigma: float | None = positive(None, 10_000)


@dataclass(frozen=True)
class UNetConfig:
    """The shape of the network."""

    encoder: tuple[int, ...] = (64, 128, 256, 512, 512)  # channels of each level on the way down
    decoder: tuple[int, ...] = (256, 128, 64, 64)  # channels of each level on the way up, one level fewer
    precision: Literal["float32", "bfloat16"] = "float32"  # numbers of a trained network; training is in float32
    # Bilinear upsampling maps corners to corners, as in the authors' code; needed to run weights trained by it
    align_corners: bool = False


@dataclass(frozen=True)
class TrainConfig:
    """How the network is trained. Patches are in pixels of the network, after `image.scale`."""

    steps: int = number(4000, 1, 10**9)  # how long to train: one batch a step
    batch: int = number(16, 1, 10_000)  # patches in a batch
    patch: int = number(320, 1, 10_000)  # side of a patch
    learning_rate: float = positive(1e-3)  # of Adam, where it is greatest
    schedule: Literal["cosine", "constant"] = "cosine"  # of the learning rate: falls to 0, or stays
    warmup: int = number(100, 0, 10**9)  # steps of linear warm-up before the schedule
    # How patches are varied. exact: quarter turns, flips, intensity; free: any angle and zoom as well
    augment: Literal["none", "exact", "free"] = "free"
    validation: float = number(0.2, 0, 1)  # share of the images held out, rounded down
    evaluate_every: int = number(100, 1, 10**9)  # steps between validations and checkpoints
    patience: int = number(20, 1, 10**9)  # validations without a better model before the training stops
    seed: int = number(0, 0, 2**32 - 1)  # of the random numbers: of weights, patches and the images held out
    # A trained model to start from: its folder, or its name in the package; None: from nothing
    start: str | None = None


@dataclass(frozen=True)
class DetectConfig:
    """From the likelihood map to peaks and centre regions (paper §3.2). Pixels are those of the network."""

    views: Literal[1, 4] = 4  # likelihood maps averaged: of the image, or of its mirror images as well
    threshold: float = number(0.49, 0, 1)  # a peak's likelihood is above this
    min_distance: int = number(3, 1, 1000)  # a peak is the greatest value this far around (Chebyshev)
    exclude_border: int = number(0, 0, 10_000)  # peaks nearer to the image's border are dropped
    quantize: bool = False  # look for peaks in the map rounded down to 8 bits
    # The centre region of a peak: a disc around it, without what is nearer to another peak, as in the authors'
    # code; or the connected part of the likelihood map above `response`, as in the paper
    region: Literal["disc", "response"] = "disc"
    radius: float = positive(2.58, 100)  # of the discs, × sigma
    response: float = number(0.1, 0, 1)  # with "response": likelihood above which a pixel belongs to a region


@dataclass(frozen=True)
class ContributionConfig:
    """From centre regions to contribution maps (paper Eq. 1-3)."""

    # How they are computed, with the same numbers: in windows of one recorded forward pass, or through the whole
    # image, several cells at a time ("vmap") or one after the other ("loop")
    method: Literal["window", "vmap", "loop"] = "window"
    rule: str = "guided"  # backward rule, a name in `network.RULES`: guided, gradient, deconvnet
    # The signal inside the centre region: 1, as in the authors' code, or the likelihood, as in Eq. 1
    start: Literal["one", "likelihood"] = "one"
    start_at: Literal["likelihood", "logit"] = "likelihood"  # where it enters: after or before the sigmoid
    # Working memory of the cells propagated at a time, in GiB; one cell may pass it
    memory: float = positive(0.5, 10_000)
    # Cells propagated at a time, one a device at least; None: as the memory allows
    chunk: int | None = number(None, 1, 10_000)


@dataclass(frozen=True)
class CutConfig:
    """From the winner map to the label image (paper §4).

    What chose each default is in experiments/README.md, "Which cut", in the row of its name.
    """

    # What contributions are divided by: the greatest of the cell, that of the image, or 255 (the authors' code)
    seed_scale: Literal["cell", "max", "raw"] = "cell"
    # Scaled contributions above this are foreground seeds. None: suits `data`
    seed_threshold: float | None = number(None)
    min_seed_area: int = number(3, 0, 10**9)  # smaller seed components are dropped, pixels of the network
    # Holes in the seeds of all other cells together are background to a cell, too, as in the authors' code
    fill_others: bool = False
    conflict: Literal["foreground", "background"] = "foreground"  # which seed wins where both claim a pixel
    # Cost of cutting a pixel away from the cell that it contributes to, or of giving it to another.
    # None: suits `data`
    claim_weight: float | None = number(None)
    claim_full: float = positive(0.1)  # scaled contribution from which on that cost is whole
    # × sigma: pixels farther from the peak are background; None: no such seeds
    reach: float | None = positive(6.0, 1000)
    # A name in `cutting.DATA_TERMS`: "inverse": dark is cell; "levels": stained is cell, by grey value or colour;
    # "flat": all prefer background a little. "auto": levels where cells are stained, else inverse.
    data: str = "auto"
    data_weight: float | None = number(None)  # weight of the data term. None: suits `data`
    # Cost of a pixel that looks like the ground beyond all cells. None: suits `data`
    background_weight: float | None = number(None)
    # Outlines follow rims, or the steepest change of grey value. None: suits `data`
    edge: Literal["rim", "gradient"] | None = None
    # What it costs to cut between two pixels without any edge. None: suits `data`
    edge_weight: float | None = number(None)
    # How fast that falls towards a rim, or with the difference squared. None: suits `data`
    edge_falloff: float | None = number(None)
    # Which of two neighbours tells whether a rim is there: the more like one, or the upper or left one
    edge_pixel: Literal["max", "first"] = "max"
    rim: Literal["auto", "bright", "dark"] = "auto"  # what rims of cells look like: read from the image, or known
    dilate: int = number(0, 0, 100)  # radius of the dilation of each cut, before holes are filled
    erode: int = number(0, 0, 100)  # radius of the erosion after it
    min_area: float = number(0.05, 0, 100)  # × area of a disc of `image.diameter`: smaller cells are dropped
    # Who gets a pixel that two cuts claim: the cell of the nearest peak, or cell after cell (the authors' code)
    overlap: Literal["nearest", "sequential"] = "nearest"
    # × sigma: blur of each outline on its way to the pixels of the image; 0: none. None: suits `data`
    smooth: float | None = number(None, 0, 100)
    # Library that solves the cuts; the cells are the same. "auto": PyMaxflow, or SciPy where that is not installed
    solver: Literal["auto", "pymaxflow", "scipy"] = "auto"


_SUITED: dict[str, dict[str, Any]] = {
    "inverse": {
        "seed_threshold": 0.05,
        "claim_weight": 2.0,
        "data_weight": 0.75,
        "background_weight": 0.3,
        "edge": "rim",
        "edge_weight": 60.0,
        "edge_falloff": 9.0,
        "smooth": 0.3,
    },
    # Where grey values are sure, contributions are trusted less: they lie on both sides of an edge.
    "levels": {
        "seed_threshold": 0.6,
        "claim_weight": 0.3,
        "data_weight": 1.0,
        "background_weight": 0.0,
        "edge": "gradient",
        "edge_weight": 1.0,
        "edge_falloff": 50.0,
        "smooth": 0.1,
    },
}


def fill_weights(settings: CutConfig, data: str) -> CutConfig:
    """Returns settings with a data term, and the values that suit it where they leave them open.

    Data terms that somebody added get the values of "inverse".
    """
    values = _SUITED.get(data, _SUITED["inverse"])
    opened = {name: value for name, value in values.items() if getattr(settings, name) is None}
    return dataclasses.replace(settings, data=data, **opened)


def widest_smooth(settings: CutConfig) -> float:
    """Returns the greatest `smooth` that settings may come to mean, whatever data term suits an image."""
    return max(float(fill_weights(settings, term).smooth or 0) for term in _SUITED)


@dataclass(frozen=True)
class Config:
    """All settings. `Config()` is the default; see `preset` for the paper's and the authors' code's."""

    image: ImageConfig = field(default_factory=ImageConfig)
    likelihood: LikelihoodConfig = field(default_factory=LikelihoodConfig)
    unet: UNetConfig = field(default_factory=UNetConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    detect: DetectConfig = field(default_factory=DetectConfig)
    contribution: ContributionConfig = field(default_factory=ContributionConfig)
    cut: CutConfig = field(default_factory=CutConfig)

    def __post_init__(self) -> None:
        """Raises UserError for a number that makes no sense, such as a negative length."""
        for section in dataclasses.fields(self):
            values = getattr(self, section.name)
            for one in dataclasses.fields(values):
                if one.metadata:
                    _check_bounds(f"{section.name}.{one.name}", getattr(values, one.name), **one.metadata)
        try:
            channels_of(self.image.channels)
        except UserError as error:
            raise UserError(f"image.channels: {error}") from error
        for path, widths in (("unet.encoder", self.unet.encoder), ("unet.decoder", self.unet.decoder)):
            if len(widths) > _MOST_LEVELS or not all(1 <= width <= _MOST_WIDTH for width in widths):
                raise UserError(
                    f"{path} must be at most {_MOST_LEVELS} widths from 1 to {_MOST_WIDTH}, not {_short(widths)}"
                )

    @property
    def network_scale(self) -> float:
        """The factor by which images are resized for the network; UserError where it was not chosen yet."""
        return _chosen("image.scale", self.image.scale)

    @property
    def network_sigma(self) -> float:
        """Sigma in pixels of the network; UserError where it was not chosen yet."""
        return _chosen("likelihood.sigma", self.likelihood.sigma) * self.network_scale

    @property
    def cell_diameter(self) -> float:
        """The typical diameter of the cells, in pixels of the image; UserError where it was not chosen yet.

        Settings of runs from before there was `image.diameter` tell it by sigma.
        """
        if self.image.diameter is not None:
            return self.image.diameter
        return _chosen("likelihood.sigma", self.likelihood.sigma) / SIGMA_PER_DIAMETER

    @property
    def least_area(self) -> float:
        """The least area of a cell, in pixels of the image; 0 where all are kept."""
        return self.cut.min_area * math.pi / 4 * self.cell_diameter**2 if self.cut.min_area else 0.0

    def for_diameter(self, diameter: float | int) -> "Config":
        """Returns the settings with which the same network segments cells of a diameter, in pixels of the image.

        The network is shown images at a scale at which these cells are as large as those that it learned. So sigma
        stays what it is in pixels of the network, and all lengths that count in sigma fit the cells.

        Raises:
            UserError: if the diameter is not a length, or so far from the learned one that a setting is out of
                range; if the settings are not those of a trained model.
        """
        if not 0 < diameter < math.inf:
            raise UserError(f"the diameter of the cells must be above 0 and finite, not {diameter}")
        learned, scale = self.cell_diameter, self.network_scale
        larger, sigma = diameter / learned, _chosen("likelihood.sigma", self.likelihood.sigma)
        try:
            return dataclasses.replace(
                self,
                image=dataclasses.replace(self.image, scale=scale / larger, diameter=float(diameter)),
                likelihood=dataclasses.replace(self.likelihood, sigma=sigma * larger),
            )
        except UserError as error:
            raise UserError(
                f"cells of {diameter:g} pixels are too far from those of {learned:g} that the model learned "
                f"({error}); resize the images"
            ) from error

    @property
    def cell_reach(self) -> float | None:
        """How far from its peak a cell may reach, in pixels of the network; None where nothing bounds it."""
        return None if self.cut.reach is None else self.cut.reach * self.network_sigma

    @property
    def region_radius(self) -> float:
        """The radius of the discs that centre regions lie in, in pixels of the network."""
        return self.detect.radius * self.network_sigma

    def override(self, assignments: Iterable[str]) -> "Config":
        """Returns a copy with `section.key=value` assignments applied, in order.

        Values are JSON (`0.5`, `true`, `null`, `[16, 32]`) or plain words for text.

        Raises:
            UserError: for text without a value, an unknown section or key (it names the known ones), a value
                of the wrong type, or a number out of range.
        """
        tree = self.to_dict()
        for assignment in assignments:
            path, equals, text = assignment.partition("=")
            section, dot, key = path.strip().partition(".")
            if not (equals and dot):
                raise UserError(
                    f"'{assignment}' is not a setting with its value; "
                    "write section.key=value, as in train.steps=500"
                )
            if section not in tree:
                raise UserError(f"unknown section '{section}' in '{assignment}'; known are {', '.join(tree)}")
            if key not in tree[section]:
                known = ", ".join(tree[section])
                raise UserError(f"unknown key '{key}' in '{assignment}'; section {section} has {known}")
            tree[section][key] = _parse(text.strip())
        return Config.from_dict(tree)

    def to_dict(self) -> dict[str, Any]:
        """Returns nested dictionaries of JSON values."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @staticmethod
    def from_dict(tree: dict[str, Any]) -> "Config":
        """Returns the configuration of nested dictionaries, such as `to_dict` makes.

        Missing keys get their defaults. Settings that earlier versions had are ignored.

        Raises:
            UserError: for an unknown section or key, a value of the wrong type, or a number out of range.
        """
        sections: dict[str, Any] = {}
        hints = typing.get_type_hints(Config)
        for section, values in tree.items():
            if section not in hints:
                raise UserError(f"unknown section '{section}'; known are {', '.join(hints)}")
            sections[section] = _section(hints[section], section, values)
        return Config(**sections)


# Settings of earlier versions, which the run folders of old trainings name and nothing reads any more.
_RETIRED = {"train": {"select"}}


def _check_bounds(path: str, value: Any, *, least: int, most: int | float, above_zero: bool = False) -> None:
    """Raises UserError for a number out of its bounds; None and its meaning are the setting's own."""
    if value is None:
        return
    if above_zero and not value > 0:
        raise UserError(f"{path} must be above 0, not {_short(value)}")
    if not value >= least:  # of NaN too
        raise UserError(f"{path} must be at least {least}, not {_short(value)}")
    if value > most:
        raise UserError(f"{path} must be at most {most:,}, not {_short(value)}")


def _chosen(path: str, value: float | None) -> float:
    """Returns the value of a setting, or raises UserError if it is still to be chosen from the data."""
    if value is None:
        raise UserError(f"{path} must be a number; take the config of a trained run")
    return value


def _short(value: Any) -> str:
    """Returns a value for a message, which a long one would fill."""
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def _parse(text: str) -> Any:
    """Returns the JSON value of a text, or the text itself."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # a number of a thousand digits, brackets in brackets in brackets
        return text


def _section(kind: type, section: str, values: Any) -> Any:
    """Returns the section's dataclass from a dictionary, checking names and types."""
    if not isinstance(values, dict):
        raise UserError(f"section {section} must hold key-value pairs, not {_short(values)}")
    hints = typing.get_type_hints(kind)
    checked: dict[str, Any] = {}
    for key, value in values.items():
        if key in _RETIRED.get(section, ()):
            continue
        if key not in hints:
            raise UserError(f"unknown key '{section}.{key}'; section {section} has {', '.join(hints)}")
        checked[key] = _checked(hints[key], f"{section}.{key}", value)
    return kind(**checked)


def _checked(hint: Any, path: str, value: Any) -> Any:
    """Returns the value as the hinted type, or raises UserError that names the setting."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        # By type as well: true is no 1.
        if any(type(value) is type(argument) and value == argument for argument in arguments):
            return value
        raise UserError(f"{path} must be one of {', '.join(map(str, arguments))}, not {_short(value)}")
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        words = [word for a in arguments if typing.get_origin(a) is Literal for word in typing.get_args(a)]
        if words and not isinstance(value, list | tuple):
            if value not in words:
                raise UserError(f"{path} must be {', '.join(words)} or a list, as in [0, 2], not {_short(value)}")
            return value
        return _checked(next(a for a in arguments if a is not type(None)), path, value)
    if origin is tuple:
        if isinstance(value, list | tuple) and value and all(type(v) is arguments[0] for v in value):
            return tuple(value)
        raise UserError(f"{path} must be a list of {arguments[0].__name__}, as in [16, 32], not {_short(value)}")
    if hint is float and type(value) is int and abs(value) < 2**63:
        return float(value)
    if type(value) is not hint:
        raise UserError(f"{path} must be {hint.__name__}, not {_short(value)}")
    return value


PresetName = Literal["default", "paper", "reference"]


def preset(name: PresetName, base: Config | None = None) -> Config:
    """Returns the named preset; of `base`, only what concerns a trained model's use is replaced.

    "default" is the project's choice, "paper" follows the text, "reference" the authors' released code
    (wherever the two differ; docs/method.md lists the differences that are not copied). With a `base`, the
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
    # What a training chose for its images stays, where the preset leaves it open.
    chosen_before = chosen.cut.data == "auto" and base.cut.data in _SUITED
    data = base.cut.data if chosen_before else chosen.cut.data
    cut = dataclasses.replace(chosen.cut, data=data)
    return dataclasses.replace(base, detect=chosen.detect, contribution=chosen.contribution, cut=cut)


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
    image=ImageConfig(channels="grey", normalization="max", scale=1.0),
    train=TrainConfig(augment="none", schedule="constant"),
    detect=DetectConfig(views=1, region="response"),
    contribution=ContributionConfig(start="likelihood"),
    cut=CutConfig(
        data="inverse",
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
        min_area=0.0,
        smooth=0.0,
    ),
)

_REFERENCE = Config(
    image=ImageConfig(channels="grey", normalization="max", scale=1.0),
    likelihood=LikelihoodConfig(sigma=12.0),
    unet=UNetConfig(align_corners=True),
    train=TrainConfig(patch=256, augment="exact", schedule="constant", warmup=0),
    detect=DetectConfig(
        views=1, threshold=125 / 255, min_distance=2, exclude_border=2, quantize=True, region="disc", radius=2.58
    ),
    contribution=ContributionConfig(start="one"),
    cut=dataclasses.replace(
        _PAPER.cut,
        seed_scale="raw",
        seed_threshold=0.01,
        fill_others=True,
        data="flat",
        data_weight=2e-4,
        edge_pixel="first",
        dilate=2,
        erode=1,
        overlap="sequential",
    ),
)
