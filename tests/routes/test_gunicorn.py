"""Under gunicorn a path is answered by the view that it resolves to."""

import asyncio
import inspect
import json
import random

import pytest

from tests.conftest import require
from tests.support.server import serve

from .answering.urls import answer, urlpatterns
from .resolving import django_resolve
from .strategies import PIECES, only_lifted

PATHS = [
    *("/", "/a/", "/a", "/a/1/", "/a/2/", "/a/%32/", "/a%2F2/", "/x/b/", "/ab/b/", "/2026/"),
    *("/2026/05", "/%C3%BC/x/", "/%C3%BC/%FF/", "/100%25/", "/100%2525/", "/a%20b/", "/12/"),
    *("/12/ab", "/cab", "/b%0A", "/in/s/", "/in/s/5/", "/in/s/x/y", "/in/s%2F5/", "/re/"),
    *("/re/o5/", "/re/oo5x", "/re/zz7xq", "//", "//a/", "/slashed/a/b/end/", "/slashed/a//end/"),
    *("/slashed%2Fa/end/", "/../a/", "/a/./", "/in/s/5x", "/%61/"),
]


def more_paths():
    chosen = random.Random(2026)
    return ["/" + "".join(chosen.choices(PIECES, k=chosen.randint(1, 6))) for _ in range(300)]


def expected_answer(path):
    found = django_resolve(only_lifted(urlpatterns, inspect.iscoroutinefunction), path)
    found = found or django_resolve(urlpatterns, path)
    if found is None:
        return None
    view, args, kwargs = found
    return json.loads(json.dumps(answer(view.name, args, kwargs)))


async def get(port, path):
    """Ask with the bytes of the path as they are: an HTTP client would tidy them."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    status = int(head.split()[1])
    assert status in (200, 404), head
    return json.loads(body) if status == 200 else None


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    require(module="gunicorn")
    command = [
        *("-m", "gunicorn", "tests.routes.answering.wsgi:app", "--bind=fd://{fd}"),
        *("--worker-class=aiohttp.GunicornWebWorker", "--no-control-socket"),
    ]
    log = tmp_path_factory.mktemp("gunicorn") / "log"
    with serve(command, log, settings="tests.routes.answering.settings") as running:
        yield running


async def test_answered_by_the_view_it_resolves_to(server):
    answered = set()
    for path in [*PATHS, *more_paths()]:
        expected = expected_answer(path)
        assert await get(server.address, path) == expected, path
        answered.add(expected and expected["view"])
    names = {pattern.callback.name for pattern in urlpatterns if pattern.callback}
    assert names <= answered
