"""What the command serves, and the lines that it logs."""

import asyncio
import re
import ssl

import aiohttp
import pytest
from aiohttp import WSCloseCode

from tests.support.waiting import DEADLINE

from .conftest import get


async def test_banner(runserver):
    server = await runserver("--noreload", "127.0.0.1:0", DJANGO_RUNSERVER_HIDE_WARNING="")
    url = await server.started()
    await server.wait_for("WARNING: This is a development server")
    assert re.search(
        r"\n\w+ \d\d, \d{4} - \S+\n"
        r"Django version \S+, aiodjango version \S+, using settings 'devsite.settings'\n"
        rf"Starting aiodjango development server at {re.escape(url)}/\n"
        r"8 coroutine views are served by aiohttp, everything else by Django\.\n"
        r"Quit the server with CONTROL-C\.\n",
        server.output,
    )


async def test_the_warning_of_the_banner_can_be_hidden(runserver):
    server = await runserver("--noreload", "127.0.0.1:0")
    url = await server.started()
    await get(f"{url}/sync/")
    assert "WARNING" not in server.output


REQUESTS = [
    ("GET", "/sync/", None),
    ("HEAD", "/sync/", None),
    ("POST", "/status/403/", b"a=1"),
    ("GET", "/sync/?q=a%20b&r=%C3%A9", None),
    ("GET", "/sync", None),
    ("GET", "/moved/", None),
    ("GET", "/streamed/", None),
    ("GET", "/file/", None),
    ("HEAD", "/file/", None),
    ("GET", "/status/204/", None),
    ("GET", "/status/304/", None),
    ("GET", "/status/404/", None),
    ("GET", "/status/500/", None),
    ("GET", "/status/503/", None),
    ("GET", "/caf%C3%A9/%2F/%22/", None),
    ("GET", "/static/style.css", None),
    ("HEAD", "/static/style.css", None),
    ("GET", "/static/none.css", None),
    ("GET", "/sync/?last", None),
]


async def log_of(server, client, requests):
    url = await server.started()
    for method, path, data in requests:
        async with client.request(method, url + path, data=data, allow_redirects=False) as response:
            await response.read()
        # Django's threads write a line after the response, in any order among themselves.
        path = re.escape(path.partition("?")[0])
        await server.wait_for(rf'"{method} {path}\S* HTTP/1\.1".*\n')
    return server.log()


async def test_sync_views_and_static_files_are_logged_as_by_django(runserver, client):
    # Without DEBUG, so that no debug page tells the server's port or its headers.
    arguments = ["--noreload", "--insecure", "127.0.0.1:0"]
    ours = await runserver(*arguments, DEVSITE_NO_DEBUG="1")
    logged = await log_of(ours, client, REQUESTS)
    djangos = await runserver("--noaio", *arguments, DEVSITE_NO_DEBUG="1")
    assert logged == await log_of(djangos, client, REQUESTS)
    assert '"GET /sync/ HTTP/1.1" 200 19' in logged
    assert '"HEAD /sync/ HTTP/1.1" 200 0' in logged
    assert '"GET /streamed/ HTTP/1.1" 200 123' in logged


async def test_coroutine_views_are_logged_alike(runserver, client):
    server = await runserver("--noreload", "127.0.0.1:0")
    requests = [
        ("GET", "/lifted/", None),
        ("HEAD", "/lifted/", None),
        ("GET", "/chunks/", None),
        ("POST", "/lifted/?last", b"a=1"),
    ]
    assert await log_of(server, client, requests) == [
        '"GET /lifted/ HTTP/1.1" 200 21',
        '"HEAD /lifted/ HTTP/1.1" 200 0',
        # The body's bytes, not those of the chunks around them.
        '"GET /chunks/ HTTP/1.1" 200 123',
        '"POST /lifted/?last HTTP/1.1" 200 21',
    ]


