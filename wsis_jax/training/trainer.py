"""Training: images and rough centroids to a run folder."""

import dataclasses
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import optax
from jaxtyping import Float

from wsis_jax.core import (
    SIGMA_PER_DIAMETER,
    Config,
    UserError,
    channels_seen,
    check_bytes,
    check_channels,
    check_values,
    collecting_faults,
    explaining_out_of_memory,
    in_short,
    is_constant,
    normalize_by,
    scale_points,
    wait_for_all,
)
from wsis_jax.cutting import check_cut
from wsis_jax.io import check_points, moved_near
from wsis_jax.network import Model, UNet, build_model, load_model, load_variables
from wsis_jax.points import suggest_scale
from wsis_jax.training import run_folder
from wsis_jax.training.data import TrainingSet
from wsis_jax.training.learned import LearnedImage, learned_from, learned_from_samples
from wsis_jax.training.loop import Callbacks, Training, train_until_done, why_finished
from wsis_jax.training.patches import Sample, hold_out, leave_out, make_sample
from wsis_jax.training.size import appearance_at, are_stained, find_size, sigma_of
from wsis_jax.training.start import check_start, fit_to_start, start_variables
from wsis_jax.training.step import TrainState, initial_state, make_optimizer
from wsis_jax.training.validation import write_samples

_AGREED = 0.8  # share of the images that decides for all


def train(
    images: Sequence[Float[np.ndarray, "_ _ *channels"]],
    points: Sequence[Float[np.ndarray, "_ 2"]],
    *,
    config: Config,
    run: str | Path,
    resume: bool = False,
    callbacks: Callbacks | None = None,
) -> Model:
    """Trains a network to draw the likelihood map of cell positions, and returns the best model.

    Args:
        images: values of any range, one array per image: (height, width) of grey values, or (height, width,
            channels) of the colours or channels that `image.channels` of the settings names; where it is None, of
            three channels these are red, green and blue.
        points: (row, column) of each image's cells, roughly; an image without cells has shape (0, 2).
        config: settings; of `image.diameter`, `likelihood.sigma` and `image.scale` those that are None follow from
            the others, or from the points. To start from a trained model, take `going_on(model)`.
        run: the run folder that is written; see `run_folder`. Where several processes train, all must see it.
        resume: go on where an interrupted training in `run` stopped, to the result it would have had. With more
            `train.steps` than before it becomes longer; from there on the learning rate is that of a training of
            so many steps. There is a warning if no step was left to do.
        callbacks: called after every step, and with the figures of every validation.

    Raises:
        UserError: if images and points do not fit each other, an image holds NaN or infinite values or has other
            channels than the settings name, no image has a point, a setting is out of range, `run` holds an
            earlier training (or, with `resume`, one of other images, points or settings), the network is another
            than that of the model to start from, or the loss is not finite; what was saved before is kept then.
        WriteError: if there is no room for what is saved, or the folder takes nothing; likewise.
        OutOfMemory: if a step does not fit into memory.
        MissingFile: with `resume`, if `run` is not a run folder.
        KeyboardInterrupt: if Ctrl-C or SIGTERM, or a callback that raises it, ends the training early; the state
            is saved then, and `resume` goes on from that very step.
    """
    names = [f"image {i}" for i in range(len(images))]
    placed = [
        moved_near(np.asarray(own, np.float64), (image.shape[0], image.shape[1]), name=name)
        for image, own, name in zip(images, points, names, strict=False)  # of other numbers `fill_in` tells
    ]
    data = TrainingSet(list(images), [*placed, *points[len(images) :]], names)
    return train_on_set(data, config=config, run=run, resume=resume, callbacks=callbacks)


def train_on_set(
    data: TrainingSet,
    *,
    config: Config,
    run: str | Path,
    resume: bool = False,
    callbacks: Callbacks | None = None,
) -> Model:
    """Trains as `train` does, on images that have names, and perhaps places that are left out of the loss."""
    config = fill_in(data, config)
    check_cut(config.cut)  # an unknown data term is refused before the training
    samples = _make_samples(data, config)
    config, learned = choose_data_term(samples, config), learned_from(data)
    return train_on_samples(samples, config=config, run=run, resume=resume, learned=learned, callbacks=callbacks)


