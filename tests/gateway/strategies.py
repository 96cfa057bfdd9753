"""Strategies for what a hostile client sends."""

from itertools import pairwise

from hypothesis import strategies as st

from tests.gateway.hostile import ENDINGS, FAREWELL, Sent

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n"

# Much that is right, so that the rest is reached.
METHODS = [b"GET"] * 6 + [b"POST"] * 6 + [b"HEAD", b"PUT", b"OPTIONS", b"DELETE", b"TRACE"]
ODD_METHODS = [b"get", b"G-T", b"G(T", b"", b" GET", b"CONNECT", b"PRI", b"GET\t", b"G\0T", b"\xff"]
TARGETS = [b"/"] * 8 + [b"/a/b?c=d", b"/%41", b"/a%2Fb", b"//a", b"/?", b"/a;b"]
ODD_TARGETS = [
    b"/%00", b"/%", b"/%zz", b"/%0d%0aX:y", b"/\0", b"/\xff", b"/%ff", b"/a b", b"*", b"a", b"",
    b"/#a?b", b"http://test/x", b"http://a@b:80?x", b"http://", b"http://[::1/", b"http://a:b/",
    b"http:///x", b"HTTPS://other/", b"test:80", b"/\\..", b"/../..", b"/" + b"a" * 9000, b"/\t",
]  # fmt: skip
VERSIONS = [b" HTTP/1.1"] * 20 + [b" HTTP/1.0"] * 3
ODD_VERSIONS = [
    b" HTTP/1.2", b" HTTP/2.0", b" HTTP/0.9", b" http/1.1", b"", b" HTTP/1.1 ", b" HTTP/11.1",
    b"  HTTP/1.1", b"\tHTTP/1.1", b" HTTP/1.1\0", b" HTTP/1", b" ICE/1.0",
]  # fmt: skip
HOSTS = [b"Host: test\r\n"] * 12
ODD_HOSTS = [
    b"", b"Host: a\r\nHost: b\r\n", b"Host:\r\n", b"Host: a b\r\n", b"Host : test\r\n",
    b"Host: a/../b?c#d@e\r\n", b"Host\r\n", b"Host: [::1\r\n", b"Host: \xff\r\n",
]  # fmt: skip
FIELDS = [
    b"X-A: 1\r\n", b"Cookie: a=1\r\nCookie: b=2\r\n", b"Content-Type: text/plain\r\n",
    b"Accept: a\r\nAccept: b\r\n", b"X-Empty:\r\n", b"X-Space: \t a \t\r\n",
    b"X-Utf8: \xc3\xa9\r\n",
    b"User-Agent: \xff\r\n", b"Referer: http://\xe9/\r\n", b"X_A: 2\r\n", b"Content_Length: 99\r\n",
    b"Transfer_Encoding: chunked\r\n", b"Connection: keep-alive\r\n", b"Connection: close\r\n",
    b"Connection: X-A, close\r\n", b"TE: trailers\r\n", b"Trailer: X-A\r\n",
    b"Expect: 100-continue\r\n", b"X-Forwarded-Proto: https\r\n", b"Range: bytes=0-\r\n",
    b"Connection: upgrade\r\nUpgrade: websocket\r\n", b"Connection: upgrade\r\nUpgrade: h2c\r\n",
    b"Content-Encoding: gzip\r\n", b"Content-Encoding: br\r\n", b"Content-Encoding: deflate\r\n",
]  # fmt: skip
ODD_FIELDS = [
    b"X-A : 1\r\n", b" X-A: 1\r\n", b"X-A: 1\r\n folded\r\n", b"X-A: 1\n", b"X-A: 1\r", b": 1\r\n",
    b"X-A\r\n", b"X-A: \0\r\n", b"X-A: a\rb\r\n", b"X-A: a\nGET /smuggled HTTP/1.1\r\n",
    b"X(A: 1\r\n",
    b"X-A: \x01\x7f\r\n", b"X-\xe9: 1\r\n", b"X-Long: " + b"a" * 9000 + b"\r\n", b"\r\n", b"\n",
    b"".join(b"X-%d: 1\r\n" % n for n in range(140)), b"Expect: 200-ok\r\n", b"\tX: 1\r\n",
    b"X-Forwarded-Proto: https\r\nX-Forwarded-Ssl: off\r\n", b"Content-Encoding: nonsense\r\n",
    b"Sec-WebSocket-Key1: x\r\n", b"Connection: \xff, close\r\n",
]  # fmt: skip
ODD_LENGTHS = [
    b"+%d", b"-%d", b" %d", b"%d ", b"\t%d", b"0%d", b"%d, %d", b"%d,%d", b"0x%x", b"%d.0", b"",
    b"%d_0", b"\xd9\xa0%d", b"18446744073709551615", b"18446744073709551616", b"9" * 5000,
    b"0" * 5000 + b"%d", b"%d\r\nContent-Length: %d", b"%d\r\nContent-Length: 0", b"%d;x", b"'%d'",
]  # fmt: skip
ODD_CODINGS = [
    b" Chunked", b"chunked", b"\tchunked", b" chunked ", b" \x0bchunked", b" xchunked",
    b" chunked;q=1",
    b" chunked, chunked", b" gzip, chunked", b" chunked, identity", b" identity", b"", b" ,chunked",
    b" chunked,", b" 'chunked'", b" chunked\r\nTransfer-Encoding: chunked", b" chun\0ked",
    b" chunked\r\nTransfer-Encoding: identity", b" identity\r\nTransfer-Encoding: chunked",
    b"\r\n chunked", b" chunked\r\n , identity", b" chun\xe2\x84\xaaed",
]  # fmt: skip
BODIES = [
    b"", b"x", b"a=b", b"abc" * 30, b"\0\r\n\r\n", SMUGGLED, b"0\r\n\r\n" + SMUGGLED, b"y" * 70_000,
    b"3\r\nabc\r\n0\r\n\r\n",
]  # fmt: skip
# What comes before and after a size, by its number; and the end of a body.
SIZES = [b"%x\r\n"] * 12 + [b"%X\r\n", b"0%x\r\n", b"%x;a=b\r\n", b'%x;a="\xff;"\r\n', b"%x;\r\n"]
ODD_SIZES = [
    b"%x \r\n", b" %x\r\n", b"+%x\r\n", b"-%x\r\n", b"0x%x\r\n", b"%x\n", b"%x\r", b"%xg\r\n",
    b"%x;a\n\r\n", b"%x;a\0\r\n", b"\r\n%x\r\n", b"f" * 17 + b"%x\r\n", b"%x\t;a\r\n", b"_%x\r\n",
    b"%x;" + b"a" * 9000 + b"\r\n", b"\r\n",
]  # fmt: skip
TAILS = [b"0\r\n\r\n"] * 12 + [
    b"00\r\n\r\n", b"0;a\r\n\r\n", b"0\r\nX-Trailer: a\r\n\r\n",
    b"0\r\nContent-Encoding: gzip\r\n\r\n",
    b"0\r\nHost: other\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
]  # fmt: skip
ODD_TAILS = [
    b"0\r\n", b"", b"0\n\n", b"0\r\nX-A : 1\r\n\r\n", b"0\r\n folded\r\n\r\n", b"0\r\nX-A\r\n\r\n",
    b"0\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(140)) + b"\r\n", b"0\r\nX-A: \0\r\n\r\n",
]  # fmt: skip
# What a mutation puts in.
SNIPPETS = [
    b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b",", b";", b"\xff", b"\r\n ",
    b"0",
    b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"\r\n0\r\n\r\n", SMUGGLED,
]  # fmt: skip


