"""Every row of the page "When it does not work" appears in a test of this folder."""

import re
from pathlib import Path

from .rows import rows

TESTS = Path(__file__).parent


def test_every_row_has_a_test():
    source = "".join(path.read_text() for path in TESTS.glob("test_*.py"))
    tested = re.findall(r"\bseen\(\s*[\"'](.+)[\"']\s*\)", source)
    assert sorted({text.replace('\\"', '"').replace("\\'", "'") for text in tested}) == sorted(
        rows()
    )
