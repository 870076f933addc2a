"""The command line: the only file that reads arguments."""

import argparse
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from wsis_jax.terminal import (
    print_measurements,
    print_scores,
    progress_bar,
    show_warning,
    training_progress,
    waiting,
)

# Heavy libraries are imported where they are used, so that --help comes at once.

_DESCRIPTION = """\
Segment cells after learning from rough cell centroids alone.

  wsis demo     --out demo                                try everything on drawn cells, in a few minutes
  wsis train    images --points points --run run          learn from images and clicks
  wsis segment  run images --out results                  find the cells of other images
  wsis evaluate results masks                             compare them with hand-made masks
  wsis bench                                              measure how fast it is here
"""

_TRAIN = """\
Learn to find cells from images and the rough centroids of their cells.

IMAGES and POINTS are files, folders or quoted patterns, paired by name: a.tif and a.csv. Images may be PNG,
TIFF or JPEG, grey or colour; the pages of a TIFF are frames. Point files may be a napari points layer
(axis-0, axis-1), an ImageJ results table (X, Y), or any table with columns row, column or x, y.
"""

_SEGMENT = """\
Find the cells of images with a trained model.

Writes to DIR, for each image: <name>_labels.tif (0 is background, 1, 2, 3 … are cells), <name>_overlay.png (a
picture with the outlines) and <name>_points.csv (the detected cells, for napari).
"""

_EVALUATE = """\
Compare label images with hand-made masks, paired by name (a_labels.tif and a.tif).

Detection (F-measure, precision, recall) compares points: the detected cells saved beside the labels, or else
the centroids of the labels, with those of --points, or else the centroids of the masks.
"""

_BENCH = """\
Measure the ways to contribution maps: through windows, as far as a cell reaches (window) or all of them
(window-all), and through the whole image, several cells at a time (vmap) or one after the other (loop).

Cells are discs around random pixels. The times are the least of some rounds, and compilation is apart. GFLOP/s is
the arithmetic that a cell takes at least, by the time that it takes. "In all" has the pass forward in.
"""

_SET_HELP = "change a setting, as in train.steps=500 or cut.reach=3; may be given several times"

