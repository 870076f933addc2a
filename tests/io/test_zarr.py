"""OME-Zarr: what is written is read back, and files of others are understood."""

import itertools

import numpy as np
import pytest
import zarr
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader
from ome_zarr_models import v05

from tests.zarr_images import write_image
from wsis_jax.core import UserError
from wsis_jax.io.image_file import open_frames
from wsis_jax.io.label_file import read_image
from wsis_jax.io.paths import list_images, stem
from wsis_jax.io.readers.zarr import create_labels, open_omezarr, writing_labels


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_an_image_is_opened_with_its_axes_and_pixel_size(tmp_path, version):
    values = np.random.default_rng(0).integers(0, 60_000, (2, 3, 20, 30)).astype(np.uint16)
    path = write_image(tmp_path / "a.zarr", values, "tcyx", version=version)
    array, axes, size = open_omezarr(path)
    assert (axes, size, array.shape) == ("tcyx", 0.5, (2, 3, 20, 30))


def test_axes_may_stand_in_any_order(tmp_path):
    values = np.random.default_rng(0).random((4, 9, 7)).astype(np.float32)
    with open_frames(write_image(tmp_path / "a.zarr", values, "xcy"), channel=5) as frames:
        assert frames.shapes == [(7, 4)]
        np.testing.assert_array_equal(frames.source(0).image[1:6, 0:3], values[0:3, 5, 1:6].T)


@pytest.mark.parametrize(
    ("unit", "scale", "expected"), [("nanometer", 250.0, 0.25), (None, 1.0, None), ("parsec", 1.0, None)]
)
def test_pixel_sizes_are_micrometres_or_unknown(tmp_path, unit, scale, expected):
    path = write_image(tmp_path / "a.zarr", np.zeros((4, 5)), "yx", unit=unit, scale=scale)
    assert open_omezarr(path)[2] == expected


def test_labels_beyond_16_bits_come_back_with_their_pixel_size(tmp_path):
    labels = np.random.default_rng(0).integers(0, 2**32, (30, 50)).astype(np.uint32)
    with writing_labels(tmp_path / "labels.zarr", (30, 50), chunks=(16, 64), pixel_size=0.3) as array:
        assert not (tmp_path / "labels.zarr").exists()
        array[0:16, 0:50] = labels[:16]
        array[16:30, 0:50] = labels[16:]
    read, axes, size = open_omezarr(tmp_path / "labels.zarr")
    assert (axes, size, read.chunks, read.dtype) == ("yx", 0.3, (16, 50), np.uint32)
    np.testing.assert_array_equal(read[:], labels)
    about = zarr.open_group(tmp_path / "labels.zarr").attrs["ome"]
    assert about["version"] == "0.5"
    assert about["image-label"] == {}
    assert [path.name for path in tmp_path.iterdir()] == ["labels.zarr"]


