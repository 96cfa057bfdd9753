"""Clients that send anything, a WSGI application that remembers what reached it, and a judge."""

import asyncio
import io
import logging
import re
import secrets
import socket
import struct
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from aiohttp.http import HttpRequestParser

from tests.gateway.reading import Request, read
from tests.support.waiting import DEADLINE

# How a client leaves: "stay" waits for the server to close, "half-close" too, when it has said that
# it will send no more.
ENDINGS = ("stay", "half-close", "close", "abort")

# The last words of a client that would like to hear that all before has been understood.
FAREWELL = b"GET /last HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"

# What a server may answer to what it does not pass on. No 500: nothing may go wrong in it.
REFUSALS = (400, 413, 417, 501, 505)


HOST = b"Host: test\r\n"


def get(fields=b"", *, target=b"/", method=b"GET", version=b"HTTP/1.1", host=HOST) -> bytes:
    return method + b" " + target + b" " + version + b"\r\n" + host + fields + b"\r\n"


def post(fields: bytes, body: bytes = b"", *, path: bytes = b"/p") -> bytes:
    return b"POST " + path + b" HTTP/1.1\r\n" + HOST + fields + b"\r\n" + body


def chunked(body: bytes, coding: bytes = b" chunked", *, path: bytes = b"/p") -> bytes:
    return post(b"Transfer-Encoding:" + coding + b"\r\n", body, path=path)


class Sent(NamedTuple):
    """What a connection sends, each piece in a packet of its own, and how the client leaves."""

    pieces: Sequence[bytes]
    ending: str = "stay"

    def __repr__(self) -> str:
        pieces = [piece if len(piece) < 1000 else piece[:1000] + b"..." for piece in self.pieces]
        return f"Sent({pieces}, {self.ending!r})"


class Answer(NamedTuple):
    status: int
    is_witness: bool  # whether the application gave it


class Outcome(NamedTuple):
    seen: list["Seen"]
    received: bytes
    is_whole: bool  # whether the client has read all up to an orderly end

    @property
    def answers(self) -> list[Answer]:
        """The final responses; what is not a sequence of responses raises ValueError."""
        answers = []
        methods = iter([seen.environ["REQUEST_METHOD"] for seen in self.seen])
        rest = self.received
        while rest:
            head, end, rest = rest.partition(b"\r\n\r\n")
            match = re.match(rb"HTTP/[0-9]\.[0-9] ([0-9]{3}) ", head)
            if match is None or not end:
                raise ValueError(f"not a response: {head!r}")
            status = int(match[1])
            if status == 100:
                continue
            answer = Answer(status, Witness.TOKEN.encode() in head)
            length = re.search(rb"\r\nContent-Length: ([0-9]+)", head)
            # One that the application did not see may be a HEAD too.
            is_head = next(methods) == "HEAD" if answer.is_witness else not rest
            size = 0 if is_head or length is None else int(length[1])
            if len(rest) < size:
                raise ValueError(f"a response was cut short: {head!r}")
            rest = rest[size:]
            answers.append(answer)
        return answers

    @property
    def statuses(self) -> list[int]:
        return [answer.status for answer in self.answers]


class Seen(NamedTuple):
    environ: dict[str, Any]
    body: bytes

    def __repr__(self) -> str:
        return f"<{self.environ['REQUEST_METHOD']} {self.environ['RAW_URI']} {self.body!r}>"


class Witness:
    """A WSGI application that keeps what it sees, by the client's port."""

    TOKEN = secrets.token_hex(8)

    def __init__(self) -> None:
        self._seen: dict[int, list[Seen]] = defaultdict(list)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        body = environ["wsgi.input"].read()
        self._seen[int(environ["REMOTE_PORT"])].append(Seen(dict(environ), body))
        start_response("200 OK", [("Content-Type", "text/plain"), ("X-Witness", self.TOKEN)])
        return [b"seen"]

    def take_all(self) -> dict[int, list[Seen]]:
        """What was seen since it was last asked for."""
        seen, self._seen = self._seen, defaultdict(list)
        return seen


async def exchange(port: int, sent: Sent) -> tuple[int, bytes, bool]:
    """Send it, and read until the server closes, within DEADLINE.

    Returns our own port, what came, and whether that is all there was.
    """
    loop = asyncio.get_running_loop()
    received = b""
    is_whole = False
    # A bare socket: thousands of streams would cost more than the server.
    with socket.socket() as sock:
        sock.setblocking(False)
        async with asyncio.timeout(DEADLINE):
            await loop.sock_connect(sock, ("127.0.0.1", port))
            own_port = sock.getsockname()[1]
            try:
                for piece in sent.pieces:
                    await loop.sock_sendall(sock, piece)
                    # Twice round the loop, which is the server's too: it has read the piece.
                    await asyncio.sleep(0)
                    await asyncio.sleep(0)
                if sent.ending == "abort":
                    reset = struct.pack("ii", 1, 0)
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
                elif sent.ending != "close":
                    if sent.ending == "half-close":
                        sock.shutdown(socket.SHUT_WR)
                    while data := await loop.sock_recv(sock, 65536):
                        received += data
                    is_whole = sent.ending == "stay"
            except OSError:
                pass  # the server has closed on what it would not read
    return own_port, received, is_whole


