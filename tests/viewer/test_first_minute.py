"""The first minute in the viewer: what is chosen, offered, opened and remembered by itself."""

import json
import shutil
import threading
from types import SimpleNamespace

import numpy as np
import pytest

import wsis_jax

napari = pytest.importorskip("napari", reason="napari is not installed", exc_type=ImportError)
pytest.importorskip("qtpy.QtCore", reason="Qt cannot be loaded", exc_type=ImportError)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


def test_one_image_and_one_layer_of_points_are_chosen(viewer):
    from wsis_jax.viewer.training import TrainWidget

    early = TrainWidget(viewer)
    image = viewer.add_image(np.zeros((9, 9)), name="image")
    points = viewer.add_points([[1, 2]], name="clicks")
    for widget in (early, TrainWidget(viewer)):
        assert widget.images.value == [image]
        assert widget.points.value == [points]
    viewer.add_image(np.zeros((9, 9)), name="another")
    assert early.images.value == [image]


def test_what_was_made_of_an_image_is_not_offered(viewer, results):
    from wsis_jax.viewer.reading import read_results
    from wsis_jax.viewer.results import create
    from wsis_jax.viewer.segmenting import SegmentWidget
    from wsis_jax.viewer.training import TrainWidget

    for data in read_results(results[0]):
        viewer.add_layer(create(data))
    title = results[0].name
    segmenting, teaching = SegmentWidget(viewer), TrainWidget(viewer)
    assert [layer.name for layer in segmenting.image.choices] == [f"{title} image"]
    assert [layer.name for layer in teaching.images.choices] == [f"{title} image"]
    assert [layer.name for layer in teaching.points.choices] == [f"{title} points"]
    assert viewer.layers[f"{title} cells"].contour == 2


def test_run_folders_are_remembered_and_damage_does_no_harm(tiny_run, tmp_path):
    from wsis_jax.viewer.models import Models

    file = tmp_path / "config" / "models.json"
    models, packaged = Models(file), wsis_jax.network.packaged_models()
    assert models.names() == packaged
    models.add(tiny_run.folder)
    models.add(tmp_path / "gone")
    assert models.chosen == str(tmp_path / "gone")
    again = Models(file)
    assert again.names() == [*packaged, str(tiny_run.folder)]
    assert again.chosen == str(tiny_run.folder)
    assert json.loads(file.read_text()) == {"models": [str(tiny_run.folder), str(tmp_path / "gone")]}
    for damaged in (
        b"{",
        b"\xff\xfe",
        b"[1]",
        b'{"models": 3}',
        b'{"models": [3, null, "a\\u0000b"]}',
        b"[" * 9999,
    ):
        file.write_bytes(damaged)
        assert Models(file).names() == packaged
    for run in range(20):
        models.add(tmp_path / f"run{run}")
    assert len(json.loads(file.read_text())["models"]) == 12
    file.unlink()
    file.mkdir()
    models.add(tiny_run.folder)
    assert Models(file).names() == packaged


def test_a_folder_is_opened_from_the_widget(segmenting, viewer, results, tiny_run, tmp_path):
    segmenting.open_folder(results[0])
    assert f"{results[0].name} cells" in viewer.layers
    assert segmenting.points.value is None
    moved = tmp_path / "moved"
    shutil.copytree(tiny_run.folder, moved)
    segmenting.open_folder(moved)
    assert segmenting.model.value == str(moved)
    (tmp_path / "empty").mkdir()
    segmenting.open_folder(tmp_path / "empty")
    assert segmenting.work.problem.value == (
        f"{tmp_path / 'empty'}: holds neither results of wsis segment nor a trained model; open images with "
        "File > Open"
    )


def test_other_folders_are_read_as_napari_reads_them(application, tmp_path):
    import tifffile

    from wsis_jax.viewer.reading import get_reader

    for name in "ab":
        tifffile.imwrite(tmp_path / f"{name}.tif", np.full((4, 5), ord(name), np.uint8))
    reader = get_reader(str(tmp_path))
    assert reader is not None
    ((data, *_),) = reader(str(tmp_path))
    np.testing.assert_array_equal(np.asarray(data)[:, 0, 0], [97, 98])


def test_our_reader_is_the_first_that_napari_offers():
    from npe2 import PluginManifest

    ours = PluginManifest.from_distribution("wsis-jax").display_name
    theirs = PluginManifest.from_distribution("napari").display_name
    assert sorted([theirs, ours])[0] == ours


