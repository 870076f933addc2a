"""Training: images and rough centroids to a run folder."""

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from wsis_jax.core import (
    Config,
    UserError,
    check_bytes,
    check_values,
    explaining_out_of_memory,
    is_constant,
    normalize_image,
    scale_points,
    wait_for_all,
)
from wsis_jax.cutting import data_term
from wsis_jax.io import check_points
from wsis_jax.network import Model, Variables, build_model, load_config, load_model, load_variables
from wsis_jax.points import suggest_scale, suggest_sigma
from wsis_jax.training import run_folder
from wsis_jax.training.facts import training_facts
from wsis_jax.training.loop import train_until_done
from wsis_jax.training.patches import Sample, hold_out, leave_out, make_sample
from wsis_jax.training.preview import sample_file, write_samples
from wsis_jax.training.step import initial_state, make_optimizer


def train(
    images: Sequence[Float[np.ndarray, "_ _"]],
    points: Sequence[Float[np.ndarray, "_ 2"]],
    *,
    config: Config,
    run: str | Path,
    resume: bool = False,
    names: Sequence[str] | None = None,
    uncertain: Sequence[Float[np.ndarray, "_ 2"]] | None = None,
    on_step: Callable[[int, int], None] = lambda step, steps: None,
    on_metrics: Callable[[dict[str, Any]], None] = lambda metrics: None,
) -> Model:
    """Trains a network to draw the likelihood map of cell positions, and returns the best model.

    Args:
        images: grey values of any range, one array per image.
        points: (row, column) of each image's cells, roughly; an image without cells has shape (0, 2).
        config: settings; `likelihood.sigma` and `image.scale` are chosen from the points where they are None.
        run: the run folder that is written; see `checkpoint`. Where several processes train, all must see it.
        resume: go on where an interrupted training in `run` stopped, to the result it would have had.
        names: of the images, for messages.
        uncertain: (row, column) of places in each image that may be cells without a point; they are left out of
            the loss.
        on_step: called with (steps done, steps in all) after every step.
        on_metrics: called with every line of `metrics.jsonl`.

    Raises:
        UserError: if images and points do not fit each other, an image holds NaN or infinite values, no image
            has a point, a setting is out of range, `run` holds an earlier training (or, with `resume`, one of
            other settings), or the loss is no longer a number; what is saved then is of before.
        WriteError: if there is no room for what is saved, or the folder takes nothing; likewise.
        OutOfMemory: if a step does not fit into memory.
        MissingFile: with `resume`, if `run` is no run folder.
        KeyboardInterrupt: if Ctrl-C or SIGTERM, or a callback that raises it, ends the training early; the state
            is saved then, and `resume` goes on from that very step.
    """
    names = names if names is not None else [f"image {i}" for i in range(len(images))]
    config = fill_in(images, points, config, names)
    data_term(config.cut.data)  # an unknown one is refused before the training
    samples = _make_samples(images, points, config, names)
    if uncertain is not None:
        samples = [
            leave_out(sample, scale_points(places, config.network_scale), sigma=config.network_sigma)
            for sample, places in zip(samples, uncertain, strict=True)
        ]
    return train_on(
        samples, config=config, run=run, resume=resume, names=names, on_step=on_step, on_metrics=on_metrics
    )


def train_on(
    samples: Sequence[Sample],
    *,
    config: Config,
    run: str | Path,
    resume: bool = False,
    names: Sequence[str] | None = None,
    initial: Variables | None = None,
    on_step: Callable[[int, int], None] = lambda step, steps: None,
    on_metrics: Callable[[dict[str, Any]], None] = lambda metrics: None,
) -> Model:
    """Trains a network to draw the maps of samples, whatever they show, and returns the best model.

    Args:
        samples: images and maps, in pixels of the network.
        config: settings, `likelihood.sigma` and `image.scale` among them.
        run, resume, names, on_step, on_metrics: see `train`.
        initial: variables to begin with (batch norm not folded), as `load_variables` gives; None: random ones.

    Raises:
        ValueError, FileNotFoundError, KeyboardInterrupt: see `train`.
    """
    run = Path(run)
    names = names if names is not None else [f"image {i}" for i in range(len(samples))]
    for sample, name in zip(samples, names, strict=True):
        if not np.isfinite(sample.image).all():
            raise UserError(f"{name}: the image holds NaN or infinite values; make them numbers")
    model = build_model(config)
    _open_run(run, config, resume)
    kept, held = hold_out(len(samples), share=config.train.validation, seed=config.train.seed)
    if kept == held:
        warnings.warn("no image is held out, so the validation scores are those of training images", stacklevel=2)

    settings = config.train
    optimizer = make_optimizer(
        learning_rate=settings.learning_rate,
        schedule=settings.schedule,
        warmup=settings.warmup,
        steps=settings.steps,
    )
    state = initial_state(model, optimizer, config.train.seed, initial)
    if resume:
        state = run_folder.load_state(run, state) or state
        run_folder.rewind_metrics(run, int(state.step))
        run_folder.keep_weights(run, int(state.best_step))
    run_folder.save_facts(run, training_facts(samples, names, held if kept != held else [], config))
    shown = [(names[i], samples[i]) for i in held]
    with explaining_out_of_memory(
        f"{run}: a step of training does not fit into memory; lower train.batch ({settings.batch}) or train.patch "
        f"({settings.patch}), or take a smaller network"
    ):
        chosen = [samples[i] for i in kept]
        train_until_done(model, optimizer, state, chosen, shown, config, run, on_step, on_metrics)
    wait_for_all("trained")  # until the files are written that all processes now read
    best = run_folder.read_metrics(run)[-1]["best_step"]
    if not sample_file(run, best).exists():
        write_samples(run, best, model, load_variables(run), shown, config)
    return load_model(run)


