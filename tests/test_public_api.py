"""The public names: documented, all there, options by keyword, and imported only when they are used."""

import ast
import importlib.metadata
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import wsis_jax

NAMES = wsis_jax.__all__
ROOMS = [name for name in NAMES if inspect.ismodule(getattr(wsis_jax, name))]


def python(*arguments: str) -> subprocess.CompletedProcess:
    """Runs a Python of its own, in which nothing is imported yet."""
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "100"},
    )


def test_the_list_is_sorted_and_without_doubles():
    assert sorted(set(NAMES)) == NAMES
    assert dir(wsis_jax) == sorted(wsis_jax.__all__)


def test_the_names_that_the_readme_promises_are_there():
    promised = "train load_model segment locate find_peaks contributions winner_map outline"
    assert set(promised.split()) <= set(NAMES)


def test_rooms_are_used_through_what_they_export():
    """A module names another room's file nowhere: what it needs of it is in the list of that room."""
    root = Path(wsis_jax.__file__).parent
    for path in root.rglob("*.py"):
        room = path.relative_to(root).parts[0]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            module = node.module if isinstance(node, ast.ImportFrom) else None
            if module and module.startswith("wsis_jax.") and module.split(".")[1] != room:
                assert module.count(".") == 1, f"{path}: {module}"


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


@pytest.mark.parametrize("name", [name for name in NAMES if name[0].islower() and name not in ROOMS])
def test_options_are_given_by_keyword_alone(name):
    function = getattr(wsis_jax, name)
    if name == "guided_relu":  # a custom_vjp
        return
    for parameter in inspect.signature(function).parameters.values():
        if parameter.default is not parameter.empty:
            assert parameter.kind is parameter.KEYWORD_ONLY, parameter.name


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="No wsis_jax attribute segmentt"):
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
