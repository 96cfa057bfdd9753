"""Raw requests to gunicorn and to the gateway: the same environ, but for listed reasons."""

import asyncio
import json
import re
import subprocess
import sys

import pytest

from tests.conftest import require
from tests.gateway.client import Client
from tests.gateway.environ_dump import application
from tests.support.environment import ROOT, environment
from tests.support.waiting import DEADLINE

# What differs in every request, and why.
ALWAYS = {
    "SERVER_SOFTWARE": "names the server",
    "SERVER_PORT": "two servers, two ports",
    "REMOTE_PORT": "two connections, two ports",
    "wsgi.multithread": "the gateway has threads, gunicorn's sync worker has not",
    "wsgi.multiprocess": "the gateway cannot know, and gives the safe answer",
}

# The other differences: the requests, by a pattern for their names; what differs; and why.
# "refused" stands for a request that one side answers and the other does not.
LISTED = [
    (
        r"(GET|POST) 'http://",
        {"HTTP_HOST"},
        "RFC 9112 section 3.2.2: the host of an absolute-form target replaces the Host header",
    ),
    (
        r"(GET|POST) 'http://test(\?q)?'",
        {"PATH_INFO"},
        "RFC 9112 section 3.2.1: an empty path of an absolute-form target means /",
    ),
    (
        r"header 'Cookie: a=1\\r\\nCookie: b=2'",
        {"HTTP_COOKIE"},
        "a comma belongs to a cookie's value: cookies are joined by a semicolon",
    ),
    (
        r"body 'Content-Length: 003'",
        {"CONTENT_LENGTH"},
        "the length of what was received, not what the client said of it",
    ),
    (
        r"body 'Transfer-Encoding: [cC]hunked'",
        {"CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING"},
        "the chunks are taken off and the length is known: many applications need one",
    ),
    (
        r"header 'SCRIPT_NAME: /x'|header 'PATH_INFO: /x'",
        {"refused", "HTTP_PATH_INFO"},
        "names with underscores are dropped, also where gunicorn lets proxies set the environ",
    ),
    (r"body 'Transfer-Encoding: gzip, chunked'", {"refused"}, "no such coding is undone"),
    (r"header 'Expect: 200-ok' 1.0", {"refused"}, "HTTP/1.0 has no expectations"),
    (r"version 'HTTP/(1.2|2.0|0.9)'|1.1 without Host|two spaces", {"refused"}, "aiohttp's parser"),
    (
        r"(GET|POST) '.*(\\x|[^\x00-\x7f])",
        {"refused"},
        "aiohttp's parser: the one in C refuses what is not ASCII, the one in Python does not",
    ),
    (
        r"header 'X-Forwarded-Proto: (HTTPS|https, http|wss)'",
        {"wsgi.url_scheme"},
        "a scheme is of any case, the first of several counts as in Django, and wss is TLS",
    ),
    (
        r"header 'X-Forwarded-Proto: wss?'",
        {"wsgi.url_scheme", "HTTP_X_FORWARDED_PROTO"},
        "the schemes of WebSockets are those of HTTP",
    ),
    (
        r"(GET|POST) '/a#b\?c'",
        {"PATH_INFO", "QUERY_STRING"},
        "aiohttp's parser in C ends a path at the first question mark: its router reads it so",
    ),
    (r"method '(FOO|G-T|get)'", {"refused"}, "aiohttp's two parsers, each in its own way"),
]

TARGETS = [
    "/", "/a", "/a/", "/a%20b", "/%C3%A9", "/%ff", "/%00", "/%2F", "/%2f%2e%2e/", "/a%2Fb%2fc",
    "/%25", "/%2525", "/%zz", "/%", "/%4", "/%4/", "/a+b", "/a;b=c", "/a//b", "//", "//a",
    "//a/b?c", "//a@b:1/c", "///", "///a", "/.", "/..", "/../a", "/a/../b", "/./a", "/a/.",
    "/a?b", "/a?", "/?", "/??", "/a?b?c", "/a?b=%20+&c=%C3%A9", "/a?%00", "/a?b/../c", "/a:b",
    "/a@b", "/'()*!$&,=", "/~", "/a|b", '/a"b', "/a<b>", "/a{b}", "/a\\b", "/a^b`", "/[a]", "/:",
    "/a?http://b", "/http://b", "/é", "/\xc3\xa9", "/\x80", "/\x7f", "/\x01", "/?é", "/?\xff",
    "/" + "a" * 4000, "/?" + "a" * 4000, "http://test/p", "http://test:81/p?q",
    "http://u:p@test/p", "HTTP://test/", "https://test/p", "http://test", "http://test?q",
    "http://test/a%20b", "http://test//a", "http://other/p", "http://[::1]:80/p", "ftp://test/p",
    "*", "a", "?a", "test:80", "/a#b", "/a?b#c", "/a#b?c", "/#", "#",
]  # fmt: skip

