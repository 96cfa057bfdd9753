"""Malformed requests: they fill no log, and raise nothing in a view.

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


def _shorten(record: logging.LogRecord) -> bool:
    """A filter that logs a malformed request as one line of level INFO."""
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


def _escape(record: logging.LogRecord) -> bool:
    """A filter for the characters of a client's request that a log in UTF-8 cannot contain."""
    if isinstance(record.msg, str) and not record.msg.isascii():
        record.msg = record.msg.encode("utf-8", "backslashreplace").decode()
    return True


def reason_of(error: Exception) -> str:
    """Return why aiohttp's parser has refused a request, in one line."""
    # The parser marks the place by a caret, on a line of its own.
    return " ".join(str(getattr(error, "message", error)).rstrip(" ^\n").split())


_lock = threading.Lock()  # applications may start and end on several event loops
_users = 0
_filters = [
    *((logging.getLogger(name), _shorten) for name in SERVER_LOGGERS),
    *((logging.getLogger(name), _escape) for name in ACCESS_LOGGERS),
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


def ignore_unreadable_dates(request: web.Request) -> None:
    """Have aiohttp's properties return None for each condition whose date is invalid.

    They do so for most invalid dates, but raise OverflowError for a year or an hour of many digits:
    in the view that reads them, or in aiohttp's FileResponse after the view has returned. There is
    no public way to set one of these properties.
    """
    for name in ("if_modified_since", "if_unmodified_since", "if_range"):
        try:
            getattr(request, name)
        except Exception:  # whatever the parser raises
            request._cache[name] = None
