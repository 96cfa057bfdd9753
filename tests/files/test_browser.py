"""A real browser on a page that shows uploads, some of them hostile."""

import asyncio

import pytest
from aiohttp import web

from tests.files.conftest import site
from tests.support.waiting import DEADLINE

pytestmark = pytest.mark.browser

SCRIPT = "window.ran = (window.ran || []).concat('{}')"
SVG = """<svg xmlns="http://www.w3.org/2000/svg" width="30" height="20">
<rect width="30" height="20" style="fill: red"/><script>alert(1)</script></svg>"""
PAGE = """<!doctype html><title>Uploads</title>
<script src="/static/ours.js"></script>
<script src="/media/theirs.js"></script>
<script type="module" src="/media/theirs.mjs"></script>
<script src="/media/theirs.txt"></script>
<link rel="stylesheet" href="/static/site.css">
<img src="/media/theirs.svg">
<p>text</p>"""


@pytest.fixture
async def server(roots, settings, aiohttp_server):
    settings.ALLOWED_HOSTS = ["127.0.0.1"]
    (roots / "static" / "ours.js").write_text(SCRIPT.format("ours"))
    (roots / "static" / "site.css").write_text("p { color: rgb(1, 2, 3) }")
    for name in ["theirs.js", "theirs.mjs", "theirs.txt"]:
        (roots / "media" / name).write_text(SCRIPT.format(name))
    (roots / "media" / "theirs.svg").write_text(SVG)
    (roots / "media" / "theirs.html").write_text(f"<script>{SCRIPT.format('page')}</script>")

    async def home(request):
        return web.Response(text=PAGE, content_type="text/html")

    app = site(include_static=True, include_media=True)
    app.router.add_get("/home/", home)
    return await aiohttp_server(app)


async def test_uploads_are_shown_and_never_run(page, server):
    await page.goto(str(server.make_url("/home/")), wait_until="load")
    assert await page.evaluate("window.ran") == ["ours"]
    assert await page.evaluate("getComputedStyle(document.querySelector('p')).color") == (
        "rgb(1, 2, 3)"
    )
    size = "(image => [image.naturalWidth, image.naturalHeight])(document.images[0])"
    assert await page.evaluate(size) == [30, 20]
    for name in ["theirs.html", "theirs.svg"]:
        async with page.expect_download() as download:
            # To leave for it is all that a page can do; what comes is no page, so we stay.
            await page.evaluate("url => { location.href = url }", f"/media/{name}")
        assert (await download.value).suggested_filename == name
        await (await download.value).delete()
    assert await page.title() == "Uploads"
    service_worker = "navigator.serviceWorker.register('/media/theirs.js').catch(e => e.name)"
    async with asyncio.timeout(DEADLINE):
        assert await page.evaluate(service_worker) == "SecurityError"
