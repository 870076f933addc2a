"""Files of microscopes: a CZI written by the library of its maker, and an ND2 of a Nikon if a package has one."""

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from pylibCZIrw import czi

from wsis_jax.core.errors import UserError
from wsis_jax.io.image_file import open_frames
from wsis_jax.io.label_file import read_labels
from wsis_jax.segmentation.batch import BatchOptions, segment_files


def write_czi(path, values, *, scale=0.5e-6) -> None:
    """Writes times, channels, rows and columns."""
    with czi.create_czi(str(path)) as document:
        for time, channel in np.ndindex(values.shape[:2]):
            document.write(data=values[time, channel][..., None], plane={"T": time, "C": channel, "Z": 0})
        document.write_metadata(document_name="drawn", scale_x=scale, scale_y=scale)


def test_a_czi_is_read_image_after_image(tmp_path):
    values = np.random.default_rng(0).integers(0, 60_000, (2, 3, 40, 50)).astype(np.uint16)
    write_czi(tmp_path / "a.czi", values)
    with open_frames(tmp_path / "a.czi", channel=1) as frames:
        assert (frames.names, frames.shapes) == (["a_0000", "a_0001"], [(40, 50)] * 2)
        assert frames.source(0).pixel_size == pytest.approx(0.5)
        frame = frames.source(1).read()
        np.testing.assert_array_equal(frame.image, values[1, 1])
        np.testing.assert_array_equal(frame.channels, values[1])
        np.testing.assert_array_equal(frames.source(0).image[4:9, 3:20], values[0, 1, 4:9, 3:20])


def test_a_czi_is_segmented_as_its_image_is(tiny_run, draw_small, tmp_path):
    image = np.round(draw_small(100, shape=(64, 72)).image * 1000).astype(np.uint16)
    write_czi(tmp_path / "a.czi", image[None, None])
    options = BatchOptions(tiny_run.model.config.override(["image.channels=[0]"]))
    (outcome,) = segment_files(tiny_run.model, [tmp_path / "a.czi"], tmp_path, options=options)
    assert outcome.error is None
    assert read_labels(tmp_path / "a_labels.tif").max() == outcome.cells >= 4


def test_a_damaged_file_and_a_missing_library_are_told_in_a_sentence(tmp_path, monkeypatch):
    (tmp_path / "a.czi").write_bytes(b"no such thing")
    with pytest.raises(ValueError, match=r"a\.czi: the image is damaged \(.*\); copy or export it again$"):
        open_frames(tmp_path / "a.czi").__enter__()
    monkeypatch.setitem(sys.modules, "bioio_czi", None)
    with pytest.raises(
        UserError, match=r"a\.czi: files of the kind \.czi need .*pip install 'wsis-jax\[bioio\]'$"
    ):
        open_frames(tmp_path / "a.czi").__enter__()


def test_a_czi_without_a_scale_has_no_pixel_size(tmp_path):
    values = np.random.default_rng(0).integers(0, 60_000, (1, 1, 40, 50)).astype(np.uint16)
    with czi.create_czi(str(tmp_path / "a.czi")) as document:
        document.write(data=values[0, 0][..., None], plane={"T": 0, "C": 0, "Z": 0})
    with open_frames(tmp_path / "a.czi", channel=0) as frames:
        assert frames.source(0).pixel_size is None
        np.testing.assert_array_equal(frames.values(0), values[0, 0])


