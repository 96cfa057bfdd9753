"""nginx as a proxy in front of a server under test: a private one, in a folder of its own.

    with running_nginx(folder, {"site": Front("location / { proxy_pass http://…; }")}) as nginx:
        await client.get(nginx.url("site"))

It listens on sockets that the test made: no port is ever guessed. Tests that use it are skipped
where nginx is missing.
"""

import os
import socket
import ssl
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.conftest import require
from tests.gateway.test_files import tls_contexts
from tests.support.environment import environment
from tests.support.waiting import DEADLINE

CONFIG = """
{user}
daemon off;
worker_processes 1;
error_log {folder}/error.log;
pid {folder}/pid;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    map $http_upgrade $connection_upgrade {{ default upgrade; "" ""; }}
{servers}
}}
"""
SERVER = "server {{ listen {address}; {config} }}"
TLS = "ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem; "


class Front(NamedTuple):
    """One address of nginx. `config` is the inside of a server block, less the address."""

    config: str
    tls: bool = False


class Nginx:
    """A running nginx.

    tls: what a client needs to trust its certificate.
    """

    def __init__(self, addresses: Mapping[str, str], tls: ssl.SSLContext) -> None:
        self._addresses = addresses
        self.tls = tls

    def url(self, name: str) -> str:
        """The URL of a front, without a slash at its end."""
        return self._addresses[name]


@contextmanager
def running_nginx(folder: Path, fronts: Mapping[str, Front]) -> Iterator[Nginx]:
    """Run an nginx with these fronts; end it."""
    program = require(program="nginx")
    _, tls = tls_contexts(folder)
    listeners = {name: socket.create_server(("127.0.0.1", 0)) for name in fronts}
    addresses, servers = {}, []
    for name, front in fronts.items():
        address = f"127.0.0.1:{listeners[name].getsockname()[1]}"
        addresses[name] = f"{'https' if front.tls else 'http'}://{address}"
        config = (TLS.format(folder=folder) if front.tls else "") + front.config
        listen = f"{address} ssl" if front.tls else address
        servers.append(SERVER.format(address=listen, config=config))
    config_file = folder / "nginx.conf"
    # Else a worker of root's would be nobody, who can't enter the folder.
    user = "" if os.geteuid() else "user root;"
    config_file.write_text(CONFIG.format(user=user, folder=folder, servers="\n".join(servers)))
    log = folder / "error.log"
    descriptors = [listener.fileno() for listener in listeners.values()]
    process = subprocess.Popen(
        [program, "-p", folder, "-c", config_file, "-e", log],
        # So an nginx takes over the sockets of the one that it replaces.
        env=environment(NGINX="".join(f"{descriptor};" for descriptor in descriptors)),
        pass_fds=descriptors,
        stdin=subprocess.DEVNULL,
    )
    # Our copies: if nginx didn't start, connections are refused, and hang nobody.
    for listener in listeners.values():
        listener.close()
    try:
        yield Nginx(addresses, tls)
    finally:
        process.terminate()
        process.wait(DEADLINE)
        print(log.read_text() if log.exists() else "")  # pytest shows it when a test has failed
