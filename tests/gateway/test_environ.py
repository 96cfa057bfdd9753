"""PEP 3333: environ variables, and URL reconstruction; proxies."""

import contextlib
import contextvars
import json
import sys
from wsgiref.util import application_uri, request_uri

import pytest
from aiohttp import web

from aiodjango.gateway.environ import TrustedProxies
from tests.gateway.client import Client
from tests.gateway.environ_dump import application
from tests.gateway.test_files import tls_contexts


@pytest.fixture(autouse=True)
def no_setting_from_outside(monkeypatch):
    monkeypatch.delenv("FORWARDED_ALLOW_IPS", raising=False)


async def environ_of(server, path, **kwargs):
    answer = await server.get(path, **kwargs)
    assert answer.status == 200
    return json.loads(answer.body)


class TestVariables:
    async def test_of_a_get(self, serve):
        server = await serve(application)
        environ = await environ_of(server, "/a/b?c=d&e", headers={"X-Y": "z"})
        port = environ.pop("REMOTE_PORT")
        assert port.isdigit()
        assert port != str(server.port)
        assert environ.pop("SERVER_SOFTWARE").startswith("Python/")
        assert environ == {
            "REQUEST_METHOD": "GET",
            "SCRIPT_NAME": "",
            "PATH_INFO": "/a/b",
            "QUERY_STRING": "c=d&e",
            "RAW_URI": "/a/b?c=d&e",
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": str(server.port),
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_HOST": "test",
            "HTTP_X_Y": "z",
            "wsgi.version": [1, 0],
            "wsgi.url_scheme": "http",
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
            "body": "",
        }

    async def test_errors_go_to_stderr(self, serve, capsys):
        def complain(environ, start_response):
            environ["wsgi.errors"].write("a complaint")
            environ["wsgi.errors"].writelines([" and", " more"])
            environ["wsgi.errors"].flush()
            assert environ["wsgi.errors"] is sys.stderr
            start_response("200 OK", [])
            return []

        server = await serve(complain)
        assert (await server.get()).status == 200
        assert capsys.readouterr().err == "a complaint and more"

    async def test_the_environ_is_the_applications_to_change(self, serve):
        def wreck(environ, start_response):
            start_response("200 OK", [])
            environ["REQUEST_METHOD"] = "HEAD"
            environ["wsgi.input"] = None
            environ["SCRIPT_NAME"] = None
            return iter([b"a body"])

        server = await serve(wreck)
        assert (await server.get()).body == b"a body"

    async def test_requests_do_not_share_an_environ(self, serve):
        def leak(environ, start_response):
            environ["wsgi.leaked"] = environ.get("wsgi.leaked", 0) + 1
            start_response("200 OK", [])
            return [str(environ["wsgi.leaked"]).encode()]

        server = await serve(leak)
        assert [(await server.get()).body for _ in range(3)] == [b"1"] * 3

    async def test_a_clone_of_the_request_is_believed(self, serve):
        """How middlewares for proxies (aiohttp-remotes) say who the client is."""

        @web.middleware
        async def behind_proxy(request, handler):
            return await handler(request.clone(remote="1.2.3.4", scheme="https"))

        server = await serve(application, middlewares=[behind_proxy])
        environ = await environ_of(server, "/")
        assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]) == ("1.2.3.4", "https")


class TestMounts:
    @pytest.mark.parametrize(
        ("mount", "path", "script_name", "path_info"),
        [
            ("", "/", "", "/"),
            ("/site", "/site", "/site", ""),
            ("/site", "/site/", "/site", "/"),
            ("/site", "/site/a%2Fb", "/site", "/a/b"),
            ("/site", "/s%69te/a", "/site", "/a"),
            ("/site", "/%73%69%74%65/%C3%A9", "/site", "/\xc3\xa9"),
            ("/site", "/site//a", "/site", "//a"),
            ("/site", "http://test/site/a", "/site", "/a"),
            ("/a b", "/a%20b/c", "/a b", "/c"),
            ("/é", "/%C3%A9/%C3%A9", "/\xc3\xa9", "/\xc3\xa9"),
        ],
    )
    async def test_script_name_and_path_info(self, serve, mount, path, script_name, path_info):
        server = await serve(application, mount=mount)
        environ = await environ_of(server, path)
        assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == (script_name, path_info)

    @pytest.mark.parametrize(
        ("mount", "path"), [("", "/"), ("/site", "/site/a%20b?c=%20"), ("", "/%C3%A9?x")]
    )
    async def test_urls_can_be_reconstructed(self, serve, mount, path):
        uris = []

        def reconstruct(environ, start_response):
            uris.extend([application_uri(environ), request_uri(environ)])
            return application(environ, start_response)

        server = await serve(reconstruct, mount=mount)
        await server.get(path)
        assert uris == [f"http://test{mount or '/'}", f"http://test{path}"]


