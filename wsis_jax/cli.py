"""The command line: what each command does with its arguments."""

import argparse
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence

from wsis_jax.arguments import parser
from wsis_jax.config import Config
from wsis_jax.terminal import (
    compilations,
    print_measurements,
    print_scores,
    progress_bar,
    show_warning,
    training_progress,
    waiting,
)

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

    from wsis_jax.batch import read_training_set
    from wsis_jax.presets import preset, small_network
    from wsis_jax.training import train

    config = preset(arguments.preset or "default")
    small = arguments.size == "small" or (arguments.size == "auto" and jax.default_backend() == "cpu")
    config = (small_network(config) if small else config).override(arguments.set)
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
            run, files, arguments.out, config=config, writing=FORMATS[arguments.format], on_file=on_file
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
    "train": _train,
    "segment": _segment,
    "evaluate": _evaluate,
    "export": _export,
    "bench": _bench,
}
