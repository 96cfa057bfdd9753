"""Django under AioClient: in real requests, but in the thread of the test."""

import asyncio
import concurrent.futures
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from typing import Any, TypeVar
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from asgiref.sync import sync_to_async
from django.core.signals import request_finished, request_started
from django.db import close_old_connections

from aiodjango.gateway import StreamCut
from aiodjango.runtime.bridge import laid_over

from .exchange import current_exchange

R = TypeVar("R")

_END = object()


class OneAtATime:
    """A WSGI application that runs in the thread of the test's own database calls.

    In a Django test case that is the main thread, which waits in `async_to_sync()`; otherwise it is
    asgiref's thread for such calls. The threads of the gateway pass everything to it: the call,
    each part of a stream, and close().

    Made on the server's loop.
    """

    def __init__(self, application: WSGIApplication) -> None:
        self.application = application
        self._loop = asyncio.get_running_loop()
        # The test's own context, by which asgiref finds the thread that waits in `async_to_sync()`.
        self._context = copy_context()
        self._unclosed: set[_Response] = set()
        self._closed = asyncio.Condition()

    # --- In the gateway's threads ----------------------------------------------------------

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return self.run(self._begin(environ, start_response))

    def run(self, calling: Coroutine[Any, Any, R]) -> R:
        """Run a coroutine on the loop. Raises StreamCut if the loop ends."""
        coroutine = _with_variables(copy_context(), calling)
        context = self._context.copy()
        try:
            return context.run(asyncio.run_coroutine_threadsafe, coroutine, self._loop).result()
        except concurrent.futures.CancelledError:
            raise StreamCut from None
        except RuntimeError:  # pragma: no cover - a race with the end of the loop
            if not self._loop.is_closed():
                raise
            coroutine.close()
            calling.close()
            raise StreamCut from None

    # --- On the loop -----------------------------------------------------------------------

    async def wait_closed(self) -> None:
        """Wait for the close() of all responses that have been sent completely."""
        async with self._closed:
            await self._closed.wait_for(lambda: not self._unclosed)

    async def _begin(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        result: Any
        with _noting_errors():
            result = await sync_to_async(_call)(self.application, environ, start_response)
        if isinstance(result, list | tuple):
            return result
        response = _Response(result, self)
        if not isinstance(result, environ["wsgi.file_wrapper"]):
            return response
        # Unchanged in type, by which the gateway recognises a file.
        self._unclosed.add(response)
        result.close = response.close
        return result  # type: ignore[no-any-return]

    async def part(self, response: "_Response", parts: Iterator[bytes]) -> Any:
        """Return the next part of a stream, `_END` after the last."""
        with _noting_errors():
            part = await sync_to_async(next)(parts, _END)  # type: ignore[call-arg]
        if part is _END:
            self._unclosed.add(response)
        return part

    async def end(self, response: "_Response") -> None:
        """Close a response."""
        try:
            await sync_to_async(_close)(response.close_result)
        finally:
            async with self._closed:
                self._unclosed.discard(response)
                self._closed.notify_all()


async def _with_variables(context: Context, calling: Coroutine[Any, Any, R]) -> R:
    """Run a coroutine with the variables of a request."""
    with laid_over(context):
        return await calling


@contextmanager
def _noting_errors() -> Iterator[None]:
    """Note an exception for the client that Django has not converted to a response."""
    try:
        yield
    except Exception:
        exchange = current_exchange.get()
        if exchange is not None:
            exchange.note_exception()
        raise


class _Response:
    """The result of an application, for the gateway."""

    def __init__(self, result: Any, application: OneAtATime) -> None:
        self._result = result
        self._application = application
        self.close_result: Callable[[], object] = getattr(result, "close", lambda: None)

    def __iter__(self) -> Iterator[bytes]:
        application = self._application
        parts = application.run(sync_to_async(iter)(self._result))
        while (part := application.run(application.part(self, parts))) is not _END:
            yield part

    def close(self) -> None:
        try:
            self._application.run(self._application.end(self))
        except StreamCut:  # pragma: no cover - a race with the end of the test
            self.close_result()  # in this thread rather than not at all


class _Parts(tuple[bytes, ...]):
    """All parts of a body. A type of its own, as the gateway adds a Content-Length to a tuple."""


# --- In the test's thread. As under Django's test client, connections stay open, however old. ---


def _call(application: WSGIApplication, environ: WSGIEnvironment, start_response: Any) -> Any:
    request_started.disconnect(close_old_connections)
    try:
        result: Any = application(environ, start_response)
    finally:
        request_started.connect(close_old_connections)
    if getattr(result, "streaming", True):
        return result
    # All parts and close() before anything is sent, so that a test sees their effects.
    try:
        return _Parts(result)
    finally:
        _close(result.close)


def _close(close: Callable[[], object]) -> None:
    request_finished.disconnect(close_old_connections)
    try:
        close()
    finally:
        request_finished.connect(close_old_connections)
