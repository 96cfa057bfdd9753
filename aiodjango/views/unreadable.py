"""Errors that an invalid request has caused: the client's fault, not the view's."""

import sys
import zlib
from traceback import walk_tb
from types import FrameType

from aiohttp import web
from aiohttp.client_exceptions import WSMessageTypeError
from aiohttp.http import HttpProcessingError
from django.core.exceptions import BadRequest

from aiodjango.runtime.frames import module_of, package_of

# What aiohttp raises for a body, a form, a part of it or a header that it cannot read.
_ERRORS = (
    ValueError,  # UnicodeDecodeError and JSONDecodeError among them
    LookupError,  # an unknown charset
    OverflowError,
    RecursionError,
    zlib.error,
    HttpProcessingError,
    WSMessageTypeError,
)
# The methods by which a view reads: of the request, of a multipart body, of a WebSocket.
_READERS = ("aiohttp.web_request", "aiohttp.multipart", "aiohttp.web_ws")
# The packages whose code these methods call.
_LIBRARIES = {"aiohttp", *sys.stdlib_module_names}


class Unreadable(BadRequest):
    """What a client has sent cannot be read."""


def as_unreadable(
    request: web.Request, started: web.StreamResponse | None, error: Exception
) -> Unreadable | None:
    """Return the client's fault that has caused an error of a view, None for any other error.

    started: the response that the view has begun.
    """
    if not isinstance(error, web.RequestPayloadError) and not _is_of_client(
        request, started, error
    ):
        return None
    fault = Unreadable(f"The request cannot be read ({type(error).__name__}: {error})")
    fault.__cause__ = error
    return fault.with_traceback(error.__traceback__)


def _is_of_client(
    request: web.Request, started: web.StreamResponse | None, error: Exception
) -> bool:
    """Whether an error was raised while aiohttp, and nothing else, read what the client has sent.

    aiohttp has no type of its own for such errors, but the traceback shows their origin.
    """
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    readers = [number for number, frame in enumerate(frames) if _reads(frame, request, started)]
    if not readers or not all(package_of(frame) in _LIBRARIES for frame in frames[readers[0] :]):
        return False
    if isinstance(error, _ERRORS):
        return True
    # An unknown coding of a part, or another content type than multipart.
    is_in_multipart = module_of(frames[-1]) == "aiohttp.multipart"
    return is_in_multipart and isinstance(error, RuntimeError | AssertionError)


def _reads(frame: FrameType, request: web.Request, started: web.StreamResponse | None) -> bool:
    if module_of(frame) not in _READERS:
        return False
    reader = frame.f_locals.get("self")
    # A multipart reader may as well read what another server has sent.
    content = getattr(reader, "_content", None)
    return (
        reader is request
        or (started is not None and reader is started)
        or content is request.content
    )
