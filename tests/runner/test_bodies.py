"""Bodies with a Content-Encoding: Django receives what was sent, other handlers read it decoded."""

import gc
import gzip
import importlib
import io
import json
import sys
import zlib

import pytest
from aiohttp import FormData, web
from aiohttp.compression_utils import DecompressionBaseHandler
from django.http import JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from aiodjango import AioRunner, get_aio_application, setup
from aiodjango.gateway.decoding import DECODED_AT_ONCE, MAX_RATIO, RATIO_STARTS
from tests.conftest import require
from tests.runner.conftest import RUNNERS

CONTENT = json.dumps({"words": "a b c" * 100}).encode()


def raw_deflate(data):
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


def packaged(module, name="compress"):
    return getattr(importlib.import_module(require(module=module)), name)


# In the standard library from Python 3.14 on.
ZSTD = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
ENCODERS = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "raw deflate": raw_deflate,
    "br": lambda data: packaged("brotli")(data),
    "zstd": lambda data: packaged(ZSTD)(data),
    "two members": lambda data: gzip.compress(data[:100]) + gzip.compress(data[100:]),
}
CODINGS = {"raw deflate": "deflate", "two members": "gzip"}


@pytest.fixture(params=ENCODERS)
def coding(request):
    """The value of the header, and the encoded content."""
    return CODINGS.get(request.param, request.param), ENCODERS[request.param](CONTENT)


@csrf_exempt
def sync(request):
    body = request.read()  # which has no limit, as request.body has
    meta = request.META
    return JsonResponse(
        {
            "body": body.hex(),
            "length": meta.get("CONTENT_LENGTH"),
            "encoding": meta.get("HTTP_CONTENT_ENCODING"),
        }
    )


async def read(request):
    return web.Response(body=await request.read())


async def text(request):
    return web.Response(text=await request.text())


async def loaded(request):
    return web.json_response(await request.json())


async def post(request):
    form = await request.post()
    return web.json_response(
        {
            name: value.file.read().decode() if isinstance(value, web.FileField) else value
            for name, value in form.items()
        }
    )


async def parts(request):
    found = {}
    async for part in await request.multipart():
        found[part.name] = await part.text()
    return web.json_response(found)


async def chunks(request):
    return web.Response(body=b"".join([part async for part in request.content.iter_chunked(7)]))


async def readany(request):
    return web.Response(body=b"".join([part async for part in request.content.iter_any()]))


async def readchunk(request):
    return web.Response(body=b"".join([part async for part, _ in request.content.iter_chunks()]))


async def lines(request):
    return web.Response(body=b"".join([line async for line in request.content]))


async def exactly(request):
    first = await request.content.readexactly(10)
    return web.Response(body=first + await request.content.read())


async def size(request):
    """The body is taken as it comes, and not kept."""
    total = 0
    async for part in request.content.iter_any():
        total += len(part)
    return web.json_response(total)


READERS = [read, text, chunks, readany, readchunk, lines, exactly]
urlpatterns = [
    path("sync/", sync),
    *(path(f"{view.__name__}/", csrf_exempt(view)) for view in [*READERS, post, parts, size]),
    path("json/", csrf_exempt(loaded)),
]


@pytest.fixture
def app(settings):
    settings.ROOT_URLCONF = __name__
    settings.ALLOWED_HOSTS = ["test"]
    return get_aio_application()


async def seen_by_django(server, body, encoding, **headers):
    answer = await server.request(
        "POST", "/sync/", body=body, headers={"Content-Encoding": encoding, **headers}
    )
    assert answer.status == 200, answer
    return json.loads(answer.body)


# ---- Django ----


async def test_django_receives_what_was_sent(app, serve, coding):
    encoding, body = coding
    seen = await seen_by_django(await serve(app), body, encoding)
    assert seen == {"body": body.hex(), "length": str(len(body)), "encoding": encoding}


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip", "x-unknown", "gzip, br", "GZIP"])
async def test_django_receives_what_no_package_could_decode(app, serve, encoding):
    seen = await seen_by_django(await serve(app), b"never encoded", encoding)
    assert seen["body"] == b"never encoded".hex()
    assert seen["encoding"] == encoding


