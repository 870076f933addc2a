"""Every setting of the method, with its default: frozen dataclasses, JSON, `section.key=value` overrides.

Lengths are pixels of the images as given unless a comment says otherwise; "× sigma" counts in units of
`likelihood.sigma`. `None` means: chosen from the data when a model is trained, and stored in its run folder.
"""

import dataclasses
import json
import operator
import types
import typing
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from wsis_jax.core.errors import UserError


@dataclass(frozen=True)
class ImageConfig:
    """How an image becomes the input of the network; the same at training and at inference."""

    normalization: Literal["percentile", "max"] = "percentile"
    low: float = 1.0  # percentile that becomes 0
    high: float = 99.8  # percentile that becomes 1
    scale: float | None = None  # images are resized by this before the network; None: sigma becomes 5 pixels


@dataclass(frozen=True)
class LikelihoodConfig:
    """The training target (paper §3.1)."""

    sigma: float | None = None  # None: suggested from the spacing of the points


@dataclass(frozen=True)
class UNetConfig:
    """The shape of the network."""

    encoder: tuple[int, ...] = (64, 128, 256, 512, 512)
    decoder: tuple[int, ...] = (256, 128, 64, 64)
    precision: Literal["float32", "bfloat16"] = "float32"  # of a trained network; training is in float32
    align_corners: bool = False  # as in the authors' code; needed to run weights trained by it


@dataclass(frozen=True)
class TrainConfig:
    """How the network is trained. Patches are in pixels of the network, after `image.scale`."""

    steps: int = 4000
    batch: int = 16
    patch: int = 320
    learning_rate: float = 1e-3
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: int = 100  # steps of linear warm-up before the schedule
    augment: Literal["none", "exact", "free"] = (
        "free"  # exact: quarter turns, flips, intensity; free: any angle, zoom
    )
    validation: float = 0.2  # share of the images held out, rounded down
    evaluate_every: int = 100  # steps between validations and checkpoints
    select: Literal["f_measure", "loss"] = "loss"  # which validation figure chooses the best model
    patience: int = 20  # validations without a better model before the training stops
    seed: int = 0


@dataclass(frozen=True)
class DetectConfig:
    """From the likelihood map to peaks and centre regions (paper §3.2). Pixels are those of the network."""

    views: Literal[1, 4] = 4  # likelihood maps averaged: of the image, or of its mirror images as well
    threshold: float = 0.49  # a peak's likelihood is above this
    min_distance: int = 3  # a peak is the greatest value this far around (Chebyshev)
    exclude_border: int = 0  # peaks nearer to the image's border are dropped
    quantize: bool = False  # look for peaks in the map rounded down to 8 bits
    region: Literal["disc", "response"] = "disc"
    radius: float = 2.58  # "disc": × sigma; "Voronoi ∩ disc" of the authors' code
    response: float = 0.1  # "response": likelihood above which a pixel belongs to a component


@dataclass(frozen=True)
class ContributionConfig:
    """From centre regions to contribution maps (paper Eq. 1-3)."""

    method: Literal["window", "vmap", "loop"] = "window"  # the same numbers; see `contribution_maps`
    rule: Literal["guided", "gradient", "deconvnet"] = "guided"
    start: Literal["one", "likelihood"] = "one"  # inside the region: 1, as in the code, or y, as in Eq. 1
    start_at: Literal["likelihood", "logit"] = "likelihood"  # enters after or before the sigmoid
    memory: float = 0.5  # working memory of the cells propagated at a time, in GiB; one cell may pass it
    chunk: int | None = None  # cells propagated at a time, one a device at least; None: as the memory allows


@dataclass(frozen=True)
class CutConfig:
    """From the winner map to the label image (paper §4).

    What chose each default is in experiments/README.md, "Which cut", in the row of its name.
    """

    seed_scale: Literal["cell", "max", "raw"] = "cell"  # relative to the cell's greatest, the image's, or 255
    seed_threshold: float = 0.1  # scaled contributions above this are foreground seeds
    min_seed_area: int = 3  # smaller seed components are dropped, pixels of the network
    fill_others: bool = False  # fill holes in the union of the other cells' seeds too
    conflict: Literal["foreground", "background"] = "foreground"  # which seed wins where both claim a pixel
    claim_weight: float = 1.0  # cost of cutting from a cell what it contributes to, or giving it to another
    claim_full: float = 0.1  # scaled contribution from which that cost is whole
    reach: float | None = 6.0  # × sigma: pixels farther from the peak are background; None: no such seeds
    data: Literal["inverse", "flat"] = "inverse"  # dark is cell, or a hair's preference for background
    data_weight: float = 0.75
    background_weight: float = 0.3  # cost of a pixel that looks like the ground beyond all cells
    edge_weight: float = 20.0  # what it costs to cut between two pixels that are nothing like a rim
    edge_falloff: float = 9.0  # how fast that falls towards the grey value of rims, which outlines follow
    edge_pixel: Literal["max", "first"] = "max"  # of the pair: the more like a rim, or the top/left one
    rim: Literal["auto", "bright", "dark"] = "auto"  # of cells: told from the image, or known
    dilate: int = 0  # radius of the dilation of each cut, before holes are filled
    erode: int = 0  # radius of the erosion after it
    overlap: Literal["nearest", "sequential"] = "nearest"  # order-free, or as in the authors' code
    smooth: float = 0.2  # × sigma: blur of each outline on its way to the pixels of the image; 0: none