async def test_a_websocket_has_a_line_when_it_opens_and_one_when_it_closes(runserver, client):
    server = await runserver("--noreload", "127.0.0.1:0")
    url = await server.started()
    async with client.ws_connect(f"{url}/ws/?room=1") as ws:
        await server.wait_for(r'"GET /ws/\?room=1 HTTP/1.1" 101 - WebSocket opened\n')
        await ws.send_str("hello")
        assert await ws.receive_str() == "hello"
        assert "closed" not in server.output
    await server.wait_for(
        r'"GET /ws/\?room=1 HTTP/1.1" 101 - WebSocket closed \(1000\) after \d+\.\d s\n'
    )
    async with client.get(f"{url}/ws/") as response:
        assert response.status == 400
    await server.wait_for(r'"GET /ws/ HTTP/1.1" 400 \d+\n')


HANDSHAKE = (
    b"GET /ws/ HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


async def test_a_websocket_that_breaks_has_a_closing_line_too(runserver, client):
    server = await runserver("--noreload", "127.0.0.1:0")
    url = await server.started()
    async with client.ws_connect(f"{url}/ws/failing/", autoclose=False) as ws:
        await ws.send_str("fail")
        assert (await ws.receive()).data == WSCloseCode.INTERNAL_ERROR
        await ws.close(code=WSCloseCode.INTERNAL_ERROR)
    await server.wait_for("ValueError: the view failed")
    await server.wait_for(r'"GET /ws/failing/ HTTP/1.1" 101 - WebSocket closed \(1011\) after ')

    host, port = url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(HANDSHAKE)
    await server.wait_for("WebSocket opened")
    writer.transport.abort()
    await server.wait_for(r'"GET /ws/ HTTP/1.1" 101 - WebSocket closed \(1006\) after ')
    assert server.output.count("Traceback") == 1


async def test_a_client_that_leaves_a_stream_is_no_error(runserver, client):
    server = await runserver("--noreload", "127.0.0.1:0")
    url = await server.started()
    async with client.get(f"{url}/ticks/") as response:
        assert await response.content.readline() == b"tick\n"
        response.close()
    # The stream finds out at one of its next writes.
    await server.wait_for(r'"GET /ticks/ HTTP/1.1" 200 \d+\n')
    assert "Traceback" not in server.output


async def test_a_client_that_leaves_a_hosts_stream_has_djangos_line(runserver, client):
    server = await runserver("--noreload", "127.0.0.1:0", DEVSITE_AIO_APPLICATION="devsite.aio.app")
    url = await server.started()
    async with client.get(f"{url}/ticks/") as response:
        assert await response.content.readline() == b"tick\n"
        response.close()
    await server.wait_for(r"- Broken pipe from 127\.0\.0\.1\n")
    assert "Traceback" not in server.output


async def raw(url, data):
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(data)
    answer = await asyncio.wait_for(reader.read(), DEADLINE)
    writer.close()
    await writer.wait_closed()
    return answer


async def test_requests_that_are_no_http_get_a_line_and_no_traceback(runserver):
    server = await runserver("--noreload", "127.0.0.1:0")
    url = await server.started()
    for nonsense in [
        b"hello\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nno header\r\n\r\n",
        b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\n\r\n",
    ]:
        assert (await raw(url, nonsense)).startswith(b"HTTP/1.0 400 ")
        await server.wait_for(r'code 400, message .+\n\[.+] "-" 400 -\n')
    assert "Traceback" not in server.output


async def test_https_on_this_port_gets_djangos_hint(runserver):
    server = await runserver("--noreload", "127.0.0.1:0")
    url = await server.started()
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorSSLError, match="SSL"):
            await session.get(url.replace("http:", "https:"), ssl=ssl.create_default_context())
    await server.wait_for(
        "You're accessing the development server over HTTPS, but it only supports HTTP."
    )
    assert server.log() == [
        "You're accessing the development server over HTTPS, but it only supports HTTP."
    ]


COLOURFUL = [
    ("GET", "/sync/", None),
    ("GET", "/moved/", None),
    ("GET", "/status/404/", None),
    ("GET", "/status/403/", None),
    ("GET", "/status/500/", None),
    ("GET", "/status/304/", None),
    ("GET", "/sync/?last", None),
]


