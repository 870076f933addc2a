"""Reports: what they say is what the folders hold, whatever its names are, and a browser shows it."""

import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from tests.output.browser import needs_browser, open_page, shown
from wsis_jax import segment
from wsis_jax.cli import main
from wsis_jax.core import UserError
from wsis_jax.io.image_file import SourceImage
from wsis_jax.output.report.gallery import LAYERS, SHOWN, write_layers
from wsis_jax.output.report.results_page import segmentation_report
from wsis_jax.training import run_folder
from wsis_jax.training.report import training_report, training_verdict

EVIL = "<script>document.title='run'</script>&\"'x"
NAMES = ["a", EVIL.replace("/", "|"), "c"]


class Reader(HTMLParser):
    """Collects the tags of a page, and the words that a person reads."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.words: list[str] = []
        self._silent = False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._silent = tag in ("script", "style")

    def handle_endtag(self, tag):
        self._silent = False

    def handle_data(self, data):
        if not self._silent:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def having(self, attribute: str) -> list[dict]:
        return [attributes for _, attributes in self.tags if attribute in attributes]


def read(path) -> Reader:
    return Reader(path.read_text(encoding="utf-8"))


def summary_of(names, cells) -> dict:
    images = [
        {"name": name, "source": f"in/{name}.tif", "cells": count, "warnings": [f"{EVIL} is odd"]}
        for name, count in zip(names, cells, strict=True)
    ]
    failed = [{"source": f"in/{EVIL}.tif", "error": f"in/{EVIL}.tif: the file is empty; copy it again"}]
    return {"images": images, "failed": failed, "config": {"cut": {"reach": 5.0}}, "run": EVIL}


@pytest.fixture(scope="module")
def results(tiny_run, tmp_path_factory):
    """A folder of results with pictures, tables of cells and a report."""
    out, cells = tmp_path_factory.mktemp("results") / "out", []
    for name, scene in zip(NAMES, tiny_run.scenes, strict=False):
        result = segment(tiny_run.model, scene.image)
        write_layers(out / "report", SourceImage(name, scene.image, scene.image[None]), result)
        rows = [f"{i + 1},{40 + i},0.7,0.{i}" for i in range(len(result.points))]
        (out / f"{name}_cells.csv").write_text("\n".join(["label,area,score,confidence", *rows, ""]))
        cells.append(len(result.points))
    segmentation_report(out, summary_of(NAMES, cells))
    return out


@pytest.fixture(scope="module")
def trained(tiny_run, tmp_path_factory):
    """A run folder with a report."""
    folder = shutil.copytree(tiny_run.folder, tmp_path_factory.mktemp("trained") / EVIL.replace("/", "|"))
    training_report(folder)
    return folder


def test_layers_are_pictures_of_their_names(tmp_path, tiny_run, draw_small):
    scene = draw_small(3, shape=(40, 1800))
    result = segment(tiny_run.model, scene.image)
    files = write_layers(tmp_path, SourceImage("wide", scene.image, scene.image[None]), result)
    assert [path.name for path in files] == [f"wide_{layer}.webp" for layer in LAYERS]
    assert sorted(tmp_path.iterdir()) == sorted(files)
    pictures = {}
    for layer, path in zip(LAYERS, files, strict=True):
        with Image.open(path) as picture:
            pictures[layer] = np.asarray(picture.convert("L"), float)
    assert {picture.shape for picture in pictures.values()} == {(20, 900)}
    labels = pictures["labels"] > 60
    truth = result.labels[::2, ::2] > 0
    assert (labels == truth).mean() > 0.97
    likelihood = pictures["likelihood"]
    rows, columns = np.round(result.points / 2).astype(int).clip(0, [[19, 899]]).T
    assert likelihood[rows, columns].mean() > likelihood.mean() + 60


def test_a_report_of_results_says_what_there_is(results):
    page, images = (
        read(results / "report.html"),
        json.loads((results / "report/summary.json").read_text())["images"],
    )
    assert sum(tag == "figure" and attributes.get("class") == "item" for tag, attributes in page.tags) == len(
        NAMES
    )
    pictures = [attributes for tag, attributes in page.tags if tag == "img" and "data-layer" in attributes]
    assert [picture["alt"] for picture in pictures] == [f"{n}: {layer}" for n in NAMES for layer in LAYERS]
    total = sum(image["cells"] for image in images)
    for words in (
        f"Cells {total} in all",
        "Failed 1 named below",
        f"in/{EVIL}.tif: the file is empty; copy it again",
        f"Segmented with {EVIL}.",
        "cut.reach 5.0 6.0",
        f"{total} in all, median",
    ):
        assert words in page.text
    areas = page.having("data-points")[0]
    assert sum(int(said.rpartition(": ")[2]) for _, said in json.loads(areas["data-points"])) == total


@pytest.mark.parametrize("kind", ["results", "trained"])
def test_a_page_holds_all_it_shows_and_runs_its_own_script_alone(kind, request):
    html = (request.getfixturevalue(kind) / "report.html").read_text(encoding="utf-8")
    page = Reader(html)
    scripts = [attributes for tag, attributes in page.tags if tag == "script"]
    assert scripts == [{}]
    (policy,) = [a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a]
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy
    for attributes in [*page.having("src"), *page.having("href")]:
        assert re.match("data:|#content$", attributes.get("src") or attributes.get("href", ""))
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert "http://" not in html
    assert "https://" not in html


def test_a_report_of_a_training_says_what_the_run_folder_holds(trained, tiny_run):
    page, metrics = read(trained / "report.html"), run_folder.read_metrics(trained)
    best = next(line for line in metrics if line["step"] == metrics[-1]["best_step"])
    curves = [json.loads(attributes["data-points"]) for attributes in page.having("data-points")]
    assert [[said.split(",")[0] for _, said in curve] for curve in curves] == [["step 40", "step 80"]] * 2
    for words in (
        "The training is done: 80 steps.",
        f"F-measure {best['f_measure']:.3f} of the best model",
        f"Best step {best['step']}",
        f"Points {sum(len(scene.points) for scene in tiny_run.scenes)} in 6 images",
        "Held out 1 image, for validation",
        "Is it good enough? ",
        "the outlines of the cells found in a part of it",
        "Cells are cut inverse by contributions and rims",
        "train.patch 64 320",
        f"step {best['step']} the best model",
    ):
        assert words in page.text
    samples = [attributes["alt"] for tag, attributes in page.tags if tag == "img"]
    assert samples == ["step 40: picture", "step 80: picture"]


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([10, 20], "interrupted after 20 of 80 steps; go on with --resume"),
        ([10, 810], "ended after 810 of 1,000 steps, since the validation had not improved for 20"),
        ([], "interrupted after 0 of 80 steps"),
    ],
)
def test_how_far_a_training_came(tmp_path, tiny_config, steps, words):
    config = tiny_config.override(["train.steps=1000"] if 810 in steps else [])
    run_folder.save_config(tmp_path, config)
    scores = {"loss": 0.1, "validation_loss": 0.2, "f_measure": 0.5, "precision": 0.5, "recall": 0.5}
    for step in steps:
        run_folder.append_metrics(tmp_path, {"step": step, **scores, "best_step": 10})
    text = read(training_report(tmp_path)).text
    assert words in text
    assert ("There was no validation yet." in text) == (not steps)


@pytest.mark.parametrize("held_out", [True, False])
def test_whose_scores_a_report_shows(tmp_path, tiny_config, held_out):
    config = tiny_config.override(["image.channels=grey", "cut.data=levels", "train.steps=40"])
    run_folder.save_config(tmp_path, config)
    scores = {"loss": 0.1, "validation_loss": 0.1, "f_measure": 0.7, "precision": 0.7, "recall": 0.7}
    run_folder.append_metrics(tmp_path, {"step": 40, **scores, "best_step": 40})
    (tmp_path / "samples").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "samples" / "step_000040.png")
    one = {"height": 64, "width": 64, "points": 120, "spacing": 14.0, "held_out": False}
    look = {"stained": True, "separation": 0.9, "contrast": 2.0, "rim": 0.1}
    images = [{"name": "a", **one, **look}, {"name": "b", **one, "held_out": held_out}]
    (tmp_path / "training.json").write_text(json.dumps({"images": images}))
    text = read(training_report(tmp_path)).text
    whose = "held-out images" if held_out else "training images"
    other = "training images" if held_out else "eld-out images"
    assert f"F-measure 0.700 of the best model, on {whose}" in text
    assert f"Detection of cells of {whose}" in text
    assert f"{whose.capitalize()} with their points (crosses) and peaks (rings)" in text
    assert other not in text.replace("so the scores are of training images", "")
    verdict = training_verdict(tmp_path)
    assert verdict.grade == ("fair" if held_out else "unknown")
    assert f"Is it good enough? {verdict.text} What would help: {verdict.advice[0]}" in text
    assert "Diameter 12 px of a typical cell" in text
    assert "Cells are cut levels by grey value or colour" in text
    assert "Cells look stained in the image: grey value or colour at clicks" in text


@pytest.mark.parametrize("stained", ['"x"', "[]", "null"])
def test_facts_of_another_kind_are_refused(tmp_path, tiny_config, stained):
    run_folder.save_config(tmp_path, tiny_config)
    one = {"name": "a", "height": 1, "width": 1, "points": 1, "spacing": 1.0, "held_out": True}
    facts = json.dumps({"images": [one]})[:-3] + f', "stained": {stained}}}]}}'
    (tmp_path / "training.json").write_text(facts)
    with pytest.raises(UserError, match=r"training\.json: does not hold the facts of a training"):
        training_report(tmp_path)


def test_thousands_of_images_need_no_pictures_and_make_a_small_page(tmp_path):
    names = [f"image_{i}" for i in range(5000)]
    page = segmentation_report(tmp_path, summary_of(names, [i % 7 for i in range(5000)]))
    assert page.stat().st_size < 1e6
    text = read(page).text
    assert f"Cells {sum(i % 7 for i in range(5000)):,} in all" in text
    assert "And 3,000 more." in text
    assert "image_0, image_1, image_2, image_3, image_4 and 4995 more" in text


def test_one_image_with_one_cell_is_told_in_the_singular(tmp_path):
    segmentation_report(tmp_path, summary_of(["a"], [1]) | {"failed": []})
    page = read(tmp_path / "report.html")
    assert "The image" in page.text
    assert "Warnings 1 image with one" in page.text
    segmentation_report(tmp_path, summary_of(["a", "b"], [1, 2]))
    assert "All 2 images" in read(tmp_path / "report.html").text


def test_the_gallery_has_an_end(tmp_path, tiny_run, draw_small):
    result, image = segment(tiny_run.model, draw_small(0).image), draw_small(0).image
    names = [f"n{i:02d}" for i in range(30)]
    for name in names:
        write_layers(tmp_path / "report", SourceImage(name, image, image[None]), result)
    # The first two hold no cells, so the page begins with another.
    page = read(segmentation_report(tmp_path, summary_of(names, [0] * 2 + [1] * 28)))
    (start,) = page.having("data-first")
    assert start["data-first"] == "2"
    kept = [attributes["title"] for attributes in page.having("data-item")]
    assert (len(kept), kept[0], kept[-1]) == (SHOWN, "n00", "n29")
    assert "24 of 30 images." in page.text


def test_the_command_makes_either_page_anew(results, trained, tmp_path, capsys):
    for folder in (results, trained):
        copy = shutil.copytree(folder, tmp_path / folder.name)
        (copy / "report.html").unlink()
        assert main(["report", str(copy)]) == 0
        assert capsys.readouterr().out == f"{copy / 'report.html'}\n"
        assert (copy / "report.html").read_bytes() == (folder / "report.html").read_bytes()
    assert main(["report", str(tmp_path)]) == 2
    assert "neither a run folder nor a folder of results" in capsys.readouterr().err


@pytest.mark.parametrize(("file", "kind"), [("training.json", "trained"), ("report/summary.json", "results")])
def test_a_damaged_file_is_named(file, kind, request, tmp_path, capsys):
    copy = shutil.copytree(request.getfixturevalue(kind), tmp_path / "copy")
    (copy / file).write_text("{")
    assert main(["report", str(copy)]) == 2
    assert f"{copy / file}: not readable as JSON" in capsys.readouterr().err


@needs_browser
@pytest.mark.parametrize(
    ("address", "item", "layer"),
    [("", 0, "outlines"), ("#image=2&layer=labels", 1, "labels"), ("#layer=x", 0, "outlines")],
)
def test_a_browser_shows_one_layer_of_one_image(results, tmp_path, address, item, layer):
    page = Reader(shown(results / "report.html", address=address, scratch=tmp_path))
    assert page.tags[0][1]["data-ready"] == "yes"
    assert "data-error" not in page.tags[0][1]
    figures = [attributes for tag, attributes in page.tags if attributes.get("class") == "item"]
    assert ["hidden" not in figure for figure in figures] == [index == item for index in range(len(NAMES))]
    pictures = [attributes for tag, attributes in page.tags if tag == "img" and "data-layer" in attributes]
    visible = [picture["data-layer"] for picture in pictures if "hidden" not in picture]
    assert visible == [layer] * len(NAMES)
    pressed = [b["data-choose"] for b in page.having("data-choose") if b["aria-pressed"] == "true"]
    assert pressed == [layer]
    assert LAYERS[layer] in page.text
    assert f"{item + 1} of {len(NAMES)}" in page.text
    titles = [text for text in page.words if text.startswith("out: ")]
    assert titles == ["out: Segmentation report"]  # no script in a name has changed it


@needs_browser
def test_keys_and_pointers_are_heard(results, tmp_path):
    # A script of the test's own presses them, which the policy of the page would forbid.
    html = re.sub("<meta http-equiv[^>]*>", "", (results / "report.html").read_text(encoding="utf-8"))
    pressing = """<script>
      const press = (key) => document.body.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
      press("ArrowLeft"); document.body.dataset.one = document.documentElement.dataset.shown;
      press("ArrowRight"); press("ArrowRight"); press("1");
      document.body.dataset.two = document.documentElement.dataset.shown;
      document.querySelectorAll("[data-item]")[2].click(); document.querySelector("[data-choose=labels]").click();
      document.body.dataset.three = document.documentElement.dataset.shown;
      document.body.dataset.address = location.hash;
      document.querySelector(".chart").focus();
    </script></body>"""
    file = tmp_path / "page.html"
    file.write_text(html.replace("</body>", pressing), encoding="utf-8")
    page = Reader(shown(file, scratch=tmp_path))
    (body,) = [attributes for tag, attributes in page.tags if tag == "body"]
    assert [body["data-one"], body["data-two"], body["data-three"]] == ["3 outlines", "2 image", "3 labels"]
    assert body["data-address"] == "#image=3&layer=labels"
    assert "data-error" not in page.tags[0][1]


@needs_browser
@pytest.mark.parametrize("kind", ["results", "trained"])
@pytest.mark.parametrize(("width", "dark"), [(1200, False), (500, True)])
def test_a_page_is_there_to_see(kind, width, dark, request, tmp_path):
    picture = tmp_path / "page.png"
    options = [f"--screenshot={picture}", f"--window-size={width},1800"]
    options += ["--blink-settings=preferredColorScheme=0"] if dark else []
    file = request.getfixturevalue(kind) / "report.html"
    open_page(file, *options, address="#layer=labels", scratch=tmp_path)
    with Image.open(picture) as screenshot:
        seen = np.asarray(screenshot.convert("RGB"), int)
    assert seen.shape == (1800, width, 3)
    paper = seen[5, 5]
    assert (paper.max() < 60) == dark
    assert (abs(seen - paper).sum(2) > 30).mean() > 0.05
    # Strong colours, which only labels and likelihood maps have: the pictures are drawn. A narrow page shows three
    # beside each other small.
    assert (np.ptp(seen, axis=2) > 150).mean() > 0.002
