"""How Sphinx builds these pages: `sphinx-build -W docs build/html`."""

from __future__ import annotations

import wkmeans

project = "wkmeans"
copyright = "the wkmeans developers"
version = release = wkmeans.__version__

extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.autosummary"]
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"wkmeans {release}"

autodoc_typehints = "none"  # the docstrings give shapes and dtypes, which hints cannot
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
