"""GeoJSON for QuPath: valid, exact, with what QuPath asks of a cell."""

import json
import uuid

import geojson
import numpy as np
import pytest
import shapely
import shapely.geometry

from tests.output.odd_labels import ODD
from wsis_jax.output.cell_table import measure_cells
from wsis_jax.output.formats.qupath import cell_features, write_features


def written(path, labels, **options):
    """The object of the file that is written of labels."""
    write_features(path, cell_features(labels, measure_cells(labels, **options), name="a"))
    return json.loads(path.read_text())


@pytest.mark.parametrize("name", ODD)
def test_geometries_are_valid_and_give_the_labels_back(name, tmp_path):
    labels = ODD[name]
    collection = written(tmp_path / "a.geojson", labels)
    assert geojson.loads((tmp_path / "a.geojson").read_text()).is_valid
    columns, rows = np.meshgrid(np.arange(labels.shape[1]) + 0.5, np.arange(labels.shape[0]) + 0.5)
    back = np.zeros_like(labels)
    for feature in collection["features"]:
        label, shape = int(feature["properties"]["name"]), shapely.geometry.shape(feature["geometry"])
        assert shape.is_valid
        assert shape.area == (labels == label).sum()
        back[shapely.contains_xy(shape, columns, rows)] = label
    np.testing.assert_array_equal(back, labels)


def test_a_feature_has_what_qupath_reads(tmp_path):
    labels = ODD["odd"]
    confidence = np.full(8, 0.123456789)
    confidence[5] = np.nan
    collection = written(tmp_path / "a.geojson", labels, confidence=confidence, pixel_size=0.5)
    assert collection["type"] == "FeatureCollection"
    by_name = {feature["properties"]["name"]: feature for feature in collection["features"]}
    assert list(by_name) == ["1", "2", "4", "6", "7", "8"]
    assert len({uuid.UUID(feature["id"]) for feature in by_name.values()}) == 6
    for feature in by_name.values():
        assert feature["properties"]["objectType"] == "cell"
        assert all(isinstance(value, float) for value in feature["properties"]["measurements"].values())
    assert by_name["8"]["properties"]["measurements"]["confidence"] == 0.123457
    assert by_name["8"]["properties"]["measurements"]["area_um2"] == 15 / 4
    assert "confidence" not in by_name["6"]["properties"]["measurements"]  # not a number, which JSON has not
    # The single pixel in the upper right corner: x before y, from the corner of the image.
    assert by_name["6"]["geometry"] == {
        "type": "Polygon",
        "coordinates": [[[30, 0], [31, 0], [31, 1], [30, 1], [30, 0]]],
    }
    assert by_name["2"]["geometry"]["type"] == "MultiPolygon"
    assert len(by_name["1"]["geometry"]["coordinates"]) == 3


def test_the_same_cells_make_the_same_bytes_and_other_images_other_identities(tmp_path):
    first, again = (written(tmp_path / f"{name}.geojson", ODD["odd"]) for name in "ab")
    assert (tmp_path / "a.geojson").read_bytes() == (tmp_path / "b.geojson").read_bytes()
    write_features(tmp_path / "c.geojson", cell_features(ODD["odd"], measure_cells(ODD["odd"]), name="other"))
    other = json.loads((tmp_path / "c.geojson").read_text())
    assert not {one["id"] for one in first["features"]} & {one["id"] for one in other["features"]}
    assert again == first
