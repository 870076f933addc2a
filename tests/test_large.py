"""Images that are segmented in tiles, on the way through a batch."""

import numpy as np
import pytest
import tifffile
import zarr

from tests.zarr_images import write_image
from wsis_jax import large
from wsis_jax.batch import segment_files
from wsis_jax.imageio import read_image, read_labels
from wsis_jax.images import Reading
from wsis_jax.points import read_points
from wsis_jax.results import CTC, format_of


@pytest.fixture(scope="module")
def scene(draw_small):
    return np.round(draw_small(100, shape=(96, 120)).image * 1000).astype(np.uint16)


def segmented(tiny_run, files, out, **options):
    return segment_files(tiny_run.run, files, out, config=tiny_run.run.config, **options)


def test_tiles_of_an_ome_zarr_have_the_labels_of_the_whole(tiny_run, scene, tmp_path):
    path = write_image(tmp_path / "a.ome.zarr", scene[None], "cyx")
    kinds = format_of(["labels", "points"])
    (whole,) = segmented(tiny_run, [path], tmp_path / "whole", format=kinds)
    told = []
    (tiled,) = segmented(
        tiny_run,
        [path],
        tmp_path / "tiled",
        format=kinds,
        reading=Reading(tiles=True),
        on_tile=lambda *of: told.append(of),
    )
    assert (tiled.name, tiled.cells, tiled.error, tiled.warnings) == ("a", whole.cells, None, [])
    assert whole.cells > 4
    expected = read_labels(tmp_path / "whole" / "a_labels.tif")
    labels = tmp_path / "tiled" / "a_labels.ome.zarr"
    np.testing.assert_array_equal(zarr.open_array(labels / "0")[:], expected)
    np.testing.assert_array_equal(read_image(labels)[0], expected)
    points = [read_points(tmp_path / way / "a_points.csv")[0] for way in ("whole", "tiled")]
    np.testing.assert_array_equal(*points)
    assert told[-1] == ("a", told[-1][2], told[-1][2])
    scale = zarr.open_group(labels).attrs["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]
    assert scale["scale"] == [0.5, 0.5]
    (again,) = segmented(tiny_run, [path], tmp_path / "tiled", format=kinds, reading=Reading(tiles=True))
    assert again.skipped
    zarr.open_array(path / "0", mode="r+")[0, :9, :9] = 0
    (changed,) = segmented(tiny_run, [path], tmp_path / "tiled", format=kinds, reading=Reading(tiles=True))
    assert not changed.skipped


def test_large_images_go_in_tiles_by_themselves_and_say_what_is_left_out(tiny_run, scene, tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "large.tif", scene)
    tifffile.imwrite(tmp_path / "small.tif", scene[:60, :60])
    monkeypatch.setattr(large, "TILED_ABOVE", 96 * 100)
    files = [tmp_path / "large.tif", tmp_path / "small.tif"]
    outcomes = segmented(tiny_run, files, tmp_path / "out")
    assert [one.error for one in outcomes] == [None, None]
    assert "segmented in tiles, so report, overlay, table are not written" in outcomes[0].warnings[0]
    assert not outcomes[1].warnings
    there = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"large_labels.ome.zarr", "large_points.csv", "small_labels.tif", "small_cells.csv"} <= there
    assert not {"large_cells.csv", "small_labels.ome.zarr"} & there
    whole = segmented(tiny_run, files, tmp_path / "whole", reading=Reading(tiles=False))
    assert [one.cells for one in whole] == [one.cells for one in outcomes]
    assert (tmp_path / "whole" / "large_labels.tif").is_file()


def test_what_cannot_be_done_in_tiles_is_told(tiny_run, scene, tmp_path):
    tifffile.imwrite(tmp_path / "a001.tif", scene)
    for format in (format_of(["table"]), CTC):
        (outcome,) = segmented(
            tiny_run, [tmp_path / "a001.tif"], tmp_path / "out", format=format, reading=Reading(tiles=True)
        )
        assert f"not {format.kinds[0]}; add labels to --format, or give --no-tiles" in outcome.error
        assert not list((tmp_path / "out").glob("a001*"))
