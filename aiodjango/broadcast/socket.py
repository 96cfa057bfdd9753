"""Sends events to one WebSocket, without a task of its own while the reader keeps up."""

import asyncio
import socket
import sys
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from aiohttp import WSMsgType, web

# Seconds in which a WebSocket has to be closed before its connection is cut.
CLOSE_TIMEOUT = 10.0

if sys.version_info >= (3, 12):

    def _start(coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine at once, and as a task from where it first has to wait."""
        return asyncio.Task(coroutine, loop=asyncio.get_running_loop(), eager_start=True)

else:

    def _start(coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(coroutine)


class SocketSender:
    """Sends text frames in order.

    capacity: how many may wait for a slow reader; `overflow` is called for one more.
    """

    __slots__ = ("_capacity", "_closing", "_overflow", "_sending", "_waiting", "_ws")

    def __init__(
        self, ws: web.WebSocketResponse, capacity: int, overflow: Callable[[], None]
    ) -> None:
        self._ws = ws
        self._capacity = capacity
        self._overflow = overflow
        self._waiting: deque[bytes] | None = None
        self._sending: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    def send(self, data: bytes) -> None:
        """Send UTF-8 text; it may wait for those before it."""
        if self._closing is not None:
            return
        if self._sending is None:
            self._begin(data)
        elif self._waiting is None:
            self._waiting = deque((data,))
        elif len(self._waiting) < self._capacity:
            self._waiting.append(data)
        else:
            self._overflow()

    def _begin(self, data: bytes) -> None:
        sending = _start(self._ws.send_frame(data, WSMsgType.TEXT))
        if sending.done():
            _ignore_loss(sending)
        else:
            self._sending = sending
            sending.add_done_callback(self._go_on)

    def _go_on(self, sending: asyncio.Task[None]) -> None:
        _ignore_loss(sending)
        self._sending = None
        while self._waiting and self._sending is None and self._closing is None:
            self._begin(self._waiting.popleft())

    def close(self, code: int, reason: str) -> None:
        """Close the WebSocket; what waits is not sent any more."""
        self._waiting = None
        if self._closing is None and not self._ws.closed:
            closing = close_websocket(self._ws, code, reason)
            self._closing = asyncio.get_running_loop().create_task(closing)

    async def finish(self) -> None:
        """Wait until the WebSocket is closed, if it is being closed."""
        self._waiting = None
        if self._closing is not None:
            await asyncio.wait([self._closing])
        elif self._sending is not None:
            self._sending.cancel()


async def close_websocket(ws: web.WebSocketResponse, code: int, reason: str) -> None:
    """Close a WebSocket; its connection is cut when the peer does not take part in that."""
    connection = ws.get_extra_info("socket")
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT):
            await ws.close(code=code, message=reason.encode())
    except TimeoutError:
        # The peer reads nothing, not even the last frame.
        if connection is not None:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it has gone meanwhile


def _ignore_loss(sending: asyncio.Task[None]) -> None:
    """A connection that is lost ends the loop that receives from it."""
    if not sending.cancelled():
        error = sending.exception()
        if error is not None and not isinstance(error, ConnectionError):
            asyncio.get_running_loop().call_exception_handler(
                {"message": "An event could not be sent to a WebSocket.", "exception": error}
            )
