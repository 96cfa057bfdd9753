"""A real browser on a page of another site, and on one of our own."""

import pytest
from aiohttp import web
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from tests.support.lifted import lifted

pytestmark = pytest.mark.browser


# Each returns what the page itself learns.
SOCKET = """url => new Promise(resolve => {
    const socket = new WebSocket(url);
    socket.onopen = () => { socket.close(); resolve("open"); };
    socket.onerror = () => resolve("refused");
})"""
FETCH = """async url => {
    const options = {method: "POST", mode: "no-cors", credentials: "include", body: "a=b"};
    const response = await fetch(url, options);
    return response.type + " " + response.status;
}"""
FORM = """url => {
    const form = document.createElement("form");
    form.method = "POST"; form.action = url;
    document.body.append(form); form.submit();
}"""
SANDBOXED = """([url, fetching]) => new Promise(resolve => {
    const frame = document.createElement("iframe");
    frame.sandbox = "allow-scripts";
    frame.srcdoc = `<script>(${fetching})("${url}").then(r => parent.postMessage(r, "*"))</script>`;
    onmessage = event => resolve(event.data);
    document.body.append(frame);
})"""


@pytest.fixture
def calls():
    return []


@pytest.fixture
async def site(aiohttp_server, calls):
    """The site, as 127.0.0.1; `calls` notes which requests reach its views."""

    def note(request):
        calls.append((request.path, request.headers.get("Origin"), request.cookies.get("mine")))

    async def home(request):
        response = web.Response(text="<body></body>", content_type="text/html")
        response.set_cookie("mine", "yes")
        return response

    async def change(request):
        note(request)
        return web.Response(text="changed")

    async def socket(request):
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        note(request)
        async for _ in ws:
            pass
        return ws

    return await aiohttp_server(
        lifted(
            path("", home),
            path("change/", change),
            path("open/", csrf_exempt(change)),
            path("socket/", socket),
        )
    )


@pytest.fixture
async def foreign(aiohttp_server):
    """A page of another site: localhost is not 127.0.0.1."""

    async def home(request):
        return web.Response(text="<body></body>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/", home)
    server = await aiohttp_server(app)
    return f"http://localhost:{server.port}/"


async def test_a_page_of_another_site(page, site, foreign, calls, caplog):
    await page.goto(str(site.make_url("/")))  # so that the browser has our cookie
    await page.goto(foreign)
    assert await page.evaluate(SOCKET, f"ws://127.0.0.1:{site.port}/socket/") == "refused"
    assert await page.evaluate(FETCH, str(site.make_url("/change/"))) == "opaque 0"
    assert calls == []
    async with page.expect_navigation() as navigation:
        await page.evaluate(FORM, str(site.make_url("/change/")))
    assert (await (await navigation.value).text()).count("CSRF verification failed") == 1
    assert calls == []
    assert [record.name for record in caplog.records] == ["django.security.csrf"] * 3
    await page.goto(foreign)
    assert await page.evaluate(FETCH, str(site.make_url("/open/"))) == "opaque 0"
    assert [(path, origin) for path, origin, _ in calls] == [("/open/", foreign.rstrip("/"))]


async def test_a_page_of_our_own(page, site, calls):
    await page.goto(str(site.make_url("/")))
    origin = str(site.make_url("")).rstrip("/")
    assert await page.evaluate(SOCKET, f"ws://127.0.0.1:{site.port}/socket/") == "open"
    assert await page.evaluate(FETCH, str(site.make_url("/change/"))) == "basic 200"
    assert calls == [("/socket/", origin, "yes"), ("/change/", origin, "yes")]


async def test_a_sandboxed_frame_has_no_origin(page, site, calls, caplog):
    await page.goto(str(site.make_url("/")))
    url = str(site.make_url("/change/"))
    assert await page.evaluate(SANDBOXED, [url, FETCH]) == "opaque 0"
    assert calls == []
    assert "Origin checking failed - null" in caplog.text


async def test_an_origin_that_is_trusted(page, aiohttp_server, foreign, settings, calls):
    settings.CSRF_TRUSTED_ORIGINS = [foreign.rstrip("/")]

    async def change(request):
        calls.append(request.path)
        return web.Response()

    server = await aiohttp_server(lifted(path("change/", change)))
    await page.goto(foreign)
    await page.evaluate(FETCH, str(server.make_url("/change/")))
    assert calls == ["/change/"]
