"""The tutorial, done as its reader would: each file, each command, and a visit after each part."""

import asyncio
import re
import shlex
import signal
from contextlib import AsyncExitStack

import aiohttp
import pytest

from tests.conftest import require
from tests.support.browser import chromium
from tests.support.server import DEADLINE, Server
from tests.system.docs.reader import DOCS, PASSWORD, Command, Reader, read_page
from tests.system.example.hosts import running_redis

TITLES = [
    "1. A plain Django project",
    "2. Add aiodjango",
    "3. A coroutine view",
    "4. A WebSocket",
    "5. Users",
    "6. From the admin to the open pages",
    "7. Tests",
    "8. Production",
    "9. Two workers",
]


class Visitor:
    """A browser's part: cookies, Django's forms, WebSockets."""

    def __init__(self, server: Server) -> None:
        self.session = aiohttp.ClientSession(
            f"http://127.0.0.1:{server.address}",
            cookie_jar=aiohttp.CookieJar(unsafe=True),
            timeout=aiohttp.ClientTimeout(DEADLINE),
        )

    async def __aenter__(self) -> "Visitor":
        await self.session.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.session.__aexit__(*exc_info)

    async def get(self, path: str) -> str:
        async with self.session.get(path) as response:
            assert response.status == 200
            return await response.text()

    async def submit(self, path: str, *, form_at: str = "", **form: str) -> str:
        """Fill in a form of Django's, and send it; return the page that comes after."""
        page = await self.get(form_at or path)
        form["csrfmiddlewaretoken"] = re.search(r'csrfmiddlewaretoken" value="(\w+)"', page)[1]
        async with self.session.post(path, data=form) as response:
            assert response.status == 200
            text = await response.text()
        assert "Please correct" not in text
        return text

    async def log_in(self) -> None:
        await self.submit("/admin/login/?next=/admin/", username="ann", password=PASSWORD)

    def page(self) -> aiohttp.client._WSRequestContextManager:
        return self.session.ws_connect("/live/")


async def read_note(ws: aiohttp.ClientWebSocketResponse) -> tuple[str, str]:
    note = await ws.receive_json(timeout=DEADLINE)
    return note["text"], note["author"]


async def read_until_closed(ws: aiohttp.ClientWebSocketResponse) -> None:
    while (await ws.receive(timeout=DEADLINE)).type is not aiohttp.WSMsgType.CLOSE:
        pass


async def read_until(ws: aiohttp.ClientWebSocketResponse, last: tuple[str, str]) -> None:
    while await read_note(ws) != last:
        pass


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """One for all tests: each goes on where the one before has ended.

    The page has its reader add a note in the first part.
    """
    with running_redis(require(program="redis-server")) as redis:
        replaced = {"redis://127.0.0.1:6379": redis.url}
        reader = Reader("tutorial.rst", tmp_path_factory.mktemp("tutorial"), replaced)
        try:
            asyncio.run(add_first_note(reader.read(TITLES[0])))
            yield reader
        finally:
            reader.close()


async def add_first_note(server):
    async with Visitor(server) as visitor:
        await visitor.log_in()
        await visitor.submit("/admin/wall/note/add/", text="Hello", author="ann")
        assert "<li>Hello (ann)</li>" in await visitor.get("/")


def test_all_parts_are_read():
    assert list(read_page("tutorial.rst")) == TITLES


async def test_aiodjango_joins_in(reader):
    server = reader.read(TITLES[1])
    assert "Starting aiodjango development server" in server.output()
    assert "System check identified no issues" in server.output()
    async with Visitor(server) as visitor:
        assert "<li>Hello (ann)</li>" in await visitor.get("/")


async def test_coroutine_view(reader):
    server = reader.read(TITLES[2])
    ((command, shown),) = reader.shown
    path = shlex.split(command)[1].removeprefix("http://127.0.0.1:8000")
    async with Visitor(server) as visitor:
        assert await visitor.get(path) == shown.rstrip()


