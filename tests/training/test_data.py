"""Reading training sets: which files belong together, and the points that are given or that a stain gives away."""

import json
import re

import numpy as np
import pytest
import tifffile
from PIL import Image

from wsis_jax.core import Faults, UserError
from wsis_jax.io.label_file import read_image
from wsis_jax.io.paths import named_images
from wsis_jax.io.point_file import write_points
from wsis_jax.output.formats.imagej import write_rois
from wsis_jax.points.nuclei import find_nuclei
from wsis_jax.segmentation.clicks import pair_points
from wsis_jax.synthetic import draw_scene
from wsis_jax.training.data import read_stained_set, read_training_set

POINTS = np.array([[3.0, 4.0], [10.0, 12.0]])


def write_image(path, *, pages: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(0).integers(0, 255, (pages, 20, 24)).astype(np.uint8)
    tifffile.imwrite(path, values[0] if pages == 1 else values, photometric="minisblack")


def write_frames(path, *frames: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("frame,row,column\n" + "".join(f"{frame},3,{4 + frame}\n" for frame in frames))


# Images and points


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


def test_points_of_a_folder_of_results_belong_to_its_images_and_corrections_win(tmp_path):
    written = []
    for number, name in enumerate("abc"):
        write_image(tmp_path / "images" / f"{name}.tif")
        write_points(tmp_path / "results" / f"{name}_points.csv", POINTS + number)
        write_points(tmp_path / "results" / f"{name}_cells.csv", POINTS[:1])  # a table of cells has places, too
        written += [f"{name}_points.csv", f"{name}_cells.csv"]
    write_points(tmp_path / "results" / "b_corrections.csv", POINTS[:1])
    (tmp_path / "results" / "manifest.jsonl").write_text(json.dumps({"files": written}) + "\n")
    data = read_training_set(tmp_path / "images", tmp_path / "results")
    assert [points.tolist() for points in data.points] == [
        POINTS.tolist(),
        POINTS[:1].tolist(),
        (POINTS + 2).tolist(),
    ]
    assert data.names[1].endswith("b_corrections.csv")
    kept = pair_points(named_images(tmp_path / "images"), tmp_path / "results")  # wsis segment does the same
    assert [path.name for path in kept.values()] == ["a_points.csv", "b_corrections.csv", "c_points.csv"]


def test_pages_are_frames(tmp_path):
    write_image(tmp_path / "a.tif", pages=3)
    write_frames(tmp_path / "a.csv", 0, 2, 2)
    with pytest.warns(UserWarning, match="page 1 is left out"):
        data = read_training_set(tmp_path / "a.tif", tmp_path / "a.csv")
    assert [len(points) for points in data.points] == [1, 2]
    np.testing.assert_array_equal(data.images, read_image(tmp_path / "a.tif")[[0, 2]])
    assert data.names[1].endswith("a.csv, frame 2")


def test_pages_without_points_are_one_warning(tmp_path):
    write_image(tmp_path / "a.tif", pages=5)
    write_frames(tmp_path / "a.csv", 3)
    with pytest.warns(UserWarning, match="page 0 and 3 more are left out, since they have no points") as caught:
        read_training_set(tmp_path / "a.tif", tmp_path / "a.csv")
    assert len(caught) == 1


def test_faults_of_all_files_are_told_at_once(tmp_path):
    for name in "abcd":
        write_image(tmp_path / "image" / f"{name}.tif")
        write_points(tmp_path / "points" / f"{name}.csv", POINTS)
    (tmp_path / "image" / "a.tif").write_bytes(b"nothing")
    (tmp_path / "points" / "a.csv").write_text("x,y\n1,2\n1,b\nc,2\n")
    write_points(tmp_path / "points" / "b.csv", POINTS + 20)
    write_points(tmp_path / "points" / "d.csv", {9: POINTS, 0: POINTS})
    with pytest.raises(Faults) as info:
        read_training_set(tmp_path / "image", tmp_path / "points")
    image, table, outside, frame = info.value.sentences
    assert "a.tif: this is not an image of a known kind" in image
    assert "a.csv: `b` in line 3, column y, is not a number; `c` in line 4, column x, is not a number" in table
    assert "b.csv: point 0 (counted from 0) at row 23, column 24 is outside" in outside
    assert "and so is 1 at row 30, column 32; correct them" in outside
    assert "d.csv: has points in frame 9, but" in frame


def test_rois_are_points(tmp_path):
    labels = np.zeros((20, 24), np.int32)
    labels[2:5, 3:6], labels[9:12, 11:14] = 1, 2
    write_image(tmp_path / "image" / "a.tif")
    write_rois(tmp_path / "points" / "a.zip", labels)
    data = read_training_set(tmp_path / "image", tmp_path / "points")
    np.testing.assert_array_equal(data.points[0], POINTS)


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


def test_the_channel_of_the_images_is_that_which_is_asked_for(tmp_path):
    values = np.random.default_rng(0).random((2, 20, 24)).astype(np.float32)
    tifffile.imwrite(tmp_path / "a.tif", values, imagej=True, metadata={"axes": "CYX"})
    write_points(tmp_path / "a.csv", POINTS)
    data = read_training_set(tmp_path / "a.tif", tmp_path / "a.csv", channel=1)
    np.testing.assert_array_equal(data.images, values[1:])
    np.testing.assert_array_equal(data.points, POINTS[None])


# Images and nuclear stains


@pytest.fixture(scope="module")
def scenes(draw_small):
    """Three scenes, the last without a cell."""
    return [draw_small(100), draw_small(101), draw_small(102, cells=0)]


def write(path, *pages, axes: str = "") -> None:
    """Writes an image, or several as pages that may have a name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"imagej": True, "metadata": {"axes": axes}} if axes else {}
    tifffile.imwrite(path, pages[0] if len(pages) == 1 else np.stack(pages), photometric="minisblack", **options)


def same(data, scenes) -> bool:
    """Whether a training set is that of scenes, with the nuclei of their stains."""
    return (
        len(data.images) == len(data.points) == len(data.names) == len(scenes)
        and all(map(np.array_equal, data.images, [scene.image for scene in scenes]))
        and all(map(np.array_equal, data.points, [find_nuclei(scene.nuclei).points for scene in scenes]))
    )


def test_nuclei_stand_for_clicks(scenes, tmp_path):
    for name, scene in zip("ba", scenes[:2], strict=True):
        write(tmp_path / "image" / f"{name}.tif", scene.image)
        write(tmp_path / "stain" / f"{name}.tif", scene.nuclei)
    data = read_stained_set(tmp_path / "image", str(tmp_path / "stain" / "*.tif"))
    assert same(data, scenes[1::-1])
    assert data.names[0] == f"{tmp_path / 'image' / 'a.tif'} with {tmp_path / 'stain' / 'a.tif'}"
    assert [len(points) for points in data.points] == [6, 6]
    rows, columns = np.rint(data.points[0]).astype(int).T
    assert sorted(scenes[1].labels[rows, columns]) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("axes", ["CYX", ""])
def test_image_and_stain_in_the_same_file(scenes, tmp_path, axes):
    for name, scene in zip("ab", scenes[:2], strict=True):
        write(tmp_path / f"{name}.tif", scene.nuclei, scene.image, axes=axes)
    data = read_stained_set(tmp_path, tmp_path, channel=1, nuclear_channel=0)
    assert same(data, scenes[:2])
    assert data.names == [str(tmp_path / "a.tif"), str(tmp_path / "b.tif")]


def test_frames_have_a_stain_each(scenes, tmp_path):
    write(tmp_path / "films" / "a.tif", *(scene.image for scene in scenes[:2]))
    write(tmp_path / "stains" / "a.tif", *(scene.nuclei for scene in scenes[:2]))
    data = read_stained_set(tmp_path / "films", tmp_path / "stains")
    assert same(data, scenes[:2])
    assert data.names[1].endswith("a.tif, frame 1")
    both = np.stack([[scene.image, scene.nuclei] for scene in scenes[:2]])
    tifffile.imwrite(tmp_path / "both.tif", both, imagej=True, metadata={"axes": "TCYX"})
    both_set = read_stained_set(tmp_path / "both.tif", tmp_path / "both.tif", channel=0, nuclear_channel=1)
    assert same(both_set, scenes[:2])


def test_a_stain_without_nuclei_teaches_nothing(scenes, tmp_path):
    write(tmp_path / "a.tif", *(scene.image for scene in scenes))
    write(tmp_path / "stain.tif", *(scene.nuclei for scene in scenes))
    with pytest.warns(UserWarning, match="left out") as caught:
        data = read_stained_set(tmp_path / "a.tif", tmp_path / "stain.tif")
    assert same(data, scenes[:2])
    (message,) = (str(warning.message) for warning in caught)
    assert message.startswith(
        f"{tmp_path / 'a.tif'} with {tmp_path / 'stain.tif'}, frame 2: left out, since no nucl"
    )
    write(tmp_path / "stain.tif", *3 * [np.zeros((64, 64), np.uint8)])
    with pytest.raises(ValueError, match=r"stain\.tif: no nucleus was found in this stain, nor in any other"):
        read_stained_set(tmp_path / "a.tif", tmp_path / "stain.tif")


def test_what_has_no_stain_and_what_is_none_are_left_out_with_a_warning(scenes, tmp_path):
    for name, scene in zip("ab", scenes[:2], strict=True):
        write(tmp_path / "image" / f"{name}.tif", scene.image)
        write(tmp_path / "stain" / f"{chr(ord(name) + 1)}.tif", scenes[1].nuclei)
    with pytest.warns(UserWarning, match="left out") as caught:
        data = read_stained_set(tmp_path / "image", tmp_path / "stain")
    assert [str(warning.message).partition(": ")[2] for warning in caught] == [
        "left out, since no stain has that name",
        "left out, since no image has that name",
    ]
    assert same(data, scenes[1:2])


def test_no_image_with_a_stain_at_all_is_refused(scenes, tmp_path):
    for name in ("a", "b"):
        write(tmp_path / "image" / f"{name}.tif", scenes[0].image)
        write(tmp_path / "stain" / f"stain_{name}.tif", scenes[0].nuclei)
    with pytest.raises(
        ValueError, match=r"a\.tif: neither this image nor any other has a stain of its name; name"
    ):
        read_stained_set(tmp_path / "image", tmp_path / "stain")


def test_a_stain_at_another_magnification_is_refused(scenes, tmp_path):
    write(tmp_path / "a.tif", scenes[0].image)
    write(tmp_path / "stain.tif", scenes[0].nuclei[::2, ::2])
    with pytest.raises(
        ValueError, match=r"a\.tif: is 64 × 64 pixels but its stain .*stain\.tif is 32 × 32; give a"
    ):
        read_stained_set(tmp_path / "a.tif", tmp_path / "stain.tif")


def test_another_number_of_frames_is_refused(scenes, tmp_path):
    write(tmp_path / "a.tif", scenes[0].image)
    write(tmp_path / "stain.tif", scenes[0].nuclei, scenes[1].nuclei)
    with pytest.raises(
        ValueError, match=r"a\.tif: has 1 frame\(s\) but its stain .*stain\.tif has 2; give a stain"
    ):
        read_stained_set(tmp_path / "a.tif", tmp_path / "stain.tif")


@pytest.mark.parametrize("channel", [None, 1])
def test_an_image_is_not_its_own_stain(scenes, tmp_path, channel):
    write(tmp_path / "a.tif", scenes[0].image, scenes[0].nuclei, axes="CYX")
    other = tmp_path / "." / ".." / tmp_path.name / "a.tif"
    with pytest.raises(ValueError, match=r"a\.tif: is the image and its own stain; give"):
        read_stained_set(tmp_path / "a.tif", other, channel=channel, nuclear_channel=channel)


def test_a_channel_that_is_missing_is_refused(scenes, tmp_path):
    write(tmp_path / "a.tif", scenes[0].image, scenes[0].nuclei, axes="CYX")
    for channel, nuclear_channel in [(2, 1), (0, 2)]:
        with pytest.raises(ValueError, match=r"a\.tif: there is no channel 2; the file has 2 channels"):
            read_stained_set(
                tmp_path / "a.tif", tmp_path / "a.tif", channel=channel, nuclear_channel=nuclear_channel
            )


def test_points_in_micrometres_are_brought_to_pixels(tmp_path):
    scene = draw_scene(0, shape=(200, 240), cells=30, diameter=22.0)
    scale = {"imagej": True, "resolution": (2, 2), "metadata": {"unit": "um"}}
    tifffile.imwrite(tmp_path / "a.tif", scene.image, **scale)
    write_points(tmp_path / "a.csv", scene.points / 2, format="imagej")
    with pytest.raises(UserError, match=r"a\.tif with .*a\.csv: the points look as if they were in micrometres"):
        read_training_set(tmp_path / "a.tif", tmp_path / "a.csv")
    for given, size, factor in [("um", None, 1.0), ("um", 1.0, 0.5), ("pixels", None, 0.5)]:
        data = read_training_set(tmp_path / "a.tif", tmp_path / "a.csv", points_in=given, pixel_size=size)
        np.testing.assert_allclose(data.points[0], scene.points * factor, atol=0.03)


def test_colours_are_learned_where_all_images_have_them(tmp_path, recwarn):
    grey = np.random.default_rng(0).integers(0, 255, (32, 32)).astype(np.uint8)
    pink = np.stack([grey, grey // 2, grey], axis=-1)
    for name, values in {"a": pink, "b": pink, "c": grey}.items():
        Image.fromarray(values).save(tmp_path / f"{name}.png")
        write_points(tmp_path / f"{name}.csv", np.array([[4.0, 5.0]]))
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    assert [image.shape for image in read_training_set(files, tmp_path).images] == [(32, 32, 3)] * 2
    assert read_training_set(files, tmp_path, channel="grey").images[0].shape == (32, 32)
    recwarn.clear()
    mixed = read_training_set(tmp_path, tmp_path).images
    assert [image.shape for image in mixed] == [(32, 32)] * 3
    assert re.search(
        r"a.png: is in colours and .*c.png is not, so that all .* grey values", str(recwarn.pop().message)
    )
