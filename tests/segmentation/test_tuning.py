"""Settings of the cut chosen by masks: on an image whose cells the phase-contrast term gets wrong."""

import json
import shutil

import numpy as np
import pytest

from wsis_jax.cli import main
from wsis_jax.core import UserError
from wsis_jax.network import load_model
from wsis_jax.segmentation import MaskedImage, tune_cuts
from wsis_jax.segmentation.tuning import _trials


@pytest.fixture(scope="module")
def badly_set(tiny_run):
    """A model with settings of the cut that no image asks for, and images with masks."""
    model = tiny_run.model
    bad = model.using(model.config.override(["cut.data=inverse", "cut.edge_weight=0.01", "cut.claim_weight=0"]))
    cases = [MaskedImage(f"scene{i}", one.image, one.labels) for i, one in enumerate(tiny_run.scenes[:2])]
    return bad, cases


def test_what_is_chosen_is_better_and_is_what_segment_does_with_it(badly_set):
    model, cases = badly_set
    steps = []
    tuned = tune_cuts(model, cases, on_trial=lambda done, total: steps.append((done, total)))
    assert tuned.after.mdice > tuned.before.mdice
    assert tuned.changed
    assert {name.partition(".")[0] for name in tuned.changed} == {"cut"}
    assert steps[-1][0] == steps[-1][1]
    again = tune_cuts(model.using(tuned.config), cases)
    assert again.before == tuned.after


def test_numbers_that_are_tried_have_few_digits(badly_set):
    for tried in _trials(badly_set[0].config.override(["cut.seed_threshold=0.05"])):
        value = tried.cut.seed_threshold
        assert value is None or len(str(value)) <= 6


def test_masks_of_another_size_are_refused(badly_set):
    model, cases = badly_set
    with pytest.raises(UserError, match=r"scene0: is \d+ × \d+ pixels but its masks are"):
        tune_cuts(model, [cases[0]._replace(masks=np.zeros((3, 4), np.int32))])


def test_no_cells_are_refused(badly_set):
    model, cases = badly_set
    empty = cases[0]._replace(image=np.random.default_rng(0).normal(0, 1, cases[0].image.shape).astype(np.float32))
    config = model.config.override(["detect.threshold=1"])
    with pytest.raises(UserError, match="no cell is found"):
        tune_cuts(model.using(config), [empty])


def test_the_command_changes_the_run_and_says_what_it_gained(badly_set, tiny_run, write_scene, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(tiny_run.folder, run)
    config = json.loads((run / "config.json").read_text())
    config["cut"] |= {"data": "inverse", "edge_weight": 0.01, "claim_weight": 0.0}
    (run / "config.json").write_text(json.dumps(config))
    for index, one in enumerate(tiny_run.scenes[:2]):
        write_scene(tmp_path, f"a{index}", one)
    arguments = ["tune", str(run), str(tmp_path / "image"), str(tmp_path / "mask")]
    before = (run / "config.json").read_bytes()
    assert main([*arguments, "--dry-run"]) == 0
    assert (run / "config.json").read_bytes() == before
    assert main(arguments) == 0
    assert "before" in capsys.readouterr().out
    assert (run / "config.json").read_bytes() != before
    assert load_model(run).config.unet == tiny_run.model.config.unet
