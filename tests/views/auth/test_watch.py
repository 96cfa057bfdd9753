"""Open WebSockets whose users' logins end."""

import asyncio
import gc
import types
import weakref
from importlib import import_module
from types import SimpleNamespace

import pytest
from aiohttp import WSMsgType, web
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.auth.signals import user_logged_out
from django.contrib.sessions.models import Session
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, transaction
from django.db.backends.utils import CursorWrapper
from django.urls import path

from aiodjango import aget_session, aget_user
from aiodjango.orm import run_in_django
from aiodjango.views.logins import LOGIN_ENDED
from aiodjango.views.watch import watch_user
from aiodjango.views.watchlist import WatchList
from tests.support.waiting import DEADLINE

# Longer than any test: what ends is ended at once.
NEVER = 3600.0
SOON = 0.05


@pytest.fixture
def interval(settings):
    settings.AIO_WATCH_INTERVAL = NEVER


@pytest.fixture
async def sockets(client, users, log_in):
    """Two WebSockets of ann's, of two sessions, and one of ben's."""
    ann, ben = users
    opened, keys = [], []
    for user in [ann, ann, ben]:
        client.session.cookie_jar.clear()
        keys.append(await log_in(client, user))
        ws = await client.ws_connect("/socket/")
        assert await ws.receive_str(timeout=DEADLINE) == user.username
        opened.append(ws)
    yield opened, keys
    for ws in opened:
        await ws.close()


async def ended(ws):
    message = await ws.receive(timeout=DEADLINE)
    assert message.type is WSMsgType.CLOSE
    return message.data, message.extra


async def is_open(ws):
    await ws.send_str("still here")
    return await ws.receive_str(timeout=DEADLINE) == "still here"


async def test_logging_out_ends_those_of_the_session(interval, client, sockets):
    (first, second, other), keys = sockets
    client.session.cookie_jar.update_cookies({"sessionid": keys[0]})
    await client.get("/logout/")
    assert await ended(first) == (4401, "logged out")
    assert await is_open(second)
    client.session.cookie_jar.update_cookies({"sessionid": keys[1]})
    await client.get("/aio-logout/")
    assert await ended(second) == (LOGIN_ENDED, "logged out")
    assert await is_open(other)


async def test_a_changed_password_ends_all_of_the_users(interval, users, sockets):
    (first, second, other), _ = sockets
    ann = await User.objects.aget(username="ann")
    await ann.asave()  # changes nothing
    assert await is_open(first)
    ann.set_password("another")
    await ann.asave()
    for ws in [first, second]:
        assert await ended(ws) == (4401, "password changed")
    assert await is_open(other)


class UserProxy(User):
    class Meta:
        proxy = True
        app_label = "auth"


async def test_deactivating_ends_them(interval, sockets):
    (first, second, other), _ = sockets
    ann = await UserProxy.objects.aget(username="ann")
    ann.is_active = False
    await ann.asave(update_fields=["is_active"])
    for ws in [first, second]:
        assert await ended(ws) == (4401, "deactivated")
    assert await is_open(other)


async def test_deleting_ends_them(interval, sockets):
    (first, _, other), _ = sockets
    await User.objects.filter(username="ann").adelete()
    assert await ended(first) == (4401, "deleted")
    assert await is_open(other)


async def test_what_is_rolled_back_ends_nothing(interval, sockets):
    (first, second, _), _ = sockets

    def save(error):
        with transaction.atomic():
            ann = User.objects.get(username="ann")
            ann.set_password("another")
            ann.save()
            if error:
                raise ZeroDivisionError("rolled back")

    with pytest.raises(ZeroDivisionError, match="rolled back"):
        await run_in_django(save, True)
    assert await is_open(first)
    await run_in_django(save, False)
    assert await ended(second) == (4401, "password changed")


@pytest.fixture
def engine(request, settings):
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{request.param}"


