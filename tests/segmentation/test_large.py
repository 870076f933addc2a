"""Images that are segmented in tiles, on the way through a batch."""

import numpy as np
import pyarrow.parquet
import pytest
import tifffile
import zarr

from tests.zarr_images import write_image
from wsis_jax.io.label_file import read_image, read_labels
from wsis_jax.io.point_file import read_points
from wsis_jax.segmentation.batch import BatchOptions, segment_files
from wsis_jax.segmentation.tiled import writing as large


@pytest.fixture(scope="module")
def scene(draw_small):
    return np.round(draw_small(100, shape=(96, 120)).image * 1000).astype(np.uint16)


def segmented(tiny_run, files, out, **options):
    told = options.pop("on_tile", lambda *_: None)
    return segment_files(tiny_run.model, files, out, options=BatchOptions(**options), on_tile=told)


def test_tiles_of_an_ome_zarr_have_the_labels_of_the_whole(tiny_run, scene, tmp_path):
    path = write_image(tmp_path / "a.ome.zarr", scene[None], "cyx")
    kinds = ["labels", "points"]
    (whole,) = segmented(tiny_run, [path], tmp_path / "whole", kinds=kinds)
    told = []
    (tiled,) = segmented(
        tiny_run,
        [path],
        tmp_path / "tiled",
        kinds=kinds,
        tiles=True,
        on_tile=lambda *of: told.append(of),
    )
    assert (tiled.name, tiled.cells, tiled.error, tiled.warnings) == ("a", whole.cells, None, [])
    assert whole.cells > 3
    expected = read_labels(tmp_path / "whole" / "a_labels.tif")
    labels = tmp_path / "tiled" / "a_labels.ome.zarr"
    np.testing.assert_array_equal(zarr.open_array(labels / "0")[:], expected)
    np.testing.assert_array_equal(read_image(labels)[0], expected)
    points = [read_points(tmp_path / way / "a_points.csv")[0] for way in ("whole", "tiled")]
    np.testing.assert_array_equal(*points)
    assert told[-1] == ("a", told[-1][2], told[-1][2])
    scale = zarr.open_group(labels).attrs["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]
    assert scale["scale"] == [0.5, 0.5]
    (again,) = segmented(tiny_run, [path], tmp_path / "tiled", kinds=kinds, tiles=True)
    assert again.skipped
    zarr.open_array(path / "0", mode="r+")[0, :9, :9] = 0
    (changed,) = segmented(tiny_run, [path], tmp_path / "tiled", kinds=kinds, tiles=True)
    assert not changed.skipped


def test_what_is_written_of_the_cells_is_that_of_the_whole(tiny_run, draw_small, tmp_path, monkeypatch):
    """In blocks that cut most cells apart; the tables of both have the same six digits."""
    monkeypatch.setattr(large, "_BLOCK", 40)
    scenes = [draw_small(seed, shape=(96, 120)).image for seed in (100, 101)]
    path = write_image(tmp_path / "a.ome.zarr", np.round(np.stack(scenes) * 1000).astype(np.uint16), "cyx")
    kinds, told = ["report", "points", "table", "parquet", "geojson", "zarr", "labels"], []
    for way, tiles in (("whole", False), ("tiled", True)):
        (outcome,) = segmented(
            tiny_run,
            [path],
            tmp_path / way,
            kinds=kinds,
            config=tiny_run.model.config.override(["image.channels=[0]"]),
            tiles=tiles,
            on_tile=lambda *of: told.append(of),
        )
        assert (outcome.error, outcome.warnings) == (None, [])
    whole, tiled = tmp_path / "whole", tmp_path / "tiled"
    files = ["a_points.csv", "a_cells.csv", "a_cells.geojson", "report/a_image.webp"]
    files += ["report/a_outlines.webp", "report/a_labels.webp"]
    for name in files:
        assert (whole / name).read_bytes() == (tiled / name).read_bytes(), name
    tables = [pyarrow.parquet.read_table(way / "a_cells.parquet").to_pydict() for way in (whole, tiled)]
    assert list(tables[0]) == list(tables[1])
    assert {"mean_intensity_1", "area_um2", "confidence"} <= set(tables[1])
    for name, values in tables[0].items():
        np.testing.assert_allclose(tables[1][name], values, rtol=1e-9, err_msg=name)
    assert not (tiled / "report" / "a_contribution.webp").exists()
    done = [done for _, done, _ in told]
    assert done == sorted(set(done))
    assert {total for _, _, total in told} == {done[-1]}


def test_an_image_in_tiles_without_cells_has_a_table_without_rows(tiny_run, tmp_path):
    tifffile.imwrite(tmp_path / "flat.tif", np.full((50, 60), 9, np.uint8))
    kinds = ["report", "table", "geojson", "labels"]
    (outcome,) = segmented(tiny_run, [tmp_path / "flat.tif"], tmp_path / "out", kinds=kinds, tiles=True)
    assert (outcome.error, outcome.cells) == (None, 0)
    segmented(tiny_run, [tmp_path / "flat.tif"], tmp_path / "whole", kinds=kinds)
    for name in ("flat_cells.csv", "flat_cells.geojson"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_large_images_go_in_tiles_by_themselves_and_say_what_is_left_out(tiny_run, scene, tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "large.tif", scene)
    tifffile.imwrite(tmp_path / "small.tif", scene[:60, :60])
    monkeypatch.setattr(large, "TILED_ABOVE", 96 * 100)
    files = [tmp_path / "large.tif", tmp_path / "small.tif"]
    outcomes = segmented(tiny_run, files, tmp_path / "out")
    assert [one.error for one in outcomes] == [None, None]
    assert outcomes[0].warnings == [
        "is segmented in tiles, so not written: overlay; --no-tiles does the whole at once"
    ]
    assert not outcomes[1].warnings
    there = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"large_labels.ome.zarr", "large_points.csv", "large_cells.csv", "small_labels.tif"} <= there
    assert not {"large_overlay.png", "small_labels.ome.zarr"} & there
    whole = segmented(tiny_run, files, tmp_path / "whole", tiles=False)
    assert [one.cells for one in whole] == [one.cells for one in outcomes]
    assert (tmp_path / "whole" / "large_labels.tif").is_file()


def test_what_cannot_be_done_in_tiles_is_told(tiny_run, scene, tmp_path):
    tifffile.imwrite(tmp_path / "a001.tif", scene)
    for kind in ("rois", "ctc"):
        (outcome,) = segmented(tiny_run, [tmp_path / "a001.tif"], tmp_path / "out", kinds=[kind], tiles=True)
        assert f"not {kind}; add labels to --format, or give --no-tiles" in outcome.error
        assert not list((tmp_path / "out").glob("a001*"))
