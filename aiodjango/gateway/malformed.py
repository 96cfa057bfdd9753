"""Keeps the log to what an operator can do something about.

aiohttp logs an error with a traceback for each request that is no proper HTTP, before any
application sees it. So anybody could fill the log, and set off its alarms, at will.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from aiohttp import web
from aiohttp.http import HttpProcessingError

# Where aiohttp's server logs: by itself, and as gunicorn's worker.
SERVER_LOGGERS = ("aiohttp.server", "gunicorn.error")
ACCESS_LOGGERS = ("aiohttp.access", "gunicorn.access")

# How much, in characters, of what the parser has to say is logged.
MAX_REASON = 200


class ClientFaults(logging.Filter):
    """Makes one line, of level INFO, of the error that a malformed request is logged as."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, HttpProcessingError | web.RequestPayloadError):
            return True
        peer = record.args[0] if isinstance(record.args, tuple) and record.args else "a client"
        record.msg, record.args = "Malformed request from %s: %s", (peer, _reason(error))
        record.levelno, record.levelname = logging.INFO, logging.getLevelName(logging.INFO)
        record.exc_info = record.exc_text = None
        return logging.getLogger(record.name).isEnabledFor(logging.INFO)


class Writable(logging.Filter):
    """Escapes what a client has put into a line that no log in UTF-8 could take."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.msg, str) and not record.msg.isascii():
            record.msg = record.msg.encode("utf-8", "backslashreplace").decode()
        return True


def _reason(error: Exception) -> str:
    # The parser draws a caret under the place, on a line of its own.
    text = " ".join(str(getattr(error, "message", error)).rstrip(" ^\n").split())
    return text.encode("ascii", "backslashreplace").decode()[:MAX_REASON]


class _Filters:
    """The filters at their loggers, while anybody wants them there."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # each event loop has its thread
        self._users = 0
        client_faults, writable = ClientFaults(), Writable()
        self._pairs: list[tuple[str, logging.Filter]] = [
            *((name, client_faults) for name in SERVER_LOGGERS),
            *((name, writable) for name in ACCESS_LOGGERS),
        ]

    @contextmanager
    def in_place(self) -> Iterator[None]:
        with self._lock:
            self._users += 1
            for name, each in self._pairs:
                logging.getLogger(name).addFilter(each)
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    for name, each in self._pairs:
                        logging.getLogger(name).removeFilter(each)


_filters = _Filters()


def client_faults_hushed() -> AbstractContextManager[None]:
    """Keep the faults of clients out of the server's logs, until the last user has left."""
    return _filters.in_place()
