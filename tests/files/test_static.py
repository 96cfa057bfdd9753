"""include_static: what is sent with a file, and which form of it."""

import gzip
import mimetypes
import os

import pytest
from django.contrib.staticfiles.storage import ManifestStaticFilesStorage
from django.core.management import call_command

IMMUTABLE = "public, max-age=31536000, immutable"
CSS = "body { margin: 0 }\n" * 20


class LeavesNames(ManifestStaticFilesStorage):
    """Names in the manifest that don't change with the content."""

    def file_hash(self, name, content=None):
        return None


@pytest.fixture
def collect(roots, settings):
    """Runs collectstatic on a folder of sources, with a storage; returns where a file went."""
    sources = roots / "sources"
    sources.mkdir()
    (sources / "site.css").write_text(CSS)
    settings.STATICFILES_DIRS = [sources]

    def collect(storage=ManifestStaticFilesStorage, **options):
        backend = f"{storage.__module__}.{storage.__qualname__}"
        settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": backend}}
        call_command("collectstatic", interactive=False, verbosity=0, **options)
        names = [path.name for path in (roots / "static").glob("site*.css")]
        return sorted(names, key=len)

    return collect


@pytest.fixture
def compressed(static):
    """A file in all its forms."""
    (static / "site.css").write_text(CSS)
    (static / "site.css.gz").write_bytes(gzip.compress(CSS.encode()))
    (static / "site.css.br").write_bytes(b"stands for brotli")
    return static


class TestHeaders:
    async def test_all(self, client, static):
        os.utime(static / "a.txt", (1_000_000_000, 1_000_000_000))
        answer = await client.request("GET", "/static/a.txt")
        headers = dict(answer.headers)
        assert headers.pop("Date")
        assert headers.pop("Server")
        assert headers.pop("Etag").strip('"')
        assert (answer.status, answer.text, headers) == (
            200,
            "static file",
            {
                "Content-Type": "text/plain; charset=utf-8",
                "Content-Length": "11",
                "Cache-Control": "public, max-age=60",
                "Last-Modified": "Sun, 09 Sep 2001 01:46:40 GMT",
                "Accept-Ranges": "bytes",
                "Access-Control-Allow-Origin": "*",
                "X-Content-Type-Options": "nosniff",
            },
        )

    async def test_nothing_is_kept_under_debug(self, settings, connect):
        settings.DEBUG = True
        client = await connect()
        answer = await client.request("GET", "/static/a.txt")
        assert answer.header("Cache-Control") == "public, max-age=0"

    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("site.js", "text/javascript; charset=utf-8"),
            ("SITE.MJS", "text/javascript; charset=utf-8"),
            ("site.css", "text/css; charset=utf-8"),
            ("module.wasm", "application/wasm"),
            ("font.woff2", "font/woff2"),
            ("icon.svg", "image/svg+xml"),
            ("site.js.map", "application/json"),
            ("feed.xml", "application/xml"),
            ("photo.jpeg", "image/jpeg"),
            ("source.tar.gz", "application/gzip"),
            ("source.tgz", "application/gzip"),
            ("README", "application/octet-stream"),
            ("a.b.unknown", "application/octet-stream"),
            ("data:text,html.png", "image/png"),
            ("html", "application/octet-stream"),
            (".html", "application/octet-stream"),
            ("a.js/html", "application/octet-stream"),
        ],
    )
    async def test_types(self, client, static, name, kind):
        (static / name).parent.mkdir(exist_ok=True)
        (static / name).write_bytes(b"x")
        answer = await client.request("GET", f"/static/{name}")
        assert (answer.status, answer.header("Content-Type")) == (200, kind)
        assert answer.header("Content-Encoding") is None

    async def test_types_of_the_project(self, client, static):
        mimetypes.add_type("application/x-own", ".own")
        (static / "a.own").write_bytes(b"x")
        answer = await client.request("GET", "/static/a.own")
        assert answer.header("Content-Type") == "application/x-own"


class TestManifest:
    async def test_hashed_names_are_immutable(self, collect, connect):
        plain, hashed = collect()
        client = await connect()
        for name, policy in [(hashed, IMMUTABLE), (plain, "public, max-age=60")]:
            answer = await client.request("GET", f"/static/{name}")
            assert (answer.text, answer.header("Cache-Control")) == (CSS, policy)

    async def test_a_name_without_a_hash(self, collect, connect):
        assert collect(LeavesNames) == ["site.css"]
        client = await connect()
        answer = await client.request("GET", "/static/site.css")
        assert answer.header("Cache-Control") == "public, max-age=60"

    async def test_without_the_staticfiles_app(self, collect, settings, connect, roots):
        """Nobody knows then which names have a hash, nor where links may lead."""
        _, hashed = collect()
        (roots / "static" / "link.css").symlink_to(roots / "sources" / "site.css")
        apps = settings.INSTALLED_APPS
        settings.INSTALLED_APPS = [app for app in apps if not app.endswith("staticfiles")]
        client = await connect()
        answer = await client.request("GET", f"/static/{hashed}")
        assert (answer.text, answer.header("Cache-Control")) == (CSS, "public, max-age=60")
        assert (await client.request("GET", "/static/link.css")).status == 404


