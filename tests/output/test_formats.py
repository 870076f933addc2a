"""The kinds of files: which there are, what each writes of a batch, and what is refused."""

import importlib.util
import json
import re
import textwrap

import numpy as np
import pytest
import roifile

from tests.output.odd_labels import many
from wsis_jax.cli import main, parser
from wsis_jax.cli.segment import TEXT
from wsis_jax.io.image_file import SourceImage
from wsis_jax.io.label_file import read_labels
from wsis_jax.io.readers.zarr import open_omezarr
from wsis_jax.output import formats
from wsis_jax.output.cell_table import measure_cells
from wsis_jax.output.formats import DEFAULT_FORMATS, FORMATS, choose_formats, formats_table, help_lines
from wsis_jax.output.result import Result
from wsis_jax.segmentation.batch import BatchOptions, segment_files
from wsis_jax.segmentation.pipeline import segment

# What each kind writes of an image called a.
WRITTEN = {
    "overlay": "a_overlay.png",
    "points": "a_points.csv",
    "table": "a_cells.csv",
    "parquet": "a_cells.parquet",
    "rois": "a_rois.zip",
    "outlines": "a_outlines.txt",
    "geojson": "a_cells.geojson",
    "masks": "a_cp_masks.png",
    "seg": "a_seg.npy",
    "zarr": "a.ome.zarr",
    "contributions": "a_contributions.zarr",
    "labels": "a_labels.tif",
}


@pytest.fixture(scope="module")
def of_a_scene(tiny_run, draw_small):
    """A frame of two channels and its segmentation."""
    scene = draw_small(100)
    image = scene.image.astype(np.float32)
    frame = SourceImage("a", image, np.stack([image, scene.nuclei.astype(np.float32)]), 0.5)
    return frame, segment(tiny_run.model, image)


def test_every_kind_is_written_and_explained():
    assert list(FORMATS) == ["report", *WRITTEN, "ctc"]
    for kind, file in WRITTEN.items():
        (line,) = [line for line in TEXT.splitlines() if line.startswith(f"  {kind} ")]
        assert f"<name>{file[1:]}" in line
        assert len(line) <= 115
    assert help_lines() in TEXT


def test_a_format_is_added_in_one_place(of_a_scene, monkeypatch, tmp_path, capsys):
    """By the lines that the docstring shows; help, completion, choice and writing know of it."""
    (example,) = re.findall(r"^    (?:.|\n(?=    |\n))*", formats.__doc__, re.MULTILINE)
    assert len(example.strip().splitlines()) <= 15
    monkeypatch.setitem(FORMATS, "count", None)  # gone again after the test
    exec(compile(textwrap.dedent(example), "docstring", "exec"), {})
    with choose_formats(["count"]).writing(tmp_path, ["a"]) as write:
        assert write(*of_a_scene) == [tmp_path / "a_count.txt"]
    assert (tmp_path / "a_count.txt").read_text() == f"{len(of_a_scene[1].points)} cells"
    assert "count" in formats.tiled_kinds()
    assert "  count          <name>_count.txt: how many cells there are" in help_lines()
    assert "| `count` | `<name>_count.txt` |" in formats_table()
    with pytest.raises(SystemExit):
        main(["--print-completion", "bash"])
    assert " count" in capsys.readouterr().out


def test_cells_are_measured_once_for_all_formats(of_a_scene, monkeypatch, tmp_path):
    measured = []
    monkeypatch.setattr(
        "wsis_jax.output.result.measure_cells",
        lambda *of, **more: measured.append(of) or measure_cells(*of, **more),
    )
    with choose_formats(["table", "parquet", "geojson"]).writing(tmp_path, ["a"]) as write:
        assert len(write(*of_a_scene)) == 3
    assert len(measured) == 1


def test_kinds_combine_and_labels_come_last(of_a_scene, tmp_path):
    format = choose_formats(["labels", *sorted(WRITTEN)])
    assert format.kinds == tuple(WRITTEN)
    with format.writing(tmp_path, ["a"]) as write:
        files = write(*of_a_scene)
    assert [file.name for file in files] == list(WRITTEN.values())
    assert sorted(tmp_path.iterdir()) == sorted(files)
    assert DEFAULT_FORMATS.kinds == ("report", "overlay", "points", "table", "labels")


def test_few_images_have_pictures_for_the_page(of_a_scene, tmp_path):
    frame, result = of_a_scene
    names = [f"{index:02d}" for index in range(30)]
    with choose_formats(["report"]).writing(tmp_path, names) as write:
        written = {name: write(frame._replace(name=name), result) for name in names}
    assert sum(map(bool, written.values())) == 24
    assert written["00"]
    assert written["29"]
    assert sorted(path for files in written.values() for path in files) == sorted((tmp_path / "report").iterdir())


@pytest.mark.parametrize("cells", [True, False])
def test_each_kind_alone_writes_its_file_with_and_without_cells(cells, of_a_scene, tiny_run, tmp_path):
    frame, result = of_a_scene
    if not cells:
        result = segment(
            tiny_run.model, frame.image, config=tiny_run.model.config.override(["detect.threshold=1"])
        )
        assert not result.labels.any()
    for kind, file in WRITTEN.items():
        with choose_formats([kind]).writing(tmp_path / kind, ["a"]) as write:
            assert write(frame, result) == [tmp_path / kind / file]
        assert [path.name for path in (tmp_path / kind).iterdir()] == [file]
    count = len(np.unique(result.labels[result.labels > 0]))
    assert (count > 0) == cells
    assert len((tmp_path / "table" / "a_cells.csv").read_text().splitlines()) == 1 + count
    assert len((tmp_path / "outlines" / "a_outlines.txt").read_text().splitlines()) == count
    assert len(roifile.roiread(tmp_path / "rois" / "a_rois.zip")) == count
    assert len(json.loads((tmp_path / "geojson" / "a_cells.geojson").read_text())["features"]) == count
    for file in ("labels/a_labels.tif", "masks/a_cp_masks.png"):
        np.testing.assert_array_equal(read_labels(tmp_path / file), result.labels)


