"""The first screen of README and documentation: files, commands, and what they print."""

import re
import shlex
import subprocess
import sys

import pytest

from tests.conftest import require
from tests.support.environment import ROOT, environment
from tests.support.server import run, serve, until
from tests.support.waiting import DEADLINE

HELLO = ROOT / "docs" / "hello"
BLOCKS = re.findall(r"^```\w*\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)


def shown(path):
    """The file's text, as the README shows it: under a comment with its name, if it is code."""
    text = (HELLO / path).read_text()
    return f"# {path}\n{text}" if path.endswith(".py") else text


def session():
    """The console session: [(command, what it printed), …]."""
    parts = re.split(r"^\$ ", (HELLO / "session.txt").read_text(), flags=re.M)
    return [tuple(part.partition("\n")[::2]) for part in parts[1:]]


def same(printed, documented):
    """Equal but for the number of the worker thread, which depends on what ran before."""
    return re.sub(r"\d+", "N", printed) == re.sub(r"\d+", "N", documented)


@pytest.mark.parametrize("path", ["hello/urls.py", "session.txt", "hello/wsgi.py", "gunicorn.txt"])
def test_readme_shows_the_files_that_are_tested(path):
    assert shown(path) in BLOCKS


async def visit(client):
    """Make the session's requests; give each answer beside the documented one."""
    pairs = []
    for command, documented in session()[1:]:
        url = shlex.split(command)[1]
        async with client.get(url.removeprefix("http://127.0.0.1:8000")) as response:
            assert response.status == 200
            pairs.append((await response.text(), documented))
    assert len(pairs) == 2
    return pairs


async def test_runserver_prints_what_the_readme_says(tmp_path):
    command = shlex.split(session()[0][0])
    assert command[0] == "python"
    command += ["127.0.0.1:0"]
    with run(command[1:], 0, tmp_path / "log", cwd=HELLO, settings="hello.settings") as server:
        banner = await until(lambda: re.search(r"http://127\.0\.0\.1:(\d+)/", server.output()))
        server.address = int(banner[1])
        async with server.client() as client:
            for printed, documented in await visit(client):
                assert same(printed, documented)


async def test_gunicorn_command_works(tmp_path):
    require(module="gunicorn")
    command = shlex.split((HELLO / "gunicorn.txt").read_text().removeprefix("$ "))
    command = ["-m", *command, "--bind=fd://{fd}", "--no-control-socket"]
    with serve(command, tmp_path / "log", cwd=HELLO, settings="hello.settings") as server:
        async with server.client() as client:
            for printed, documented in await visit(client):
                # The threads have other names here; which half answers is the same.
                assert printed.partition(",")[0] == documented.partition(",")[0]


@pytest.mark.parametrize("target", ["demo", "test"])
def test_the_two_commands_exist(target):
    """make itself says what it would do, without doing it."""
    require(program="make")
    assert f"make {target}" in (ROOT / "README.md").read_text()
    done = subprocess.run(
        ["make", "--dry-run", target, f"PYTHON={sys.executable}"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert done.returncode == 0, done.stderr
