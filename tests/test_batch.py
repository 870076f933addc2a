"""Many files: which belong together, what is written, and that one bad file does not stop the others."""

import numpy as np
import pytest
import tifffile

from wsis_jax import batch
from wsis_jax.batch import read_training_set, segment_files
from wsis_jax.imageio import read_image, read_labels
from wsis_jax.points import read_points, write_points

POINTS = np.array([[3.0, 4.0], [10.0, 12.0]])


def write_image(path, *, pages: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(0).integers(0, 255, (pages, 20, 24)).astype(np.uint8)
    tifffile.imwrite(path, values[0] if pages == 1 else values, photometric="minisblack")


def write_frames(path, *frames: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("frame,row,column\n" + "".join(f"{frame},3,{4 + frame}\n" for frame in frames))


# Reading images and points


def test_images_and_points_are_paired_by_name(tmp_path):
    for name in ("b", "a"):
        write_image(tmp_path / "image" / f"{name}.tif")
        write_points(tmp_path / "points" / f"{name}.csv", POINTS + (name == "b"))
    data = read_training_set(tmp_path / "image", str(tmp_path / "points" / "*.csv"))
    assert [points[0, 0] for points in data.points] == [3, 4]
    assert [name.count("a.tif") for name in data.names] == [1, 0]
    assert "b.csv" in data.names[1]
    assert data.images[0].shape == (20, 24)


def test_one_image_and_one_file_of_points_need_no_common_name(tmp_path):
    write_image(tmp_path / "image.tif")
    write_points(tmp_path / "clicks.csv", POINTS)
    data = read_training_set(tmp_path / "image.tif", tmp_path / "clicks.csv")
    np.testing.assert_array_equal(data.points[0], POINTS)


def test_what_has_no_partner_is_left_out_with_a_warning(tmp_path):
    for name in ("a", "b"):
        write_image(tmp_path / f"{name}.tif")
        write_points(tmp_path / f"{chr(ord(name) + 1)}.csv", POINTS)
    with pytest.warns(UserWarning, match="left out") as caught:
        data = read_training_set(tmp_path, tmp_path)
    assert [str(w.message).split(":")[0] for w in caught] == [str(tmp_path / "a.tif"), str(tmp_path / "c.csv")]
    assert len(data.images) == 1
    assert "b.tif" in data.names[0]


def test_pages_are_frames(tmp_path):
    write_image(tmp_path / "a.tif", pages=3)
    write_frames(tmp_path / "a.csv", 0, 2, 2)
    with pytest.warns(UserWarning, match="page 1 is left out"):
        data = read_training_set(tmp_path / "a.tif", tmp_path / "a.csv")
    assert [len(points) for points in data.points] == [1, 2]
    np.testing.assert_array_equal(data.images, read_image(tmp_path / "a.tif")[[0, 2]])
    assert data.names[1].endswith("a.csv, frame 2")


def test_of_a_single_image_the_number_of_the_frame_does_not_matter(tmp_path):
    write_image(tmp_path / "a.tif")
    write_frames(tmp_path / "a.csv", 7)
    np.testing.assert_array_equal(read_training_set(tmp_path / "a.tif", tmp_path / "a.csv").points[0], [[3, 11]])


def test_frames_that_the_image_does_not_have_are_refused(tmp_path):
    write_image(tmp_path / "a.tif", pages=2)
    write_frames(tmp_path / "a.csv", 0, 2)
    with pytest.raises(ValueError, match=r"a\.csv: has points in frame 2, but .*a\.tif has 2 frame\(s\)"):
        read_training_set(tmp_path / "a.tif", tmp_path / "a.csv")


def test_no_pair_at_all_is_refused(tmp_path):
    for name in ("a", "b"):
        write_image(tmp_path / f"{name}.tif")
        write_points(tmp_path / f"{name}{name}.csv", POINTS)
    with pytest.raises(ValueError, match="name them alike"):
        read_training_set(tmp_path, tmp_path)


def test_files_without_one_point_are_refused(tmp_path):
    write_image(tmp_path / "a.tif")
    write_points(tmp_path / "a.csv", np.empty((0, 2)))
    with pytest.raises(ValueError, match=r"a\.csv: holds no point"):
        read_training_set(tmp_path / "a.tif", tmp_path / "a.csv")


# Segmenting


def test_results_are_written_and_readable(tiny_run, draw_small, write_scene, tmp_path):
    write_scene(tmp_path, "a", draw_small(100))
    seen = []
    outcomes = segment_files(
        tiny_run.run,
        [tmp_path / "image" / "a.tif"],
        tmp_path / "new" / "out",
        config=tiny_run.run.config,
        on_file=seen.append,
    )
    assert seen == [outcomes]
    assert [(o.name, o.warnings, o.error) for o in outcomes] == [("a", [], None)]
    out = tmp_path / "new" / "out"
    assert sorted(p.name for p in out.iterdir()) == ["a_labels.tif", "a_overlay.png", "a_points.csv"]
    labels, points = read_labels(out / "a_labels.tif"), read_points(out / "a_points.csv")[0]
    assert labels.max() == len(points) == outcomes[0].cells
    assert outcomes[0].cells >= 4
    assert read_image(out / "a_overlay.png").shape == (1, 64, 64)


def test_pages_get_numbered_results(tiny_run, draw_small, tmp_path):
    pages = np.stack([draw_small(seed).image for seed in (100, 101)])
    tifffile.imwrite(tmp_path / "film.tif", pages, photometric="minisblack")
    outcomes = segment_files(tiny_run.run, [tmp_path / "film.tif"], tmp_path / "out", config=tiny_run.run.config)
    assert [outcome.name for outcome in outcomes] == ["film_0000", "film_0001"]
    for outcome in outcomes:
        assert read_labels(tmp_path / "out" / f"{outcome.name}_labels.tif").max() == outcome.cells


def test_a_bad_file_does_not_stop_the_others(tiny_run, draw_small, write_scene, tmp_path):
    write_scene(tmp_path, "c", draw_small(100))
    (tmp_path / "a.tif").touch()
    (tmp_path / "b.tif").write_text("no image")
    files = [tmp_path / "a.tif", tmp_path / "b.tif", tmp_path / "image" / "c.tif"]
    outcomes = segment_files(tiny_run.run, files, tmp_path / "out", config=tiny_run.run.config)
    assert [outcome.cells is None for outcome in outcomes] == [True, True, False]
    assert "a.tif: the file is empty" in outcomes[0].error
    assert "b.tif" in outcomes[1].error
    assert {path.name[0] for path in (tmp_path / "out").iterdir()} == {"c"}


def test_an_image_that_cannot_be_segmented_does_not_stop_the_others(tiny_run, monkeypatch, tmp_path):
    for name in ("a", "b"):
        write_image(tmp_path / f"{name}.tif")
    segment, calls = batch.segment, []

    def fails_at_first(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 1:
            raise ValueError("too small for the network")
        return segment(*arguments, **options)

    monkeypatch.setattr(batch, "segment", fails_at_first)
    files = [tmp_path / "a.tif", tmp_path / "b.tif"]
    outcomes = segment_files(tiny_run.run, files, tmp_path / "out", config=tiny_run.run.config)
    assert outcomes[0].error == "a: too small for the network"
    assert outcomes[1].error is None


def test_warnings_are_reported_with_the_image(tiny_run, tmp_path):
    tifffile.imwrite(tmp_path / "flat.tif", np.full((30, 30), 9, np.uint8))
    (outcome,) = segment_files(tiny_run.run, [tmp_path / "flat.tif"], tmp_path / "out", config=tiny_run.run.config)
    assert outcome.cells == 0
    assert outcome.warnings == ["the image is constant, so it holds no cells"]
    assert not read_labels(tmp_path / "out" / "flat_labels.tif").any()
    assert read_points(tmp_path / "out" / "flat_points.csv")[0].shape == (0, 2)


def test_two_images_of_one_name_are_refused(tiny_run, tmp_path):
    with pytest.raises(ValueError, match="two images are called a"):
        segment_files(tiny_run.run, [tmp_path / "a.tif", tmp_path / "a.png"], tmp_path, config=tiny_run.run.config)