class TestPrecompressed:
    @pytest.mark.parametrize(
        ("accepted", "coding"),
        [
            (None, None),
            ("", None),
            ("gzip, deflate, br, zstd", "br"),
            ("GZIP", "gzip"),
            ("br;q=0.5, gzip;q=0.8", "gzip"),
            ("br;q=0, gzip", "gzip"),
            ("br;q=0, gzip;q=0.000", None),
            ("gzip;q=0.5, identity", None),
            ("identity;q=0, gzip;q=0.1", "gzip"),
            ("gzip ; q=1.0 , br ; q=1", "br"),
            ("*", "br"),
            ("br;q=0, *;q=0.3", "gzip"),
            ("*;q=0", None),
            ("identity;q=0", None),
            ("brotli, x-gzip", None),
            ("gzip;q=high", None),
            ("br;level=4", None),
        ],
    )
    async def test_choice(self, client, compressed, accepted, coding):
        headers = {} if accepted is None else {"Accept-Encoding": accepted}
        answer = await client.request("GET", "/static/site.css", headers=headers)
        ending = {"br": ".br", "gzip": ".gz", None: ""}[coding]
        assert answer.header("Content-Encoding") == coding
        assert answer.body == (compressed / f"site.css{ending}").read_bytes()
        assert answer.header("Content-Type") == "text/css; charset=utf-8"
        assert answer.header("Vary") == "Accept-Encoding"

    async def test_in_several_headers(self, client, compressed):
        await client.send(
            b"GET /static/site.css HTTP/1.1\r\nHost: test\r\n"
            b"Accept-Encoding: deflate\r\nAccept-Encoding: gzip\r\n\r\n"
        )
        assert (await client.answer()).header("Content-Encoding") == "gzip"

    @pytest.mark.parametrize(("length", "coding"), [(1024, "gzip"), (1025, None), (8000, None)])
    async def test_a_header_that_is_too_long_is_not_looked_at(
        self, client, compressed, length, coding
    ):
        headers = {"Accept-Encoding": "gzip" + "," * (length - len("gzip"))}
        answer = await client.request("GET", "/static/site.css", headers=headers)
        assert answer.header("Content-Encoding") == coding

    async def test_only_one_is_there(self, client, compressed):
        (compressed / "site.css.br").unlink()
        headers = {"Accept-Encoding": "gzip, br"}
        answer = await client.request("GET", "/static/site.css", headers=headers)
        assert gzip.decompress(answer.body).decode() == CSS

    async def test_none_is_there(self, client, static):
        answer = await client.request("GET", "/static/a.txt", headers={"Accept-Encoding": "br"})
        assert (answer.text, answer.header("Vary")) == ("static file", None)

    async def test_the_file_itself_is_missing(self, client, compressed):
        (compressed / "site.css").unlink()
        answer = await client.request("GET", "/static/site.css", headers={"Accept-Encoding": "br"})
        assert answer.status == 404

    async def test_asked_for_by_name(self, client, compressed):
        answer = await client.request("GET", "/static/site.css.gz")
        assert answer.header("Content-Type") == "application/gzip"
        assert answer.header("Content-Encoding") is None

    async def test_a_link_is_no_form_of_the_file(self, client, compressed, roots):
        (compressed / "site.css.br").unlink()
        (compressed / "site.css.br").symlink_to(roots / "secret.txt")
        answer = await client.request("GET", "/static/site.css", headers={"Accept-Encoding": "br"})
        assert answer.text == CSS

    async def test_each_has_its_own_etag(self, client, compressed):
        etags = set()
        for accepted in ["br", "gzip", ""]:
            headers = {"Accept-Encoding": accepted}
            answer = await client.request("GET", "/static/site.css", headers=headers)
            etags.add(answer.header("ETag"))
            headers["If-None-Match"] = answer.header("ETag")
            answer = await client.request("GET", "/static/site.css", headers=headers)
            assert (answer.status, answer.header("Vary")) == (304, "Accept-Encoding")
        assert len(etags) == 3

    async def test_part_of_it(self, client, compressed):
        headers = {"Accept-Encoding": "gzip", "Range": "bytes=0-1"}
        answer = await client.request("GET", "/static/site.css", headers=headers)
        assert (answer.status, answer.body) == (206, b"\x1f\x8b")
        assert answer.header("Content-Encoding") == "gzip"


class TestWhileRunning:
    async def test_files_come_change_and_go(self, client, static):
        assert (await client.request("GET", "/static/new/a.css")).status == 404
        (static / "new").mkdir()
        for content in ["a { }", "b { }  /* longer */"]:
            (static / "new" / "a.css").write_text(content)
            assert (await client.request("GET", "/static/new/a.css")).text == content
        (static / "new" / "a.css").unlink()
        assert (await client.request("GET", "/static/new/a.css")).status == 404

    async def test_the_folder_comes_later(self, settings, roots, connect, caplog):
        settings.STATIC_ROOT = roots / "later"
        client = await connect()
        (message,) = [r.getMessage() for r in caplog.records if r.name == "aiodjango"]
        assert message == (
            f"No static files are served, because STATIC_ROOT = '{roots}/later' is not a folder: "
            "run `manage.py collectstatic`."
        )
        (roots / "static").rename(roots / "later")
        assert (await client.request("GET", "/static/a.txt")).status == 200

    async def test_the_folder_is_a_link_that_is_replaced(self, settings, roots, connect):
        for release in ["1", "2"]:
            (roots / release).mkdir()
            (roots / release / "a.txt").write_text(release)
        current = roots / "current"
        current.symlink_to(roots / "1")
        settings.STATIC_ROOT = current
        client = await connect()
        assert (await client.request("GET", "/static/a.txt")).text == "1"
        current.unlink()
        current.symlink_to(roots / "2")
        assert (await client.request("GET", "/static/a.txt")).text == "2"

    async def test_collected_links(self, collect, connect, roots):
        collect(link=True)
        assert (roots / "static" / "site.css").is_symlink()
        client = await connect()
        assert (await client.request("GET", "/static/site.css")).text == CSS
