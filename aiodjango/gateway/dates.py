"""Dates in the conditions of a request that aiohttp cannot read."""

from aiohttp import hdrs, web


def has_dates(request: web.Request) -> bool:
    """Whether conditions of a request depend on dates."""
    headers = request.headers
    return (
        hdrs.IF_MODIFIED_SINCE in headers
        or hdrs.IF_UNMODIFIED_SINCE in headers
        or hdrs.IF_RANGE in headers
    )


def ignore_unreadable_dates(request: web.Request) -> None:
    """Have aiohttp's request say None of each condition whose date cannot be read.

    Its properties do so for most invalid dates, but raise OverflowError for a year or an hour of
    many digits: in the view that asks, or in aiohttp's FileResponse after the view has returned.
    There is no public way to give one of its properties another value than this cache.
    """
    for name in ("if_modified_since", "if_unmodified_since", "if_range"):
        try:
            getattr(request, name)
        except Exception:  # whatever the parser raises: it is no date
            request._cache[name] = None
