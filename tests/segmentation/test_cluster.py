"""Clusters: workers of Dask give what one process does, file for file, and one that dies loses nothing."""

import json
import os
import re
import shlex
import shutil
import signal
import sys
from pathlib import Path

import dask.array
import numpy as np
import pytest
import tifffile
from distributed import Client, LocalCluster
from distributed.cli import dask_scheduler, dask_worker

from tests.zarr_images import write_image
from wsis_jax.cli import main, parser
from wsis_jax.core.errors import OutOfMemory, UserError, WriteError
from wsis_jax.io.label_file import read_image
from wsis_jax.io.paths import named_images
from wsis_jax.segmentation import cluster as clusters
from wsis_jax.segmentation.batch import BatchOptions, segment_files
from wsis_jax.segmentation.cluster import Workers, WorkersDied, connecting, share
from wsis_jax.segmentation.pipeline import segment
from wsis_jax.segmentation.tiled.tiling import TileOptions, segment_tiled

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def client():
    """Two processes, which compile as the tests do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
        with connecting("local:2") as client:
            yield client


@pytest.fixture(scope="module")
def workers(client, tiny_run):
    return Workers(client, tiny_run.folder)


@pytest.fixture(scope="module")
def images(tmp_path_factory, draw_small):
    """A film of two pages, single images, one of them constant and one damaged, and two of the same name."""
    folder = tmp_path_factory.mktemp("images")
    scenes = [np.round(draw_small(seed, shape=(48, 56)).image * 60_000).astype(np.uint16) for seed in range(6)]
    tifffile.imwrite(folder / "film.tif", np.stack(scenes[:2]), photometric="minisblack")
    (folder / "A1").mkdir()
    for name, scene in zip(["0", "1", "2", "A1/0"], scenes[2:], strict=True):
        tifffile.imwrite(folder / f"{name}.tif", scene)
    tifffile.imwrite(folder / "flat.tif", np.zeros((48, 56), np.uint8))
    (folder / "bad.tif").write_bytes((folder / "0.tif").read_bytes()[:2000])
    return folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory, tiny_run, images):
    """The results of a process without workers, and what became of the images; 3 is the exit code."""
    folder = tmp_path_factory.mktemp("alone")
    assert segment_command(tiny_run, images, folder) == 3
    return folder


def segment_command(tiny_run, images, folder, *more: str) -> int:
    """Segments into `out` in a folder, for the page of a folder of results has its name."""
    command = ["segment", str(tiny_run.folder), str(images), "--out", str(folder / "out")]
    return main([*command, "--json", str(folder / "told.json"), *more])


def contents(folder) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_same_files(found, expected) -> None:
    found, expected = contents(found), contents(expected)
    assert [name for name in expected if found.get(name) != expected[name]] == []
    assert sorted(found) == sorted(expected)


def test_the_files_are_those_of_one_process(client, tiny_run, images, alone, tmp_path, capsys):
    assert segment_command(tiny_run, images, tmp_path, "--dask", client.scheduler.address) == 3
    assert_same_files(tmp_path, alone)
    printed = capsys.readouterr()
    assert "bad.tif: the image is damaged" in printed.err
    assert "flat: the image is constant" in printed.err
    assert "7 of 8 images segmented" in printed.out
    assert [row["name"] for row in json.loads((tmp_path / "told.json").read_text())["failed"]] == ["bad"]
    # Then all is finished, whoever did it.
    assert segment_command(tiny_run, images, tmp_path) == 3
    assert "7 of 8 images segmented, 7 of them before" in capsys.readouterr().out


def test_a_worker_that_dies_loses_nothing(client, workers, images, alone, tmp_path):
    killed = []

    def kill(outcome, total):
        busy = [address for address, tasks in client.processing().items() if tasks]
        if busy and not killed:
            killed.append(client.run(os.getpid, workers=busy[:1])[busy[0]])
            os.kill(killed[0], signal.SIGKILL)

    files = {path: name for path, name in named_images(images).items() if name != "bad"}
    outcomes = segment_files(
        workers.model, files, tmp_path / "out", options=BatchOptions(workers=workers), on_image=kill
    )
    assert killed
    assert [outcome.error for outcome in outcomes] == [None] * 7
    for name in ("report.html", "report/summary.json"):  # which the command makes at the end
        (tmp_path / "out" / name).write_bytes((alone / "out" / name).read_bytes())
    assert_same_files(tmp_path / "out", alone / "out")


@pytest.mark.parametrize("tiles", [False, True])
def test_workers_outline_clicks(workers, images, tmp_path, tiles):
    for name in ("0", "film"):
        (tmp_path / f"{name}.csv").write_text("row,column\n9,11\n30,40\n")
    files = [images / "0.tif", images / "film.tif"]
    options = BatchOptions(points=[tmp_path / "0.csv", tmp_path / "film.csv"], kinds=["labels"], tiles=tiles)
    contents = []
    for way in (None, workers):
        out = tmp_path / ("alone" if way is None else "together")
        results = segment_files(workers.model, files, out, options=options._replace(workers=way))
        assert [(one.cells, one.error) for one in results] == [(2, None), (2, None), (0, None)]
        contents.append(
            {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
        )
    assert contents[0] == contents[1]


def ends_its_worker(part, *, once=None):
    """A task that kills the process that it is in, or does so the first time."""
    if once is None or not once.exists():
        if once is not None:
            once.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return part


def test_a_task_is_done_again_unless_it_is_what_ends_workers(workers, tmp_path, monkeypatch):
    assert list(workers.map(ends_its_worker, [1, 2], once=tmp_path / "once")) == [1, 2]
    # As many deaths as are allowed take their time.
    workers._client.run_on_scheduler(lambda dask_scheduler: setattr(dask_scheduler, "allowed_failures", 0))
    with pytest.raises(WorkersDied, match="1 workers died while they were at it"):
        list(workers.map(ends_its_worker, [1]))


def runs_out(part):
    """A task without room in memory."""
    raise OutOfMemory(f"{part}: no room")


def test_what_stops_a_batch_stops_it_from_workers_too(workers, images, tmp_path):
    (tmp_path / "file").touch()
    files = sorted(images.glob("[0-9].tif"))
    with pytest.raises(WriteError, match="cannot be written, since there is a file in the place of its folder"):
        segment_files(workers.model, files, tmp_path / "file" / "x", options=BatchOptions(workers=workers))
    with pytest.raises(OutOfMemory, match=r"^1: no room$"):
        list(workers.map(runs_out, [1]))


def test_tiles_are_those_of_one_process(client, tiny_run, draw_small, tmp_path):
    scene = np.round(draw_small(100, shape=(96, 120)).image * 1000).astype(np.uint16)
    path = write_image(tmp_path / "a.ome.zarr", scene[None], "cyx")
    tiles = ["--tiles", "--channel", "0", "--format", "labels,points,table,geojson,report"]
    for folder, more in (("one", []), ("two", ["--dask", client.scheduler.address])):
        assert segment_command(tiny_run, path, tmp_path / folder, *tiles, *more) == 0
    assert_same_files(tmp_path / "two", tmp_path / "one")


def test_an_array_of_dask_is_segmented_in_tiles_by_workers(workers, draw_small, tmp_path):
    image = draw_small(7, cells=20, shape=(110, 97)).image
    labels = np.zeros(image.shape, np.uint32)
    lazy = dask.array.from_array(image, chunks=40)
    points, *_ = segment_tiled(workers.model, lazy, labels, tile=48, options=TileOptions(workers.map, tmp_path))
    expected = segment(workers.model, image)
    assert len(points) > 8
    np.testing.assert_array_equal(labels, expected.labels)
    np.testing.assert_array_equal(points, expected.points)
    assert not list(tmp_path.iterdir())
    image[100, 90] = np.nan
    with pytest.raises(ValueError, match="not numbers"):
        segment_tiled(workers.model, image, labels, tile=48, options=TileOptions(workers.map, tmp_path))


def test_a_cluster_without_workers_is_not_waited_for_for_ever(tiny_run, monkeypatch):
    monkeypatch.setattr(clusters, "PATIENCE", 0.1)
    monkeypatch.setattr(clusters, "_GLANCE", 0.1)
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address="localhost:0") as cluster,
        Client(cluster, set_as_default=False) as client,
        pytest.raises(UserError, match="no worker for 0 seconds; start some, and call the same command again"),
    ):
        list(Workers(client, tiny_run.folder).map(share, [[0]], number=0, count=1))


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("local:", "local:: the number of workers is missing; give it, as in local:2"),
        ("none.json", "none.json: there is no such scheduler file; call 'dask scheduler"),
    ],
)
def test_what_is_no_cluster_is_told(tiny_run, images, tmp_path, capsys, where, message):
    assert segment_command(tiny_run, images, tmp_path, "--dask", where) == 2
    assert message in capsys.readouterr().err


def test_without_dask_it_is_said_what_to_install(tiny_run, images, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert segment_command(tiny_run, images, tmp_path, "--dask", "local:2") == 2
    assert "pip install 'wsis-jax[dask]'" in capsys.readouterr().err


def test_masks_that_are_numbered_in_order_are_refused(client, tiny_run, images, tmp_path, capsys):
    more = ["--format", "ctc", "--dask", client.scheduler.address]
    assert segment_command(tiny_run, images, tmp_path, *more) == 2
    assert "ctc numbers the cells of all images in their order" in capsys.readouterr().err


def test_the_page_about_clusters_shows_what_there_is(client, tiny_run, draw_small, tmp_path, monkeypatch):
    text = (ROOT / "docs" / "clusters.md").read_text(encoding="utf-8")
    lines = re.findall(r"^ +(?:cd .* && )?(wsis segment .*)$", text, re.MULTILINE)
    assert len(lines) == 6
    for line in lines:
        assert parser().parse_args(shlex.split(line, comments=True)[1:]).dask
    for name, command in (("scheduler", dask_scheduler.main), ("worker", dask_worker.main)):
        known = {option for parameter in command.params for option in parameter.opts + parameter.secondary_opts}
        named = [line.split() for line in re.findall(rf"dask {name} (-.*)$", text, re.MULTILINE)]
        assert named
        assert {word for words in named for word in words if word.startswith("--")} <= known
    shutil.copytree(tiny_run.folder, tmp_path / "run")
    image = np.round(draw_small(100).image * 1000).astype(np.uint16)
    write_image(tmp_path / "slide.ome.zarr", image[None], "cyx")
    (tmp_path / "scheduler.json").write_text(json.dumps({"address": client.scheduler.address}))
    monkeypatch.chdir(tmp_path)
    code = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)[-1]
    exec(compile(code, "clusters.md", "exec"), names := {})
    labels = read_image(tmp_path / "cells.ome.zarr")[0]
    assert labels.max() == len(names["cells"].points) > 3


def test_a_worker_that_ends_slowly_is_no_error(monkeypatch):
    class Slow:
        closed = False

        def __init__(self, **options):
            assert options["n_workers"] == 1

        def close(self):
            Slow.closed = True
            raise TimeoutError

    monkeypatch.setattr("distributed.LocalCluster", Slow)
    with clusters._local_cluster("local:1") as cluster:
        assert isinstance(cluster, Slow)
    assert Slow.closed


@pytest.mark.parametrize(("cores", "count"), [(8, 2), (7, 3), (2, 2), (1, 1)])
def test_workers_share_the_cores_between_them(cores, count):
    shares = [share(list(range(cores)), number, count) for number in range(count)]
    assert sorted(core for one in shares for core in one) == list(range(cores))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_more_workers_than_cores_have_one_each():
    assert [share([3, 5], number, 3) for number in range(3)] == [[3], [5], [3]]