def judge(sent: Sent, outcome: Outcome) -> None:
    """Compare what the application saw with what the bytes say, and count the answers."""
    reading = read(b"".join(sent.pieces))
    seen = outcome.seen
    assert len(seen) <= len(reading.requests), f"saw {seen} in {reading}"
    for each, request in zip(seen, reading.requests, strict=False):
        saw, was_sent = _as_seen(each, request), _as_sent(request)
        assert saw == was_sent, f"saw {saw}, not {was_sent}"
    if not outcome.is_whole:
        return
    answers = outcome.answers
    refusals = answers[len(seen) :]
    assert all(answer.is_witness for answer in answers[: len(seen)]), answers
    assert all(answer.status in REFUSALS for answer in refusals), answers
    assert len(refusals) <= 1, answers
    if not refusals:
        assert reading.end == "closed" or reading.is_in_doubt, f"{reading}, and no refusal"
        assert len(seen) >= reading.least, f"saw {seen} in {reading}"


def settled(sent: Sent) -> Sent:
    """The same, but a client leaves where the server may rightly wait for more of it."""
    data = b"".join(sent.pieces)
    is_waited_for = read(data).end in ("complete", "incomplete") or _UNANSWERED.search(data)
    if sent.ending == "stay" and is_waited_for:
        return sent._replace(ending="half-close")
    return sent


def _as_sent(request: Request) -> tuple[Any, ...]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in request.fields:
        name = raw_name.decode().upper()
        if "_" in name or name in ("TRANSFER-ENCODING", "CONTENT-LENGTH"):
            continue
        value = raw_value.decode("latin-1")
        if name in headers:
            value = headers[name] + ("; " if name == "COOKIE" else ",") + value
        headers[name] = value
    target = request.target.decode("latin-1")
    if not target.startswith("/") and "://" in target:
        headers["HOST"] = re.split(r"[/?#]", target)[2].rpartition("@")[2]
    line = request.method.decode().upper(), target
    if request.is_encoded:
        headers.pop("CONTENT-ENCODING")
        return *line, headers
    return *line, headers, request.body


def _as_seen(seen: Seen, request: Request) -> tuple[Any, ...]:
    environ, body = seen
    assert int(environ.get("CONTENT_LENGTH", "0")) == len(body)
    headers = {
        key.removeprefix("HTTP_").replace("_", "-"): value
        for key, value in environ.items()
        if key.startswith("HTTP_") or key == "CONTENT_TYPE"
    }
    target = environ["RAW_URI"].encode("utf-8", "surrogateescape").decode("latin-1")
    # aiohttp's parser in Python makes every method upper case.
    line = environ["REQUEST_METHOD"].upper(), target
    if request.is_encoded:
        headers.pop("CONTENT-ENCODING", None)
        return *line, headers
    return *line, headers, body


# A request to which aiohttp's parser in C gives no URL: nobody answers it, nobody closes.
_UNANSWERED = re.compile(rb"CONNECT +\r\n")
# What aiohttp itself raises where no application can catch it: with the parser in C …
AIOHTTPS_FAULTS = ["'NoneType' object has no attribute 'absolute'"]  # for want of that URL
if HttpRequestParser.__module__ == "aiohttp.http_parser":  # … and with the one in Python, which
    AIOHTTPS_FAULTS += [
        "Exceeds the limit (4300 digits)",  # reads a Content-Length of so many digits; it closes
        "surrogates not allowed",  # quotes bytes that are not UTF-8 in a 400, which becomes a 500
    ]


class Complaints(logging.Handler):
    """Everything that a server logs as a warning or worse, and what its loop reports.

    but: the beginnings of complaints that are in order.
    excused: how many there were that only aiohttp could have prevented.
    """

    def __init__(self, but: tuple[str, ...] = ()) -> None:
        super().__init__(logging.WARNING)
        self.found: list[str] = []
        self.excused = 0
        self._but = but

    def emit(self, record: logging.LogRecord) -> None:
        self.add(f"{record.name} {record.levelname} {self.format(record)}")

    def report(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.add(f"loop: {context}")

    def add(self, complaint: str) -> None:
        if complaint.startswith(self._but):
            return
        if any(fault in complaint for fault in AIOHTTPS_FAULTS):
            self.excused += 1
        else:
            self.found.append(complaint)

    def raise_if_any(self) -> None:
        found, self.found = self.found, []
        assert not found, "\n".join(found)


class AccessLog(logging.StreamHandler):
    """An access log in UTF-8, as a file's would be."""

    def __init__(self, complaints: Complaints) -> None:
        super().__init__(io.TextIOWrapper(io.BytesIO(), "utf-8"))
        self._complaints = complaints

    def handleError(self, record: logging.LogRecord) -> None:
        self._complaints.add(f"cannot be written: {record.msg!r}")


@contextmanager
def listening_for_complaints(but: tuple[str, ...] = ()) -> Iterator[Complaints]:
    """Listen to all loggers, to the running loop and to the access log."""
    complaints = Complaints(but)
    access_log = AccessLog(complaints)
    root, access = logging.getLogger(), logging.getLogger("aiohttp.access")
    before = access.level, access.propagate
    loop = asyncio.get_running_loop()
    root.addHandler(complaints)
    access.addHandler(access_log)
    access.setLevel(logging.INFO)
    access.propagate = False  # thousands of lines
    loop.set_exception_handler(complaints.report)
    try:
        yield complaints
    finally:
        loop.set_exception_handler(None)
        access.setLevel(before[0])
        access.propagate = before[1]
        access.removeHandler(access_log)
        root.removeHandler(complaints)
