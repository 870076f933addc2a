"""The arguments of the commands."""

import argparse
import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from wsis_jax import texts
from wsis_jax.config import Config
from wsis_jax.packaged import packaged_models


def parser() -> argparse.ArgumentParser:
    """Returns the parser of all commands."""
    top = argparse.ArgumentParser(
        prog="wsis", description=texts.DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("--version", action="version", version=f"wsis_jax {version('wsis-jax')}")
    commands = top.add_subparsers(required=True, dest="command", metavar="COMMAND")

    def add(name: str, summary: str, text: str) -> Any:
        return commands.add_parser(
            name, help=summary, description=text, formatter_class=argparse.RawDescriptionHelpFormatter
        )

    demo = add("demo", "try everything on drawn cells", texts.DEMO)
    demo.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for pictures and scores.json")
    demo.add_argument("--model", metavar="NAME", help=f"segment with this instead: {_which_run()}")
    demo.add_argument("--seed", type=int, default=0, help="another seed draws other cells (default 0)")
    _add_verbose(demo)

    points = add("points", "make, convert and check points", texts.POINTS)
    points.add_argument("points", nargs="*", metavar="POINTS", help="point files, folders or quoted patterns")
    points.add_argument("--nuclei", nargs="+", metavar="STAINS", help="images of a nuclear stain")
    points.add_argument("--nuclear-channel", type=int, metavar="N", help="of the stains, counted from 0")
    points.add_argument("--labels", nargs="+", metavar="LABELS", help="label images")
    points.add_argument("--ctc", type=Path, metavar="SEQUENCE", help="of the Cell Tracking Challenge, as data/01")
    points.add_argument("--images", nargs="+", metavar="IMAGES", help="named like the points")
    points.add_argument("--channel", type=int, metavar="N", help="of the images, counted from 0")
    points.add_argument(
        "--format",
        choices=["napari", "imagej", "csv"],
        default="napari",
        help="of the files that are written: a points layer (default), a results table, or row,column",
    )
    points.add_argument(
        "--out",
        type=Path,
        default=Path("points_out"),
        metavar="DIR",
        help="folder to write to (default points_out)",
    )
    points.add_argument("--json", type=Path, metavar="FILE", help="write the report to a file, too")

    train = add("train", "learn from images and clicks", texts.TRAIN)
    train.add_argument("images", nargs="+", metavar="IMAGES")
    teacher = train.add_mutually_exclusive_group(required=True)
    teacher.add_argument("--points", nargs="+", metavar="POINTS", help="point files, named like the images")
    teacher.add_argument(
        "--nuclei", nargs="+", metavar="STAINS", help="instead: images of a nuclear stain, named like the images"
    )
    _add_channel(train, "to learn from")
    train.add_argument(
        "--nuclear-channel", type=int, metavar="N", help="the channel of STAINS that is the nuclear stain"
    )
    train.add_argument("--run", type=Path, required=True, metavar="RUN", help="folder for the trained model")
    train.add_argument("--resume", action="store_true", help="go on with an interrupted training of RUN")
    train.add_argument(
        "--size",
        choices=["auto", "small", "full"],
        default="auto",
        help="of the network and its training: full is the paper's; small is for a computer without an "
        "accelerator; auto (the default) chooses between them",
    )
    _add_verbose(train)
    _add_settings(train, "settings to start from", ("image", "likelihood", "unet", "train", "detect"))

    segment = add("segment", "find the cells of images", texts.SEGMENT)
    segment.add_argument("run", type=Path, metavar="RUN", help=_which_run())
    segment.add_argument("images", nargs="+", metavar="IMAGES", help="files, folders or quoted patterns")
    segment.add_argument(
        "--out", type=Path, default=Path("results"), metavar="DIR", help="folder for the results (default results)"
    )
    _add_channel(segment, "to segment")
    segment.add_argument(
        "--format",
        choices=["files", "ctc"],
        default="files",
        help="what to write: labels, a picture and points of each image (files, the default), or the masks of a "
        "sequence of the Cell Tracking Challenge (ctc)",
    )
    _add_verbose(segment)
    _add_settings(segment, "how to detect and cut", ("unet", "detect", "contribution", "cut"))

    evaluate = add("evaluate", "compare results with hand-made masks", texts.EVALUATE)
    evaluate.add_argument("labels", metavar="LABELS", help="a file, a folder or a quoted pattern")
    evaluate.add_argument("masks", metavar="MASKS", help="the same")
    evaluate.add_argument("--points", metavar="POINTS", help="true centroids")
    evaluate.add_argument(
        "--distance", type=float, default=10.0, help="pixels within which a point is found (default 10)"
    )
    evaluate.add_argument("--json", type=Path, metavar="FILE", help="write the scores to a file, too")

    export = add("export", "use the model where this package is not installed", texts.EXPORT)
    export.add_argument("run", type=Path, metavar="RUN", help=_which_run())
    export.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the three files")
    _add_settings(export, "how to detect and propagate", ("unet", "detect", "contribution", "cut"))

    bench = add("bench", "measure how fast it is here", texts.BENCH)
    bench.add_argument("run", nargs="?", type=Path, metavar="RUN", help=_which_run())
    bench.add_argument(
        "--width", type=int, help="without RUN: channels of the first level of a fresh network (16)"
    )
    source = bench.add_mutually_exclusive_group()
    source.add_argument("--image", type=Path, metavar="FILE", help="an image to measure with; its first frame")
    source.add_argument("--side", type=int, default=512, help="of a random image, in pixels (default 512)")
    bench.add_argument("--cells", type=int, default=32, help="in the image (default 32)")
    bench.add_argument("--json", action="store_true", help="print one line of JSON instead of a table")
    return top


def _which_run() -> str:
    """Returns the help of an argument that says which trained model to use."""
    names = ", ".join(packaged_models())
    folder = "folder of a trained model"
    return f"{folder}, or the name of one of the package ({names})" if names else folder


def _add_channel(command: argparse.ArgumentParser, purpose: str) -> None:
    """Adds --channel, for the commands that read images."""
    command.add_argument(
        "--channel", type=int, metavar="N", help=f"the channel of IMAGES {purpose}, counted from 0"
    )


def _add_verbose(command: argparse.ArgumentParser) -> None:
    """Adds --verbose, for the commands that compile programs."""
    command.add_argument("--verbose", action="store_true", help="say at the end which programs were compiled")


def _add_settings(command: argparse.ArgumentParser, purpose: str, sections: Sequence[str]) -> None:
    """Adds --preset and --set, and lists at the end what can be set."""
    tree = Config().to_dict()
    lines = [
        f"  {section}.{key}={json.dumps(value)}" for section in sections for key, value in tree[section].items()
    ]
    command.epilog = "settings and their defaults (null: chosen from the data; explained in config.py):\n"
    command.epilog += "\n".join(lines)
    command.add_argument(
        "--preset",
        choices=["default", "paper", "reference"],
        help=f"{purpose}: the project's choice (default), the paper's text, or its authors' code",
    )
    command.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help=texts.SET_HELP)