@pytest.fixture
def preferred(monkeypatch):
    """The readers that napari prefers, of a user who has no preference yet and whose plugins are these two."""
    from napari.settings import get_settings
    from npe2 import PluginManager, PluginManifest

    plugins = PluginManager()
    for name in ("wsis-jax", "napari"):
        plugins.register(PluginManifest.from_distribution(name))
    monkeypatch.setattr(PluginManager, "instance", lambda: plugins)
    settings = get_settings().plugins
    before = settings.extension2reader
    settings.extension2reader = {}
    yield settings
    settings.extension2reader = before


def test_a_folder_that_was_opened_is_dropped_without_a_question(segmenting, viewer, results, tmp_path, preferred):
    from napari.errors import MultipleReaderError

    folder = tmp_path / "day [1]"
    shutil.copytree(results[0], folder)
    with pytest.raises(MultipleReaderError):
        viewer.open(str(folder), plugin=None)  # as what is dropped
    segmenting.open_folder(folder)
    viewer.layers.clear()
    viewer.open(str(folder), plugin=None)
    assert f"{folder.name} cells" in viewer.layers
    assert list(preferred.extension2reader.values()) == ["wsis-jax"]
    with pytest.raises(MultipleReaderError):  # only that one
        viewer.open(str(results[0]), plugin=None)


def test_what_a_user_prefers_stays(segmenting, results, preferred):
    preferred.extension2reader = {f"{results[0].resolve().parent}/*": "napari"}
    segmenting.open_folder(results[0])
    assert list(preferred.extension2reader.values()) == ["napari"]


def test_corrections_go_back_to_their_folder_and_win_when_it_is_opened_again(
    segmenting, viewer, results, tiny_run, tmp_path, finish, press
):
    from wsis_jax.io import read_points
    from wsis_jax.viewer.layers import Shown
    from wsis_jax.viewer.looking import LookWidget

    folder, made = tmp_path / "results", results[1]
    shutil.copytree(results[0], folder)
    looking = LookWidget(viewer)
    segmenting.open_folder(folder)
    points, cells = viewer.layers["results points"], viewer.layers["results cells"]
    looking.reset_choices()
    segmenting.image.value, segmenting.points.value = viewer.layers["results image"], points
    shown = Shown.by(viewer.layers["results image"])
    assert [shown.plane((step,), "grey").shape for step in (0, 1)] == [(64, 64), (48, 64)]
    assert looking.cells.value is cells
    before = np.asarray(cells.data)
    second = np.flatnonzero(points.data[:, 0] == 1)
    gone = int(points.features["label"][second[0]])
    points.selected_data = {int(second[0])}
    points.remove_selected()
    assert len(read_points(folder / "b_corrections.csv")[0]) == len(made["b"][1].points) - 1
    press(segmenting.work.buttons["Cut again"])
    finish(segmenting)
    assert segmenting.work.problem.value == ""
    assert segmenting.work.status.value == "outlined: 1 removed in b"
    after = np.asarray(cells.data)
    np.testing.assert_array_equal(after[0], before[0])
    np.testing.assert_array_equal(after[1], np.where(before[1] == gone, 0, before[1]))
    assert not (folder / "a_corrections.csv").exists()
    left = np.delete(made["b"][1].points, gone - 1, axis=0)
    np.testing.assert_allclose(read_points(folder / "b_corrections.csv")[0], left, atol=0.01)
    np.testing.assert_allclose(read_points(folder / "b_points.csv")[0], made["b"][1].points, atol=0.01)
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]

    # Opened again, the points are the corrected ones, and the cells those that were outlined before.
    viewer.layers.clear()
    segmenting.open_folder(folder)
    points = viewer.layers["results points"]
    np.testing.assert_allclose(points.data[points.data[:, 0] == 1][:, 1:], left, atol=0.01)
    looking.reset_choices()
    assert looking._edited.value == "1 removed: press “Cut again”"
    assert any("b: cell" in looking._rows.item(row).text() for row in range(looking._rows.count()))


