"""The WebSockets and event streams of coroutine views, which end when the server shuts down.

Without it the server would wait for them until its grace time is over, and pages would see an
abnormal closure (1006).
"""

import asyncio
import random
import weakref
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from aiohttp import WSCloseCode, web

from .broadcast.hub import SPREAD
from .broadcast.socket import close_websocket


class OpenConnections:
    """What one application has open."""

    def __init__(self) -> None:
        self._websockets: weakref.WeakSet[web.WebSocketResponse] = weakref.WeakSet()
        self._streams: weakref.WeakKeyDictionary[web.StreamResponse, asyncio.Task[None]] = (
            weakref.WeakKeyDictionary()
        )
        self._closing: set[asyncio.Task[None]] = set()

    def add(self, response: web.StreamResponse) -> None:
        """Note a response that a view has begun to send."""
        if isinstance(response, web.WebSocketResponse):
            self._websockets.add(response)
        elif response.content_type == "text/event-stream":
            task = asyncio.current_task()
            if task is not None:  # pragma: no branch - a view always runs in one
                self._streams[response] = task

    async def shutdown(self, app: web.Application) -> None:
        """Close everything within SPREAD seconds, as an on_shutdown handler.

        Pages that come back do not all come at once.
        """
        for websocket in list(self._websockets):
            if not websocket.closed:
                self._close_soon(_close(websocket))
        for task in list(self._streams.values()):
            if not task.done():
                self._close_soon(_cancel(task))

    async def running(self, app: web.Application) -> AsyncIterator[None]:
        """Leave no task behind, as an entry of cleanup_ctx."""
        yield
        # What is not closed yet has ended with its connection.
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
    """Have an application close at its shutdown what its views have open, unless it does already.

    For an application that has only the routes of coroutine views.
    """
    if OPEN_CONNECTIONS not in app and not app.pre_frozen:
        connections = app[OPEN_CONNECTIONS] = OpenConnections()
        app.on_shutdown.append(connections.shutdown)
        app.cleanup_ctx.append(connections.running)


def note_open(request: web.Request, response: web.StreamResponse) -> None:
    """Note what a view has begun to send, for the innermost application that closes it."""
    for app in reversed(request.match_info.apps):
        connections = app.get(OPEN_CONNECTIONS)
        if connections is not None:
            connections.add(response)
            return


async def _close(websocket: web.WebSocketResponse) -> None:
    await asyncio.sleep(random.uniform(0, SPREAD))
    await close_websocket(websocket, WSCloseCode.GOING_AWAY, "the server shuts down")


async def _cancel(task: "asyncio.Task[None]") -> None:
    # Last: a view that ends by itself meanwhile, as its subscription does, ends its stream well.
    await asyncio.sleep(SPREAD * random.uniform(1, 2))
    task.cancel()