class Choices:
    """Choices made by bytes; without more bytes always the first.

    One draw for a whole connection: to hypothesis each costs as much as a request does. It looks
    for smaller bytes, so what comes first in a list should be the simplest.
    """

    def __init__(self, data):
        self._data = data
        self._at = 0

    def number(self, limit):
        """A number below the limit, which is at most 256."""
        byte = self._data[self._at] if self._at < len(self._data) else 0
        self._at += 1
        return byte * limit >> 8

    def pick(self, *options):
        return options[self.number(len(options))]

    def mostly(self, usual, odd):
        """One of the usual, and one time in forty an odd one."""
        return self.pick(*(usual if self.number(40) < 39 else odd))

    def place(self, data):
        """A place in the data, its end included."""
        return (self.number(256) << 8 | self.number(256)) * (len(data) + 1) >> 16

    def some(self, limit):
        """Up to so many bytes of any value."""
        size = self.number(limit)
        self._at += size
        return self._data[self._at - size : self._at]


def numbered(template, number):
    return template % ((number,) * template.count(b"%"))


def framed(choices):
    """Fields that frame a body, and the body: rightly, wrongly, twice."""
    kind = choices.pick(
        *["none"] * 5, *["length"] * 6, *["chunks"] * 3, "odd", "odd", "both", "wrong"
    )
    if kind == "none":
        return b"", b""
    body = choices.pick(*BODIES, None, None)
    if body is None:
        body = choices.some(30)
    length = b"Content-Length: %d\r\n" % len(body)
    if kind == "length":
        return length, body
    if kind == "wrong":
        return b"Content-Length: %d\r\n" % (len(body) + choices.number(7) - 3), body
    chunked = b"Transfer-Encoding: chunked\r\n"
    if kind == "odd":
        if choices.number(2):
            value = numbered(choices.pick(*ODD_LENGTHS), len(body))
            return b"Content-Length:%s\r\n" % value, body
        chunked = b"Transfer-Encoding:%s\r\n" % choices.pick(*ODD_CODINGS)
    cut = choices.number(6)
    chunks = b"".join(
        numbered(choices.mostly(SIZES, ODD_SIZES), len(part)) + part + b"\r\n"
        for part in (body[:cut], body[cut:])
        if part
    )
    chunks += choices.mostly(TAILS, ODD_TAILS)
    if kind == "both":
        return choices.pick(chunked + length, length + chunked), choices.pick(chunks, body)
    return chunked, chunks


