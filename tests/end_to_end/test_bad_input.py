"""Every bad input from the command line: one sentence that names the file or the setting, and nothing half-done.

docs/bad-input.md shows the table to readers. WRITE_DOCS=1 in the environment writes it anew.
"""

import importlib
import os
import re
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from tests.end_to_end.bad_inputs import CASES, SUBJECTS
from wsis_jax.cli import main
from wsis_jax.io.label_file import read_labels

TINY = (
    "--set unet.encoder=[2,4] --set unet.decoder=[2] --set train.batch=2 --set train.patch=32 --set train.steps=1 "
    "--set train.warmup=1 --set train.evaluate_every=1 --set image.scale=1 --set likelihood.sigma=3 "
    "--set train.validation=0.5"  # of two images
)
PAGE = Path(__file__).parents[2] / "docs" / "bad-input.md"
SAID: dict[str, str] = {}
HEAD = """\
# Bad input and its messages

Each message is one sentence: it names the file or the argument, and says what is wrong and what to do. The exit
code is 2, or 3 if other images of a batch went on, or 0 after a warning; nothing half-done is left. In the example
lines `run` is a trained model, and the computer has 16 GiB of memory and 100 GiB of disk left. `WRITE_DOCS=1
pytest tests/end_to_end/test_bad_input.py` writes this page; without it that test checks every line. (…)
stands for words of a library.
"""


@pytest.fixture(scope="module")
def workshop(tmp_path_factory, tiny_run):
    """A folder with one example of everything."""
    folder = tmp_path_factory.mktemp("workshop")
    shutil.copytree(tiny_run.folder, folder / "run")
    for subject in SUBJECTS.values():
        subject.make(folder)
    return folder


@pytest.fixture
def computer(monkeypatch):
    """16 GiB of memory, 100 GiB of disk left."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("wsis_jax.core.limits.memory", lambda: 16 << 30)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(200 << 30, 100 << 30, 100 << 30))


def tree(folder: Path) -> dict[str, int]:
    """What is in a folder: every file, and when it was changed."""
    return {str(path.relative_to(folder)): path.lstat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.filterwarnings("always")
@pytest.mark.parametrize("wrong", CASES)
def test_bad_input_is_one_sentence(wrong, workshop, computer, tmp_path, monkeypatch, capsys):
    words, code, message = CASES[wrong]
    command, *arguments = words.split()
    if command == "train":
        new = [] if "--run" in arguments else ["--run", str(tmp_path / "new")]
        arguments = [arguments[0], *TINY.split(), *arguments[1:], *new]
    arguments = [
        "run" if word == "RUN" else word.replace("OUT", str(tmp_path / "out")) if word.startswith("OUT") else word
        for word in arguments
    ]
    monkeypatch.chdir(workshop)
    before = tree(workshop)
    assert call(command, *arguments) == code
    lines = capsys.readouterr().err.splitlines()
    if not message:
        assert not lines
        return
    if lines[0].startswith("usage: "):
        lines = lines[-1:]
    for line in lines:  # one for each file
        assert re.match(r"wsis: error: |wsis [a-z]+: error: " if code else "wsis: warning: ", line)
        assert len(line) < 600
        assert line.isprintable()
    files = [re.split(r": (?=error|warning)", line)[1].split(":")[1] for line in lines]
    assert len(files) == len(set(files))
    line = "<br>".join([lines[0], *(line.removeprefix("wsis: ") for line in lines[1:])])
    head, _, tail = message.partition(" .* ")
    assert head in line
    assert tail in line
    check_page(wrong, line.replace(f"{tmp_path}/", "").replace(f"{workshop}/", ""))
    assert tree(workshop) == before
    if code:
        assert not list(tmp_path.glob("out*/**/*")), "something is left of what was refused"
        assert not list(tmp_path.glob("new/**/*")), "something is left of what was refused"
    elif command == "train":
        assert (tmp_path / "new" / "weights").is_dir()
    elif command == "segment":
        (labels,) = (tmp_path / "out").glob("*_labels.tif")
        assert read_labels(labels).shape == (40, 48)
        assert not read_labels(labels).any()


def call(*arguments: str) -> int:
    """Returns the exit code of a command, whoever ends it."""
    try:
        return main(arguments)
    except SystemExit as end:  # of argparse
        return int(end.code or 0)


def check_page(wrong: str, line: str) -> None:
    """Checks that the page has what was said, or keeps it to write the page."""
    words, code, _ = CASES[wrong]
    shown = re.sub(r"(damaged|than config\.json says|not a table(?: of cells)?) \(.*\)", r"\1 (…)", line)
    shown = re.sub(r"(Expecting|Unterminated|Extra data|'utf-8' codec|Invalid).*?(?=[;)]|$)", "…", shown)
    shown = re.sub(r"\(choose from.*\)", "(…)", shown)  # Python 3.12 words it otherwise
    command = re.sub(r"(.)\1{99,}", r"\1…", words.replace("RUN", "run").replace("OUT", "out"))
    cells = [
        wrong,
        f"`wsis {command}`",
        str(code),
        shown.partition(": ")[2].replace("|", "\\|").replace("<", "&lt;").replace("&lt;br>", "<br>"),
    ]
    SAID[wrong] = f"| {' | '.join(cells)} |"
    if not os.environ.get("WRITE_DOCS"):
        assert SAID[wrong] in PAGE.read_text(encoding="utf-8").splitlines()


def test_the_page_has_a_line_for_each_case_and_no_other():
    if os.environ.get("WRITE_DOCS"):
        parts = [HEAD]
        for name, subject in SUBJECTS.items():
            rows = [SAID[wrong] for wrong in subject.CASES if wrong in SAID]
            head = "| what is wrong | the command | exit code | the message |\n|---|---|---|---|"
            parts.append("\n".join([f"## {name}\n", head, *rows]) + "\n")
        PAGE.write_text("\n".join(parts), encoding="utf-8")
    names = re.findall(r"^\| (.*?) \| `wsis", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert names == [name for name, (_, _, message) in CASES.items() if message]
    assert len(names) >= 100


def test_an_image_smaller_than_a_patch_is_segmented_all_the_same(workshop, tmp_path, capsys):
    arguments = ["segment", str(workshop / "run"), str(workshop / "small" / "tiny.tif"), "--out", str(tmp_path)]
    assert main(arguments) == 0
    assert capsys.readouterr().err == ""
    assert read_labels(tmp_path / "tiny_labels.tif").shape == (16, 20)


def test_a_traceback_is_for_mistakes_of_the_program(monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(importlib.import_module("wsis_jax.segmentation"), "evaluate", broken)
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        main(["evaluate", "a", "b"])
