"""Sends events to one WebSocket, without a task of its own while the reader keeps up."""

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from typing import Any

from aiohttp import WSMsgType, web

# Seconds in which a WebSocket has to be closed before its connection is cut.
CLOSE_TIMEOUT = 10.0


class _Begun(Coroutine[Any, Any, None]):
    """A coroutine that has run until it first had to wait, for a task to go on with.

    awaited: what it waits for.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, None], awaited: Any) -> None:
        self._coroutine = coroutine
        self._awaited = awaited

    def send(self, value: Any) -> Any:
        awaited, self._awaited = self._awaited, None
        return self._coroutine.send(value) if awaited is None else awaited

    def throw(self, *error: Any) -> Any:
        return self._coroutine.throw(*error)

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, None]:
        raise TypeError("This coroutine can only be run as a task.")


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
        sending = self._ws.send_frame(data, WSMsgType.TEXT)
        # Nearly always it need not wait. To make a task costs a quarter of what sending does.
        try:
            awaited = sending.send(None)
        except StopIteration:
            return
        except Exception as error:
            _ignore_loss(error)
            return
        task = asyncio.get_running_loop().create_task(_Begun(sending, awaited))
        self._sending = task
        task.add_done_callback(self._go_on)

    def _go_on(self, sending: asyncio.Task[None]) -> None:
        if not sending.cancelled():
            _ignore_loss(sending.exception())
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


def _ignore_loss(error: BaseException | None) -> None:
    """A connection that is lost ends the loop that receives from it."""
    if error is not None and not isinstance(error, ConnectionError):
        asyncio.get_running_loop().call_exception_handler(
            {"message": "An event could not be sent to a WebSocket.", "exception": error}
        )
