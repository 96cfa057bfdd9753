"""Filters for the server's logs: errors that clients cause take one line each.

aiohttp logs an error with a traceback for each malformed request, before any application receives
it. So any client could fill the log and cause alarms.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web
from aiohttp.http import HttpProcessingError

# Where aiohttp's server logs: on its own, and as gunicorn's worker.
SERVER_LOGGERS = ("aiohttp.server", "gunicorn.error")
ACCESS_LOGGERS = ("aiohttp.access", "gunicorn.access")

# How much of the parser's reason is logged, in characters.
MAX_REASON = 200


class ClientFaults(logging.Filter):
    """Logs a malformed request as one line of level INFO."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, HttpProcessingError | web.RequestPayloadError):
            return True
        peer = record.args[0] if isinstance(record.args, tuple) and record.args else "a client"
        reason = reason_of(error).encode("ascii", "backslashreplace").decode()[:MAX_REASON]
        record.msg, record.args = "Malformed request from %s: %s", (peer, reason)
        record.levelno, record.levelname = logging.INFO, logging.getLevelName(logging.INFO)
        record.exc_info = record.exc_text = None
        # isEnabledFor() is no answer here: in Python 3.13.4 and 3.13.5 it is False in all filters.
        logger = logging.getLogger(record.name)
        return logger.manager.disable < logging.INFO >= logger.getEffectiveLevel()


class Writable(logging.Filter):
    """Escapes the characters of a client's request that a log in UTF-8 cannot contain."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.msg, str) and not record.msg.isascii():
            record.msg = record.msg.encode("utf-8", "backslashreplace").decode()
        return True


def reason_of(error: Exception) -> str:
    """Return why aiohttp's parser has refused a request, in one line."""
    # The parser marks the place by a caret, on a line of its own.
    return " ".join(str(getattr(error, "message", error)).rstrip(" ^\n").split())


_lock = threading.Lock()  # applications may start and end on several event loops
_users = 0
_client_faults, _writable = ClientFaults(), Writable()
_filters: list[tuple[logging.Logger, logging.Filter]] = [
    *((logging.getLogger(name), _client_faults) for name in SERVER_LOGGERS),
    *((logging.getLogger(name), _writable) for name in ACCESS_LOGGERS),
]


@contextmanager
def client_faults_filtered() -> Iterator[None]:
    """Filter the server's logs until the last user has left."""
    global _users
    with _lock:
        _users += 1
        for logger, each in _filters:
            logger.addFilter(each)
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                for logger, each in _filters:
                    logger.removeFilter(each)