@pytest.mark.parametrize(
    "engine", ["db", "cached_db", "cache", "file", "signed_cookies"], indirect=True
)
async def test_logging_out_with_every_engine(interval, engine, client, users, log_in):
    await log_in(client, users[0])
    async with client.ws_connect("/socket/") as ws:
        assert await ws.receive_str(timeout=DEADLINE) == "ann"
        await client.get("/logout/")
        assert await ended(ws) == (4401, "logged out")


# ---- What no signal tells, as when it happens in another process ----


@pytest.fixture
def soon(settings):
    settings.AIO_WATCH_INTERVAL = SOON


async def change(**values):
    # Without signals.
    await User.objects.filter(username="ann").aupdate(**values)


async def test_the_periodic_check_finds_a_changed_password(soon, sockets):
    (first, second, other), _ = sockets
    await change(password="another")
    for ws in [first, second]:
        assert await ended(ws) == (4401, "password changed")
    assert await is_open(other)


async def test_the_periodic_check_finds_the_deactivated(soon, sockets):
    (first, _, other), _ = sockets
    await change(is_active=False)
    assert await ended(first) == (4401, "deactivated")
    assert await is_open(other)


@pytest.mark.parametrize("engine", ["db", "cached_db", "cache", "file"], indirect=True)
async def test_the_periodic_check_finds_lost_sessions(
    soon, engine, settings, client, users, log_in
):
    store = import_module(settings.SESSION_ENGINE).SessionStore
    key = await log_in(client, users[0])
    async with client.ws_connect("/socket/") as ws:
        assert await ws.receive_str(timeout=DEADLINE) == "ann"
        await run_in_django(store(key).delete)
        assert await ended(ws) == (4401, "logged out")


async def test_the_check_takes_two_queries_for_many(interval, sockets, monkeypatch):
    queries = []
    execute = CursorWrapper.execute

    def counting(self, sql, params=None):
        queries.append(sql)
        return execute(self, sql, params)

    (watches,) = [w for w in WatchList.of_all_loops() if w._open_watches()]
    monkeypatch.setattr(CursorWrapper, "execute", counting)
    await watches._check()
    assert [sql.split(" FROM ")[1].split('"')[1] for sql in queries] == [
        "auth_user",
        "django_session",
    ]


async def test_a_check_that_fails_is_followed_by_others(soon, sockets, caplog, monkeypatch):
    (first, *_), _ = sockets
    failed = asyncio.Event()
    manager = User._default_manager

    def broken(**kwargs):
        failed.set()
        raise ZeroDivisionError("no database")

    monkeypatch.setattr(manager, "filter", broken)
    await asyncio.wait_for(failed.wait(), DEADLINE)
    monkeypatch.undo()
    await Session.objects.all().adelete()
    assert await ended(first) == (4401, "logged out")
    assert "Could not check the logins of open WebSockets." in caplog.text


@pytest.mark.parametrize("engine", ["signed_cookies"], indirect=True)
async def test_the_periodic_check_with_sessions_that_only_the_browser_has(
    soon, engine, client, users, log_in
):
    await log_in(client, users[0])
    async with client.ws_connect("/socket/") as ws:
        assert await ws.receive_str(timeout=DEADLINE) == "ann"
        (watches,) = [w for w in WatchList.of_all_loops() if w._open_watches()]
        await watches._check()
        assert await is_open(ws)
        await change(password="another")
        assert await ended(ws) == (4401, "password changed")


# ---- When the login cannot be known ----


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr("aiodjango.views.watchlist.SHORTEST_LIMIT", SOON)


class Database:
    """Fails each query, as one that is away, while it is told to; tells of it."""

    def __init__(self, monkeypatch):
        self.is_away = False
        self.failed = asyncio.Event()
        loop = asyncio.get_running_loop()
        execute = CursorWrapper.execute

        def maybe(cursor, sql, params=None):
            if self.is_away:
                loop.call_soon_threadsafe(self.failed.set)
                raise OperationalError("the database is away")
            return execute(cursor, sql, params)

        monkeypatch.setattr(CursorWrapper, "execute", maybe)


