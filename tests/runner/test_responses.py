"""One HttpResponse, one rule in both halves; responses without a body and what follows them."""

import asyncio

import pytest
from aiohttp import web
from django.http import HttpResponse
from django.urls import path

from aiodjango import get_aio_application
from tests.runner.conftest import RUNNERS
from tests.support.waiting import DEADLINE

RESPONSES = {
    "hop-by-hop": {
        "Transfer-Encoding": "chunked",
        "Keep-Alive": "timeout=5",
        "Upgrade": "h2c",
        "TE": "trailers",
        "Proxy-Authenticate": "Basic",
        "X-Kept": "é".encode().decode("latin-1"),
    },
    "keeps alive": {"Connection": "keep-alive"},
    "closes": {"Connection": "close"},
    "right length": {"Content-Length": "7"},
    "long": {"Content-Length": "9"},
    "short": {"Content-Length": "2"},
    "invalid length": {"Content-Length": "+7"},
    "encoded": {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"},
}


def response(request):
    status = int(request.headers.get("X-Status", 200))
    headers = RESPONSES[request.headers["X-Response"]]
    return HttpResponse(b"content", status=status, headers=headers)


def sync(request):
    return response(request)


async def lifted(request):
    return response(request)


ENDED: list[asyncio.Event] = []


async def stream(request):
    """Parts after the headers, of any kind of response."""
    started = web.StreamResponse(status=int(request.headers.get("X-Status", 200)))
    if "X-Length" in request.headers:
        started.content_length = 12
    if "X-Compressed" in request.headers:
        started.enable_compression(web.ContentCoding.gzip)
    await started.prepare(request)
    for _ in range(3):
        await started.write(b"part")
    await started.write_eof(b"end" if "X-End" in request.headers else b"")
    return started


async def events(request):
    started = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await started.prepare(request)
    try:
        while True:
            await started.write(b"data: tick\n\n")
    finally:
        ENDED[-1].set()


async def endless(request):
    """Not known to be endless."""
    started = web.StreamResponse()
    await started.prepare(request)
    try:
        while True:
            await started.write(b"part")
    finally:
        ENDED[-1].set()


urlpatterns = [
    path("sync/", sync),
    path("lifted/", lifted),
    path("stream/", stream),
    path("events/", events),
    path("endless/", endless),
]


@pytest.fixture(params=RUNNERS)
async def server(request, settings, serve):
    settings.ROOT_URLCONF = __name__
    settings.ALLOWED_HOSTS = ["test"]
    settings.DEBUG_PROPAGATE_EXCEPTIONS = False
    return await serve(get_aio_application(), make_runner=RUNNERS[request.param])


NEXT = b"GET /sync/ HTTP/1.1\r\nHost: test\r\nX-Response: right length\r\nConnection: close\r\n\r\n"


async def exchange(server, method, path_, **fields):
    """A request, and another one on the same connection: all that comes back, in order."""
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    data = f"{method} {path_} HTTP/1.1\r\nHost: test\r\n{head}\r\n".encode()
    return await server.raw(data + NEXT)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("kind", sorted(RESPONSES.keys() - {"long", "invalid length"}))
async def test_an_httpresponse_is_sent_alike_by_both_halves(server, kind, method):
    answers = []
    for half in ["sync", "lifted"]:
        async with server.client() as client:
            fields = {"X-Response": kind}
            answers.append(await client.request(method, f"/{half}/", headers=fields))
    ours = [
        (a.status, a.body, sorted(h for h in a.headers if h[0] not in ("Date", "Server")))
        for a in answers
    ]
    assert ours[0] == ours[1]
    assert answers[0].status == 200
    assert not {name for name, _ in answers[0].headers} & {"Keep-Alive", "Upgrade", "TE"}


@pytest.mark.parametrize("kind", ["hop-by-hop", "keeps alive", "right length", "short", "encoded"])
@pytest.mark.parametrize("half", ["sync", "lifted"])
async def test_the_connection_goes_on_after_an_httpresponse(server, kind, half):
    received = await exchange(server, "GET", f"/{half}/", X_Response=kind)
    assert received.count(b"HTTP/1.1 200 OK\r\n") == 2
    assert received.endswith(b"\r\n\r\ncontent")


@pytest.mark.parametrize("kind", ["closes", "long"])
@pytest.mark.parametrize("half", ["sync", "lifted"])
async def test_the_connection_ends_where_nothing_else_can_tell(server, kind, half):
    received = await exchange(server, "GET", f"/{half}/", X_Response=kind)
    assert received.count(b"HTTP/1.1") == 1
    assert received.endswith(b"\r\n\r\ncontent")


@pytest.mark.parametrize("half", ["sync", "lifted"])
async def test_a_length_that_is_no_number_is_the_servers_error(server, half):
    received = await exchange(server, "GET", f"/{half}/", X_Response="invalid length")
    assert received.startswith(b"HTTP/1.1 500 ")


# ---- No body ----


@pytest.mark.parametrize(
    "more",
    [{}, {"X_Length": 1}, {"X_Compressed": 1}, {"X_End": 1}, {"X_End": 1, "X_Compressed": 1}],
    ids=str,
)
@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", 200), ("HEAD", 404), ("GET", 204), ("GET", 304), ("HEAD", 304)]
)
async def test_parts_after_the_headers_are_dropped(server, method, status, more):
    received = await exchange(server, method, "/stream/", X_Status=status, **more)
    first, _, second = received.partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 %d " % status)
    assert second.startswith(b"HTTP/1.1 200 OK\r\n")
    assert second.endswith(b"\r\n\r\ncontent")


async def test_parts_are_sent_where_there_is_a_body(server):
    received = await exchange(server, "GET", "/stream/")
    assert received.count(b"\r\npart\r\n") == 3


async def test_head_at_a_stream_of_events_ends_the_view(server):
    """It would keep the connection for ever."""
    ENDED[:] = [asyncio.Event()]
    received = await exchange(server, "HEAD", "/events/")
    first, _, second = received.partition(b"\r\n\r\n")
    assert b"Content-Type: text/event-stream" in first
    assert second.startswith(b"HTTP/1.1 200 OK\r\n")
    assert ENDED[-1].is_set()


async def test_head_at_an_endless_stream_ends_with_the_connection(server):
    ENDED[:] = [asyncio.Event()]
    async with server.client() as client:
        await client.send(b"HEAD /endless/ HTTP/1.1\r\nHost: test\r\n\r\n")
        assert (await client.head())[0] == 200
    await asyncio.wait_for(ENDED[-1].wait(), DEADLINE)
