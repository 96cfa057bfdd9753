"""The site at any mount: SCRIPT_NAME, reverse(), {% url %}, {% static %} and url_for()."""

import asyncio

import pytest
from aiohttp import ClientSession, TCPConnector, web
from django.contrib.staticfiles.storage import staticfiles_storage
from django.core.wsgi import get_wsgi_application
from django.urls import path, reverse
from yarl import URL

from aiodjango import fallback_middleware, get_aio_application, get_aio_subapp, setup


def site(**options):
    return get_aio_application(get_wsgi_application(), **options)


def mounted(*prefixes):
    """The site within applications within applications, the outermost prefix first."""
    app = site()
    for prefix in reversed(prefixes):
        outer = web.Application()
        outer.add_subapp(prefix, app)
        app = outer
    return app


async def get(client, url, **options):
    response = await client.get(url, **options)
    assert response.status == 200, await response.text()
    return await response.json()


def expected_links(mount):
    return {
        "sync": f"{mount}/sync/",
        "aio": f"{mount}/aio/",
        "item": f"{mount}/shop/7/",
        "template": f"{mount}/sync/ {mount}/aio/ {mount}/static/app.css",
    }


async def check(client, mount, **options):
    """Both halves of the site under `mount` know where they are."""
    answer = await get(client, f"{mount}/sync/", **options)
    assert answer == {
        **expected_links(mount),
        "server": "django",
        "script_name": mount,
        "path_info": "/sync/",
        "path": f"{mount}/sync/",
    }
    answer = await get(client, f"{mount}/aio/", **options)
    assert answer == {
        **expected_links(mount),
        "server": "aiohttp",
        "url_for": f"{mount}/aio/",
        "path": f"{mount}/aio/",
    }


async def test_at_the_root(aiohttp_client):
    await check(await aiohttp_client(site()), "")


async def test_under_a_prefix(aiohttp_client):
    await check(await aiohttp_client(mounted("/site/")), "/site")


async def test_under_nested_prefixes(aiohttp_client):
    await check(await aiohttp_client(mounted("/a", "/b/", "/c/d/")), "/a/b/c/d")


async def test_in_an_existing_application(aiohttp_client):
    app = web.Application()
    setup(app, get_wsgi_application())
    await check(await aiohttp_client(app), "")


async def test_setup_on_an_application_that_is_mounted_afterwards(aiohttp_client):
    main, app = web.Application(), web.Application()
    setup(app, get_wsgi_application())
    main.add_subapp("/site/", app)
    await check(await aiohttp_client(main), "/site")


async def test_on_a_domain(aiohttp_client):
    async def own(request):
        return web.Response(text="main's own")

    main = web.Application()
    main.router.add_get("/sync/", own)
    main.add_domain("localhost", site())
    client = await aiohttp_client(main)
    await check(client, "", headers={"Host": "localhost"})
    assert await (await client.get("/sync/")).text() == "main's own"


async def test_the_middleware_of_a_mounted_application(aiohttp_client):
    main, app = web.Application(), web.Application()
    middleware = fallback_middleware(get_wsgi_application())
    app.middlewares.append(middleware)
    app.cleanup_ctx.append(middleware.cleanup_ctx)
    main.add_subapp("/site/", app)
    client = await aiohttp_client(main)
    for _ in range(2):  # the first miss, and those that find the catch-all in its place
        answer = await get(client, "/site/sync/")
        assert (answer["script_name"], answer["path_info"]) == ("/site", "/sync/")
        assert answer["aio"] == "/site/aio/"


async def test_without_the_slash_of_the_mount(aiohttp_client):
    client = await aiohttp_client(mounted("/site/"))
    answer = await get(client, "/site")
    assert (answer["script_name"], answer["path_info"], answer["path"]) == ("/site", "/", "/site/")


async def test_an_encoded_prefix(aiohttp_client):
    client = await aiohttp_client(mounted("/site/"))
    answer = await get(client, URL("/s%69te/sync/", encoded=True))
    assert (answer["script_name"], answer["path_info"]) == ("/site", "/sync/")
    answer = await get(client, URL("/s%69te/%61io/", encoded=True))
    assert answer["server"] == "aiohttp"


async def test_a_prefix_is_left_at_a_segment_boundary(aiohttp_client):
    client = await aiohttp_client(mounted("/app/"))
    assert (await client.get("/apple/sync/")).status == 404


async def test_one_connection_that_visits_several_mounts():
    main = web.Application()
    main.add_subapp("/one/", site())
    main.add_subapp("/two/", site())
    setup(main, get_wsgi_application())

    async def host(request):
        return web.json_response({"aio": reverse("aio")})

    async def note_peer(request, response):
        peers.add(request.transport.get_extra_info("peername"))

    peers = set()
    main.on_response_prepare.append(note_peer)
    main.router.add_get("/host", host)
    runner = web.AppRunner(main)
    await runner.setup()
    server = web.TCPSite(runner, "127.0.0.1", 0)
    await server.start()
    try:
        async with ClientSession(connector=TCPConnector(limit=1)) as session:
            port = runner.addresses[0][1]
            for mount in ["/one", "", "/two", "/one", "/host", "/two", ""]:
                path = "/host" if mount == "/host" else f"{mount}/aio/"
                async with session.get(f"http://127.0.0.1:{port}{path}") as response:
                    answer = await response.json()
                prefix = "" if mount == "/host" else mount
                assert answer["aio"] == f"{prefix}/aio/"
    finally:
        await runner.cleanup()
    assert len(peers) == 1


