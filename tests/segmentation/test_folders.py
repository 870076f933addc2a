"""Images of one name in several folders: their results are in the same folders, wherever results are named."""

import json

import numpy as np
import pytest
import tifffile

from wsis_jax.cli import main
from wsis_jax.io.label_file import read_labels, write_labels
from wsis_jax.io.paths import named_images
from wsis_jax.io.point_file import read_points, write_points
from wsis_jax.segmentation.batch import BatchOptions, segment_files
from wsis_jax.segmentation.evaluation import evaluate
from wsis_jax.training.data import read_training_set

WELLS = ("A1", "A2")


@pytest.fixture(scope="module")
def scenes(draw_small):
    """A drawn scene for each well."""
    return {well: draw_small(100 + number, shape=(48, 56)) for number, well in enumerate(WELLS)}


@pytest.fixture
def plate(scenes, tmp_path):
    """The folder plate with A1/img.tif and A2/img.tif; beside it clicks and masks in such folders."""
    for well, scene in scenes.items():
        for part in ("plate", "clicks", "masks"):
            (tmp_path / part / well).mkdir(parents=True)
        tifffile.imwrite(tmp_path / "plate" / well / "img.tif", np.round(scene.image * 60_000).astype(np.uint16))
        write_points(tmp_path / "clicks" / well / "img.csv", scene.points)
        write_labels(tmp_path / "masks" / well / "img.tif", scene.labels)
    return tmp_path / "plate"


def files_in(folder) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_results_are_in_the_folders_of_their_images_and_a_batch_goes_on(tiny_run, plate, scenes, tmp_path, capsys):
    out, told = tmp_path / "out", tmp_path / "told.json"
    command = ["segment", str(tiny_run.folder), str(plate), "--out", str(out), "--json", str(told)]
    assert main(command) == 0
    each = ["img_cells.csv", "img_labels.tif", "img_overlay.png", "img_points.csv"]
    layers = [f"img_{layer}.webp" for layer in ("contribution", "image", "labels", "likelihood", "outlines")]
    assert files_in(out) == sorted(
        [
            *("manifest.jsonl", "report.html", "report/summary.json"),
            *(f"{well}/{file}" for well in WELLS for file in each),
            *(f"report/{well}/{file}" for well in WELLS for file in layers),
        ]
    )
    assert "A2/img: " in capsys.readouterr().out
    entries = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert [entry["name"] for entry in entries] == ["A1/img", "A2/img"]
    assert "A2/img_labels.tif" in entries[1]["files"]
    page = (out / "report.html").read_text()
    assert page.count("A1/img: outlines") == page.count("A2/img: outlines") == 1
    # What is written of an image is what is written of it alone.
    for well, scene in scenes.items():
        found = read_labels(out / well / "img_labels.tif")
        assert found.shape == scene.labels.shape
        assert found.max() == len(read_points(out / well / "img_points.csv")[0]) >= 3
        alone = tmp_path / "alone" / well
        segment_files(tiny_run.model, [plate / well / "img.tif"], alone)
        np.testing.assert_array_equal(found, read_labels(alone / "img_labels.tif"))
    # A batch that was stopped after its first image goes on.
    (out / "manifest.jsonl").write_text(json.dumps(entries[0]) + "\n")
    assert main(command) == 0
    assert "2 of 2 images segmented, 1 of them before" in capsys.readouterr().out
    assert json.loads(told.read_text())["skipped"] == ["A1/img"]
    assert [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()] == entries
    assert main(["report", str(out)]) == 0
    assert (out / "report.html").read_text() == page


