"""Dates of conditional requests that aiohttp cannot parse."""

from aiohttp import hdrs, web


def has_dates(request: web.Request) -> bool:
    """Whether the conditions of a request contain dates."""
    headers = request.headers
    return (
        hdrs.IF_MODIFIED_SINCE in headers
        or hdrs.IF_UNMODIFIED_SINCE in headers
        or hdrs.IF_RANGE in headers
    )


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
