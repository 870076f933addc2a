"""The pages of docs/recipes: what they have wsis write is what other tools read, by their own readers where there.

`test_readme.py` runs their commands, too; here they run on images of which it is known what must come out.
"""

import re
import shlex
import shutil

import numpy as np
import pytest
import tifffile

from tests.end_to_end.examples import ROOT, lines
from wsis_jax.cli import main
from wsis_jax.io.label_file import read_labels
from wsis_jax.io.point_file import write_points


def code_of(page):
    """The blocks of Python on a page."""
    return re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / "recipes" / page).read_text("utf-8"), flags=re.DOTALL
    )


def run_lines(page):
    """Runs the lines of a page that begin with wsis."""
    found = [one.text for one in lines() if one.where == f"docs/recipes/{page}"]
    assert found
    for text in found:
        assert main(shlex.split(text)[1:]) == 0, text


def labels_at(scene, labels):
    """The label at each click of a scene."""
    return labels[tuple(np.floor(scene.points + 0.5).astype(int).T)].tolist()


@pytest.fixture
def scenes(draw_small):
    return [draw_small(seed) for seed in (100, 101)]


@pytest.fixture
def clicked(tiny_run, scenes, tmp_path, monkeypatch):
    """The current folder: a run folder, two images, their clicks, and moving cells as a film and as a sequence."""
    shutil.copytree(tiny_run.folder, tmp_path / "run")
    for folder in ("images", "points", "data/01"):
        (tmp_path / folder).mkdir(parents=True)
    for index, scene in enumerate(scenes):
        image = np.round(scene.image * 60_000).astype(np.uint16)
        tifffile.imwrite(tmp_path / "images" / f"cells_{index}.tif", image)
        write_points(tmp_path / "points" / f"cells_{index}.csv", scene.points)
    first = tifffile.imread(tmp_path / "images" / "cells_0.tif")
    film = np.stack([first, np.roll(first, (1, 2), axis=(0, 1))])
    for index, frame in enumerate(film):
        tifffile.imwrite(tmp_path / "data" / "01" / f"t{index:03d}.tif", frame)
    tifffile.imwrite(tmp_path / "film.tif", film, photometric="minisblack")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_masks_for_cellpose_lie_beside_the_images(clicked, scenes):
    run_lines("cellpose.md")
    names = sorted(path.name for path in (clicked / "images").iterdir())
    assert names == [
        "cells_0.tif",
        "cells_0_cp_masks.png",
        "cells_1.tif",
        "cells_1_cp_masks.png",
        "manifest.jsonl",
    ]
    for index, scene in enumerate(scenes):
        masks = read_labels(clicked / "images" / f"cells_{index}_cp_masks.png")
        assert labels_at(scene, masks) == list(range(1, len(scene.points) + 1))
    # The pictures are elsewhere, and so the images can be given again: masks are not taken for images.
    assert sorted(path.name for path in (clicked / "looked_at").glob("*.png")) == [
        "cells_0_overlay.png",
        "cells_1_overlay.png",
    ]


@pytest.mark.filterwarnings("ignore")  # of the other tool
def test_cellpose_reads_its_training_set(clicked, scenes):
    pytest.importorskip("cellpose")
    run_lines("cellpose.md")
    names = {}
    exec(compile(code_of("cellpose.md")[0], "cellpose.md", "exec"), names)
    assert [name.replace("\\", "/") for name in names["names"]] == ["images/cells_0.tif", "images/cells_1.tif"]
    for index, scene in enumerate(scenes):
        np.testing.assert_array_equal(names["images"][index], tifffile.imread(f"images/cells_{index}.tif"))
        masks = names["masks"][index]
        assert masks.dtype == np.uint16
        assert labels_at(scene, masks) == list(range(1, len(scene.points) + 1))
    from cellpose.cli import get_arg_parser

    (line,) = re.findall(
        r"^    cellpose (.*)$", (ROOT / "docs/recipes/cellpose.md").read_text("utf-8"), re.MULTILINE
    )
    given = get_arg_parser().parse_args(shlex.split(line))
    assert (given.train, given.dir, given.mask_filter) == (True, "images", "_cp_masks")


