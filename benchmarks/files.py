"""Static files beside whitenoise: python -m benchmarks.files

All serve the same folder, collected and compressed by whitenoise's storage, on one core, in turns;
wrk has another. whitenoise runs as its documentation has it for Django, as a middleware in
gunicorn with threads, and, where that is quicker, around the WSGI application. nginx is there to
show the limit. Ends with 1 when a goal was missed.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import Any
from wsgiref.types import WSGIApplication

from benchmarks.harness import (
    SERVER_CORE,
    Load,
    Server,
    check_machine,
    end_properly,
    free_port,
    running_command,
    take_turns,
)
from benchmarks.pairs import HEADER, Comparison, Result, Side

KIB = 1024
ROUNDS = 7
THREADS = 8
FOLDER = "BENCHMARK_FOLDER"  # of the environment: where `static` is
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
    tcp_nopush on;
    gzip_static on;
    types { text/css css; image/png png; application/octet-stream bin; }
    server {
        listen 127.0.0.1:$port;
        location /static/ { alias $folder/static/; }
    }
}
"""


def set_up_django(middleware: Sequence[str] = ()) -> None:
    import django
    from django.conf import settings

    storage = "whitenoise.storage.CompressedManifestStaticFilesStorage"
    folder = Path(os.environ[FOLDER])
    settings.configure(
        ALLOWED_HOSTS=["127.0.0.1"],
        ROOT_URLCONF="benchmarks.files",
        INSTALLED_APPS=["django.contrib.staticfiles"],
        MIDDLEWARE=list(middleware),
        SECRET_KEY="benchmark",
        STATIC_URL="/static/",
        STATIC_ROOT=folder / "static",
        STATICFILES_DIRS=[folder / "sources"],
        STORAGES={"staticfiles": {"BACKEND": storage}},
        LOGGING_CONFIG=None,
    )
    django.setup()


urlpatterns: list[Any] = []


def collect() -> None:
    """Make the files, and run collectstatic."""
    from django.core.management import call_command

    set_up_django()
    sources = Path(os.environ[FOLDER], "sources")
    sources.mkdir()
    rules = "".join(f".rule-{number} {{ margin: {number}px }}\n" for number in range(1000))
    (sources / "site.css").write_text(rules[: 10 * KIB])
    (sources / "photo.png").write_bytes(os.urandom(300 * KIB))
    (sources / "large.bin").write_bytes(os.urandom(10 * KIB * KIB))
    call_command("collectstatic", interactive=False, verbosity=0)


def middleware() -> WSGIApplication:
    """Django, with whitenoise's middleware."""
    from django.core.wsgi import get_wsgi_application

    set_up_django(["whitenoise.middleware.WhiteNoiseMiddleware"])
    return get_wsgi_application()


def wrapper() -> WSGIApplication:
    """whitenoise around Django."""
    from django.core.wsgi import get_wsgi_application
    from whitenoise import WhiteNoise

    set_up_django()
    root = Path(os.environ[FOLDER], "static")
    application: WSGIApplication = WhiteNoise(get_wsgi_application(), root, "static/")
    return application


def serve(port: int) -> None:
    from aiohttp import web

    from aiodjango import get_aio_application

    set_up_django()
    app = get_aio_application(include_static=True)
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None)


def on_gunicorn(factory: str) -> Callable[[int, Path], list[str]]:
    def command(port: int, folder: Path) -> list[str]:
        options = ["--workers=1", "--worker-class=gthread", f"--threads={THREADS}"]
        options += [f"--bind=127.0.0.1:{port}", "--keep-alive=75", "--log-level=error"]
        options += ["--no-control-socket", f"benchmarks.files:{factory}()"]
        return [sys.executable, "-m", "gunicorn", *options]

    return command


def on_aiohttp(port: int, folder: Path) -> list[str]:
    return [sys.executable, "-m", "benchmarks.files", "--serve", str(port)]