HEADERS = [
    "", "X-A: 1", "x-a: 1", "X-A: 1\r\nX-A: 2", "X-A: 1\r\nX-B: 3\r\nx-a: 2", "X-A:1",
    "X-A:\t1\t", "X-A:   1   ", "X-A:", "X-A: ", "X-A: a:b", "X-A: a, b", 'X-A: "q"', "X-A: \xe9",
    "X-A: \xc3\xa9", "X-A: \x80\xff", "X-A: a\tb", "X-A: a\x01b", "X-A: a\x00b", "X-A: a\x7fb",
    "X-A: 1\r\n folded", "X-A: 1\r\n\tfolded", "X-A : 1", " X-A: 1", "X A: 1", "X_A: 1",
    "X_A: 1\r\nX-A: 2", "X-A: 2\r\nX_A: 1", "X__A: 1", "_: 1", "-: 1", "X-\xe9: 1", "X(A): 1",
    "X!#$%&'*+.^`|~A: 1", ": 1", "nocolon", "X-A: 1\nX-B: 2", "Cookie: a=1",
    "Cookie: a=1\r\nCookie: b=2", "Content-Type: text/plain", "content-type: a/b; c=d",
    "Content-Type: a/b\r\nContent-Type: c/d", "Content-Type:",
    "Accept: a\r\nAccept: b\r\nAccept: c", "Host: other", "Authorization: Basic eA==",
    "Proxy: http://evil", "Referer: http://x/?é", "User-Agent: t",
    "If-None-Match: \"a\"\r\nIf-None-Match: \"b\"", "Range: bytes=0-1",
    "X-Forwarded-For: 1.2.3.4", "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 5.6.7.8",
    "X-Forwarded-Host: h", "Forwarded: for=1.2.3.4;proto=https", "X-Forwarded-Proto: https",
    "X-Forwarded-Proto: http", "X-Forwarded-Proto: HTTPS",
    "X-Forwarded-Proto: wss", "X-Forwarded-Proto: ws",
    "X-Forwarded-Proto: https\r\nX-Forwarded-Ssl: on",
    "X-Forwarded-Proto: https\r\nX-Forwarded-Ssl: off", "X-Forwarded-Protocol: ssl",
    "X-Forwarded-Ssl: on", "X-Forwarded-Proto: https, http",
    "X-Forwarded-Proto: https\r\nX-Forwarded-Proto: https",
    "X-Forwarded-Proto: https\r\nX-Forwarded-Proto: http", "Script-Name: /x", "SCRIPT_NAME: /x",
    "Path-Info: /x", "PATH_INFO: /x", "Remote-Addr: 1.2.3.4", "REMOTE_ADDR: 1.2.3.4",
    "HTTP_HOST: h", "Https: on", "Request-Method: PUT", "Wsgi.Input: x", "Connection: close",
    "Connection: keep-alive, te", "TE: trailers", "Keep-Alive: 5", "Upgrade: h2c",
    "Upgrade: h2c\r\nConnection: upgrade", "Trailer: X-T", "Expect: 200-ok", "Content-Length: 0",
    "Content-Length: 00", "Content-Encoding: identity", "Transfer-Encoding: identity",
    "X-Long: " + "a" * 4000, "\r\n".join(f"X-N-{i}: {i}" for i in range(50)),
]  # fmt: skip

BODIES = [
    ("Content-Length: 3", b"abc"),
    ("content-length: 3", b"abc"),
    ("Content-Length: 003", b"abc"),
    ("Content-Length:3", b"abc"),
    ("Content-Length: +3", b"abc"),
    ("Content-Length: 3 ", b"abc"),
    ("Content-Length: 0x3", b"abc"),
    ("Content-Length: 3, 3", b"abc"),
    ("Content-Length: -1", b"abc"),
    ("Content-Length: ", b""),
    ("Content-Length: 3\r\nContent-Length: 3", b"abc"),
    ("Content-Length: 3\r\nContent-Length: 4", b"abc"),
    ("Content-Length: 3\r\nContent-Type: application/x-www-form-urlencoded", b"a=b"),
    ("Content-Length: 3\r\nExpect: 100-continue", b"abc"),
    ("Content-Length: 3\r\nUpgrade: websocket\r\nConnection: upgrade", b"abc"),
    ("Transfer-Encoding: chunked", b"3\r\nabc\r\n0\r\n\r\n"),
    ("Transfer-Encoding: chunked", b"0\r\n\r\n"),
    ("Transfer-Encoding: Chunked", b"3\r\nabc\r\n0\r\n\r\n"),
    ("Transfer-Encoding: chunked", b"1\r\na\r\n2;ext=1\r\nbc\r\n0\r\n\r\n"),
    ("Transfer-Encoding: chunked", b"3\r\nabc\r\n0\r\nX-Trailer: 1\r\n\r\n"),
    ("Transfer-Encoding: chunked", b"-3\r\nabc\r\n0\r\n\r\n"),
    ("Transfer-Encoding: chunked", b"3\r\nabcd\r\n0\r\n\r\n"),
    ("Transfer-Encoding: gzip, chunked", b"3\r\nabc\r\n0\r\n\r\n"),
    ("Transfer-Encoding: xchunked", b"3\r\nabc\r\n0\r\n\r\n"),
    ("Transfer-Encoding: chunked, identity", b"3\r\nabc\r\n0\r\n\r\n"),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", b"3\r\nabc\r\n0\r\n\r\n"),
    ("Transfer-Encoding: chunked\r\nContent-Length: 3", b"3\r\nabc\r\n0\r\n\r\n"),
    ("Content-Length: 3\r\nTransfer-Encoding: chunked", b"abc"),
    ("Transfer-Encoding : chunked", b"3\r\nabc\r\n0\r\n\r\n"),
    ("Transfer_Encoding: chunked\r\nContent-Length: 3", b"abc"),
]  # fmt: skip

