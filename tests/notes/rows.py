"""The rows of the page "When it does not work": what a reader sees first."""

import re

from tests.support.environment import ROOT

PAGE = ROOT / "docs" / "troubleshooting.rst"


def rows():
    return re.findall(r"^   \* - ``(.+?)``$", PAGE.read_text(), re.MULTILINE)


def seen(text):
    """A row of the page, for a test that makes it appear."""
    if text not in rows():
        raise LookupError(f"no row of {PAGE.name} begins with {text!r}")
    return text
