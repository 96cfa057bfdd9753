"""What is kept in a thread from one request to the next: the same as under gunicorn's threads."""

import asyncio
import contextvars
import json
import threading

from aiohttp import web
from asgiref.local import Local
from asgiref.sync import async_to_sync

from tests.conftest import require
from tests.gateway import leftovers
from tests.support.server import serve as serve_process

PATHS = ["/", "/set/1", "/", "/coroutine", "/", "/stream", "/set/2", "/delete", "/", "/stream"]


async def test_as_under_gunicorn(serve, tmp_path):
    require(module="gunicorn")
    command = ["-m", "gunicorn", "tests.gateway.leftovers:application", "--bind=fd://{fd}"]
    command += ["--worker-class=gthread", "--threads=1", "--no-control-socket"]
    with serve_process(command, tmp_path / "log") as process:
        async with process.client() as client:
            under_gunicorn = []
            for path in PATHS:
                async with client.get(path) as response:
                    under_gunicorn.append(await response.json(content_type=None))

    # What the loop's context has is not for the threads.
    leftovers.local.value = "of the loop"
    server = await serve(leftovers.application, threads=1)
    here = [json.loads((await server.get(path)).body) for path in PATHS]
    assert here == under_gunicorn
    # The test would show nothing else.
    assert [seen["local"] for seen, _ in here[1:3]] == [None, "/set/1"]


async def test_a_local_of_the_loop_does_not_hide_that_of_the_thread(serve):
    local = Local()
    made = []

    class Connection:
        def __init__(self):
            made.append(threading.get_ident())

    def use():
        try:
            return local.connection
        except AttributeError:
            local.connection = Connection()
            return local.connection

    @web.middleware
    async def of_the_loop(request, handler):
        local.connection = request.path
        response = await handler(request)
        assert local.connection == request.path
        return response

    async def in_coroutine():
        return id(use())

    def application(environ, start_response):
        start_response("200 OK", [])
        yield f"{id(use())} {async_to_sync(in_coroutine)()} ".encode()
        yield f"{id(use())}".encode()

    server = await serve(application, middlewares=[of_the_loop], threads=3)
    answers = await asyncio.gather(*(server.get(f"/{n}") for n in range(30)))
    assert {answer.status for answer in answers} == {200}
    used = [set(answer.text.split()) for answer in answers]
    assert all(len(one) == 1 for one in used)
    assert len(made) == len(set(made)) == len(set.union(*used)) <= 3


async def test_what_a_request_carries_is_taken_off_again(serve):
    """Whatever the application has made of it meanwhile."""
    trace = contextvars.ContextVar("trace", default="none")
    own = contextvars.ContextVar("own", default="none")

    @web.middleware
    async def traced(request, handler):
        if request.path.startswith("/traced"):
            trace.set(request.path)
        return await handler(request)

    async def extend():
        trace.set(trace.get() + "+")
        await asyncio.sleep(0)
        return trace.get()

    seen = []

    def application(environ, start_response):
        before = trace.get(), own.get()
        own.set(environ["PATH_INFO"])
        if environ["PATH_INFO"] == "/traced/fails":
            trace.set("broken")
            raise LookupError
        seen.append([*before, async_to_sync(extend)()])
        start_response("200 OK", [])
        return [b""]

    server = await serve(application, middlewares=[traced], threads=1)
    for path in ["/traced/1", "/plain", "/traced/fails", "/traced/2", "/plain"]:
        await server.get(path)
    assert seen == [
        ["/traced/1", "none", "/traced/1+"],
        ["none", "/traced/1", "none+"],
        ["/traced/2", "/traced/fails", "/traced/2+"],
        # What no middleware has set is the thread's own, as under any WSGI server.
        ["none+", "/traced/2", "none++"],
    ]


async def test_a_thread_begins_with_an_empty_context(serve):
    """Also on a free-threaded Python, where threads inherit the context of their starter."""
    variable = contextvars.ContextVar("variable")
    seen = []

    def at_end():
        seen.append((threading.current_thread().name, [*contextvars.copy_context()]))

    def application(environ, start_response):
        seen.append(variable.get())
        start_response("200 OK", [])
        return []

    variable.set("of the loop")
    server = await serve(application, threads=1, at_thread_end=at_end)
    await server.get()
    await server.gateway.close()
    (before, (name, left)) = seen
    assert before == "of the loop"
    assert name == "aiodjango-0"
    assert variable not in left
