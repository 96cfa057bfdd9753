"""The servers that are compared, and how each is started: one process, as many threads each.

Logs are off; connections are kept alive where the server can do that. $BENCHMARK_PYTHON may name
another interpreter, for example one with a GIL: aiodjango on it is one more peer, "other".
"""

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from string import Template

from benchmarks.harness import SERVER_CORE, Server, free_port, running_command

THREADS = 8
ENTRY = "benchmarks.project.entry"
NGINX = """\
daemon off;
worker_processes 1;
pid $folder/nginx.pid;
error_log stderr;
user root;
events { worker_connections 1024; }
http {
    access_log off;
    sendfile on;
    default_type text/plain;
    client_body_temp_path $folder/nginx;
    proxy_temp_path $folder/nginx;
    fastcgi_temp_path $folder/nginx;
    uwsgi_temp_path $folder/nginx;
    scgi_temp_path $folder/nginx;
    server {
        listen 127.0.0.1:$port;
        location /file/ { alias $folder/; }
    }
}
"""


@dataclass(frozen=True)
class Setting:
    """What all servers share.

    loop: the event loop of those that run on aiohttp. workers: processes under a master; 0 for
    one process without a master, where a server can do that.
    """

    folder: Path
    environ: Mapping[str, str]
    loop: str
    workers: int = 0


@dataclass(frozen=True)
class Peer:
    """kind: whose views it serves; "aiodjango", "wsgi", "asgi", "aiohttp" or "files".

    needs: modules, by their import names. command: from the port and the setting.
    scales: whether it can have several workers.
    """

    title: str
    kind: str
    needs: tuple[str, ...]
    command: Callable[[int, Setting], list[str]]
    scales: bool = False

    def missing_part(self) -> str | None:
        """What keeps it from being started here, if anything does."""
        missing = [module for module in self.needs if find_spec(module) is None]
        if missing:
            return f"{', '.join(missing)} is not installed"
        if self.kind == "files" and shutil.which("nginx") is None:
            return "nginx is not installed"
        return None


def module(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", name, *arguments]


def on_aiohttp(name: str) -> Callable[[int, Setting], list[str]]:
    return lambda port, setting: module("benchmarks.project.serve", name, str(port), setting.loop)


def ours(loop: str = "") -> Callable[[int, Setting], list[str]]:
    """loop: of this server, whatever the setting has."""

    def command(port: int, setting: Setting) -> list[str]:
        uses = loop or setting.loop
        if not setting.workers:
            return module("benchmarks.project.serve", "aiodjango", str(port), uses)
        worker = "GunicornUVLoopWorker" if uses == "uvloop" else "GunicornWorker"
        serve = gunicorn(f"--worker-class=aiodjango.worker.{worker}", factory="aio")
        return serve(port, setting)

    return command


def on_python(
    interpreter: str, command: Callable[[int, Setting], list[str]]
) -> Callable[[int, Setting], list[str]]:
    return lambda port, setting: [interpreter, *command(port, setting)[1:]]


def gunicorn(*arguments: str, factory: str = "wsgi") -> Callable[[int, Setting], list[str]]:
    def command(port: int, setting: Setting) -> list[str]:
        options = [f"--workers={setting.workers or 1}", f"--bind=127.0.0.1:{port}"]
        options += ["--log-level=error", "--no-control-socket", "--keep-alive=75", *arguments]
        return module("gunicorn", *options, f"{ENTRY}:{factory}()")

    return command


def waitress(port: int, setting: Setting) -> list[str]:
    options = [f"--listen=127.0.0.1:{port}", f"--threads={THREADS}", "--call"]
    return module("waitress", *options, f"{ENTRY}:wsgi")


def uvicorn(factory: str) -> Callable[[int, Setting], list[str]]:
    def command(port: int, setting: Setting) -> list[str]:
        options = [f"--port={port}", "--no-access-log", "--log-level=error", "--lifespan=off"]
        options += [f"--workers={setting.workers}"] if setting.workers > 1 else []
        return module("uvicorn", *options, "--factory", f"{ENTRY}:{factory}")

    return command


def granian(port: int, setting: Setting) -> list[str]:
    options = ["--interface=wsgi", "--http=1", f"--port={port}"]
    options += [f"--workers={setting.workers or 1}"]
    options += [f"--blocking-threads={THREADS}", "--no-ws", "--no-access-log", "--log-level=error"]
    return module("granian", *options, "--factory", f"{ENTRY}:wsgi")


def daphne(port: int, setting: Setting) -> list[str]:
    return module("daphne", f"--port={port}", "--verbosity=0", f"{ENTRY}:asgi_application")


def nginx(port: int, setting: Setting) -> list[str]:
    configuration = setting.folder / "nginx.conf"
    configuration.write_text(
        Template(NGINX).substitute(folder=setting.folder, port=port), encoding="utf-8"
    )
    return ["nginx", "-c", str(configuration), "-e", "stderr"]


OURS = "aiodjango"
PEERS = {
    OURS: Peer("aiodjango", "aiodjango", (), ours(), scales=True),
    "uvloop": Peer("aiodjango, uvloop", "aiodjango", ("uvloop",), ours("uvloop"), scales=True),
    "limit": Peer("Django on the loop", "loop", (), on_aiohttp("limit")),
    "gthread": Peer(
        "gunicorn gthread",
        "wsgi",
        ("gunicorn",),
        gunicorn("--worker-class=gthread", f"--threads={THREADS}"),
        scales=True,
    ),
    "sync": Peer(
        "gunicorn sync", "wsgi", ("gunicorn",), gunicorn("--worker-class=sync"), scales=True
    ),
    "waitress": Peer("waitress", "wsgi", ("waitress",), waitress),
    "a2wsgi": Peer("uvicorn, a2wsgi", "wsgi", ("uvicorn", "a2wsgi"), uvicorn("a2wsgi")),
    "aiohttp-wsgi": Peer("aiohttp-wsgi", "wsgi", ("aiohttp_wsgi",), on_aiohttp("aiohttp-wsgi")),
    "granian": Peer("granian", "wsgi", ("granian",), granian, scales=True),
    "asgi": Peer("uvicorn, Django's ASGI", "asgi", ("uvicorn",), uvicorn("asgi"), scales=True),
    "daphne": Peer("daphne, Django's ASGI", "asgi", ("daphne",), daphne),
    "aiohttp": Peer("bare aiohttp", "aiohttp", (), on_aiohttp("aiohttp")),
    "nginx": Peer("nginx", "files", (), nginx),
}

if other := os.environ.get("BENCHMARK_PYTHON"):
    PEERS["other"] = Peer("aiodjango, other Python", "aiodjango", (), on_python(other, ours()))


@contextmanager
def running(peer: Peer, setting: Setting, *, pinned: bool = True) -> Iterator[Server]:
    """Start a peer; end it."""
    port = free_port()
    command = peer.command(port, setting)
    environ = {
        **setting.environ,
        "BENCHMARK_THREADS": str(THREADS),
        "BENCHMARK_CONNECTIONS": "pooled" if peer.kind == "asgi" else "kept",
    }
    with running_command(command, port, SERVER_CORE if pinned else None, environ) as server:
        yield server
