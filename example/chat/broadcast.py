"""Tell every open connection that listens to a channel what has happened.

This one reaches the connections of its own process. A site with several worker processes needs
the same two methods, `publish` and `subscribe`, on top of something they share, such as Redis.
"""

import asyncio
from collections import defaultdict
from types import TracebackType
from typing import Self

# How many events a connection may be behind. One that is slower is let go: it comes back, and
# catches up from the history.
BACKLOG = 100


class Subscription:
    """The events of one channel, for one reader, from the moment `async with` is entered.

    The iteration ends when the reader is too slow or when the server shuts down.
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

    async def publish(self, channel: str, event: str) -> None:
        for subscription in tuple(self._channels[channel]):
            subscription.offer(event)

    def subscribe(self, channel: str) -> Subscription:
        return Subscription(self._channels[channel], self._backlog)

    def close(self) -> None:
        """End every subscription, for a server that shuts down."""
        for subscribers in self._channels.values():
            for subscription in tuple(subscribers):
                subscription.end()


broadcast = Broadcast()