async def test_the_same_urlconf_mounted_twice(aiohttp_client):
    main = web.Application()
    main.add_subapp("/one/", site())
    main.add_subapp("/two/", site())
    client = await aiohttp_client(main)
    for mount in ["/one", "/two"]:
        for name in ["sync", "aio"]:
            answer = await get(client, f"{mount}/{name}/")
            assert (answer["sync"], answer["aio"]) == (f"{mount}/sync/", f"{mount}/aio/")
            # A relative STATIC_URL can follow one mount only: the first.
            assert answer["template"].endswith("/one/static/app.css")


async def test_force_script_name_wins_over_the_mount(aiohttp_client, settings):
    settings.FORCE_SCRIPT_NAME = "/forced"
    client = await aiohttp_client(mounted("/site/"))
    for name in ["sync", "aio"]:
        assert (await get(client, f"/site/{name}/"))["aio"] == "/forced/aio/"


async def test_reverse_in_the_urlconf_that_was_given(aiohttp_client):
    async def where(request):
        return web.Response(text=reverse("only-here"))

    urlconf = [path("where/", where, name="only-here")]
    main = web.Application()
    main.add_subapp("/chat/", get_aio_subapp(urlconf))
    client = await aiohttp_client(main)
    assert await (await client.get("/chat/where/")).text() == "/chat/where/"


@pytest.mark.parametrize("static_url", ["static/", "/static/", "http://cdn.example/static/"])
async def test_static_url_follows_even_when_read_early(aiohttp_client, settings, static_url):
    settings.STATIC_URL = static_url
    assert settings.STATIC_URL  # a check, or a urls.py, reads it before there is any mount
    client = await aiohttp_client(mounted("/site/"))
    expected = "/site/static/" if static_url == "static/" else static_url
    for name in ["sync", "aio"]:
        assert (await get(client, f"/site/{name}/"))["template"].endswith(f" {expected}app.css")


async def test_storage_with_a_url_of_its_own_keeps_it(aiohttp_client, settings):
    storage = "django.contrib.staticfiles.storage.StaticFilesStorage"
    options = {"base_url": "https://cdn.example/"}
    settings.STORAGES = {"staticfiles": {"BACKEND": storage, "OPTIONS": options}}
    assert staticfiles_storage.url("app.css") == "https://cdn.example/app.css"
    main = web.Application()
    main.add_subapp("/site/", get_aio_application())
    await aiohttp_client(main)
    assert staticfiles_storage.url("app.css") == "https://cdn.example/app.css"


async def test_static_url_follows_for_a_storage_made_early(aiohttp_client):
    assert staticfiles_storage.url("app.css") == "/static/app.css"
    client = await aiohttp_client(mounted("/site/"))
    assert (await get(client, "/site/aio/"))["template"].endswith(" /site/static/app.css")


async def test_static_url_is_as_before_once_the_application_has_ended(aiohttp_client, settings):
    client = await aiohttp_client(mounted("/site/"))
    assert settings.STATIC_URL == "/site/static/"
    await client.close()
    assert settings.STATIC_URL == "/static/"
    assert staticfiles_storage.url("app.css") == "/static/app.css"


def test_static_url_does_not_follow_an_application_that_was_abandoned(settings):
    """Its event loop was closed without a cleanup, as tests of other code do."""
    runners = [web.AppRunner(mounted(prefix)) for prefix in ("/left/", "/site/")]
    assert staticfiles_storage.url("app.css") == "/static/app.css"
    loop = asyncio.new_event_loop()
    loop.run_until_complete(runners[0].setup())
    loop.close()
    assert settings.STATIC_URL == "/left/static/"

    async def next_one():
        await runners[1].setup()
        assert settings.STATIC_URL == "/site/static/"
        assert staticfiles_storage.url("app.css") == "/site/static/app.css"
        await runners[1].cleanup()
        await runners[0].cleanup()  # or the logs would stay filtered

    asyncio.run(next_one())
    assert settings.STATIC_URL == "/static/"
    assert staticfiles_storage.url("app.css") == "/static/app.css"


@pytest.mark.parametrize("prefix", ["/größe", "/a b", "/a%20b", "/100%"])
def test_a_prefix_that_aiohttp_cannot_match_is_refused(prefix):
    with pytest.raises(ValueError, match=f"'{prefix}': .* may only contain"):
        web.Application().add_subapp(f"{prefix}/", site())


def test_an_application_with_a_domain_cannot_be_mounted():
    app = site()
    app.add_domain("example.com", web.Application())
    with pytest.raises(RuntimeError, match=r"'/site' that has used add_domain\(\)"):
        web.Application().add_subapp("/site/", app)


# ---- What monitoring tools call a request for Django ----


def observed():
    """An application that keeps the matches of its requests, and these."""
    matches = []

    @web.middleware
    async def look(request, handler):
        matches.append(request.match_info)
        return await handler(request)

    outer = web.Application(middlewares=[look])
    return outer, matches


@pytest.mark.parametrize("mount", ["", "/site", "/org/site"])
async def test_django_is_no_home_page_to_monitoring(aiohttp_client, mount):
    outer, matches = observed()
    if mount:
        outer.add_subapp(mount, site())
    else:
        setup(outer, get_wsgi_application())
    client = await aiohttp_client(outer)
    for url in ("/", "/sync/", "/nothing/"):
        await (await client.get(f"{mount}{url}")).read()
        route = matches[-1].route
        assert route.resource  # as tools ask
        assert route.resource.canonical == f"{mount}/{{django}}"
        assert list(route.resource) == [route]
        assert matches[-1].get_info() == {"path": f"{mount}/{{django}}"}
        name = f"{route.handler.__module__}.{route.handler.__qualname__}"
        assert name == "aiodjango.fallback.Fallback.hand_to_django"
    await (await client.get(f"{mount}/aio/")).read()
    assert matches[-1].route.resource.canonical == f"{mount}/aio/"
