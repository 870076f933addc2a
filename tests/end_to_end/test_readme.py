"""What README, model cards and help texts show works: every line of them is run, on tiny images."""

import re
import shlex
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile

import wsis_jax
import wsis_jax.cli.demo
import wsis_jax.cli.doctor
import wsis_jax.cli.measure
import wsis_jax.training
from tests.end_to_end.examples import ROOT, blocks, lines
from tests.zarr_images import write_image
from wsis_jax.cli import main
from wsis_jax.cutting import DATA_TERMS
from wsis_jax.io.label_file import read_labels
from wsis_jax.io.readers import READERS
from wsis_jax.network.rules import RULES
from wsis_jax.network.unet import UNet
from wsis_jax.output import FORMATS
from wsis_jax.output.formats.imagej import write_rois
from wsis_jax.segmentation.evaluation import evaluate

CARDS = sorted((ROOT / "wsis_jax" / "network" / "models").glob("*/README.md"))
# Lines about points may end with 3: something is wrong with so few points.
CODES = {"points": {0, 3}}
# For these other names stand in help texts.
NAMES = {"RUN": "run", "IMAGES": "new_images"}


@pytest.fixture(scope="module")
def all_that_is_named(tiny_run, write_scene, write_ctc_scenes, draw_small, tmp_path_factory):
    """A folder with all that examples name."""
    folder = tmp_path_factory.mktemp("user")
    scene = draw_small(3)
    shutil.copytree(tiny_run.folder, folder / "run")
    write_scene(folder, "a", scene)
    for old, new in {"image": "new_images", "mask": "masks"}.items():
        (folder / old).rename(folder / new)
    shutil.copytree(folder / "points", folder / "clicks")
    (folder / "turn").mkdir()
    shutil.copy(folder / "points" / "a.csv", folder / "turn" / "a_corrections.csv")
    write_ctc_scenes(folder / "data", [scene])
    tifffile.imwrite(folder / "image.tif", draw_small(4).image)
    tifffile.imwrite(folder / "nuclei.tif", draw_small(4).nuclei)
    write_rois(folder / "RoiSet.zip", draw_small(4).labels)
    film = np.stack([[scene.nuclei, scene.image]] * 2).astype(np.float32)
    tifffile.imwrite(folder / "film.ome.tif", film, metadata={"axes": "TCYX"})
    tifffile.imwrite(folder / "stack.tif", film, photometric="minisblack")
    frames = np.stack([np.round(scene.image * 60_000).astype(np.uint16)] * 2)
    tifffile.imwrite(folder / "film.tif", frames, photometric="minisblack")
    write_image(folder / "slide.ome.zarr", scene.image, "yx")
    for name, pages in {"images": ("image",), "stains": ("nuclei",), "stacks": ("image", "nuclei")}.items():
        (folder / name).mkdir()
        values = np.stack([getattr(scene, page) for page in pages])
        tifffile.imwrite(folder / name / "a.tif", values, imagej=True, metadata={"axes": "CYX"})
    tifffile.imwrite(folder / "slide.tif", np.stack([scene.image] * 3, axis=-1), photometric="rgb")
    (folder / "slides").mkdir()
    tifffile.imwrite(folder / "slides" / "a.tif", np.stack([scene.image] * 3, axis=-1), photometric="rgb")
    assert (
        main(["segment", str(folder / "run"), str(folder / "new_images"), "--out", str(folder / "results")]) == 0
    )
    return folder


