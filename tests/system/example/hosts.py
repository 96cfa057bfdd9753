"""The site as it is deployed: two hosts, Redis, PostgreSQL, and nginx before them.

All is taken from the files in example/deploy; only addresses and folders are replaced.
"""

import os
import re
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path

from tests.conftest import require
from tests.gateway.test_files import tls_contexts
from tests.support.environment import ROOT, environment
from tests.support.waiting import wait_until
from tests.system.example.server import DEADLINE, example_environment, manage

DEPLOY = ROOT / "example" / "deploy"
WORKERS = 2  # on each host
# gunicorn finds the socket that systemd passes by these variables, as the third descriptor.
AS_SYSTEMD = """\
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""
NGINX_CONFIG = """
{user}
daemon off;
worker_processes 1;
error_log {folder}/error.log;
pid {folder}/pid;
events {{ worker_connections 1024; }}
http {{
    types {{ text/html html; text/css css; text/javascript js; image/svg+xml svg; }}
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/chat.conf;
}}
"""


def directive(file: str, name: str) -> str:
    """The value of the only line `name=value` in a file for systemd."""
    (value,) = re.findall(rf"^{name}=(.+)$", (DEPLOY / file).read_text(), re.MULTILINE)
    return value


def replaced(file: str, changes: Mapping[str, str]) -> str:
    """The text of a file with some of it replaced, all of which has to be there."""
    text = (DEPLOY / file).read_text()
    for old, new in changes.items():
        if old not in text:
            raise ValueError(f"{file} has no {old!r}")
        text = text.replace(old, new)
    return text


def variables(**values: str) -> dict[str, str]:
    """The variables of chat.env, with values for this machine where they name others."""
    lines = (DEPLOY / "chat.env").read_text().splitlines()
    defaults = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    if unknown := values.keys() - defaults.keys():
        raise ValueError(f"chat.env has no {', '.join(unknown)}")
    return {**defaults, **values}


class Host:
    """gunicorn as systemd starts it, with a socket that is there before and after it."""

    def __init__(self, environ: Mapping[str, str], log: Path, *options: str) -> None:
        self.log = log
        program, *arguments = shlex.split(directive("chat.service", "ExecStart"))
        if Path(program).name != "gunicorn":
            raise ValueError(f"chat.service runs {program}")
        listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
        self.port = listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        systemd = [sys.executable, "-c", AS_SYSTEMD, str(listener.fileno())]
        with listener, log.open("wb") as output:
            self.process = subprocess.Popen(
                [*systemd, "-m", "gunicorn", *arguments, *options],
                cwd=ROOT,
                env=example_environment(None, **environ),
                pass_fds=[listener.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def workers(self) -> set[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return {int(pid) for pid in children.read_text().split()}

    def reload(self) -> None:
        """What `systemctl reload` does."""
        if directive("chat.service", "ExecReload") != "/bin/kill -s HUP $MAINPID":
            raise ValueError("chat.service reloads in another way")
        self.process.send_signal(signal.SIGHUP)

    def stop(self) -> str:
        """End it; return what it has written."""
        self.process.terminate()
        try:
            self.process.wait(DEADLINE)
        finally:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        return self.log.read_text()


class Redis:
    """A Redis that can be stopped and started again at the same address."""

    def __init__(self, program: str, folder: Path) -> None:
        self._path = folder / "socket"
        self._command = [program, "--port", "0", "--unixsocket", str(self._path), "--save", ""]
        self._command += ["--dir", str(folder), "--logfile", "log"]
        self.url = f"unix://{self._path}"

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, env=environment(), stdin=subprocess.DEVNULL)
        wait_until(lambda: is_listening(str(self._path)) or self._process.poll() is not None)
        if self._process.poll() is not None:
            raise RuntimeError("Redis does not start")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(DEADLINE)


def is_listening(address: str | tuple[str, int]) -> bool:
    with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as probe:
        return probe.connect_ex(address) == 0


@contextmanager
def running_redis(program: str) -> Iterator[Redis]:
    # A short path, as a unix socket's must be.
    with tempfile.TemporaryDirectory(prefix="aiodjango-redis-") as folder:
        redis = Redis(program, Path(folder))
        redis.start()
        try:
            yield redis
        finally:
            redis.stop()


@contextmanager
def running_nginx(folder: Path, hosts: list[Host], static: Path) -> Iterator[dict[str, str]]:
    """Run nginx with the site's configuration; yield its URLs by name, as `Deployment` has them."""
    program = require(program="nginx")
    tls_contexts(folder)
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    http, https, plain = ("{}:{}".format(*listener.getsockname()) for listener in listeners)
    changes = {
        "listen 80;": f"listen {http};",
        "listen 443 ssl;": f"listen {https} ssl; listen {plain};",
        "10.0.0.1:8000": hosts[0].address,
        "10.0.0.2:8000": hosts[1].address,
        "/etc/ssl/certs/chat.pem": f"{folder}/cert.pem",
        "/etc/ssl/private/chat.key": f"{folder}/key.pem",
        "/srv/chat/static/": f"{static}/",
    }
    (folder / "chat.conf").write_text(replaced("nginx.conf", changes))
    # Else a worker of root's would be nobody, who can't enter the folder.
    user = "" if os.geteuid() else "user root;"
    config = folder / "nginx.conf"
    config.write_text(NGINX_CONFIG.format(user=user, folder=folder))
    log = folder / "error.log"
    descriptors = [listener.fileno() for listener in listeners]
    process = subprocess.Popen(
        [program, "-p", folder, "-c", config, "-e", log],
        # So an nginx takes over the sockets of the one that it replaces.
        env=environment(NGINX="".join(f"{descriptor};" for descriptor in descriptors)),
        pass_fds=descriptors,
        stdin=subprocess.DEVNULL,
    )
    for listener in listeners:
        listener.close()
    try:
        yield {"insecure": f"http://{http}", "url": f"https://{https}", "plain": f"http://{plain}"}
    finally:
        process.terminate()
        process.wait(DEADLINE)
        print(log.read_text() if log.exists() else "")  # pytest shows it when a test has failed


