"""Requests that two servers might read in two ways: at most one reading reaches the application."""

import pytest

from tests.gateway.ground import ground
from tests.gateway.hostile import FAREWELL, HOST, REFUSALS, Sent, chunked, get, post

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n"


# No reading of these is right: none of them reaches the application, and each is answered.
REFUSED = {
    # Both framings, or one twice.
    "CL.TE": post(b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\nG"),
    "TE.CL": post(b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", b"1\r\nG\r\n0\r\n\r\n"),
    "CL.TE, sized 0": post(b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    "CL.CL that differ": post(b"Content-Length: 5\r\nContent-Length: 3\r\n", b"abcde"),
    "CL.CL that agree": post(b"Content-Length: 3\r\nContent-Length: 3\r\n", b"abc"),
    "CL.CL in two cases": post(b"Content-Length: 3\r\ncontent-length: 4\r\n", b"abcd"),
    "TE.TE": post(
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", b"0\r\n\r\n"
    ),
    "TE.TE the other way": post(
        b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"
    ),
    "TE.TE that agree": post(
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"
    ),
    "TE in HTTP/1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "TE in HTTP/1.0, kept alive": (
        b"POST / HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    # Lengths that are no numbers.
    **{
        f"length {value!r}": post(b"Content-Length:" + value + b"\r\n", b"abc")
        for value in (
            b" +3", b" -3", b" 3, 3", b" 3,4", b" 0x3", b" 3.0", b" 3 3", b" 3;", b"", b" ",
            b" three", b" 3_0", b" \xd9\xa3", b" '3'", b" 1e1", b" \x0b3", b" 3\x0c",
            b" 18446744073709551615", b" 18446744073709551616", b" 99999999999999999999999",
        )
    },
    # Codings that are not "chunked".
    **{
        f"coding {value!r}": chunked(b"0\r\n\r\n", value)
        for value in (
            b" xchunked", b" chunked;q=1", b" chunked, chunked", b" gzip, chunked", b" identity",
            b" chunked, identity", b"", b" ,chunked", b" chunked,", b" 'chunked'", b" \x0bchunked",
            b" chunked\x0c", b" chun\0ked", b" chun ked", b" chun\xe2\x84\xaaed", b"\r\n chunked",
            b" chunked\r\n identity",
        )
    },
    "coding with a Kelvin sign, and a handshake": post(
        b"Connection: upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chun\xe2\x84\xaaed\r\n",
        b"0\r\n\r\n",
    ),
    "no coding, but a length": post(b"Transfer-Encoding:\r\nContent-Length: 3\r\n", b"abc"),
    # Chunks.
    **{
        f"chunk {chunk!r}": chunked(chunk + b"0\r\n\r\n")
        for chunk in (
            b"0x3\r\nabc\r\n", b"+3\r\nabc\r\n", b"-3\r\nabc\r\n", b" 3\r\nabc\r\n",
            b"3 \r\nabc\r\n", b"g\r\nabc\r\n", b"3\nabc\r\n", b"3\r\nabc\n",
            b"3\r\nabcd\r\n", b"3\r\nab\r\n",
            b"3;a\nb\r\nabc\r\n", b"_3\r\nabc\r\n", b"\r\n", b";\r\nabc\r\n",
            b"3\r\nabc", b"3\r\r\nabc\r\n",
        )
    },
    "trailer with a space": chunked(b"0\r\nX-A : 1\r\n\r\n"),
    "trailer without a colon": chunked(b"0\r\nX-A\r\n\r\n"),
    "trailer folded": chunked(b"0\r\nX-A: 1\r\n b\r\n\r\n"),
    "trailer with a bare LF": chunked(b"0\r\nX-A: 1\nX-B: 2\r\n\r\n"),
    # Lines.
    "bare LF": b"GET / HTTP/1.1\nHost: test\n\n",
    "bare LF in the fields": get(b"X-A: 1\nX-B: 2\r\n"),
    "bare LF at the end": b"GET / HTTP/1.1\r\nHost: test\r\n\n",
    "bare CR": get(b"X-A: 1\rX-B: 2\r\n"),
    "bare CR before the end": get(b"X-A: 1\r\r\n"),
    "folded": get(b"X-A: 1\r\n folded\r\n"),
    "folded by a tab": get(b"X-A: 1\r\n\tfolded\r\n"),
    "folded at once": get(host=b" Host: test\r\n"),
    # Fields.
    "space before the colon": post(b"Content-Length : 3\r\n", b"abc"),
    "tab before the colon": get(b"X-A\t: 1\r\n"),
    "space in a name": get(b"X A: 1\r\n"),
    "no name": get(b": 1\r\n"),
    "no colon": get(b"X-A\r\n"),
    "name that is no token": get(b"X(A): 1\r\n"),
    "name beyond ASCII": get(b"X-\xe9: 1\r\n"),
    "NUL in a name": get(b"X-\0: 1\r\n"),
    "NUL in a value": get(b"X-A: a\0b\r\n"),
    "control character in a value": get(b"X-A: a\x01b\r\n"),
    "two hosts": get(host=HOST + HOST),
    "no host": get(host=b""),
    "scheme in two ways": get(b"X-Forwarded-Proto: https\r\nX-Forwarded-Ssl: off\r\n"),
    # Request lines.
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/2.0": get(version=b"HTTP/2.0"),
    "HTTP/0.9": get(version=b"HTTP/0.9"),
    "HTTP/11.1": get(version=b"HTTP/11.1"),
    "HTTP/1": get(version=b"HTTP/1"),
    "http/1.1": get(version=b"http/1.1"),
    "another protocol": get(version=b"ICE/1.0"),
    "space after the version": get(version=b"HTTP/1.1 "),
    "tabs for spaces": b"GET\t/\tHTTP/1.1\r\nHost: test\r\n\r\n",
    "space in the target": get(target=b"/a b"),
    "NUL in the target": get(target=b"/\0"),
    "tab in the target": get(target=b"/\t"),
    "no method": get(method=b""),
    "method that is no token": get(method=b"G(T"),
    "CONNECT": get(method=b"CONNECT", target=b"test:80"),
    "CONNECT to a path": get(method=b"CONNECT"),
    "asterisk for a GET": get(target=b"*"),
    "relative target": get(target=b"a"),
    "absolute target without a host": get(target=b"http:///a"),
    "absolute target with half an address": get(target=b"http://[::1/a"),
    "absolute target with a bad port": get(target=b"http://test:99999/"),
    "absolute target with a backslash": get(target=b"http://a\\@b/"),
    "unknown expectation": post(b"Expect: 200-ok\r\nContent-Length: 3\r\n", b"abc"),
    # Bodies that are not what they say.
    "not gzip": post(b"Content-Encoding: gzip\r\nContent-Length: 3\r\n", b"abc"),
    "not deflate": post(b"Content-Encoding: deflate\r\nContent-Length: 3\r\n", b"\xff\xff\xff"),
}  # fmt: skip

# There is one reading: what the application sees of it, method, target and body.
ONE_READING = {
    "plain": (get() + get(target=b"/2"), [("GET", "/", b""), ("GET", "/2", b"")]),
    "blank lines before": (b"\r\n\r\n" + get(), [("GET", "/", b"")]),
    "a request as a body": (
        post(b"Content-Length: %d\r\n" % len(SMUGGLED), SMUGGLED),
        [("POST", "/p", SMUGGLED)],
    ),
    "a request as a GET's body": (
        get(b"Content-Length: %d\r\n" % len(SMUGGLED)) + SMUGGLED,
        [("GET", "/", SMUGGLED)],
    ),
    "a request as a HEAD's body": (
        get(b"Content-Length: %d\r\n" % len(SMUGGLED), method=b"HEAD") + SMUGGLED,
        [("HEAD", "/", SMUGGLED)],
    ),
    "a request behind a body of nothing": (
        post(b"Content-Length: 0\r\n") + get(target=b"/2"),
        [("POST", "/p", b""), ("GET", "/2", b"")],
    ),
    "a name with an underscore frames nothing": (
        post(b"Transfer_Encoding: chunked\r\nContent-Length: 5\r\n", b"0\r\n\r\n"),
        [("POST", "/p", b"0\r\n\r\n")],
    ),
    "nor does one with an underscore give a length": (
        post(b"Content_Length: 9\r\n") + get(target=b"/2"),
        [("POST", "/p", b""), ("GET", "/2", b"")],
    ),
    "a length with zeros": (post(b"Content-Length: 003\r\n", b"abc"), [("POST", "/p", b"abc")]),
    "chunks": (
        chunked(b"3\r\nabc\r\n1;a=b\r\nd\r\n0\r\n\r\n"),
        [("POST", "/p", b"abcd")],
    ),
    "a size with zeros": (chunked(b"0003\r\nabc\r\n00\r\n\r\n"), [("POST", "/p", b"abc")]),
    "a request as a chunk": (
        chunked(b"%x\r\n%s\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)),
        [("POST", "/p", SMUGGLED)],
    ),
    "asterisk": (get(method=b"OPTIONS", target=b"*"), [("OPTIONS", "*", b"")]),
    "absolute": (get(target=b"http://u@other/a?b"), [("GET", "http://u@other/a?b", b"")]),
    "a handshake with a body": (
        post(b"Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n", b"abc")
        + get(target=b"/2"),
        [("POST", "/p", b"abc"), ("GET", "/2", b"")],
    ),
    "an expectation": (
        post(b"Expect: 100-continue\r\nContent-Length: 3\r\n", b"abc"),
        [("POST", "/p", b"abc")],
    ),
    "percent-encoding gone wrong": (
        get(target=b"/%%zz%4%0d%0a%00%ff"),
        [("GET", "/%%zz%4%0d%0a%00%ff", b"")],
    ),
}  # fmt: skip


def deliveries(data):
    """The same bytes in one packet, in two at several places, and byte by byte."""
    yield Sent([data])
    yield Sent([data[n : n + 1] for n in range(len(data))])
    for cut in range(7, len(data), max(7, len(data) // 8)):
        yield Sent([data[:cut], data[cut:]])


@pytest.fixture
async def attacked(serve, monkeypatch):
    monkeypatch.setattr("aiodjango.gateway.body.WATCH_INTERVAL", 0.005)
    async with ground(serve) as attacked:
        yield attacked


def what_reached(outcome):
    return [
        (seen.environ["REQUEST_METHOD"], seen.environ["RAW_URI"], seen.body)
        for seen in outcome.seen
    ]


class TestRefused:
    @pytest.mark.parametrize("name", REFUSED)
    async def test_alone(self, attacked, name):
        outcomes = await attacked.attack(*deliveries(REFUSED[name]), is_refused=True)
        assert [what_reached(outcome) for outcome in outcomes] == [[]] * len(outcomes)
        # Who is still sending when the refusal comes may not hear it.
        [answer] = outcomes[0].answers
        assert answer.status in REFUSALS

    async def test_length_of_more_digits_than_python_reads(self, attacked):
        data = post(b"Content-Length: %s3\r\n" % (b"0" * 5000), b"abc")
        [outcome] = await attacked.attack(Sent([data]), is_refused=True)
        assert what_reached(outcome) == []

    async def test_nothing_behind_it_is_read(self, attacked):
        """All of them at once, with a request before each and two behind."""
        for data in REFUSED.values():
            stream = [get(target=b"/before"), data + SMUGGLED + FAREWELL]
            outcomes = await attacked.attack(Sent(stream), Sent([b"".join(stream)]))
            for outcome in outcomes:
                assert what_reached(outcome) in ([("GET", "/before", b"")], [])


class TestOneReading:
    @pytest.mark.parametrize("name", ONE_READING)
    async def test_is_what_the_application_sees(self, attacked, name):
        data, expected = ONE_READING[name]
        for outcome in await attacked.attack(*deliveries(data)):
            assert what_reached(outcome) in (expected, expected[: len(outcome.seen)])
        # In packets of their own, lest the farewell be taken for what follows a close.
        [outcome] = await attacked.attack(Sent([data, FAREWELL]))
        assert what_reached(outcome)[: len(expected)] == expected


class TestConnection:
    """What one request leaves behind must not become part of the next."""

    TRAILERS = chunked(b"3\r\nabc\r\n0\r\nX-Trailer: a\r\nCookie: b=c\r\n\r\n")
    UPGRADE = get(b"Connection: upgrade\r\nUpgrade: h2c\r\n")

    async def test_ends_with_a_chunked_request(self, attacked):
        """Or the last trailer would be the first field of the next request."""
        for outcome in await attacked.attack(
            Sent([self.TRAILERS, FAREWELL]), Sent([self.TRAILERS + FAREWELL])
        ):
            assert what_reached(outcome) == [("POST", "/p", b"abc")]
            assert [answer.status for answer in outcome.answers] == [200]
            assert b"\r\nConnection: close\r\n" in outcome.received

    async def test_ends_with_a_switch_to_an_unknown_protocol(self, attacked):
        """Or what came in the same packet would be lost, and the rest of it read as a request."""
        swallowing = post(b"Content-Length: %d\r\n" % len(SMUGGLED))
        for outcome in await attacked.attack(
            Sent([self.UPGRADE + swallowing, SMUGGLED, FAREWELL]),
            Sent([self.UPGRADE, swallowing, SMUGGLED, FAREWELL]),
            Sent([self.UPGRADE + swallowing + SMUGGLED + FAREWELL]),
        ):
            assert what_reached(outcome) == [("GET", "/", b"")]

    async def test_goes_on_after_a_handshake_that_was_declined(self, attacked):
        handshake = get(b"Connection: upgrade\r\nUpgrade: websocket\r\n")
        [outcome] = await attacked.attack(Sent([handshake + get(target=b"/2"), FAREWELL]))
        assert [target for _, target, _ in what_reached(outcome)] == ["/", "/2", "/last"]
