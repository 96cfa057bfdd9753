"""The documentation: `make docs`, with warnings as errors."""

import re
from pathlib import Path

project = "aiodjango"
author = "aiodjango contributors"
copyright = f"2026, {author}"
# Read, not imported: the documentation must not need the package's dependencies to be titled.
_package = Path(__file__).parents[1] / "aiodjango" / "__init__.py"
release = re.search(r'^__version__ = "(.+)"', _package.read_text(), re.MULTILINE)[1]
version = release

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build", "**/.pytest_cache"]
# Docstrings have names and code in single backticks.
default_role = "code"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
highlight_language = "python"

html_theme = "furo"
html_title = f"aiodjango {release}"
html_static_path = ["_static"]
html_css_files = ["aiodjango.css"]
# Both have a contrast of at least 4.5 to 1.
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"


def setup(app):
    app.connect("autodoc-process-docstring", mark_parameters)


def mark_parameters(app, what, name, obj, options, lines):
    """Make fields of the lines `name: meaning, unit` with which our docstrings tell parameters."""
    is_list = False
    for number, line in enumerate(lines):
        if re.match(r"[a-z_]+: ", line) and (is_list or not number or not lines[number - 1]):
            lines[number] = f":param {line}"
            is_list = True
        elif is_list and line:
            lines[number] = f"    {line}"
        else:
            is_list = False