@pytest.mark.parametrize(
    ("scenes", "endings"),
    [
        (("A1/Position 1", "B12 µ"), ["A1-Position-1", "B12-µ"]),
        (("R1", "R1"), ["0000", "0001"]),  # which are not names
        (("a", "A"), ["0000", "0001"]),  # which some disks do not tell apart
        (("Image:0", "Image:1"), ["0000", "0001"]),
        (("Series 3", "Series 7"), ["Series-3", "Series-7"]),
        (("..", "a"), ["0000", "0001"]),
    ],
)
def test_images_are_called_by_the_names_of_their_scenes(tmp_path, monkeypatch, scenes, endings):
    class Scenes:
        dims = type("Dimensions", (), {"order": "YX"})
        physical_pixel_sizes = type("Sizes", (), {"Y": 0.5, "X": 0.5})

        def __init__(self, *_, **__):
            self.scenes = scenes

        def set_scene(self, number):
            self.dask_data = np.full((40, 50), number, np.uint16)

    write_czi(tmp_path / "a.czi", np.zeros((1, 1, 40, 50), np.uint16))
    monkeypatch.setattr("bioio.BioImage", Scenes)
    with open_frames(tmp_path / "a.czi") as frames:
        assert frames.names == [f"a_{ending}" for ending in endings]
        assert [frames.values(number).mean() for number in (0, 1)] == [0, 1]


def test_a_file_of_a_nikon_is_read_and_segmented(tiny_run, tmp_path):
    """`cluster.nd2` of the package pims_nd2, whose own tests say what it holds; skipped if it is not installed."""
    nd2, package = pytest.importorskip("nd2"), find_spec("pims_nd2")
    pytest.importorskip("bioio_nd2")
    if package is None or package.origin is None:
        pytest.skip("pims_nd2 is not installed")
    path = Path(package.origin).with_name("cluster.nd2")
    values = nd2.imread(path)  # times, planes, channels, rows, columns
    assert values.shape == (3, 10, 2, 31, 38)
    with open_frames(path, channel=1) as frames:
        assert frames.names[::11] == ["cluster_t0000_z0000", "cluster_t0001_z0001", "cluster_t0002_z0002"]
        assert frames.shapes == [(31, 38)] * 30
        assert frames.source(0).pixel_size == pytest.approx(0.167808983)
        for number in (0, 11, 29):
            np.testing.assert_array_equal(frames.values(number), values[number // 10, number % 10, 1])
            np.testing.assert_array_equal(frames.source(number).read().channels, values[number // 10, number % 10])
    options = BatchOptions(tiny_run.model.config.override(["image.channels=[1]"]), kinds=["labels"])
    outcomes = segment_files(tiny_run.model, [path], tmp_path, options=options)
    assert [outcome.error for outcome in outcomes] == [None] * 30
    assert read_labels(tmp_path / "cluster_t0002_z0009_labels.tif").shape == (31, 38)
    with pytest.raises(UserError, match=r"cluster\.nd2: has 2 channels; choose one"):
        open_frames(path).__enter__()


@pytest.mark.parametrize("where", ["physical_pixel_sizes", "dask_data", "values"])
def test_what_the_reader_cannot_read_is_not_called_damaged(tmp_path, monkeypatch, where):
    write_czi(tmp_path / "a.czi", np.zeros((1, 1, 40, 50), np.uint16))

    class Cannot:
        scenes = ("one",)
        shape = (40, 50)

        def __init__(self, *_, **__):
            self.dims = self
            self.order = "YX"

        def set_scene(self, _):
            pass

        @property
        def physical_pixel_sizes(self):
            raise KeyError("no scaling here")

        @property
        def dask_data(self):
            if where == "dask_data":
                raise NotImplementedError("a lambda scan\nand more")
            return self if where == "values" else np.ones((40, 50), np.uint16)

        def __getitem__(self, _):
            raise NotImplementedError("a lambda scan")

    monkeypatch.setattr("bioio.BioImage", Cannot)
    if where == "physical_pixel_sizes":
        with open_frames(tmp_path / "a.czi") as frames:
            assert frames.source(0).pixel_size is None
            assert frames.values(0).all()
        return
    sentence = r"a\.czi: the reader of \.czi files, bioio-czi, cannot read it \(a lambda scan\); export"
    with pytest.raises(UserError, match=sentence), open_frames(tmp_path / "a.czi") as frames:
        frames.values(0)
