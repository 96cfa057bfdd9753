"""Under DEBUG: what blocks the event loop is named in the log, and nothing else is."""

import asyncio
import collections
import functools
import importlib
import io
import itertools
import pdb
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from asgiref.sync import async_to_sync
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views import View

from aiodjango import django_view, get_aio_application, get_aio_subapp
from aiodjango.notes import blocking as blocked
from tests.conftest import require
from tests.support import blocking
from tests.support.environment import ROOT, environment
from tests.support.waiting import DEADLINE, wait_until

pytestmark = pytest.mark.skipif(
    not blocked.can_look_at_frames(), reason="a free-threaded Python before 3.14 names no views"
)

LONG = 0.2  # seconds, that a view here blocks


# ---- The views; "the line" marks where a task stands ----


async def lifted(request):
    time.sleep(LONG)  # the line
    return web.Response()


async def until_named(request):
    wait_until(named["condition"])
    return web.Response()


named = {"condition": lambda: True}


async def with_value(request, number):
    await asyncio.sleep(0)
    time.sleep(LONG)  # the line
    return web.Response()


async def through_helper(request):
    blocking.read_slowly()
    return web.Response()


async def through_library(request):
    await run_elsewhere()
    return web.Response()


async def run_elsewhere():
    program = f"import time; time.sleep({LONG})"
    subprocess.run([sys.executable, "-c", program], check=True)  # the line


class ClassView(web.View):
    async def get(self):
        time.sleep(LONG)  # the line
        return web.Response()


def decorated(view):
    @functools.wraps(view)
    async def wrapper(*args, **kwargs):
        return await view(*args, **kwargs)

    return wrapper


@decorated
async def with_decorator(request):
    time.sleep(LONG)  # the line
    return web.Response()


async def computing(request):
    end = time.monotonic() + LONG
    while time.monotonic() < end:
        compute()
    return web.Response()


def compute():
    sum(i * i for i in range(1000))


async def computing_in_one_call(request):
    """A call into C, which lets no other thread run before it's done."""
    begun = time.monotonic()
    collections.deque(itertools.repeat(None, 100_000), maxlen=0)
    number = int(100_000 * 1.5 * LONG / (time.monotonic() - begun))
    collections.deque(itertools.repeat(None, number), maxlen=0)  # the line
    return web.Response()


async def socket(request):
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    async for message in ws:
        time.sleep(float(message.data))  # the line
        await ws.send_str("slept")
    return ws


async def background(request):
    await asyncio.create_task(in_background())
    return web.Response()


async def in_background():
    time.sleep(LONG)  # the line


async def patient(request):
    await asyncio.sleep(LONG)
    return web.Response()


async def threaded(request):
    await asyncio.to_thread(time.sleep, LONG)
    return web.Response()


async def in_short_steps(request):
    """Together they keep the loop for long, but none of them does."""
    await asyncio.gather(*[short_step() for _ in range(12)])
    for _ in range(12):
        time.sleep(0.04)
        await asyncio.sleep(0)
    return web.Response()


async def short_step():
    time.sleep(0.04)


class SlowReader(io.StringIO):
    """A developer at a debugger's prompt."""

    def readline(self):
        time.sleep(4 * LONG)
        return "continue\n"


async def at_breakpoint(request):
    tracing = sys.gettrace()
    pdb.Pdb(stdin=SlowReader(), stdout=io.StringIO(), nosigint=True).set_trace()
    sys.settrace(tracing)  # "continue" ends all tracing, also that of a measurement of coverage
    return web.Response()


async def native(request: HttpRequest):
    time.sleep(LONG)  # the line
    return HttpResponse()


@decorated
async def native_with_decorator(request: HttpRequest):
    time.sleep(LONG)  # the line
    return HttpResponse()


async def left(request):
    await asyncio.sleep(0)
    time.sleep(LONG)  # the line
    return HttpResponse()


class NativeClassView(View):
    async def get(self, request):
        time.sleep(LONG)  # the line
        return HttpResponse()


async def patient_native(request: HttpRequest):
    await asyncio.sleep(LONG)
    return HttpResponse()


def sync(request):
    time.sleep(LONG)
    return HttpResponse()


def pushing(request):
    async_to_sync(push)("news")
    return HttpResponse()


async def push(message):
    time.sleep(LONG)  # the line


