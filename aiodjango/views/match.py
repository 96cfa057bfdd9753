"""The state of a request for a coroutine view, from the router to the response."""

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from aiodjango.converters import Matched

AddHeaders = Callable[[web.StreamResponse, web.Request], None]


class ViewMatch(web.UrlMappingMatchInfo):
    """A match_info with the values that Django would pass to the view, and the request's state."""

    __slots__ = (
        "add_headers",
        "args",
        "kwargs",
        "language",
        "needs_examination",
        "needs_middlewares",
        "on_begin",
        "started",
    )

    # Adds the headers that every response of the view has; None for no headers.
    add_headers: AddHeaders | None

    def __init__(
        self, matched: Matched, route: web.AbstractRoute, language: str | None = None
    ) -> None:
        _, self.args, self.kwargs, strings = matched
        super().__init__(strings, route)
        # That the path was matched in, if its pattern depends on it.
        self.language = language
        # Called with a response that the view begins to send itself; only while the view runs.
        self.on_begin: Callable[[Any, Any], Awaitable[None]] | None = None
        # What the view has begun to send itself.
        self.started: web.StreamResponse | None = None
        # The site's rules, or the length of the body, need more than a few headers to be known.
        self.needs_examination = False
        # Django's view of the request exists: its middlewares may add to the response.
        self.needs_middlewares = False

    def freeze(self) -> None:
        # aiohttp calls each application of a match before it sends the headers of a response. With
        # one more application that works for get_aio_routes() too.
        self.add_app(_LISTENER)
        super().freeze()


async def _before_headers(request: web.Request, response: web.StreamResponse) -> None:
    match: ViewMatch = request.match_info  # type: ignore[assignment]
    if match.on_begin is not None:
        await match.on_begin(request, response)


_LISTENER = web.Application()
_LISTENER.on_response_prepare.append(_before_headers)
_LISTENER.freeze()