class Deployment:
    """All of it, running.

    insecure, url: nginx's addresses for http and https. tls: what a client needs to trust its
    certificate. plain: as `url`, without TLS; for clients that are to be broken off, which TLS
    makes tedious.
    """

    def __init__(
        self, hosts: list[Host], redis: Redis | None, urls: Mapping[str, str], certificate: Path
    ) -> None:
        self.hosts = hosts
        self.redis = redis
        self.insecure, self.url, self.plain = urls["insecure"], urls["url"], urls["plain"]
        self.tls = ssl.create_default_context(cafile=certificate)


@contextmanager
def running_deployment(
    folder: Path, database_url: str, redis_program: str | None
) -> Iterator[Deployment]:
    """Two hosts behind nginx. redis_program: None where events go through PostgreSQL."""
    static = folder / "static"
    with running_redis(redis_program) if redis_program else nullcontext() as redis:
        environ = variables(
            EXAMPLE_HOSTS="127.0.0.1",
            EXAMPLE_STATIC_ROOT=str(static),
            DATABASE_URL=database_url,
            REDIS_URL=redis.url if redis else "",
            FORWARDED_ALLOW_IPS="127.0.0.1",
            WEB_CONCURRENCY=str(WORKERS),
        )
        with ThreadPoolExecutor() as pool:
            commands = [("collectstatic", "--no-input"), ("demo",)]
            list(pool.map(lambda command: manage(None, *command, **environ), commands))
        hosts: list[Host] = []
        logs = {}
        try:
            # The one runs uvloop, if it's installed, the other asyncio's own loop.
            for name, *options in ("a",), ("b", "--worker-class=aiodjango.worker.GunicornWorker"):
                hosts.append(Host(environ, folder / f"{name}.log", *options))
            (folder / "nginx").mkdir()
            with running_nginx(folder / "nginx", hosts, static) as urls:
                yield Deployment(hosts, redis, urls, folder / "nginx" / "cert.pem")
        finally:
            for host in hosts:
                logs[host.log.name] = host.stop()
                print(logs[host.log.name])
        for name, log in logs.items():
            if "Traceback" in log:
                raise AssertionError(f"{name} has an error:\n{log}")
    shutil.rmtree(static)