urlpatterns = [
    path("lifted/", lifted),
    path("until-named/", until_named),
    path("number/<int:number>/", with_value),
    path("helper/", through_helper),
    path("library/", through_library),
    path("class/", ClassView),
    path("decorator/", with_decorator),
    path("computing/", computing),
    path("one-call/", computing_in_one_call),
    path("socket/", socket),
    path("background/", background),
    path("patient/", patient),
    path("threaded/", threaded),
    path("short-steps/", in_short_steps),
    path("breakpoint/", at_breakpoint),
    path("native/", native),
    path("native-decorator/", native_with_decorator),
    path("left/", django_view(left)),
    path("native-class/", NativeClassView.as_view()),
    path("patient-native/", patient_native),
    path("sync/", sync),
    path("pushing/", pushing),
]


# ---- The warnings ----


@pytest.fixture(autouse=True)
def debug(settings):
    settings.DEBUG = True
    settings.ROOT_URLCONF = __name__


@pytest.fixture(autouse=True)
def no_thread_left():
    yield
    assert watchers() == []


@pytest.fixture
async def client(aiohttp_client):
    return await aiohttp_client(get_aio_application(get_wsgi_application()))


def watchers():
    return [t for t in threading.enumerate() if t.name == "aiodjango-watcher"]


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "aiodjango"]


def seconds_in(message):
    return float(message.partition(" for ")[2].partition(" s")[0])


async def get(client, url):
    async with client.get(url) as response:
        assert response.status == 200


async def provoke(client, url, caplog):
    """Ask for something that blocks until it's named; the new warning.

    Not always at once: a watcher that a busy machine lets wait doesn't count the time.
    """
    before = len(warnings(caplog))
    async with asyncio.timeout(DEADLINE):
        while len(warnings(caplog)) == before:
            await get(client, url)
            await asyncio.sleep(2 * blocked.INTERVAL)  # in which the watcher tells
    # A machine may be so busy that a step that does not block is named as well.
    return max(warnings(caplog)[before:], key=seconds_in)


def line_of(function):
    """File and number of the marked line of a function."""
    code = function.__code__
    lines = Path(code.co_filename).read_text().splitlines()
    for number in range(code.co_firstlineno, len(lines) + 1):
        if lines[number - 1].endswith("# the line"):
            return f'  File "{code.co_filename}", line {number}, in {code.co_name}\n'
    raise LookupError(function)


HERE = [
    ("lifted/", "lifted", lifted),
    ("number/7/", "with_value", with_value),
    ("helper/", "through_helper", blocking.read_slowly),
    ("library/", "through_library", run_elsewhere),
    ("class/", "ClassView", ClassView.get),
    ("decorator/", "with_decorator", with_decorator.__wrapped__),
    ("native/", "native", native),
    ("native-decorator/", "native_with_decorator", native_with_decorator.__wrapped__),
    ("left/", "left", left),
    ("native-class/", "NativeClassView", NativeClassView.get),
]


@pytest.mark.parametrize(("url", "view", "function"), HERE, ids=[url for url, *_ in HERE])
async def test_a_view_is_named_with_the_line_it_stood_at(client, caplog, url, view, function):
    message = await provoke(client, f"/{url}", caplog)
    assert message.startswith(f"The view {__name__}.{view} blocked the event loop for ")
    assert line_of(function) in message
    assert "# the line\n" in message
    assert "asyncio.to_thread" in message
    assert "run_in_django" in message


async def test_a_call_that_lets_no_other_thread_run(client, caplog, monkeypatch):
    """At which line the interpreter becomes free again depends on its version and on the load.

    It may even be one of this test, whose client shares the loop.
    """
    monkeypatch.setattr(blocked, "REPEAT_INTERVAL", 0.0)
    beginning = f"The view {__name__}.computing_in_one_call blocked the event loop "
    async with asyncio.timeout(DEADLINE):
        while not (message := await provoke(client, "/one-call/", caplog)).startswith(beginning):
            assert blocked.NEARBY in message
    assert re.search(r"line \d+, in computing_in_one_call\n", message)
    assert blocked.NEARBY in message


async def test_a_view_that_was_installed(aiohttp_client, caplog, tmp_path, monkeypatch):
    """Of a reusable app: nothing of the project's own is there to be named."""
    module = tmp_path / "site-packages" / "reusable.py"
    module.parent.mkdir()
    module.write_text(
        "import time\n"
        "from aiohttp import web\n"
        "async def view(request):\n"
        "    wait()\n"
        "    return web.Response()\n"
        "def wait():\n"
        f"    time.sleep({LONG})\n"
    )
    monkeypatch.syspath_prepend(module.parent)
    view = importlib.import_module("reusable").view
    monkeypatch.delitem(sys.modules, "reusable")
    client = await aiohttp_client(get_aio_subapp([path("view/", view)]))
    message = await provoke(client, "/view/", caplog)
    assert message.startswith("The view reusable.view blocked the event loop for ")
    assert f'File "{module}", line 4, in view\n    wait()\n' in message


