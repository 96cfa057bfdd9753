"""The response to a request for a file."""

import io
import os
from email.utils import formatdate
from http import HTTPStatus

from aiohttp import hdrs, web

from aiodjango.gateway.dates import has_dates, ignore_unreadable_dates
from aiodjango.gateway.memory import UNCOUNTED
from aiodjango.gateway.response import FileReply, Head, Reply, WholeReply

from .conditional import Version, status_instead, wanted_range
from .folder import FoundFile

Headers = dict[str, str]

# What a client that has the file already is told again (RFC 9110, section 15.4.5).
KEPT_BY_304 = (
    hdrs.CACHE_CONTROL,
    hdrs.ETAG,
    hdrs.VARY,
    hdrs.LAST_MODIFIED,
    hdrs.ACCESS_CONTROL_ALLOW_ORIGIN,
)


def respond(request: web.Request, found: FoundFile, headers: Headers) -> web.StreamResponse:
    """Return the response with a file, and close the file. To be called in a thread.

    headers: those of a response with all of the file, as far as they don't depend on what is in it.
    """
    with found.file:
        return _reply(request, found, headers).response(request)


def _reply(request: web.Request, found: FoundFile, headers: Headers) -> Reply:
    size, nanoseconds = found.status.st_size, found.status.st_mtime_ns
    version = Version(f"{nanoseconds:x}-{size:x}", nanoseconds // 10**9)
    headers = {
        **headers,
        hdrs.ETAG: f'"{version.etag}"',
        hdrs.LAST_MODIFIED: formatdate(version.modified, usegmt=True),
        hdrs.ACCEPT_RANGES: "bytes",
    }
    if found.has_siblings:
        headers[hdrs.VARY] = hdrs.ACCEPT_ENCODING
    if found.coding is not None:
        headers[hdrs.CONTENT_ENCODING] = found.coding

    if has_dates(request):
        ignore_unreadable_dates(request)
    status = status_instead(request, version)
    if status is HTTPStatus.NOT_MODIFIED:
        return _empty(status, {name: headers[name] for name in KEPT_BY_304 if name in headers})
    if status is not None:
        return _empty(status, {})
    part = wanted_range(request, version, size)
    if part is None:
        return _content(request, found.file, HTTPStatus.OK, headers, range(size))
    if not part:
        status = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
        return _empty(status, {hdrs.CONTENT_RANGE: f"bytes */{size}"})
    headers[hdrs.CONTENT_RANGE] = f"bytes {part[0]}-{part[-1]}/{size}"
    return _content(request, found.file, HTTPStatus.PARTIAL_CONTENT, headers, part)


def _empty(status: HTTPStatus, headers: Headers) -> Reply:
    return WholeReply(_head(status, headers), None)


def _content(
    request: web.Request, file: io.FileIO, status: HTTPStatus, headers: Headers, part: range
) -> Reply:
    head = _head(status, headers).with_length(len(part))
    if request.method == hdrs.METH_HEAD:
        return WholeReply(head, None)
    # With the headers, a small one goes out in one piece; sending it by the kernel takes longer.
    if len(part) <= UNCOUNTED:
        return WholeReply(head, os.pread(file.fileno(), len(part), part.start))
    return FileReply(head, io.FileIO(os.dup(file.fileno())), part.start, len(part))


def _head(status: HTTPStatus, headers: Headers) -> Head:
    return Head(status, status.phrase, list(headers.items()), None)
