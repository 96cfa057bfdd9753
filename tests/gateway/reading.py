"""Requests as RFC 9112 has them, read from bytes by nothing that the gateway or aiohttp use.

Stricter than the RFC wherever it lets a server choose: what two servers may read in two ways is no
request here.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE = re.compile(rb"(%s) +([\x21-\x7e\x80-\xff]+) +HTTP/1\.([0-9])" % _TOKEN)
_FIELD = re.compile(rb"(%s):([\t\x20-\x7e\x80-\xff]*)" % _TOKEN)
# What an extension says moves no boundary, whatever is in it.
_CHUNK = re.compile(rb"([0-9a-fA-F]+)(?:;[^\n]*)?")
_LINE_ENDS = re.compile(rb"[\r\n]*")
_NUMBER = re.compile(rb"[0-9]+")
# Of these aiohttp takes off the coding: the body is no longer what was sent.
_UNDONE = (b"gzip", b"deflate", b"br", b"zstd")


class Request(NamedTuple):
    method: bytes
    target: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes

    @property
    def is_encoded(self) -> bool:
        return any(value.lower() in _UNDONE for value in self.values(b"content-encoding"))

    def values(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key.lower() == name]


class Reading(NamedTuple):
    """What a stream of bytes says.

    end: "malformed" from the first fault on, "incomplete" in the middle of a request, "closed"
    behind a request that is the last of its connection, "complete" behind any other.
    least: how many of the requests no server may leave unanswered, if it refuses none.
    is_in_doubt: whether it may close before the end, behind those.
    """

    requests: list[Request]
    end: str
    least: int
    is_in_doubt: bool


class _Malformed(Exception):
    pass


class _Incomplete(Exception):
    pass


class _Cursor:
    """Takes bytes from the front; raises _Incomplete where they do not suffice."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def skip_blank_lines(self) -> bool:
        """Whether anything else follows."""
        rest = _LINE_ENDS.match(self._data, self._at)
        self._at = rest.end() if rest else self._at
        return self._at < len(self._data)

    def until(self, separator: bytes) -> bytes:
        end = self._data.find(separator, self._at)
        if end < 0:
            raise _Incomplete
        start, self._at = self._at, end + len(separator)
        return self._data[start:end]

    def take(self, size: int) -> bytes:
        if size > len(self._data) - self._at:
            raise _Incomplete
        self._at += size
        return self._data[self._at - size : self._at]


def read(data: bytes) -> Reading:
    """Read the requests of one connection."""
    cursor = _Cursor(data)
    requests: list[Request] = []
    least = 0
    is_in_doubt = False
    end = "complete"
    try:
        while cursor.skip_blank_lines():
            request, persistence = _read_request(cursor)
            requests.append(request)
            least += not is_in_doubt
            is_in_doubt = is_in_doubt or persistence is None
            if persistence is False:
                end = "closed"
                break
    except _Malformed:
        end = "malformed"
    except _Incomplete:
        end = "incomplete"
    return Reading(requests, end, least, is_in_doubt)


def _read_request(cursor: _Cursor) -> tuple[Request, bool | None]:
    line, *lines = cursor.until(b"\r\n\r\n").split(b"\r\n")
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise _Malformed
    method, target, minor = match.groups()
    request = Request(method, target, [_field(line) for line in lines], b"")
    hosts = request.values(b"host")
    if len(hosts) > 1 or (minor == b"1" and not hosts) or method == b"CONNECT":
        raise _Malformed
    body = _read_body(request, minor, cursor)
    return request._replace(body=body), _persistence(request, minor)


def _persistence(request: Request, minor: bytes) -> bool | None:
    """Whether the connection goes on; None where a server may do as it likes."""
    # What the gateway does: see aiodjango.gateway.framing.is_last().
    if request.values(b"transfer-encoding"):
        return False
    if request.values(b"upgrade")[:1] not in ([], [b"websocket"]):
        return False
    tokens = _tokens(request, b"connection")
    if minor != b"0":
        return b"close" not in tokens
    if b"keep-alive" not in tokens:
        return False
    return None if b"close" in tokens else True


def _read_body(request: Request, minor: bytes, cursor: _Cursor) -> bytes:
    codings = request.values(b"transfer-encoding")
    lengths = request.values(b"content-length")
    if codings:
        if lengths or minor == b"0" or len(codings) > 1 or codings[0].lower() != b"chunked":
            raise _Malformed
        return b"".join(_chunks(cursor))
    if not lengths:
        return b""
    if len(lengths) > 1 or not _NUMBER.fullmatch(lengths[0]) or len(lengths[0]) > 4300:
        raise _Malformed
    return cursor.take(int(lengths[0]))


def _chunks(cursor: _Cursor) -> Iterator[bytes]:
    while size := _chunk_size(cursor.until(b"\r\n")):
        yield cursor.take(size)
        if cursor.take(2) != b"\r\n":
            raise _Malformed
    while line := cursor.until(b"\r\n"):
        _field(line)


def _chunk_size(line: bytes) -> int:
    match = _CHUNK.fullmatch(line)
    if match is None:
        raise _Malformed
    return int(match[1], 16)


def _field(line: bytes) -> tuple[bytes, bytes]:
    match = _FIELD.fullmatch(line)
    if match is None:
        raise _Malformed
    return match[1], match[2].strip(b" \t")


def _tokens(request: Request, name: bytes) -> set[bytes]:
    lists = b",".join(request.values(name)).lower()
    return {token.strip(b" \t") for token in lists.split(b",")}
