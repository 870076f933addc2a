"""Reads what documents and help texts tell users to type."""

import re
import textwrap
from pathlib import Path
from typing import NamedTuple

from wsis_jax import cli

ROOT = Path(__file__).parents[2]
# docs/bad-input.md shows commands that are wrong, and `test_bad_input.py` runs them.
DOCUMENTS = [
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md"),
    *("experiments/README.md", "experiments/LOG.md"),
    *(
        str(path.relative_to(ROOT))
        for path in sorted(ROOT.glob("docs/**/*.md"))
        if path.name != "bad-input.md" and "generated" not in path.parts  # made of the others
    ),
    *(str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("wsis_jax/network/models/*/README.md"))),
]
_COMMENTS = 58  # the column of comments in help texts


class Example(NamedTuple):
    """A command to type, without its comment, and where it stands."""

    where: str
    text: str


def _documents() -> dict[str, str]:
    return {name: (ROOT / name).read_text(encoding="utf-8") for name in DOCUMENTS}


def _helps() -> dict[str, str]:
    helps = {f"wsis {name} --help": module.TEXT for name, module in cli._COMMANDS.items()}
    return {"wsis --help": cli._DESCRIPTION, **helps}


def _docstrings() -> dict[str, str]:
    """The texts of experiments and benchmarks."""
    paths = [path for folder in ("experiments", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]
    return {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8").split('"""')[1] for path in paths}


def lines() -> list[Example]:
    """Returns the lines that are a `wsis` command, alone or at the end of several; each is complete."""
    found = []
    for where, text in _documents().items():
        # Blocks of a shell become indented ones, in their places.
        for shell in re.findall(r"^```(?:sh|powershell)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            text = text.replace(shell, textwrap.indent(shell, "    "))
        for line in re.findall(r"^    ((?:.*/)?wsis .*|.* && .*/wsis .*)$", text, re.MULTILINE):
            command = line.split("#")[0].split("&&")[-1].strip()
            found.append(Example(where, re.sub(r"^\S*wsis", "wsis", command)))
    for where, text in _helps().items():
        for line in re.findall(r"^  wsis .*$", text, re.MULTILINE):
            command = line[:_COMMENTS] if line[_COMMENTS - 2 : _COMMENTS] == "  " else line
            found.append(Example(where, command.strip()))
    return found


def blocks(page: str) -> list[str]:
    """Returns the blocks of Python of a document."""
    return re.findall(
        r"^```python\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )


def mentions() -> list[Example]:
    """Returns what stands in backticks in documents, and may lack arguments: `wsis train --nuclei`."""
    texts = _documents() | _helps()
    return [
        Example(where, " ".join(code.split()))
        for where, text in texts.items()
        for code in re.findall(r"`(wsis [^`]*)`", text)
    ]


def scripts() -> list[Example]:
    """Returns the commands that start an experiment or a benchmark, in documents and in their own texts."""
    found = []
    for where, text in (_documents() | _docstrings()).items():
        commands = re.findall(r"^ +(python (?:-m |benchmarks/|experiments/).*)$", text, re.MULTILINE)
        commands += re.findall(r"`(python (?:-m |benchmarks/|experiments/)[^`]*)`", text)
        # Brackets are around what may be left out, dots stand for more of the same.
        found += [
            Example(where, " ".join(re.sub(r"[\[\]]|\.\.\.", " ", re.split(r"  +#|#", one)[0]).split()))
            for one in commands
        ]
    return found
