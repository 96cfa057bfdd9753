"""What the documentation says of options is what they are."""

import inspect
import re
from pathlib import Path

from aiodjango.gateway import Gateway

UNITS = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
ROOT = Path(__file__).parents[1]


def documented_defaults():
    page = (ROOT / "docs" / "fallback.rst").read_text()
    rows = re.findall(r"^   \* - ``(\w+)``\n     - (.+)\n", page, re.MULTILINE)
    return {name: as_number(text) for name, text in rows}


def as_number(text):
    number, _, unit = text.partition(" ")
    return int(number) * UNITS.get(unit, 1) if number.isdecimal() else text


def test_every_option_of_the_fallback_is_documented_with_its_default():
    parameters = list(inspect.signature(Gateway).parameters.values())[1:]
    defaults = {parameter.name: parameter.default for parameter in parameters}
    del defaults["at_thread_end"]  # the fallback's own
    documented = documented_defaults()
    assert documented.pop("forwarded_allow_ips") == "``$FORWARDED_ALLOW_IPS`` or ``127.0.0.1,::1``"
    assert defaults.pop("forwarded_allow_ips") is None
    assert documented == defaults


def test_the_checks_that_exist_are_the_documented_ones():
    source = "".join(path.read_text() for path in (ROOT / "aiodjango").rglob("*.py"))
    existing = re.findall(r'id="(aiodjango\.[EW]\d{3})"', source)
    page = (ROOT / "docs" / "checks.rst").read_text()
    assert sorted(existing) == re.findall(r"``(aiodjango\.[EW]\d{3})``", page)
