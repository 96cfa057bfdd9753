"""A runner for an aiohttp application: what only a server can decide."""

import asyncio
import inspect
import re
from collections.abc import Callable
from typing import Any

from aiohttp import EMPTY_PAYLOAD, web

from .gateway import Connection, DecodedBody, end_when_received, has_more_requests
from .open_connections import close_open_connections
from .runtime.options import seconds, whole_number

# Seconds from the last connection that an ending server accepts to the end of those that are idle.
IDLE_GRACE = 0.5
# What of the time that handlers have to finish is left to those whose bodies were late: a part of
# it, and so many seconds at most.
LATE_SHARE, LATE_TIME = 0.25, 5.0
# How often (seconds) an ending server looks for bodies that are complete.
LOOK_INTERVAL = 0.05
# How much, in bytes, of a connection's first line is looked at.
MAX_FIRST_LINE = 65536
# What ends a request line that is not of HTTP/1.0 or HTTP/1.1.
_OTHER_PROTOCOL = re.compile(rb"\s(?!HTTP/1\.[01]\s*$)[A-Za-z]+/\d+\.\d+\s*$")
# The limits of Django's own servers, which are those of Python's wsgiref, in bytes.
DJANGO_LIMITS = {"max_line_size": 65536, "max_field_size": 65536}


class AioRunner(web.AppRunner):
    """A `web.AppRunner` for an application that contains a Django project.

    Django receives request bodies as they were sent, and no request is dropped at a restart.

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
        # The options that aiohttp has put together are not to be had otherwise.
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
                # The response says "Connection: close", or the client would go on using it.
                message = message._replace(should_close=True)
            return make_request(message, payload, protocol, *others)

        return make

    async def cleanup(self) -> None:
        """Stop accepting, let requests that are on their way arrive, and end the application."""
        self._is_ending = True
        for site in self.sites:
            await site.stop()
        if self.server is not None and self.server.connections:
            # A connection that was just accepted looks idle until its request has arrived, and
            # aiohttp closes idle connections first.
            await asyncio.sleep(self._idle_grace)
        await super().cleanup()

    async def shutdown(self) -> None:
        """Call the application's on_shutdown handlers, then wait for bodies that are arriving."""
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
            await asyncio.sleep(LOOK_INTERVAL)
        # Read by aiohttp next, which ignores what arrives from now on. 0 would be no limit.
        self._shutdown_timeout = max(end - loop.time(), LOOK_INTERVAL) if timeout else timeout


class _Server(web.Server):
    """A server whose connections are attended from their start."""

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        # Keeps a connection whose client has only ended its sending.
        connection = Connection(handler, transport)
        vars(connection)["data_received"] = _FirstLine(connection, handler)
        transport.set_protocol(connection)

    def pre_shutdown(self) -> None:
        """Accept no further requests, but go on receiving those that have begun."""
        for connection in self.connections:
            end_when_received(connection)


class _FirstLine:
    """Receives the first request line, and refuses protocols other than HTTP/1.0 and HTTP/1.1.

    aiohttp's parser in C takes some of them for versions of HTTP. Later lines are not examined: who
    has spoken HTTP goes on so.
    """

    def __init__(self, connection: Connection, handler: web.RequestHandler) -> None:
        self._attributes = vars(connection)
        self._handler = handler
        self._line: bytes | None = b""

    def __call__(self, data: bytes) -> None:
        if self._line is not None:
            line, end, _ = (self._line + data[:MAX_FIRST_LINE]).lstrip(b"\r\n").partition(b"\n")
            self._line = line
            if end or len(line) > MAX_FIRST_LINE:
                self._line = None
                # uvloop has remembered this object, asyncio looks it up.
                self._attributes["data_received"] = self._handler.data_received
            if end and _OTHER_PROTOCOL.search(line):
                # The parser answers and logs it, as other malformed requests.
                data = b"\0\r\n\r\n"
        self._handler.data_received(data)


def _check_names(options: dict[str, Any]) -> None:
    """Raise TypeError for options that aiohttp does not know.

    aiohttp itself would drop all options then, at each connection, with a warning.
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
