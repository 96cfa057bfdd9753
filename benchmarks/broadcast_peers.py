"""What benchmarks.broadcast compares, and how each is started: one process each.

Channels has its two layers over Redis, each under the two servers that people run it with; uvicorn
with uvloop, as it chooses itself. What is built on aiohttp runs on asyncio's own loop and on
uvloop. No server pings its clients.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.harness import Server, free_port, running_command
from benchmarks.peers import OURS, Peer, Setting, module

ASGI = "benchmarks.broadcast_asgi:application"


def on_aiohttp(loop: str) -> Callable[[int, Setting], list[str]]:
    return lambda port, setting: module("benchmarks.broadcast_site", str(port), loop)


def uvicorn(port: int, setting: Setting) -> list[str]:
    options = [f"--port={port}", "--no-access-log", "--log-level=error", "--lifespan=off"]
    options.append("--ws-ping-interval=86400")
    return module("uvicorn", *options, ASGI)


def daphne(port: int, setting: Setting) -> list[str]:
    # Twisted would otherwise say something of each request.
    options = ["--bind=127.0.0.1", f"--port={port}", "--verbosity=0", "--no-server-name"]
    options.append("--ping-interval=86400")
    return module("daphne", *options, ASGI)


def channels(layer: str, server: str) -> Peer:
    needs = ("channels", "channels_redis", server)
    command = {"uvicorn": uvicorn, "daphne": daphne}[server]
    return Peer(f"Channels {layer}, {server}", "channels", needs, command)


OURS_UVLOOP, OURS_STREAM, OURS_POSTGRES = f"{OURS}-uvloop", f"{OURS}-stream", f"{OURS}-postgres"
LIMIT, LIMIT_UVLOOP = "aiohttp", "aiohttp-uvloop"
PEERS = {
    OURS: Peer("aiodjango", "aiodjango", ("redis",), on_aiohttp("asyncio")),
    LIMIT: Peer("bare aiohttp", "aiohttp", (), on_aiohttp("asyncio")),
    OURS_UVLOOP: Peer("aiodjango, uvloop", "aiodjango", ("redis", "uvloop"), on_aiohttp("uvloop")),
    LIMIT_UVLOOP: Peer("bare aiohttp, uvloop", "aiohttp", ("uvloop",), on_aiohttp("uvloop")),
    "core-uvicorn": channels("core", "uvicorn"),
    "pubsub-uvicorn": channels("pubsub", "uvicorn"),
    "core-daphne": channels("core", "daphne"),
    "pubsub-daphne": channels("pubsub", "daphne"),
    OURS_STREAM: Peer(
        "aiodjango, streams", "aiodjango", ("redis", "aiohttp_sse"), on_aiohttp("asyncio")
    ),
    "eventstream": Peer(
        "django-eventstream",
        "eventstream",
        ("django_eventstream", "redis", "uvicorn"),
        uvicorn,
    ),
    OURS_POSTGRES: Peer("aiodjango, PostgreSQL", "aiodjango", ("psycopg",), on_aiohttp("asyncio")),
}
BACKENDS = {
    OURS_POSTGRES: "postgres",
    **{name: name.partition("-")[0] for name, peer in PEERS.items() if peer.kind == "channels"},
}
STREAMS = {OURS_STREAM, "eventstream"}


def page(name: str) -> str:
    """The path of what the clients of a peer open, with a number for each."""
    return "/events/" if name in STREAMS else "/ws/{}/"


@contextmanager
def running(name: str, setting: Setting, core: int) -> Iterator[Server]:
    """Start a peer on a core; end it."""
    port = free_port()
    environ = {
        **setting.environ,
        "BROADCAST_KIND": PEERS[name].kind,
        "BROADCAST_BACKEND": BACKENDS.get(name, "redis"),
        "BROADCAST_CHANNEL": name,
    }
    command = PEERS[name].command(port, setting)
    with running_command(command, port, core, environ) as server:
        yield server


def setting_of(redis: str, postgres: str) -> Setting:
    """redis: its socket; postgres: the folder of its socket, or "" without it."""
    environ = {"BROADCAST_REDIS": redis, "BROADCAST_POSTGRES": postgres}
    return Setting(Path(), environ, "")
