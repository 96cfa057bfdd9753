"""What a request's headers make of a file: another coding, a part of it, or no need for it.

RFC 9110, sections 12.5.3 (Accept-Encoding), 13 (conditional requests) and 14 (ranges).
"""

import re
from functools import lru_cache
from http import HTTPStatus
from typing import NamedTuple

from aiohttp import ETag, hdrs, web

# Longer headers, in characters, are not looked at: their parsing would take too long, or they would
# fill the memory of what was parsed. Browsers send much shorter ones.
MAX_ACCEPT_ENCODING = 1024
MAX_ETAGS = 8192
# A weight, and one range; a number that no file reaches is as good as a wrong one.
WEIGHT = re.compile(r"q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)", re.ASCII)
RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.IGNORECASE | re.ASCII)


class Version(NamedTuple):
    """By what a client knows again what it has got.

    etag: a strong one, without quotes. modified: in whole seconds since the epoch.
    """

    etag: str
    modified: int


def accepted_codings(request: web.Request, known: tuple[str, ...]) -> tuple[str, ...]:
    """The codings that a client takes rather than the file itself, the best first.

    known: the codings to choose from; where a client takes several alike, the first is the best.
    """
    header = ",".join(request.headers.getall(hdrs.ACCEPT_ENCODING, ()))
    return _accepted_codings(header, known) if len(header) <= MAX_ACCEPT_ENCODING else ()


@lru_cache(maxsize=128)
def _accepted_codings(header: str, known: tuple[str, ...]) -> tuple[str, ...]:
    weights: dict[str, float] = {}
    for item in header.lower().split(","):
        coding, *parameters = (part.strip() for part in item.split(";"))
        weights[coding] = _weight(parameters)
    others = weights.get("*", 0.0)
    itself = weights.get("identity", others)
    weighed = [(weights.get(coding, others), coding) for coding in known]
    weighed = [pair for pair in weighed if pair[0] > 0 and pair[0] >= itself]
    return tuple(coding for _, coding in sorted(weighed, key=lambda pair: pair[0], reverse=True))


def _weight(parameters: list[str]) -> float:
    if not parameters:
        return 1.0
    match = WEIGHT.fullmatch(parameters[0])
    return float(match[1]) if match else 0.0


def status_instead(request: web.Request, version: Version) -> HTTPStatus | None:
    """304 or 412, where a GET or HEAD request wants that rather than the file; otherwise None."""
    if (header := request.headers.get(hdrs.IF_MATCH)) is not None:
        if len(header) <= MAX_ETAGS and not _is_one_of(version.etag, request.if_match, weak=False):
            return HTTPStatus.PRECONDITION_FAILED
    elif (date := request.if_unmodified_since) and version.modified > date.timestamp():
        return HTTPStatus.PRECONDITION_FAILED
    if (header := request.headers.get(hdrs.IF_NONE_MATCH)) is not None:
        if len(header) <= MAX_ETAGS and _is_one_of(version.etag, request.if_none_match, weak=True):
            return HTTPStatus.NOT_MODIFIED
    elif (date := request.if_modified_since) and version.modified <= date.timestamp():
        return HTTPStatus.NOT_MODIFIED
    return None


def _is_one_of(etag: str, candidates: tuple[ETag, ...] | None, *, weak: bool) -> bool:
    return any(
        candidate.value in (etag, "*") and (weak or not candidate.is_weak)
        for candidate in candidates or ()
    )


def wanted_range(request: web.Request, version: Version, size: int) -> range | None:
    """The bytes that a request wants of a file of `size` bytes.

    None for all of it: several ranges at once, and what can't be understood, are ignored. Empty
    where the file has no such bytes.
    """
    if request.method != hdrs.METH_GET or hdrs.RANGE not in request.headers:
        return None
    match = RANGE.fullmatch(request.headers[hdrs.RANGE].strip())
    if match is None or match[0].endswith("=-") or not _holds_if_range(request, version):
        return None
    first, last = match.groups()
    if not first:
        return range(max(size - int(last), 0), size)
    if not last:
        return range(int(first), max(size, int(first)))
    if int(last) < int(first):
        return None
    return range(int(first), min(int(last) + 1, size))


def _holds_if_range(request: web.Request, version: Version) -> bool:
    value = request.headers.get(hdrs.IF_RANGE)
    if value is None:
        return True
    date = request.if_range
    if date is not None:
        return date.timestamp() == version.modified
    return value.strip() == f'"{version.etag}"'