@pytest.fixture
async def database(monkeypatch):
    database = Database(monkeypatch)
    yield database
    database.is_away = False


@pytest.fixture
def watched(make_client, session_settings, users, log_in):
    """Opens a WebSocket whose view calls `before` just before it asks for the watch."""

    async def open_(before=None, wait=False, load=True):
        async def view(request):
            ws = web.WebSocketResponse()
            await ws.prepare(request)
            if load:
                await aget_user(request)
            if before:
                await before(request)
            task = watch_user(request, ws)
            if wait:
                await task
            await ws.send_str("watching")
            async for message in ws:
                await ws.send_str(message.data)
            return ws

        urlconf = types.ModuleType("watched_urls")
        urlconf.urlpatterns = [path("watched/", view)]
        client = await make_client(urlconf=urlconf)
        key = await log_in(client, users[0])
        return key, await client.ws_connect("/watched/")

    return open_


@pytest.mark.parametrize("load", [True, False])
async def test_the_database_is_away_at_the_start(soon, watched, database, caplog, load):
    """It registers nevertheless, tries again, and finds what has happened meanwhile."""

    async def away(request):
        database.is_away = True

    key, ws = await watched(before=away, wait=True, load=load)
    await asyncio.wait_for(database.failed.wait(), DEADLINE)
    database.is_away = False
    assert await ws.receive_str(timeout=DEADLINE) == "watching"
    await Session.objects.filter(session_key=key).adelete()
    assert await ended(ws) == (4401, "logged out")
    assert "Could not check" in caplog.text


async def test_a_user_who_is_anonymous_only_later_may_have_been_logged_in(
    soon, watched, monkeypatch
):
    """The first attempt fails, and the session ends before the second."""
    answers = [OperationalError("the database is away"), AnonymousUser()]

    async def later(request):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr("aiodjango.views.watchlist.aget_user", later)
    _, ws = await watched(load=False)
    assert await ws.receive_str(timeout=DEADLINE) == "watching"
    assert await ended(ws) == (1013, "login unknown")


@pytest.mark.parametrize("wait", [True, False])
@pytest.mark.parametrize("load", [True, False])
async def test_a_login_that_stays_unknown_at_the_start_ends(
    impatient, soon, watched, database, wait, load, caplog
):
    async def away(request):
        database.is_away = True

    _, ws = await watched(before=away, wait=wait, load=load)
    messages = [message async for message in ws]
    assert [message.data for message in messages] == ([] if wait else ["watching"])
    assert ws.close_code == 1013
    assert "Could not check" in caplog.text


async def test_a_login_that_becomes_unknown_ends(soon, watched, database):
    _, ws = await watched(wait=True)
    assert await ws.receive_str(timeout=DEADLINE) == "watching"
    assert await is_open(ws)
    # Not before: a check that succeeds may take longer.
    (watches,) = [w for w in WatchList.of_all_loops() if w._open_watches()]
    watches._limit = SOON
    database.is_away = True
    assert await ended(ws) == (1013, "login unknown")


async def test_a_check_that_never_ends_is_a_failed_one(
    impatient, soon, watched, monkeypatch, caplog
):
    async def never(watches):
        await asyncio.Event().wait()

    monkeypatch.setattr("aiodjango.views.logins.ended", never)
    _, ws = await watched()
    assert await ws.receive_str(timeout=DEADLINE) == "watching"
    assert await ended(ws) == (1013, "login unknown")


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit, asyncio.CancelledError])
async def test_an_error_of_the_project_is_a_failed_check(
    impatient, soon, watched, monkeypatch, caplog, error
):
    async def broken(watches):
        raise error("in the project")

    monkeypatch.setattr("aiodjango.views.logins.ended", broken)
    _, ws = await watched()
    assert await ws.receive_str(timeout=DEADLINE) == "watching"
    assert await ended(ws) == (1013, "login unknown")
    assert f"{error.__name__}: in the project" in caplog.text


