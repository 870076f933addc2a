"""What documents and help texts tell users to type is understood; `test_readme.py` runs it."""

import argparse
import importlib
import re
import shlex
import sys
import tomllib

import pytest

from tests.benchmarks import test_commands as benchmarks
from tests.end_to_end.examples import DOCUMENTS, ROOT, blocks, lines, mentions, scripts
from tests.experiments import test_commands as experiments
from wsis_jax import cli


def shown(examples):
    return [pytest.param(one.text, id=f"{one.where}: {one.text}") for one in dict.fromkeys(examples)]


def test_the_examples_are_found():
    wheres = {one.where for one in lines()}
    assert {"README.md", "wsis --help", "wsis_jax/network/models/phase-contrast/README.md"} <= wheres
    assert {f"wsis {name} --help" for name in ("demo", "points", "train", "segment", "report", "doctor")} <= wheres
    assert {"wsis demo --out demo", "wsis points points/ --images images/"} <= {
        " ".join(one.text.split()) for one in lines()
    }
    assert len(lines()) > 35
    assert len(mentions()) > 25
    assert {"README.md", "benchmarks/README.md", "experiments/README.md"} <= {one.where for one in scripts()}
    assert len(scripts()) > 40


@pytest.mark.parametrize("text", shown(lines()))
def test_a_line_is_a_command_that_wsis_understands(text):
    cli.parser().parse_args(shlex.split(text)[1:])


@pytest.mark.parametrize("page", [page for page in DOCUMENTS if blocks(page)])
def test_blocks_of_python_are_understood(page):
    for code in blocks(page):
        compile(code, page, "exec")


@pytest.mark.parametrize("text", shown(mentions()))
def test_a_mention_names_a_command_and_options_that_there_are(text):
    parser = cli.parser()
    (commands,) = (one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
    first, *words = text.split()[1:]
    if first in commands.choices:
        parser = commands.choices[first]
    else:
        assert first.startswith("--")
        words = [first, *words]
    options = [word.split("=")[0] for word in words if word.startswith("--")]
    assert [option for option in options if option not in parser._option_string_actions] == []


class Understood(Exception):
    """Thrown in place of the work of an experiment."""


@pytest.mark.parametrize("text", shown(scripts()))
def test_an_experiment_understands_its_arguments(text, monkeypatch):
    _, _, module, *words = shlex.split(text)
    main = importlib.import_module(module).main
    if not words:  # no more than a name, or a script that begins at once
        return
    parse = argparse.ArgumentParser.parse_args

    def parse_and_stop(self, *given):
        parse(self, *given)
        raise Understood

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
    monkeypatch.setattr(sys, "argv", [module, *words])
    with pytest.raises(Understood):
        main()


def options(words):
    return {word for word in words if word.startswith("--")}


def test_every_experiment_is_run_with_its_options():
    """At toy size, by `tests/benchmarks/test_commands.py` and its twin: a new command needs a toy run there."""
    run = {f"experiments.{script}": options(words.split()) for script, words in experiments.ELSEWHERE.items()}
    for room, toys in ("benchmarks", benchmarks.TOYS), ("experiments", experiments.TOYS):
        for script, *words in map(shlex.split, toys.values()):
            run.setdefault(f"{room}.{script}", set()).update(options(words))
    for one in scripts():
        module, *words = shlex.split(one.text)[2:]
        assert module in run, f"{one.where}: nothing runs {module}"
        assert options(words) <= run[module], f"{one.where}: nothing runs {one.text}"


def test_what_is_to_be_installed_are_extras_that_there_are():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    files = [*DOCUMENTS, *(str(path.relative_to(ROOT)) for path in (ROOT / "wsis_jax").rglob("*.py"))]
    named = [
        (name, extra)
        for name in files
        for some in re.findall(r"(?:wsis-jax|[ '`]\.)\[([a-z,]+)\]", (ROOT / name).read_text(encoding="utf-8"))
        for extra in some.split(",")
    ]
    assert len(named) > 5
    assert [one for one in named if one[1] not in extras] == []
