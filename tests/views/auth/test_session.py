"""Django's session and user inside a coroutine view."""

import pytest
from aiohttp import CookieJar, web
from django.conf import settings as django_settings
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import User
from django.contrib.sessions.middleware import SessionMiddleware
from django.urls import path

from aiodjango import aget_session, aget_user
from aiodjango.orm import run_in_django
from tests.support.lifted import lifted
from tests.support.waiting import DEADLINE

ENGINES = ["db", "cache", "cached_db", "file", "signed_cookies"]


@pytest.fixture(params=ENGINES)
def engine(request, settings):
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{request.param}"
    return request.param


@pytest.fixture
async def client_of_a_clone(aiohttp_client, users, session_settings):
    async def view(request):
        user = await aget_user(request.clone(headers={**request.headers, "X-Mine": "yes"}))
        return web.Response(text=user.get_username())

    jar = CookieJar(unsafe=True)  # an IP address may set cookies
    return await aiohttp_client(lifted(path("x/", view)), cookie_jar=jar)


async def json(client, url):
    async with client.get(url) as response:
        assert response.status == 200, await response.text()
        return await response.json()


async def text(client, url):
    async with client.get(url) as response:
        return await response.text()


def session_cookie(response):
    return response.cookies.get(django_settings.SESSION_COOKIE_NAME)


async def test_the_user_with_every_engine(engine, client, users, log_in):
    assert await json(client, "/who/") == {"user": "", "anonymous": True, "same": True}
    await log_in(client, users[0])
    assert await json(client, "/who/") == {"user": "ann", "anonymous": False, "same": True}
    client.session.cookie_jar.clear()
    await client.get("/login/?name=ben")
    assert await json(client, "/who/") == {"user": "ben", "anonymous": False, "same": True}
    await client.get("/logout/")
    assert (await json(client, "/who/"))["user"] == ""


async def test_a_template_shows_the_user_with_every_engine(engine, client, users, log_in):
    assert await text(client, "/page/") == "user: ."
    await log_in(client, users[0])
    assert await text(client, "/page/") == "user: ann."
    assert await text(client, "/page/?name=ben") == "user: ben."
    assert await text(client, "/page/") == "user: ben."
    assert await text(client, "/page/?logout") == "user: ."


async def test_a_template_that_asks_for_a_user_who_is_not_loaded(client, users, log_in, caplog):
    """It is an error that Django reports, and that says what is wrong."""
    await log_in(client, users[0])
    async with client.get("/page/?unknown") as response:
        assert response.status == 500
        assert "Server Error" in await response.text()
    assert "SynchronousOnlyOperation" in caplog.text


async def test_a_changed_session_with_every_engine(engine, client):
    async with client.get("/write/red/") as response:
        cookie = session_cookie(response)
        assert cookie["httponly"]
        assert cookie["samesite"] == "Lax"
        assert cookie["path"] == "/"
        assert int(cookie["max-age"]) == django_settings.SESSION_COOKIE_AGE
        assert response.headers["Vary"] == "Accept, Cookie"
    assert await text(client, "/read/") == "red"
    assert (await json(client, "/sync-who/"))["session"] == {"color": "red"}
    async with client.get("/flush/") as response:
        assert session_cookie(response)["max-age"] == "0"
    assert await text(client, "/read/") == "None"


async def test_login_and_logout_with_every_engine(engine, client):
    await client.get("/write/red/")
    async with client.get("/aio-login/?name=ann") as response:
        assert await response.text() == "ann"
        assert session_cookie(response).value
    assert (await json(client, "/who/"))["user"] == "ann"
    who = await json(client, "/sync-who/")
    assert (who["user"], who["session"]["color"]) == ("ann", "red")
    async with client.get("/aio-logout/") as response:
        assert await response.text() == "True"
        assert session_cookie(response)["max-age"] == "0"
    assert (await json(client, "/sync-who/"))["user"] == ""