def grammatical(choices):
    """A request, some part of which may have gone wrong."""
    parts = [
        choices.mostly(METHODS, ODD_METHODS),
        b" ",
        choices.mostly(TARGETS, ODD_TARGETS),
        choices.mostly(VERSIONS, ODD_VERSIONS),
        b"\r\n",
        choices.mostly(HOSTS, ODD_HOSTS),
        *(choices.mostly(FIELDS, ODD_FIELDS) for _ in range(choices.number(4))),
    ]
    framing, body = framed(choices)
    return b"".join([*parts, framing, b"\r\n", body])


def mutated(choices):
    """A request with damage anywhere."""
    data = grammatical(choices)
    for _ in range(1 + choices.number(3)):
        at = choices.place(data)
        length = choices.pick(0, 0, 1, 2, 10)
        data = data[:at] + choices.pick(*SNIPPETS) + data[at + length :]
    return data


def noise(choices):
    if choices.number(2):
        return choices.some(100)
    words = [*SNIPPETS, *METHODS, *TARGETS, *VERSIONS, *FIELDS]
    return b"".join(choices.pick(*words) for _ in range(choices.number(12)))


def connection(data):
    """All of a connection: some requests, cut into packets, and how the client leaves."""
    choices = Choices(data)
    ending = choices.pick(*["stay"] * 7, *ENDINGS)
    is_farewell_apart = not choices.number(2)
    number_of_cuts = choices.number(4)
    kinds = [
        choices.pick(*[grammatical] * 12, mutated, mutated, mutated, noise)
        for _ in range(choices.pick(1, 1, 1, 2, 3))
    ]
    stream = b"".join(kind(choices) for kind in kinds)
    places = [0, *sorted(choices.place(stream) for _ in range(number_of_cuts)), len(stream)]
    pieces = [stream[start:end] for start, end in pairwise(places)]
    if is_farewell_apart:
        pieces.append(FAREWELL)
    else:
        pieces[-1] += FAREWELL
    return Sent([piece for piece in pieces if piece], ending)


connections = st.binary(min_size=80, max_size=80).map(connection)