# What one trains without an accelerator: a quarter of the widths, smaller patches, fewer steps.
_SMALL = (
    "unet.encoder=[16,32,64,128,128]",
    "unet.decoder=[64,32,16,16]",
    "train.batch=8",
    "train.patch=256",
    "train.steps=1200",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code: 0 done, 1 interrupted, 2 bad input, 3 some images failed."""
    arguments = _parser().parse_args(argv)
    warnings.showwarning = show_warning  # pyrefly: ignore[bad-assignment]
    try:
        return arguments.command(arguments)
    except KeyboardInterrupt:
        print("wsis: interrupted", file=sys.stderr)
        return 1
    except (ValueError, KeyError, TypeError, OSError) as error:
        if os.environ.get("WSIS_DEBUG"):
            raise
        # The text of a KeyError is its argument; str() would put it in quotes.
        message = error.args[0] if isinstance(error, KeyError) else error
        print(f"wsis: error: {message}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    """Returns the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="wsis", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"wsis_jax {version('wsis-jax')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Callable[[argparse.Namespace], int], summary: str, text: str) -> Any:
        command = commands.add_parser(
            name, help=summary, description=text, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        command.set_defaults(command=run)
        return command

    demo = add("demo", _demo, "try everything on drawn cells", "Train on drawn cells, segment others, score them.")
    demo.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for pictures and scores.json")
    demo.add_argument("--seed", type=int, default=0, help="another seed draws other cells (default 0)")

    train = add("train", _train, "learn from images and clicks", _TRAIN)
    train.add_argument("images", nargs="+", metavar="IMAGES")
    train.add_argument(
        "--points", nargs="+", required=True, metavar="POINTS", help="point files, named like the images"
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
    _add_settings(train, "settings to start from", ("image", "likelihood", "unet", "train", "detect"))

    segment = add("segment", _segment, "find the cells of images", _SEGMENT)
    segment.add_argument("run", type=Path, metavar="RUN", help="folder of a trained model")
    segment.add_argument("images", nargs="+", metavar="IMAGES", help="files, folders or quoted patterns")
    segment.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    _add_settings(segment, "how to detect and cut", ("detect", "contribution", "cut"))

    evaluate = add("evaluate", _evaluate, "compare results with hand-made masks", _EVALUATE)
    evaluate.add_argument("labels", metavar="LABELS", help="a file, a folder or a quoted pattern")
    evaluate.add_argument("masks", metavar="MASKS", help="the same")
    evaluate.add_argument("--points", metavar="POINTS", help="true centroids")
    evaluate.add_argument(
        "--distance", type=float, default=10.0, help="pixels within which a point is found (default 10)"
    )
    evaluate.add_argument("--json", type=Path, metavar="FILE", help="write the scores to a file, too")

    bench = add("bench", _bench, "measure how fast it is here", _BENCH)
    bench.add_argument("run", nargs="?", type=Path, metavar="RUN", help="folder of a trained model")
    bench.add_argument(
        "--width", type=int, help="without RUN: channels of the first level of a fresh network (16)"
    )
    source = bench.add_mutually_exclusive_group()
    source.add_argument("--image", type=Path, metavar="FILE", help="an image to measure with; its first frame")
    source.add_argument("--side", type=int, default=512, help="of a random image, in pixels (default 512)")
    bench.add_argument("--cells", type=int, default=32, help="in the image (default 32)")
    bench.add_argument("--json", action="store_true", help="print one line of JSON instead of a table")
    return parser


def _add_settings(command: argparse.ArgumentParser, purpose: str, sections: Sequence[str]) -> None:
    """Adds --preset and --set, and lists at the end what can be set."""
    from wsis_jax.config import Config

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
    command.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help=_SET_HELP)


def _demo(arguments: argparse.Namespace) -> int:
    from wsis_jax.demo import run_demo

    with training_progress() as (on_step, on_metrics):
        scores = run_demo(arguments.out, seed=arguments.seed, on_step=on_step, on_metrics=on_metrics)
    print_scores(scores)
    print(f"Pictures and scores are in {arguments.out}; begin with {arguments.out / 'stages.png'}.")
    return 0


def _train(arguments: argparse.Namespace) -> int:
    import jax

    from wsis_jax.batch import read_training_set
    from wsis_jax.presets import preset
    from wsis_jax.training import train

    config = preset(arguments.preset or "default")
    small = arguments.size == "small" or (arguments.size == "auto" and jax.default_backend() == "cpu")
    config = config.override(_SMALL if small else ()).override(arguments.set)
    if small and arguments.size == "auto":
        print("No accelerator found: training the small network (--size full for the paper's).")
    data = read_training_set(arguments.images, arguments.points)
    cells = sum(map(len, data.points))
    print(f"Learning from {cells} points in {len(data.images)} images.")
    with training_progress() as (on_step, on_metrics):
        train(
            data.images,
            data.points,
            config=config,
            run=arguments.run,
            resume=arguments.resume,
            names=data.names,
            on_step=on_step,
            on_metrics=on_metrics,
        )
    print(f"The best model is in {arguments.run}; use it with: wsis segment {arguments.run} IMAGES --out DIR")
    return 0


def _segment(arguments: argparse.Namespace) -> int:
    from wsis_jax.batch import Outcome, segment_files
    from wsis_jax.checkpoint import load_run
    from wsis_jax.files import list_files
    from wsis_jax.imageio import IMAGE_SUFFIXES
    from wsis_jax.presets import preset

    run = load_run(arguments.run)
    config = preset(arguments.preset, run.config) if arguments.preset else run.config
    config = config.override(arguments.set)
    files = list_files(arguments.images, suffixes=IMAGE_SUFFIXES)
    with progress_bar() as progress:
        task = progress.add_task("segmenting", total=len(files))

        def on_file(outcomes: list[Outcome]) -> None:
            progress.advance(task)
            for outcome in outcomes:
                for message in outcome.warnings:
                    print(f"wsis: warning: {outcome.name}: {message}", file=sys.stderr)
                if outcome.error is not None:
                    print(f"wsis: error: {outcome.error}", file=sys.stderr)
                else:
                    progress.console.print(f"{outcome.name}: {outcome.cells} cells", highlight=False)

        outcomes = segment_files(run, files, arguments.out, config=config, on_file=on_file)
    failed = sum(outcome.error is not None for outcome in outcomes)
    print(f"{len(outcomes) - failed} of {len(outcomes)} images segmented; results are in {arguments.out}")
    return 3 if failed else 0


def _evaluate(arguments: argparse.Namespace) -> int:
    from wsis_jax.evaluation import evaluate_files
    from wsis_jax.files import write_text

    scores = evaluate_files(
        arguments.labels, arguments.masks, points=arguments.points, distance=arguments.distance
    )
    print_scores(scores)
    if arguments.json:
        write_text(arguments.json, json.dumps(scores.to_dict(), indent=2) + "\n")
    return 0


def _bench(arguments: argparse.Namespace) -> int:
    from wsis_jax.bench import compare, network, noise, surroundings
    from wsis_jax.checkpoint import load_run
    from wsis_jax.config import Config
    from wsis_jax.imageio import normalize_image, read_image
    from wsis_jax.scaling import resize_image

    if arguments.run is None:
        model, variables = network(16 if arguments.width is None else arguments.width)
        config = Config().override(["likelihood.sigma=7", "image.scale=1"])
    elif arguments.width is None:
        model, variables, config = load_run(arguments.run)
    else:
        raise ValueError("--width is that of a fresh network; leave it out with a RUN, which has its own")
    if arguments.image is None:
        image = noise(arguments.side, arguments.side)
    else:
        grey, look = read_image(arguments.image)[0], config.image
        normalized = normalize_image(grey, method=look.normalization, low=look.low, high=look.high)
        image = resize_image(normalized, look.scale or 1)
    with waiting("measuring; it takes about a minute"):
        results = compare(model, variables, image, config=config, cells=arguments.cells)
    if arguments.json:
        print(
            json.dumps({"height": image.shape[0], "width": image.shape[1], "results": results, **surroundings()})
        )
    else:
        print_measurements(results)
    return 0
