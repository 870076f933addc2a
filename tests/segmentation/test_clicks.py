"""Clicks at segmentation: the clicked cells are outlined, in their order, and no others."""

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from wsis_jax.cli import main
from wsis_jax.core.config import Config
from wsis_jax.core.images import resize_labels
from wsis_jax.io.label_file import read_labels
from wsis_jax.io.point_file import read_points, write_points
from wsis_jax.output.formats.imagej import write_rois
from wsis_jax.segmentation.batch import BatchOptions, segment_files
from wsis_jax.segmentation.clicks import place_clicks
from wsis_jax.segmentation.pipeline import segment, segment_batch
from wsis_jax.segmentation.tiled.tiling import TileOptions, segment_tiled


@pytest.fixture(scope="module")
def scene(draw_small):
    return draw_small(100)


def clicks_on(scene, seed=0):
    """Some cells of a scene and a place without one, in an order of their own."""
    rng = np.random.default_rng(seed)
    return rng.permutation(np.concatenate([scene.points[1:], [[1.2, 60.4]]]))


def at_points(labels: np.ndarray, points: np.ndarray) -> np.ndarray:
    return labels[tuple(np.floor(points + 0.5).astype(int).T)]


# Of one image


@pytest.mark.parametrize("diameter", [8, 12, 17.3, 31])
def test_each_click_lies_in_its_own_label_and_there_are_no_others(tiny_run, scene, diameter):
    points, config = clicks_on(scene), tiny_run.model.config.for_diameter(diameter)
    found = segment(tiny_run.model, scene.image, config=config, points=points)
    np.testing.assert_array_equal(found.points, points)
    np.testing.assert_array_equal(at_points(found.labels, points), np.arange(1, len(points) + 1))
    assert found.labels.max() == len(points) == len(found.scores)
    assert found.dropped == 0


def test_clicks_at_the_peaks_are_what_is_detected(tiny_run, scene):
    detected = segment(tiny_run.model, scene.image)
    order = np.random.default_rng(1).permutation(len(detected.points))
    clicked = segment(tiny_run.model, scene.image, points=detected.points[order])
    # Outlines are smoothed as far as they hold the peak, here and there.
    expected = np.concatenate([[0], np.argsort(order) + 1])[detected.labels]
    np.testing.assert_array_equal(clicked.labels, expected)
    np.testing.assert_array_equal(clicked.scores, detected.scores[order])


def test_a_small_cell_that_was_clicked_is_no_speck(tiny_run, scene):
    config = tiny_run.model.config.override(["cut.min_area=100"])
    assert segment(tiny_run.model, scene.image, config=config).labels.max() == 0
    assert segment(tiny_run.model, scene.image, config=config, points=scene.points).labels.max() == 6


def test_regions_are_those_of_the_clicks_where_nothing_responds(tiny_run, scene):
    config = tiny_run.model.config.override(["detect.region=response", "detect.threshold=1"])
    found = segment(tiny_run.model, scene.image, config=config, points=scene.points)
    assert set(np.unique(found.detection.regions)) == set(range(7))
    assert found.labels.max() == 6


def test_each_image_of_a_batch_has_its_own_clicks(tiny_run, draw_small):
    scenes = [draw_small(seed) for seed in (100, 101)]
    clicks, none = scenes[0].points[:3], np.empty((0, 2))
    images = np.stack([scene.image for scene in scenes])
    first, second = segment_batch(tiny_run.model, images, points=[clicks, none])
    assert (first.labels.max(), second.labels.max()) == (3, 0)
    np.testing.assert_array_equal(first.labels, segment(tiny_run.model, images[0], points=clicks).labels)
    with pytest.raises(ValueError, match="there are 2 images and points for 1"):
        segment_batch(tiny_run.model, images, points=[clicks])


def test_a_cell_that_is_clicked_twice_is_one(tiny_run, scene):
    points = np.concatenate([scene.points[:2], np.round(scene.points[:1]) + 0.2, np.round(scene.points[:1]) - 0.2])
    said = r"the point at row \S+, column \S+ and 1 more lies in the same pixel of the network as an earlier one"
    with pytest.warns(UserWarning, match=said):
        found = segment(tiny_run.model, scene.image, points=points)
    np.testing.assert_array_equal(found.points, points[:2])
    assert found.labels.max() == 2


