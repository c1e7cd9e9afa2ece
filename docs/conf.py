"""The site's settings: ``make docs`` builds it from the pages beside this file, without the net."""

from __future__ import annotations

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "sats"
author = "the authors of sats"
version = release = version_of("sats")
exclude_patterns = ["_build", "_extensions"]

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "command_help",
    "exported",
    "mathml",
    "outside",
]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3  # as on GitHub: page.md#a-heading
highlight_language = "none"  # indented blocks are commands and folders
default_role = "py:obj"  # docstrings name things in single backticks

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
toc_object_entries_show_parents = "hide"
python_maximum_signature_line_length = 88

html_theme = "furo"
html_title = "sats"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True, "top_of_page_buttons": []}