def fill_in(
    images: Sequence[Float[np.ndarray, "_ _"]],
    points: Sequence[Float[np.ndarray, "_ 2"]],
    config: Config,
    names: Sequence[str],
) -> Config:
    """Checks images against points and returns the configuration with sigma and scale filled in.

    Raises:
        UserError: if they do not fit each other, an image holds NaN or infinite values, no image has a point,
            or a setting is out of range.
    """
    if len(images) != len(points):
        raise UserError(f"{len(images)} images but {len(points)} sets of points; give one set for each image")
    if not sum(map(len, points)):
        raise UserError("no image has a point, so there is nothing to learn; check the point files")
    for image, own, name in zip(images, points, names, strict=True):
        if not np.isfinite(image).all():
            raise UserError(f"{name}: the image holds NaN or infinite values; make them numbers")
        check_points(own, image.shape, name=name)
    sigma = config.likelihood.sigma
    if sigma is None:
        sigma = round(suggest_sigma(points), 2)
    scale = config.image.scale
    if scale is None:
        scale = suggest_scale(sigma)
    return dataclasses.replace(
        config,
        image=dataclasses.replace(config.image, scale=scale),
        likelihood=dataclasses.replace(config.likelihood, sigma=sigma),
    )


def _make_samples(
    images: Sequence[Any], points: Sequence[Any], config: Config, names: Sequence[str]
) -> list[Sample]:
    """Normalises and resizes the images, and warns of those that are constant or smaller than a patch."""
    settings, sigma = config.image, config.likelihood.sigma
    assert settings.scale is not None
    assert sigma is not None
    # Of every level there are a few copies of the features of a patch, for the way back.
    features = sum(8 * width >> 2 * level for level, width in enumerate(config.unet.encoder))
    needed = 4 * config.train.batch * config.train.patch**2 * features
    check_bytes("train.batch and train.patch", needed, remedy="choose smaller ones")
    asked = sum(image.size for image in images) * settings.scale**2
    check_values("image.scale", int(asked), remedy="choose a smaller one, or fewer images")
    samples = []
    for image, own, name in zip(images, points, names, strict=True):
        values = image.astype(np.float32)
        if is_constant(values):
            warnings.warn(f"{name}: the image is constant, so nothing can be learnt from it", stacklevel=3)
        normalized = normalize_image(values, method=settings.normalization, low=settings.low, high=settings.high)
        samples.append(make_sample(normalized, own, scale=settings.scale, sigma=sigma))
        height, width = samples[-1].image.shape
        if min(height, width) < config.train.patch:
            warnings.warn(
                f"{name}: {height} × {width} pixels of the network are less than a patch of {config.train.patch}; "
                "the image is continued by mirroring (or set train.patch)",
                stacklevel=3,
            )
    return samples


def _open_run(run: Path, config: Config, resume: bool) -> None:
    """Makes the run folder, or checks that the training in it can be resumed."""
    run_folder.check_folder(run)
    run_folder.tidy(run)
    if resume:
        begun = load_config(run)
        # What is done with a trained model has no part in its training.
        if dataclasses.replace(begun, contribution=config.contribution, cut=config.cut) != config:
            raise UserError(f"{run}: was started with other images, points or settings; resume it with the same")
        return
    if run_folder.is_begun(run):
        raise UserError(f"{run}: holds a training already; give --resume to go on with it, or another folder")
    run_folder.save_config(run, config)