@pytest.fixture
def a_users_folder(all_that_is_named, tmp_path, monkeypatch):
    """The current folder, with all that examples name."""
    folder = shutil.copytree(all_that_is_named, tmp_path / "user")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def learned(monkeypatch):
    """What is given to trainings, which are not made here; neither are measurements and self-tests."""
    given = []
    monkeypatch.setattr(wsis_jax.training, "train_on_set", lambda data, **_: given.append(data[:2]))
    # Nothing is trained to report on.
    monkeypatch.setattr(wsis_jax.training, "training_report", lambda run: run)
    monkeypatch.setattr(wsis_jax.cli.demo, "run_demo", lambda out, **_: evaluate("results", "masks"))
    row = {
        "method": "loop",
        "cells": 1,
        "cells_timed": 1,
        "extrapolated": False,
        "seconds_per_cell_of_rounds": [1.0],
    }
    seconds = ("forward_seconds", "seconds_per_cell", "end_to_end_seconds", "compile_seconds")
    row |= dict.fromkeys((*seconds, "cells_per_second", "gflop_per_second"), 1.0)
    monkeypatch.setattr(wsis_jax.cli.measure, "fresh_model", lambda width: SimpleNamespace(network=UNet()))
    monkeypatch.setattr(wsis_jax.cli.measure, "compare", lambda *_, **__: [row])
    monkeypatch.delitem(wsis_jax.cli.doctor._CHECKS, "self-test")
    return given


def commands() -> dict[tuple[str, ...], str]:
    """The words of each command, and where it stands first: what is in two places is run once."""
    found: dict[tuple[str, ...], str] = {}
    for one in lines():
        found.setdefault(tuple(NAMES.get(word, word.rstrip("/")) for word in shlex.split(one.text)[1:]), one.where)
    return found


# The lines of docs/clusters.md need a cluster: tests/segmentation/test_cluster.py has one.
@pytest.mark.parametrize("where", sorted(set(commands().values()) - {"docs/clusters.md"}))
def test_the_lines_run(where, a_users_folder, learned, phase_contrast, capsys):
    for words in (words for words, place in commands().items() if place == where):
        assert main(words) in CODES.get(words[0], {0}), words
        assert "error" not in capsys.readouterr().err
    # All ways to train learn the same; in colours these are all equal.
    images = [image if image.ndim == 2 else image[..., 1] for (image,), _ in learned]
    for image, (_, points) in zip(images, learned, strict=True):
        np.testing.assert_array_equal(image, images[0])
        assert [each.shape for each in points] == [(6, 2)]


def test_the_lines_of_python(a_users_folder, phase_contrast):
    (code,) = blocks("README.md")
    exec(compile(code, "README.md", "exec"), {})
    assert read_labels(a_users_folder / "labels.tif").max() > 0


@pytest.mark.parametrize("page", ["docs/tutorials/python.md", "docs/tutorials/large.md", "docs/extend.md"])
def test_the_lines_of_python_of_a_page(page, a_users_folder, monkeypatch):
    trained = []
    monkeypatch.setattr(wsis_jax, "train", lambda *given, **named: trained.append((given, named)))
    # What is added to them is gone after the test.
    for table in (RULES, DATA_TERMS, FORMATS, READERS):
        for name in ("open", "bright cells", "count", "NPY"):
            monkeypatch.setitem(table, name, None)
            del table[name]
    monkeypatch.setattr("wsis_jax.io.readers.IMAGE_SUFFIXES", [])
    for code in blocks(page):
        names = {}
        exec(compile(code, page, "exec"), names)
        if "cells" in names:
            assert len(names["cells"].points) > 0
    if page.endswith("python.md"):
        ((images, points), _) = trained[0]
        assert images[0].ndim == 2
        assert points[0].shape == (6, 2)
    if page.endswith("extend.md"):
        np.save("a.npy", np.zeros((4, 5), np.uint8))
        assert wsis_jax.read_image("a.npy").shape == (1, 4, 5)


@pytest.mark.parametrize("card", CARDS, ids=[card.parent.name for card in CARDS])
def test_the_lines_of_python_of_a_model_card(card, a_users_folder):
    (code,) = re.findall(r"```python\n(.*?)```", card.read_text(encoding="utf-8"), flags=re.DOTALL)
    names = {}
    exec(compile(code, "the model card", "exec"), names)
    assert names["cells"].labels.shape == (64, 64)


def test_the_architecture_names_every_room():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = {path.parent.name for path in (ROOT / "wsis_jax").glob("*/__init__.py")}
    assert rooms == set(re.findall(r"^\| `(\w+)/` \|", text, flags=re.MULTILINE))
