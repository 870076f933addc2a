"""What a training chose from images and points, or was told, in words: size, scale, channels and cut."""

from collections.abc import Sequence
from statistics import median
from typing import Any, NamedTuple

from wsis_jax.core import SIGMA_PER_DIAMETER, Config, fill_weights, in_words
from wsis_jax.cutting import LEAST_CONTRAST, LEAST_SEPARATION, MOST_RIM, MOST_TEXTURE

_CUTS = {
    "levels": "by grey value or colour: each cell up to a level between its own and that of the ground around it",
    "inverse": "by contributions and rims: dark pixels, and those that the detection came from, are the cell's",
    "flat": "by contributions and rims alone",
}


class Choice(NamedTuple):
    """Something that was chosen, all plain text."""

    name: str
    value: str
    meaning: str  # what it does, and why it was chosen


def choices(config: Config, images: Sequence[dict[str, Any]]) -> list[Choice]:
    """Returns what the settings of a trained model say that is of its images.

    Args:
        config: of the run folder, in which `image.scale` and `likelihood.sigma` are numbers.
        images: what `training.json` tells of each image.
    """
    diameter, scale, sigma = config.cell_diameter, config.network_scale, config.network_sigma
    seen = f"a cell is {diameter * scale:.0f} pixels wide to the network"
    wide = f"{sigma / scale:.3g} px"
    share = sigma / scale / diameter
    quarter = (
        "a quarter of the diameter" if abs(share - SIGMA_PER_DIAMETER) < 0.01 else f"{share:.2f} of the diameter"
    )
    return [
        Choice(
            "Diameter", f"{diameter:.3g} px", "of a typical cell, from images and points unless --diameter gave it"
        ),
        Choice("Scale", f"{scale:.3g}", f"by which images are resized: {seen}"),
        Choice("Sigma", wide, f"width of a peak of the likelihood map, {quarter}; {sigma:.3g} px to the network"),
        Choice("Channels", in_words(config.image.channels or "grey"), "that the network sees of an image"),
        Choice("Cells are cut", config.cut.data, _how_cut(config, images)),
        Choice("Outlines", _edges(config), _seeds(config)),
    ]


def _how_cut(config: Config, images: Sequence[dict[str, Any]]) -> str:
    """Returns how cells are cut out, and what the images showed that is the reason."""
    term = config.cut.data
    how = _CUTS.get(term, "")
    if term == "auto":
        how = "levels where the cells of an image look stained, else inverse: the images differ"
    looks = [image for image in images if "stained" in image]
    if not looks:
        return how
    stained, count = sum(image["stained"] for image in looks), len(looks)
    names = ("separation", "contrast", "rim", "texture")
    figures = {name: median(image[name] for image in looks) for name in names if name in looks[0]}
    which = f"{stained} of {count} images" if count > 1 else "the image" if stained else "no image"
    return (
        f"{how}. Cells look stained in {which}: grey value or colour at clicks and far from them has a "
        f"separation of {figures['separation']:.2f} (stained from {LEAST_SEPARATION}), a contrast of "
        f"{figures['contrast']:.1f} (from {LEAST_CONTRAST:g}), a rim of {figures['rim']:.2f} (below {MOST_RIM})"
        + (f" and a texture of {figures['texture']:.2f} (below {MOST_TEXTURE})" if "texture" in figures else "")
        + (", in the median." if count > 1 else ".")
    )


def _edges(config: Config) -> str:
    """Returns what outlines follow."""
    if config.cut.data == "auto":
        return "as it suits the image"
    edge = fill_weights(config.cut, config.cut.data).edge
    return "at the steepest change" if edge == "gradient" else "at rims"


def _seeds(config: Config) -> str:
    """Returns from where to where a cell may reach."""
    settings = fill_weights(config.cut, config.cut.data)
    reach = (
        "" if config.cell_reach is None else f"; at most {config.cell_reach / config.network_scale:.0f} px from it"
    )
    if config.cut.data == "auto" or settings.seed_scale != "cell" or settings.seed_threshold is None:
        return f"a cell is connected to its peak{reach}"
    return f"a cell holds what contributed above {settings.seed_threshold:.0%} of its greatest to its peak{reach}"
