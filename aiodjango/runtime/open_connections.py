"""The WebSockets and event streams of coroutine views, which end when the server shuts down.

Otherwise the server would wait for them until its grace time is over, and pages would see an
abnormal closure (1006).
"""

import asyncio
import random
import socket
import weakref
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from aiohttp import WSCloseCode, web

# The time within which connections end that end for the same reason, in seconds: their pages do
# not all return at once.
SPREAD = 1.0
# How long a WebSocket may take to close before its connection is cut, in seconds.
CLOSE_TIMEOUT = 10.0


class OpenConnections:
    """The open WebSockets and event streams of one application."""

    def __init__(self) -> None:
        self._websockets: weakref.WeakSet[web.WebSocketResponse] = weakref.WeakSet()
        self._streams: weakref.WeakKeyDictionary[web.StreamResponse, asyncio.Task[None]] = (
            weakref.WeakKeyDictionary()
        )
        self._closing: set[asyncio.Task[None]] = set()

    def add(self, response: web.StreamResponse) -> None:
        """Note a response whose headers have been sent."""
        if isinstance(response, web.WebSocketResponse):
            self._websockets.add(response)
        elif response.content_type == "text/event-stream":
            task = asyncio.current_task()
            if task is not None:  # pragma: no branch - a view always runs in one
                self._streams[response] = task

    async def shutdown(self, app: web.Application) -> None:
        """Close all connections, spread over some time. An on_shutdown handler."""
        for websocket in list(self._websockets):
            if not websocket.closed:
                self._close_soon(_close(websocket))
        for task in list(self._streams.values()):
            if not task.done():
                self._close_soon(_cancel(task))

    async def running(self, app: web.Application) -> AsyncIterator[None]:
        """End all tasks when the application ends. An entry of its cleanup_ctx."""
        yield
        # A connection that is still open now has been closed by the server.
        for task in list(self._closing):
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _close_soon(self, closing: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(closing)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


OPEN_CONNECTIONS: web.AppKey[OpenConnections] = web.AppKey(
    "aiodjango.OPEN_CONNECTIONS", OpenConnections
)


def close_open_connections(app: web.Application) -> None:
    """Let an application close the connections of its views at shutdown.

    Without effect if it does so already or has been started.
    """
    if OPEN_CONNECTIONS not in app and not app.pre_frozen:
        connections = app[OPEN_CONNECTIONS] = OpenConnections()
        app.on_shutdown.append(connections.shutdown)
        app.cleanup_ctx.append(connections.running)


def note_open(request: web.Request, response: web.StreamResponse) -> None:
    """Note a response whose headers have been sent, for the innermost such application."""
    for app in reversed(request.match_info.apps):
        connections = app.get(OPEN_CONNECTIONS)
        if connections is not None:
            connections.add(response)
            return


async def close_websocket(ws: web.WebSocketResponse, code: int, reason: str) -> None:
    """Close a WebSocket, or cut its connection if the client does not answer in time."""
    connection = ws.get_extra_info("socket")
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT):
            await ws.close(code=code, message=reason.encode())
    except TimeoutError:
        # The client reads nothing, not even the last frame.
        if connection is not None:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it has closed meanwhile


async def _close(websocket: web.WebSocketResponse) -> None:
    await asyncio.sleep(random.uniform(0, SPREAD))
    await close_websocket(websocket, WSCloseCode.GOING_AWAY, "the server shuts down")


async def _cancel(task: "asyncio.Task[None]") -> None:
    # After SPREAD: the stream of a subscription ends by itself, without an error, before.
    await asyncio.sleep(SPREAD * random.uniform(1, 2))
    task.cancel()
