"""A runner for an aiohttp application that contains a Django project."""

import asyncio
import inspect
import re
from collections.abc import Callable
from typing import Any

from aiohttp import EMPTY_PAYLOAD, web

from .gateway import Connection, DecodedBody, end_when_received, has_more_requests
from .runtime.open_connections import close_open_connections
from .runtime.options import seconds, whole_number

# How long a server that shuts down keeps idle connections after it stopped accepting, in seconds.
IDLE_GRACE = 0.5
# The part of shutdown_timeout that is reserved for handlers whose request bodies arrive late, and
# its maximum, in seconds.
LATE_SHARE, LATE_TIME = 0.25, 5.0
# How often a server that shuts down checks whether request bodies are complete, in seconds.
CHECK_INTERVAL = 0.05
# The length of a connection's first line from which it is not examined, in bytes.
MAX_FIRST_LINE = 65536
# The end of a request line of another protocol than HTTP/1.0 and HTTP/1.1.
_OTHER_PROTOCOL = re.compile(rb"\s(?!HTTP/1\.[01]\s*$)[A-Za-z]+/\d+\.\d+\s*$")
# The limits of Django's own servers, which are those of Python's wsgiref, in bytes.
DJANGO_LIMITS = {"max_line_size": 65536, "max_field_size": 65536}


class AioRunner(web.AppRunner):
    """A `web.AppRunner` for an application that contains a Django project.

    Django receives request bodies as they were sent, and a restart drops no request.

    app: the application, not yet started.
    max_line_size: the longest request target, in bytes; 400 above.
    max_field_size: the longest value of a header, in bytes; 400 above.
    max_headers: the largest number of headers; 400 above.
    shutdown_timeout: how long handlers may take to finish at shutdown, in seconds.
    idle_grace: how long at shutdown idle connections are kept after the last one was accepted, in
        seconds: the request of an accepted connection may still be on its way.
    options: the other options of `web.AppRunner`, `auto_decompress` excepted.

    Raises TypeError and ValueError for an invalid option.
    """

    def __init__(
        self,
        app: web.Application,
        *,
        max_line_size: int = 8190,
        max_field_size: int = 8190,
        max_headers: int = 128,
        shutdown_timeout: float = 60.0,
        idle_grace: float = IDLE_GRACE,
        **options: Any,
    ) -> None:
        _check_names(options)
        super().__init__(
            app,
            max_line_size=whole_number("max_line_size", max_line_size, least=1),
            max_field_size=whole_number("max_field_size", max_field_size, least=1),
            max_headers=whole_number("max_headers", max_headers, least=1),
            shutdown_timeout=seconds("shutdown_timeout", shutdown_timeout, may_be_zero=True),
            auto_decompress=False,
            **options,
        )
        self._idle_grace = seconds("idle_grace", idle_grace, may_be_zero=True)
        self._is_ending = False

    async def setup(self) -> None:
        """Start the application."""
        close_open_connections(self.app)
        await super().setup()

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        # There is no public access to the options that aiohttp has collected.
        return _Server(
            server.request_handler,
            request_factory=self._making(server.request_factory),
            handler_cancellation=server.handler_cancellation,
            **server._kwargs,
        )

    def _making(self, make_request: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that makes requests, with bodies that are decoded when read."""

        def make(message: Any, payload: Any, protocol: web.RequestHandler, *others: Any) -> Any:
            if message.compression is not None and payload is not EMPTY_PAYLOAD:
                payload = DecodedBody(payload, message.compression)
            if self._is_ending and not has_more_requests(protocol):
                # So that the response has "Connection: close": the client would reuse it otherwise.
                message = message._replace(should_close=True)
            return make_request(message, payload, protocol, *others)

        return make

    async def cleanup(self) -> None:
        """Stop accepting, receive the requests that have been sent, and end the application."""
        self._is_ending = True
        for site in self.sites:
            await site.stop()
        if self.server is not None and self.server.connections:
            # aiohttp closes idle connections first, and a new connection seems idle until its
            # request has arrived.
            await asyncio.sleep(self._idle_grace)
        await super().cleanup()

    async def shutdown(self) -> None:
        """Call the application's on_shutdown handlers, then wait for incomplete bodies."""
        await super().shutdown()
        server, loop = self.server, asyncio.get_running_loop()
        if server is None:
            return
        timeout = self._shutdown_timeout
        end = loop.time() + timeout
        late = min(timeout * LATE_SHARE, LATE_TIME)
        while loop.time() < end - late:
            late_ones = [each for each in server.connections if not end_when_received(each)]
            if not late_ones:
                break
            await asyncio.sleep(CHECK_INTERVAL)
        # aiohttp reads this next, and ignores bodies that arrive from now on. 0 would be no limit.
        self._shutdown_timeout = max(end - loop.time(), CHECK_INTERVAL) if timeout else timeout


class _Server(web.Server):
    """A server that keeps the connection of a client that has only ended its sending."""

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        transport.set_protocol(_NewConnection(handler, transport))

    def pre_shutdown(self) -> None:
        """Accept no further requests, but continue to receive those that have begun."""
        for connection in self.connections:
            end_when_received(connection)


class _NewConnection(Connection):
    """Examines the first request line: protocols other than HTTP/1.0 and HTTP/1.1 are refused.

    aiohttp's parser in C accepts some of them as versions of HTTP. Later lines are not examined: a
    client that has used HTTP once will not change the protocol.
    """

    def __init__(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().__init__(handler, transport)
        self._line = b""
        self._receive = vars(self).pop("data_received")  # as it is after the first line

    def data_received(self, data: bytes) -> None:
        line, end, _ = (self._line + data[:MAX_FIRST_LINE]).lstrip(b"\r\n").partition(b"\n")
        self._line = line
        if end or len(line) > MAX_FIRST_LINE:
            vars(self)["data_received"] = self._receive
            self._line = b""
            self._transport.set_protocol(self)  # uvloop keeps the method that it has found before
        if end and _OTHER_PROTOCOL.search(line):
            # The parser answers and logs this as any malformed request.
            data = b"\0\r\n\r\n"
        self._receive(data)


async def end_at_once(runner: web.AppRunner) -> None:
    """End a server without waiting for its clients, as in development and in tests."""
    if runner.server is not None:
        for connection in runner.server.connections:
            connection.force_close()
    await runner.cleanup()


def _check_names(options: dict[str, Any]) -> None:
    """Raise TypeError for unknown options.

    aiohttp itself would then ignore all options, with a warning at each connection.
    """
    if "auto_decompress" in options:
        raise TypeError(
            "AioRunner has no option auto_decompress: Django receives bodies as they were sent, "
            "coroutine views receive them decoded."
        )
    known = {
        name
        for function in (web.AppRunner.__init__, web.RequestHandler.__init__, web.Server.__init__)
        for name in inspect.signature(function).parameters
    }
    if unknown := sorted(options.keys() - known):
        raise TypeError(f"AioRunner has no option {', '.join(unknown)}.")
