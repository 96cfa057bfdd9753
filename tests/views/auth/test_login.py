"""Who is let to a coroutine view, and where the others are sent."""

import pytest
from aiohttp import WSServerHandshakeError, web
from django.contrib.auth.decorators import login_required, permission_required
from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.contrib.auth.models import Permission
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpResponse
from django.urls import path

from aiodjango import aio_login_required, aio_permission_required, get_aio_routes, get_aio_subapp
from aiodjango.orm import run_in_django
from tests.support.waiting import DEADLINE

LOGIN_REQUIRED = "django.contrib.auth.middleware.LoginRequiredMiddleware"


@pytest.fixture(autouse=True)
def login_url(session_settings):
    session_settings.LOGIN_URL = "login"


async def answer(client, url, method="GET"):
    async with client.request(method, url, allow_redirects=False) as response:
        return response.status, response.headers.get("Location") or await response.text()


async def handshake(client, url):
    try:
        async with client.ws_connect(url) as ws:
            return await ws.receive_str(timeout=DEADLINE)
    except WSServerHandshakeError as error:
        return error.status


@pytest.mark.parametrize("mount", ["", "/site/"])
async def test_pages_for_those_who_are_logged_in(make_client, users, log_in, mount):
    client = await make_client(mount)
    site = mount.rstrip("/")

    def login(rest):
        return 302, f"{site}/login/?next={site}/{rest}"

    assert await answer(client, f"{site}/private/?a=b") == login("private/%3Fa%3Db")
    assert await answer(client, f"{site}/private-class/") == login("private-class/")
    assert await answer(client, f"{site}/partly-private/") == (200, "public")
    assert await answer(client, f"{site}/partly-private/", "POST") == login("partly-private/")
    assert await answer(client, f"{site}/private/5/") == (302, f"/other/?then={site}/private/5/")
    assert await handshake(client, f"{site}/private-socket/") == 401
    await log_in(client, users[0])
    for url, method in [("private", "GET"), ("private-class", "GET"), ("partly-private", "POST")]:
        assert await answer(client, f"{site}/{url}/", method) == (200, "private")
    assert await answer(client, f"{site}/private/5/") == (200, "private 5")
    assert await handshake(client, f"{site}/private-socket/") == "private"


async def test_a_redirection_varies_by_cookie(client):
    response = await client.get("/private/", allow_redirects=False)
    assert response.headers["Vary"] == "Cookie"


async def test_the_login_page_is_djangos_whatever_the_views_urlconf(aiohttp_client, users):
    from django.core.wsgi import get_wsgi_application

    from aiodjango import get_aio_application

    from . import urls

    site = get_aio_application(get_wsgi_application())
    site.add_subapp("/chat/", get_aio_subapp([path("private/", urls.private)]))
    main = web.Application()
    main.add_subapp("/site/", site)
    client = await aiohttp_client(main)
    assert await answer(client, "/site/chat/private/") == (
        302,
        "/site/login/?next=/site/chat/private/",
    )


@pytest.mark.usefixtures("required")
async def test_without_django_the_login_page_is_that_of_the_urlconf(aiohttp_client, users):
    from . import urls

    urlconf = [path("login/", urls.who, name="login"), path("untouched/", urls.untouched)]
    main = web.Application()
    main.add_subapp("/site/", get_aio_subapp(urlconf))
    client = await aiohttp_client(main)
    assert await answer(client, "/site/untouched/") == (302, "/site/login/?next=/site/untouched/")


async def test_a_login_page_elsewhere_is_told_the_whole_url(client, settings):
    settings.LOGIN_URL = "https://login.example/"
    _, url = await answer(client, "/private/")
    assert url == f"https://login.example/?next=http%3A//{client.host}%3A{client.port}/private/"


async def test_permissions(client, users, log_in):
    ann, _ = users
    assert await answer(client, "/editors/") == (302, "/login/?next=/editors/")
    assert await handshake(client, "/editors/") == 401
    assert (await answer(client, "/editors/strict/"))[0] == 403
    await log_in(client, ann)
    assert await answer(client, "/editors/") == (302, "/login/?next=/editors/")
    assert await handshake(client, "/editors/") == 403
    assert (await answer(client, "/editors/strict/"))[0] == 403

    async def permit(name):
        permission = await Permission.objects.aget(codename=name)
        await run_in_django(ann.user_permissions.add, permission)

    await permit("add_user")
    assert (await answer(client, "/editors/"))[0] == 200
    assert await handshake(client, "/editors/") == "private"
    assert (await answer(client, "/editors/strict/"))[0] == 403
    await permit("change_user")
    assert (await answer(client, "/editors/strict/"))[0] == 200


@pytest.mark.parametrize(
    "decorator", [aio_login_required, aio_permission_required("auth.add_user")]
)
def test_a_sync_view_is_refused(decorator):
    with pytest.raises(TypeError, match=r"is no coroutine view\. For Django's own views there are"):
        decorator(lambda request: HttpResponse())


def test_what_is_decorated_keeps_its_name():
    @aio_login_required()
    async def view(request, pk):
        """Its text."""

    @aio_login_required
    class View(web.View):
        """Its text."""

    assert (view.__name__, view.__doc__) == ("view", "Its text.")
    assert (View.__name__, View.__doc__, View.__module__) == ("View", "Its text.", __name__)


@pytest.mark.parametrize(
    "decorator", [login_required, login_required(), permission_required("auth.add_user")]
)
def test_djangos_own_decorators_fail_at_the_start(decorator):
    @decorator
    async def view(request):
        return web.Response()

    app = web.Application()
    routes = get_aio_routes([path("x/", view)])
    with pytest.raises(ImproperlyConfigured, match="Use aiodjango's aio_login_required or"):
        app.add_routes(routes)


# ---- LoginRequiredMiddleware ----


@pytest.fixture
def required(settings):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, LOGIN_REQUIRED]


async def test_it_holds_for_coroutine_views(required, make_client, users, log_in):
    client = await make_client("/site/")
    assert await answer(client, "/site/untouched/") == (302, "/site/login/?next=/site/untouched/")
    assert await answer(client, "/site/partly-private/", "POST") == (
        302,
        "/site/login/?next=/site/partly-private/",
    )
    assert await handshake(client, "/site/socket/") == 401
    assert await answer(client, "/site/private/5/") == (302, "/other/?then=/site/private/5/")
    assert (await answer(client, "/site/who/"))[0] == 200  # @login_not_required
    await log_in(client, users[0])
    assert await answer(client, "/site/untouched/") == (200, "untouched")
    assert await handshake(client, "/site/socket/") == "ann"


class OwnLoginRequired(LoginRequiredMiddleware):
    def handle_no_permission(self, request, view_func):
        return HttpResponse(f"{view_func.__name__}: log in first", status=401)


async def test_one_derived_from_it_decides_itself(make_client, settings):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.OwnLoginRequired"]
    client = await make_client()
    assert await answer(client, "/untouched/") == (401, "untouched: log in first")