ENGINES = ["db", "cached_db", "cache", "file", "signed_cookies"]


@pytest.mark.parametrize("engine", ENGINES, indirect=True)
async def test_what_ends_a_login_just_before_the_start_is_found(
    interval, engine, settings, watched
):
    """After the view has loaded the user, and before anything watches."""

    async def before(request):
        if "signed" in settings.SESSION_ENGINE:
            await change(password="another")  # nothing on the server ends such a session
        else:
            store = import_module(settings.SESSION_ENGINE).SessionStore
            await run_in_django(store(request.cookies["sessionid"]).delete)

    _, ws = await watched(before)
    reason = "password changed" if "signed" in settings.SESSION_ENGINE else "logged out"
    assert await ws.receive_str(timeout=DEADLINE) == "watching"
    assert await ended(ws) == (4401, reason)


@pytest.mark.parametrize("engine", ENGINES, indirect=True)
async def test_a_logout_during_the_start_is_found(interval, engine, watched, monkeypatch):
    """When the user has been loaded, and the watch does not know that yet."""

    async def slow(request):
        user = await aget_user(request)
        elsewhere = SimpleNamespace(session=await aget_session(request))
        await user_logged_out.asend(sender=User, request=elsewhere, user=user)
        return user

    monkeypatch.setattr("aiodjango.views.watchlist.aget_user", slow)
    _, ws = await watched(load=False)
    assert await ws.receive_str(timeout=DEADLINE) == "watching"
    assert await ended(ws) == (4401, "logged out")


# ---- Its limits ----


async def test_a_visitor_who_logs_out_ends_nothing(interval, client, sockets):
    opened, _ = sockets
    client.session.cookie_jar.clear()
    assert (await client.get("/logout/")).status == 200
    for ws in opened:
        assert await is_open(ws)


async def test_of_two_reasons_the_first_is_told(interval, sockets):
    (first, *_), _ = sockets
    (watches,) = [w for w in WatchList.of_all_loops() if w._open_watches()]
    watch, *_ = watches._open_watches()  # ann's first: they are in the order of their opening
    watch.end("logged out")
    assert await ended(first) == (4401, "logged out")
    assert watch.is_over
    closing = watch._closing
    watch.end("deleted")
    assert watch._closing is closing


async def test_a_visitor_is_not_watched(interval, client):
    async with client.ws_connect("/socket/") as ws:
        assert await ws.receive_str(timeout=DEADLINE) == ""
        assert not any(w._open_watches() for w in WatchList.of_all_loops())


async def test_closed_websockets_are_forgotten(interval, client, sockets):
    opened, _ = sockets
    (watches,) = [w for w in WatchList.of_all_loops() if w._open_watches()]
    held = [weakref.ref(watch) for watch in watches._open_watches()]
    for ws in opened:
        await ws.close()
    async with asyncio.timeout(DEADLINE):
        while watches._open_watches():
            await asyncio.sleep(0)
    gc.collect()
    assert [ref() for ref in held] == [None] * 3


async def test_it_comes_after_prepare(aiohttp_client):
    caught = []

    async def view(request):
        try:
            watch_user(request, web.WebSocketResponse())
        except RuntimeError as error:
            caught.append(str(error))
        return web.Response()

    app = web.Application()
    app.router.add_get("/x", view)
    client = await aiohttp_client(app)
    await client.get("/x")
    assert caught == ["Call watch_user() after the prepare() of the WebSocket."]


@pytest.mark.parametrize("value", [0, -1, True, "30", None])
async def test_an_interval_that_cannot_be(settings, value):
    settings.AIO_WATCH_INTERVAL = value
    with pytest.raises(ImproperlyConfigured, match="AIO_WATCH_INTERVAL must be a number of sec"):
        WatchList(asyncio.get_running_loop())