METHODS = [
    "GET",
    "POST",
    "PUT",
    "DELETE",
    "PATCH",
    "OPTIONS",
    "TRACE",
    "PROPFIND",
    "FOO",
    "get",
    "G-T",
    "G(T",
    "",
]
VERSIONS = [
    "HTTP/1.0",
    "HTTP/1.1",
    "HTTP/1.2",
    "HTTP/2.0",
    "HTTP/0.9",
    "http/1.1",
    "HTTP/1",
    "HTTP/11.1",
    "",
]


def raw_requests():
    """Several hundred requests as (name, bytes)."""
    for target in TARGETS:
        yield (
            f"GET {target[:60]!r}",
            b"GET %s HTTP/1.1\r\nHost: test\r\n\r\n" % target.encode("latin-1"),
        )
        yield (
            f"POST {target[:60]!r}",
            (
                b"POST %s HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\nx"
                % target.encode("latin-1")
            ),
        )
    for version in VERSIONS:
        yield f"version {version!r}", f"GET /v {version}\r\nHost: test\r\n\r\n".encode()
    yield "1.0 without Host", b"GET / HTTP/1.0\r\n\r\n"
    yield "1.1 without Host", b"GET / HTTP/1.1\r\n\r\n"
    yield "empty Host", b"GET / HTTP/1.1\r\nHost:\r\n\r\n"
    yield "blank line first", b"\r\nGET / HTTP/1.1\r\nHost: test\r\n\r\n"
    yield "bare line feeds", b"GET / HTTP/1.1\nHost: test\n\n"
    yield "two spaces", b"GET  / HTTP/1.1\r\nHost: test\r\n\r\n"
    yield "space in target", b"GET /a b HTTP/1.1\r\nHost: test\r\n\r\n"
    for method in METHODS:
        yield f"method {method!r}", f"{method} /m HTTP/1.1\r\nHost: test\r\n\r\n".encode()
    for header in HEADERS:
        lines = f"Host: test\r\n{header}" if header else "Host: test"
        for version in ("1.1", "1.0"):
            data = f"GET /h HTTP/{version}\r\n{lines}\r\n\r\n".encode("latin-1")
            yield f"header {header[:60]!r} {version}", data
    for header, body in BODIES:
        head = f"POST /b HTTP/1.1\r\nHost: test\r\n{header}\r\n\r\n".encode()
        yield f"body {header!r} {body!r}", head + body


async def outcome(port, data):
    """The environ that the application saw, or None when the server refused the request."""
    async with Client("127.0.0.1", port) as client:
        try:
            await client.send(data)
            answer = await client.answer()
            while answer.status == 100:
                answer = await client.answer()
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
    assert answer.status in (200, 400, 413, 414, 417, 431, 500, 501, 505), answer
    return json.loads(answer.body) if answer.status == 200 else None


def differences(one, other):
    if one is None or other is None:
        return {"refused"} if one is not other else set()
    return {
        key
        for key in one.keys() | other.keys()
        if one.get(key) != other.get(key) and key not in ALWAYS
    }


@pytest.fixture
def gunicorn_port():
    require(module="gunicorn")
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:0", "--worker-class", "sync"]
        + ["--timeout", "3", "tests.gateway.environ_dump:application"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    try:
        for line in process.stderr:
            if match := re.search(r"Listening at: http://127.0.0.1:(\d+)", line):
                yield int(match[1])
                break
        else:
            pytest.fail("gunicorn did not start")
    finally:
        process.terminate()
        process.stderr.close()
        process.wait(DEADLINE)


async def test_environ_is_that_of_gunicorn(serve, gunicorn_port, monkeypatch):
    monkeypatch.delenv("FORWARDED_ALLOW_IPS", raising=False)
    server = await serve(application)
    requests = list(raw_requests())
    assert len(requests) > 400
    answered = 0
    unlisted = {}
    for name, data in requests:
        theirs = await outcome(gunicorn_port, data)
        ours = await outcome(server.port, data)
        answered += theirs is not None and ours is not None
        expected = set().union(*(keys for names, keys, _ in LISTED if re.match(names, name)))
        if found := differences(theirs, ours) - expected:
            unlisted[name] = {
                key: (theirs and theirs.get(key), ours and ours.get(key)) for key in found
            }
    assert unlisted == {}
    # A comparison of refusals would prove little.
    assert answered > 200
