"""Parts of a request that cannot be read: taken as missing, or answered as a client fault."""

import asyncio
import json

import pytest
from aiohttp import ClientError, MultipartReader, StreamReader, WSMsgType, web
from django.http import Http404
from django.urls import path

from tests.files.test_requests import UNREADABLE_DATES
from tests.support.lifted import lifted
from tests.support.waiting import DEADLINE

DATES = {
    "If-Modified-Since": "if_modified_since",
    "If-Unmodified-Since": "if_unmodified_since",
    "If-Range": "if_range",
}


@pytest.mark.parametrize("header", DATES)
async def test_an_unreadable_date_is_no_condition(aiohttp_client, tmp_path, header, caplog):
    (tmp_path / "a.txt").write_text("the file")

    async def reads(request):
        return web.json_response(getattr(request, DATES[header]))

    async def sends(request):
        return web.FileResponse(tmp_path / "a.txt")

    client = await aiohttp_client(lifted(path("reads/", reads), path("sends/", sends)))
    for date in UNREADABLE_DATES:
        headers = {header: date, "Range": "bytes=0-"}
        async with client.get("/reads/", headers=headers) as response:
            assert (response.status, await response.json()) == (200, None)
        async with client.get("/sends/", headers=headers) as response:
            assert await response.text() == "the file"
    assert caplog.records == []


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_content_type_that_takes_long_to_read_is_a_400(aiohttp_client, caplog, method):
    """It is not read at all, the page of the error included."""

    async def view(request):
        return web.Response(text=request.content_type)

    async def missing(request):
        raise Http404

    client = await aiohttp_client(lifted(path("x/", view), path("missing/", missing)))
    for length, status in [(512, 200), (513, 400), (8000, 400)]:
        headers = {"Content-Type": "text/plain" + ";" * (length - len("text/plain"))}
        async with client.request(method, "/x/", headers=headers) as response:
            assert response.status == status
    assert (await client.request(method, "/missing/", headers=headers)).status == 400
    assert {record.levelname for record in caplog.records} == {"WARNING"}


# ---- Bodies ----

FORM, MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"


def part(headers=b"", content=b"abc"):
    name = b"Content-Disposition: form-data; name=a\r\n"
    return b"--b\r\n" + name + headers + b"\r\n" + content + b"\r\n--b--\r\n"


async def post(request):
    return web.json_response(len(await request.post()))


async def text(request):
    return web.Response(text=await request.text())


async def json_(request):
    return web.json_response(await request.json())


async def multipart(request):
    async for each in await request.multipart():
        await each.text()
    return web.Response()


async def multipart_json(request):
    async for each in await request.multipart():
        await each.json()
    return web.Response()


async def http_range(request):
    return web.Response(text=str(request.http_range))


URLS = [path(f"{view.__name__}/", view) for view in (post, text, json_, multipart, multipart_json)]


@pytest.mark.parametrize(
    ("url", "content_type", "body"),
    [
        ("post", f"{FORM}; charset=nope", b"a=b"),
        ("post", f"{FORM}; charset=hex", b"a=b"),
        ("post", f"{FORM}; charset=utf-16", b"a=b"),
        ("post", FORM, b"a=\xff"),
        ("post", "multipart/form-data", b"abc"),
        ("post", f"multipart/form-data; boundary={'b' * 71}", b"abc"),
        ("post", MULTIPART, b""),
        ("post", MULTIPART, b"abc"),
        ("post", MULTIPART, b"--b\r\n\r\nabc"),
        ("post", MULTIPART, b"--b\r\nX\r\n\r\nabc\r\n--b--"),
        ("post", MULTIPART, b"--b\r\nX: " + b"x" * 9000 + b"\r\n\r\nabc\r\n--b--"),
        ("post", MULTIPART, b"--b\r\n" + b"a: b\r\n" * 300 + b"\r\nabc\r\n--b--"),
        ("post", MULTIPART, part(content=b"\xff")),
        ("post", MULTIPART, part(b"Content-Type: text/plain; charset=nope\r\n")),
        ("post", MULTIPART, part(b"Content-Transfer-Encoding: base64\r\n", b"abcde")),
        ("post", MULTIPART, part(b"Content-Transfer-Encoding: what\r\n")),
        ("post", MULTIPART, part(b"Content-Type: multipart/mixed; boundary=c\r\n", b"--c\r\n")),
        (
            "post",
            MULTIPART,
            part().replace(b"name=a", b"name=_charset_").replace(b"abc", b"x" * 99),
        ),
        ("multipart", "text/plain", b"abc"),
        ("multipart", MULTIPART, b"abc"),
        ("multipart", MULTIPART, part(content=b"\xff")),
        ("multipart", MULTIPART, b"--b\r\n\r\nabc"),
        ("multipart_json", MULTIPART, part(content=b"{")),
        ("text", "text/plain; charset=nope", b"abc"),
        ("text", "text/plain", b"\xff"),
        ("json_", "application/json; charset=nope", b"{}"),
        ("json_", "application/json", b"\xff"),
        ("json_", "application/json", b"{"),
        ("json_", "application/json", b""),
        ("json_", "application/json", b"[" * 200_000),
        ("json_", "application/json", b"1" * 5000),
    ],
)
async def test_a_body_that_cannot_be_read_is_a_400(aiohttp_client, caplog, url, content_type, body):
    client = await aiohttp_client(lifted(*URLS))
    headers = {"Content-Type": content_type}
    async with client.post(f"/{url}/", data=body, headers=headers) as response:
        assert response.status == 400
    # No error, so no mail.
    (record,) = (record for record in caplog.records if record.name != "aiohttp.access")
    assert (record.name, record.levelname) == ("django.request", "WARNING")
    assert record.getMessage().startswith("The request cannot be read (")
    # What it would be with proper bytes.
    assert (await client.get("/text/")).status == 200


