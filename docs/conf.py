"""Settings of Sphinx for this site: `sphinx-build -W --keep-going docs build/site` makes it."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "wsis_jax"
author = "the wsis_jax authors"
version = release = version_of("wsis-jax")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_design",
    "mathml",
    "docstrings",
    "generated_pages",
]
exclude_patterns = ["_ext", "**.ipynb_checkpoints"]
# A name that both a room and the package export has two pages.
suppress_warnings = ["ref.python"]

# Markdown, and notebooks, which are run when the site is built: their outputs are not kept in git.
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_timeout = -1  # a slow computer is not a failure
nb_execution_raise_on_error = True
nb_merge_streams = True

# Docstrings are of Google's style, and write code between single backticks.
default_role = "code"
smartquotes = False  # --option stays what it is
highlight_language = "none"  # what has no language is a line for a terminal, or what one shows
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
autodoc_class_signature = "mixed"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False
napoleon_use_rtype = False
python_maximum_signature_line_length = 80
toc_object_entries_show_parents = "hide"

html_math_renderer = "mathml"
html_theme = "furo"
html_title = f"wsis_jax {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
