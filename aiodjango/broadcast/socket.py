"""Sends events to one WebSocket, without a task of its own while the client keeps up."""

import asyncio
import types
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any

from aiohttp import WSMsgType, web

from aiodjango.runtime.open_connections import close_websocket


async def _resume(coroutine: Coroutine[Any, Any, None], awaited: Any) -> None:
    """Run the rest of a coroutine, which has run until it had to wait for `awaited`."""
    await _steps(coroutine, awaited)


@types.coroutine
def _steps(coroutine: Coroutine[Any, Any, None], awaited: Any) -> Generator[Any, Any, None]:
    while True:
        try:
            yield awaited
        except BaseException as error:
            go_on = partial(coroutine.throw, error)
        else:
            go_on = partial(coroutine.send, None)
        try:
            awaited = go_on()
        except StopIteration:
            return


class SocketSender:
    """Sends text frames in order.

    capacity: how many may wait for a slow client; `overflow` is called for one more.
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
        """Send UTF-8 text, at once or after the frames that wait."""
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
        # It rarely has to wait, and a task would cost a quarter of the time that sending takes.
        try:
            awaited = sending.send(None)
        except StopIteration:
            return
        except Exception as error:
            _report(error)
            return
        self._sending = asyncio.get_running_loop().create_task(_resume(sending, awaited))
        self._sending.add_done_callback(self._go_on)

    def _go_on(self, sending: asyncio.Task[None]) -> None:
        if not sending.cancelled():
            _report(sending.exception())
        self._sending = None
        while self._waiting and self._sending is None and self._closing is None:
            self._begin(self._waiting.popleft())

    def close(self, code: int, reason: str) -> None:
        """Close the WebSocket without sending the frames that wait."""
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


def _report(error: BaseException | None) -> None:
    # A lost connection is not reported: it ends the loop that receives from it.
    if error is not None and not isinstance(error, ConnectionError):
        asyncio.get_running_loop().call_exception_handler(
            {"message": "An event could not be sent to a WebSocket.", "exception": error}
        )