@pytest.mark.filterwarnings("ignore")  # of the other tool
def test_cellpose_finds_every_mask_worth_learning(clicked, scenes):
    pytest.importorskip("cellpose")
    from cellpose.dynamics import labels_to_flows

    run_lines("cellpose.md")
    masks = [read_labels(clicked / "images" / f"cells_{index}_cp_masks.png") for index in range(2)]
    for one, flows in zip(masks, labels_to_flows([one.astype(np.uint16) for one in masks]), strict=True):
        # Labels, which Cellpose numbers anew; whether there is a cell; and the flows to its middle.
        pairs = set(zip(flows[0].ravel().tolist(), one.ravel().tolist(), strict=True))
        assert len(pairs) == len(np.unique(flows[0])) == len(np.unique(one)) > 2
        np.testing.assert_array_equal(flows[1], one > 0)
        assert (np.hypot(*flows[2:4])[one > 0] > 0).mean() > 0.9


def test_label_images_for_stardist_are_named_like_the_images(clicked, scenes):
    run_lines("stardist.md")
    for index, scene in enumerate(scenes):
        labels = tifffile.imread(clicked / "stardist_set" / f"cells_{index}_labels.tif")
        assert labels.dtype == np.uint16
        assert labels.shape == scene.image.shape
        assert labels_at(scene, labels) == list(range(1, len(scene.points) + 1))


@pytest.mark.filterwarnings("ignore")  # of the other tool
def test_stardist_reads_its_training_set_and_learns(clicked, scenes):
    pytest.importorskip("stardist")
    pytest.importorskip("tensorflow")
    run_lines("stardist.md")
    reading, training = code_of("stardist.md")
    names = {}
    exec(compile(reading, "stardist.md", "exec"), names)
    for index, image in enumerate(names["X"]):
        stored = tifffile.imread(clicked / "stardist_set" / f"cells_{index}_labels.tif")
        np.testing.assert_array_equal(names["Y"][index], stored)  # no cell has a hole
        # The images come in the order of the labels.
        assert np.corrcoef(image.ravel(), scenes[index].image.ravel())[0, 1] > 0.99
    from stardist.models.model2d import StarDistData2D

    (image,), (seen, distances) = StarDistData2D(
        names["X"], names["Y"], batch_size=1, n_rays=8, length=1, patch_size=(64, 64)
    )[0]
    assert image.shape == (1, 64, 64, 1)
    assert seen.shape == (1, 64, 64, 1)
    assert distances.shape == (1, 64, 64, 9)
    assert 0 < (seen > 0).mean() < 1
    small = training.replace("(256, 256)", "(64, 64)").replace(
        "train_epochs=100", "train_epochs=1, train_steps_per_epoch=1, train_batch_size=1, train_tensorboard=False"
    )
    assert small != training
    exec(compile(small, "stardist.md", "exec"), names)
    assert (clicked / "models" / "from_clicks" / "thresholds.json").is_file()


def test_labels_for_trackmate_are_a_channel_of_whole_numbers(clicked, scenes):
    run_lines("tracking.md")
    assert sorted(path.name for path in (clicked / "film_labels").glob("*.tif")) == [
        "film_0000_labels.tif",
        "film_0001_labels.tif",
    ]
    exec(compile(code_of("tracking.md")[0], "tracking.md", "exec"), {})
    with tifffile.TiffFile(clicked / "film_and_labels.tif") as file:
        assert file.is_imagej
        assert {key: file.imagej_metadata[key] for key in ("channels", "frames")} == {"channels": 2, "frames": 2}
        assert file.series[0].axes == "TCYX"
        values = file.asarray()
    assert values.dtype == np.uint16  # TrackMate refuses other than whole numbers
    np.testing.assert_array_equal(values[:, 0], tifffile.imread("film.tif"))
    for frame in range(2):
        labels = tifffile.imread(clicked / "film_labels" / f"film_{frame:04d}_labels.tif")
        np.testing.assert_array_equal(values[frame, 1], labels)
        assert labels.max() > 1


