"""The files for deployment that test_hosts.py can't run: what of them can be checked is."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.environment import ROOT, environment
from tests.support.nginx import Front, running_nginx
from tests.system.example.client import Client, log_in
from tests.system.example.hosts import DEPLOY, directive, replaced, variables
from tests.system.example.server import Server


def test_the_units_are_valid(tmp_path: Path):
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("no systemd here")
    command = directive("chat.service", "ExecStart")
    # It looks for the program too.
    changes = {command: f"{sys.executable} -m {command.partition('bin/')[2]}"}
    changes["/srv/chat"] = str(ROOT)
    changes["/etc/chat.env"] = str(DEPLOY / "chat.env")
    units = [tmp_path / "chat.service", tmp_path / "chat.socket"]
    units[0].write_text(replaced("chat.service", changes))
    units[1].write_text((DEPLOY / "chat.socket").read_text())
    done = subprocess.run(
        [analyze, "verify", "--man=no", *units],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    complaints = [line for line in done.stderr.splitlines() if "chat." in line]
    assert complaints == []


def test_the_service_gives_gunicorn_time_to_end():
    timeout = int(directive("chat.service", "TimeoutStopSec"))
    (graceful,) = re.findall(
        r"^graceful_timeout = (\d+)$", (DEPLOY / "gunicorn.conf.py").read_text(), re.MULTILINE
    )
    assert int(graceful) < timeout


def test_every_variable_is_read_by_something():
    sources = "".join(path.read_text() for path in (ROOT / "example").rglob("*.py"))
    sources += (ROOT / "docs" / "deployment.rst").read_text()  # FORWARDED_ALLOW_IPS
    assert [name for name in variables() if name not in sources] == []


def instructions(name: str) -> list[str]:
    text = (DEPLOY / "Dockerfile").read_text()
    return re.findall(rf"^{name} (.+)$", text, re.MULTILINE)


def test_the_container_runs_what_the_service_runs():
    (command,) = map(json.loads, instructions("CMD"))
    _, *arguments = shlex.split(directive("chat.service", "ExecStart"))
    assert command == ["gunicorn", *arguments]
    (folder,) = instructions("WORKDIR")
    assert folder == directive("chat.service", "WorkingDirectory")


def test_the_container_installs_what_there_is_and_collects_static_files(tmp_path: Path):
    install, collect = instructions("RUN")
    (extra,) = re.findall(r'"\.\[(\w+)\]"', install)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {
        re.split(r"\W", requirement)[0] for requirement in project["optional-dependencies"][extra]
    }
    assert names == {"gunicorn", "psycopg", "redis", "uvloop"}
    # The image's own variables, but for the folder, which isn't there outside of it.
    (variables,) = instructions("ENV")
    environ = dict(item.split("=", 1) for item in variables.split())
    environ["EXAMPLE_STATIC_ROOT"] = str(tmp_path)
    program, *arguments = collect.split()
    assert program == "python"
    subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment(**environ),
        check=True,
        stdout=subprocess.DEVNULL,
    )
    assert (tmp_path / "chat" / "room.js").exists()


async def test_under_a_prefix_behind_nginx(
    embedded: Server, make_client: Callable[[Server], Client], tmp_path: Path
):
    """The site under /site/ of another site's nginx."""
    static = tmp_path / "static"
    (static / "chat").mkdir(parents=True)
    (static / "chat" / "room.js").write_text("// from nginx")
    changes = {"127.0.0.1:8000": f"127.0.0.1:{embedded.port}", "/srv/chat/static/": f"{static}/"}
    config = replaced("nginx-prefix.conf", changes) + "location / { return 204; }"
    with running_nginx(tmp_path, {"front": Front(config)}) as nginx:
        client = make_client(embedded)
        async with client.get(nginx.url("front")) as answer:
            assert answer.status == 204
        async with client.get(f"{nginx.url('front')}/site/static/chat/room.js") as answer:
            assert await answer.text() == "// from nginx"
        await log_in(client, f"{nginx.url('front')}/site")
        async with client.get(f"{nginx.url('front')}/site/rooms/lobby/") as answer:
            page = await answer.text()
        assert 'data-user="admin"' in page
        (path,) = re.findall('data-socket="([^"]+)"', page)
        assert path == "/site/rooms/lobby/socket/"
        headers = {"Origin": nginx.url("front")}
        async with client.ws_connect(f"{nginx.url('front')}{path}", headers=headers) as socket:
            assert (await socket.receive_json())["people"] == ["admin"]