async def test_the_time_is_told(client, caplog):
    begun = time.monotonic()
    message = await provoke(client, "/lifted/", caplog)
    assert blocked.THRESHOLD < seconds_in(message) < time.monotonic() - begun


async def test_a_view_that_computes(client, caplog):
    message = await provoke(client, "/computing/", caplog)
    assert f"The view {__name__}.computing blocked" in message
    assert f'File "{__file__}"' in message


async def test_a_websocket_after_its_handshake(client, caplog):
    async with client.ws_connect("/socket/") as ws:
        await ws.send_str("0")
        await ws.receive_str(timeout=DEADLINE)
        async with asyncio.timeout(DEADLINE):
            while not warnings(caplog):
                await ws.send_str(str(LONG))
                await ws.receive_str()
                await asyncio.sleep(2 * blocked.INTERVAL)
    (message,) = warnings(caplog)
    assert message.startswith(f"The view {__name__}.socket blocked the event loop")
    assert line_of(socket) in message


@pytest.mark.parametrize(
    ("url", "function"), [("/background/", in_background), ("/pushing/", push)]
)
async def test_what_is_no_views_own_step_is_named_by_its_line(client, caplog, url, function):
    message = await provoke(client, url, caplog)
    assert message.startswith("A task blocked the event loop for ")
    assert line_of(function) in message


async def test_a_hosts_own_handler(aiohttp_client, caplog):
    async def handler(request):
        time.sleep(LONG)  # the line
        return web.Response()

    main = web.Application()
    main.router.add_get("/own", handler)
    main.add_subapp("/site/", get_aio_subapp())
    client = await aiohttp_client(main)
    message = await provoke(client, "/own", caplog)
    assert message.startswith("A task blocked the event loop for ")
    assert line_of(handler) in message


async def test_a_view_that_never_ends_is_named_all_the_same(client, caplog, monkeypatch):
    """One that waits for its own server, say."""
    monkeypatch.setattr(blocked, "UNFINISHED", 0.11)
    monkeypatch.setitem(named, "condition", lambda: warnings(caplog))
    await get(client, "/until-named/")
    (message,) = warnings(caplog)
    assert message.startswith(f"The view {__name__}.until_named has blocked the event loop for ")
    assert "until now" in message
    assert blocked.NEARBY not in message


async def test_the_same_place_is_not_named_again_at_once(client, caplog, monkeypatch):
    await provoke(client, "/lifted/", caplog)
    await get(client, "/lifted/")
    assert f"{__name__}.ClassView " in await provoke(client, "/class/", caplog)
    monkeypatch.setattr(blocked, "REPEAT_INTERVAL", 0.0)
    for _ in range(2):
        assert f"{__name__}.native " in await provoke(client, "/native/", caplog)


# ---- The silence ----


@pytest.mark.parametrize("url", ["/short-steps/", "/breakpoint/"])
async def test_what_does_not_block_is_not_named(client, caplog, monkeypatch, url):
    with monkeypatch.context() as patch:
        # Far more than a step takes, on a busy machine too, and less than all of them together.
        patch.setattr(blocked, "THRESHOLD", 0.5)
        await get(client, url)
    message = await provoke(client, "/lifted/", caplog)  # this one does
    assert warnings(caplog) == [message]


async def test_what_stands_in_no_code_of_the_projects_is_not_named(
    client, caplog, tmp_path, monkeypatch
):
    """A task of a library's own: the project has no line to change."""
    module = tmp_path / "site-packages" / "installed.py"
    module.parent.mkdir()
    module.write_text(f"import time\nasync def work():\n    time.sleep({LONG})\n")
    monkeypatch.syspath_prepend(module.parent)
    work = importlib.import_module("installed").work
    monkeypatch.delitem(sys.modules, "installed")
    for _ in range(3):
        await asyncio.create_task(work())
        await asyncio.sleep(2 * blocked.INTERVAL)  # in which the watcher would tell
    message = await provoke(client, "/lifted/", caplog)  # this one does
    assert warnings(caplog) == [message]


