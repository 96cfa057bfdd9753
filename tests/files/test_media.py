"""include_media: files that anybody may have put there."""

import pytest
from asgiref.sync import sync_to_async
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

SANDBOX = "default-src 'none'; style-src 'unsafe-inline'; sandbox"


async def test_an_upload(client, settings, roots):
    settings.MEDIA_ROOT = roots / "media"
    name = await sync_to_async(default_storage.save)("photos/me.png", ContentFile(b"a picture"))
    answer = await client.request("GET", default_storage.url(name))
    assert (answer.status, answer.body) == (200, b"a picture")
    headers = {name for name, _ in answer.headers}
    assert headers == {
        "Content-Type",
        "Content-Length",
        "Cache-Control",
        "Etag",
        "Last-Modified",
        "Accept-Ranges",
        "X-Content-Type-Options",
        "Date",
        "Server",
    }
    assert answer.header("X-Content-Type-Options") == "nosniff"
    assert answer.header("Cache-Control") == "public, max-age=60"


async def test_the_folder_comes_with_the_first_upload(settings, roots, connect):
    settings.MEDIA_ROOT = roots / "later" / "media"
    client = await connect()
    assert (await client.request("GET", "/media/a.txt")).status == 404
    await sync_to_async(default_storage.save)("a.txt", ContentFile(b"first"))
    assert (await client.request("GET", "/media/a.txt")).text == "first"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.html", "text/html; charset=utf-8"),
        ("a.HTM", "text/html; charset=utf-8"),
        ("a.xhtml", "application/xhtml+xml"),
        ("a.svg", "image/svg+xml"),
        ("a.xml", "application/xml"),
        ("a.css", "text/css; charset=utf-8"),
        # With nosniff a page can't run these either.
        ("a.js", "text/plain; charset=utf-8"),
        ("a.mjs", "text/plain; charset=utf-8"),
        ("a.mht", "message/rfc822"),
        ("a.wasm", "application/wasm"),
        ("a.zip", "application/zip"),
        ("a", "application/octet-stream"),
    ],
)
async def test_active_types_are_downloads(client, media, name, kind):
    (media / name).write_bytes(b"<script>alert(1)</script>")
    answer = await client.request("GET", f"/media/{name}")
    assert answer.header("Content-Type") == kind
    assert answer.header("Content-Disposition") == "attachment"
    assert answer.header("Content-Security-Policy") == SANDBOX
    assert answer.header("X-Content-Type-Options") == "nosniff"


@pytest.mark.parametrize(
    "name", ["a.png", "a.jpg", "a.webp", "a.mp4", "a.mp3", "a.pdf", "a.txt", "a.csv", "a.json"]
)
async def test_passive_types_are_shown(client, media, name):
    (media / name).write_bytes(b"content")
    answer = await client.request("GET", f"/media/{name}")
    assert answer.header("Content-Disposition") is None
    assert answer.header("Content-Security-Policy") is None
    assert answer.header("X-Content-Type-Options") == "nosniff"


async def test_nobody_compresses_the_file_of_another(client, media):
    """Two uploads: one has the other's name, and an ending."""
    (media / "a.txt.br").write_bytes(b"of somebody else")
    (media / "a.txt.gz").write_bytes(b"of somebody else")
    answer = await client.request("GET", "/media/a.txt", headers={"Accept-Encoding": "br, gzip"})
    assert (answer.text, answer.header("Vary")) == ("media file", None)