def test_clicks_outside_or_without_columns_are_refused(unchecked, tiny_run, scene):
    with pytest.raises(ValueError, match=r"points: point 1 \(counted from 0\) at row 3, column 66 is outside"):
        segment(tiny_run.model, scene.image, points=np.array([[2.0, 2], [3, 66]]))
    with pytest.raises(ValueError, match=r"the points are of shape \(4,\); give \(row, column\) of each cell"):
        segment(tiny_run.model, scene.image, points=np.arange(4.0))


def test_there_is_no_cell_in_a_constant_image(tiny_run):
    image, labels = np.full((40, 50), 7, np.float32), np.zeros((40, 50), np.uint32)
    points = np.array([[3.0, 4.0]])
    with pytest.raises(ValueError, match="the image is constant, so there is no cell to outline at its points"):
        segment(tiny_run.model, image, points=points)
    with pytest.raises(ValueError, match="the image is constant, so there is no cell to outline at its points"):
        segment_tiled(tiny_run.model, image, labels, options=TileOptions(points=points))


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(-0.5, 30.49), st.floats(-0.5, 22.49)), min_size=1, max_size=8),
    st.floats(0.1, 3),
)
def test_a_clicked_pixel_shows_the_pixel_of_the_network_that_stands_for_it(places, scale):
    points, config = np.array(places), Config().override([f"image.scale={scale}", "likelihood.sigma=3"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wsis_jax.segmentation.clicks.warn_about_image", lambda message: None)
        clicks = place_clicks(points, (31, 23), config=config)
    labels = np.zeros((max(round(31 * scale), 1), max(round(23 * scale), 1)), np.int32)
    labels[tuple(clicks.peaks.T)] = np.arange(1, len(clicks.peaks) + 1)
    shown = resize_labels(labels, (31, 23))
    np.testing.assert_array_equal(at_points(shown, clicks.points), np.arange(1, len(clicks.peaks) + 1))
    assert (at_points(shown, points) > 0).all()  # also of those that are left out


# In tiles


def test_tiles_outline_the_same(tiny_run, draw_small):
    scene = draw_small(7, cells=38, shape=(150, 173))
    points, config = clicks_on(scene), tiny_run.model.config.for_diameter(12)
    expected = segment(tiny_run.model, scene.image, config=config, points=points)
    labels = np.zeros(scene.image.shape, np.uint32)
    found = segment_tiled(
        tiny_run.model, scene.image, labels, config=config, tile=60, options=TileOptions(points=points)
    )
    np.testing.assert_array_equal(labels, expected.labels)
    np.testing.assert_array_equal(found.points, points)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(at_points(labels, points), np.arange(1, len(points) + 1))


# Of files


@pytest.fixture
def clicked(tmp_path, draw_small, write_scene):
    """Images a.tif and b.tif, and points of both."""
    for name, seed in {"a": 100, "b": 101}.items():
        write_scene(tmp_path, name, draw_small(seed))
    return tmp_path


def outlined(run, folder, **options):
    files = sorted((folder / "image").iterdir())
    reading = BatchOptions(points=folder / "points", kinds=["labels", "points", "masks"], **options)
    return segment_files(run, files, folder / "out", options=reading)


def test_files_are_outlined_at_the_points_of_their_names(tiny_run, clicked):
    results = outlined(tiny_run.model, clicked)
    assert [(one.cells, one.error, one.skipped) for one in results] == [(6, None, False)] * 2
    for name in "ab":
        labels, points = read_labels(clicked / "out" / f"{name}_labels.tif"), clicked / "points" / f"{name}.csv"
        np.testing.assert_array_equal(at_points(labels, read_points(points)[0]), np.arange(1, 7))
        assert points.read_bytes() == (clicked / "out" / f"{name}_points.csv").read_bytes()
        np.testing.assert_array_equal(read_labels(clicked / "out" / f"{name}_cp_masks.png"), labels)


def test_clicks_may_be_rois_and_lie_on_the_very_border(tiny_run, clicked):
    labels = np.zeros((64, 64), np.int32)
    labels[9:12, 9:12], labels[29:32, 39:42] = 1, 2
    write_rois(clicked / "rois" / "a.zip", labels)
    write_points(clicked / "rois" / "b.csv", np.array([[30.0, 30.0], [64.2, 10.0]]))
    options = BatchOptions(points=clicked / "rois", kinds=["labels", "points"])
    files = sorted((clicked / "image").iterdir())
    first, second = segment_files(tiny_run.model, files, clicked / "out", options=options)
    assert (first.cells, first.error, first.warnings) == (2, None, [])
    assert read_points(clicked / "out" / "a_points.csv")[0].tolist() == [[10, 10], [30, 40]]
    assert second.warnings == ["1 point was less than a pixel outside of the image, and moved to its border"]
    assert read_points(clicked / "out" / "b_points.csv")[0].tolist() == [[30, 30], [63, 10]]


def test_an_edited_point_file_has_its_image_done_again(tiny_run, clicked):
    outlined(tiny_run.model, clicked)
    assert [one.skipped for one in outlined(tiny_run.model, clicked)] == [True, True]
    path = clicked / "points" / "a.csv"
    write_points(path, read_points(path)[0][:4])
    results = outlined(tiny_run.model, clicked)
    assert [(one.skipped, one.cells) for one in results] == [(False, 4), (True, 6)]
    detected = segment_files(tiny_run.model, [clicked / "image" / "a.tif"], clicked / "out")
    assert not detected[0].skipped


def test_images_without_points_fail_alone(tiny_run, clicked):
    (clicked / "points" / "a.csv").rename(clicked / "points" / "c.csv")
    write_points(clicked / "points" / "b.csv", np.array([[3.0, 4], [5, 66]]))
    with pytest.warns(UserWarning, match=r"c\.csv: left out, since no image has that name"):
        first, second = outlined(tiny_run.model, clicked)
    assert (
        first.error
        == f"{clicked / 'image' / 'a.tif'}: has no point file of its name among those of --points; add it"
    )
    assert second.error.startswith(
        "b: point 1 (counted from 0) at row 5, column 66 is outside the image of 64 rows"
    )
    (clicked / "points" / "b.csv").unlink()
    (clicked / "points" / "d.csv").write_text("row,column\n1,2\n")
    with pytest.raises(ValueError, match=r"a\.tif: neither this image nor any other has a point file of its name"):
        outlined(tiny_run.model, clicked)


@pytest.mark.parametrize("tiles", [False, True])
def test_the_frames_of_a_film_have_their_own_points(tiny_run, draw_small, tmp_path, tiles):
    scenes = [draw_small(seed) for seed in (100, 101, 102)]
    film, out = tmp_path / "film.tif", tmp_path / "out"
    tifffile.imwrite(film, np.stack([scene.image for scene in scenes]), photometric="minisblack")
    points = tmp_path / "clicks.csv"
    write_points(points, {0: scenes[0].points, 2: scenes[2].points[:4]})
    reading = BatchOptions(points=points, kinds=["labels"], tiles=tiles)
    results = segment_files(tiny_run.model, [film], out, options=reading)
    assert [(one.cells, one.error) for one in results] == [(6, None), (0, None), (4, None)]
    assert [one.warnings for one in results] == [[], ["there is no point in it, so it holds no cells"], []]
    write_points(points, {3: scenes[0].points})
    (result,) = segment_files(tiny_run.model, [film], out, options=reading)
    assert "clicks.csv: has points in frame 3, but" in result.error


def test_the_command_outlines_clicks(tiny_run, clicked, capsys):
    command = ["segment", str(tiny_run.folder), str(clicked / "image"), "--out", str(clicked / "out")]
    assert main([*command, "--points", str(clicked / "points" / "*.csv"), "--format", "masks"]) == 0
    printed = capsys.readouterr()
    assert ("a: 6 cells" in printed.out, "b: 6 cells" in printed.out, printed.err) == (True, True, "")