async def test_views_that_wait_together(client, caplog, monkeypatch):
    urls = ["/patient/", "/threaded/", "/patient-native/", "/sync/"]
    with monkeypatch.context() as patch:
        patch.setattr(blocked, "THRESHOLD", LONG * 0.9)  # a busy machine takes its own pauses
        await asyncio.gather(*[get(client, url) for url in urls * 2])
    message = await provoke(client, "/lifted/", caplog)  # this one does
    assert warnings(caplog) == [message]


PROGRAM = """
import asyncio, time
from aiohttp import web
import django
from django.conf import settings
settings.configure(DEBUG=True, ALLOWED_HOSTS=["*"], SECRET_KEY="x", ROOT_URLCONF="__main__")
django.setup()
from django.urls import path
from aiodjango import get_aio_application

async def short(request):
    time.sleep(0.03)  # so it has been seen
    print("in the view", flush=True)
    time.sleep(0.03)
    return web.Response()

async def long(request):
    time.sleep(0.5)
    return web.Response()

urlpatterns = [path("short/", short), path("long/", long)]

async def main():
    runner = web.AppRunner(get_aio_application())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_process_that_was_stopped_accuses_nobody():
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-c", PROGRAM],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(PYTHONPATH=str(ROOT)),
    )
    try:
        async with asyncio.timeout(DEADLINE), ClientSession() as session:
            url = f"http://127.0.0.1:{int(await process.stdout.readline())}"
            request = asyncio.create_task(get(session, f"{url}/short/"))
            assert await process.stdout.readline() == b"in the view\n"
            process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(0.5)  # so long it stands still
            process.send_signal(signal.SIGCONT)
            await request
            told = []
            while not any("__main__.long" in line for line in told):
                await get(session, f"{url}/long/")
                told.append((await process.stderr.readline()).decode())
            # On a busy machine the view itself may take longer than it's meant to.
            assert all(seconds_in(line) < 0.4 for line in told if "__main__.short" in line)
    finally:
        process.kill()
        await process.communicate()


# ---- The thread ----


@asynccontextmanager
async def running(app):
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        yield runner
    finally:
        await runner.cleanup()


async def test_without_debug_there_is_none(settings):
    settings.DEBUG = False
    async with running(get_aio_application(get_wsgi_application())):
        assert watchers() == []


async def test_two_applications_share_it():
    async with running(get_aio_application(get_wsgi_application())):
        main = web.Application()
        main.add_subapp("/site/", get_aio_application(get_wsgi_application()))
        async with running(main):
            (watcher,) = watchers()
        assert watchers() == [watcher]
    assert watchers() == []


def serve_and_block(caplog, loop_factory=None):
    """On a loop of its own, block it until that is named; the warning."""

    async def serve():
        async with running(get_aio_application(get_wsgi_application())) as runner:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            assert len(watchers()) == 1
            url = f"http://127.0.0.1:{runner.addresses[0][1]}/lifted/"
            async with ClientSession() as session:
                return await provoke(session, url, caplog)

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        message = runner.run(serve())
    assert watchers() == []
    return message


def test_loops_one_after_the_other(caplog):
    for _ in range(2):
        assert f"{__name__}.lifted " in serve_and_block(caplog)


def test_uvloop(caplog):
    require(module="uvloop")
    uvloop = importlib.import_module("uvloop")
    message = serve_and_block(caplog, uvloop.new_event_loop)
    assert message.startswith(f"The view {__name__}.lifted blocked the event loop for ")
    assert line_of(lifted) in message


def test_it_ends_with_a_loop_that_is_closed_without_a_cleanup():
    app = get_aio_application(get_wsgi_application())
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(app)
    loop.run_until_complete(runner.setup())
    (watcher,) = watchers()
    loop.close()
    watcher.join(DEADLINE)
    assert not watcher.is_alive()
    # STATIC_URL and the filters of loggers are given back by the cleanup alone.
    asyncio.run(runner.cleanup())


def test_it_follows_a_loop_to_another_thread(caplog):
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(get_aio_application(get_wsgi_application()))
    loop.run_until_complete(runner.setup())

    def serve():
        async def block():
            await asyncio.sleep(0)
            time.sleep(LONG)

        while not warnings(caplog):
            loop.run_until_complete(block())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    thread.join(DEADLINE)
    loop.run_until_complete(runner.cleanup())
    loop.close()
    (message,) = warnings(caplog)
    assert message.startswith("A task blocked the event loop for ")