def test_cells_of_several_images_are_cut_in_the_image_of_their_name(viewer):
    from wsis_jax.viewer.marks import Made, marked
    from wsis_jax.viewer.results import image_plane, results_with

    names = ["a", "b"]
    about = {"names": names, "shapes": [(6, 9), (6, 9)], **marked("cells", "g", made=Made(""))}
    cells = viewer.add_labels(np.zeros((2, 6, 9), int), name="cells", metadata=about)
    viewer.add_points(np.zeros((0, 3)), name="points", metadata=marked("points", "g"))
    a, other = viewer.add_image(np.zeros((6, 9)), name="a"), viewer.add_image(np.ones((6, 9)), name="c")
    results = results_with(viewer, cells)
    assert image_plane(viewer, other, results, (0,))[0].pixels is a.data
    for image in (a, other):
        with pytest.raises(ValueError, match="b: the cells are 6 × 9 pixels, and no chosen layer is their image"):
            image_plane(viewer, image, results, (1,))
    b = viewer.add_image(np.full((6, 9), 2.0), name="b")
    assert image_plane(viewer, a, results, (1,))[0].pixels is b.data
    stack = viewer.add_image(np.zeros((2, 6, 9)), name="stack")
    viewer.layers.remove("b")
    assert image_plane(viewer, stack, results, (1,))[1] == (1,)


def test_a_training_takes_the_next_number_of_its_folder(tmp_path):
    from wsis_jax.viewer.training import next_run

    assert next_run(tmp_path / "run") == tmp_path / "run"
    for name in ("run", "run-2", "run-4", "plate-7"):
        (tmp_path / name / "weights").mkdir(parents=True)
    assert next_run(tmp_path / "run") == tmp_path / "run-3"
    assert next_run(tmp_path / "run-4") == tmp_path / "run-5"
    assert next_run(tmp_path / "plate-7") == tmp_path / "plate-8"


def test_the_time_left_is_told_in_words():
    from wsis_jax.viewer.work import in_time

    assert [in_time(seconds) for seconds in (0.2, 48.0, 100.0, 3000.0, 20_000.0)] == [
        "about 1 s",
        "about 48 s",
        "about 2 min",
        "about 50 min",
        "about 6 h",
    ]


def test_work_tells_how_long_it_goes_on_until_it_knows_how_long_it_takes(application, finish, press):
    from wsis_jax.viewer.work import Work

    told, begun, seen = [], threading.Event(), threading.Event()

    def work(show):
        assert begun.wait(60)
        for step in range(1, 5):
            seen.clear()
            show(step, 40, f"step {step}")
            assert seen.wait(60)
        return lambda: None

    one = Work({"Work": lambda: work})

    def look():
        if one.status.value not in told:
            told.append(one.status.value)
        if one.status.value.startswith("getting ready … "):
            begun.set()
        if one.status.value.startswith("step"):
            seen.set()

    press(one.run)
    finish(SimpleNamespace(work=one), meanwhile=look)
    steps = [status for status in told if status.startswith("step")]
    assert [status.partition(",")[0] for status in steps] == ["step 1", "step 2", "step 3", "step 4"]
    # The first step compiles programs, and the next one is too few to tell.
    assert [status.endswith(" left") for status in steps] == [False, False, True, True]


def test_the_curve_rises_with_the_score_and_falls_with_the_loss(application):
    from wsis_jax.viewer.curve import Curve, Validation, lines_of

    validations = [Validation(50, 0.1, 0.2, 0.0), Validation(100, 0.001, 0.02, 1.0)]
    lines = lines_of(validations, 212, 128)
    assert lines["F-measure"] == [(106.0, 122.0), (206.0, 22.0)]
    assert [y for _, y in lines["of checked images"]] == pytest.approx(
        [22, 122 - 100 * np.log10(20) / np.log10(200)]
    )
    assert lines["loss"][1][1] == pytest.approx(122)
    assert lines_of([], 212, 128) == {}
    assert lines_of([Validation(0, 0.1, 0.1, 0.5)], 212, 128)["F-measure"] == [(6.0, 72.0)]
    curve = Curve()
    curve.clear("held out")
    for one in validations:
        curve.add({"step": one.step, "loss": one.loss, "validation_loss": one.checked, "f_measure": one.f_measure})
    curve.resize(212, 110)
    image = curve.grab().toImage()
    colours = {image.pixelColor(x, y).name() for x in range(image.width()) for y in range(image.height())}
    assert {"#20242b", "#4fc3f7"} <= colours