def train_on_samples(
    samples: Sequence[Sample],
    *,
    config: Config,
    run: str | Path,
    resume: bool = False,
    learned: Sequence[LearnedImage] | None = None,
    callbacks: Callbacks | None = None,
) -> Model:
    """Trains as `train` does, to draw the maps of samples, whatever they show.

    Args:
        samples: images and maps, in pixels of the network.
        config: settings, `likelihood.sigma` and `image.scale` among them.
        learned: what the samples were made of, to be kept in the run folder; None: the samples themselves.
    """
    run = Path(run)
    for sample in samples:
        if not np.isfinite(sample.image).all():
            raise UserError(f"{sample.name}: the image holds NaN or infinite values; replace them by numbers")
    network = build_model(config)
    if learned is None:
        learned = learned_from_samples(samples, config)
    if run_folder.saved_step(run) is None:  # else the model to start from may be gone
        check_start(config)
    run_folder.prepare(run, config, learned, resume=resume)
    kept, held = hold_out(len(samples), share=config.train.validation, seed=config.train.seed)
    if kept == held:
        warnings.warn("no image is held out, so the validation scores are those of training images", stacklevel=2)
    optimizer = make_optimizer(config.train)
    state = _first_state(run, network, optimizer, config)
    if resume:
        state = run_folder.load_state(run, state) or state
        run_folder.rewind_metrics(run, int(state.step))
        run_folder.keep_weights(run, int(state.best_step))
        _warn_if_finished(run, config, state)
    if not (resume and run_folder.load_facts(run)):
        run_folder.save_facts(run, samples, held if kept != held else [], config)
    to_learn, held_out = ([samples[i] for i in indices] for indices in (kept, held))
    with explaining_out_of_memory(
        f"{run}: a step of training does not fit into memory; lower train.batch ({config.train.batch}) or "
        f"train.patch ({config.train.patch}), or take a smaller network"
    ):
        training = Training(network, optimizer, config, run, to_learn, held_out, callbacks or Callbacks())
        train_until_done(training, state)
    wait_for_all("trained")  # all processes now read the files that the first one wrote
    picture = run_folder.sample_file(run, run_folder.read_metrics(run)[-1]["best_step"])
    if not picture.exists():
        write_samples(picture, network, load_variables(run), held_out, config)
    return load_model(run)


def _first_state(run: Path, network: UNet, optimizer: optax.GradientTransformation, config: Config) -> TrainState:
    """Returns the state before the first step, with the weights of the model that the training starts from."""
    start, variables = config.train.start, None
    if start is not None and run_folder.saved_step(run) is None:
        variables = start_variables(start)
    return initial_state(network, optimizer, config.train.seed, variables)


def _warn_if_finished(run: Path, config: Config, state: TrainState) -> None:
    """Warns of a training that is resumed and has no step left."""
    settings = config.train
    if (why := why_finished(settings, int(state.step), int(state.best_step))) is None:
        return
    steps = int(state.step) >= settings.steps
    more = f"train.steps={2 * settings.steps}" if steps else f"train.patience={2 * settings.patience}"
    warnings.warn(
        f"{run}: is finished, since {why}, so nothing was trained; let it be longer (--set {more}), or start "
        f"another training from it (--from {run})",
        stacklevel=4,
    )