async def test_a_login_gives_a_new_key(client):
    async with client.get("/write/red/") as response:
        before = session_cookie(response).value
    async with client.get("/aio-login/?name=ann") as response:
        assert session_cookie(response).value != before
        assert "csrftoken" in response.cookies  # rotated, as by Django's login
    client.session.cookie_jar.clear()
    client.session.cookie_jar.update_cookies({"sessionid": before})
    assert await text(client, "/read/") == "None"


async def test_reading_sets_no_cookie_but_varies(client, users, log_in):
    await log_in(client, users[0])
    for url in ["/read/", "/who/"]:
        response = await client.get(url)
        assert session_cookie(response) is None
        assert response.headers["Vary"] == "Cookie"
    response = await client.get("/untouched/")
    assert "Vary" not in response.headers


@pytest.mark.django_db
async def test_the_same_session_each_time(aiohttp_client, session_settings):
    async def view(request):
        session = await aget_session(request)
        return web.json_response(await aget_session(request) is session)

    client = await aiohttp_client(lifted(path("x/", view)))
    assert await json(client, "/x/") is True


async def test_the_session_of_a_cloned_request_is_read(client_of_a_clone, users, log_in):
    await log_in(client_of_a_clone, users[0])
    assert await text(client_of_a_clone, "/x/") == "ann"


async def test_saved_at_every_request_if_the_settings_ask(settings, client):
    settings.SESSION_SAVE_EVERY_REQUEST = True
    assert session_cookie(await client.get("/read/")) is None  # nothing to save
    await client.get("/write/red/")
    async with client.get("/read/") as response:
        assert session_cookie(response) is not None
        assert await response.text() == "red"


@pytest.mark.parametrize(
    ("query", "status", "saved"),
    [
        ("status=500", 500, False),
        ("status=404", 404, True),
        ("error=500", 500, False),
        ("error=404", 404, True),
        ("redirect=1", 302, True),
    ],
)
async def test_saved_with_any_answer_but_an_error_of_the_server(client, query, status, saved):
    async with client.get(f"/write/red/?{query}", allow_redirects=False) as response:
        assert response.status == status
        assert (session_cookie(response) is not None) == saved
    assert await text(client, "/read/") == ("red" if saved else "None")


async def test_the_cookie_by_the_settings(settings, client):
    settings.SESSION_COOKIE_NAME = "mysession"
    settings.SESSION_COOKIE_PATH = "/write/"
    settings.SESSION_COOKIE_SAMESITE = "Strict"
    settings.SESSION_COOKIE_HTTPONLY = False
    settings.SESSION_EXPIRE_AT_BROWSER_CLOSE = True
    cookie = (await client.get("/write/red/")).cookies["mysession"]
    assert (cookie["path"], cookie["samesite"], cookie["httponly"], cookie["max-age"]) == (
        "/write/",
        "Strict",
        "",
        "",
    )


async def test_an_expiry_of_its_own(client):
    cookie = session_cookie(await client.get("/expiring/?seconds=77"))
    assert cookie["max-age"] == "77"


@pytest.mark.parametrize("query", ["", "?error=404"])
async def test_a_session_that_has_gone_meanwhile(client, users, log_in, caplog, query):
    await log_in(client, users[0])
    assert (await client.get(f"/losing/{query}")).status == 400
    assert "The request's session was deleted before the request completed" in caplog.text


async def test_a_stream_carries_what_was_changed_before_it_began(client):
    async with client.get("/stream/") as response:
        assert session_cookie(response) is not None
        assert await response.read() == b"x"
    assert await text(client, "/read/") == "streamed"


# ---- Verified as Django does ----


async def test_a_changed_password_ends_other_sessions(client, users, log_in):
    ann, _ = users
    await log_in(client, ann)
    ann.set_password("another")
    await run_in_django(ann.save)
    assert (await json(client, "/who/"))["user"] == ""


