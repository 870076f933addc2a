"""Writes the pages that are made of the program itself: its commands, its settings and its public names.

They lie in docs/generated while the site is built, and are not kept in git.
"""

import argparse
import ast
import dataclasses
import inspect
import io
import json
import re
import textwrap
import tokenize
import types
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.typing import ExtensionMetadata

import wsis_jax
from wsis_jax import cli
from wsis_jax.core import config as settings
from wsis_jax.output.formats import formats_table

DOCS = Path(__file__).parents[1]
ROOT = DOCS.parent
GENERATED = DOCS / "generated"

# Documents of the repository that are pages of the site, too: the page, without its ending, of each.
ADOPTED = {
    "experiments/README.md": "generated/experiments",
    "experiments/LOG.md": "generated/log",
    "benchmarks/README.md": "generated/benchmarks",
    "CONTRIBUTING.md": "generated/contributing",
    "CHANGELOG.md": "generated/changelog",
    "SECURITY.md": "generated/security",
    **{
        f"wsis_jax/network/models/{path.parent.name}/README.md": f"generated/models/{path.parent.name}"
        for path in sorted((ROOT / "wsis_jax/network/models").glob("*/README.md"))
    },
}
_LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)(#[^)\s]*)?(?=\))")


def write_pages(app: Sphinx) -> None:
    """Writes all generated pages; a page that has not changed keeps its date, so it is not read again."""
    pages = dict(command_pages()) | dict(setting_pages()) | dict(name_pages())
    pages["formats.md"] = formats_table() + "\n"
    for source, page in ADOPTED.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        pages[page.removeprefix("generated/") + ".md"] = linked(text, Path(source).parent, page)
    for name, text in pages.items():
        path = GENERATED / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    for path in GENERATED.rglob("*.*"):
        if str(path.relative_to(GENERATED).as_posix()) not in pages:
            path.unlink()


def relink(app: Sphinx, page: str, source: list[str]) -> None:
    """Has the links of a page lead to pages of this site, where they name documents of the repository."""
    if not page.startswith("generated/"):
        source[0] = linked(source[0], (Path("docs") / page).parent, page)


def linked(text: str, folder: Path, page: str) -> str:
    """Returns the text of a document in a folder with links as a page of this site needs them."""
    depth = page.count("/")

    def target(match: re.Match[str]) -> str:
        path, anchor = match[1], match[2] or ""
        parts: list[str] = []
        for part in (folder / path).parts:
            if part == ".." and parts:
                parts.pop()
            else:
                parts.append(part)
        place = "/".join(parts)
        if place in ADOPTED:
            return f"{'../' * depth}{ADOPTED[place]}.md{anchor}"
        if place == "README.md":
            return f"{'../' * depth}index.md"
        if place.startswith("docs/"):
            return f"{'../' * depth}{place.removeprefix('docs/')}{anchor}"
        return f"{'../' * (depth + 1)}{place}{anchor}"

    return _LINK.sub(target, text)


# reStructuredText


def heading(text: str, line: str = "=") -> str:
    """Returns a heading."""
    return f"{text}\n{line * len(text)}\n"


def literal(text: str, language: str = "none") -> str:
    """Returns a block of code."""
    return f".. code-block:: {language}\n\n{textwrap.indent(text, '   ')}\n"


def prose(text: str) -> str:
    """Returns a line of plain text in which only backticks mean something."""
    parts = re.split(r"`([^`]+)`", text)
    return "".join(
        f"``{part}``" if index % 2 else re.sub(r"([\\*|_`])", r"\\\1", part) for index, part in enumerate(parts)
    )


def contents(pages: Iterable[str]) -> str:
    """Returns a list of pages that belong to a page."""
    return ".. toctree::\n   :maxdepth: 1\n\n" + "".join(f"   {page}\n" for page in pages)


# Commands


def command_pages() -> Iterator[tuple[str, str]]:
    """Yields the name and the text of the page of each command, and of one that lists them."""
    parser = cli.parser()
    (commands,) = (one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
    for name, command in commands.choices.items():
        summary = next(one.help for one in commands._choices_actions if one.dest == name)
        yield f"commands/{name}.rst", command_page(command, f"wsis {name}", summary or "")
    yield "commands/index.rst", overview(parser, commands.choices)


def overview(parser: argparse.ArgumentParser, names: Iterable[str]) -> str:
    """Returns the page that lists the commands."""
    text = heading("Commands") + "\n.. program:: wsis\n\n"
    text += "What ``wsis --help`` and ``wsis COMMAND --help`` tell.\n\n"
    text += contents(names) + "\n" + described(parser.description or "")
    text += "\nExit codes and environment variables: :doc:`/running`.\n\n"
    return text + options_of(parser)


def command_page(parser: argparse.ArgumentParser, program: str, summary: str) -> str:
    """Returns the page of a command."""
    usage = parser.format_usage().removeprefix("usage: ")
    usage = re.sub(r"\s+", " ", usage).strip()
    text = heading(program) + f"\n{prose(summary[:1].upper() + summary[1:])}.\n\n.. program:: {program}\n\n"
    text += literal("\n".join(textwrap.wrap(usage, 78, subsequent_indent="    ", break_on_hyphens=False))) + "\n"
    text += described(parser.description or "") + "\n" + options_of(parser)
    sections = dict.fromkeys(re.findall(r"^  (\w+)\.\w+=", parser.epilog or "", re.MULTILINE))
    if sections:
        links = ", ".join(f":doc:`{section} </generated/settings/{section}>`" for section in sections)
        text += heading("Settings", "-") + f"\n``--set`` takes those of {links}.\n"
    return text


def described(text: str) -> str:
    """Returns the description of a command: paragraphs, examples, and lists of a word and its meaning."""
    return "\n".join(_block(block) for block in re.split(r"\n\s*\n", text.strip("\n")))


def _block(block: str) -> str:
    """Returns a paragraph, code, examples, or a list of words, or examples, with their meaning."""
    lines = block.split("\n")
    if not all(line.startswith("  ") for line in lines):
        return "\n".join(map(prose, lines)) + "\n"
    if block.startswith("    "):
        return literal(textwrap.dedent(block), "python")
    # An example ends where the last gap begins, a word where the first does.
    gaps = [re.match(r"  (wsis .*\S|\S.*?)\s{2,}(\S.*)$", line) for line in lines]
    if not gaps[0]:
        return literal(textwrap.dedent(block))
    items: list[list[str]] = []
    for line, found in zip(lines, gaps, strict=True):
        if found:
            items.append([re.sub(r"\s+", " ", found[1]), found[2]])
        elif line.startswith("   "):
            items[-1][1] += f" {line.strip()}"
        else:  # an example that needs no explanation
            items.append([line.strip(), ""])
    return "".join(f"``{term}``\n   {prose(meaning) or '..'}\n" for term, meaning in items)


def options_of(parser: argparse.ArgumentParser) -> str:
    """Returns the arguments and options of a parser."""
    text = ""
    for title, wanted in (("Arguments", False), ("Options", True)):
        actions = [
            one
            for one in parser._actions
            if bool(one.option_strings) is wanted and not isinstance(one, argparse._SubParsersAction)
        ]
        if actions:
            text += heading(title, "-") + "\n" + "\n".join(map(_option, actions)) + "\n"
    return text


def _option(action: argparse.Action) -> str:
    """Returns an argument or an option with its meaning."""
    takes = action.metavar or ("" if action.nargs == 0 else "{" + ",".join(map(str, action.choices or ())) + "}")
    takes = takes if isinstance(takes, str) else " ".join(takes)
    if action.nargs == "+":
        takes += " ..."
    if isinstance(action, argparse.BooleanOptionalAction):
        takes = ""
    names = ", ".join(f"{one} {takes}".strip() for one in action.option_strings) or takes
    meaning = (action.help or "").replace("%%", "%")
    return f".. option:: {names}\n\n   {prose(meaning[:1].upper() + meaning[1:])}.\n"


# Settings


class Setting(NamedTuple):
    """A setting as its page shows it."""

    name: str
    kind: str
    default: str
    range: str
    meaning: str


def setting_pages() -> Iterator[tuple[str, str]]:
    """Yields the name and the text of the page of each section of settings, and of one that lists them."""
    sections = {
        one.name: typing.get_type_hints(settings.Config)[one.name] for one in dataclasses.fields(settings.Config)
    }
    for section, kind in sections.items():
        text = heading(f"Settings: {section}") + "\n" + prose_of_docstring(kind) + "\n\n"
        for one in settings_of(section, kind):
            text += f".. confval:: {one.name}\n   :type: {one.kind}\n   :default: ``{one.default}``\n\n"
            text += f"   {prose(one.meaning)}\n\n" + (f"   Range: {one.range}.\n\n" if one.range else "")
        yield f"settings/{section}.rst", text
    intro = prose(" ".join((inspect.getdoc(settings) or "").partition("\n\n")[2].split()))
    table = "".join(
        f"* :doc:`{section}`: {prose_of_docstring(kind).partition('. ')[0].rstrip('.')}.\n"
        for section, kind in sections.items()
    )
    how = "A setting is changed by ``--set section.key=value``, in Python by ``config.override([...])``."
    yield (
        "settings/index.rst",
        f"{heading('Settings')}\n{how}\n{intro}\n\n{table}\n"
        + contents(sections).replace(":maxdepth: 1", ":hidden:"),
    )


def prose_of_docstring(thing: Any) -> str:
    """Returns a docstring in one paragraph."""
    return prose(" ".join((inspect.getdoc(thing) or "").split()))


def settings_of(section: str, kind: type) -> list[Setting]:
    """Returns the settings of a section; a comment beside or above a field is its meaning."""
    hints, meanings = typing.get_type_hints(kind), comments_of(kind)
    found = []
    for one in dataclasses.fields(kind):
        default = json.dumps(list(one.default) if isinstance(one.default, tuple) else one.default)
        path = f"{section}.{one.name}"
        meaning = meanings.get(one.name, "")
        meaning = meaning[:1].upper() + meaning[1:]
        meaning += "" if meaning.endswith(".") else "."
        found.append(Setting(path, kind_in_words(hints[one.name]), default, range_in_words(one.metadata), meaning))
    return found


def comments_of(kind: type) -> dict[str, str]:
    """Returns the comments of the fields of a dataclass: those above a field, then that at the end of its line."""
    source = textwrap.dedent(inspect.getsource(kind))
    comments = {
        token.start[0]: (token.string.lstrip("# "), token.line.strip().startswith("#"))
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    (definition,) = ast.parse(source).body
    found = {}
    for node in definition.body:  # type: ignore[attr-defined]
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            first, said = node.lineno, []
            while first - 1 in comments and comments[first - 1][1]:
                first -= 1
                said.insert(0, comments[first][0])
            if node.end_lineno in comments:
                said.append(comments[node.end_lineno][0])
            found[node.target.id] = " ".join(said)
    return found


def kind_in_words(hint: Any) -> str:
    """Returns the type of a setting in words."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(f"``{argument}``" for argument in arguments)
    if origin is tuple:
        return "list of whole numbers"
    if origin in (types.UnionType, typing.Union):
        return ", or ".join(map(kind_in_words, arguments))
    words = {int: "whole number", float: "number", bool: "true or false", str: "text", type(None): "null"}
    return words[hint]


def range_in_words(bounds: Any) -> str:
    """Returns the range of a number in words; empty without one."""
    if not bounds:
        return ""
    least = f"above {bounds['least']}" if bounds.get("above_zero") else f"{bounds['least']} or more"
    most = bounds["most"]
    return least if most >= 1e30 else f"{least}, up to {most:,}"


# Public names


def name_pages() -> Iterator[tuple[str, str]]:
    """Yields the name and the text of the page of each room, of the package and of those of single files."""
    exported = names_of(wsis_jax)
    rooms = [name for name, one in exported.items() if inspect.ismodule(one.value)]
    lists = {room: names_of(getattr(wsis_jax, room)) for room in rooms}
    top = {name: one for name, one in exported.items() if name not in rooms}
    yield "api/wsis_jax.rst", room_page("wsis_jax", top, {})
    for room, names in lists.items():
        yield f"api/{room}.rst", room_page(f"wsis_jax.{room}", names, top)
    text = heading("Python") + "\n``import wsis_jax`` has what most programs need; the rest is by room "
    text += "(:doc:`/architecture`).\n\n" + contents(["wsis_jax", *rooms])
    yield "api/index.rst", text


class Exported(NamedTuple):
    """A public name: what it stands for, and the module that defines it."""

    value: Any
    module: str


def names_of(package: types.ModuleType) -> dict[str, Exported]:
    """Returns what a module exports: what its stub lists, or, of a single file, what it defines."""
    path = Path(package.__file__ or "")
    found = {}
    if path.name == "__init__.py":
        for node in ast.parse(path.with_suffix(".pyi").read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    name = alias.asname or alias.name
                    module = f"{package.__name__}.{node.module}" if node.module else package.__name__
                    found[name] = Exported(getattr(package, name), module)
        return found
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        names = [node.name] if isinstance(node, ast.FunctionDef | ast.ClassDef) else []
        if isinstance(node, ast.Assign):
            names = [name.id for one in node.targets for name in ast.walk(one) if isinstance(name, ast.Name)]
        for name in names:
            if not name.startswith("_"):
                found[name] = Exported(getattr(package, name), package.__name__)
    return found


def room_page(module: str, names: dict[str, Exported], elsewhere: dict[str, Exported]) -> str:
    """Returns the page of a module: its docstring, then what it exports, by the file that defines it."""
    text = heading(module) + f"\n.. automodule:: {module}\n   :no-members:\n\n"
    files = dict.fromkeys(one.module for one in names.values())
    for file in files:
        if len(files) > 1 and module != "wsis_jax":
            text += heading(file.rpartition(".")[2], "-") + "\n" + summary_of(file) + "\n\n"
        for name, one in names.items():
            if one.module == file:
                text += entry(module, name, one, elsewhere) + "\n"
    return text


def summary_of(module: str) -> str:
    """Returns the first paragraph of the docstring of a module."""
    text = (inspect.getdoc(__import__(module, fromlist=["_"])) or "").partition("\n\n")[0]
    return re.sub(r"(?<![`\w])`([^`]+)`", r"``\1``", text)


def entry(module: str, name: str, one: Exported, elsewhere: dict[str, Exported]) -> str:
    """Returns the entry of a public name on the page of its module."""
    kind = "class" if inspect.isclass(one.value) else "function" if is_function(one.value) else "data"
    if kind == "data" or "[" in getattr(one.value, "__name__", ""):  # a type of arrays is not a class of ours
        return (
            f".. py:data:: {name}\n   :module: {module}\n\n{textwrap.indent(said_of(one.module, name), '   ')}\n"
        )
    same = elsewhere.get(name)
    if same is not None and same.value is one.value:
        role = "class" if kind == "class" else "func"
        return f".. py:{kind}:: {name}\n   :module: {module}\n\n   The same as :py:{role}:`wsis_jax.{name}`.\n"
    return f".. auto{kind}:: {module}.{name}\n"


def is_function(value: Any) -> bool:
    """Tells whether a value is a function, or one that JAX wraps."""
    return inspect.isroutine(value) or hasattr(value, "__wrapped__")


def said_of(module: str, name: str) -> str:
    """Returns what the source says of a constant: the docstring after it, or the comment beside or above it."""
    analyzer = ModuleAnalyzer.for_module(module)
    analyzer.analyze()
    said = analyzer.attr_docs.get(("", name))
    if said is None:
        lines = analyzer.code.splitlines()
        at = next(index for index, line in enumerate(lines) if re.match(rf"(?:\w+, )*{name}\b.*=", line))
        beside = re.search(r"  # (.*)$", lines[at])
        above = []
        while at > 0 and lines[at - 1].startswith("# "):
            at -= 1
            above.insert(0, lines[at].removeprefix("# "))
        said = [*above, *([beside[1]] if beside else [])]
    text = "\n".join(said).strip()
    return re.sub(r"(?<![`\w])`([^`]+)`", r"``\1``", text[:1].upper() + text[1:]) + (
        "" if text.endswith(".") else "."
    )


def setup(app: Sphinx) -> ExtensionMetadata:
    """Writes the pages before Sphinx looks for pages."""
    app.connect("builder-inited", write_pages)
    app.connect("source-read", relink)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
