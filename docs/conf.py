"""How Sphinx makes a site of these documents: `make docs`."""

import sys
from pathlib import Path

import pointrend_jax

sys.path.append(str(Path(__file__).parent / "_ext"))

project = "pointrend_jax"
author = "The pointrend_jax authors"
project_copyright = f"{author}, Apache-2.0"
release = pointrend_jax.__version__
html_title = f"pointrend_jax {release}"

extensions = [
    "myst_parser",  # the documents are Markdown, so that they read as well without a site
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.linkcode",
    "sphinx_copybutton",
    "docstrings",
    "source_pages",
]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
html_theme = "furo"
# What names no language is the output of a command.
highlight_language = "none"

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4

# Docstrings mark code as Markdown does.
default_role = "code"
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
# Prose, which is not parsed as types and names of errors.
napoleon_custom_sections = ["Example", "Returns", "Raises", "Source", "Args and errors"]
napoleon_use_rtype = False
napoleon_use_ivar = True
maximum_signature_line_length = 80
