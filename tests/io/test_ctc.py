"""Folders of the Cell Tracking Challenge: points from markers, and masks whose labels are tracks of one frame."""

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import ndimage

from wsis_jax.io.ctc import read_ctc_points
from wsis_jax.io.label_file import read_labels
from wsis_jax.output.formats.ctc import frame_numbers, writing_ctc

SCENES = 3


def read_tracks(folder: Path) -> list[tuple[int, ...]]:
    """Returns label, first frame, last frame and parent of each track."""
    lines = (folder / "res_track.txt").read_text().splitlines()
    return [tuple(map(int, line.split(" "))) for line in lines]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, draw_small, write_ctc_scenes):
    """A dataset with a sequence of drawn scenes, of which the last has no cell."""
    folder = tmp_path_factory.mktemp("dataset")
    write_ctc_scenes(folder, [draw_small(seed, cells=6 if seed < 2 else 0) for seed in range(SCENES)])
    return folder


@pytest.fixture
def copy(dataset, tmp_path):
    """A copy to spoil."""
    return shutil.copytree(dataset, tmp_path / "copy")


# Reading


def test_points_are_the_centroids_of_the_markers(dataset, draw_small):
    found = read_ctc_points(dataset / "01")
    assert [one.image for one in found] == [dataset / "01" / f"t{frame:03d}.tif" for frame in range(SCENES)]
    assert [len(one.points) for one in found] == [6, 6, 0]
    for seed, one in enumerate(found[:2]):
        labels = draw_small(seed).labels
        oracle = ndimage.center_of_mass(labels > 0, labels, range(1, 7))
        np.testing.assert_allclose(one.points, oracle, atol=1e-9)


def test_the_folder_may_be_the_one_we_are_in_and_numbers_may_have_four_digits(copy, monkeypatch):
    (copy / "01" / "t001.tif").rename(copy / "01" / "t0001.tif")
    monkeypatch.chdir(copy / "01")
    assert [one.image.name for one in read_ctc_points(".")] == ["t000.tif", "t0001.tif", "t002.tif"]


def test_other_files_are_not_looked_at(copy):
    for name in ("01/t000.txt", "01/.t000.tif", "01/at000.tif", "01_GT/TRA/man_track000.tif.bak"):
        (copy / name).touch()
    assert len(read_ctc_points(copy / "01")) == SCENES


def test_frames_without_a_partner_are_left_out_with_a_warning(copy):
    (copy / "01" / "t000.tif").unlink()
    (copy / "01_GT" / "TRA" / "man_track001.tif").unlink()
    with pytest.warns(UserWarning, match="left out") as caught:
        found = read_ctc_points(copy / "01")
    assert [one.image.name for one in found] == ["t002.tif"]
    assert [str(w.message) for w in caught] == [
        f"{copy / '01' / 't001.tif'}: left out, since the frame has no markers",
        f"{copy / '01_GT' / 'TRA' / 'man_track000.tif'}: left out, since the frame has no image",
    ]


def three_dimensional(copy):
    tifffile.imwrite(copy / "01" / "t000.tif", np.zeros((5, 64, 64), np.uint8), photometric="minisblack")


def three_dimensional_markers(copy):
    markers = copy / "01_GT" / "TRA" / "man_track000.tif"
    tifffile.imwrite(markers, np.zeros((5, 64, 64), np.uint8), photometric="minisblack")


def other_markers(copy):
    tifffile.imwrite(copy / "01_GT" / "TRA" / "man_track000.tif", np.zeros((64, 65), np.uint16))


def other_frames(copy):
    for frame in range(SCENES):
        (copy / "01" / f"t{frame:03d}.tif").rename(copy / "01" / f"t{frame + SCENES:03d}.tif")


@pytest.mark.parametrize(
    ("spoil", "folder", "sentence"),
    [
        (None, "03", r"03: there is no such folder; give that of the images, as dataset/01$"),
        (None, ".", r"holds no t000\.tif, t001\.tif, …; give a sequence, as dataset/01$"),
        (None, "01_GT", r"01_GT: holds no t000\.tif"),
        (None, "01/t000.tif", r"t000\.tif: there is no such folder; give that of the images"),
        (lambda copy: shutil.rmtree(copy / "01_GT"), "01", r"01_GT/TRA: there is no such folder; give a training"),
        (
            lambda copy: [path.unlink() for path in (copy / "01_GT" / "TRA").glob("*.tif")],
            "01",
            r"TRA: holds no man_track000\.tif, man_track001\.tif, …; give",
        ),
        (other_frames, "01", r"TRA: none of its frames is in .*01; give folders of the same sequence$"),
        (
            lambda copy: (copy / "01" / "t0001.tif").touch(),
            "01",
            r"/t0001\.tif: .*/t001\.tif is of the same frame; remove one",
        ),
        (three_dimensional, "01", r"t000\.tif: has 5 planes; give a sequence in two dimensions$"),
        (three_dimensional_markers, "01", r"man_track000\.tif: has 5 planes; give a sequence in two dimensions$"),
        (other_markers, "01", r"man_track000\.tif: is 64 × 65 pixels but .*t000\.tif is 64 × 64; give markers of"),
        (lambda copy: (copy / "01" / "t000.tif").write_bytes(b""), "01", r"t000\.tif: the file is empty"),
    ],
)
def test_what_is_no_sequence_is_told_in_one_sentence(copy, spoil, folder, sentence):
    if spoil:
        spoil(copy)
    with pytest.raises((ValueError, FileNotFoundError), match=sentence) as info:
        read_ctc_points(copy / folder)
    assert "\n" not in str(info.value)


