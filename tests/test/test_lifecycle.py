"""When the server of an AioClient begins and ends, and what it serves."""

import asyncio
import gc
import threading

import aiohttp
import pytest
from aiohttp import web
from asgiref.sync import async_to_sync
from django.core.wsgi import get_wsgi_application

from aiodjango import get_aio_application, setup
from aiodjango.test import AioClient
from tests.support.waiting import DEADLINE

pytestmark = pytest.mark.usefixtures("site")


class Events:
    """Makes applications that tell what happens to them."""

    def __init__(self):
        self.happened = []

    def make(self):
        app = get_aio_application()
        app.on_startup.append(self._note("startup"))
        app.on_cleanup.append(self._note("cleanup"))
        self.happened.append("made")
        return app

    def _note(self, event):
        async def note(app):
            self.happened.append(event)

        return note


def server_threads():
    """Threads that a server may leave behind. (asgiref keeps one of its own, and the process ours
    for the ORM, if an earlier test has used them.)
    """
    return [
        thread
        for thread in threading.enumerate()
        if thread.name.startswith("aiodjango-") and not thread.name.startswith("aiodjango-orm-")
    ]


def test_ends_with_the_loop():
    events = Events()
    client = AioClient(application=events.make)
    for _ in range(2):
        assert async_to_sync(client.get)("/headers/").status_code == 200
        assert server_threads() == []
    assert events.happened == ["made", "startup", "cleanup"] * 2


def test_ends_with_the_loop_while_a_view_is_busy():
    events = Events()
    client = AioClient(application=events.make)

    async def leave_things_open():
        response = await client.stream("GET", "/chat/")
        assert await response.content.readline() == b"ready\n"

    asyncio.run(leave_things_open())
    assert events.happened == ["made", "startup", "cleanup"]


def test_ends_with_the_loop_when_the_client_is_gone():
    events = Events()

    async def leave():
        await AioClient(application=events.make).get("/aio/headers/")
        for _ in range(10):  # until the connection is over, too
            await asyncio.sleep(0)
        gc.collect()
        assert events.happened == ["made", "startup"]

    asyncio.run(leave())
    assert events.happened == ["made", "startup", "cleanup"]


async def test_one_server_for_requests_at_once():
    events = Events()
    async with AioClient(application=events.make) as client:
        await asyncio.gather(*(client.get("/aio/headers/") for _ in range(4)))
        assert events.happened == ["made", "startup"]
    assert events.happened == ["made", "startup", "cleanup"]


async def test_close_and_start_again():
    events = Events()
    client = AioClient(application=events.make)
    await client.close()
    await client.get("/headers/")
    await client.close()
    await client.close()
    await client.get("/headers/")
    await client.close()
    assert events.happened == ["made", "startup", "cleanup"] * 2


async def test_application_that_fails_to_start():
    async def fail(app):
        raise OSError("no such service")

    def make():
        app = get_aio_application()
        app.on_startup.append(fail)
        return app

    client = AioClient(application=make)
    for _ in range(2):
        with pytest.raises(OSError, match="no such service"):
            await client.get("/headers/")


@pytest.mark.parametrize("kind", [list, tuple, iter])
async def test_application_that_is_not_djangos(kind):
    """The last kind has no close()."""

    def application(environ, start_response):
        start_response("200 OK", [])
        return kind([b"one ", b"two"])

    def make():
        app = web.Application()
        setup(app, application)
        return app

    async with AioClient(application=make) as client:
        for _ in range(2):
            assert (await client.get("/")).content == b"one two"


async def test_application_has_to_be_new():
    app = get_aio_application()
    client = AioClient(application=lambda: app)
    await client.get("/headers/")
    await client.close()
    with pytest.raises(ValueError, match="can be started only once"):
        await client.get("/headers/")


async def test_application_has_to_be_one():
    with pytest.raises(TypeError, match=r"requires an aiohttp\.web\.Application, not None"):
        await AioClient(application=lambda: None).get("/headers/")


def make_host():
    """An aiohttp application with a site under a prefix, and a route of its own."""

    async def own(request):
        return web.Response(text="the host's own")

    host = web.Application()
    host.add_routes([web.get("/own/", own)])
    host.add_subapp("/site/", get_aio_application())
    return host


class HostClient(AioClient):
    application = staticmethod(make_host)


async def test_site_in_a_host():
    async with HostClient() as client:
        assert (await client.get("/own/")).text == "the host's own"
        assert (await client.get("/site/headers/")).text == "text"
        assert (await client.get("/site/aio/headers/")).text == "text"
        # Where Django's views are the site's own, CSRF tokens aren't asked for here either.
        assert (await client.post("/site/form/")).status_code == 200


async def test_any_wsgi_application_behind():
    django = get_wsgi_application()

    def wsgi(environ, start_response):
        if environ["PATH_INFO"] == "/form/":
            return django(environ, start_response)
        if environ["PATH_INFO"] == "/fail/":
            raise KeyError("nobody has this key")
        start_response("200 OK", [("Content-Type", "text/plain")])
        if environ["PATH_INFO"] == "/list/":
            return [b"by", b"tes"]
        return parts(environ)

    def parts(environ):
        yield b"by"
        if environ["PATH_INFO"] == "/broken/":
            raise KeyError("nobody has this key")
        yield b"tes"

    def make():
        app = web.Application()
        setup(app, wsgi)
        return app

    async with AioClient(application=make) as client:
        assert (await client.get("/list/")).content == b"bytes"
        assert (await client.get("/generator/")).content == b"bytes"
        for path in ("/fail/", "/broken/"):
            with pytest.raises(KeyError, match="nobody has this key"):
                await client.get(path)
        # It's no handler of Django's, whose checks could be turned off.
        assert (await client.post("/form/")).status_code == 403


async def test_close_of_a_stream_has_been_called():
    closed = []

    class Parts:
        def __iter__(self):
            return iter([b"one", b"two"])

        def close(self):
            threading.Event().wait(0.05)  # longer than the response needs to arrive
            closed.append(threading.current_thread().name)

    def wsgi(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return Parts()

    def make():
        app = web.Application()
        setup(app, wsgi)
        return app

    async with AioClient(application=make) as client:
        for number in (1, 2):
            assert (await client.get("/")).content == b"onetwo"
            assert len(closed) == number


def test_stream_that_is_left_is_closed_with_the_server(caplog):
    closed = threading.Event()

    class Parts:
        streaming = True

        def __iter__(self):
            return iter([b"part"] * 1000)

        def close(self):
            closed.set()

    def wsgi(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return Parts()

    def make():
        app = web.Application()
        setup(app, wsgi)
        return app

    async def read_a_part():
        client = AioClient(application=make)
        response = await client.stream("GET", "/")
        await response.content.readany()

    asyncio.run(read_a_part())
    assert closed.wait(DEADLINE)
    assert caplog.records == []


async def test_client_error_is_raised_as_it_is():
    def make():
        app = web.Application()

        async def leave(request):
            request.transport.close()
            return web.Response()

        app.add_routes([web.get("/", leave)])
        return app

    async with AioClient(application=make) as client:
        with pytest.raises(aiohttp.ServerDisconnectedError, match="disconnected"):
            await client.get("/")