async def test_under_debug_the_page_of_a_400_shows_where(aiohttp_client, settings):
    settings.DEBUG = True
    client = await aiohttp_client(lifted(*URLS))
    headers = {"Content-Type": "text/plain", "Accept": "text/html"}
    async with client.post("/text/", data=b"\xff", headers=headers) as response:
        assert response.status == 400
        shown = await response.text()
    assert "UnicodeDecodeError" in shown
    assert "return web.Response(text=await request.text())" in shown


@pytest.mark.parametrize("value", ["lines=1", "bytes=5-2", f"bytes={'1' * 5000}-"])
async def test_a_range_that_cannot_be_read_is_a_400(aiohttp_client, caplog, value):
    client = await aiohttp_client(lifted(path("x/", http_range)))
    assert (await client.get("/x/", headers={"Range": value})).status == 400
    assert [record.levelname for record in caplog.records] == ["WARNING"]


# ---- Errors of the view, however alike ----


async def own_error(request):
    await request.post()
    raise ValueError("my own")


async def own_key(request):
    return (await request.post())["missing"]


async def own_json(request):
    return json.loads("{" + await request.text())


def own_loads(data):
    raise ValueError("my own")


async def own_decoder(request):
    return await request.json(loads=own_loads)


async def of_another_server(request):
    stream = StreamReader(request.protocol, 2**16, loop=asyncio.get_running_loop())
    stream.feed_data(b"no boundary")
    stream.feed_eof()
    reader = MultipartReader({"Content-Type": MULTIPART}, stream)
    await reader.next()


@pytest.mark.parametrize("view", [own_error, own_key, own_json, own_decoder, of_another_server])
async def test_an_error_of_the_view_is_a_500(aiohttp_client, caplog, view):
    client = await aiohttp_client(lifted(path("x/", view)))
    async with client.post("/x/", data={"a": "b"}) as response:
        assert response.status == 500
    assert [record.levelname for record in caplog.records] == ["ERROR"]


# ---- After the response has begun ----


async def socket(request):
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    while True:
        await ws.send_json(await ws.receive_json())


async def stream(request):
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"so far")
    await request.text()


@pytest.mark.parametrize("message", ["{", "\ud7ff", b"\xff"])
async def test_a_message_that_cannot_be_read_closes_the_websocket(aiohttp_client, caplog, message):
    client = await aiohttp_client(lifted(path("ws/", socket)))
    async with client.ws_connect("/ws/") as ws:
        await ws.send_json({"a": 1})
        assert await ws.receive_json() == {"a": 1}
        send = ws.send_bytes if isinstance(message, bytes) else ws.send_str
        await send(message)
        closing = await ws.receive(timeout=DEADLINE)
        assert (closing.type, closing.data) == (WSMsgType.CLOSE, 1007)
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("django.request", "WARNING")


async def test_a_client_that_closes_its_websocket_is_no_error(aiohttp_client, caplog):
    ended = asyncio.Event()

    async def view(request):
        request.task.add_done_callback(lambda _: ended.set())
        await socket(request)

    client = await aiohttp_client(lifted(path("ws/", view)))
    async with client.ws_connect("/ws/") as ws:
        await ws.send_json({"a": 1})
        await ws.receive_json()
    await asyncio.wait_for(ended.wait(), DEADLINE)
    assert caplog.records == []


async def test_a_body_that_cannot_be_read_cuts_off_a_stream(aiohttp_client, caplog):
    client = await aiohttp_client(lifted(path("x/", stream)))
    with pytest.raises(ClientError):
        async with client.post("/x/", data=b"\xff") as response:
            await response.read()
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("django.request", "WARNING")