async def test_an_inactive_user_is_nobody(client, users, log_in):
    ann, _ = users
    await log_in(client, ann)
    ann.is_active = False
    await run_in_django(ann.save)
    assert (await json(client, "/who/"))["user"] == ""


async def test_a_session_signed_by_a_fallback_secret_is_renewed(client, users, log_in, settings):
    key = await log_in(client, users[0])
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "a new secret"
    async with client.get("/who/") as response:
        assert (await response.json())["user"] == "ann"
        assert session_cookie(response).value != key
    settings.SECRET_KEY_FALLBACKS = []
    assert (await json(client, "/who/"))["user"] == "ann"


@pytest.mark.parametrize("query", ["", "?before=1"])
async def test_renewing_logs_nobody_out_of_a_websocket(client, users, log_in, settings, query):
    await log_in(client, users[0])
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "a new secret"
    async with client.ws_connect(f"/socket/{query}") as ws:
        assert await ws.receive_str(timeout=DEADLINE) == "ann"
    assert (await json(client, "/who/"))["user"] == "ann"


class OwnBackend(ModelBackend):
    def get_user(self, user_id):
        user = super().get_user(user_id)
        user.username += " by OwnBackend"
        return user

    async def aget_user(self, user_id):
        return await run_in_django(self.get_user, user_id)


async def test_a_backend_of_the_projects_own(client, users, settings):
    from django.test import Client

    own = f"{__name__}.OwnBackend"
    settings.AUTHENTICATION_BACKENDS = [own]

    def cookie():
        django = Client()
        django.force_login(users[0], own)
        return django.cookies["sessionid"].value

    client.session.cookie_jar.update_cookies({"sessionid": await run_in_django(cookie)})
    assert (await json(client, "/who/"))["user"] == "ann by OwnBackend"
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
    assert (await json(client, "/who/"))["user"] == ""


@pytest.mark.parametrize("cookie", ["", "x", "not-a-session-of-ours-at-all", "é" * 40])
async def test_a_cookie_that_means_nothing(client, cookie):
    async with client.get("/who/", headers={"Cookie": f"sessionid={cookie}"}) as response:
        assert (response.status, (await response.json())["user"]) == (200, "")


class OwnSessionMiddleware(SessionMiddleware):
    def process_response(self, request, response):
        response = super().process_response(request, response)
        response["X-Own-Session"] = "yes"
        return response


async def test_a_session_middleware_derived_from_djangos(make_client, settings):
    settings.MIDDLEWARE = [f"{__name__}.OwnSessionMiddleware"]
    client = await make_client()
    assert (await client.get("/read/")).headers["X-Own-Session"] == "yes"
    assert "X-Own-Session" not in (await client.get("/untouched/")).headers


@pytest.mark.parametrize("in_session", [False, True])
async def test_a_csrf_token_of_a_coroutine_view_is_accepted(client, settings, in_session):
    settings.CSRF_USE_SESSIONS = in_session
    tokens = [await text(client, "/token/") for _ in range(2)]
    for token in tokens:
        async with client.post("/sync-who/", data={"csrfmiddlewaretoken": token}) as response:
            assert response.status == 200
    async with client.post("/sync-who/", data={"csrfmiddlewaretoken": "x" * 64}) as response:
        assert response.status == 403


async def test_a_handler_of_the_host_may_ask_too(make_client, users, log_in, aiohttp_client):
    from aiohttp import web
    from django.core.wsgi import get_wsgi_application

    from aiodjango import aget_user, setup

    async def own(request):
        return web.Response(text=(await aget_user(request)).get_username())

    app = web.Application()
    app.router.add_get("/own", own)
    setup(app, get_wsgi_application())
    client = await aiohttp_client(app)
    await log_in(client, users[0])
    assert await text(client, "/own") == "ann"


def test_the_users_are_those_of_the_database(users):
    assert User.objects.count() == 2
