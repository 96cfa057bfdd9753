"""The status and the headers of a WSGI application's response, checked."""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple
from wsgiref.util import is_hop_by_hop

# A longer status line, in characters, is not cached: its reason may contain text of a client.
MAX_CACHED_STATUS = 128

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_STATUS = re.compile(r"([2-9][0-9]{2})(?: (.*))?")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_DIGITS = re.compile(r"[0-9]+")


class Head(NamedTuple):
    """A status line and headers that can be sent."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    # The Content-Length, where the application has given one.
    length: int | None
    # The application asks for the connection to be closed.
    close: bool = False

    def with_length(self, length: int) -> "Head":
        """Return this head with a Content-Length that the application has not given."""
        headers = [*self.headers, ("Content-Length", str(length))]
        return self._replace(headers=headers, length=length)

    def ends_connection(self, size: int) -> bool:
        """Whether the connection has to end after a body of that size, in bytes."""
        # Only its end shows the client that the body is shorter than its Content-Length.
        return self.close or (self.length is not None and size < self.length)


def make_head(status: str, headers: Iterable[tuple[str, str]]) -> Head:
    """Check the status and the headers of an application. Headers of the connection are dropped.

    Raises TypeError and ValueError for what cannot be sent.
    """
    if isinstance(status, str) and len(status) > MAX_CACHED_STATUS:
        code, reason = _parse_status.__wrapped__(status)
    else:
        code, reason = _parse_status(status)
    pairs: list[tuple[str, str]] = []
    length: int | None = None
    close = False
    for name, value in headers:
        kind = _classify(name)
        if not isinstance(value, str):
            raise TypeError(f"header {name}: the value must be str, not {type(value).__name__}")
        if kind == "connection":
            close = close or value.lower() == "close"
        elif kind != "hop-by-hop":
            if kind == "content-length":
                if length is not None:
                    raise ValueError("Content-Length was given twice")
                if not _DIGITS.fullmatch(value):
                    raise ValueError(f"not a Content-Length: {value!r}")
                length = int(value)
            pairs.append((name, value))
    text = "".join([value for _, value in pairs])
    if _CONTROL.search(text):
        raise ValueError("a header's value contains a control character")
    if not text.isascii():
        pairs = [(name, _recode(name, value)) for name, value in pairs]
    return Head(code, reason, pairs, length, close)


@lru_cache(maxsize=256)
def _parse_status(status: str) -> tuple[int, str]:
    if not isinstance(status, str):
        raise TypeError(f"the status must be str, not {type(status).__name__}")
    match = _STATUS.fullmatch(status)
    if match is None or _CONTROL.search(status):
        raise ValueError(f"not the status of a response: {status!r}")
    return int(match[1]), match[2] or ""


@lru_cache(maxsize=1024)
def _classify(name: str) -> str:
    if not isinstance(name, str):
        raise TypeError(f"a header's name must be str, not {type(name).__name__}")
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"not a header's name: {name!r}")
    lower = name.lower()
    if lower in ("connection", "content-length"):
        return lower
    return "hop-by-hop" if is_hop_by_hop(lower) else ""


def _recode(name: str, value: str) -> str:
    """Return text that aiohttp, which encodes as UTF-8, sends as the bytes that PEP 3333 means.

    A WSGI string represents Latin-1 bytes. Where those are not UTF-8 the text stays as it is:
    aiohttp cannot send the bytes.
    """
    try:
        data = value.encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError(f"header {name}: characters outside Latin-1: {value!r}") from None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return value
