"""What aiohttp's router found for a coroutine view."""

from typing import Protocol

from aiohttp import web

from .converters import Captured


class AddsHeaders(Protocol):
    """Adds to a response the headers that the site's settings ask for."""

    def add_to(self, response: web.StreamResponse, request: web.Request) -> None: ...


class LiftedMatch(web.UrlMappingMatchInfo):
    """A match_info that also holds what Django would pass to the view, and how far it has come."""

    __slots__ = ("captured", "has_django_request", "headers", "language", "started")

    def __init__(
        self, captured: Captured, route: web.AbstractRoute, language: str | None = None
    ) -> None:
        super().__init__(captured.strings, route)
        self.captured = captured
        self.language = language  # that the path was matched in, if its pattern depends on it
        # The response still has to get these; None once it has.
        self.headers: AddsHeaders | None = None
        # The request was shown to Django, whose middlewares may have something for the response.
        self.has_django_request = False
        # What the view has begun to send itself.
        self.started: web.StreamResponse | None = None
