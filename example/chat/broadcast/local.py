"""Broadcast within one process."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

# How many events a connection may be behind. One that is slower is let go: it comes back, and
# catches up from the history.
BACKLOG = 100


class Subscription:
    """The events of one channel, for one reader, from the moment `async with` is entered.

    The iteration ends when events are missing, since the reader is too slow or the way from the
    other processes was interrupted, and when the server shuts down.
    """

    def __init__(self, subscribers: set["Subscription"], backlog: int) -> None:
        self._subscribers = subscribers
        self._events: asyncio.Queue[str | None] = asyncio.Queue(backlog)

    async def __aenter__(self) -> Self:
        self._subscribers.add(self)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._subscribers.discard(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        event = await self._events.get()
        if event is None:
            self.end()  # whoever asks again gets the same answer
            raise StopAsyncIteration
        return event

    def offer(self, event: str) -> None:
        """Take an event without ever waiting: a slow reader must not hold up the others."""
        if self._events.full():
            self.end()
        else:
            self._events.put_nowait(event)

    def end(self) -> None:
        self._subscribers.discard(self)
        while not self._events.empty():
            self._events.get_nowait()
        self._events.put_nowait(None)


class Broadcast:
    """Channels by name. Events are text, encoded once however many connections get them."""

    def __init__(self, backlog: int = BACKLOG) -> None:
        self._backlog = backlog
        self._channels: defaultdict[str, set[Subscription]] = defaultdict(set)
        self.closed = False

    async def publish(self, channel: str, event: str) -> None:
        """Tell all listeners of the channel, in whatever process they are."""
        self.publish_here(channel, event)

    def publish_here(self, channel: str, event: str) -> None:
        """Tell the listeners in this process."""
        for subscription in tuple(self._channels[channel]):
            subscription.offer(event)

    def subscribe(self, channel: str) -> Subscription:
        subscription = Subscription(self._channels[channel], self._backlog)
        if self.closed:
            subscription.end()
        return subscription

    def interrupt(self) -> None:
        """End every subscription, as events are missing. Who listens has to begin again."""
        for subscribers in self._channels.values():
            for subscription in tuple(subscribers):
                subscription.end()

    def close(self) -> None:
        """The server shuts down: end every subscription, and at once what comes later."""
        self.closed = True
        self.interrupt()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """What has to go on while the server runs: in a single process, nothing."""
        self.closed = False
        yield
