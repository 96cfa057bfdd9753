"""`subscribe()`: the events of channels, for one reader."""

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

from aiohttp import WSCloseCode, web

from . import process
from .hub import Hub
from .publishing import check_channel
from .socket import SocketSender
from .stream import EventStream, send_to_stream

# How many events may wait for a reader. A slower reader would miss events, so it is ended.
CAPACITY = 1000


def subscribe(*channels: str) -> "Subscription":
    """Return the events of channels, as an async context manager and async iterator.

    No event is missed inside `async with`: the broker delivers them before the block is entered.
    The iteration ends when the reader was too slow or the connection to the broker was interrupted
    (`missed` says why), and when the server shuts down. The page then reconnects, and reads from
    the database what it missed.

    channels: names as for `publish()`; more can be joined later.

    Raises TypeError and ValueError for an invalid name.
    """
    for channel in channels:
        check_channel(channel)
    return Subscription(channels)


class Subscription:
    """The events of channels, for one reader; see `subscribe()`."""

    __slots__ = (
        "__weakref__",
        "_channels",
        "_events",
        "_hub",
        "_is_ended",
        "_sender",
        "_waiter",
        "is_listening",
        "missed",
    )

    def __init__(self, channels: tuple[str, ...]) -> None:
        # Why events were missed, None if none were.
        self.missed: str | None = None
        # Whether the reader relies on receiving all events.
        self.is_listening = False
        self._channels: dict[str, None] = dict.fromkeys(channels)
        self._events: deque[bytes] | None = None
        self._hub: Hub | None = None
        self._sender: SocketSender | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._is_ended = False

    async def __aenter__(self) -> Self:
        if self._hub is not None:
            raise RuntimeError("A subscription can be entered only once: call subscribe() again.")
        self._hub = process.hub_of_this_loop()
        channels, self._channels = self._channels, {}
        if self._hub.is_closing:
            self.end()
        await self.join(*channels)
        self.is_listening = True
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._sender = None
        self.end()

    async def join(self, *channels: str) -> None:
        """Receive the events of further channels. Returns when the broker delivers them."""
        hub = self._entered()
        for channel in channels:
            check_channel(channel)
        if self._is_ended or self.missed is not None:
            return
        new = [channel for channel in channels if channel not in self._channels]
        for channel in new:
            self._channels[channel] = None
            hub.add(self, channel)
        try:
            for channel in channels:
                await hub.is_subscribed(channel)
        except BaseException:  # cancelled: as if it had not been called
            await self.leave(*new)
            raise

    async def leave(self, *channels: str) -> None:
        """Stop receiving the events of these channels."""
        hub = self._entered()
        for channel in channels:
            if channel in self._channels:
                del self._channels[channel]
                hub.remove(self, channel)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        data = await self._next()
        if data is None:
            raise StopAsyncIteration
        return json.loads(data)

    async def _next(self) -> bytes | None:
        """Wait for the next event; None at the end."""
        self._check_reader()
        while not self._events:
            if self._is_ended:
                return None
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._events.popleft()

    async def send_to(
        self,
        ws: web.WebSocketResponse | EventStream,
        receive: Callable[[Any], Awaitable[object]] | None = None,
    ) -> None:
        """Send the events to a WebSocket or an event stream as JSON, until either side ends.

        A WebSocket is closed with 1013 when events were missed, and with 1001 when the server
        shuts down. An event stream ends.

        ws: a prepared WebSocket, from which nothing else may receive meanwhile; or a prepared
            event stream of aiohttp-sse.
        receive: awaited with each message of the page, decoded from JSON; a message that is not
            JSON closes the WebSocket with 1007. Without it messages are ignored.

        Raises RuntimeError for a response that is not prepared.
        """
        self._check_reader()
        if not ws.prepared:
            raise RuntimeError("send_to() requires a prepared response: await its prepare() first.")
        if isinstance(ws, web.WebSocketResponse):
            await self._send_to_websocket(ws, receive)
        else:
            await send_to_stream(ws, self._next)

    async def _send_to_websocket(
        self, ws: web.WebSocketResponse, receive: Callable[[Any], Awaitable[object]] | None
    ) -> None:
        sender = self._sender = SocketSender(ws, CAPACITY, self._fall_behind)
        events, self._events = self._events, None
        for data in events or ():
            sender.send(data)
        if self._is_ended:
            self._close_socket(sender)
        try:
            async for message in ws:
                if receive is not None and not await self._pass_on(ws, message.data, receive):
                    break
        except ConnectionResetError:
            pass  # the client disconnected while it was answered
        finally:
            self._sender = None
            await sender.finish()

    async def _pass_on(
        self, ws: web.WebSocketResponse, data: Any, receive: Callable[[Any], Awaitable[object]]
    ) -> bool:
        try:
            content = json.loads(data)
        except (ValueError, TypeError):
            await ws.close(code=WSCloseCode.INVALID_TEXT, message=b"not JSON")
            return False
        await receive(content)
        return True

    # --- For the hub, as a `hub.Reader` ----------------------------------------------------

    def take(self, channel: str, data: bytes) -> None:
        if channel not in self._channels:
            return  # the reader has left the channel meanwhile
        if self._sender is not None:
            self._sender.send(data)
            return
        if self._events is None:
            self._events = deque()
        if len(self._events) >= CAPACITY:
            self._fall_behind()
            return
        self._events.append(data)
        self._wake()

    def miss(self, reason: str) -> None:
        if self.missed is None and not self._is_ended:
            self.missed = reason
            self._leave_all()

    def end(self) -> None:
        if self._is_ended:
            return
        self._is_ended = True
        self._leave_all()
        if self._sender is not None:
            self._close_socket(self._sender)
        self._wake()

    def _leave_all(self) -> None:
        channels, self._channels = self._channels, {}
        if self._hub is not None:
            for channel in channels:
                self._hub.remove(self, channel)

    def _fall_behind(self) -> None:
        self.miss("the reader was too slow")
        self._events = None
        self.end()

    def _close_socket(self, sender: SocketSender) -> None:
        if self.missed is None:
            sender.close(WSCloseCode.GOING_AWAY, "the server shuts down")
        else:
            sender.close(WSCloseCode.TRY_AGAIN_LATER, self.missed)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _check_reader(self) -> None:
        self._entered()
        if self._sender is not None or self._waiter is not None:
            raise RuntimeError("A subscription has one reader: call subscribe() for another.")

    def _entered(self) -> Hub:
        if self._hub is None:
            raise RuntimeError("Enter a subscription by `async with subscribe(…) as events:`.")
        return self._hub
