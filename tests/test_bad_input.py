"""Every bad input from the command line: one sentence that names the file or the setting, and no traceback."""

import importlib
import shutil

import numpy as np
import pytest
import tifffile

from wsis_jax.cli import main
from wsis_jax.imageio import read_labels, write_labels, write_picture
from wsis_jax.points import write_points

TINY = (
    "--set unet.encoder=[2,4] --set unet.decoder=[2] --set train.batch=2 --set train.patch=32 --set train.steps=1 "
    "--set train.warmup=1 --set train.evaluate_every=1 --set image.scale=1 --set likelihood.sigma=3 "
    "--set train.validation=0.5"  # of two images
)
CLICKS = np.array([[8.0, 9.0], [30.0, 38.0], [20.0, 21.0]])
GREY = np.random.default_rng(0).integers(100, 200, (40, 48)).astype(np.uint16)

# What is wrong: the command, its exit code, and words of the one line. RUN is a trained model.
TABLE = {
    # Images
    "missing image": ("train nowhere.tif --points ok.csv", 2, "nowhere.tif: there is no such file"),
    "missing folder": ("train nowhere/ --points ok.csv", 2, "nowhere: there is no such file or folder"),
    "empty image": ("train empty.tif --points ok.csv", 2, "empty.tif: the file is empty"),
    "text as image": ("train text.tif --points ok.csv", 2, "text.tif: this is not an image"),
    "truncated image": ("train cut.tif --points ok.csv", 2, "cut.tif: the image is damaged"),
    "NaN in an image": ("train nan.tif --points ok.csv", 2, "nan.tif: frame 0 holds NaN"),
    "folder without images": ("train points --points ok.csv", 2, "points: the folder holds no file"),
    "pattern without images": ("train *.gif --points ok.csv", 2, "*.gif: the pattern matches no file"),
    # Images that are worth a warning
    "constant image": (
        "train constant --points constant",
        0,
        "flat.tif with constant/flat.csv: the image is constant",
    ),
    "image smaller than a patch": (
        "train small --points small",
        0,
        "tiny.tif with small/tiny.csv: 16 × 20 pixels",
    ),
    "one image only": ("train ok.tif --points ok.csv", 0, "no image is held out"),
    "image without points": ("train lonely --points points", 0, "lonely/c.tif: left out, since no point file"),
    "points without image": ("train images --points more", 0, "more/c.csv: left out, since no image"),
    # Points
    "missing points": ("train ok.tif --points nowhere.csv", 2, "nowhere.csv: there is no such file"),
    "no common name": ("train images --points other", 2, "name them alike"),
    "point outside": ("train ok.tif --points outside.csv", 2, "outside.csv: point 1 (counted from 0) at row 40"),
    "rows and columns swapped": ("train ok.tif --points swapped.csv", 2, "swapped.csv: point 1 .* look swapped"),
    "empty points": ("train ok.tif --points empty.csv", 2, "empty.csv: the file is empty"),
    "no point": ("train ok.tif --points header.csv", 2, "header.csv: holds no point"),
    "unknown header": ("train ok.tif --points unknown.csv", 2, "unknown.csv: the header `left,top`"),
    "word for a number": ("train ok.tif --points word.csv", 2, "word.csv: `many` in line 2"),
    "frame beyond the image": ("train film.tif --points frames.csv", 2, "frames.csv: has points in frame 5"),
    # Stains and channels
    "missing stain": ("train ok.tif --nuclei nowhere.tif", 2, "nowhere.tif: there is no such file"),
    "stain of another size": (
        "train ok.tif --nuclei small/tiny.tif",
        2,
        "ok.tif: is 40 × 48 pixels but its stain small/tiny.tif is 16 × 20; give",
    ),
    "stain of several frames": (
        "train ok.tif --nuclei film.tif",
        2,
        "ok.tif: has 1 frame(s) but its stain film.tif",
    ),
    "image as its own stain": ("train ok.tif --nuclei ok.tif", 2, "ok.tif: is the image and its own stain; give"),
    "stain without nuclei": (
        "train ok.tif --nuclei constant/flat.tif",
        2,
        "flat.tif: no nucleus was found in this",
    ),
    "one stain without nuclei": (
        "train some --nuclei stains",
        0,
        "some/b.tif with stains/b.tif: left out, since no",
    ),
    "no common name of a stain": ("train images --nuclei constant", 2, "name them alike"),
    "missing channel": ("train film.tif --points ok.csv --channel 2", 2, "film.tif: there is no channel 2"),
    "missing nuclear channel": ("train ok.tif --nuclei film.tif --nuclear-channel 2", 2, "film.tif: there is no"),
    "negative channel": ("train ok.tif --points ok.csv --channel -1", 2, "there is no channel -1; count"),
    "nuclear channel of points": ("train ok.tif --points ok.csv --nuclear-channel 0", 2, "--nuclear-channel is a"),
    # Settings
    "unknown key": ("train ok.tif --points ok.csv --set train.stepps=3", 2, "unknown key 'stepps' in"),
    "unknown section": ("train ok.tif --points ok.csv --set trian.steps=3", 2, "unknown section 'trian' in"),
    "wrong type": (
        "train ok.tif --points ok.csv --set train.steps=many",
        2,
        "train.steps must be int, not 'many'",
    ),
    "unknown choice": ("train ok.tif --points ok.csv --set train.select=best", 2, "train.select must be one of"),
    "no assignment": ("train ok.tif --points ok.csv --set train.steps", 2, "'train.steps' is no assignment"),
    "value out of range": (
        "train ok.tif --points ok.csv --set train.batch=0",
        2,
        "train.batch must be at least 1",
    ),
    "sigma of nothing": (
        "train ok.tif --points ok.csv --set likelihood.sigma=0",
        2,
        "likelihood.sigma must be above",
    ),
    "widths that do not fit": (
        "train images --points points --set unet.decoder=[2,2]",
        2,
        "needs 1 decoder widths",
    ),
    "loss out of hand": (
        "train images --points points --set train.learning_rate=1e30 --set train.steps=3",
        2,
        "new: the validation loss is no longer a number (nan) at step 1",
    ),
    "no sigma from one point": (
        "train ok.tif --points one.csv --set likelihood.sigma=null",
        2,
        "give the sigma in pixels as `likelihood.sigma`",
    ),
    # Run folders
    "run folder in use": ("train images --points points --run RUN", 2, "run: holds a training already"),
    "nothing to resume": ("train images --points points --resume", 2, "new: no config.json here"),
    "not a run folder": ("segment images images", 2, "images: no trained model here"),
    "broken configuration": ("segment broken images", 2, "broken/config.json: not a configuration"),
    # Segmenting
    "missing image to segment": ("segment RUN nowhere.tif", 2, "nowhere.tif: there is no such file"),
    "unknown key to segment": ("segment RUN ok.tif --set cut.reech=3", 2, "unknown key 'reech' in"),
    "sigma unset": ("segment RUN ok.tif --set likelihood.sigma=null", 3, "likelihood.sigma must be a number"),
    "missing channel to segment": (
        "segment RUN ok.tif --channel 1",
        3,
        "ok.tif: there is no channel 1; the file has",
    ),
    "negative channel to segment": ("segment RUN ok.tif --channel -1", 2, "there is no channel -1; count"),
    "two images of one name": ("segment RUN twins", 2, "two images are called ok"),
    "empty image to segment": ("segment RUN empty.tif", 3, "empty.tif: the file is empty"),
    "text as image to segment": ("segment RUN text.tif", 3, "text.tif: this is not an image"),
    "truncated image to segment": ("segment RUN cut.tif", 3, "cut.tif: the image is damaged"),
    "NaN in an image to segment": ("segment RUN nan.tif", 3, "nan.tif: frame 0 holds NaN"),
    "constant image to segment": ("segment RUN constant/flat.tif", 0, "flat: the image is constant"),
    # Evaluating
    "missing labels": ("evaluate nowhere mask.tif", 2, "nowhere: there is no such file"),
    "missing masks": ("evaluate mask.tif nowhere.tif", 2, "nowhere.tif: there is no such file"),
    "shapes that differ": (
        "evaluate mask.tif smaller.tif",
        2,
        "mask.tif: is 40 × 48 pixels but smaller.tif is 40 × 47",
    ),
    "labels in colour": ("evaluate colour.png mask.tif", 2, "colour.png: the labels are a colour picture"),
    "fractions as labels": ("evaluate fraction.tif mask.tif", 2, "fraction.tif: the labels are not whole numbers"),
    "no points for a mask": ("evaluate masks masks --points points", 2, "mask: has no point file"),
    "negative distance": ("evaluate mask.tif mask.tif --distance -1", 2, "distance must be 0 or more"),
}


