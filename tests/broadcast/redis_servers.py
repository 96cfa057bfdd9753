"""Redis in all its forms, each on free ports of this machine."""

import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.conftest import require
from tests.gateway.test_files import tls_contexts
from tests.support.environment import environment
from tests.support.waiting import DEADLINE, wait_until


class Node:
    """One redis-server. options: lines of its configuration."""

    def __init__(self, folder: Path, port: int, *arguments: str, options: str = "") -> None:
        self.folder, self.port = folder, port
        folder.mkdir(exist_ok=True)
        # Sentinels write into their configuration.
        self._config = folder / "redis.conf"
        self._config.write_text(f"dir {folder}\nlogfile log\nsave ''\nport {port}\n{options}\n")
        self._arguments = arguments
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [require(program="redis-server"), self._config, *self._arguments],
            env=environment(),
            stdin=subprocess.DEVNULL,
        )

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(DEADLINE)

    def command(self, *words: object, **options: object) -> object:
        retry = Retry(NoBackoff(), 0)
        with redis.Redis("127.0.0.1", self.port, retry=retry, **options) as client:
            return client.execute_command(*words)

    def wait(self, **options: object) -> None:
        """Wait until it answers."""

        def answers() -> bool:
            try:
                return bool(self.command("PING", **options))
            except redis.ConnectionError:
                return False

        wait_until(answers)


def free_ports(number: int) -> list[int]:
    # Below the ephemeral ports, and so that 10,000 more is a port too: clusters use it.
    with ExitStack() as stack:
        found: list[int] = []
        for port in range(11000, 30000):
            try:
                for one in (port, port + 10000):
                    stack.enter_context(socket.create_server(("127.0.0.1", one)))
            except OSError:
                continue
            found.append(port)
            if len(found) == number:
                return found
    raise RuntimeError("no free ports")


@contextmanager
def nodes(number: int = 1, options: str = "") -> Iterator[list[Node]]:
    with tempfile.TemporaryDirectory(prefix="aiodjango-redis-") as folder:
        started = [
            Node(Path(folder, str(port)), port, options=options) for port in free_ports(number)
        ]
        try:
            yield started
        finally:
            for node in started:
                node.stop()


@contextmanager
def with_password() -> Iterator[tuple[str, list[Node]]]:
    with nodes(options="requirepass p@ss/word") as (node,):
        node.wait(password="p@ss/word")
        yield f"redis://:p%40ss%2Fword@127.0.0.1:{node.port}", [node]


@contextmanager
def with_tls() -> Iterator[tuple[str, list[Node]]]:
    with tempfile.TemporaryDirectory() as folder, nodes() as (plain,):
        tls_contexts(Path(folder))
        (port,) = free_ports(1)
        options = f"tls-port {port}\ntls-cert-file {folder}/cert.pem\n"
        options += f"tls-key-file {folder}/key.pem\ntls-auth-clients no\n"
        options += f"tls-ca-cert-file {folder}/cert.pem"
        plain.stop()
        node = Node(plain.folder, 0, options=options)
        node.port = port
        try:
            node.wait(ssl=True, ssl_ca_certs=f"{folder}/cert.pem")
            yield f"rediss://127.0.0.1:{port}?ssl_ca_certs={folder}/cert.pem", [node]
        finally:
            node.stop()


@contextmanager
def cluster() -> Iterator[tuple[str, list[Node]]]:
    """Three nodes, each with a third of the slots."""
    options = "cluster-enabled yes\ncluster-node-timeout 1000\ncluster-require-full-coverage no"
    with nodes(3, options) as three:
        for node in three:
            node.wait()
        first = three[0]
        for number, node in enumerate(three):
            slots = range(number * 16384 // 3, (number + 1) * 16384 // 3)
            node.command("CLUSTER", "ADDSLOTSRANGE", slots[0], slots[-1])
            node.command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in three[1:]:
            first.command("CLUSTER", "MEET", "127.0.0.1", node.port)
        for node in three:
            wait_until(lambda node=node: is_complete(node))
        yield "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in three), three


def is_complete(node: Node) -> bool:
    state = node.command("CLUSTER", "INFO")
    return b"cluster_state:ok" in state and b"cluster_known_nodes:3" in state


@contextmanager
def sentinels() -> Iterator[tuple[str, list[Node]]]:
    """A master, a replica, and a sentinel that suffices to choose another master."""
    with nodes(3) as (master, replica, sentinel):
        master.wait()
        replica.wait()
        replica.command("REPLICAOF", "127.0.0.1", master.port)
        wait_until(lambda: replica.command("INFO", "replication")["master_link_status"] == "up")
        sentinel.stop()
        watching = Node(
            sentinel.folder,
            sentinel.port,
            "--sentinel",
            options=f"sentinel monitor main 127.0.0.1 {master.port} 1\n"
            "sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 2000",
        )
        try:
            watching.wait()
            wait_until(lambda: len(watching.command("SENTINEL", "SLAVES", "main")) == 1)
            yield f"redis+sentinel://127.0.0.1:{sentinel.port}/main", [master, replica]
        finally:
            watching.stop()
