"""Many files: what is written, and that one bad file does not stop the others."""

import numpy as np
import pytest
import tifffile

from wsis_jax.io.label_file import read_image, read_labels
from wsis_jax.io.point_file import read_points
from wsis_jax.segmentation import batch
from wsis_jax.segmentation.batch import BatchOptions, segment_files


def choosing(model, channel):
    """The settings of a model with a channel of images chosen; None: as they are."""
    return model.config if channel is None else model.config.override([f"image.channels=[{channel}]"])


def write_image(path) -> None:
    values = np.random.default_rng(0).integers(0, 255, (20, 24)).astype(np.uint8)
    tifffile.imwrite(path, values)


def test_results_are_written_and_readable(tiny_run, draw_small, write_scene, tmp_path):
    write_scene(tmp_path, "a", draw_small(100))
    seen = []

    def on_image(outcome, total):
        seen.append((outcome, total))

    outcomes = segment_files(
        tiny_run.model,
        [tmp_path / "image" / "a.tif"],
        tmp_path / "new" / "out",
        on_image=on_image,
    )
    assert seen == [(outcomes[0], 1)]
    assert [(o.name, o.warnings, o.error) for o in outcomes] == [("a", [], None)]
    out = tmp_path / "new" / "out"
    names = ["a_cells.csv", "a_labels.tif", "a_overlay.png", "a_points.csv", "manifest.jsonl", "report"]
    assert sorted(p.name for p in out.iterdir()) == names
    labels, points = read_labels(out / "a_labels.tif"), read_points(out / "a_points.csv")[0]
    assert labels.max() == len(points) == outcomes[0].cells
    assert outcomes[0].cells >= 4
    assert read_image(out / "a_overlay.png").shape == (1, 64, 64)


def test_pages_get_numbered_results(tiny_run, draw_small, tmp_path):
    pages = np.stack([draw_small(seed).image for seed in (100, 101)])
    tifffile.imwrite(tmp_path / "film.tif", pages, photometric="minisblack")
    outcomes = segment_files(tiny_run.model, [tmp_path / "film.tif"], tmp_path / "out")
    assert [outcome.name for outcome in outcomes] == ["film_0000", "film_0001"]
    for outcome in outcomes:
        assert read_labels(tmp_path / "out" / f"{outcome.name}_labels.tif").max() == outcome.cells


def test_a_channel_is_segmented_as_an_image_of_its_own(tiny_run, draw_small, tmp_path):
    scene = draw_small(100, shape=(64, 72))
    tifffile.imwrite(tmp_path / "alone.tif", scene.image)
    both = np.stack([scene.nuclei, scene.image])
    tifffile.imwrite(tmp_path / "both.tif", both, imagej=True, metadata={"axes": "CYX"})
    tifffile.imwrite(tmp_path / "colours.tif", np.stack([*both, both[0]], axis=-1), photometric="rgb")

    def segmented(name, channel):
        (outcome,) = segment_files(
            tiny_run.model,
            [tmp_path / f"{name}.tif"],
            tmp_path,
            options=BatchOptions(choosing(tiny_run.model, channel)),
        )
        assert (outcome.name, outcome.error) == (name, None)
        return read_labels(tmp_path / f"{name}_labels.tif")

    expected = segmented("alone", None)
    assert expected.shape == (64, 72)
    assert expected.any()
    for name in ("both", "colours"):
        np.testing.assert_array_equal(segmented(name, 1), expected)


def test_a_channel_that_one_file_lacks_does_not_stop_the_others(tiny_run, tmp_path):
    write_image(tmp_path / "a.tif")
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((2, 20, 24), np.uint8), imagej=True, metadata={"axes": "CYX"})
    files = [tmp_path / "a.tif", tmp_path / "b.tif"]
    outcomes = segment_files(tiny_run.model, files, tmp_path, options=BatchOptions(choosing(tiny_run.model, 1)))
    assert [outcome.cells for outcome in outcomes] == [None, 0]
    assert outcomes[0].error == (
        f"{files[0]}: there is no channel 1; the file has 1 channel, counted from 0, but --channel, "
        "--nuclear-channel or the model asks for 1"
    )


