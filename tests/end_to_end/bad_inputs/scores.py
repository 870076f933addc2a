"""Label images, and the commands that measure and draw."""

from pathlib import Path

import numpy as np
from PIL import Image

from tests.end_to_end.bad_inputs.shop import image
from wsis_jax.io.label_file import write_labels, write_picture

CASES = {
    "missing labels": ("evaluate nowhere mask.tif", 2, "nowhere: there is no such file"),
    "missing masks": ("evaluate mask.tif nowhere.tif", 2, "nowhere.tif: there is no such file"),
    "shapes that differ": (
        "evaluate mask.tif smaller.tif",
        2,
        "mask.tif: is 40 × 48 pixels but smaller.tif is 40 × 47",
    ),
    "labels in colour": ("evaluate colour.png mask.tif", 2, "colour.png: the labels are a colour picture"),
    "fractions as labels": ("evaluate fraction.tif mask.tif", 2, "fraction.tif: the labels are not whole numbers"),
    "negative label": ("evaluate below.tif mask.tif", 2, "below.tif: a label is negative (-1)"),
    "label of 10^12": ("evaluate above.tif mask.tif", 2, "above.tif: the label 1000000000000 is too large"),
    "labels of several pages": ("evaluate film.tif mask.tif", 2, "film.tif: the labels have several pages"),
    "mask of all cells at once": ("evaluate mask.tif mask255.tif", 0, "mask255.tif: has one label in 2 separate"),
    "mask of all cells at once for points": (
        "points --labels mask255.tif --out OUT",
        0,
        "mask255.tif: has one label in 2 separate",
    ),
    "mask of all cells at once, told": ("evaluate mask.tif mask255.tif --components", 0, ""),
    "labels in a JPEG": ("evaluate mask.tif whole.jpg", 2, "whole.jpg: a JPEG changes the numbers of cells"),
    "components without masks": ("points ok.csv --components --out OUT", 2, "--components is of masks; give"),
    "no common name of masks": ("evaluate masks images", 2, "name them alike"),
    "no points for a mask": ("evaluate masks masks --points points", 2, "mask: has no point file"),
    "negative distance": ("evaluate mask.tif mask.tif --distance -1", 2, "distance must be 0 or more"),
    "distance that is not a number": (
        "evaluate mask.tif mask.tif --distance nan",
        2,
        "distance must be 0 or more",
    ),
    "masks of another size to tune": (
        "tune RUN ok.tif smaller.tif",
        2,
        "40 × 48 pixels but its masks are 40 × 47",
    ),
    "missing masks to tune": ("tune RUN ok.tif nowhere.tif", 2, "nowhere.tif: there is no such file"),
    "no common name of masks to tune": ("tune RUN images masks", 2, "neither this image nor any other has a mask"),
    "image of several pages to tune": (
        "tune RUN film.tif mask.tif",
        2,
        "film.tif: holds 2 images; give files of one",
    ),
    "missing model to tune": ("tune nowhere ok.tif mask.tif", 2, "nowhere: no trained model here"),
    "missing model of a demo": ("demo --model nowhere --out OUT", 2, "nowhere: no trained model here"),
    "demo in a folder of another": ("demo --out demo", 2, "demo: holds a demo already"),
    "negative seed of a demo": ("demo --model RUN --seed -1 --out OUT", 2, "seed must be 0 or more, not -1"),
    "measuring an image of 10^9 × 10^9": ("bench RUN --side 1000000000", 2, "the image: needs 10^18 values"),
    "measuring a network of 10^9": ("bench --width 1000000000", 2, "width must be at most 1024"),
    "measuring no cell": ("bench RUN --side 32 --cells 0", 2, "cells must be at least 1"),
    "measuring more cells than pixels": ("bench RUN --side 32 --cells 2000", 2, "cells must be at most 1024"),
    "width of a model that has one": ("bench RUN --width 8", 2, "--width is that of a fresh network"),
}


def make(folder: Path) -> None:
    mask = np.zeros((40, 48), np.int32)
    mask[5:12, 5:12] = 1
    write_labels(folder / "mask.tif", mask)
    write_labels(folder / "masks" / "mask.tif", mask)
    write_labels(folder / "smaller.tif", mask[:, :-1])
    write_picture(folder / "colour.png", np.stack([mask, mask * 2, mask * 3], axis=-1).astype(np.uint8))
    image(folder / "fraction.tif", mask + np.float32(0.5))
    image(folder / "below.tif", mask - 1)
    image(folder / "above.tif", np.where(mask, 10**12, 0).astype(np.int64))
    two = np.where(mask, 255, 0)
    two[20:30, 20:30] = 255
    write_labels(folder / "mask255.tif", two)
    Image.fromarray(two.astype(np.uint8)).save(folder / "whole.jpg")
    (folder / "demo").mkdir()
    (folder / "demo" / "scores.json").touch()
