"""Training: the loss falls, an interrupted run ends as an unbroken one, and bad input is refused."""

import dataclasses
import re
import shutil

import jax
import numpy as np
import pytest

from wsis_jax.core.config import Config
from wsis_jax.core.errors import Faults, UserError
from wsis_jax.core.programs import use_compilation_cache
from wsis_jax.network.model import load_config, load_model
from wsis_jax.synthetic import draw_scene
from wsis_jax.training import loop, run_folder, trainer
from wsis_jax.training.data import TrainingSet
from wsis_jax.training.loop import Callbacks
from wsis_jax.training.trainer import fill_in, train, train_on_set

# Checkpoints at 3 and 6; 7 is the last step and one, too.
CONFIG = Config().override(
    [
        "image.scale=1",
        "likelihood.sigma=3",
        "unet.encoder=[2,4]",
        "unet.decoder=[2]",
        "train.steps=7",
        "train.validation=0.5",  # one of three images
        "train.batch=2",
        "train.patch=32",
        "train.warmup=2",
        "train.learning_rate=0.01",
        "train.evaluate_every=3",
    ]
)
SCENES = [draw_scene(seed, shape=(32, 40), cells=3, diameter=12.0) for seed in range(3)]
IMAGES, POINTS = [scene.image for scene in SCENES], [scene.points for scene in SCENES]
DATA = TrainingSet(IMAGES, POINTS, ["a", "b", "c"])


def with_train(**changes) -> Config:
    return dataclasses.replace(CONFIG, train=dataclasses.replace(CONFIG.train, **changes))


def chosen_for(config: Config) -> Config:
    """What is kept of settings: with all that is chosen from images and points; these are phase contrast."""
    return fill_in(DATA, config).override(["cut.data=inverse"])


def contents(folder):
    """What a training leaves: weights, settings, metrics."""
    variables = load_model(folder).variables
    texts = [(folder / name).read_text() for name in ("config.json", "metrics.jsonl")]
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(variables)], texts


@pytest.fixture(scope="module", autouse=True)
def cached_programs():
    """Keeps compiled programs, as commands do, so that each training need not compile the same step again."""
    use_compilation_cache()


@pytest.fixture
def made_steps(monkeypatch):
    """The compiled steps of the trainings of a test."""
    made, make_train_step = [], loop.make_train_step

    def make(*arguments):
        made.append(make_train_step(*arguments))
        return made[-1]

    monkeypatch.setattr(loop, "make_train_step", make)
    return made


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """The folder of a training that nothing interrupted."""
    folder = tmp_path_factory.mktemp("training") / "run"
    train(IMAGES, POINTS, config=CONFIG, run=folder)
    return folder


@pytest.fixture
def fixed_scores(monkeypatch):
    """Lets the validations of a training have the given (f_measure, validation_loss), one after the other."""

    def fix(*scores):
        rest = iter(scores)

        def validate(*_):
            f_measure, loss = next(rest)
            return {"validation_loss": loss, "f_measure": f_measure, "precision": 1.0, "recall": 1.0}

        monkeypatch.setattr(loop, "validate", validate)

    return fix


def test_the_loss_falls_on_one_scene(tmp_path, made_steps):
    seen, steps = [], []
    config = with_train(steps=40, evaluate_every=10, learning_rate=0.03, augment="none")
    config = config.override(["unet.encoder=[4,8,8]", "unet.decoder=[8,4]"])
    with pytest.warns(UserWarning, match="no image is held out"):
        train(
            IMAGES[:1],
            POINTS[:1],
            config=config,
            run=tmp_path / "run",
            callbacks=Callbacks(lambda step, of: steps.append((step, of)), seen.append),
        )
    assert seen[-1]["loss"] < 0.3 * seen[0]["loss"]
    assert steps == [(step, 40) for step in range(1, 41)]
    assert [step._cache_size() for step in made_steps] == [1]  # also after a validation and a better model
    assert seen == run_folder.read_metrics(tmp_path / "run")