async def test_websocket(reader):
    server = reader.read(TITLES[3])
    async with Visitor(server) as visitor:
        assert "form?.addEventListener" in await visitor.get("/static/wall/wall.js")
        async with visitor.page() as one, visitor.page() as other:
            assert await read_note(one) == ("Hello", "ann")
            assert await read_note(other) == ("Hello", "ann")
            await one.send_json("From one page")
            assert await read_note(one) == ("From one page", "")
            assert await read_note(other) == ("From one page", "")


async def test_only_users_write(reader):
    server = reader.read(TITLES[4])
    async with Visitor(server) as guest, Visitor(server) as ann:
        await ann.log_in()
        assert "Say something, ann" in await ann.get("/")
        assert "Log in" in await guest.get("/")
        async with guest.page() as theirs, ann.page() as hers:
            await theirs.send_json("Nobody wrote this")
            await hers.send_json("I wrote this")
            await read_until(theirs, ("I wrote this", "ann"))
            await ann.submit("/admin/logout/", form_at="/admin/")
            await read_until_closed(hers)
        assert "Nobody wrote this" not in await guest.get("/notes/")


async def test_admin_reaches_open_pages(reader):
    server = reader.read(TITLES[5])
    async with Visitor(server) as guest, Visitor(server) as ann:
        await ann.log_in()
        async with guest.page() as theirs, ann.page() as hers:
            await read_until(theirs, ("I wrote this", "ann"))
            await ann.submit("/admin/wall/note/add/", text="From the admin", author="ann")
            assert await read_note(theirs) == ("From the admin", "ann")
            await hers.send_json("From a page")
            assert await read_note(theirs) == ("From a page", "ann")


def test_its_tests_pass(reader):
    reader.read(TITLES[6])
    number = (DOCS / "tutorial/tests/wall/tests.py").read_text().count("def test_")
    assert f"Ran {number} tests" in reader.output


@pytest.mark.browser
async def test_two_windows_of_a_browser(reader):
    """What the other tests can't see: that the page's script does its part."""
    url = f"http://127.0.0.1:{reader.read(TITLES[6]).address}"
    async with chromium() as browser:
        from playwright.async_api import expect

        expect.set_options(timeout=DEADLINE * 1000)
        one, other = [await (await browser.new_context()).new_page() for _ in range(2)]
        await other.goto(url)
        await one.goto(url)
        await one.get_by_role("link", name="Log in").click()
        await one.get_by_label("Username").fill("ann")
        await one.get_by_label("Password").fill(PASSWORD)
        await one.get_by_role("button", name="Log in").click()
        await one.get_by_placeholder("Say something, ann").fill("From a window")
        await one.keyboard.press("Enter")
        await expect(other.locator("li").first).to_have_text("From a window (ann)")
        await expect(one.locator("li").first).to_have_text("From a window (ann)")


async def test_production(reader):
    require(module="gunicorn")
    server = reader.read(TITLES[7])
    async with Visitor(server) as visitor:
        assert "<h1>The wall</h1>" in await visitor.get("/")
        assert "form?.addEventListener" in await visitor.get("/static/wall/wall.js")
        async with visitor.page() as ws:
            await read_until(ws, ("From a page", "ann"))
            server.process.send_signal(signal.SIGTERM)
            await read_until_closed(ws)
            assert ws.close_code == aiohttp.WSCloseCode.GOING_AWAY
    assert await server.wait() == 0


async def test_two_workers(reader):
    for module in ("gunicorn", "redis"):
        require(module=module)
    server = reader.read(TITLES[8])
    (command,) = [
        step
        for step in reader.sections[TITLES[8]]
        if isinstance(step, Command) and "aiobroadcast" in step.line
    ]
    async with Visitor(server) as ann, AsyncExitStack() as stack:
        await ann.log_in()
        hers = await stack.enter_async_context(ann.page())
        # So many that some are the other worker's.
        pages = [await stack.enter_async_context(Visitor(server)) for _ in range(20)]
        theirs = [await stack.enter_async_context(page.page()) for page in pages]
        for ws in [hers, *theirs]:
            await read_until(ws, ("From a page", "ann"))
        await hers.send_json("To both workers")
        for ws in theirs:
            await read_until(ws, ("To both workers", "ann"))
        await asyncio.to_thread(reader.do, command)
        for ws in theirs:
            assert await read_note(ws) == ("Closing time", "the shell")
