"""Nuclear stains, and channels that are not there."""

from pathlib import Path

import numpy as np

from tests.end_to_end.bad_inputs.shop import GREY, image
from wsis_jax.synthetic import draw_scene

CASES = {
    "missing stain": ("train ok.tif --nuclei nowhere.tif", 2, "nowhere.tif: there is no such file"),
    "stain of another size": (
        "train ok.tif --nuclei small/tiny.tif",
        2,
        "ok.tif: is 40 × 48 pixels but its stain small/tiny.tif is 16 × 20; give",
    ),
    "stain of several frames": (
        "train ok.tif --nuclei film.tif",
        2,
        "ok.tif: has 1 frame(s) but its stain film.tif",
    ),
    "image as its own stain": ("train ok.tif --nuclei ok.tif", 2, "ok.tif: is the image and its own stain; give"),
    "stain without nuclei": (
        "train ok.tif --nuclei constant/flat.tif",
        2,
        "flat.tif: no nucleus was found in this",
    ),
    "one stain without nuclei": (
        "train some --nuclei stains",
        0,
        "some/b.tif with stains/b.tif: left out, since no",
    ),
    "no common name of a stain": ("train images --nuclei constant", 2, "name them alike"),
    "missing channel": ("train film.tif --points ok.csv --channel 2", 2, "film.tif: there is no channel 2"),
    "missing nuclear channel": ("train ok.tif --nuclei film.tif --nuclear-channel 2", 2, "film.tif: there is no"),
    "negative channel": ("train ok.tif --points ok.csv --channel -1", 2, "there is no channel -1; count"),
    "nuclear channel of points": ("train ok.tif --points ok.csv --nuclear-channel 0", 2, "--nuclear-channel is a"),
    "nuclear diameter of points": (
        "train ok.tif --points ok.csv --nuclear-diameter 9",
        2,
        "--nuclear-diameter is of nuclei in the stains",
    ),
    "nuclear diameter of nothing": (
        "train some --nuclei stains --nuclear-diameter 0",
        2,
        "the nuclear diameter must be above 0, not 0.0; give that of a nucleus in pixels",
    ),
    "missing channel to segment": ("segment RUN ok.tif --channel 1 --out OUT", 3, "ok.tif: there is no channel 1"),
    "channels without a choice": ("train two.tif --points ok.csv", 2, "two.tif: has 2 channels; choose one, or"),
    "channels without a choice to segment": (
        "segment RUN two.tif --out OUT",
        3,
        "two.tif: has 2 channels; choose",
    ),
    "stain of channels without a choice": (
        "train ok.tif --nuclei two.tif",
        2,
        "two.tif: has 2 channels; choose one, or up to four together (--channel; of a stain --nuclear-channel)",
    ),
    "channel that is there twice": (
        "train film.tif --points ok.csv --channel 0,0",
        2,
        "channels 0,0 cannot be chosen together",
    ),
    "missing channel of several": (
        "train film.tif --points ok.csv --channel 0,2",
        2,
        "film.tif: there is no channel 2; the file has 2 channels, counted from 0, but --channel,",
    ),
    "colours of a grey image": (
        "train ok.tif --points ok.csv --channel colours",
        2,
        "ok.tif: is not an image in colours, which the model or --channel asks for, since a pixel has 1 channel",
    ),
    "colours for a model of grey values": (
        "segment RUN ok.tif --channel colours --out OUT",
        2,
        "the model learned from 1 channel, but --channel (image.channels) chooses 3 channels, colours; choose",
    ),
    "negative channel to segment": (
        "segment RUN ok.tif --channel -1 --out OUT",
        2,
        "there is no channel -1; count",
    ),
}


def make(folder: Path) -> None:
    flat = np.full_like(GREY, 7)
    nuclei = draw_scene(100, shape=(40, 48), cells=6, diameter=13.0).nuclei
    image(folder / "two.tif", np.stack([GREY] * 2), imagej=True, metadata={"axes": "CYX"})
    for name in ("a", "b", "c"):
        image(folder / "some" / f"{name}.tif")
        image(folder / "stains" / f"{name}.tif", flat if name == "b" else nuclei)