def test_what_a_training_writes(unbroken):
    names = ["clicks.json", "config.json", "metrics.jsonl", "samples", "state", "training.json", "weights"]
    assert sorted(path.name for path in unbroken.iterdir()) == names
    assert [line["step"] for line in run_folder.read_metrics(unbroken)] == [3, 6, 7]
    best = run_folder.read_metrics(unbroken)[-1]["best_step"]
    assert [path.name for path in (unbroken / "weights").iterdir()] == [str(best)]
    assert load_config(unbroken) == chosen_for(CONFIG)


def stop_at(step):
    """Callbacks that interrupt after a step."""

    def on_step(done, _):
        if done == step:
            raise KeyboardInterrupt

    return Callbacks(on_step)


def assert_resumes_to(unbroken, folder, made_steps):
    train(IMAGES, POINTS, config=CONFIG, run=folder, resume=True)
    assert [step._cache_size() for step in made_steps] == [1, 1]  # for the state that was read, too
    assert contents(folder) == contents(unbroken)


@pytest.mark.parametrize("step", [1, 3, 5])
def test_a_resumed_training_ends_as_an_unbroken_one(unbroken, tmp_path, made_steps, step):
    with pytest.raises(KeyboardInterrupt):
        train(IMAGES, POINTS, config=CONFIG, run=tmp_path, callbacks=stop_at(step))
    assert run_folder.saved_step(tmp_path) == step
    assert_resumes_to(unbroken, tmp_path, made_steps)