def test_a_bad_file_does_not_stop_the_others(tiny_run, draw_small, write_scene, tmp_path):
    write_scene(tmp_path, "c", draw_small(100))
    (tmp_path / "a.tif").touch()
    (tmp_path / "b.tif").write_text("no image")
    files = [tmp_path / "a.tif", tmp_path / "b.tif", tmp_path / "image" / "c.tif"]
    outcomes = segment_files(tiny_run.model, files, tmp_path / "out")
    assert [outcome.cells is None for outcome in outcomes] == [True, True, False]
    assert "a.tif: the file is empty" in outcomes[0].error
    assert "b.tif" in outcomes[1].error
    assert {path.name[0] for path in (tmp_path / "out").rglob("*_*")} == {"c"}


def test_an_image_that_cannot_be_segmented_does_not_stop_the_others(tiny_run, monkeypatch, tmp_path):
    for name in ("a", "b"):
        write_image(tmp_path / f"{name}.tif")
    locate, calls = batch.locate, []

    def fails_at_first(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 1:
            raise ValueError("too small for the network")
        return locate(*arguments, **options)

    monkeypatch.setattr(batch, "locate", fails_at_first)
    files = [tmp_path / "a.tif", tmp_path / "b.tif"]
    outcomes = segment_files(tiny_run.model, files, tmp_path / "out")
    assert outcomes[0].error == "a: too small for the network"
    assert outcomes[1].error is None


def test_warnings_are_reported_with_the_image(tiny_run, tmp_path):
    tifffile.imwrite(tmp_path / "flat.tif", np.full((30, 30), 9, np.uint8))
    (outcome,) = segment_files(tiny_run.model, [tmp_path / "flat.tif"], tmp_path / "out")
    assert outcome.cells == 0
    assert outcome.warnings == ["the image is constant, so it holds no cells"]
    assert not read_labels(tmp_path / "out" / "flat_labels.tif").any()
    assert read_points(tmp_path / "out" / "flat_points.csv")[0].shape == (0, 2)


def test_two_images_of_one_name_are_refused(tiny_run, tmp_path):
    with pytest.raises(ValueError, match="two images are called a"):
        segment_files(tiny_run.model, [tmp_path / "a.tif", tmp_path / "a.png"], tmp_path)


def test_a_damaged_page_does_not_stop_the_others(tiny_run, draw_small, tmp_path):
    pages = np.stack([np.round(draw_small(seed).image * 255).astype(np.uint8) for seed in (100, 101, 102)])
    tifffile.imwrite(tmp_path / "film.tif", pages, photometric="minisblack", compression="zlib")
    with tifffile.TiffFile(tmp_path / "film.tif") as tiff:
        offset = tiff.pages[1].dataoffsets[0]
    with (tmp_path / "film.tif").open("r+b") as file:
        file.seek(offset)
        file.write(b"no pixels at all")
    outcomes = segment_files(tiny_run.model, [tmp_path / "film.tif"], tmp_path / "out")
    assert [outcome.name for outcome in outcomes] == ["film_0000", "film_0001", "film_0002"]
    assert [outcome.cells is None for outcome in outcomes] == [False, True, False]
    assert outcomes[1].error.startswith(f"{tmp_path / 'film.tif'}: the image is damaged (")
    assert not list((tmp_path / "out").glob("film_0001*"))


def test_the_table_has_all_channels_and_the_size_of_a_pixel(tiny_run, draw_small, tmp_path):
    scene = draw_small(100, shape=(64, 72))
    both = np.stack([scene.nuclei, scene.image]).astype(np.float32)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, both, imagej=True, resolution=(4, 4), metadata={"axes": "CYX", "unit": "um"})

    def columns(**options):
        reading = BatchOptions(choosing(tiny_run.model, 1), **options)
        (outcome,) = segment_files(tiny_run.model, [path], tmp_path, options=reading)
        assert outcome.cells > 4
        return np.genfromtxt(tmp_path / "a_cells.csv", delimiter=",", names=True, dtype=None, encoding="utf-8")

    table, labels = columns(), read_labels(tmp_path / "a_labels.tif")
    for channel, values in enumerate(both):
        expected = [values[labels == label].mean() for label in table["label"]]
        np.testing.assert_allclose(table[f"mean_intensity_{channel}"], expected, rtol=1e-5)
    np.testing.assert_allclose(table["area_um2"], table["area"] / 16, rtol=1e-6)
    np.testing.assert_allclose(columns(pixel_size=0.5)["area_um2"], table["area"] / 4, rtol=1e-6)
