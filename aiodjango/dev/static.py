"""Static and media files in front of a server, as Django's own servers have them."""

from collections.abc import Iterable
from typing import Any

from aiohttp import web
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.handlers.exception import response_for_exception
from django.core.handlers.wsgi import WSGIHandler
from django.http import Http404, HttpRequest, HttpResponseNotFound
from django.http.response import HttpResponseBase

from aiodjango.gateway import Gateway

# The header of a response that leaves the request to the views.
_NO_FILE = "X-No-File"


class FilesInFront:
    """Answers requests for files before the application does, a catch-all view included.

    kinds: the classes of Django's handlers that find the files, as `StaticFilesHandler`.
    """

    def __init__(self, kinds: Iterable[Any]) -> None:
        handlers = [kind(None) for kind in kinds]
        # Without MEDIA_URL the handler of media files would take every path.
        self._handlers = [
            handler
            for handler in handlers
            if isinstance(handler, StaticFilesHandler) or handler.base_url.path != "/"
        ]
        self.gateway = Gateway(_FilesHandler(self._handlers))

    def install(self, server: web.Server) -> None:
        """Pass requests for files to Django's handlers, all others to the application."""
        handle_rest = server.request_handler

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            if any(handler._should_handle(request.path) for handler in self._handlers):
                response = await self.gateway.handle(request)
                if _NO_FILE not in response.headers:
                    return response
            return await handle_rest(request)

        server.request_handler = handle

    async def close(self) -> None:
        await self.gateway.shutdown()
        await self.gateway.close()


class _FilesHandler(WSGIHandler):
    """Serves the files of several handlers, without middlewares."""

    def __init__(self, handlers: Iterable[Any]) -> None:
        super().__init__()
        self._handlers = handlers

    def load_middleware(self, is_async: bool = False) -> None:
        """Load none: as Django's own handler of static files."""

    def get_response(self, request: HttpRequest) -> HttpResponseBase:
        for handler in self._handlers:
            if handler._should_handle(request.path):
                try:
                    response: HttpResponseBase = handler.serve(request)
                except Http404 as error:
                    # As in Django: only static files from the finders answer with 404.
                    if isinstance(handler, StaticFilesHandler):
                        return response_for_exception(request, error)
                else:
                    return response
        return HttpResponseNotFound(headers={_NO_FILE: "1"})