@pytest.mark.parametrize("palette", ["dark", "light;http_not_found=blue,bold"])
async def test_colours_on_a_terminal_are_djangos(runserver, client, palette):
    variables = {"TERM": "xterm", "DJANGO_COLORS": palette, "DEVSITE_NO_DEBUG": "1"}
    ours = await runserver("--noreload", "127.0.0.1:0", terminal=True, **variables)
    coloured = await log_of(ours, client, COLOURFUL)
    djangos = await runserver("--noreload", "--noaio", "127.0.0.1:0", terminal=True, **variables)
    assert coloured == await log_of(djangos, client, COLOURFUL)
    not_found = "33" if palette == "dark" else "34;1"
    assert any(f'\x1b[{not_found}m"GET /status/404/ HTTP/1.1"' in line for line in coloured)


@pytest.mark.parametrize(
    ("arguments", "variables"), [(["--no-color"], {}), ([], {"DJANGO_COLORS": "nocolor"})]
)
async def test_no_colours_when_they_are_not_wanted(runserver, client, arguments, variables):
    server = await runserver(
        "--noreload", "127.0.0.1:0", *arguments, terminal=True, TERM="xterm", **variables
    )
    await log_of(server, client, [("GET", "/status/404/?last", None)])
    assert "\x1b" not in server.output


async def body(client, url):
    async with client.get(url) as response:
        return response.status, await response.text()


async def test_static_files_come_through_the_finders_before_any_view(runserver, client):
    server = await runserver("--noreload", "127.0.0.1:0")
    url = await server.started()
    assert await body(client, f"{url}/static/style.css") == (200, "body { color: green }\n")
    assert await body(client, f"{url}/static-url/") == (200, "/static/style.css")
    status, text = await body(client, f"{url}/static/none.css")
    assert status == 404
    assert "none.css" in text


@pytest.mark.parametrize(
    ("arguments", "variables"), [(["--nostatic"], {}), ([], {"DEVSITE_NO_DEBUG": "1"})]
)
async def test_without_static_files_their_urls_belong_to_the_views(
    runserver, client, arguments, variables
):
    server = await runserver("--noreload", "127.0.0.1:0", *arguments, **variables)
    url = await server.started()
    assert await body(client, f"{url}/static/style.css") == (200, "caught static/style.css")


async def test_insecure_serves_static_files_without_debug(runserver, client):
    server = await runserver("--noreload", "--insecure", "127.0.0.1:0", DEVSITE_NO_DEBUG="1")
    url = await server.started()
    assert await body(client, f"{url}/static/style.css") == (200, "body { color: green }\n")


@pytest.mark.parametrize(
    ("setting", "place"),
    [("static/", "/site/static/"), ("/assets/", "/assets/"), ("/site/s/", "/site/s/")],
)
async def test_static_files_of_a_mounted_site(runserver, client, setting, place):
    server = await runserver(
        "--noreload",
        "127.0.0.1:0",
        DEVSITE_AIO_APPLICATION="devsite.aio.app",
        DEVSITE_STATIC_URL=setting,
    )
    url = await server.started()
    assert await body(client, f"{url}/site/static-url/") == (200, f"{place}style.css")
    assert await body(client, f"{url}{place}style.css") == (200, "body { color: green }\n")


async def test_static_files_of_another_host_are_left_to_it(runserver, client):
    server = await runserver(
        "--noreload", "127.0.0.1:0", DEVSITE_STATIC_URL="https://static.example.com/static/"
    )
    url = await server.started()
    assert await body(client, f"{url}/static/style.css") == (200, "caught static/style.css")


@pytest.mark.parametrize("path", ["/sync/", "/lifted/"])
async def test_long_lines_are_taken_as_by_djangos_own(runserver, path):
    server = await runserver("--noreload", "127.0.0.1:0")
    url = await server.started()
    headers = {"X-Long": "a" * 60_000}
    async with (
        aiohttp.ClientSession() as client,
        client.get(f"{url}{path}?{'a' * 60_000}", headers=headers) as response,
    ):
        assert response.status == 200
