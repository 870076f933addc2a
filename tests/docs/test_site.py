"""The documentation site is built once, with its notebooks; each command, setting and public name has an entry."""

import argparse
import ast
import dataclasses
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import wsis_jax
from tests.end_to_end.examples import ROOT
from wsis_jax import cli
from wsis_jax.core import Config
from wsis_jax.output import FORMATS

pytest.importorskip("myst_nb", reason="the site is built by the packages of the extra docs")

from sphinx.util.inventory import InventoryFile

DOCS = ROOT / "docs"
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The folder of the built site; a warning of Sphinx, or an error in a notebook, is a failure."""
    folder = tmp_path_factory.mktemp("site")
    # Programs of the notebooks are run a few times: to compile them is what takes time.
    environment = {**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    words = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going", "--builder", "html"]
    done = subprocess.run(
        [*words, "--doctree-dir", str(folder / "trees"), str(DOCS), str(folder / "html")],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder / "html"


@pytest.fixture(scope="module")
def entries(site) -> dict[str, set[str]]:
    """The names that the site has an entry of, by kind."""
    inventory = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="")
    return {kind: set(names) for kind, names in inventory.data.items()}


def public_names() -> set[str]:
    """What `wsis_jax` and its rooms list in their stubs."""
    names = set()
    for stub in Path(wsis_jax.__file__).parent.glob("**/__init__.pyi"):
        package = ".".join(["wsis_jax", *stub.parent.relative_to(Path(wsis_jax.__file__).parent).parts])
        for node in ast.parse(stub.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom):
                names |= {f"{package}.{alias.asname or alias.name}" for alias in node.names}
    return names


def test_every_public_name_has_an_entry(entries):
    python = set().union(*(names for kind, names in entries.items() if kind.startswith("py:")))
    assert len(public_names()) > 200
    assert public_names() - python == set()
    assert {"wsis_jax.metrics.match_labels", "wsis_jax.synthetic.draw_scene"} <= python


def test_every_setting_has_an_entry(entries):
    settings = {f"{section}.{key}" for section, values in Config().to_dict().items() for key in values}
    assert settings == entries["std:confval"]


def test_a_setting_has_its_type_default_range_and_meaning(site):
    for section in dataclasses.fields(Config):
        text = text_of(site / "generated" / "settings" / f"{section.name}.html")
        entries = re.split(rf"\b{section.name}\.\w+¶", text)[1:]
        assert len(entries) == len(dataclasses.fields(getattr(Config(), section.name)))
        for entry in entries:
            assert re.match(r" Type: \S.* Default: \S+ \S.*\w.*\.", entry), entry
    sigma = text_of(site / "generated" / "settings" / "likelihood.html").split("likelihood.sigma¶")[1]
    assert sigma.startswith(" Type: number, or null Default: null Standard deviation of the Gaussian at each")
    assert "Range: above 0, up to 10,000." in sigma


def test_every_command_and_its_options_have_an_entry(site, entries):
    (commands,) = (one for one in cli.parser()._actions if isinstance(one, argparse._SubParsersAction))
    for name, command in commands.choices.items():
        assert (site / "generated" / "commands" / f"{name}.html").is_file()
        words = {word for action in command._actions for word in action.option_strings}
        words |= {str(action.metavar) for action in command._actions if not action.option_strings}
        missing = {word for word in words if f"wsis-{name}.{word}" not in entries["std:cmdoption"]}
        assert missing == set(), name


def test_every_format_is_listed_and_opened(site):
    table, gallery = (text_of(site / f"{page}.html") for page in ("files", "gallery"))
    for kind, one in FORMATS.items():
        assert re.search(rf"\b{kind}(, by default|, alone)? {re.escape(one.file)}", table)
        assert f" {kind}¶" in gallery


def test_notebooks_are_on_the_site_with_what_they_print_and_draw(site):
    assert [path.stem for path in NOTEBOOKS] == ["clicks_to_outlines", "contribution_maps", "your_own_rule"]
    for path in NOTEBOOKS:
        assert '<img alt="' in (site / "notebooks" / f"{path.stem}.html").read_text(encoding="utf-8")
    printed = text_of(site / "notebooks" / "clicks_to_outlines.html")
    scores = re.search(r"F-measure ([\d.]+), mDice ([\d.]+)", printed)
    assert scores is not None
    assert float(scores[1]) > 0.8
    assert float(scores[2]) > 0.6


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_of_notebooks_are_not_kept(path):
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None


def test_pages_load_nothing_from_elsewhere(site):
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert re.findall(r'<(?:script|img|iframe)[^>]* src="(?:https?:)?//[^"]*"', text) == [], path
        assert re.findall(r'<link[^>]* rel="stylesheet"[^>]* href="(?:https?:)?//[^"]*"', text) == [], path


def text_of(page: Path) -> str:
    """The words of a page, one space between them."""
    words: list[str] = []
    parser = HTMLParser()
    parser.handle_data = words.append
    parser.feed(page.read_text(encoding="utf-8"))
    return " ".join("".join(words).split())
