"""Formulas as MathML, which browsers draw themselves: pages need neither the network nor a script for them."""

from html import escape

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

_LOGGER = logging.getLogger(__name__)


def visit_inline(writer: HTML5Translator, node: nodes.math) -> None:
    """Writes a formula in a line."""
    writer.body.append(mathml_of(node, as_block=False))
    raise nodes.SkipNode


def visit_block(writer: HTML5Translator, node: nodes.math_block) -> None:
    """Writes a formula on a line of its own."""
    writer.body.append(f'<div class="formula">{mathml_of(node, as_block=True)}</div>')
    raise nodes.SkipNode


def mathml_of(node: nodes.Element, *, as_block: bool) -> str:
    """Returns a formula as MathML; one that is not understood is warned of, and shown as it is."""
    try:
        return tex2mathml(node.astext(), as_block=as_block)
    except MathError as error:
        _LOGGER.warning("formula %r: %s", node.astext(), error, location=node)
        return f"<code>{escape(node.astext())}</code>"


def setup(app: Sphinx) -> dict[str, bool]:
    """Makes this the way to write formulas."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