def fill_in(data: TrainingSet, config: Config) -> Config:
    """Checks images against points and returns the configuration with diameter, sigma and scale filled in.

    Sigma follows from the diameter of the cells, which images and points tell where it is not given, and from
    whether they are stained; the scale follows from sigma. With `train.start`, both are such that the cells are as
    large to the network as those that the model to start from learned.

    Raises:
        UserError: if they do not fit each other, an image holds NaN or infinite values or has other channels than
            the settings name, or no image has a point.
    """
    images, points = data.images, data.points
    if config.image.channels is None and images:
        seen = channels_seen([image.shape for image in images])
        config = dataclasses.replace(config, image=dataclasses.replace(config.image, channels=seen))
    if len(images) != len(points):
        raise UserError(f"{len(images)} images but {len(points)} sets of points; give one set for each image")
    if not sum(map(len, points)):
        raise UserError("no image has a point, so there is nothing to learn; check the point files")
    with collecting_faults() as fault:
        for image, own, name in zip(images, points, data.names, strict=True):
            with fault():
                check_channels(image.shape, config.image.channels, name=name)
            with fault():
                if not np.isfinite(image).all():
                    raise UserError(f"{name}: the image holds NaN or infinite values; replace them by numbers")
            with fault():
                check_points(own, (image.shape[0], image.shape[1]), name=name)

    config = fit_to_start(config, lambda: find_size(images, points, config.image).diameter)
    sigma, scale, diameter = config.likelihood.sigma, config.image.scale, config.image.diameter
    if sigma is None:
        if diameter is None:
            found = find_size(images, points, config.image)
            diameter, stained = found.diameter, found.stained
        else:
            stained = are_stained(images, points, diameter, config.image)
        sigma = sigma_of(diameter, stained=stained)
    scale = suggest_scale(sigma) if scale is None else scale
    diameter = sigma / SIGMA_PER_DIAMETER if diameter is None else diameter
    return dataclasses.replace(
        config,
        image=dataclasses.replace(config.image, scale=scale, diameter=diameter),
        likelihood=dataclasses.replace(config.likelihood, sigma=sigma),
    )


def _with_appearance(samples: Sequence[Sample], config: Config) -> list[Sample]:
    """Returns samples with how cells look at their points, if `cut.data` is to be chosen by it."""
    if config.cut.data != "auto":
        return list(samples)
    return [
        one._replace(appearance=appearance_at(one.image, one.points, sigma=config.network_sigma))
        for one in samples
    ]


def choose_data_term(samples: Sequence[Sample], config: Config) -> Config:
    """Returns settings in which `cut.data` is what suits the images that are learned from, at their points.

    It stays "auto", to be chosen for each image that is segmented, where less than four fifths of them agree.
    Samples are those of `_with_appearance`.
    """
    if config.cut.data != "auto":
        return config
    told = [one.appearance is not None and one.appearance.is_stained for one in samples if len(one.points)]
    share = float(np.mean(told)) if told else 0.5
    term = "levels" if share >= _AGREED else "inverse" if share <= 1 - _AGREED else "auto"
    return dataclasses.replace(config, cut=dataclasses.replace(config.cut, data=term))


def _make_samples(data: TrainingSet, config: Config) -> list[Sample]:
    """Normalises and resizes the images, and warns of those that are constant or smaller than a patch."""
    sigma, scale = config.likelihood.sigma, config.network_scale
    assert sigma is not None
    # For the backward pass, a few copies of the features of a patch are held of every level.
    features = sum(8 * width >> 2 * level for level, width in enumerate(config.unet.encoder))
    needed = 4 * config.train.batch * config.train.patch**2 * features
    check_bytes("train.batch and train.patch", needed, remedy="choose smaller ones")
    asked = sum(image.size for image in data.images) * scale**2
    check_values("image.scale", int(asked), remedy="choose a smaller one, or fewer images")
    samples: list[Sample] = []
    constant, small = [], []
    for index, (image, own, name) in enumerate(zip(data.images, data.points, data.names, strict=True)):
        values = image.astype(np.float32)
        if is_constant(values):
            constant.append(name)
        sample = make_sample(normalize_by(config.image, values), own, scale=scale, sigma=sigma, name=name)
        if min(sample.likelihood.shape) < config.train.patch:
            small.append(name)
        if data.uncertain is not None:
            sample = leave_out(sample, scale_points(data.uncertain[index], scale), sigma=config.network_sigma)
        samples.append(sample)
    if constant:
        warnings.warn(f"{in_short(constant)}: constant, so there is nothing to learn from", stacklevel=3)
    if small:
        warnings.warn(
            f"{in_short(small)}: smaller than a patch of {config.train.patch} pixels of the network, so continued "
            "by mirroring (or set train.patch)",
            stacklevel=3,
        )
    return _with_appearance(samples, config)
