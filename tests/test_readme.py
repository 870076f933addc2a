"""What the README shows works."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile

import wsis_jax.report
import wsis_jax.training
from wsis_jax.cli import main
from wsis_jax.imageio import read_labels

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()


@pytest.fixture
def a_users_folder(tiny_run, write_scene, draw_small, tmp_path, monkeypatch):
    """The current folder, with all that the README's examples name."""
    shutil.copytree(tiny_run.folder, tmp_path / "run")
    write_scene(tmp_path, "a", draw_small(3))
    for old, new in {"image": "new_images", "mask": "masks"}.items():
        (tmp_path / old).rename(tmp_path / new)
    tifffile.imwrite(tmp_path / "image.tif", draw_small(4).image)
    for name, pages in {"images": ("image",), "stains": ("nuclei",), "stacks": ("image", "nuclei")}.items():
        (tmp_path / name).mkdir()
        scene = draw_small(3)
        values = np.stack([getattr(scene, page) for page in pages])
        tifffile.imwrite(tmp_path / name / "a.tif", values, imagej=True, metadata={"axes": "CYX"})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_lines_of_python(a_users_folder):
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    assert read_labels(a_users_folder / "labels.tif").max() > 0


def test_the_commands_that_use_a_model(a_users_folder, phase_contrast):
    lines = [
        line.split("#")[0]
        for line in TEXT.splitlines()
        if re.match(r"    wsis (segment|evaluate|export|report)", line)
    ]
    assert len(lines) == 6
    for line in lines:
        assert main(shlex.split(line)[1:]) == 0


def test_the_commands_that_train(a_users_folder, monkeypatch):
    learned = []
    monkeypatch.setattr(wsis_jax.training, "train", lambda images, points, **_: learned.append((images, points)))
    monkeypatch.setattr(wsis_jax.report, "training_report", lambda run: run)  # nothing was trained to report on
    lines = [line.split("#")[0] for line in TEXT.splitlines() if line.startswith("    wsis train")]
    assert len(lines) == 3
    for line in lines:
        assert main(shlex.split(line)[1:]) == 0
    for images, points in learned:
        np.testing.assert_array_equal(images, learned[0][0])
        assert [each.shape for each in points] == [(6, 2)]


def test_the_tree_names_every_file_of_the_package():
    named = set(re.findall(r"^      (\w+\.py) ", TEXT, flags=re.MULTILINE))
    files = {path.name for path in (ROOT / "wsis_jax").glob("*.py") if not path.name.startswith("__")}
    assert named == files