class TestAddresses:
    async def test_unix_socket(self, serve):
        server = await serve(application, unix=True)
        for host, name, port in [
            ("test", "test", "80"),
            ("test:81", "test", "81"),
            ("[::1]:82", "::1", "82"),
            ("[::1]", "::1", "80"),
            ("", "localhost", "80"),
        ]:
            async with Client(server.site.name.removeprefix("http://unix:").rstrip(":")) as client:
                await client.send(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                environ = json.loads((await client.answer()).body)
            assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == (name, port)
            assert environ["REMOTE_ADDR"] == ""
            assert "REMOTE_PORT" not in environ

    async def test_tls(self, serve, tmp_path):
        server_side, client_side = tls_contexts(tmp_path)
        server = await serve(application, ssl_context=server_side)
        async with Client("127.0.0.1", server.port, tls=client_side) as client:
            environ = json.loads((await client.request("GET", "/")).body)
        assert environ["wsgi.url_scheme"] == "https"


class TestProxies:
    HTTPS = {"X-Forwarded-Proto": "https"}

    async def scheme(self, serve, headers, **options):
        server = await serve(application, **options)
        return (await environ_of(server, "/", headers=headers))["wsgi.url_scheme"]

    async def test_a_trusted_peer_sets_the_scheme(self, serve):
        assert await self.scheme(serve, self.HTTPS) == "https"

    async def test_another_does_not(self, serve):
        assert await self.scheme(serve, self.HTTPS, forwarded_allow_ips="10.0.0.1") == "http"
        assert await self.scheme(serve, self.HTTPS, forwarded_allow_ips="") == "http"

    async def test_the_environment_names_them(self, serve, monkeypatch):
        monkeypatch.setenv("FORWARDED_ALLOW_IPS", "10.0.0.1")
        assert await self.scheme(serve, self.HTTPS) == "http"
        assert await self.scheme(serve, self.HTTPS, forwarded_allow_ips="*") == "https"

    async def test_headers_reach_the_application_unchanged(self, serve):
        server = await serve(application, forwarded_allow_ips="10.0.0.1")
        headers = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "1.2.3.4"}
        environ = await environ_of(server, "/", headers=headers)
        assert environ["HTTP_X_FORWARDED_PROTO"] == "https"
        assert environ["HTTP_X_FORWARDED_FOR"] == "1.2.3.4"
        assert environ["REMOTE_ADDR"] == "127.0.0.1"

    async def test_a_unix_peer_is_trusted(self, serve):
        server = await serve(application, unix=True, forwarded_allow_ips="10.0.0.1")
        async with Client(server.site.name.removeprefix("http://unix:").rstrip(":")) as client:
            environ = json.loads((await client.request("GET", "/", headers=self.HTTPS)).body)
        assert environ["wsgi.url_scheme"] == "https"

    async def test_one_that_contradicts_itself_is_refused(self, serve):
        server = await serve(application)
        headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Ssl": "off"}
        assert (await server.get("/", headers=headers)).status == 400

    @pytest.mark.parametrize(
        ("allowed", "peer", "trusted"),
        [
            ("127.0.0.1", ("127.0.0.1", 1), True),
            ("127.0.0.1", ("127.0.0.2", 1), False),
            (" 10.0.0.1 , 127.0.0.1 ", ("127.0.0.1", 1), True),
            ("10.0.0.0/8", ("10.1.2.3", 1), True),
            ("10.0.0.0/8", ("11.1.2.3", 1), False),
            ("::1", ("::1", 1, 0, 0), True),
            ("127.0.0.1", ("::ffff:127.0.0.1", 1, 0, 0), True),
            ("fe80::/10", ("fe80::1%eth0", 1, 0, 2), True),
            ("*", ("1.2.3.4", 1), True),
            ("127.0.0.1", ("not an address", 1), False),
            # The peer of a TCP connection that has gone already.
            ("127.0.0.1", None, False),
            ("", ("127.0.0.1", 1), False),
        ],
    )
    def test_addresses_and_networks(self, allowed, peer, trusted):
        assert TrustedProxies(allowed).trusts(peer, ("127.0.0.1", 80)) is trusted

    def test_malformed(self):
        with pytest.raises(ValueError, match=r"forwarded_allow_ips: 'x' does not appear to be"):
            TrustedProxies("127.0.0.1,x")


async def test_context_variables_are_seen(serve):
    """What a middleware sets for a request (a trace, say) is seen by the application."""
    variable = contextvars.ContextVar("variable", default="unset")
    seen = []

    @web.middleware
    async def trace(request, handler):
        token = variable.set(request.path)
        with contextlib.ExitStack() as stack:
            stack.callback(variable.reset, token)
            return await handler(request)

    def look(environ, start_response):
        seen.append(variable.get())
        variable.set("changed by the application")
        start_response("200 OK", [])
        yield b"x"
        seen.append(variable.get())

    server = await serve(look, middlewares=[trace], threads=1)
    await server.get("/one")
    await server.get("/two")
    assert seen == ["/one", "changed by the application", "/two", "changed by the application"]
