"""Settings of `--set`, and other arguments."""

from pathlib import Path

import numpy as np

from tests.end_to_end.bad_inputs.shop import image

_TRAIN = "train ok.tif --points ok.csv --set"
_SEGMENT = "segment RUN ok.tif --out OUT"

CASES = {
    "unknown key": (f"{_TRAIN} train.stepps=3", 2, "unknown key 'stepps' in"),
    "unknown section": (f"{_TRAIN} trian.steps=3", 2, "unknown section 'trian' in"),
    "wrong type": (f"{_TRAIN} train.steps=many", 2, "train.steps must be int, not 'many'"),
    "unknown choice": (f"{_TRAIN} train.schedule=best", 2, "train.schedule must be one of"),
    "unknown data term": (f"{_TRAIN} cut.data=inverted", 2, "cut.data must be one of auto, inverse, flat, levels"),
    "unknown data term to segment": (
        f"{_SEGMENT} --set cut.data=inverted",
        2,
        "cut.data must be one of auto, inverse",
    ),
    "no assignment": (f"{_TRAIN} train.steps", 2, "'train.steps' is not a setting with its value"),
    "value out of range": (f"{_TRAIN} train.batch=0", 2, "train.batch must be at least 1"),
    "sigma of nothing": (f"{_TRAIN} likelihood.sigma=0", 2, "likelihood.sigma must be above"),
    "sigma of 10^9": (f"{_TRAIN} likelihood.sigma=1e9", 2, "likelihood.sigma must be at most 10,000"),
    "diameter of nothing": (f"{_SEGMENT} --diameter 0", 2, "argument --diameter: '0' is not a length"),
    "diameter of a thousandth": (f"{_SEGMENT} --diameter 0.001", 2, "cells of 0.001 pixels are too far from"),
    "diameter of 10^9": (f"{_SEGMENT} --diameter 1e9", 2, "cells of 1e+09 pixels are too far from"),
    "widths that do not fit": (f"{_TRAIN} unet.decoder=[2,2]", 2, "needs 1 decoder widths"),
    "width of 10^9": (f"{_TRAIN} unet.encoder=[1000000000]", 2, "unet.encoder must be at most 10 widths"),
    "width of nothing": (f"{_TRAIN} unet.encoder=[0,4]", 2, "unet.encoder must be at most 10 widths from 1"),
    "eleven levels": (
        f"{_TRAIN} unet.encoder=[1,1,1,1,1,1,1,1,1,1,1]",
        2,
        "unet.encoder must be at most 10 widths",
    ),
    "network larger than the memory": (
        f"{_TRAIN} unet.encoder=[16384,16384] --set unet.decoder=[16384]",
        2,
        "unet.encoder: would take",
    ),
    "batch of 10^6": (f"{_TRAIN} train.batch=1000000", 2, "train.batch must be at most 10,000"),
    "patch of 10^6": (f"{_TRAIN} train.patch=1000000", 2, "train.patch must be at most 10,000"),
    "batch larger than the memory": (
        f"{_TRAIN} train.batch=10000 --set train.patch=10000",
        2,
        "train.batch and train.patch: would take",
    ),
    "10^12 steps": (f"{_TRAIN} train.steps=1000000000000", 2, "train.steps must be at most 1,000,000,000"),
    "number of 400 digits": (f"{_TRAIN} cut.reach={'9' * 400}", 2, "cut.reach must be float, not 9999"),
    "brackets in brackets": (f"{_TRAIN} cut.reach={'[' * 100_000}", 2, "cut.reach must be float, not '[[["),
    "reach of 10^6": (f"{_SEGMENT} --set cut.reach=1e6", 2, "cut.reach must be at most 1,000"),
    "reach without end": (f"{_SEGMENT} --set cut.reach=Infinity", 2, "cut.reach must be at most 1,000, not inf"),
    "no number for a threshold": (
        f"{_SEGMENT} --set detect.threshold=NaN",
        2,
        "detect.threshold must be at least 0",
    ),
    "scale of 10^6": (f"{_TRAIN} image.scale=1e6", 2, "image.scale must be at most 64"),
    "enlarged beyond the memory": (
        "segment RUN wide.tif --set image.scale=64 --no-tiles --out OUT",
        3,
        "wide: image.sc",
    ),
    "enlarged beyond the disk": (
        "segment RUN wide.tif --set image.scale=64 --out OUT",
        3,
        "wide: the image needs",
    ),
    "learning rate without end": (
        f"{_TRAIN} train.learning_rate=Infinity",
        2,
        "train.learning_rate must be at most",
    ),
    "negative seed": (f"{_TRAIN} train.seed=-1", 2, "train.seed must be at least 0"),
    "no size of cells from one point and a constant image": (
        "train constant/flat.tif --points one.csv --set likelihood.sigma=null",
        2,
        "the size of the cells cannot be estimated from so few points; give their diameter in pixels (--diameter)",
    ),
    "unknown key to segment": (f"{_SEGMENT} --set cut.reech=3", 2, "unknown key 'reech' in"),
    "sigma unset": (f"{_SEGMENT} --set likelihood.sigma=null", 3, "likelihood.sigma must be a number"),
    "percentiles out of order": (
        f"{_SEGMENT} --set image.low=99.9",
        3,
        "percentiles 99.9 and 99.8 cannot be used",
    ),
    "unknown preset": (f"{_SEGMENT} --preset best", 2, "argument --preset: invalid choice: 'best'"),
    "unknown kind of file": (
        f"{_SEGMENT} --format pdf",
        2,
        "argument --format: there is no kind of file called 'pdf'",
    ),
    "pixel of no size": (f"{_SEGMENT} --pixel-size nan", 2, "argument --pixel-size: 'nan' is not a length"),
    "channel that is not a number": (
        f"{_SEGMENT} --channel red",
        2,
        "argument --channel: 'red' is not a choice of channels; give",
    ),
    "unknown command": ("sagment RUN ok.tif", 2, "argument COMMAND: invalid choice: 'sagment'"),
}


def make(folder: Path) -> None:
    image(folder / "wide.tif", np.zeros((2000, 2000), np.uint8))
