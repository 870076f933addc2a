"""The loop in the viewer: segment, look, correct, cut again, train again."""

import numpy as np
import pytest

import wsis_jax

pytest.importorskip("napari", reason="napari is not installed", exc_type=ImportError)
pytest.importorskip("qtpy.QtCore", reason="Qt cannot be loaded", exc_type=ImportError)
KeymapHandler = pytest.importorskip("napari.utils.key_bindings").KeymapHandler

# A training of seconds: of five steps, validated at the third.
TINY = ["train.batch=2", "train.patch=32", "train.warmup=1", "train.steps=5", "train.evaluate_every=3"]

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


def planes(viewer) -> dict[str, np.ndarray]:
    return {layer.name: np.array(layer.data) for layer in viewer.layers}


def far_from(points: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Pixels of the ground far from all points, and from each other."""
    chosen = np.empty((0, 2))
    free = np.argwhere(labels == 0).astype(float)
    for _ in range(count):
        near = np.concatenate([points, chosen])
        distance = np.abs(free[:, None] - near).max(axis=2).min(axis=1)
        chosen = np.concatenate([chosen, free[np.argmax(distance)][None]])
    return chosen


def test_from_segmenting_over_corrections_to_training_again(
    segmenting, viewer, draw_small, tiny_run, tmp_path, monkeypatch, finish, press
):
    from wsis_jax import training
    from wsis_jax.viewer.looking import LookWidget
    from wsis_jax.viewer.models import MODELS
    from wsis_jax.viewer.training import TrainWidget

    looking, teaching = LookWidget(viewer), TrainWidget(viewer)
    scene = draw_small(101, shape=(96, 96))
    viewer.add_image(scene.image, name="scene")
    press(segmenting.work.run)
    finish(segmenting)
    cells, points = viewer.layers["scene cells"], viewer.layers["scene detections"]
    assert segmenting.points.value is points
    assert looking.cells.value is cells
    assert (cells.contour, cells.opacity) == (2, 1.0)
    names, before = [layer.name for layer in viewer.layers], cells.data.copy()
    number = len(points.data)

    # Two points are added and one is removed, which the widgets tell.
    added = far_from(points.data, before, 2)
    points.add(added)
    points.selected_data = {1}
    points.remove_selected()
    assert looking._edited.value == "2 added, 1 removed: press “Cut again”"
    press(segmenting.work.run)
    assert "2 added, 1 removed since the cells were outlined" in segmenting.work.problem.value
    press(segmenting.work.buttons["Cut again"])
    finish(segmenting)
    assert segmenting.work.problem.value == ""
    assert segmenting.work.status.value == "outlined: 2 added, 1 removed in scene"

    # Exactly their cells changed, in the same layers.
    assert [layer.name for layer in viewer.layers] == names
    assert viewer.layers["scene cells"] is cells
    same = ~np.isin(before, [0, 2])
    np.testing.assert_array_equal(cells.data[same], before[same])
    assert set(np.unique(cells.data[~same])) == {0, number + 1, number + 2}
    assert [cells.data[tuple(place.astype(int))] for place in added] == [number + 1, number + 2]
    assert sorted(points.features["label"]) == [1, *range(3, number + 3)]
    assert len(points.data) == number + 1
    assert looking._edited.value == f"{len(looking.places)} to look at"
    press(segmenting.work.buttons["Cut again"])
    assert "no point was added, moved or removed" in segmenting.work.problem.value

    # A training from here has a folder of its own, the clicks of now, and the model that was chosen to start from.
    assert teaching.images.value == [viewer.layers["scene"]]
    assert teaching.points.value == [points]
    assert teaching.start.value == str(tiny_run.folder)
    assert teaching.work.run.text == "Train again"
    (tmp_path / "run" / "weights").mkdir(parents=True)
    teaching.run.value, teaching.settings.value = tmp_path / "run", " ".join(TINY)
    train, learned, so_far = training.train_on_set, [], []

    def watched(data, *, config, callbacks, **options):
        learned.append((data, config))
        return train(data, config=config, callbacks=callbacks, **options)

    monkeypatch.setattr(training, "train_on_set", watched)

    def use_it():
        if teaching.use.enabled and not so_far:
            press(teaching.use)
            so_far.append(MODELS.chosen)
        statuses.add(teaching.work.status.value)

    statuses = set()
    press(teaching.work.run)
    finish(teaching, meanwhile=use_it)
    run = tmp_path / "run-2"
    assert teaching.run.value == run
    assert so_far == [str(run)]
    assert any(one.startswith("getting ready … 0 s") for one in statuses)
    ((data, config),) = learned
    assert config.train.start == str(tiny_run.folder)
    assert config.unet == tiny_run.model.config.unet
    np.testing.assert_allclose(data.points[0], points.data, atol=1e-9)
    assert data.names == ["scene"]
    status = teaching.work.status.value
    assert status.startswith("trained, loss 0.")
    assert "of training images" in status  # of a single image none is held out
    assert "held out" not in status
    assert [one.step for one in teaching.curve.validations] == [0, 3, 5]  # 0: of the model that it started from
    assert viewer.layers["scene outlines so far"].data.shape == (96, 96)
    assert segmenting.model.value == str(run)
    assert (run / "report.html").is_file()

    # To go on with a finished training trains nothing, and nobody says that it did.
    teaching.resume.value = True
    press(teaching.work.run)
    finish(teaching)
    assert teaching.work.status.value.startswith(f"nothing was trained: the training in {run} is finished")
    assert "is finished, since" in teaching.work.problem.value

    # With a point more it is refused, and the image named.
    points.add([[1.0, 1.0]])
    teaching.resume.value = True
    press(teaching.work.run)
    finish(teaching)
    assert f"scene: {number + 1} points, {number + 2} now" in teaching.work.problem.value

    # The clicks of a run come back to the images that they are in.
    points.remove([len(points.data) - 1])
    segmenting.open_folder(run)
    np.testing.assert_allclose(viewer.layers["scene clicks"].data, points.data, atol=1e-9)
    viewer.layers.remove("scene")
    segmenting.open_folder(run)
    assert segmenting.work.problem.value.startswith(f"{run}: its clicks are in scene; open these images")


def test_segmenting_again_replaces_the_cells_in_their_layers(segmenting, viewer, stack, tiny_run, finish, press):
    viewer.add_image(stack, name="film")
    segmenting.planes.value = "all"
    press(segmenting.work.run)
    finish(segmenting)
    before = planes(viewer)
    cells, points = viewer.layers["film cells"], viewer.layers["film detections"]
    points.add([[1, 60, 2]])
    segmenting.planes.value = "the one shown"
    viewer.dims.set_point(0, 1)
    press(segmenting.work.run)
    assert "1 added since the cells were outlined" in segmenting.work.problem.value
    segmenting.settings.value = "detect.threshold=0.9"
    press(segmenting.work.run)
    finish(segmenting)
    assert [layer.name for layer in viewer.layers] == list(before)
    model = tiny_run.model
    expected = wsis_jax.segment(model, stack[1], config=model.config.override(["detect.threshold=0.9"]))
    np.testing.assert_array_equal(cells.data, [before["film cells"][0], expected.labels])
    here = points.data[:, 0] == 1
    np.testing.assert_array_equal(points.data[here][:, 1:], expected.points)
    first = before["film detections"]
    np.testing.assert_array_equal(points.data[~here], first[first[:, 0] == 0])
    np.testing.assert_allclose(points.features["score"][here], expected.scores)
    np.testing.assert_array_equal(viewer.layers["film winners"].data[1], expected.winner.owner)
    np.testing.assert_array_equal(viewer.layers["film likelihood"].data[0], before["film likelihood"][0])


def test_points_of_ones_own_are_outlined_where_they_were_clicked(
    segmenting, viewer, stack, tiny_run, finish, press
):
    viewer.add_image(stack, name="film", scale=(1, 0.5, 0.5))
    detected = wsis_jax.segment(tiny_run.model, stack[1]).points[:2]
    clicks = viewer.add_points(np.c_[np.ones(2), detected / 2], name="mine")
    segmenting.points.value = clicks
    press(segmenting.work.buttons["Cut again"])
    finish(segmenting)
    expected = wsis_jax.segment(tiny_run.model, stack[1], points=detected)
    cells = viewer.layers["film cells"]
    np.testing.assert_array_equal(cells.data, [np.zeros_like(expected.labels), expected.labels])
    assert [layer.name for layer in viewer.layers][-1] == "mine"
    assert list(clicks.features["label"]) == [1, 2]
    clicks.selected_data = {0}
    clicks.remove_selected()
    press(segmenting.work.buttons["Cut again"])
    finish(segmenting)
    np.testing.assert_array_equal(cells.data[1], np.where(expected.labels == 2, 2, 0))


def test_a_diameter_is_that_of_the_cells(segmenting, viewer, stack, tiny_run, finish, press):
    viewer.add_image(stack[0], name="image")
    segmenting.diameter.value = 20
    press(segmenting.work.run)
    finish(segmenting)
    model = tiny_run.model
    expected = wsis_jax.segment(model, stack[0], config=model.config.for_diameter(20.0))
    np.testing.assert_array_equal(viewer.layers["image cells"].data, expected.labels)


@pytest.fixture
def looking(viewer):
    """The panel, of a row of square cells that are outlined: one is large, and one peak has no cell."""
    from wsis_jax.viewer.looking import LookWidget
    from wsis_jax.viewer.marks import Made, marked

    labels, centres = np.zeros((48, 160), np.int32), []
    for number, (left, side) in enumerate([(2, 8), (20, 8), (40, 24), (70, 8), (90, 8), (110, 8)], start=1):
        labels[2 : 2 + side, left : left + side] = number
        centres.append([2 + (side - 1) / 2, left + (side - 1) / 2])
    likelihood = np.zeros((48, 160), np.float32)
    likelihood[40, 100] = 0.45
    rows = np.c_[centres, np.arange(1, 7)]
    made = Made("model", threshold=0.5, sigma=3.0)
    viewer.add_image(likelihood, name="likelihood", metadata=marked("likelihood", "g"))
    viewer.add_labels(labels, name="cells", metadata=marked("cells", "g", outlined=rows, made=made))
    features = {"label": np.arange(1, 7), "score": [1.0, 0.6, 1, 1, 1, 1]}
    viewer.add_points(np.array(centres), name="points", features=features, metadata=marked("points", "g"))
    return LookWidget(viewer)


def test_the_panel_lists_what_to_look_at_and_goes_from_one_to_the_next(looking, viewer):
    told = [looking._rows.item(row).text() for row in range(looking._rows.count())]
    assert told == [
        "cell 3: 9.0 times as large as most",
        "no cell: a peak of 0.45 without a cell",
        "cell 2: low score, 0.60",
    ]
    keys = KeymapHandler()
    keys.keymap_providers = [viewer]
    keys.press_key("N")
    assert tuple(viewer.scene.camera.center)[-2:] == (13.5, 51.5)
    assert viewer.layers["points"].selected_data == {2}
    keys.press_key("N")
    assert tuple(viewer.scene.camera.center)[-2:] == (40, 100)
    looking.list_places()
    assert [place.doubt.number for place in looking.places] == [2]
    keys.press_key("N")
    keys.press_key("N")
    assert looking._edited.value == "that was all."


def test_a_key_each_removes_adds_and_divides(looking, viewer):
    keys, points = KeymapHandler(), viewer.layers["points"]
    keys.keymap_providers = [viewer]
    keys.press_key("D")
    assert "no cell here to remove" in looking.work.problem.value
    keys.press_key("N")
    keys.press_key("T")
    assert sorted(points.data[-2:, 1]) == pytest.approx([45.5, 57.5]) or sorted(
        points.data[-2:, 0]
    ) == pytest.approx([7.5, 19.5])
    assert len(points.data) == 7
    assert looking._edited.value == "2 added, 1 removed: press “Cut again”"
    keys.press_key("N")
    looking.buttons[2].native.click()
    np.testing.assert_array_equal(points.data[-1], [40, 100])
    keys.press_key("N")
    keys.press_key("D")
    assert len(points.data) == 7
    assert not (points.data == [5.5, 23.5]).all(axis=1).any()
    viewer.cursor.position = (30, 30)
    keys.press_key("I")
    np.testing.assert_array_equal(points.data[-1], [30, 30])
    viewer.cursor.position = (30, 300)
    keys.press_key("I")
    assert looking.work.problem.value == "the mouse is not on the image"
    assert looking._edited.value == "4 added, 2 removed: press “Cut again”"
