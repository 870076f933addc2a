"""The command line: what each command does with its arguments."""

import argparse
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsis_jax.arguments import parser
from wsis_jax.config import Config
from wsis_jax.terminal import (
    compilations,
    print_measurements,
    print_point_reports,
    print_scores,
    print_suggestion,
    progress_bar,
    show_warning,
    training_progress,
    waiting,
)

if TYPE_CHECKING:
    from wsis_jax.point_sets import PointFiles

# Heavy libraries are imported where they are used, so that --help comes at once.


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code: 0 done, 1 interrupted, 2 bad input, 3 some images failed."""
    arguments = parser().parse_args(argv)
    warnings.showwarning = show_warning  # pyrefly: ignore[bad-assignment]
    try:
        with compilations(shown=getattr(arguments, "verbose", None)):
            return _COMMANDS[arguments.command](arguments)
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


def _demo(arguments: argparse.Namespace) -> int:
    from wsis_jax.demo import run_demo

    if arguments.model is None:
        with training_progress() as (on_step, on_metrics):
            scores = run_demo(arguments.out, seed=arguments.seed, on_step=on_step, on_metrics=on_metrics)
    else:
        with waiting("segmenting a drawn scene"):
            scores = run_demo(arguments.out, model=arguments.model, seed=arguments.seed)
    print_scores(scores)
    print(f"Pictures and scores are in {arguments.out}; begin with {arguments.out / 'stages.png'}.")
    return 0


def _train(arguments: argparse.Namespace) -> int:
    import jax

    from wsis_jax.presets import preset, small_network
    from wsis_jax.training import train
    from wsis_jax.training_set import read_stained_set, read_training_set, unmarked

    config = preset(arguments.preset or "default")
    small = arguments.size == "small" or (arguments.size == "auto" and jax.default_backend() == "cpu")
    config = (small_network(config) if small else config).override(arguments.set)
    if small and arguments.size == "auto":
        print("No accelerator found: training the small network (--size full for the paper's).")
    images, channel, nuclear = arguments.images, arguments.channel, arguments.nuclear_channel
    if arguments.nuclei is not None:
        kind, data = "nuclei", read_stained_set(images, arguments.nuclei, channel=channel, nuclear_channel=nuclear)
    elif nuclear is None:
        kind, data = "points", read_training_set(images, arguments.points, channel=channel)
    else:
        raise ValueError("--nuclear-channel is a channel of the stains of --nuclei; leave it out with --points")
    print(f"Learning from {sum(map(len, data.points))} {kind} in {len(data.images)} images.")
    uncertain = None
    if kind == "nuclei":
        with waiting("looking for cells without a nucleus"):
            uncertain = unmarked(data)
        print(f"{sum(map(len, uncertain))} places look like cells without one, and are left out of the loss.")
    with training_progress() as (on_step, on_metrics):
        train(
            data.images,
            data.points,
            config=config,
            run=arguments.run,
            resume=arguments.resume,
            names=data.names,
            uncertain=uncertain,
            on_step=on_step,
            on_metrics=on_metrics,
        )
    which = "" if channel is None else f" --channel {channel}"
    print(
        f"The best model is in {arguments.run}; use it with: wsis segment {arguments.run} IMAGES{which} --out DIR"
    )
    return 0


def _points(arguments: argparse.Namespace) -> int:
    from wsis_jax.files import write_text
    from wsis_jax.inspection import inspect_points
    from wsis_jax.point_sets import beside_images, write_pictures, write_point_files
    from wsis_jax.suggestions import suggest

    points, given, images = _point_source(arguments)
    write_point_files(arguments.out, points, format=arguments.format, keep=given)
    sets, errors = beside_images(points, images, channel=arguments.channel)
    with progress_bar() as bar:
        task = bar.add_task("looking at points")

        def on_image(done: int, count: int) -> None:
            bar.update(task, completed=done, total=count)

        reports = inspect_points(
            [one.name for one in sets],
            [one.points for one in sets],
            [one.image for one in sets],
            on_image=on_image,
        )
    print_point_reports(reports)
    suggested = suggest([one.points for one in sets], [one.shape for one in reports if one.shape is not None])
    if suggested is not None:
        print_suggestion(suggested)
    write_pictures(arguments.out, sets, reports, radius=2 * suggested.sigma if suggested else 10.0)
    if arguments.json:
        tree = {
            "suggested": suggested and suggested._asdict(),
            "errors": errors,
            "images": [one.to_dict() for one in reports],
        }
        write_text(arguments.json, json.dumps(tree, indent=2) + "\n")
    for error in errors:
        print(f"wsis: error: {error}", file=sys.stderr)
    pictures = "" if images is None else " and pictures of them on their images"
    print(f"{arguments.out} holds the points of {len(points.by_stem)} file(s){pictures}.")
    return 3 if errors or any(one.faults for one in reports) else 0


def _point_source(arguments: argparse.Namespace) -> tuple["PointFiles", list[Path], Any]:
    """Returns the points asked for, the point files among what was given, and the images."""
    from wsis_jax.files import list_files
    from wsis_jax.point_sets import from_ctc, from_files, from_labels, from_stains
    from wsis_jax.points import POINT_SUFFIXES

    ways = {"POINTS": arguments.points, "--nuclei": arguments.nuclei, "--labels": arguments.labels}
    ways["--ctc"] = arguments.ctc
    if len(chosen := [way for way, value in ways.items() if value]) != 1:
        raise ValueError(f"give one of POINTS, --nuclei, --labels and --ctc, not {' and '.join(chosen) or 'none'}")
    if arguments.nuclear_channel is not None and not arguments.nuclei:
        raise ValueError("--nuclear-channel is the channel of the stains; give them by --nuclei")
    if arguments.ctc:
        points, images = from_ctc(arguments.ctc)
        return points, [], arguments.images or images
    if arguments.nuclei:
        return from_stains(arguments.nuclei, channel=arguments.nuclear_channel), [], arguments.images
    if arguments.labels:
        return from_labels(arguments.labels), [], arguments.images
    return from_files(arguments.points), list_files(arguments.points, suffixes=POINT_SUFFIXES), arguments.images


def _segment(arguments: argparse.Namespace) -> int:
    from wsis_jax.batch import Outcome, segment_files
    from wsis_jax.checkpoint import load_run
    from wsis_jax.files import list_files
    from wsis_jax.imageio import IMAGE_SUFFIXES
    from wsis_jax.results import FORMATS

    run = load_run(arguments.run)
    config = _changed(run.config, arguments)
    files = list_files(arguments.images, suffixes=IMAGE_SUFFIXES)
    with progress_bar() as bar:
        task = bar.add_task("segmenting", total=len(files))

        def on_file(outcomes: list[Outcome]) -> None:
            bar.advance(task)
            for outcome in outcomes:
                for message in outcome.warnings:
                    print(f"wsis: warning: {outcome.name}: {message}", file=sys.stderr)
                if outcome.error is not None:
                    print(f"wsis: error: {outcome.error}", file=sys.stderr)
                else:
                    bar.console.print(f"{outcome.name}: {outcome.cells} cells", highlight=False)

        outcomes = segment_files(
            run,
            files,
            arguments.out,
            config=config,
            channel=arguments.channel,
            writing=FORMATS[arguments.format],
            on_file=on_file,
        )
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


def _export(arguments: argparse.Namespace) -> int:
    from wsis_jax.checkpoint import load_run
    from wsis_jax.export import export_run

    run = load_run(arguments.run)
    export_run(run, arguments.out, config=_changed(run.config, arguments))
    print(f"forward.stablehlo, contributions.stablehlo and export.json are in {arguments.out}.")
    print("Load them where jax and flatbuffers are: jax.export.deserialize(Path(FILE).read_bytes()).call(...)")
    print("Arguments and results are described in export.json; all steps are in 'wsis export --help'.")
    return 0


def _bench(arguments: argparse.Namespace) -> int:
    from wsis_jax.bench import compare, network, noise, surroundings
    from wsis_jax.checkpoint import load_run
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


def _changed(config: Config, arguments: argparse.Namespace) -> Config:
    """Returns the settings of a run with --preset and --set applied."""
    from wsis_jax.presets import preset

    config = preset(arguments.preset, config) if arguments.preset else config
    return config.override(arguments.set)


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "demo": _demo,
    "points": _points,
    "train": _train,
    "segment": _segment,
    "evaluate": _evaluate,
    "export": _export,
    "bench": _bench,
}
