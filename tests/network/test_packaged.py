"""Models that come with the package: found by name, complete, small, and installed with it."""

import shutil
import tomllib
from pathlib import Path

import jax
import numpy as np
import pytest
import tifffile

from wsis_jax import load_model
from wsis_jax.cli import main
from wsis_jax.core import UserError
from wsis_jax.io.label_file import read_labels
from wsis_jax.network import packaged
from wsis_jax.network.unet import predict

ROOT = Path(__file__).parents[2]
BOXED = ["generalist", "histology", "nuclei", "phase-contrast"]


@pytest.fixture
def box(monkeypatch):
    """The function that puts a model into the package."""
    monkeypatch.syspath_prepend(ROOT)
    from experiments.box_model import box

    return box


@pytest.fixture
def models(tmp_path, monkeypatch):
    """An empty folder in place of that of the package's models, and another one to work in."""
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.setattr(packaged, "MODELS", folder)
    monkeypatch.chdir(tmp_path)
    return folder


def with_card(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "README.md").write_text("a card")
    return folder


def files_of(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_name_is_a_model_of_the_package_unless_a_folder_has_it(models, tiny_run, tmp_path):
    shutil.copytree(tiny_run.folder, models / "tiny")
    (models / "tiny" / "config.json").write_text("in the package")
    with pytest.raises(ValueError, match=r"models/tiny/config\.json"):
        load_model("tiny")
    shutil.copytree(tiny_run.folder, tmp_path / "tiny")
    assert load_model("tiny").config == load_model(Path("tiny")).config == tiny_run.model.config


def test_who_asks_for_no_model_is_told_the_names(models, tiny_run):
    with pytest.raises(FileNotFoundError, match=r"other: no trained model here; .* --run other'$"):
        load_model("other")
    for name in ("two", "one"):
        shutil.copytree(tiny_run.folder, models / name)
    with_card(models / "only a card")
    assert packaged.packaged_models() == ["one", "two"]
    with pytest.raises(FileNotFoundError, match=r"--run other', or use one that .* package: one, two$"):
        load_model("other")
    with pytest.raises(FileNotFoundError, match="no trained model"):
        load_model("only a card")


def test_a_boxed_model_is_the_model_and_no_more(models, tiny_run, box):
    target = with_card(models / "tiny")
    size = box(tiny_run.folder, target)
    assert size == sum(path.stat().st_size for path in files_of(target))
    assert sorted(path.name for path in target.iterdir()) == ["README.md", "config.json", "weights"]
    boxed, image = load_model("tiny"), tiny_run.scenes[0].image
    assert boxed.config == tiny_run.model.config
    for run in (tiny_run.model, load_model(tiny_run.folder)):
        np.testing.assert_array_equal(
            predict(boxed.network, boxed.variables, image), predict(run.network, run.variables, image)
        )
    # Nothing tells where it was made.
    assert [path for path in files_of(target) if str(tiny_run.folder.parent).encode() in path.read_bytes()] == []


def test_a_model_takes_the_place_of_an_earlier_one(models, tiny_run, box):
    target = with_card(models / "tiny")
    (target / "weights" / "1000000").mkdir(parents=True)
    box(tiny_run.folder, target)
    box(tiny_run.folder, target)
    assert len(list((target / "weights").iterdir())) == 1
    assert (target / "README.md").read_text() == "a card"


def test_what_cannot_be_boxed_leaves_all_as_it_was(models, tiny_run, box, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"tiny/README\.md: there is no model card; write it first"):
        box(tiny_run.folder, models / "tiny")
    target = with_card(models / "tiny")
    box(tiny_run.folder, target)
    before = {path: path.read_bytes() for path in files_of(target)}
    with pytest.raises(ValueError, match=r"the model takes 0\.\d\d MB and may take 0\.01; train a narrower one"):
        box(tiny_run.folder, target, limit=10_000)
    with pytest.raises(FileNotFoundError, match="nowhere: there is no such folder"):
        box(tmp_path / "nowhere", target)
    broken = shutil.copytree(tiny_run.folder, tmp_path / "broken")
    (broken / "config.json").write_text("{")
    with pytest.raises(ValueError, match="not a configuration"):
        box(broken, target)
    assert {path: path.read_bytes() for path in files_of(target)} == before


def test_the_models_of_the_package_are_known():
    assert packaged.packaged_models() == BOXED


@pytest.mark.parametrize("name", BOXED)
def test_a_model_of_the_package_is_small_and_complete(name):
    folder = packaged.MODELS / name
    assert sum(path.stat().st_size for path in files_of(folder)) <= 4_000_000
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "weights"]
    assert "## What it is not for" in (folder / "README.md").read_text()


@pytest.mark.parametrize("name", BOXED)
def test_all_files_of_a_model_are_installed(name):
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    package = ROOT / "wsis_jax"
    patterns = settings["package-data"]["wsis_jax"]
    installed = {path for pattern in patterns for path in package.glob(pattern)}
    assert set(files_of(packaged.MODELS / name)) <= installed


def test_the_model_of_the_package_segments_from_the_command_line(
    phase_contrast, tmp_path, monkeypatch, draw_small
):
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("image.tif", draw_small(1).image)
    assert main(["segment", "phase-contrast", "image.tif"]) == 0
    assert read_labels("results/image_labels.tif").shape == (64, 64)
    # Cells of another size are as large to the network.
    twice = np.repeat(np.repeat(draw_small(1).image, 2, axis=0), 2, axis=1)
    tifffile.imwrite("twice.tif", twice)
    assert main(["segment", "phase-contrast", "twice.tif", "--diameter", "80"]) == 0
    assert read_labels("results/twice_labels.tif").shape == (128, 128)


def test_the_model_of_the_package_knows_how_wide_the_cells_are_that_its_card_tells_of(phase_contrast):
    config = load_model("phase-contrast").config
    assert config.image.diameter == 40
    assert config.for_diameter(40) == config
    assert config.network_scale * 40 == 20
    assert "They are then shown to the network 20 pixels wide." in (phase_contrast / "README.md").read_text()


def test_a_model_is_prepared_once_for_all_processes_until_its_weights_change(
    cache_settings, tmp_path, tiny_run, monkeypatch
):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "cache"))
    run = tmp_path / "run"
    shutil.copytree(tiny_run.folder, run)
    first = load_model(run)

    def read_again(path, template):
        raise UserError(f"{path} is read")

    monkeypatch.setattr("wsis_jax.network.model.load", read_again)
    for one, two in zip(jax.tree.leaves(first), jax.tree.leaves(load_model(run)), strict=True):
        np.testing.assert_array_equal(one, two)
    file = max((run / "weights").rglob("*"), key=lambda path: path.stat().st_size * path.is_file())
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match="is read"):
        load_model(run)
