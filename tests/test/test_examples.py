"""The tests in the documentation, of docs/library, run as it says; and some on other databases."""

import os
import re
import subprocess
import sys

import pytest

from tests.conftest import require
from tests.support.environment import ROOT, environment
from tests.support.postgres import postgres  # noqa: F401
from tests.support.waiting import DEADLINE

LIBRARY = ROOT / "docs" / "library"
PLAIN = ["tests/test_client.py", "tests/test_live.py"]


def run(*command, cwd=LIBRARY, **variables):
    """Run a Python command; return its output, or fail with it."""
    path = os.pathsep.join([str(ROOT), variables.pop("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-W", "error", *command],
        cwd=cwd,
        env=environment(PYTHONPATH=path, PYTHONDONTWRITEBYTECODE="1", **variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def number_of_tests(*files):
    return sum(len(re.findall(r"def test_", (LIBRARY / file).read_text())) for file in files)


def test_djangos_runner_in_processes():
    names = [file.removesuffix(".py").replace("/", ".") for file in PLAIN]
    output = run("manage.py", "test", "--parallel=2", *names)
    assert f"Ran {number_of_tests(*PLAIN)} tests" in output


def test_pytest_on_postgresql(postgres, tmp_path):  # noqa: F811
    """Where all connections have to be closed before the database can be destroyed."""
    text = f"from library.settings import *\nDATABASES = {{'default': {postgres.database()!r}}}\n"
    text += "DATABASES['default']['CONN_MAX_AGE'] = None\n"
    (tmp_path / "postgres_settings.py").write_text(text)
    files = [*PLAIN, "tests/test_fixtures.py", "tests/test_application.py"]
    output = run(
        *["-m", "pytest", "-p", "pytest_aiodjango", "-p", "no:cacheprovider"],
        *["--ds=postgres_settings", *files],
        PYTHONPATH=str(tmp_path),
    )
    assert f"{number_of_tests(*files)} passed in" in output


def test_a_database_in_memory():
    files = ["test_testcase.py", "test_liveserver.py"]
    output = run(
        *["-m", "pytest", "-p", "no:cacheprovider", "--ds=tests.test.memory_settings"],
        *[f"tests/test/{file}" for file in files],
        cwd=ROOT,
    )
    assert " passed in" in output


@pytest.mark.browser
def test_browser():
    require(module="playwright")
    output = run("manage.py", "test", "tests.test_pages", CHROMIUM=require(program="chromium"))
    assert "Ran 1 test" in output