# Writing

label_images = npst.arrays(np.int32, (5, 6), elements=st.sampled_from([0, 0, 1, 2, 5, 90]))


@pytest.mark.filterwarnings("ignore:.* has one label in")  # as random ones may
@settings(deadline=None, max_examples=40)
@given(images=st.lists(label_images, max_size=4))
def test_every_cell_is_a_track_of_one_frame(tmp_path_factory, images):
    out = tmp_path_factory.mktemp("results")
    names = [f"t{frame:03d}" for frame in range(len(images))]
    with writing_ctc(out, names) as write:
        for name, labels in zip(names, images, strict=True):
            write(name, labels)
    expected, used = [], 0
    for frame, labels in enumerate(images):
        mask = read_labels(out / f"mask{frame:03d}.tif")
        # One label of the mask for each of the frame, and none that an earlier frame has.
        pairs = {(old, new) for old, new in zip(labels.ravel(), mask.ravel(), strict=True) if old or new}
        cells = np.unique(labels[labels > 0])
        assert sorted(new for _, new in pairs) == list(range(used + 1, used + 1 + len(cells)))
        assert sorted(old for old, _ in pairs) == cells.tolist()
        expected += [(used + 1 + cell, frame, frame, 0) for cell in range(len(cells))]
        used += len(cells)
    assert read_tracks(out) == expected
    assert len(list(out.iterdir())) == len(images) + 1


def test_labels_beyond_16_bits_are_written_with_one_warning(tmp_path):
    many = np.arange(65_535, dtype=np.int32).reshape(257, 255) + 1
    few = np.array([[0, 1]], np.int32)
    names = ["t000", "t001", "t002"]
    with writing_ctc(tmp_path, names) as write:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            write("t000", many)
        with pytest.warns(UserWarning, match="more than 65,535 cells, so masks have 32 bits from here on"):
            write("t001", few)
        write("t002", few)
    masks = [tifffile.imread(tmp_path / f"mask{frame:03d}.tif") for frame in range(3)]
    assert [mask.dtype for mask in masks] == [np.uint16, np.uint32, np.uint32]
    assert [mask.max() for mask in masks] == [65_535, 65_536, 65_537]


def test_of_an_interrupted_sequence_the_tracks_are_those_of_the_masks(tmp_path):
    def write_and_stop():
        with writing_ctc(tmp_path, ["t004", "t005"]) as write:
            write("t004", np.array([[7, 0, 9]], np.int32))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_and_stop()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mask004.tif", "res_track.txt"]
    assert read_tracks(tmp_path) == [(1, 4, 4, 0), (2, 4, 4, 0)]


@pytest.mark.parametrize("old", ["mask007.tif", "res_track.txt"])
def test_results_are_not_mixed_with_older_ones(tmp_path, old):
    (tmp_path / old).write_text("old")
    with (
        pytest.raises(ValueError, match=rf"{old}: the folder holds results already; give another one"),
        writing_ctc(tmp_path, ["t000"]),
    ):
        pass
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(old, "old")]


# Numbers


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["t012"], ["012"]),
        (["t0012", "t0013"], ["0012", "0013"]),
        (["t1", "t10", "t2"], ["001", "010", "002"]),
        (["t998", "t1002"], ["0998", "1002"]),
        (["film_0000", "film_0001"], ["0000", "0001"]),
        (["a", "c", "b"], ["000", "001", "002"]),
        (["t7", "b"], ["000", "001"]),
        (["2 cells"], ["000"]),
        ([f"cells {chr(97 + i // 26)}{i}x" for i in range(1001)], [f"{i:04d}" for i in range(1001)]),
        ([], []),
    ],
)
def test_the_number_is_that_of_the_name_or_the_place(names, numbers):
    assert frame_numbers(names) == dict(zip(names, numbers, strict=True))


@settings(deadline=None, max_examples=60)
@given(names=st.lists(st.from_regex(r"[a-z]{0,2}[0-9]{0,5}", fullmatch=True), unique=True, max_size=6))
def test_numbers_sort_as_the_names_of_their_masks_do(names):
    try:
        numbers = list(frame_numbers(names).values())
    except ValueError:
        assert len({int(name.lstrip("abcdefghijklmnopqrstuvwxyz")) for name in names}) < len(names)
        return
    assert len(set(numbers)) == len(numbers) == len(names)
    assert len(set(map(len, numbers))) <= 1
    assert sorted(numbers) == sorted(numbers, key=int)


@pytest.mark.parametrize("names", [["well1_t003", "well2_t003"], ["t03", "t003"]])
def test_two_images_of_one_number_are_refused(names):
    with pytest.raises(
        ValueError, match=rf"{names[0]} and {names[1]} would both be mask003\.tif; give the images of"
    ):
        frame_numbers(names)
