"""Every experiment that the documents name runs to its end on drawn scenes, at toy size.

Most take a small model that is trained already, for the 80 steps of `tiny_run`; one fold is trained at most.
"""

import importlib
import shlex
import shutil

import numpy as np
import pytest
import tifffile

from experiments import box_model, drawn, gallery
from wsis_jax.core import UserError
from wsis_jax.network import packaged
from wsis_jax.output import FORMATS

_STEPS = "train.steps=2 train.warmup=1 train.batch=2 train.patch=32 train.evaluate_every=2"
_TINY = f"image.scale=1 likelihood.sigma=3 unet.encoder=[2,4] unet.decoder=[2] {_STEPS}"
_SET = " ".join(f"--set {setting}" for setting in _TINY.split())
_SMALL = "--set train.batch=2 --set train.patch=16 --set train.warmup=1"
TOYS = {
    "crossval": "crossval DATA --work WORK --folds 3 --set train.steps=80",
    "every_kind": "every_kind SETS --work WORK --kinds drawn --steps 80 --ceilings first --set train.steps=80",
    "every_kind, from a model": "every_kind SETS --work WORK --kinds drawn --from WORK/drawn/run --steps 80",
    "no_annotation": "no_annotation DATA --work WORK --set train.steps=80",
    "no_annotation, tolerant": f"no_annotation DATA --work WORK --hide 0.2 --tolerant {_SET}",
    "ablation": "ablation DATA --work WORK --true-peaks --images 1 --rows '' cut.reach=4",
    "alpha_expansion": "alpha_expansion DATA --work WORK --true-peaks --images 1",
    "detector": f"detector DATA --work WORK --rows '{_TINY}'",
    "student, own": "student DATA --work WORK --labels own --steps 80",
    "student, masks": "student DATA --work WORK --labels masks --steps 80",
    "clicks": "clicks DATA --work WORK --from WORK/drawn/run --folds 2 --counts 1 --steps 80 --warm-steps 1 2 "
    + _SMALL,
    "loop": "loop DATA --work WORK --from WORK/drawn/run --folds 2 --ways panel --turns 2 --looks 2 --steps 1 "
    + _SMALL,
    "generalist": "generalist SETS --work WORK/drawn --kinds drawn --most 2 --set train.steps=80",
    "generalist, scored": "generalist SETS --work OUT --kinds drawn --model generalist --unseen",
    "appearance": "appearance SETS --kinds drawn",
    "sizes": "sizes DATA --model WORK/drawn/fold0 --factors 1",
    "point_faults": "point_faults DATA",
    "nuclei": "nuclei SETS drawn",
    "drawn": "drawn OUT --images 1 --side 64 --cells 4",
    "drawn, sparse": "drawn OUT --kind sparse --images 1 --side 160 --cells 2",
    "drawn, mixed": "drawn OUT --kind mixed --images 1 --side 160 --cells 2",
    "gallery": "gallery OUT/gallery",
    "box_model": "box_model WORK/drawn/fold0 boxed",
}
# Run by tests of their own, `test_kills.py` and `test_table1.py`, with these options.
ELSEWHERE = {"kills": "--kills", "table1": "--work --budget --methods"}
_TRAINED = [f"{teacher}{fold}" for teacher in ("fold", "nuclei", "tolerant-0.2-hidden-") for fold in range(3)]
_TRAINED.remove("tolerant-0.2-hidden-0")
_TRAINED += [f"fold{fold}/student_{labels}" for labels in ("own", "masks") for fold in range(3)]
_TRAINED.remove("fold0/student_own")
_TRAINED += ["run", "fold0/masks", "1of2/1-images/cold-80"]  # of generalist, every_kind and clicks


@pytest.fixture(scope="module")
def places(tiny_run, write_scene, draw_small, tmp_path_factory):
    """A data folder of three drawn images, a work folder of models that are trained already, and an empty one."""
    folder = tmp_path_factory.mktemp("experiments")
    data, work = folder / "drawn", folder / "work"
    (data / "nuclei").mkdir(parents=True)
    for number in range(3):
        scene = draw_small(number + 20, cells=10, shape=(64, 72))
        write_scene(data, f"scene{number}", scene)
        tifffile.imwrite(data / "nuclei" / f"scene{number}.tif", np.round(scene.nuclei * 60_000).astype(np.uint16))
    (data / "image").rename(data / "images")
    (data / "mask").rename(data / "masks")
    for name in _TRAINED:
        shutil.copytree(tiny_run.folder, work / "drawn" / name)
    (folder / "out").mkdir()
    shutil.copytree(tiny_run.folder, folder / "models" / "generalist")
    (folder / "models" / "boxed").mkdir()
    (folder / "models" / "boxed" / "README.md").write_text("a model card")
    return {"SETS": folder, "DATA": data, "WORK": work, "OUT": folder / "out", "MODELS": folder / "models"}


@pytest.mark.filterwarnings("ignore:no image is held out")
@pytest.mark.parametrize("name", TOYS)
def test_an_experiment_runs_to_its_end(name, places, monkeypatch, capsys):
    script, *words = shlex.split(TOYS[name])
    monkeypatch.setattr(box_model, "MODELS", places["MODELS"])
    if script != "gallery":  # which shows what the models of the package do
        monkeypatch.setattr(packaged, "MODELS", places["MODELS"])
    for place, folder in places.items():
        words = [word.replace(place, str(folder)) for word in words]
    importlib.import_module(f"experiments.{script}").main(words)
    printed = capsys.readouterr().out
    if script == "drawn":
        assert (places["OUT"] / "masks" / "scene00.tif").is_file()
    elif script == "gallery":  # a picture of each kind and of each format that the page shows opened
        drawn_pictures = {path.stem for path in (places["OUT"] / "gallery").glob("*.png")} | {"report"}
        assert drawn_pictures == {path.stem for path in (gallery.PAGE.parent / "gallery").glob("*.png")}
        assert set(FORMATS) < drawn_pictures
    elif script == "box_model":
        assert (places["MODELS"] / "boxed" / "config.json").is_file()
    else:
        assert printed.count("\n|") >= 2  # the rows of a table


def test_more_sparse_cells_than_fit_are_refused():
    with pytest.raises(UserError, match="20 sparse cells do not fit into 96 × 96 pixels; draw fewer"):
        drawn.draw_sparse(0, shape=(96, 96), cells=20)