def test_the_table_has_channels_score_confidence_and_micrometres(of_a_scene, tmp_path):
    frame, result = of_a_scene
    assert FORMATS["table"].write_to(tmp_path, Result(frame, result)) == [tmp_path / "a_cells.csv"]
    header, *lines = (tmp_path / "a_cells.csv").read_text().splitlines()
    rows = [dict(zip(header.split(","), line.split(","), strict=True)) for line in lines]
    for row in rows:
        cell = result.labels == int(row["label"])
        assert float(row["area"]) == cell.sum()
        assert float(row["area_um2"]) == cell.sum() / 4
        for index in range(2):
            np.testing.assert_allclose(
                float(row[f"mean_intensity_{index}"]), frame.channels[index][cell].mean(), rtol=1e-4
            )
        np.testing.assert_allclose(float(row["score"]), result.scores[int(row["label"]) - 1], rtol=1e-5)
        assert 0 < float(row["confidence"]) <= 1


def test_the_same_result_makes_the_same_bytes(of_a_scene, tmp_path):
    for name in ("one", "two"):
        with choose_formats(list(WRITTEN)).writing(tmp_path / name, ["a"]) as write:
            write(*of_a_scene)
    files = [path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file()]
    assert len(files) > len(WRITTEN)
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file


def test_more_cells_than_16_bits_count_are_written_and_read_back(of_a_scene, tmp_path):
    frame, result = of_a_scene
    labels = many()
    frame = frame._replace(
        image=np.zeros(labels.shape, np.float32), channels=np.zeros((1, *labels.shape), np.float32)
    )
    result = result._replace(labels=labels)
    for kind in ("labels", "masks", "zarr"):
        FORMATS[kind].write_to(tmp_path, Result(frame, result))
    for file in ("a_labels.tif", "a_cp_masks.tif"):
        np.testing.assert_array_equal(read_labels(tmp_path / file), labels)
    np.testing.assert_array_equal(open_omezarr(tmp_path / "a.ome.zarr/labels/cells")[0][:], labels)


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        (
            ["labels", "files"],
            "there is no kind of file called 'files'; choose of contributions, geojson, labels, ",
        ),
        ([""], "there is no kind of file called ''; choose"),
        ([], "there is no kind of file; choose"),
        (["ctc", "labels"], "ctc is written alone"),
    ],
)
def test_what_is_no_format_is_an_error(kinds, message):
    with pytest.raises(ValueError, match=message):
        choose_formats(kinds)
    assert not choose_formats(["ctc"]).resumable


def test_a_bad_kind_is_an_error_of_the_command_line_that_names_all(capsys):
    with pytest.raises(SystemExit) as stopped:
        parser().parse_args(["segment", "run", "images", "--format", "labels,tables"])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert "argument --format: there is no kind of file called 'tables'" in said
    assert all(kind in said for kind in FORMATS)


@pytest.mark.parametrize(
    ("kind", "package", "extra"),
    [("parquet", "pyarrow", "parquet"), ("rois", "roifile", "imagej")],
)
def test_a_missing_package_is_told_before_anything_is_written(kind, package, extra, monkeypatch, tmp_path):
    monkeypatch.setattr("wsis_jax.output.formats.find_spec", lambda name: None)
    message = rf"kind {kind} need the package {package}, which is not installed; pip install 'wsis-jax\[{extra}\]'"
    choice = choose_formats(["labels", kind])
    with pytest.raises(ValueError, match=message), choice.writing(tmp_path, ["a"]):
        pass
    assert importlib.util.find_spec(package)  # in the tests it is


def test_segment_writes_the_kinds_it_is_told_to_and_does_images_again_for_others(
    tiny_run, write_scene, draw_small, tmp_path, capsys
):
    write_scene(tmp_path, "a", draw_small(100))
    command = ["segment", str(tiny_run.folder), str(tmp_path / "image"), "--out", str(tmp_path / "out")]
    assert main([*command, "--format", "geojson, labels"]) == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"a_cells.geojson", "a_labels.tif", "manifest.jsonl"}
    for skipped in (False, True):
        capsys.readouterr()
        assert main([*command, "--format", "labels,zarr,rois"]) == 0
        assert ("1 of them before" in capsys.readouterr().out) == skipped
    assert {"a_rois.zip", "a.ome.zarr"} < {path.name for path in (tmp_path / "out").iterdir()}
    assert not list((tmp_path / "out").glob(".*"))


def test_a_folder_of_results_that_is_gone_is_written_again(tiny_run, write_scene, draw_small, tmp_path):
    write_scene(tmp_path, "a", draw_small(100))
    files, out = [tmp_path / "image" / "a.tif"], tmp_path / "out"
    options = BatchOptions(kinds=["zarr", "labels"])
    twice = [one for _ in range(2) for one in segment_files(tiny_run.model, files, out, options=options)]
    assert [one.skipped for one in twice] == [False, True]
    (out / "a.ome.zarr").rename(tmp_path / "elsewhere")
    (again,) = segment_files(tiny_run.model, files, out, options=options)
    assert not again.skipped
    assert (out / "a.ome.zarr" / "zarr.json").is_file()
