"""The first screen of README and documentation: files, commands, and what they print."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import require
from tests.support.environment import ROOT, environment
from tests.support.server import run, serve, until
from tests.support.waiting import DEADLINE

HELLO = ROOT / "docs" / "hello"
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```\w*\n(.*?)^```$", README, re.M | re.S)
COMMENTS = {".py": "# {}\n", ".html": "<!-- {} -->\n", ".txt": ""}


def shown(path):
    """The file's text, as the README shows it: under a comment with its name, if it is code."""
    comment = COMMENTS[Path(path).suffix].format(path)
    return comment + (HELLO / path).read_text()


PATHS = [
    "hello/urls.py",
    "hello/templates/page.html",
    "session.txt",
    "hello/wsgi.py",
    "gunicorn.txt",
]


@pytest.mark.parametrize("path", PATHS)
def test_readme_shows_the_files_that_are_tested(path):
    assert shown(path) in BLOCKS


async def two_windows_talk(server):
    async with server.client() as client:
        async with client.get("/") as response:
            assert response.status == 200
            assert await response.text() == (HELLO / "hello/templates/page.html").read_text()
        async with client.ws_connect("/live/") as one, client.ws_connect("/live/") as other:
            await one.send_json("Hello")
            assert await one.receive_json() == "Hello"
            assert await other.receive_json() == "Hello"


async def test_runserver_does_what_the_readme_says(tmp_path):
    command = shlex.split((HELLO / "session.txt").read_text().removeprefix("$ "))
    assert command[0] == "python"
    command += ["127.0.0.1:0"]
    with run(command[1:], 0, tmp_path / "log", cwd=HELLO, settings="hello.settings") as server:
        banner = await until(lambda: re.search(r"http://127\.0\.0\.1:(\d+)/", server.output()))
        server.address = int(banner[1])
        await two_windows_talk(server)


async def test_gunicorn_command_works(tmp_path):
    require(module="gunicorn")
    command = shlex.split((HELLO / "gunicorn.txt").read_text().removeprefix("$ "))
    command = ["-m", *command, "--bind=fd://{fd}", "--no-control-socket"]
    with serve(command, tmp_path / "log", cwd=HELLO, settings="hello.settings") as server:
        await two_windows_talk(server)


def test_links_lead_to_files():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    ours = [link for link in links if not link.startswith("http")]
    assert [link for link in ours if not (ROOT / link).exists()] == []


def test_the_picture_is_small():
    assert (ROOT / "docs" / "_static" / "chat.png").stat().st_size < 500_000


@pytest.mark.parametrize("target", ["demo", "test", "docs", "release"])
def test_the_commands_exist(target):
    """make itself says what it would do, without doing it."""
    require(program="make")
    assert f"make {target}" in README + (ROOT / "CONTRIBUTING.md").read_text()
    done = subprocess.run(
        ["make", "--dry-run", target, f"PYTHON={sys.executable}"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert done.returncode == 0, done.stderr
