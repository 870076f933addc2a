"""The public names: documented, all there, options by keyword, and imported only when they are used."""

import ast
import importlib
import importlib.metadata
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import wsis_jax

NAMES = [name for name in wsis_jax.__all__ if name != "__version__"]
# The one option that reads well by place: preset("paper", run.config).
BY_PLACE = {("preset", "base")}


def python(*arguments: str) -> subprocess.CompletedProcess:
    """Runs a Python of its own, in which nothing is imported yet."""
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "100"},
    )


def imported_for_type_checkers() -> dict[str, str]:
    """The names that `__init__.py` imports for type checkers, and their homes."""
    tree = ast.parse(Path(wsis_jax.__file__).read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    imports = [(node.module, alias) for node in block.body for alias in node.names]
    assert all(alias.asname == alias.name for _, alias in imports)
    return {alias.name: module for module, alias in imports}


def test_the_list_is_sorted_and_without_doubles():
    assert sorted(set(NAMES)) == NAMES
    assert dir(wsis_jax) == sorted(wsis_jax.__all__)


def test_the_list_is_that_of_the_type_checkers():
    assert sorted(imported_for_type_checkers()) == NAMES


def test_the_names_that_the_readme_promises_are_there():
    promised = "train load_model segment render_likelihood find_peaks contribution_maps match_labels"
    assert set(promised.split()) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_comes_from_its_home(name):
    home = importlib.import_module(imported_for_type_checkers()[name])
    assert getattr(wsis_jax, name) is getattr(home, name)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_documented_with_all_its_methods(name):
    thing = getattr(wsis_jax, name)
    assert inspect.getdoc(thing)
    if inspect.isclass(thing):
        # A dataclass or NamedTuple without a text of its own would show its signature.
        assert not inspect.getdoc(thing).startswith(f"{name}(")
        for key, member in vars(thing).items():
            if inspect.isfunction(member) and not key.startswith("_"):
                assert inspect.getdoc(member), key


@pytest.mark.parametrize("name", [name for name in NAMES if name[0].islower()])
def test_options_are_given_by_keyword_alone(name):
    function = getattr(wsis_jax, name)
    if name == "guided_relu":  # a custom_vjp
        return
    for parameter in inspect.signature(function).parameters.values():
        if parameter.default is not parameter.empty and (name, parameter.name) not in BY_PLACE:
            assert parameter.kind is parameter.KEYWORD_ONLY, parameter.name


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'wsis_jax' has no attribute 'segmentt'"):
        _ = wsis_jax.segmentt


def test_importing_the_package_imports_nothing_heavy():
    heavy = "{'jax', 'flax', 'orbax', 'scipy', 'skimage', 'maxflow', 'rich', 'napari', 'qtpy'}"
    done = python("-c", f"import sys, wsis_jax, wsis_jax.cli; print({heavy} & set(sys.modules))")
    assert (done.stdout.strip(), done.stderr) == ("set()", "")


def test_python_m_is_the_command():
    done = python("-m", "wsis_jax", "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("usage: wsis ")
    assert done.stderr == ""


def test_the_version_is_that_of_the_installed_package():
    assert wsis_jax.__version__ == importlib.metadata.version("wsis-jax")
