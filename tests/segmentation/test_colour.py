"""Images of several channels: in tiles, in a batch, and what a model of them does with other images."""

import dataclasses

import jax
import numpy as np
import pytest
import tifffile
from PIL import Image

from wsis_jax.io.label_file import read_image, read_labels
from wsis_jax.network.model import Model
from wsis_jax.segmentation.batch import BatchOptions, segment_files
from wsis_jax.segmentation.pipeline import segment
from wsis_jax.segmentation.tiled.tiling import TileOptions, segment_tiled

SHARES = (0.5, 0.2, 0.3)  # of the first kernel that each colour has


def in_channels(model, channels, shares=SHARES):
    """A model that makes of several equal channels what another makes of one."""
    params = jax.tree.map(np.array, model.variables["params"])
    kernel = params["encoder_0"]["conv_0"]["kernel"]
    params["encoder_0"]["conv_0"]["kernel"] = np.concatenate([share * kernel for share in shares], axis=2)
    config = dataclasses.replace(model.config, image=dataclasses.replace(model.config.image, channels=channels))
    network = model.network.clone(inputs=len(shares))
    return Model.of(network, {"params": params}, config.override(["detect.threshold=0.25"]))


@pytest.fixture(scope="module")
def colours(tiny_run):
    """A model of colours."""
    return in_channels(tiny_run.model, "colours")


@pytest.fixture(scope="module")
def stained(draw_small):
    """Cells in colours: bodies and nuclei take different stains, and the light is not even."""
    scene = draw_small(7, cells=24, shape=(110, 133))
    light = 1 - 0.2 * np.linspace(0, 1, 133)
    return np.stack([scene.image, 0.8 * scene.image * light, scene.image - 0.3 * scene.nuclei], axis=-1).astype(
        np.float32
    )


def test_equal_channels_are_segmented_as_one(tiny_run, colours, draw_small):
    image = draw_small(100).image
    expected = segment(tiny_run.model, image, config=tiny_run.model.config.override(["detect.threshold=0.25"]))
    found = segment(colours, np.repeat(image[..., None], 3, axis=2))
    assert found.detection.image.shape == (64, 64, 3)
    assert len(expected.points) > 3
    np.testing.assert_array_equal(found.points, expected.points)
    assert (found.labels != expected.labels).mean() < 0.01


@pytest.mark.parametrize(
    ("channels", "assignments"),
    [("colours", []), ((0, 1, 2), ["image.scale=0.7", "likelihood.sigma=4.3", "image.normalization=max"])],
)
def test_tiles_give_the_whole(tiny_run, stained, channels, assignments):
    model = in_channels(tiny_run.model, channels)
    config = model.config.override(assignments)
    expected = segment(model, stained, config=config)
    labels = np.zeros(stained.shape[:2], np.uint32)
    found = segment_tiled(model, stained, labels, config=config, tile=50)
    assert len(found.points) > 3
    np.testing.assert_array_equal(found.points, expected.points)
    np.testing.assert_array_equal(labels, expected.labels)


@pytest.mark.parametrize("channels", ["colours", (0, 1, 2)])
def test_tiles_of_a_scan_with_a_border_give_the_whole(tiny_run, stained, channels):
    model = in_channels(tiny_run.model, channels)
    framed = np.pad(stained, ((0, 40), (30, 3), (0, 0)), constant_values=-1)
    # The network of the tests sees cells in black, too.
    config = model.config.override(["detect.threshold=0.45"])
    expected = segment(model, framed, config=config)
    np.testing.assert_array_equal(
        expected.detection.image[:110, 30:163], segment(model, stained, config=config).detection.image
    )
    labels = np.zeros(framed.shape[:2], np.uint32)
    found = segment_tiled(model, framed, labels, config=config, tile=50)
    assert len(found.points) > 3
    np.testing.assert_array_equal(found.points, expected.points)
    np.testing.assert_array_equal(labels, expected.labels)


def test_clicked_cells_are_outlined_in_colours_too(colours, stained):
    points = segment(colours, stained).points[::2] + 0.4
    expected, labels = segment(colours, stained, points=points), np.zeros(stained.shape[:2], np.uint32)
    np.testing.assert_array_equal(expected.points, points)
    pixels = tuple(np.floor(points + 0.5).astype(int).T)
    np.testing.assert_array_equal(expected.labels[pixels], np.arange(len(points)) + 1)
    found = segment_tiled(colours, stained, labels, tile=50, options=TileOptions(points=points))
    np.testing.assert_array_equal(found.points, points)
    np.testing.assert_array_equal(labels, expected.labels)


