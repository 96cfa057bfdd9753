"""What aiohttp's router found for a coroutine view."""

from typing import Protocol

from aiohttp import web

from aiodjango.converters import Matched


class AddsHeaders(Protocol):
    """Adds to a response the headers that the site's settings ask for."""

    is_empty: bool

    def add_to(self, response: web.StreamResponse, request: web.Request) -> None: ...


class LiftedMatch(web.UrlMappingMatchInfo):
    """A match_info that also holds what Django would pass to the view, and how far it is."""

    __slots__ = (
        "args",
        "has_django_request",
        "headers",
        "is_odd",
        "kwargs",
        "language",
        "listeners",
        "started",
    )

    def __init__(
        self, matched: Matched, route: web.AbstractRoute, language: str | None = None
    ) -> None:
        _, self.args, self.kwargs, strings = matched
        super().__init__(strings, route)
        self.language = language  # that the path was matched in, if its pattern depends on it
        # What the response gets.
        self.headers: AddsHeaders
        # The request needs a closer look, at what it may do and at where it ends.
        self.is_odd = False
        # The request was shown to Django, whose middlewares may have something for the response.
        self.has_django_request = False
        # What the view has begun to send itself.
        self.started: web.StreamResponse | None = None
        # aiohttp tells each application of a match when a response to its request is about to be
        # sent. For the time of the view one more stands among them, to be told of what the view
        # begins itself. A receiver for a signal of the application would be told of every response,
        # which costs a short view 3 %, and would be missing where only the routes are taken.
        # There's no public way to this list.
        self.listeners = self._apps