def masks_of(folder):
    return [tifffile.imread(path) for path in sorted(folder.glob("mask*.tif"))]


def test_a_sequence_for_trackers_has_a_mask_for_each_frame_and_no_label_twice(clicked):
    run_lines("tracking.md")
    folder = clicked / "data" / "01_RES"
    assert sorted(path.name for path in folder.iterdir()) == ["mask000.tif", "mask001.tif", "res_track.txt"]
    masks = masks_of(folder)
    assert [mask.dtype for mask in masks] == [np.uint16] * 2
    first, second = (set(np.unique(mask[mask > 0]).tolist()) for mask in masks)
    assert first
    assert second
    assert first.isdisjoint(second)
    tracks = np.loadtxt(folder / "res_track.txt", dtype=int)
    assert tracks[:, 0].tolist() == sorted(first | second)
    assert [(begin, end) for _, begin, end, _ in tracks] == [(0, 0)] * len(first) + [(1, 1)] * len(second)
    assert not tracks[:, 3].any()


def test_a_film_in_one_file_is_numbered_by_its_frames(clicked):
    assert main(["segment", "run", "film.tif", "--format", "ctc", "--out", "film_RES"]) == 0
    assert sorted(path.name for path in (clicked / "film_RES").iterdir()) == [
        "mask0000.tif",
        "mask0001.tif",
        "res_track.txt",
    ]


@pytest.mark.filterwarnings("ignore")  # of the other tool
def test_trackastra_reads_images_and_masks(clicked, scenes, monkeypatch):
    pytest.importorskip("trackastra")
    import networkx
    from trackastra import cli
    from trackastra.data.utils import load_tiff_timeseries

    run_lines("tracking.md")
    seen = {}

    class Model:
        """Stands for the network, whose weights would have to be downloaded; reads as it does."""

        @classmethod
        def from_pretrained(cls, name, device):
            seen["name"] = name
            return cls()

        def track_from_disk(self, images, masks, **_):
            seen["images"], seen["masks"] = load_tiff_timeseries(images), load_tiff_timeseries(masks)
            graph = networkx.DiGraph()
            for time, mask in enumerate(seen["masks"]):
                for label in np.unique(mask[mask > 0]).tolist():
                    graph.add_node(label, time=time, label=label)
            return graph, seen["masks"]

    monkeypatch.setattr(cli, "Trackastra", Model)
    text = (ROOT / "docs" / "recipes" / "tracking.md").read_text("utf-8")
    (line,) = re.findall(r"^    (trackastra .*)$", text, re.MULTILINE)
    monkeypatch.setattr("sys.argv", shlex.split(line))
    cli.cli()
    assert seen["name"] == "general_2d"
    assert seen["images"].shape == seen["masks"].shape == (2, *scenes[0].image.shape)
    np.testing.assert_array_equal(seen["images"][1], tifffile.imread("data/01/t001.tif"))
    np.testing.assert_array_equal(seen["masks"], masks_of(clicked / "data" / "01_RES"))
    assert (clicked / "data" / "01_tracked" / "man_track.txt").is_file()


@pytest.mark.filterwarnings("ignore")  # of the other tool
def test_ultrack_takes_the_masks_and_tracks(clicked):
    pytest.importorskip("ultrack")
    run_lines("tracking.md")
    exec(compile(code_of("tracking.md")[1], "tracking.md", "exec"), {})
    folder = clicked / "data" / "01_ultrack"
    first, second = (set(np.unique(mask[mask > 0]).tolist()) for mask in masks_of(folder))
    assert first & second  # cells that were followed
    tracks = np.loadtxt(folder / "res_track.txt", dtype=int, ndmin=2)
    assert {label for label, begin, end, _ in tracks.tolist() if (begin, end) == (0, 1)} == first & second