@dataclass(frozen=True)
class Config:
    """All settings. `Config()` is the default; see `presets.preset` for the paper's and the authors' code's."""

    image: ImageConfig = field(default_factory=ImageConfig)
    likelihood: LikelihoodConfig = field(default_factory=LikelihoodConfig)
    unet: UNetConfig = field(default_factory=UNetConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    detect: DetectConfig = field(default_factory=DetectConfig)
    contribution: ContributionConfig = field(default_factory=ContributionConfig)
    cut: CutConfig = field(default_factory=CutConfig)

    def __post_init__(self) -> None:
        """Raises UserError for a number that makes no sense, such as a negative length."""
        for path, (least, most) in _RANGES.items():
            value = operator.attrgetter(path)(self)
            if value is None:
                continue
            if path in _ABOVE_ZERO and not value > 0:
                raise UserError(f"{path} must be above 0, not {_short(value)}")
            if not value >= least:
                raise UserError(f"{path} must be at least {least}, not {_short(value)}")
            if value > most:
                raise UserError(f"{path} must be at most {most:,}, not {_short(value)}")
        for path in ("unet.encoder", "unet.decoder"):
            widths = operator.attrgetter(path)(self)
            if len(widths) > _MOST_LEVELS or not all(1 <= width <= _MOST_WIDTH for width in widths):
                raise UserError(
                    f"{path} must be at most {_MOST_LEVELS} widths from 1 to {_MOST_WIDTH}, not {_short(widths)}"
                )

    @property
    def network_scale(self) -> float:
        """The factor by which images are resized for the network; UserError where it was not chosen yet."""
        if self.image.scale is None:
            raise UserError("image.scale must be a number; take the config of a trained run")
        return self.image.scale

    @property
    def network_sigma(self) -> float:
        """Sigma in pixels of the network; UserError where it was not chosen yet."""
        if self.likelihood.sigma is None:
            raise UserError("likelihood.sigma must be a number; take the config of a trained run")
        return self.likelihood.sigma * self.network_scale

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
            UserError: for an unknown section or key; names the nearest known ones.
            UserError: for a value of the wrong type.
            UserError: for text that is no assignment, or a number out of range.
        """
        tree = self.to_dict()
        for assignment in assignments:
            path, equals, text = assignment.partition("=")
            section, dot, key = path.strip().partition(".")
            if not (equals and dot):
                raise UserError(f"'{assignment}' is no assignment; write section.key=value, as in train.steps=500")
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
        """Returns the configuration of nested dictionaries, such as `to_dict` makes; missing keys get defaults.

        Raises:
            UserError: for an unknown section or key.
            UserError: for a value of the wrong type.
            UserError: for a number out of range.
        """
        sections: dict[str, Any] = {}
        hints = typing.get_type_hints(Config)
        for section, values in tree.items():
            if section not in hints:
                raise UserError(f"unknown section '{section}'; known are {', '.join(hints)}")
            sections[section] = _section(hints[section], section, values)
        return Config(**sections)


# The least and the most of each number: beyond the most, a slip of the finger would take days or terabytes.
_RANGES = {
    "image.low": (0, 100),
    "image.high": (0, 100),
    "image.scale": (0, 64),
    "likelihood.sigma": (0, 10_000),
    "train.steps": (1, 10**9),
    "train.batch": (1, 10_000),
    "train.patch": (1, 10_000),
    "train.learning_rate": (0, 1e30),
    "train.warmup": (0, 10**9),
    "train.validation": (0, 1),
    "train.evaluate_every": (1, 10**9),
    "train.patience": (1, 10**9),
    "train.seed": (0, 2**32 - 1),
    "detect.threshold": (0, 1),
    "detect.min_distance": (1, 1000),
    "detect.exclude_border": (0, 10_000),
    "detect.radius": (0, 100),
    "detect.response": (0, 1),
    "contribution.memory": (0, 10_000),
    "contribution.chunk": (1, 10_000),
    "cut.seed_threshold": (0, 1e30),
    "cut.min_seed_area": (0, 10**9),
    "cut.claim_weight": (0, 1e30),
    "cut.claim_full": (0, 1e30),
    "cut.reach": (0, 1000),
    "cut.data_weight": (0, 1e30),
    "cut.background_weight": (0, 1e30),
    "cut.edge_weight": (0, 1e30),
    "cut.edge_falloff": (0, 1e30),
    "cut.dilate": (0, 100),
    "cut.erode": (0, 100),
    "cut.smooth": (0, 100),
}
_ABOVE_ZERO = (  # of these, 0 is not allowed either
    "image.scale",
    "likelihood.sigma",
    "contribution.memory",
    "train.learning_rate",
    "detect.radius",
    "cut.claim_full",
    "cut.reach",
)
_MOST_LEVELS, _MOST_WIDTH = 10, 16_384  # of the network


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
        if key not in hints:
            raise UserError(f"unknown key '{section}.{key}'; section {section} has {', '.join(hints)}")
        checked[key] = _checked(hints[key], f"{section}.{key}", value)
    return kind(**checked)


def _checked(hint: Any, path: str, value: Any) -> Any:
    """Returns the value as the hinted type, or raises TypeError naming the path."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        # By type as well: true is no 1.
        if any(type(value) is type(argument) and value == argument for argument in arguments):
            return value
        raise UserError(f"{path} must be one of {', '.join(map(str, arguments))}, not {_short(value)}")
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
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
