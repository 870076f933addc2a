"""Shows signatures as the source writes them, and blocks of code in docstrings as code."""

import ast
import inspect
import re
import textwrap
from dataclasses import is_dataclass
from typing import Any

from sphinx.application import Sphinx

# Sections are not paragraphs that code follows.
_SECTION = re.compile(r"^\s*(Args|Arguments|Attributes|Returns|Raises|Yields|Note|Example|Examples):$")


def mark_code(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Makes blocks of code, which are indented after a colon, literal blocks of reStructuredText."""
    for index, line in enumerate(lines[:-2]):
        indent = len(line) - len(line.lstrip())
        below = next((other for other in lines[index + 2 :] if other.strip()), "")
        is_deeper = len(below) - len(below.lstrip()) >= indent + 4
        if not lines[index + 1].strip() and is_deeper and line.endswith(":") and not _SECTION.match(line):
            lines[index] = line + ":"


def definition_of(thing: Any) -> ast.FunctionDef | ast.ClassDef | None:
    """Returns the definition of a function or a class as it is written; None where there is no source."""
    thing = inspect.unwrap(thing)
    if not (inspect.isroutine(thing) or inspect.isclass(thing)):
        return None
    try:
        definition = ast.parse(textwrap.dedent(inspect.getsource(thing))).body[0]
    except (OSError, TypeError, SyntaxError):
        return None
    return definition if isinstance(definition, ast.FunctionDef | ast.ClassDef) else None


def fields_of(definition: ast.ClassDef) -> str:
    """Returns the fields of a dataclass or named tuple as the arguments that make one."""
    fields = []
    for node in definition.body:
        if isinstance(node, ast.AnnAssign):
            default = node.value
            if isinstance(default, ast.Call):  # of `field`, or of `number` in `config.py`
                default = default.args[0] if default.args else ast.Constant(...)
            fields.append(
                f"{ast.unparse(node.target)}: {ast.unparse(node.annotation)}"
                + ("" if default is None else f" = {ast.unparse(default)}")
            )
    return f"({', '.join(fields)})"


def write_signature(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str, str] | None:
    """Returns signature and returned type as the source has them: shapes of arrays stay as short as there."""
    definition = definition_of(thing)
    if isinstance(definition, ast.ClassDef):
        inits = [one for one in definition.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"]
        if not inits:
            return (fields_of(definition), "") if hasattr(thing, "_fields") or is_dataclass(thing) else None
        definition = inits[0]
    if definition is None:
        return None
    arguments = definition.args
    for some in (arguments.posonlyargs, arguments.args):
        if some and some[0].arg in ("self", "cls"):
            del some[0]
            break
    kept = ast.unparse(definition.returns) if definition.returns and what != "class" else ""
    return f"({ast.unparse(arguments)})", kept.strip("'")


def leave_out_fields(app: Sphinx, what: str, name: str, thing: Any, skip: bool, options: Any) -> bool | None:
    """Leaves out the fields of named tuples, which the docstring of the class tells, and what is not ours."""
    is_ours = str(getattr(thing, "__module__", None) or "wsis_jax").startswith("wsis_jax")
    return True if type(thing).__name__ == "_tuplegetter" or (callable(thing) and not is_ours) else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Connects to autodoc, and comes before napoleon, which reads what is left."""
    app.connect("autodoc-process-docstring", mark_code, priority=400)
    app.connect("autodoc-process-signature", write_signature)
    app.connect("autodoc-skip-member", leave_out_fields)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
