"""What users install from: constraints, the recipe of conda, the citation, the licence."""

import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

_ROOT = Path(__file__).parents[2]
_PROJECT = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
_CONDA_NAMES = {"flatbuffers": "python-flatbuffers"}


def _lines_of_conda() -> dict[str, SpecifierSet]:
    """What the recipe of conda needs to run, by name."""
    recipe = yaml.safe_load((_ROOT / "conda-recipe/recipe.yaml").read_text())
    pairs = (line.partition(" ") for line in recipe["requirements"]["run"])
    return {name: SpecifierSet(versions) for name, _, versions in pairs}


def _constraints() -> list[Requirement]:
    lines = (_ROOT / "constraints.txt").read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("line", [*_PROJECT["dependencies"], *_PROJECT["optional-dependencies"]["dev"][1:]])
def test_the_constraints_pin_what_is_allowed(line):
    needed = Requirement(line)
    pins = [pin for pin in _constraints() if pin.name.lower() == needed.name.lower()]
    assert pins, "run: nox -s pin"
    for pin in pins:
        (exact,) = pin.specifier
        assert exact.operator == "=="
        assert needed.specifier.contains(exact.version)


def test_the_recipe_of_conda_needs_what_pip_installs():
    needed = {one.name.lower(): one.specifier for one in map(Requirement, _PROJECT["dependencies"])}
    names = {_CONDA_NAMES.get(name, name): versions for name, versions in needed.items()}
    assert _lines_of_conda() == {"python": SpecifierSet(_PROJECT["requires-python"]), **names}


def test_the_citation_is_of_the_method():
    citation = yaml.safe_load((_ROOT / "CITATION.cff").read_text())
    assert citation["license"] == _PROJECT["license"]
    assert [one["family-names"] for one in citation["preferred-citation"]["authors"]] == [
        "Nishimura",
        "Ker",
        "Bise",
    ]
