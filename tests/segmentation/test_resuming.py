"""A batch that goes on where it stopped, whatever stopped it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import tifffile

from wsis_jax.cli import main
from wsis_jax.core.errors import warn_about_image
from wsis_jax.io.paths import list_images
from wsis_jax.io.point_file import write_points
from wsis_jax.network.model import Model
from wsis_jax.segmentation import batch as images
from wsis_jax.segmentation.batch import BatchOptions, segment_files
from wsis_jax.segmentation.manifest import ImageResult, Manifest


def write_images(folder, draw_small, count: int) -> None:
    folder.mkdir()
    for index in range(count):
        values = np.round(draw_small(index % 5, cells=3 + index % 3, shape=(48, 56)).image * 60_000)
        tifffile.imwrite(folder / f"{index:02d}.tif", (values + index).astype(np.uint16))


def contents(folder) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def segmented(run, files, out, **options) -> list[tuple[str, bool]]:
    """Segments files; returns the names, and whether each was skipped."""
    outcomes = segment_files(run, files, out, options=BatchOptions(**options))
    assert [outcome.error for outcome in outcomes] == [None] * len(outcomes)
    return [(outcome.name, outcome.skipped) for outcome in outcomes]


@pytest.fixture
def three(tmp_path, draw_small):
    """Files 00.tif, 01.tif and 02.tif."""
    write_images(tmp_path / "images", draw_small, 3)
    return sorted((tmp_path / "images").iterdir())


def test_a_batch_that_is_killed_ends_as_one_that_is_not(tiny_run, draw_small, tmp_path, capsys):
    # The page of a folder has the folder's name.
    images, whole, broken = tmp_path / "images", tmp_path / "whole" / "out", tmp_path / "broken" / "out"
    write_images(images, draw_small, 50)
    content = (images / "07.tif").read_bytes()
    (images / "07.tif").write_bytes(content[: len(content) // 2])
    (images / "23.tif").write_text("no image")
    tifffile.imwrite(images / "31.tif", np.zeros((48, 56), np.uint8))
    command = ["segment", str(tiny_run.folder), str(images), "--out"]
    assert main([*command, str(whole)]) == 3
    capsys.readouterr()
    process = subprocess.Popen(
        [sys.executable, "-m", "wsis_jax", *command, str(broken)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
    )
    manifest, deadline = broken / "manifest.jsonl", time.monotonic() + 120
    while not (manifest.is_file() and manifest.read_text().count("\n") > 10) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = manifest.read_text().count("\n")
    assert 10 < finished < 48
    half = {name for name in contents(broken) if name.endswith(".tmp")}
    before = {name: content for name, content in contents(broken).items() if name not in half}
    assert before.items() - {("manifest.jsonl", before["manifest.jsonl"])} <= contents(whole).items()
    summary = tmp_path / "summary.json"
    assert main([*command, str(broken), "--json", str(summary)]) == 3
    printed = capsys.readouterr()
    assert f"48 of 50 images segmented, {finished} of them before" in printed.out
    assert "Failed: 07.tif, 23.tif; the errors are above." in printed.out
    assert "07.tif: the image is damaged" in printed.err
    assert "23.tif: this is not an image of a known kind" in printed.err
    assert "31: the image is constant, so it holds no cells" in printed.err
    assert contents(broken) == contents(whole)
    told = json.loads(summary.read_text())
    assert [row["name"] for row in told["failed"]] == ["07", "23"]
    assert [row["name"] for row in told["images"]] == [f"{i:02d}" for i in range(50) if i not in (7, 23)]
    assert len(told["skipped"]) == finished


def test_what_is_finished_is_skipped_and_what_has_changed_is_done_again(tiny_run, three, tmp_path):
    run, out = tiny_run.model, tmp_path / "out"
    assert segmented(run, three, out) == [("00", False), ("01", False), ("02", False)]
    first = contents(out)
    assert segmented(run, three, out) == [("00", True), ("01", True), ("02", True)]
    assert contents(out) == first
    os.utime(three[0])  # a touched file is the same
    tifffile.imwrite(three[1], tifffile.imread(three[1])[::-1])
    assert segmented(run, three, out) == [("00", True), ("01", False), ("02", True)]
    assert contents(out)["01_labels.tif"] != first["01_labels.tif"]
    (out / "02_points.csv").unlink()
    assert segmented(run, three, out) == [("00", True), ("01", True), ("02", False)]
    changed = run.config.override(["cut.reach=4"])
    assert segmented(run, three, out, config=changed) == [("00", False), ("01", False), ("02", False)]
    assert segmented(run, three, out, config=changed.override(["image.channels=[0]"]))[0] == ("00", False)


def test_other_weights_do_all_again(tiny_run, three, tmp_path):
    import jax

    segmented(tiny_run.model, three, tmp_path / "out")
    model = tiny_run.model
    other = Model.of(model.network, jax.tree.map(lambda leaf: leaf * 1.001, model.variables), model.config)
    assert [skipped for _, skipped in segmented(other, three, tmp_path / "out")] == [False] * 3


def test_a_stack_goes_on_with_the_page_where_it_stopped(tiny_run, draw_small, tmp_path):
    pages = np.stack([draw_small(seed).image for seed in (1, 2, 3)])
    tifffile.imwrite(tmp_path / "film.tif", pages, photometric="minisblack")
    segmented(tiny_run.model, [tmp_path / "film.tif"], tmp_path / "out")
    manifest = tmp_path / "out" / "manifest.jsonl"
    whole = manifest.read_text()
    manifest.write_text(whole[: whole.index("\n") + 20])  # one page, and a line that a crash cut off
    skipped = [skipped for _, skipped in segmented(tiny_run.model, [tmp_path / "film.tif"], tmp_path / "out")]
    assert skipped == [True, False, False]
    assert manifest.read_text() == whole


def test_a_manifest_keeps_the_last_line_of_an_image(tmp_path):
    manifest, source = Manifest(tmp_path), tmp_path / "a.tif"
    for key in ("old", "new"):
        manifest.add(ImageResult("a", source, 1, [], key=key))
    for read in (manifest, Manifest(tmp_path)):
        assert read.finished(source, "a", "old") is None
        assert read.finished(source, "a", "new") == ImageResult(
            "a", source, 1, [], files=[], key="new", skipped=True
        )
    assert (tmp_path / "manifest.jsonl").read_text().count("\n") == 1


def test_a_manifest_of_before_specks_were_counted_is_read(tmp_path):
    Manifest(tmp_path).add(ImageResult("a", tmp_path / "a.tif", 1, [], key="key", dropped=2))
    manifest = tmp_path / "manifest.jsonl"
    assert Manifest(tmp_path).finished(tmp_path / "a.tif", "a", "key").dropped == 2
    manifest.write_text(manifest.read_text().replace('"dropped": 2, ', ""))
    assert Manifest(tmp_path).finished(tmp_path / "a.tif", "a", "key").dropped == 0


@pytest.mark.parametrize("line", ["no JSON", '{"name": "a"}', "[]"])
def test_a_damaged_manifest_is_an_error(tmp_path, line):
    (tmp_path / "manifest.jsonl").write_text(f"{line}\n")
    with pytest.raises(ValueError, match=r"manifest\.jsonl: line 1 is damaged; delete the file"):
        Manifest(tmp_path)


def test_an_image_is_cut_out_while_the_next_is_located(tiny_run, three, tmp_path, monkeypatch):
    """The cut of the first image waits until the network is at the second; alone, it would wait for ever."""
    locate, outline, at_second, calls = images.locate, images.outline, threading.Event(), []

    def watched(*arguments, **options):
        calls.append(None)
        if len(calls) == 2:
            at_second.set()
        return locate(*arguments, **options)

    def waits(*arguments, **options):
        assert at_second.wait(60)
        return outline(*arguments, **options)

    monkeypatch.setattr(images, "locate", watched)
    monkeypatch.setattr(images, "outline", waits)
    assert [name for name, _ in segmented(tiny_run.model, three, tmp_path / "out")] == ["00", "01", "02"]


def test_warnings_stay_with_their_image_and_thread(tiny_run, three, tmp_path, monkeypatch):
    outline, calls = images.outline, []

    def warns(*arguments, **options):
        calls.append(None)
        warn_about_image(f"cut {len(calls)}")
        return outline(*arguments, **options)

    monkeypatch.setattr(images, "outline", warns)
    tifffile.imwrite(tmp_path / "flat.tif", np.full((48, 56), 9, np.uint8))
    outcomes = segment_files(tiny_run.model, [three[0], tmp_path / "flat.tif", three[2]], tmp_path / "out")
    constant = "the image is constant, so it holds no cells"
    assert [outcome.warnings for outcome in outcomes] == [["cut 1"], [constant, "cut 2"], ["cut 3"]]


def test_results_beside_the_images_are_no_images(tiny_run, three, tmp_path, capsys):
    folder = three[0].parent
    command = ["segment", str(tiny_run.folder), "--out", str(folder), "--format", "labels,overlay,masks,points"]
    for which in (folder, folder, folder / "*.png", folder / "*"):
        if which.name == "*.png":
            assert main([*command, str(which)]) == 2
            assert "holds results of wsis segment and no other image; give" in capsys.readouterr().err
            continue
        assert main([*command, str(which)]) == 0
        assert "3 of 3 images segmented" in capsys.readouterr().out
    # A file that is named is segmented, whatever it is.
    assert main([*command[:2], str(folder / "00_overlay.png"), "--out", str(tmp_path / "other")]) == 0


def test_pictures_of_points_are_no_images(three, tmp_path, capsys):
    folder = three[0].parent
    write_points(tmp_path / "clicks" / "00.csv", np.array([[5.0, 6.0], [20.0, 30.0]]))
    main(["points", str(tmp_path / "clicks"), "--images", str(folder), "--out", str(folder)])
    assert (folder / "00_points.png").is_file()
    assert list_images(folder) == three


def test_a_damaged_manifest_names_nothing(three):
    folder = three[0].parent
    (folder / "manifest.jsonl").write_bytes(b'{"files": ["00.tif"]}\n[1]\n{"files": 3}\n\xff\n{"files": ["01')
    assert list_images(folder) == three[1:]
