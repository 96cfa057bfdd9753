"""A machine that is set up to run everything fails what it cannot run."""

from pathlib import Path

import pytest

from tests import conftest

pytest_plugins = ["pytester"]

TESTS = """
import pytest
from tests.conftest import require

def test_program():
    require(program="a-program-that-nobody-has")

def test_module():
    require(module="a_module_that_nobody_has")

@pytest.fixture
def part():
    require(program="a-program-that-nobody-has")

def test_fixture(part):
    pass

@pytest.mark.skipif(True, reason="needs another machine")
def test_mark():
    pass

@pytest.mark.skip(reason="not now")
def test_other_reason():
    pass

@pytest.mark.xfail(reason="needs work", strict=True)
def test_known_failure():
    raise ValueError

def test_present():
    assert require(program="sh").endswith("/sh")
    assert require(module="pytest") == "pytest"
"""
MODULE = """
from tests.conftest import require
require(module="a_module_that_nobody_has")
"""


@pytest.mark.parametrize(
    ("ci", "outcomes"),
    [
        ("", {"passed": 1, "skipped": 6, "xfailed": 1}),
        ("true", {"passed": 1, "failed": 2, "errors": 3, "skipped": 1, "xfailed": 1}),
    ],
    ids=["elsewhere", "in CI"],
)
def test_skips_for_missing_parts(pytester, monkeypatch, ci, outcomes):
    monkeypatch.setenv("CI", ci)
    monkeypatch.delenv("QUICK", raising=False)
    pytester.makepyfile(test_parts=TESTS, test_module=MODULE)
    monkeypatch.setenv("PYTHONPATH", str(Path(conftest.__file__).parents[1]))
    # The plugins for asyncio and Django have nothing to do here; the hooks are loaded as a plugin.
    others = ["-pno:django", "-pno:asyncio", "-pno:aiohttp", "-pno:cacheprovider"]
    result = pytester.runpytest_subprocess(
        "-ptests.conftest", *others, "--continue-on-collection-errors"
    )
    result.assert_outcomes(**outcomes)
    if not ci:
        result.stdout.fnmatch_lines(
            "Skipped tests: 6. To run them: apt-get install a-program-that-nobody-has,"
            ' pip install -e ".[[]test,packages]". Others: needs another machine; not now.'
        )
    assert result.ret == (1 if ci else 0)


def test_skips_name_the_packages_to_install():
    reasons = ["needs the program nginx", "needs PostgreSQL", "needs the program chromium"]
    assert conftest.describe_skips([*reasons, *reasons]) == (
        "Skipped tests: 6. To run them: apt-get install chromium nginx-light postgresql."
    )
    assert conftest.describe_skips(["no systemd here"]) == (
        "Skipped tests: 1. Reasons: no systemd here."
    )


def test_what_a_quick_run_leaves_out_exists():
    here = Path(conftest.__file__).parent
    assert [name for name in conftest.NOT_QUICK if not (here / name).exists()] == []