def test_label_images_are_scored_with_the_masks_and_points_of_their_folders(plate, tmp_path):
    found, masks, clicks = (tmp_path / part for part in ("found", "masks", "clicks"))
    for well in WELLS:
        labels = read_labels(masks / well / "img.tif")
        if well == "A2":
            labels[labels == labels.max()] = 0
        write_labels(found / well / "img_labels.tif", labels)
    scores = evaluate(found, masks)
    assert list(scores.images) == ["A1/img", "A2/img"]
    assert scores.images["A1/img"].recall == 1
    assert scores.images["A2/img"].recall == pytest.approx(5 / 6)
    assert evaluate(found, masks, points=clicks).images["A2/img"].recall == pytest.approx(5 / 6)
    (clicks / "A2" / "img.csv").rename(clicks / "A2" / "IMG_points.csv")
    with pytest.raises(ValueError, match=r"A2/img: has no point file .*A2/IMG_points\.csv has nearly that name"):
        evaluate(found, masks, points=clicks)


def test_results_beside_the_images_of_folders_are_no_images(tiny_run, plate):
    before = named_images(plate)
    options = BatchOptions(kinds=["labels", "overlay", "points"])
    segment_files(tiny_run.model, before, plate, options=options)
    assert (plate / "A1" / "img_labels.tif").is_file()
    assert named_images(plate) == before
    assert list(named_images(plate / "A2").values()) == ["img"]
    again = segment_files(tiny_run.model, named_images(plate), plate, options=options)
    assert [one.skipped for one in again] == [True, True]


def test_clicks_are_found_in_the_folders_of_their_images_or_flat_where_that_is_sure(
    tiny_run, plate, scenes, tmp_path
):
    data = read_training_set(plate, tmp_path / "clicks")
    for points, scene in zip(data.points, scenes.values(), strict=True):
        np.testing.assert_allclose(points, scene.points, atol=0.005)
    options = BatchOptions(kinds=["labels"], points=tmp_path / "clicks")
    results = segment_files(tiny_run.model, named_images(plate), tmp_path / "out", options=options)
    assert [one.cells for one in results] == [len(scene.points) for scene in scenes.values()]
    flat = tmp_path / "flat"
    write_points(flat / "img.csv", scenes["A1"].points)
    write_points(flat / "other.csv", scenes["A1"].points)
    with pytest.raises(ValueError, match="neither this image nor any other has a point file of its name"):
        read_training_set(plate, flat)
    (plate / "A2" / "img.tif").rename(plate / "A2" / "other.tif")
    assert [len(points) for points in read_training_set(plate, flat).points] == [6, 6]


def test_points_are_written_in_the_folders_of_what_they_are_made_of(plate, scenes, tmp_path):
    out = tmp_path / "points"
    masks, images = str(tmp_path / "masks"), str(plate)
    assert main(["points", "--labels", masks, "--images", images, "--out", str(out)]) in (0, 3)
    assert files_in(out) == [f"{well}/img{end}" for well in WELLS for end in (".csv", "_points.png")]
    for well, scene in scenes.items():
        assert len(read_points(out / well / "img.csv")[0]) == len(scene.points)


def test_images_in_tiles_and_their_labels_are_in_folders_too(tiny_run, plate, tmp_path):
    out = tmp_path / "out"
    results = segment_files(tiny_run.model, named_images(plate), out, options=BatchOptions(tiles=True))
    assert [one.error for one in results] == [None, None]
    assert (out / "A2" / "img_labels.ome.zarr" / "zarr.json").is_file()
    assert (out / "A2" / "img_cells.csv").is_file()
    again = segment_files(tiny_run.model, named_images(plate), out, options=BatchOptions(tiles=True))
    assert [one.skipped for one in again] == [True, True]


def test_two_images_that_would_have_the_same_results_are_named(tiny_run, plate, tmp_path):
    files = [plate / well / "img.tif" for well in WELLS]
    with pytest.raises(
        ValueError,
        match=r"called img, .*A1/img\.tif and .*A2/img\.tif; give the folder that holds both folders, or each an",
    ):
        segment_files(tiny_run.model, files, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_of_results_that_is_a_link_to_elsewhere_is_not_written_to(tiny_run, plate, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "A2").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"out/A2: is a link that leads out of"):
        segment_files(tiny_run.model, named_images(plate), tmp_path / "out")
    assert not list((tmp_path / "elsewhere").iterdir())
