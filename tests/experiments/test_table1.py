"""The comparison of methods, from a data folder to its tables."""

import json
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from experiments import table1
from experiments.comparison import Outcome, figures
from experiments.folds import Case
from experiments.fronts import front
from experiments.views import DIAMETER, annotated_crops, open_fold
from wsis_jax.core.images import scale_points

METHODS = ["disc in Voronoi cells", "wsis_jax"]


def as_case(scene, name="drawn") -> Case:
    return Case(name, scene.image, scene.points, scene.labels)


@pytest.fixture
def a_comparison(tiny_run, write_scene, draw_small, tmp_path, monkeypatch):
    """The arguments of a comparison of two methods on three drawn images, one to a fold."""
    data = tmp_path / "data" / "drawn"
    for number in range(3):
        write_scene(data, f"scene{number}", draw_small(number + 20, cells=14, shape=(96, 96)))
        shutil.copytree(tiny_run.folder, tmp_path / "work" / "drawn" / f"fold{number}")
    (data / "image").rename(data / "images")
    (data / "mask").rename(data / "masks")
    words = ["table1", str(data), "--work", str(tmp_path / "work"), "--budget", "4", "--methods", *METHODS]
    monkeypatch.setattr(sys, "argv", words)
    return tmp_path / "work" / "drawn"


def test_one_command_fills_the_table_and_goes_on_where_it_stopped(a_comparison, capsys):
    table1.main()
    printed = capsys.readouterr().out
    for method in METHODS:
        assert printed.count(f"| {method} |") == 2  # in both tables
    tree = json.loads((a_comparison / "table1.json").read_text())
    assert list(tree["methods"]) == METHODS
    assert tree["where"]["commit"]
    for row in tree["methods"].values():
        assert row["seconds"] > 0
        assert row["tuned"]["cells"] == row["untuned"]["cells"] > 30
    assert tree["methods"]["disc in Voronoi cells"]["tuned"]["mdice"] > 0.4
    sheet = np.asarray(Image.open(a_comparison / "table1.png"))
    assert sheet.shape[2] == 3

    logs = sorted(a_comparison.glob("fold*/table1/*/log.json"))
    assert len(logs) == 6
    log = json.loads(logs[0].read_text())
    assert len(log["tuning"]["trials"]) + len(log["tuning"]["refused"]) == 4
    written = [path.stat().st_mtime_ns for path in logs[1:]]
    logs[0].unlink()
    (a_comparison / "table1.json").unlink()
    table1.main()
    assert logs[0].exists()
    assert [path.stat().st_mtime_ns for path in logs[1:]] == written
    again = json.loads((a_comparison / "table1.json").read_text())
    for method in METHODS:
        assert again["methods"][method]["tuned"] == tree["methods"][method]["tuned"]


def test_crops_hold_what_the_images_hold(draw_small):
    cases = [as_case(draw_small(seed, cells=60, shape=(200, 240)), f"scene{seed}") for seed in range(2)]
    crops = annotated_crops(cases)
    assert [crop.name for crop in crops] == ["scene0-0", "scene0-1", "scene1-2", "scene1-3"]
    for crop, quarter in zip(crops, [(50, 60), (50, 180), (150, 60), (150, 180)], strict=True):
        case, side = cases[int(crop.name[5])], len(crop.image)
        top, left = (middle - side // 2 for middle in quarter)
        np.testing.assert_array_equal(crop.image, case.image[top : top + side, left : left + side])
        np.testing.assert_array_equal(crop.masks, case.masks[top : top + side, left : left + side])
        known = {tuple(point) for point in case.points}
        assert {tuple(point) for point in crop.points + np.array([top, left])} <= known
        assert 5 < len(crop.points) < 40


def test_rivals_see_cells_of_one_size(tiny_run, draw_small, tmp_path):
    shutil.copytree(tiny_run.folder, tmp_path / "fold")
    cases = [as_case(draw_small(seed, cells=30, shape=(128, 128)), f"scene{seed}") for seed in range(2)]
    fold = open_fold(tiny_run.model, tmp_path / "fold", cases)
    areas = np.concatenate([np.unique(crop.front.case.masks, return_counts=True)[1][1:] for crop in fold.crops])
    assert np.median(areas) * fold.scale**2 == pytest.approx(np.pi / 4 * DIAMETER**2)
    for crop in fold.crops:
        assert crop.image.shape == pytest.approx(np.array(crop.front.case.image.shape) * fold.scale, abs=1)
        assert 0 <= crop.image.min() <= crop.image.max() <= 1
        np.testing.assert_allclose(crop.points, scale_points(crop.front.points(), fold.scale))


def test_figures_are_those_of_all_cells(tiny_run, draw_small, tmp_path):
    shutil.copytree(tiny_run.folder, tmp_path / "fold")
    case = as_case(draw_small(30))
    fold = open_fold(tiny_run.model, tmp_path / "fold", [case])
    half = np.where(case.masks > 3, case.masks, 0)
    one = Outcome(fold.crops[0]._replace(front=fold.crops[0].front._replace(case=case)), {})
    rows = figures({"wsis_jax": [one._replace(labels={"untuned": half, "tuned": case.masks})]}, 5.0)
    assert rows["wsis_jax"]["tuned"]["mdice"] == rows["wsis_jax"]["tuned"]["ap50"] == 1
    assert rows["wsis_jax"]["untuned"]["mdice"] == pytest.approx(0.5)


def test_a_kept_front_is_not_that_of_another_image_of_its_name(tiny_run, draw_small, tmp_path):
    shutil.copytree(tiny_run.folder, tmp_path / "fold")
    whole = as_case(draw_small(1, shape=(96, 96), cells=10), "image")
    part = whole._replace(image=whole.image[:64, :64])
    first = front(tiny_run.model, whole, tmp_path / "fold")
    assert front(tiny_run.model, part, tmp_path / "fold").detection.image.shape == (64, 64)
    kept = front(tiny_run.model, whole, tmp_path / "fold")
    np.testing.assert_array_equal(kept.winner.owner, first.winner.owner)
