"""Zarr: OME-Zarr as ome-zarr reads it and its models check it; the evidence; more labels than 16 bits count."""

import itertools

import numpy as np
import pytest
import zarr
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader
from ome_zarr_models import v05

from tests.output.odd_labels import ODD, many
from tests.zarr_images import write_image
from wsis_jax.io.image_file import SourceImage, open_frames
from wsis_jax.io.readers.zarr import half_sides, open_omezarr
from wsis_jax.output.formats import omezarr
from wsis_jax.output.formats.omezarr import write_evidence, write_ome_zarr
from wsis_jax.output.pictures import cell_colours
from wsis_jax.segmentation.pipeline import segment


def write(path, labels, pixel_size=None, channels=2):
    """Writes labels with channels that are drawn at random, and returns these."""
    values = np.random.default_rng(0).random((channels, *labels.shape)).astype(np.float32)
    colours = cell_colours(int(labels.max()))[1:]
    write_ome_zarr(path, SourceImage("a", values[0], values, pixel_size), labels, colours=colours)
    return values


@pytest.mark.parametrize("name", ODD)
def test_ome_zarr_reads_image_and_labels(name, tmp_path):
    values = write(tmp_path / "new" / "a.ome.zarr", ODD[name], 0.65)
    nodes = list(Reader(parse_url(tmp_path / "new" / "a.ome.zarr"))())
    image = next(node for node in nodes if node.metadata.get("name") == "a")
    labels = next(node for node in nodes if node.metadata.get("name") == "cells")
    np.testing.assert_array_equal(image.data[0], values)
    np.testing.assert_array_equal(labels.data[0], ODD[name])
    assert image.metadata["coordinateTransformations"][0][0]["scale"] == [1, 0.65, 0.65]
    assert labels.metadata["coordinateTransformations"][0][0]["scale"] == [0.65, 0.65]
    # Of a label, the colour of the overlay.
    colours = cell_colours(int(ODD[name].max()))
    for label in np.unique(ODD[name][ODD[name] > 0]):
        np.testing.assert_allclose(labels.metadata["color"][label], [*colours[label], 1], atol=0.003)


@pytest.mark.parametrize("pixel_size", [None, 2])
def test_the_metadata_are_those_of_the_specification(pixel_size, tmp_path):
    for name, labels in ODD.items():
        write(tmp_path / name, labels, pixel_size)
        image = v05.Image.from_zarr(zarr.open_group(tmp_path / name, mode="r"))
        assert image.ome_attributes.version == "0.5"
        assert image.labels.label_paths == ["cells"]
        (multiscale,) = image.ome_attributes.multiscales
        assert [axis.name for axis in multiscale.axes] == ["c", "y", "x"]
        units = [None, "micrometer", "micrometer"] if pixel_size else [None] * 3
        assert [axis.unit for axis in multiscale.axes] == units
        v05.ImageLabel.from_zarr(zarr.open_group(tmp_path / name / "labels" / "cells", mode="r"))


@pytest.mark.parametrize("shape", [(101, 70), (64, 33), (200, 1), (16, 16)])
def test_viewers_find_levels_of_half_the_sides(shape, tmp_path, monkeypatch):
    monkeypatch.setattr(omezarr, "_CHUNK", 16)
    labels = np.random.default_rng(1).integers(0, 9, shape).astype(np.int32)
    values = write(tmp_path / "a.ome.zarr", labels, 0.5)
    nodes = list(Reader(parse_url(tmp_path / "a.ome.zarr"))())
    image, cells = ([np.asarray(level) for level in node.data] for node in (nodes[0], nodes[-1]))
    assert [level.shape for level in cells] == [shape, *half_sides(shape, 16)]
    assert [level.shape for level in image] == [(2, *level.shape) for level in cells]
    assert max(cells[-1].shape) <= 16 or min(cells[-1].shape) == 1
    np.testing.assert_array_equal(image[0], values)
    for larger, smaller in itertools.pairwise(cells):  # each pixel has the label of one beside its place
        places = [np.clip(2 * np.arange(side) + shift, 0, None) for side in smaller.shape for shift in (0, 1)]
        nearby = [larger[np.ix_(rows, columns)] for rows in places[:2] for columns in places[2:]]
        assert (np.stack(nearby) == smaller).any(0).mean() > 0.9
        assert np.isin(smaller, larger).all()
    for level in image:  # as bright as the image
        np.testing.assert_allclose(level.mean((1, 2)), values.mean((1, 2)), atol=0.1)
    for kind, name in ((v05.Image, "."), (v05.ImageLabel, "labels/cells")):
        kind.from_zarr(zarr.open_group(tmp_path / "a.ome.zarr" / name, mode="r"))


def test_an_image_in_a_file_is_written_by_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(omezarr, "_CHUNK", 16)
    values = np.random.default_rng(2).integers(0, 60_000, (2, 50, 41)).astype(np.uint16)
    labels = zarr.array(np.arange(50 * 41, dtype=np.uint32).reshape(50, 41), chunks=(16, 16))
    with open_frames(write_image(tmp_path / "in.zarr", values, "cyx"), channel=(0, 1)) as frames:
        source = frames.source(0)
        write_ome_zarr(tmp_path / "a.ome.zarr", source, labels, cell_colours(50 * 41)[1:])
    array, axes, pixel_size = open_omezarr(tmp_path / "a.ome.zarr")
    assert (axes, pixel_size, array.chunks) == ("cyx", 0.5, (1, 16, 16))
    np.testing.assert_array_equal(array[:], values)
    np.testing.assert_array_equal(open_omezarr(tmp_path / "a.ome.zarr" / "labels" / "cells")[0][:], labels[:])


def test_more_cells_than_16_bits_count(tmp_path):
    write(tmp_path / "a", many())
    labels = open_omezarr(tmp_path / "a" / "labels" / "cells")[0]
    assert labels.dtype == np.uint32
    np.testing.assert_array_equal(labels[:], many())
    write(tmp_path / "a", ODD["odd"])  # takes the place of the other
    labels = open_omezarr(tmp_path / "a" / "labels" / "cells")[0]
    assert labels.dtype == np.uint16
    np.testing.assert_array_equal(labels[:], ODD["odd"])
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_the_evidence_is_that_of_the_segmentation(tiny_run, draw_small, tmp_path):
    image = draw_small(100).image
    for name, result in {
        "cells": segment(tiny_run.model, image, config=tiny_run.model.config.override(["image.scale=0.75"])),
        "none": segment(tiny_run.model, image, config=tiny_run.model.config.override(["detect.threshold=1"])),
    }.items():
        write_evidence(tmp_path / name, result)
        root = zarr.open_group(tmp_path / name, mode="r")
        assert root.attrs["image_shape"] == [64, 64]
        expected = {**result.winner._asdict(), **result.detection._asdict()}
        del expected["regions"]
        assert sorted(root.array_keys()) == sorted(expected)
        for key, values in expected.items():
            np.testing.assert_array_equal(root[key][:], values)
            assert root[key].dtype == values.dtype
        assert len(root["peaks"][:]) == (0 if name == "none" else len(result.points))
        assert (name == "none") == (len(result.points) == 0)