@pytest.fixture(scope="module")
def workshop(tmp_path_factory, tiny_run, draw_small):
    """A folder with one example of everything."""
    folder = tmp_path_factory.mktemp("workshop")

    def image(name, values=GREY):
        (folder / name).parent.mkdir(exist_ok=True)
        tifffile.imwrite(folder / name, values)

    def points(name, values=CLICKS):
        write_points(folder / name, values)

    image("ok.tif")
    points("ok.csv")
    for name in ("a", "b"):
        image(f"images/{name}.tif")
        image(f"lonely/{name}.tif")
        for place in ("points", "more"):
            points(f"{place}/{name}.csv")
        points(f"other/x{name}.csv")
    image("lonely/c.tif")
    points("more/c.csv")
    # Bad images
    (folder / "empty.tif").touch()
    (folder / "text.tif").write_text("This is no image.")
    (folder / "cut.tif").write_bytes((folder / "ok.tif").read_bytes()[:-900])
    broken = GREY.astype(np.float32)
    broken[3, 4] = np.nan
    image("nan.tif", broken)
    image("film.tif", np.stack([GREY, GREY]))
    for place, name, values in [("constant", "flat", np.full_like(GREY, 7)), ("small", "tiny", GREY[:16, :20])]:
        for each, array in {"ok": GREY, name: values}.items():
            image(f"{place}/{each}.tif", array)
            points(f"{place}/{each}.csv", CLICKS[:1])
    image("twins/ok.tif")
    write_picture(folder / "twins" / "ok.png", np.zeros((8, 8, 3), np.uint8))
    # Stains: two with nuclei, one without
    for name in ("a", "b", "c"):
        image(f"some/{name}.tif")
        image(
            f"stains/{name}.tif", np.full_like(GREY, 7) if name == "b" else draw_small(100, shape=(40, 48)).nuclei
        )
    # Bad points
    points("outside.csv", CLICKS + np.array([[0, 0], [10, 0], [0, 0]]))
    points("swapped.csv", CLICKS[:, ::-1] + np.array([[0, 0], [5, 0], [0, 0]]))
    points("header.csv", np.empty((0, 2)))
    points("one.csv", CLICKS[:1])
    (folder / "empty.csv").touch()
    (folder / "unknown.csv").write_text("left,top\n1,2\n")
    (folder / "word.csv").write_text("x,y\n1,many\n")
    (folder / "frames.csv").write_text("frame,x,y\n0,1,2\n5,1,2\n")
    # Run folders
    shutil.copytree(tiny_run.folder, folder / "run")
    shutil.copytree(tiny_run.folder, folder / "broken")
    (folder / "broken" / "config.json").write_text('{"train": ')
    # Label images
    mask = np.zeros((40, 48), np.int32)
    mask[5:12, 5:12] = 1
    write_labels(folder / "mask.tif", mask)
    write_labels(folder / "masks" / "mask.tif", mask)
    write_labels(folder / "smaller.tif", mask[:, :-1])
    write_picture(folder / "colour.png", np.zeros((40, 48, 3), np.uint8))
    image("fraction.tif", mask + np.float32(0.5))
    return folder


