"""What is measured: the rows of the table, and the goals that they have."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.harness import CLIENT_CORE, CONNECTIONS
from benchmarks.measures import (
    CPU,
    GROWTH,
    LOAD,
    MEMORY,
    MESSAGES,
    MIB,
    P50,
    P99,
    RATE,
    SOCKET,
    START,
    Column,
    Measure,
    Work,
    beside,
    by_wrk,
    download,
    echoing,
    growth,
    idle,
    upload,
    worker,
)


@dataclass(frozen=True)
class Goal:
    """Ours should be at least `ratio` times as good as the peer in a column."""

    peer: str
    ratio: float
    column: Column = RATE


@dataclass(frozen=True)
class Limit:
    """Ours should not exceed `most` in a column."""

    most: float
    column: Column


class Titled(Protocol):
    """What the table needs of a row."""

    @property
    def title(self) -> str: ...
    @property
    def columns(self) -> tuple[Column, ...]: ...
    @property
    def goals(self) -> "tuple[Goal | Limit, ...]": ...


@dataclass(frozen=True)
class Row:
    """One kind of work, and how it is measured.

    columns: the first is what the row is about.
    paths: what is asked for, by the kind of a peer; a kind that is not there can't do that work.
    pinned: all servers on one core, the clients on another; or else both wherever the system wants.
    checked: whether the answers to a plain request are compared first. Where they are not, the
        measure itself looks at them.
    longer: by how much a turn is longer than others, and the rounds fewer.
    fresh: turns, each with a server started for it; 0 for a server that runs all the time.
    workers: as in a Setting.
    quick: whether it is part of a quick run.
    """

    title: str
    columns: tuple[Column, ...]
    measure: Measure
    paths: Mapping[str, str]
    connections: int = CONNECTIONS
    body: bytes | None = None
    content_type: str = ""
    pinned: bool = True
    checked: bool = True
    longer: int = 1
    fresh: int = 0
    workers: int = 0
    quick: bool = True
    goals: tuple[Goal | Limit, ...] = ()

    def work(self, kind: str, seconds: int, folder: Path) -> Work:
        """What is asked of a peer of that kind."""
        return Work(
            self.paths[kind],
            seconds * self.longer,
            folder,
            self.connections,
            self.body,
            self.content_type,
            CLIENT_CORE if self.pinned else None,
        )


def in_django(path: str) -> dict[str, str]:
    return dict.fromkeys(("aiodjango", "wsgi", "asgi"), path)


def everywhere(path: str) -> dict[str, str]:
    return {**in_django(path), "loop": path, "aiohttp": path}


# Ours is lifted; other servers run Django's own kind of coroutine view.
COROUTINE = {"aiodjango": "/coroutine/", "wsgi": "/native/", "asgi": "/native/"}
ECHO = {"aiodjango": "/echo/", "aiohttp": "/echo/"}

BY_WRK = (RATE, CPU, P99)
LATENCY = (P99, P50, LOAD)
NEAR = (Goal("limit", 0.9, CPU),)  # which has no threads, and answers nobody else meanwhile

ON_REDIS = {"cache"}
ON_POSTGRES = {"postgres", "report", "report-free"}
ROWS = {
    "get": Row(
        "plain GET",
        BY_WRK,
        by_wrk,
        everywhere("/"),
        goals=NEAR,
    ),
    "get-free": Row(
        "plain GET, free on all cores",
        BY_WRK,
        by_wrk,
        everywhere("/"),
        pinned=False,
        quick=False,
        goals=NEAR,
    ),
    "get-two": Row(
        "plain GET, two workers",
        BY_WRK,
        by_wrk,
        in_django("/"),
        pinned=False,
        workers=2,
    ),
    "page": Row(
        "template page of 10 kB", BY_WRK, by_wrk, {**in_django("/page/"), "loop": "/page/"}
    ),
    "page-free": Row(
        "template page of 10 kB, free on all cores",
        BY_WRK,
        by_wrk,
        {**in_django("/page/"), "loop": "/page/"},
        pinned=False,
        quick=False,
    ),
    "post": Row(
        "JSON POST",
        BY_WRK,
        by_wrk,
        everywhere("/json/"),
        body=json.dumps({"name": "item", "numbers": list(range(10))}).encode(),
        content_type="application/json",
    ),
    "upload": Row(
        "POST of 1 MiB, 8 connections",
        BY_WRK,
        by_wrk,
        everywhere("/upload/"),
        connections=8,
        body=b"x" * MIB,
        content_type="application/octet-stream",
    ),
    "file": Row(
        "file of 10 MiB, 1 connection",
        BY_WRK,
        by_wrk,
        {**everywhere("/file/10MiB"), "files": "/file/10MiB"},
        connections=1,
        goals=(Goal("nginx", 0.8),),
    ),
    "sqlite": Row("ORM read, SQLite", BY_WRK, by_wrk, in_django("/row/default/")),
    "postgres": Row("ORM read, PostgreSQL", BY_WRK, by_wrk, in_django("/row/postgres/")),
    "cache": Row(
        "cache.get() of Redis",
        BY_WRK,
        by_wrk,
        in_django("/cached/"),
        goals=(Goal("gthread", 1.0),),
    ),
    "report": Row(
        "page of five queries, PostgreSQL", BY_WRK, by_wrk, in_django("/report/postgres/")
    ),
    "report-free": Row(
        "page of five queries, free on all cores",
        BY_WRK,
        by_wrk,
        in_django("/report/postgres/"),
        pinned=False,
        quick=False,
    ),
    "coroutine": Row("coroutine view", BY_WRK, by_wrk, {**COROUTINE, "aiohttp": "/coroutine/"}),
    "blocked": Row(
        "coroutine beside sync views that wait",
        LATENCY,
        beside("/block/"),
        COROUTINE,
        longer=2,
    ),
    "responsive": Row(
        "coroutine beside sync views that compute",
        LATENCY,
        beside("/compute/"),
        COROUTINE,
        connections=16,
        pinned=False,
        longer=2,
        goals=(Limit(5.0, P50), Limit(25.0, P99)),
    ),
    "streams": Row(
        "coroutine beside streams that compute",
        LATENCY,
        beside("/endless/"),
        COROUTINE,
        connections=24,
        pinned=False,
        longer=2,
        quick=False,
    ),
    "echo": Row(
        "1,000 WebSockets echoing",
        (MESSAGES, CPU, P99),
        echoing,
        ECHO,
        connections=1_000,
        checked=False,
    ),
    "worker": Row(
        "a worker after its first request",
        (MEMORY, START),
        worker,
        in_django("/"),
        fresh=3,
        workers=1,
        goals=(Limit(80, MEMORY),),
    ),
    "idle": Row(
        "10,000 idle WebSockets, memory",
        (SOCKET,),
        idle,
        ECHO,
        connections=10_000,
        checked=False,
        fresh=1,
        quick=False,
        goals=(Goal("aiohttp", 0.95, SOCKET),),
    ),
    "upload-memory": Row(
        "upload of 300 MiB, memory",
        (GROWTH,),
        growth(upload),
        everywhere("/upload/"),
        checked=False,
        fresh=1,
        quick=False,
        goals=(Limit(16, GROWTH),),
    ),
    "download-memory": Row(
        "download of 300 MiB, memory",
        (GROWTH,),
        growth(download),
        everywhere("/file/{}MiB"),
        checked=False,
        fresh=1,
        quick=False,
        goals=(Limit(16, GROWTH),),
    ),
    "stream-memory": Row(
        "stream of 300 MiB, memory",
        (GROWTH,),
        growth(download),
        everywhere("/stream/{}/"),
        checked=False,
        fresh=1,
        quick=False,
        goals=(Limit(16, GROWTH),),
    ),
}