async def test_django_receives_a_chunked_body_as_it_was_sent(app, serve):
    body = gzip.compress(CONTENT)
    server = await serve(app)
    async with server.client() as client:
        await client.send(
            b"POST /sync/ HTTP/1.1\r\nHost: test\r\nContent-Encoding: gzip\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        )
        seen = json.loads((await client.answer()).body)
    assert seen == {"body": body.hex(), "length": str(len(body)), "encoding": "gzip"}


async def test_a_body_that_a_middleware_has_read_reaches_django_decoded(settings, serve):
    settings.ROOT_URLCONF = __name__
    settings.ALLOWED_HOSTS = ["test"]

    @web.middleware
    async def reads(request, handler):
        assert await request.read() == CONTENT
        return await handler(request)

    main = web.Application(middlewares=[reads])
    setup(main)
    seen = await seen_by_django(await serve(main), gzip.compress(CONTENT), "gzip")
    assert seen == {"body": CONTENT.hex(), "length": str(len(CONTENT)), "encoding": None}


async def test_under_another_runner_django_receives_the_decoded_body(app, serve):
    server = await serve(app, make_runner=web.AppRunner)
    seen = await seen_by_django(server, gzip.compress(CONTENT), "gzip")
    assert seen == {"body": CONTENT.hex(), "length": str(len(CONTENT)), "encoding": None}


# ---- Coroutine views ----


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("view", ["json", *(view.__name__ for view in READERS)])
async def test_a_coroutine_view_reads_the_decoded_body(app, serve, coding, view, runner):
    encoding, body = coding
    server = await serve(app, make_runner=RUNNERS[runner])
    answer = await server.request(
        "POST", f"/{view}/", body=body, headers={"Content-Encoding": encoding}
    )
    assert answer.status == 200, answer
    assert answer.body == CONTENT


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("view", ["post", "parts"])
async def test_a_coroutine_view_reads_encoded_forms(app, serve, view, runner):
    form = FormData()
    form.add_field("name", "value")
    form.add_field("file", b"content\n" * 20000, filename="name.txt")
    writer = _Buffer()
    payload = form()
    await payload.write(writer)
    headers = {"Content-Encoding": "gzip", "Content-Type": payload.headers["Content-Type"]}
    server = await serve(app, make_runner=RUNNERS[runner])
    body = gzip.compress(writer.data)
    answer = await server.request("POST", f"/{view}/", body=body, headers=headers)
    assert json.loads(answer.body) == {"name": "value", "file": "content\n" * 20000}


async def test_urlencoded_form(app, serve):
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/x-www-form-urlencoded"}
    server = await serve(app)
    answer = await server.request("POST", "/post/", body=gzip.compress(b"a=b&c=d"), headers=headers)
    assert json.loads(answer.body) == {"a": "b", "c": "d"}


class _Buffer:
    def __init__(self):
        self.data = b""

    async def write(self, chunk):
        self.data += chunk


async def test_a_handler_of_the_host_reads_the_decoded_body(settings, serve):
    settings.ROOT_URLCONF = __name__
    main = web.Application()
    main.router.add_post("/own/", read)
    setup(main)
    answer = await (await serve(main)).request(
        "POST", "/own/", body=gzip.compress(CONTENT), headers={"Content-Encoding": "gzip"}
    )
    assert answer.body == CONTENT


@pytest.mark.parametrize("encoding", ["br", "zstd"])
async def test_a_coding_without_its_package_is_refused_only_where_it_is_read(
    app, serve, encoding, monkeypatch
):
    monkeypatch.setattr("aiodjango.gateway.decoding.HAS_BROTLI", False)
    monkeypatch.setattr("aiodjango.gateway.decoding.HAS_ZSTD", False)
    server = await serve(app)
    headers = {"Content-Encoding": encoding}
    answer = await server.request("POST", "/read/", body=b"anything", headers=headers)
    assert answer.status == 415
    assert answer.header("Accept-Encoding") == "gzip, deflate"
    assert encoding in answer.text
    assert (await seen_by_django(server, b"anything", encoding))["encoding"] == encoding


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
async def test_what_cannot_be_decoded_is_the_clients_fault(app, serve, encoding, runner):
    ENCODERS[encoding](b"")  # or skip the test
    server = await serve(app, make_runner=RUNNERS[runner])
    answer = await server.request(
        "POST", "/read/", body=b"\x00\xff" * 20, headers={"Content-Encoding": encoding}
    )
    assert answer.status == 400


async def test_a_deflated_body_that_is_incomplete_is_the_clients_fault(app, serve):
    answer = await (await serve(app)).request(
        "POST", "/read/", body=zlib.compress(CONTENT)[:-9], headers={"Content-Encoding": "deflate"}
    )
    assert answer.status == 400


async def test_the_connection_serves_the_next_request(app, serve):
    """Also after bodies that nobody has read, or not to their end."""
    server = await serve(app)
    headers = {"Content-Encoding": "gzip"}
    async with server.client() as client:
        for path_ in ["/read/", "/nowhere/", "/sync/", "/chunks/"] * 2:
            answer = await client.request(
                "POST", path_, body=gzip.compress(CONTENT), headers=headers
            )
            assert answer.status == (404 if path_ == "/nowhere/" else 200)


# ---- Bounds ----


@pytest.fixture(params=["gzip", "deflate", "br", "zstd"])
def bomb(request):
    """A header, and a body that decodes to 64 MiB."""
    return request.param, ENCODERS[request.param](bytes(64 * 1024 * 1024))


async def test_django_receives_a_bomb_as_it_was_sent(app, serve, bomb):
    encoding, body = bomb
    seen = await seen_by_django(await serve(app), body, encoding)
    assert seen["length"] == str(len(body))


async def test_a_bomb_is_refused_before_it_is_on_the_disk(app, serve, bomb, monkeypatch):
    written = []

    class File(io.BytesIO):
        def __init__(self, **options):
            super().__init__()

        def writelines(self, lines):
            written.append(sum(map(len, lines)))

    monkeypatch.setattr("tempfile.TemporaryFile", File)
    encoding, body = bomb
    server = await serve(app, make_runner=web.AppRunner)
    headers = {"Content-Encoding": encoding}
    answer = await server.request("POST", "/sync/", body=body, headers=headers)
    assert answer.status == 413
    allowed = len(body) * MAX_RATIO
    assert sum(written) <= (allowed if allowed > RATIO_STARTS else 0)


@pytest.mark.parametrize("runner", RUNNERS)
async def test_a_coroutine_view_that_streams_is_spared_a_bomb(app, serve, bomb, runner):
    encoding, body = bomb
    headers = {"Content-Encoding": encoding}
    server = await serve(app, make_runner=RUNNERS[runner])
    answer = await server.request("POST", "/size/", body=body, headers=headers)
    assert answer.status == 413
    assert f"{MAX_RATIO} times" in answer.text
    assert (await server.request("POST", "/read/", body=body, headers=headers)).status == 413


@pytest.mark.parametrize("path_", ["/size/", "/read/"])
async def test_decompressors_are_given_up_at_once(app, serve, bomb, path_):
    """Their windows may have 16 MiB each."""
    encoding, body = bomb
    server = await serve(app)
    headers = {"Content-Encoding": encoding}
    gc.collect()
    gc.disable()
    try:
        for content in (body, ENCODERS[encoding](CONTENT)):
            await server.request("POST", path_, body=content, headers=headers)
        left = [each for each in gc.get_objects() if isinstance(each, DecompressionBaseHandler)]
    finally:
        gc.enable()
    assert not left


async def test_only_so_much_is_decoded_at_once(app, serve, bomb):
    largest = []

    async def first(request):
        largest.append(len(await request.content.readany()))
        return web.Response()

    app.router.add_post("/own/", first)
    encoding, body = bomb
    headers = {"Content-Encoding": encoding}
    await (await serve(app)).request("POST", "/own/", body=body, headers=headers)
    # brotli completes the block that it has begun.
    assert largest[0] <= 2 * DECODED_AT_ONCE


@pytest.mark.parametrize("runner", RUNNERS)
async def test_a_large_body_of_a_usual_ratio_passes(app, serve, runner):
    content = b"".join(b"%d: the same words in each line\n" % at for at in range(200_000))
    body = gzip.compress(content)
    assert len(content) > RATIO_STARTS
    assert len(content) < len(body) * MAX_RATIO / 10
    server = await serve(app, make_runner=RUNNERS[runner])
    headers = {"Content-Encoding": "gzip"}
    answer = await server.request("POST", "/size/", body=body, headers=headers)
    assert json.loads(answer.body) == len(content)
    seen = await seen_by_django(server, body, "gzip")
    assert seen["length"] == str(len(body if runner == "ours" else content))


async def test_a_small_body_may_have_any_ratio(app, serve):
    body = gzip.compress(bytes(RATIO_STARTS))
    answer = await (await serve(app)).request(
        "POST", "/read/", body=body, headers={"Content-Encoding": "gzip"}
    )
    assert answer.body == bytes(RATIO_STARTS)


def test_the_runner_does_not_decode_by_option():
    with pytest.raises(TypeError, match="no option auto_decompress"):
        AioRunner(web.Application(), auto_decompress=True)