@pytest.mark.filterwarnings("always")
@pytest.mark.parametrize("wrong", TABLE)
def test_bad_input_is_one_sentence(wrong, workshop, tmp_path, monkeypatch, capsys):
    words, code, message = TABLE[wrong]
    command, *arguments = words.split()
    if command == "train":
        new = [] if "--run" in arguments else ["--run", str(tmp_path / "new")]
        arguments = [*TINY.split(), *arguments, *new]
    if command == "segment":
        arguments = [*arguments, "--out", str(tmp_path / "out")]
    monkeypatch.chdir(workshop)
    assert main([command, *("run" if word == "RUN" else word for word in arguments)]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("wsis: error: " if code else "wsis: warning: ")
    head, _, tail = message.partition(" .* ")
    assert head in line
    assert tail in line
    if command == "train" and code == 0:
        assert (tmp_path / "new" / "weights").is_dir()
    if command == "segment" and code == 0:
        (labels,) = (tmp_path / "out").glob("*_labels.tif")
        assert read_labels(labels).shape == (40, 48)
        assert not read_labels(labels).any()
    if command == "segment" and code == 3:
        assert not list(tmp_path.glob("out/*"))


def test_an_image_smaller_than_a_patch_is_segmented_all_the_same(workshop, tmp_path, capsys):
    arguments = ["segment", str(workshop / "run"), str(workshop / "small" / "tiny.tif"), "--out", str(tmp_path)]
    assert main(arguments) == 0
    assert capsys.readouterr().err == ""
    assert read_labels(tmp_path / "tiny_labels.tif").shape == (16, 20)


def test_a_traceback_is_for_mistakes_of_the_program(monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(importlib.import_module("wsis_jax.evaluation"), "evaluate_files", broken)
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        main(["evaluate", "a", "b"])
