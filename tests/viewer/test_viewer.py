"""The plugin of napari, without a screen: its manifest, its reader, its sample data and its widgets."""

import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import wsis_jax
from wsis_jax.network.model import load_model

napari = pytest.importorskip("napari", reason="napari is not installed", exc_type=ImportError)
QtCore = pytest.importorskip("qtpy.QtCore", reason="Qt cannot be loaded", exc_type=ImportError)
Layer = pytest.importorskip("napari.layers").Layer

# A training of seconds: of five steps, validated at the third.
TINY = [
    *("unet.encoder=[2,4]", "unet.decoder=[2]", "train.batch=2", "train.patch=32", "train.warmup=1"),
    *("train.steps=5", "train.evaluate_every=3", "train.validation=0.5", "image.scale=1", "likelihood.sigma=3"),
]

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


def shapes(layers) -> dict[str, tuple[int, ...]]:
    return {layer.name: np.shape(layer.data) for layer in layers}


def test_the_manifest_is_valid_and_found_by_the_name_of_the_package():
    command = [sys.executable, "-m", "npe2", "validate", "wsis-jax", "--imports"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "valid" in done.stdout


def test_sample_data_are_cells_with_their_clicks(viewer):
    from wsis_jax.viewer.layers import drawn_scene

    image, cells, points = (viewer.add_layer(Layer.create(*data)) for data in drawn_scene())
    assert image.data.shape == cells.data.shape
    assert len(points.data) == cells.data.max()
    own = cells.data[tuple(np.round(points.data).astype(int).T)]
    assert (own == np.arange(len(own)) + 1).mean() > 0.9


def read(folder: Path) -> list[Layer]:
    from wsis_jax.viewer.reading import get_reader

    reader = get_reader(str(folder))
    assert reader is not None
    return [Layer.create(*data) for data in reader(str(folder))]


def test_results_of_one_image_are_opened_as_they_are(application, results, tmp_path):
    folder, made = results
    for path in folder.glob("a[._]*"):
        (shutil.copytree if path.is_dir() else shutil.copy)(path, tmp_path / path.name)
    layers, (image, result) = {layer.name: layer for layer in read(tmp_path)}, made["a"]
    np.testing.assert_array_equal(layers["a image"].data, image)
    np.testing.assert_array_equal(layers["a cells"].data, result.labels)
    np.testing.assert_array_equal(layers["a likelihood"].data, result.detection.likelihood)
    np.testing.assert_array_equal(layers["a winners"].data, result.winner.owner)
    np.testing.assert_array_equal(layers["a contributions"].data, result.winner.value)
    np.testing.assert_allclose(layers["a points"].data, result.points, atol=0.01)
    np.testing.assert_allclose(layers["a points"].features["score"], result.scores, rtol=1e-5)
    assert not layers["a likelihood"].visible
    assert layers["a cells"].visible


def test_results_of_several_images_are_a_stack(application, results):
    folder, made = results
    layers = {layer.name.removeprefix(folder.name + " "): layer for layer in read(folder)}
    assert layers["cells"].metadata["names"] == ["a", "b"]
    for index, (image, result) in enumerate(made.values()):
        height = len(image)
        np.testing.assert_array_equal(np.asarray(layers["image"].data[index])[:height], image)
        np.testing.assert_array_equal(np.asarray(layers["cells"].data[index])[:height], result.labels)
        assert not np.asarray(layers["cells"].data[index])[height:].any()
        points = layers["points"]
        own = points.data[:, 0] == index
        np.testing.assert_allclose(points.data[own, 1:], result.points, atol=0.01)
        assert set(points.features["image"][own]) == {"ab"[index]}
    assert layers["cells"].data.shape == (2, 64, 64)


def test_results_in_folders_are_in_the_stack_too(application, results, tmp_path):
    folder, made = results
    for well, image in (("A1", "a"), ("A2", "b")):
        (tmp_path / well).mkdir()
        for kind in ("labels.tif", "points.csv", "cells.csv"):
            shutil.copy(folder / f"{image}_{kind}", tmp_path / well / f"img_{kind}")
    lines = [{"files": [f"{well}/img_labels.tif"]} for well in ("A1", "A2")] + [{"files": ["../x/y_labels.tif"]}]
    (tmp_path / "manifest.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    layers = {layer.name.removeprefix(tmp_path.name + " "): layer for layer in read(tmp_path)}
    assert layers["cells"].metadata["names"] == ["A1/img", "A2/img"]
    for index, (image, result) in enumerate(made.values()):
        np.testing.assert_array_equal(np.asarray(layers["cells"].data[index])[: len(image)], result.labels)
    features = layers["points"].features
    assert set(features["image"]) == {"A1/img", "A2/img"}
    assert features["area"].notna().all()


def test_a_run_folder_shows_how_it_learned_and_offers_its_model(application, tiny_run, said):
    from wsis_jax.viewer.models import MODELS

    (pictures,) = read(tiny_run.folder)
    assert pictures.rgb
    assert pictures.metadata["steps"] == sorted(pictures.metadata["steps"])
    assert len(pictures.data) == len(pictures.metadata["steps"]) > 0
    assert str(tiny_run.folder) in MODELS.names()
    assert any("chosen in the widget" in message for message in said())


def test_labels_of_an_image_in_tiles_are_its_cells(tmp_path):
    from wsis_jax.io import writing_labels
    from wsis_jax.viewer.reading import images_of

    labels = np.arange(20, dtype=np.uint32).reshape(4, 5)
    with writing_labels(tmp_path / "a_labels.ome.zarr", (4, 5), chunks=(4, 5)) as array:
        array[:] = labels
    (image,) = images_of(tmp_path)
    assert (image.name, image.shape(), list(image.files)) == ("a", (4, 5), ["labels"])
    np.testing.assert_array_equal(image.read("cells"), labels)


def test_other_folders_are_declined_and_damaged_ones_named_in_a_sentence(application, results, tmp_path, said):
    from wsis_jax.viewer.reading import get_reader

    (tmp_path / "a.tif").write_bytes(b"II*\0")
    assert get_reader(str(tmp_path / "a.tif")) is None
    assert get_reader([str(results[0])]) is None
    (tmp_path / "a_labels.tif").write_bytes(b"II*\0")
    reader = get_reader(str(tmp_path))
    assert reader is not None
    assert reader(str(tmp_path)) == [(None,)]
    (message,) = said()
    assert "a_labels.tif: the image is damaged" in message


def test_the_plane_shown_is_segmented_while_the_viewer_goes_on(
    segmenting, viewer, stack, tiny_run, monkeypatch, finish, press
):
    image = viewer.add_image(stack, name="film", scale=(2, 0.5, 0.5), translate=(0, 7, 8))
    viewer.dims.set_point(0, 2)
    ticked, segment = threading.Event(), wsis_jax.segment

    def wait_for_the_viewer(*arguments, **options):
        assert ticked.wait(60), "the event loop stands still"
        return segment(*arguments, **options)

    monkeypatch.setattr("wsis_jax.segmentation.segment", wait_for_the_viewer)
    timer = QtCore.QTimer()
    timer.timeout.connect(lambda: ticked.set() if segmenting.work.running else None)
    timer.start(1)
    press(segmenting.work.run)
    finish(segmenting)
    timer.stop()
    expected = segment(tiny_run.model, stack[1])
    assert shapes(viewer.layers) == {
        "film": (2, 64, 64),
        "film likelihood": (1, 64, 64),
        "film contributions": (1, 64, 64),
        "film winners": (1, 64, 64),
        "film cells": (1, 64, 64),
        "film detections": (len(expected.points), 3),
    }
    cells, points = viewer.layers["film cells"], viewer.layers["film detections"]
    np.testing.assert_array_equal(cells.data[0], expected.labels)
    np.testing.assert_array_equal(points.data[:, 1:], expected.points)
    np.testing.assert_allclose(points.features["score"], expected.scores)
    for layer in (cells, points, viewer.layers["film winners"]):
        np.testing.assert_allclose(layer.data_to_world((0, 3, 4)), image.data_to_world((1, 3, 4)))
    assert segmenting.work.status.value == f"{len(expected.points)} cells"


@pytest.mark.parametrize(
    ("channels", "taken"), [("colours", [0, 1, 2]), ((2, 0), [2, 0]), ((1,), 1), ((0, 3), [0, 3])]
)
def test_the_channels_of_a_layer_are_its_colours(application, channels, taken):
    pixels = np.random.default_rng(0).random((2, 8, 9, 4), np.float32)
    from wsis_jax.io import LUMINANCE
    from wsis_jax.viewer.layers import Shown

    shown = Shown("slide", pixels, rgb=True)
    np.testing.assert_array_equal(shown.plane((1,), channels), pixels[1][..., taken])
    np.testing.assert_allclose(shown.plane((1,), "grey"), pixels[1, ..., :3] @ LUMINANCE, rtol=1e-6)
    one = Shown("stain", pixels[..., 0], rgb=False)
    if len(channels) == 1:
        np.testing.assert_array_equal(one.plane((1,), channels), pixels[1, ..., 0])
    else:
        with pytest.raises(
            ValueError, match=r"stain: this layer has 1 channel, but the model takes [23] \(image.ch"
        ):
            one.plane((1,), channels)


def test_all_planes_are_segmented_until_it_is_stopped(
    segmenting, viewer, stack, tiny_run, monkeypatch, finish, press
):
    viewer.add_image(np.repeat(stack[..., None], 3, axis=-1), name="film", rgb=True)
    segmenting.planes.value, segmenting.evidence.value = "all", False
    press(segmenting.work.run)
    finish(segmenting)
    expected = [wsis_jax.segment(tiny_run.model, plane).labels for plane in stack]
    # Luminance changes the last digits of grey values.
    assert np.mean(viewer.layers["film cells"].data == expected) > 0.99
    steps = viewer.layers["film detections"].data[:, 0]
    assert set(steps) == {0, 1}
    assert len(viewer.layers) == 3
    stop = threading.Event()

    def stop_at_the_first(*arguments, **options):
        assert stop.wait(60)
        return result

    result = wsis_jax.segment(tiny_run.model, stack[0])
    monkeypatch.setattr("wsis_jax.segmentation.segment", stop_at_the_first)
    press(segmenting.work.run)
    press(segmenting.work.stop_button)
    stop.set()
    finish(segmenting)
    assert not segmenting.work.stop_button.enabled
    assert segmenting.work.run.enabled


@pytest.mark.parametrize("turned", [{}, {"rotate": 30, "affine": [[1, 0.2, 3], [0, 1.5, 4], [0, 0, 1]]}])
def test_what_has_larger_pixels_lies_on_the_image(application, turned):
    from wsis_jax.viewer.layers import placement

    image = napari.layers.Image(np.zeros((40, 60)), scale=(0.5, 0.25), translate=(3, 4), **turned)
    small = napari.layers.Image(np.zeros((10, 20)), **placement(image, (), (4.0, 3.0)))
    for part in (0.0, 0.3, 1.0):
        places = [np.array(layer.data.shape) * part - 0.5 for layer in (image, small)]
        np.testing.assert_allclose(small.data_to_world(places[1]), image.data_to_world(places[0]), atol=1e-9)


def test_errors_are_a_sentence_in_the_widget_in_full(segmenting, viewer, stack, tmp_path, said, finish, press):
    press(segmenting.work.run)
    problem = segmenting.work.problem
    assert problem.value == "there is no image layer to segment; open an image first"
    viewer.add_image(stack[0], name="image")
    moved = tmp_path / "a folder with a name as long as those of microscopes" / "run"
    shutil.copytree(tmp_path, moved)
    from wsis_jax.viewer.models import MODELS

    MODELS.add(moved)
    assert segmenting.model.value == str(moved)
    press(segmenting.work.run)
    finish(segmenting)
    assert problem.value.startswith(
        f"{moved}: no trained model here; make one with 'wsis train ... --run {moved}'"
    )
    assert problem.native.isReadOnly()
    assert problem.native.lineWrapMode() == problem.native.LineWrapMode.WidgetWidth
    assert said() == []
    assert segmenting.work.run.enabled
    assert len(viewer.layers) == 1
    MODELS.add("generalist")
    press(segmenting.work.buttons["Cut again"])
    assert problem.value == "there is no layer of points to outline cells at; segment first, or click the cells"


def test_a_fault_of_the_program_is_raised_and_the_widget_goes_on(application, finish, press):
    from wsis_jax.viewer.work import Work

    raised, work = [], Work({"Work": lambda: lambda show: 1 / 0})
    fail = work._fail

    def note(error):
        with pytest.raises(ZeroDivisionError) as caught:
            fail(error)
        raised.append(caught.value)

    work._fail = note
    press(work.run)
    finish(SimpleNamespace(work=work))
    assert len(raised) == 1
    assert work.run.enabled


def test_settings_that_are_not_understood_are_told(segmenting, viewer, stack, press):
    viewer.add_image(stack[0], name="image")
    segmenting.settings.value = "detect.threshold='0.4"
    press(segmenting.work.run)
    told = "the settings are not understood (No closing quotation); write them as in train.steps=500"
    assert segmenting.work.problem.value == told


def test_training_is_stopped_and_goes_on_and_its_model_is_offered(
    segmenting, viewer, draw_small, tmp_path, monkeypatch, finish, press
):
    from wsis_jax import training
    from wsis_jax.training import run_folder
    from wsis_jax.viewer.training import TrainWidget

    scenes = [draw_small(seed) for seed in (100, 105, 106)]
    image = viewer.add_image(np.stack([scene.image for scene in scenes]), name="film", scale=(1, 0.5, 0.5))
    # The last plane has no point, and those of the others are given in half pixels.
    places = [np.c_[np.full(6, step), scenes[step].points / 2] for step in (0, 1)]
    points = viewer.add_points(np.concatenate(places), name="film points")
    widget = TrainWidget(viewer)
    widget.images.value, widget.points.value, widget.run.value = [image], [points], tmp_path / "run"
    widget.settings.value = " ".join(TINY)
    pressed, train, learned = threading.Event(), training.train_on_set, []

    def stopped_at_the_third(data, *, callbacks, **options):
        def hold(step, steps):
            assert step < 3 or pressed.wait(60)
            callbacks.on_step(step, steps)

        learned.append((data.images, data.points))
        return train(data, callbacks=callbacks._replace(on_step=hold), **options)

    def stop():
        if widget.work.status.value.startswith("step 2 of 5"):
            press(widget.work.stop_button)
            pressed.set()

    monkeypatch.setattr(training, "train_on_set", stopped_at_the_third)
    press(widget.work.run)
    finish(widget, meanwhile=stop)
    assert run_folder.saved_step(tmp_path / "run") == 3
    assert widget.resume.value
    assert widget.work.status.value.startswith(f"stopped, and saved in {tmp_path / 'run'}; ")
    press(widget.work.run)
    finish(widget)
    assert run_folder.saved_step(tmp_path / "run") == 5
    assert widget.work.status.value.startswith("trained, loss 0.")
    assert segmenting.model.value == str(tmp_path / "run")
    load_model(tmp_path / "run")
    assert (tmp_path / "run" / "report.html").is_file()
    images, points = learned[1]
    for index, scene in enumerate(scenes[:2]):
        np.testing.assert_array_equal(images[index], scene.image)
        np.testing.assert_allclose(points[index], scene.points, atol=1e-9)
    assert len(images) == len(points) == 2


def test_points_belong_to_the_image_whose_name_they_begin_with(viewer, press):
    from wsis_jax.viewer.training import TrainWidget, pair_layers

    a, a2 = (viewer.add_image(np.zeros((9, 9)), name=name) for name in ("a", "a2"))
    of_a2, of_a = (viewer.add_points([[1, 2]], name=name) for name in ("a2 clicks", "a clicks"))
    assert pair_layers([a, a2], [of_a2, of_a]) == [(a2, of_a2), (a, of_a)]
    assert pair_layers([a], [of_a2]) == [(a, of_a2)]
    with pytest.raises(ValueError, match="a2: no points layer is chosen whose name begins so"):
        pair_layers([a, a2], [of_a])
    with pytest.raises(ValueError, match="a clicks: it is not clear to which image"):
        pair_layers([a2], [of_a2, of_a])
    widget = TrainWidget(viewer)
    press(widget.work.run)
    assert widget.work.problem.value == "no image layer is chosen to learn from; choose one in the list"