def test_an_image_of_one_colour_is_constant(colours):
    image = np.full((40, 50, 3), [200, 20, 90], np.float32)
    labels = np.zeros((40, 50), np.uint32)
    with pytest.warns(UserWarning, match="the image is constant"):
        assert not segment(colours, image).labels.any()
    with pytest.warns(UserWarning, match="the image is constant"):
        assert not len(segment_tiled(colours, image, labels, tile=32).points)


def test_images_of_other_channels_are_refused(tiny_run, colours, stained):
    with pytest.raises(
        ValueError, match=r"the image has 1 channel, but the model takes 3 \(image.channels=colours\)"
    ):
        segment(colours, stained[..., 0])
    with pytest.raises(
        ValueError, match=r"the image has 3 channels, but the model takes 1 \(image.channels=grey\)"
    ):
        segment(tiny_run.model, stained)
    out = np.zeros(stained.shape[:2], np.int32)
    with pytest.raises(ValueError, match="the image has 3 channels, but the model takes 1"):
        segment_tiled(tiny_run.model, stained, out)
    with pytest.raises(ValueError, match=r"learned from 3 channels, but --channel .* 2 channels, 0,1; choose"):
        segment_tiled(colours, stained, out, config=colours.config.override(["image.channels=[0,1]"]))


# Files


def write_colours(path, image):
    Image.fromarray(np.round(image.clip(0, 1) * 255).astype(np.uint8)).save(path)


def test_a_model_of_colours_reads_them_by_itself_whole_and_in_tiles(colours, stained, tmp_path):
    write_colours(tmp_path / "a.png", stained)
    write_colours(tmp_path / "grey.png", stained[..., 0])
    kinds = ["labels", "overlay", "table", "contributions", "report"]
    files = [tmp_path / "a.png", tmp_path / "grey.png"]
    good, bad = segment_files(colours, files, tmp_path / "out", options=BatchOptions(kinds=kinds))
    assert (good.error, good.cells > 3) == (None, True)
    assert bad.error.startswith(
        f"{tmp_path / 'grey.png'}: is not an image in colours, which the model or --channel asks"
    )
    found = read_labels(tmp_path / "out" / "a_labels.tif")
    expected = segment(colours, read_image(tmp_path / "a.png", channel="colours")[0])
    np.testing.assert_array_equal(found, expected.labels)
    header = (tmp_path / "out" / "a_cells.csv").read_text().splitlines()[0]
    assert "mean_intensity_2" in header
    shown = np.asarray(Image.open(tmp_path / "out" / "a_overlay.png")).astype(int)
    assert np.ptp(shown, axis=2).mean() > 10  # in colours
    (tiled,) = segment_files(
        colours, files[:1], tmp_path / "tiled", options=BatchOptions(kinds=["labels", "report"], tiles=True)
    )
    assert tiled.error is None
    np.testing.assert_array_equal(read_image(tmp_path / "tiled" / "a_labels.ome.zarr")[0], found)
    (again,) = segment_files(colours, files[:1], tmp_path / "out", options=BatchOptions(kinds=kinds))
    assert again.skipped
    other = BatchOptions(colours.config.override(["image.channels=[2,1,0]"]), kinds=kinds)
    (changed,) = segment_files(colours, files[:1], tmp_path / "out", options=other)
    assert not changed.skipped


def test_channels_are_remembered_and_others_can_be_chosen(tiny_run, stained, tmp_path):
    model = in_channels(tiny_run.model, (0, 2), shares=(0.4, 0.6))
    stack = np.moveaxis(stained, -1, 0)
    for name, planes in {"three": stack, "two": stack[[0, 2]]}.items():
        tifffile.imwrite(tmp_path / f"{name}.tif", planes, imagej=True, metadata={"axes": "CYX"})
    files = [tmp_path / "three.tif", tmp_path / "two.tif"]
    three, two = segment_files(model, files, tmp_path / "out")
    assert three.error is None
    assert two.error == (
        f"{files[1]}: there is no channel 2; the file has 2 channels, counted from 0, but --channel, "
        "--nuclear-channel or the model asks for 0,2"
    )
    chosen = BatchOptions(model.config.override(["image.channels=[0,1]"]))
    (two,) = segment_files(model, files[1:], tmp_path / "out", options=chosen)
    assert (two.error, two.cells) == (None, three.cells)
    with pytest.raises(
        ValueError, match=r"the model learned from 2 channels, but --channel .* 1 channel, grey; choose"
    ):
        segment_files(model, files, tmp_path, options=BatchOptions(model.config.override(["image.channels=grey"])))