@pytest.mark.parametrize("function", ["append_metrics", "save_state"])
def test_a_training_that_dies_while_it_saves_resumes_all_the_same(
    unbroken, tmp_path, made_steps, monkeypatch, function
):
    save = getattr(run_folder, function)

    def dies_at_six(folder, *arguments):
        if 6 in arguments or arguments[0] == 6 or (isinstance(arguments[0], dict) and arguments[0]["step"] == 6):
            raise KeyboardInterrupt
        save(folder, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(run_folder, function, dies_at_six)
        with pytest.raises(KeyboardInterrupt):
            train(IMAGES, POINTS, config=CONFIG, run=tmp_path)
    assert_resumes_to(unbroken, tmp_path, made_steps)


def test_resuming_a_finished_training_changes_nothing(unbroken, tmp_path):
    folder = shutil.copytree(unbroken, tmp_path / "run")
    said = "run: is finished, since all 7 steps are done, so nothing was trained; let it be longer (--set "
    with pytest.warns(
        UserWarning, match=re.escape(f"{said}train.steps=14), or start another training from it (--")
    ):
        assert steps_of(folder) == []
    assert contents(folder) == contents(unbroken)


def steps_of(folder, config=CONFIG, images=IMAGES, points=POINTS) -> list[int]:
    """The steps that a resumed training does."""
    steps = []
    on_step = Callbacks(lambda step, steps_in_all: steps.append(step))
    train(images, points, config=config, run=folder, resume=True, callbacks=on_step)
    return steps


def test_a_finished_training_becomes_longer(unbroken, tmp_path):
    folder = shutil.copytree(unbroken, tmp_path / "run")
    longer = with_train(steps=11)
    assert steps_of(folder, longer) == [8, 9, 10, 11]
    assert load_config(folder) == chosen_for(longer)
    assert [line["step"] for line in run_folder.read_metrics(folder)] == [3, 6, 7, 9, 11]
    # The loss after 7, which is not a multiple of 3, is the mean of two steps, not the sum of two by three.
    losses = [line["loss"] for line in run_folder.read_metrics(folder)]
    assert losses[3] > 0.75 * losses[4]
    with pytest.warns(UserWarning, match="all 11 steps are done"):
        assert steps_of(folder, longer) == []
    with pytest.raises(ValueError, match=r"or settings \(train\.steps: 11, 7 now\); resume it with the same"):
        steps_of(folder)


def test_the_schedule_of_a_longer_training_is_that_of_its_new_length(tmp_path):
    """What is made longer before the rate begins to fall ends as what was so long from the start."""
    short, longer = with_train(steps=4), with_train(steps=6)
    train(IMAGES, POINTS, config=longer, run=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(IMAGES, POINTS, config=short, run=tmp_path / "made", callbacks=stop_at(2))
    assert steps_of(tmp_path / "made", longer) == [3, 4, 5, 6]
    assert contents(tmp_path / "made") == contents(tmp_path / "whole")


def test_a_training_is_not_overwritten(unbroken):
    before = contents(unbroken)
    with pytest.raises(ValueError, match="holds a training already; give --resume"):
        train(IMAGES, POINTS, config=CONFIG, run=unbroken)
    assert contents(unbroken) == before


def test_a_folder_in_which_nothing_was_learnt_is_used_again(tmp_path):
    with pytest.raises(ValueError, match="needs 1 decoder widths"):
        train(IMAGES, POINTS, config=CONFIG.override(["unet.decoder=[2,2]"]), run=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train(IMAGES, POINTS, config=CONFIG, run=tmp_path, callbacks=stop_at(1))
    assert load_config(tmp_path) == chosen_for(CONFIG)


def test_resuming_with_other_settings_is_refused(unbroken):
    told = r"other images, points or settings \(train\.batch: 2, 3 now; train\.seed: 0, 1 now\); resume it with"
    with pytest.raises(ValueError, match=told):
        steps_of(unbroken, with_train(batch=3, seed=1))


def test_resuming_with_other_points_is_refused_and_the_image_named(unbroken):
    """Also where sigma is set, which no points change."""
    more = [*POINTS[:1], np.append(POINTS[1], [[3.0, 4.0]], axis=0), POINTS[2]]
    before = (unbroken / "training.json").read_bytes(), contents(unbroken)
    with pytest.raises(ValueError, match=r"or settings \(image 1: 3 points, 4 now\); resume it with the same, or"):
        steps_of(unbroken, points=more)
    moved = [POINTS[0] + 0.5, *POINTS[1:]]
    with pytest.raises(ValueError, match=r"\(train\.batch: 2, 3 now; image 0: 3 points, in other places now\)"):
        steps_of(unbroken, with_train(batch=3), points=moved)
    with pytest.raises(ValueError, match=r"\(image 2: other pixels\)"):
        steps_of(unbroken, images=[*IMAGES[:2], IMAGES[2] * 0.9])
    assert ((unbroken / "training.json").read_bytes(), contents(unbroken)) == before


def test_resuming_with_the_points_in_another_order_goes_on(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(IMAGES, POINTS, config=CONFIG, run=tmp_path, callbacks=stop_at(5))
    assert steps_of(tmp_path, points=[own[::-1] for own in POINTS]) == [6, 7]


def test_a_run_of_an_earlier_version_is_resumed_with_a_warning(unbroken, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(IMAGES, POINTS, config=CONFIG, run=tmp_path, callbacks=stop_at(5))
    (tmp_path / "clicks.json").unlink()
    with pytest.warns(UserWarning, match="does not tell the images and points that it was started with, since an"):
        assert steps_of(tmp_path) == [6, 7]
    assert contents(tmp_path) == contents(unbroken)
    assert not (tmp_path / "clicks.json").exists()  # what it was started with is still not known


def test_resuming_what_was_never_begun_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="not a run folder"):
        train(IMAGES, POINTS, config=CONFIG, run=tmp_path / "run", resume=True)


def test_training_stops_early_without_a_better_model(tmp_path, fixed_scores):
    fixed_scores((0.5, 0.3), (0.6, 0.3), (0.6, 0.3), (0.9, 0.4))
    run = tmp_path / "run"
    config = with_train(steps=20, evaluate_every=1, patience=2)
    train(IMAGES, POINTS, config=config, run=run)
    assert [line["best_step"] for line in run_folder.read_metrics(run)] == [1, 2, 2, 2]
    assert (run / "weights" / "2").is_dir()
    with pytest.warns(UserWarning, match=r"not improved for 2 validations, so .* \(--set train\.patience=4\)"):
        assert steps_of(run, config) == []


def test_the_best_model_is_that_of_the_least_loss(tmp_path, fixed_scores):
    fixed_scores((0.5, 0.3), (0.8, 0.1), (0.9, 0.2), (0.9, 0.3))
    train(IMAGES, POINTS, config=with_train(steps=20, evaluate_every=1, patience=2), run=tmp_path)
    assert run_folder.read_metrics(tmp_path)[-1]["best_step"] == 2
    assert [path.name for path in (tmp_path / "weights").iterdir()] == ["2"]


def test_sigma_and_scale_are_chosen_from_the_points_where_the_image_shows_nothing(tmp_path):
    grid = np.stack(np.meshgrid([10.0, 60.0], [10.0, 60.0]), axis=-1).reshape(-1, 2)
    data = TrainingSet([np.zeros((80, 80), np.float32)], [grid], ["a"])
    chosen = fill_in(data, Config())
    assert chosen.likelihood.sigma == 10.0  # a fifth of the spacing, as of cells without a stain
    assert chosen.image.scale == 0.5
    assert chosen.image.diameter == 50
    small = fill_in(data._replace(points=[grid / 10]), Config())
    assert small.likelihood.sigma == 1.0
    assert small.image.scale == 1.0  # never enlarged
    given = fill_in(data, Config().override(["image.scale=0.5", "likelihood.sigma=3"]))
    assert (given.image.scale, given.likelihood.sigma, given.image.diameter) == (0.5, 3.0, 12.0)
    told = fill_in(data, Config().override(["image.diameter=40"]))
    assert (told.image.scale, told.likelihood.sigma, told.image.diameter) == (0.625, 8.0, 40.0)
    both = fill_in(data, Config().override(["image.diameter=40", "likelihood.sigma=3"]))
    assert (both.likelihood.sigma, both.image.diameter) == (3.0, 40.0)  # a given sigma wins


def test_sigma_is_chosen_by_the_size_of_the_cells_not_by_their_spacing():
    rows, columns = np.mgrid[:240, :240]
    grid = np.stack(np.meshgrid([60.0, 180.0], [60.0, 180.0]), axis=-1).reshape(-1, 2)
    radius = np.min([np.hypot(rows - row, columns - column) for row, column in grid], axis=0)
    chosen = fill_in(TrainingSet([(radius < 12).astype(np.float32)], [grid], ["a"]), Config())
    assert chosen.image.diameter == pytest.approx(24, rel=0.35)
    assert chosen.likelihood.sigma == pytest.approx(chosen.image.diameter / 4, abs=0.01)
    assert chosen.image.scale == pytest.approx(5 / chosen.likelihood.sigma, abs=1e-3)


def test_what_was_chosen_is_kept_in_the_run_folder(tmp_path):
    config = CONFIG.override(["image.scale=null", "likelihood.sigma=null"])
    with pytest.raises(KeyboardInterrupt):
        train(IMAGES, POINTS, config=config, run=tmp_path, callbacks=stop_at(1))
    kept = load_config(tmp_path)
    assert kept == chosen_for(config)
    assert kept.likelihood.sigma is not None


def losing(after: int, *, loss_too: bool):
    """What stands for `make_train_step` where weights, and the loss, are not numbers after so many steps."""
    make_train_step = loop.make_train_step

    def poisoned(*arguments):
        compiled = make_train_step(*arguments)

        def step(state, *others):
            done = int(state.step)
            state, loss = compiled(state, *others)
            if done < after:
                return state, loss
            lost = jax.tree.map(lambda leaf: leaf * np.float32(np.nan), state.params)
            return state._replace(params=lost), loss * np.float32(np.nan) if loss_too else loss

        return step

    return poisoned


def test_a_loss_that_is_no_number_ends_the_training_at_once(tmp_path):
    seen = []
    advice = r"at step \d, after 0\.\d+ before, .*in another folder with train\.learning_rate=0\.001 instead of"
    with pytest.raises(ValueError, match=rf"no longer a number \(nan\) {advice}.* \(there was no model yet\)"):
        train(
            IMAGES,
            POINTS,
            config=with_train(learning_rate=1e30, evaluate_every=100),
            run=tmp_path,
            callbacks=Callbacks(lambda step, steps: seen.append(step)),
        )
    assert seen[-1] < 5  # not at the first validation
    assert not run_folder.is_begun(tmp_path)


def test_a_state_that_is_no_number_is_not_saved_when_stopped(tmp_path, monkeypatch):
    # The loss of the first step is that of the network before it.
    monkeypatch.setattr(loop, "make_train_step", losing(0, loss_too=False))
    with pytest.raises(ValueError, match=r"the network holds what is not a number at step 1, after 0\.\d+ before"):
        train(IMAGES, POINTS, config=CONFIG, run=tmp_path, callbacks=stop_at(1))
    assert not run_folder.is_begun(tmp_path)


def test_what_was_saved_before_a_loss_that_is_no_number_is_kept(tmp_path, unbroken, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(loop, "make_train_step", losing(4, loss_too=True))
        with pytest.raises(ValueError, match=r"at step 5, .*\(the best model so far, of step 3, is kept\)$"):
            train(IMAGES, POINTS, config=CONFIG, run=tmp_path)
    assert run_folder.saved_step(tmp_path) == 3
    train(IMAGES, POINTS, config=CONFIG, run=tmp_path, resume=True)
    assert contents(tmp_path) == contents(unbroken)


def test_nothing_is_learnt_where_targets_are_not_known(tmp_path):
    """A step with unknown targets is that of the loss without them, whatever the targets say there."""
    samples = [
        one._replace(weight=(one.image < 0.4).astype(np.float32)) for one in trainer._make_samples(DATA, CONFIG)
    ]
    wrong = [one._replace(likelihood=np.where(one.weight > 0, one.likelihood, 1)) for one in samples]
    config = with_train(steps=2, evaluate_every=1, augment="free")
    for name, own in (("right", samples), ("wrong", wrong)):
        trainer.train_on_samples(own, config=config, run=tmp_path / name)
    lines = [run_folder.read_metrics(tmp_path / name) for name in ("right", "wrong")]
    assert lines[0][0]["validation_loss"] == lines[1][0]["validation_loss"]
    assert lines[0][0]["loss"] == pytest.approx(lines[1][0]["loss"], rel=1e-3)


def test_uncertain_places_are_left_out(tmp_path):
    data = DATA._replace(uncertain=[np.array([[5.0, 6.0]]), np.empty((0, 2)), np.array([[30.0, 39.0]])])
    weights = [sample.weight for sample in trainer._make_samples(data, CONFIG)]
    assert weights[1] is None
    assert weights[2][30, 39] == 0
    assert np.isfinite(train_on_set(data, config=with_train(steps=1), run=tmp_path).config.network_sigma)


def test_images_of_other_channels_than_the_settings_are_refused(tmp_path, tiny_config, draw_small):
    scene = draw_small(0)
    colours = np.repeat(scene.image[..., None], 3, axis=2)
    for images, channels, sentence in (
        (
            [colours],
            "grey",
            r"image 0 has 3 channels, but the model takes 1 \(image.channels=grey\); give an image with as many",
        ),
        ([colours, scene.image], "colours", "image 1 has 1 channel, but the model takes 3"),
    ):
        config = tiny_config.override([f"image.channels={channels}"])
        with pytest.raises(ValueError, match=sentence):
            train(images, [scene.points] * len(images), config=config, run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_the_network_sees_follows_from_the_images(draw_small, tiny_config):
    scene = draw_small(0)
    colours = np.repeat(scene.image[..., None], 3, axis=2)
    for images, seen in (([scene.image], "grey"), ([colours], "colours"), ([colours[..., :2]], (0, 1))):
        data = TrainingSet(images, [scene.points], ["a"])
        assert fill_in(data, tiny_config).image.channels == seen


def test_grey_values_that_are_no_numbers_are_found_before_a_training(tmp_path):
    samples = trainer._make_samples(DATA, CONFIG)
    samples[0].image[3, 4] = np.inf
    with pytest.raises(ValueError, match=r"^a: the image holds NaN or infinite values; replace them by numbers$"):
        trainer.train_on_samples(samples, config=CONFIG, run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_step_without_room_says_what_to_change(tmp_path, monkeypatch):
    def cramped(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 70368744177664 bytes.")

    monkeypatch.setattr(loop, "make_train_step", cramped)
    with pytest.raises(
        MemoryError, match=r"does not fit into memory; lower train\.batch \(2\) or train\.patch \(32\)"
    ):
        train(IMAGES, POINTS, config=CONFIG, run=tmp_path)


def test_huge_grey_values_are_learnt_from(tmp_path):
    seen = []
    images = [image * np.float32(3e38) for image in IMAGES]
    train(images, POINTS, config=with_train(steps=1), run=tmp_path, callbacks=Callbacks(on_metrics=seen.append))
    assert np.isfinite(seen[0]["loss"])


@pytest.mark.parametrize("dtype", [np.float64, np.float16])
def test_images_of_any_float_type_are_learnt_from(tmp_path, dtype):
    images = [image.astype(dtype) for image in IMAGES]
    with pytest.raises(KeyboardInterrupt):
        train(images, POINTS, config=CONFIG, run=tmp_path, callbacks=stop_at(1))


@pytest.mark.parametrize(
    ("images", "points", "message"),
    [
        (IMAGES, POINTS[:2], "3 images but 2 sets of points"),
        (IMAGES[:1], [np.empty((0, 2))], "no image has a point"),
        ([], [], "no image has a point"),
        (IMAGES[:1], [np.array([[3.0, 45.0]])], r"^a: point 0 .* is outside the image of 32 rows and 40 columns"),
        ([np.full((32, 40), np.nan, np.float32)], POINTS[:1], "^a: the image holds NaN"),
    ],
)
def test_images_and_points_that_do_not_fit_are_refused(tmp_path, images, points, message):
    with pytest.raises(ValueError, match=message):
        train_on_set(
            TrainingSet(images, points, ["a", "b", "c"][: len(images)]), config=CONFIG, run=tmp_path / "run"
        )
    assert not (tmp_path / "run").exists()


def test_points_on_the_very_border_are_moved_inside_before_others_are_told(tmp_path):
    near, far = np.array([[3.0, 40.2], [5.0, 6.0]]), np.array([[3.0, 45.0]])
    unknown = CONFIG.override(["cut.data=inverted"])  # is found out before a step is taken
    with (
        pytest.warns(UserWarning, match="^image 0: 1 point was less than a pixel outside of the image, and moved"),
        pytest.raises(UserError, match=r"cut\.data must be one of"),
    ):
        train(IMAGES[:2], [near, POINTS[1]], config=unknown, run=tmp_path / "run")
    with pytest.raises(Faults, match=r"^image 0: point 0 .*\nimage 2: point 0 .* is outside the image"):
        train(IMAGES, [far, POINTS[1], far], config=CONFIG, run=tmp_path / "run")


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("train.steps=0", r"train\.steps must be at least 1, not 0"),
        ("train.batch=0", r"train\.batch must be"),
        ("train.evaluate_every=0", r"train\.evaluate_every must be"),
        ("likelihood.sigma=0", r"likelihood\.sigma must be above 0, not 0\.0"),
        ("image.scale=-1", r"image\.scale must be above 0"),
    ],
)
def test_settings_out_of_range_are_refused(tmp_path, assignment, message):
    with pytest.raises(ValueError, match=message):
        train(IMAGES, POINTS, config=CONFIG.override([assignment]), run=tmp_path / "run")
    assert not (tmp_path / "run").exists()