@pytest.mark.parametrize("shape", [(101, 70), (33, 64), (90, 1), (16, 16)])
def test_labels_have_levels_that_viewers_open_at_once(tmp_path, shape):
    labels = np.random.default_rng(0).integers(0, 2**32, shape).astype(np.uint32)
    with writing_labels(tmp_path / "labels.ome.zarr", shape, chunks=(16, 16), pixel_size=0.5) as array:
        array[:] = labels
    (node,) = Reader(parse_url(tmp_path / "labels.ome.zarr"))()
    levels = [np.asarray(level) for level in node.data]
    assert max(levels[-1].shape) <= 16 or min(levels[-1].shape) == 1
    np.testing.assert_array_equal(levels[0], labels)
    for larger, smaller in itertools.pairwise(levels):
        assert smaller.shape == tuple(side // 2 for side in larger.shape)
        np.testing.assert_array_equal(smaller, larger[1::2, 1::2])
    v05.ImageLabel.from_zarr(zarr.open_group(tmp_path / "labels.ome.zarr", mode="r"))
    datasets = zarr.open_group(tmp_path / "labels.ome.zarr").attrs["ome"]["multiscales"][0]["datasets"]
    for dataset, level in zip(datasets, levels, strict=True):  # levels cover the image, to its corners
        scale, *shift = (one[one["type"]] for one in dataset["coordinateTransformations"])
        shift = np.array(*shift) if shift else np.zeros(2)
        np.testing.assert_allclose(shift - np.array(scale) / 2, -0.25)
        np.testing.assert_allclose(np.array(scale) * level.shape, np.array(shape) * 0.5)


def test_labels_that_were_not_finished_leave_the_old_ones(tmp_path):
    create_labels(tmp_path / "labels.zarr", (4, 5), chunks=(4, 5))[:] = 7
    with pytest.raises(KeyboardInterrupt), writing_labels(tmp_path / "labels.zarr", (4, 5), chunks=(4, 5)):
        raise KeyboardInterrupt
    assert (read_image(tmp_path / "labels.zarr") == 7).all()
    with writing_labels(tmp_path / "labels.zarr", (4, 5), chunks=(4, 5)) as array:
        array[:] = 9
    assert (read_image(tmp_path / "labels.zarr") == 9).all()
    assert [path.name for path in tmp_path.iterdir()] == ["labels.zarr"]


def test_what_is_no_image_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.zarr: there is no such folder"):
        open_omezarr(tmp_path / "none.zarr")
    (tmp_path / "empty.zarr").mkdir()
    zarr.create_group(tmp_path / "bare.zarr")
    for name in ("empty", "bare"):
        with pytest.raises(ValueError, match=rf"{name}\.zarr: is not an OME-Zarr image"):
            open_omezarr(tmp_path / f"{name}.zarr")
    with pytest.raises(ValueError, match="do not match its array"):
        open_omezarr(write_image(tmp_path / "few.zarr", np.zeros((1, 4, 5)), "yx", scale=1.0))


# Collections


def write_collection(path, kind, version):
    """Writes two or four images of different values, and returns these by their places."""
    places = {"plate": ["A/1/0", "A/1/1", "B/12/0", "B/12/1"]}.get(kind, ["0", "1"])
    about = {
        "series": {"bioformats2raw.layout": 3},
        "well": {"well": {"images": [{"path": "0"}, {"path": "1"}]}},
        "plate": {"plate": {"wells": [{"path": "A/1"}, {"path": "B/12"}]}},
    }

    def group(where, attributes):
        kept = {"ome": attributes} if version == "0.5" else attributes
        zarr.create_group(where, zarr_format=3 if version == "0.5" else 2, attributes=kept)

    group(path, about[kind])
    for well in ("A/1", "B/12") if kind == "plate" else ():
        group(path / well, about["well"])
    images = {}
    for number, place in enumerate(places):
        images[place.replace("/", "_")] = (
            np.arange(2 * 12 * 14, dtype=np.uint16).reshape(2, 12, 14) + 1000 * number
        )
        write_image(path / place, images[place.replace("/", "_")], "cyx", version=version)
    return images


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("kind", ["series", "well", "plate"])
def test_the_images_of_a_collection_are_called_by_their_places(tmp_path, kind, version):
    path = tmp_path / "all.ome.zarr"
    images = write_collection(path, kind, version)
    with open_frames(path, channel=1) as frames:
        assert frames.names == [f"all_{place}" for place in images]
        for index, values in enumerate(images.values()):
            np.testing.assert_array_equal(frames.values(index), values[1])
            np.testing.assert_array_equal(frames.source(index).image[2:5, 3:9], values[1, 2:5, 3:9])
            assert frames.source(index).pixel_size == 0.5
    deep = "/".join("*" * (3 if kind == "plate" else 1))
    listed = list_images(path / deep)
    assert [stem(each) for each in listed] == [f"all_{place}" for place in images]
    for each in listed:
        with open_frames(each, channel=0) as frames:
            assert frames.names == [stem(each)]


def test_a_collection_of_one_image_has_its_name(tmp_path):
    zarr.create_group(tmp_path / "a.zarr", attributes={"ome": {"bioformats2raw.layout": 3}})
    write_image(tmp_path / "a.zarr" / "0", np.ones((12, 14)), "yx")
    zarr.create_group(tmp_path / "a.zarr" / "OME", attributes={"ome": {"series": ["0"]}})
    with open_frames(tmp_path / "a.zarr") as frames:
        assert frames.names == ["a"]


@pytest.mark.parametrize("place", ["../b.zarr/0", "/etc", "", "A/./1", 3.5, None, ["0"]])
def test_places_that_lead_elsewhere_are_refused(tmp_path, place):
    write_image(tmp_path / "b.zarr" / "0", np.ones((12, 14)), "yx")
    zarr.create_group(tmp_path / "a.zarr", attributes={"ome": {"plate": {"wells": [{"path": place}]}}})
    with pytest.raises(UserError, match=r"a\.zarr: its list of images is damaged; give the folder of one"):
        open_frames(tmp_path / "a.zarr").__enter__()