def nginx(port: int, folder: Path) -> list[str]:
    configuration = folder / "nginx.conf"
    configuration.write_text(Template(NGINX).substitute(folder=folder, port=port))
    return ["nginx", "-c", str(configuration), "-e", "stderr"]


OURS = "aiodjango"
SERVERS: dict[str, Callable[[int, Path], list[str]]] = {
    OURS: on_aiohttp,
    "whitenoise": on_gunicorn("middleware"),
    "whitenoise, WSGI": on_gunicorn("wrapper"),
    "nginx": nginx,
}
# What is to be reached of each; None where it is measured for information.
GOALS = {"whitenoise": 1.0, "whitenoise, WSGI": None, "nginx": None}


@dataclass(frozen=True)
class Row:
    """name: of the file, before it was hashed. headers: those of every request."""

    title: str
    name: str
    headers: tuple[tuple[str, str], ...] = ()
    connections: int = 32


ROWS = [
    Row("style sheet of 10 KiB", "site.css"),
    Row("style sheet, brotli", "site.css", (("Accept-Encoding", "gzip, deflate, br"),)),
    Row("style sheet, 304", "site.css", (("If-None-Match", "*"),)),
    Row("image of 300 KiB", "photo.png"),
    Row("file of 10 MiB, 1 connection", "large.bin", connections=1),
]


@contextmanager
def running(name: str, folder: Path) -> Iterator[Server]:
    port = free_port()
    command = SERVERS[name](port, folder)
    with running_command(command, port, SERVER_CORE, {FOLDER: str(folder)}) as server:
        yield server


def compare(row: Row, name: str, folder: Path, rounds: int, seconds: int) -> Result:
    """Measure ours and another server in turns."""
    stem, _, ending = row.name.partition(".")
    (file,) = (folder / "static").glob(f"{stem}.*.{ending}")
    path = f"/static/{file.name}"
    script = folder / "headers.lua"
    script.write_text("".join(f'wrk.headers["{key}"] = "{value}"\n' for key, value in row.headers))
    load = Load(path, row.connections, script)
    comparison = Comparison(
        f"{row.title} / {name}", Side(OURS, path), Side(name, path), GOALS[name]
    )
    with running(OURS, folder) as ours, running(name, folder) as other:
        if not ours.ask(path) == other.ask(path) == file.read_bytes():
            raise RuntimeError(f"{comparison.title}: the two answer differently")
        turns = [partial(server.measure, load, seconds) for server in (ours, other)]
        take_turns(turns, 1)
        measured = take_turns(turns, rounds)
    return Result(comparison, [(our_turn, other_turn) for our_turn, other_turn in measured])


def missing_part(name: str) -> str | None:
    """What keeps a server from being started here, if anything does."""
    if name == "nginx":
        return None if shutil.which("nginx") else "nginx is not installed"
    return None if find_spec("gunicorn") else "gunicorn is not installed"


def run(rounds: int, seconds: int) -> bool:
    """Measure and print all rows; returns whether all goals were reached."""
    if find_spec("whitenoise") is None or find_spec("brotli") is None:
        print("Static files: whitenoise and brotli are not installed", flush=True)
        return True
    print(HEADER, flush=True)
    reached = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # nginx's worker may be another user
        command = [sys.executable, "-m", "benchmarks.files", "--collect"]
        subprocess.run(command, check=True, env={**os.environ, FOLDER: name})
        for other in GOALS:
            if reason := missing_part(other):
                print(f"{other}: {reason}", flush=True)
                continue
            for row in ROWS:
                result = compare(row, other, folder, rounds, seconds)
                print(result, flush=True)
                reached &= result.reached
    return reached


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=int, default=2, help="of each turn")
    parser.add_argument("--collect", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--serve", type=int, metavar="PORT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.collect:
        collect()
        return 0
    if options.serve is not None:
        serve(options.serve)
        return 0
    check_machine()
    end_properly()
    return 0 if run(options.rounds, options.seconds) else 1


if __name__ == "__main__":
    sys.exit(main())
