"""Exit codes and environment variables: those of the source are told in the help and in docs/running.md."""

import ast
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from wsis_jax import cli

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "running.md").read_text(encoding="utf-8")
TOLD = {"wsis --help": cli._EPILOG, "docs/running.md": PAGE.split("## Exit codes")[1].split("\n## ")[0]}
VARIABLE = r"\b(?:[A-Z]+_[A-Z_]+|COLUMNS|TMPDIR|LOCALAPPDATA)\b"


def variables_of_the_source() -> set[str]:
    """The names that `os.environ` is asked for."""
    found = set()
    for path in (ROOT / "wsis_jax").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("os.environ.get", "os.getenv"):
                found.add(ast.literal_eval(node.args[0]))
            if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ":
                found.add(ast.literal_eval(node.slice))
    return found


def codes_of_the_source() -> set[int]:
    """The numbers that commands return."""
    found = set()
    for path in (ROOT / "wsis_jax" / "cli").glob("*.py"):
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(function, ast.FunctionDef) and function.name in ("run", "main"):
                returned = [node.value for node in ast.walk(function) if isinstance(node, ast.Return)]
                values = [
                    node.value for one in returned for node in ast.walk(one) if isinstance(node, ast.Constant)
                ]
                found |= {value for value in values if type(value) is int}
    return found


@pytest.mark.parametrize("where", TOLD)
def test_every_variable_is_told(where):
    assert variables_of_the_source() >= {"WSIS_DEBUG", "XDG_CACHE_HOME"}
    assert variables_of_the_source() - set(re.findall(VARIABLE, TOLD[where])) == set()


def test_help_and_page_tell_the_same_variables():
    helped, read = (set(re.findall(VARIABLE, text)) for text in TOLD.values())
    assert helped == read


@pytest.mark.parametrize("where", TOLD)
def test_every_code_is_told(where):
    told = {int(number) for number in re.findall(r"^(?:  |\| )(\d)(?:  | \|)", TOLD[where], re.MULTILINE)}
    assert codes_of_the_source() == told == {0, 1, 2, 3}
    assert all(number in TOLD[where] for number in ("128", "130", "137", "143"))


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 1), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_signal_ends_a_command_as_it_is_told(number, code):
    program = f"""
import os, signal, sys
from wsis_jax import cli
from wsis_jax.cli import doctor
signal.signal(signal.SIGINT, signal.default_int_handler)
doctor.run = lambda arguments: signal.raise_signal({int(number)})
sys.exit(cli.main(["doctor"]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stderr == ("wsis: interrupted\n" if number == signal.SIGINT else "")


@pytest.mark.skipif(sys.platform == "win32", reason="a pipe that is closed is another error there")
def test_a_reader_that_has_gone_interrupts():
    reading, writing = os.pipe()
    os.close(reading)
    program = "import sys; from wsis_jax.cli import main; sys.exit(main(sys.argv[1:]))"
    words = [sys.executable, "-c", program, "--print-completion", "bash"]
    done = subprocess.run(words, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_help_comes_at_once():
    program = """
import sys
from wsis_jax import cli
try:
    cli.main(["--help"])
except SystemExit:
    pass
print({name.split(".")[0] for name in sys.modules} & set(sys.argv[1:]), file=sys.stderr)
"""
    heavy = ["jax", "flax", "numpy", "scipy", "skimage", "rich", "shtab", "zarr", "packaging"]
    done = subprocess.run([sys.executable, "-c", program, *heavy], capture_output=True, text=True, check=True)
    assert done.stderr == "set()\n"
