"""The hub of an event loop: delivers events to the subscriptions of the loop."""

import asyncio
import contextvars
import logging
import random
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from aiohttp import web

from aiodjango.runtime.loopcalls import LoopCalls
from aiodjango.runtime.open_connections import SPREAD

from .backend import Backend, Message
from .link import Link
from .outbox import Outbox

logger = logging.getLogger("aiodjango.broadcast")

# How many subscriptions receive an event before other tasks of the loop run.
SLICE = 100
# How many messages may wait for their subscribers, …
BACKLOG = 10_000
# … and the number from which a coroutine that publishes more has to wait.
BUSY = 100


class Reader(Protocol):
    """A subscription, as the hub uses it."""

    is_listening: bool

    def take(self, channel: str, data: bytes) -> None:
        """Receive an event, without waiting."""

    def miss(self, reason: str) -> None:
        """Receive nothing more, because events are missing; `end` follows."""

    def end(self) -> None:
        """Tell the reader that no further events follow."""


class Hub:
    """All subscriptions of one event loop, by channel. Made on that loop.

    `call`, `send` and `is_sending` are for any thread, the other public methods for the loop.
    """

    def __init__(self, backend: Backend) -> None:
        self.loop = asyncio.get_running_loop()
        self.is_closing = False
        # The applications that run on this loop, and those of them that are not shutting down.
        self.applications: set[web.Application] = set()
        self.open_applications: set[web.Application] = set()
        self._backend = backend
        self._outbox = Outbox(backend)
        self._readers: dict[str, dict[Reader, None]] = {}
        self._link = Link(backend, self._readers, self.deliver, self._end_after_gap)
        self._deliveries: deque[tuple[Message, Iterator[Reader]]] = deque()
        self._is_delivering = False
        self._progress = asyncio.Event()
        self._calls = LoopCalls()
        self._lock = threading.Lock()
        self._sent = 0  # messages, from any thread
        self._is_closed = False  # to calls of other threads

    # --- In any thread ---------------------------------------------------------------------

    def call(self, function: Callable[..., object], *args: Any) -> bool:
        """Call a function on the loop, soon.

        Returns whether it will be called: not when the hub or its loop has been closed.
        """
        with self._lock:
            if self._is_closed:
                return False
            self._calls.add(function, *args)
            # In an empty context: tasks that are started would keep that of a request alive.
            return self._calls.wake(self.loop, contextvars.Context())

    def send(self, message: Message) -> bool:
        """Send a message to the other processes, soon; returns what `call` returns."""
        with self._lock:
            self._sent += 1
        return self.call(self._outbox.post, message)

    def is_sending(self) -> bool:
        """Whether messages are still on their way to the broker."""
        return not self._is_closed and self._outbox.done < self._sent

    # --- Publishing ------------------------------------------------------------------------

    def perform(self) -> None:
        """Make the calls of other threads now."""
        self._calls.make()

    async def has_room(self) -> None:
        """Let other tasks run, and wait while the broker or the subscribers here are slow."""
        await asyncio.sleep(0)
        while len(self._deliveries) > BUSY:
            self._progress.clear()
            await self._progress.wait()
        await self._outbox.has_room()

    # --- Delivering ------------------------------------------------------------------------

    def deliver(self, message: Message) -> None:
        """Deliver a message to its subscribers on this loop."""
        readers = self._readers.get(message.channel)
        if not readers:
            return
        if len(self._deliveries) >= BACKLOG:
            self._deliveries.clear()
            self._end_all(self.open_subscriptions(), "too many events were published")
            return
        self._deliveries.append((message, iter(tuple(readers))))
        if not self._is_delivering:
            self._is_delivering = True
            self._deliver_slice()

    def _deliver_slice(self) -> None:
        left = SLICE
        while self._deliveries:
            (channel, data), readers = self._deliveries[0]
            for reader in readers:
                if data is None:
                    self._end_soon(reader, "events were lost on the way to the broker")
                else:
                    reader.take(channel, data)
                left -= 1
                if not left:
                    self.loop.call_soon(self._deliver_slice)
                    return
            self._deliveries.popleft()
            self._progress.set()
        self._is_delivering = False

    # --- Subscriptions ---------------------------------------------------------------------

    def add(self, reader: Reader, channel: str) -> None:
        readers = self._readers.setdefault(channel, {})
        if not readers and self._backend.is_remote:
            self._link.change(channel)
        readers[reader] = None

    def remove(self, reader: Reader, channel: str) -> None:
        readers = self._readers.get(channel)
        if readers is None:
            return
        readers.pop(reader, None)
        if not readers:
            del self._readers[channel]
            if self._backend.is_remote:
                self._link.change(channel)

    async def is_subscribed(self, channel: str) -> None:
        """Wait until the broker delivers the messages of a channel, or is unavailable."""
        if self._backend.is_remote:
            await self._link.delivers(channel)

    def open_subscriptions(self) -> list[Reader]:
        return list({reader: None for readers in self._readers.values() for reader in readers})

    def _end_all(self, readers: Iterable[Reader], missed: str | None) -> None:
        for reader in readers:
            self._end_soon(reader, missed)

    def _end_soon(self, reader: Reader, missed: str | None) -> None:
        """End a subscription within SPREAD seconds; missed: why events are missing, if they are."""
        if missed is not None:
            reader.miss(missed)
        self.loop.call_later(random.uniform(0, SPREAD), reader.end)

    def _end_after_gap(self) -> None:
        """End the subscriptions that were listening while the broker was unavailable."""
        listening = [reader for reader in self.open_subscriptions() if reader.is_listening]
        self._end_all(listening, "the connection to the broker was interrupted")

    # --- The end ---------------------------------------------------------------------------

    def end_subscriptions(self) -> None:
        """The server shuts down: end open subscriptions soon, and new ones at once."""
        self.is_closing = True
        self._end_all(self.open_subscriptions(), None)

    def retire(self) -> None:
        """Close without waiting, because another hub replaces this one."""
        self._retiring = self.loop.create_task(self.close(0.0))

    async def close(self, flush_timeout: float) -> int:
        """End all subscriptions, send what waits, and close the connections.

        flush_timeout: how long sending may take, in seconds.

        Returns the number of messages that were not sent.
        """
        self.is_closing = True
        with self._lock:
            self._is_closed = True
        self.perform()
        for reader in self.open_subscriptions():
            reader.end()
        try:
            async with asyncio.timeout(flush_timeout):
                await self._outbox.flush()
        except TimeoutError:
            pass
        unsent = self._outbox.waiting
        if unsent:
            logger.error("Events were not sent: the broker is unavailable.")
        await self._outbox.close()
        await self._link.close()
        await self._backend.close()
        return unsent
