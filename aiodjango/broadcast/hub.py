"""The hub of an event loop: its subscriptions, and the events that they are given."""

import asyncio
import contextvars
import logging
import random
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from aiohttp import web

from .backend import Backend, Message
from .link import Link
from .outbox import Outbox

if TYPE_CHECKING:
    from .subscription import Subscription

logger = logging.getLogger("aiodjango.broadcast")

# How many subscriptions are served before other tasks of the loop get a turn.
SLICE = 100
# How many messages may wait for their subscribers, …
BACKLOG = 10_000
# … and from how many on a coroutine that publishes more has to wait.
BUSY = 100
# Seconds within which subscriptions end that end for the same reason: pages do not return at once.
SPREAD = 1.0


class Hub:
    """All subscriptions of one event loop, by channel. Made on that loop.

    Of the public methods `call` may be used in any thread, the others on the loop.
    """

    def __init__(self, backend: Backend) -> None:
        self.loop = asyncio.get_running_loop()
        self.is_closing = False
        self.applications = 0  # that are running on this loop
        self.open_applications: set[web.Application] = set()  # those that do not shut down
        self._backend = backend
        self._outbox = Outbox(backend)
        self._subscriptions: dict[str, dict[Subscription, None]] = {}
        self._link = Link(backend, self._subscriptions, self.deliver, self._note_gap)
        self._deliveries: deque[tuple[Message, Iterator[Subscription]]] = deque()
        self._is_delivering = False
        self._progress = asyncio.Event()
        # What is asked for in other threads.
        self._lock = threading.Lock()
        self._calls: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._is_woken = False
        self._is_closed = False

    # --- In any thread ---------------------------------------------------------------------

    def call(self, function: Callable[..., object], *args: Any) -> bool:
        """Call a function on the loop, soon; one wake-up carries what many threads ask for.

        Returns whether it will be called: not when the hub or its loop has been closed.
        """
        with self._lock:
            if self._is_closed:
                return False
            if not self._is_woken:
                try:
                    # In an empty context: that of a request would stay alive with what is started.
                    self.loop.call_soon_threadsafe(self.perform, context=contextvars.Context())
                except RuntimeError:  # the loop is closed
                    return False
                self._is_woken = True
            self._calls.append((function, args))
            return True

    # --- Publishing ------------------------------------------------------------------------

    def perform(self) -> None:
        """Make the calls that were asked for."""
        with self._lock:
            calls, self._calls = self._calls, deque()
            self._is_woken = False
        for function, args in calls:
            function(*args)

    def post(self, message: Message) -> None:
        """Send a message to the other processes."""
        self._outbox.post(message)

    async def has_room(self) -> None:
        """Wait while the broker or the subscribers here are slow; others get a turn always."""
        await asyncio.sleep(0)
        while len(self._deliveries) > BUSY:
            self._progress.clear()
            await self._progress.wait()
        await self._outbox.has_room()

    # --- Delivering ------------------------------------------------------------------------

    def deliver(self, message: Message) -> None:
        """Give a message to its subscribers on this loop."""
        subscriptions = self._subscriptions.get(message.channel)
        if not subscriptions:
            return
        if len(self._deliveries) >= BACKLOG:
            self._deliveries.clear()
            self.end_all(self.open_subscriptions(), "too many events were published")
            return
        self._deliveries.append((message, iter(tuple(subscriptions))))
        if not self._is_delivering:
            self._is_delivering = True
            self._deliver_some()

    def _deliver_some(self) -> None:
        left = SLICE
        while self._deliveries:
            (channel, data), subscriptions = self._deliveries[0]
            for subscription in subscriptions:
                if data is None:
                    self._end_soon(subscription, "events were lost on the way to the broker")
                else:
                    subscription.take(channel, data)
                left -= 1
                if not left:
                    self.loop.call_soon(self._deliver_some)
                    return
            self._deliveries.popleft()
            self._progress.set()
        self._is_delivering = False

    # --- Subscriptions ---------------------------------------------------------------------

    def add(self, subscription: "Subscription", channel: str) -> None:
        subscriptions = self._subscriptions.get(channel)
        if subscriptions is not None:
            subscriptions[subscription] = None
            return
        self._subscriptions[channel] = {subscription: None}
        if self._backend.is_remote:
            self._link.change(channel)

    def remove(self, subscription: "Subscription", channel: str) -> None:
        subscriptions = self._subscriptions.get(channel)
        if subscriptions is None:
            return
        subscriptions.pop(subscription, None)
        if not subscriptions:
            del self._subscriptions[channel]
            if self._backend.is_remote:
                self._link.change(channel)

    async def is_subscribed(self, channel: str) -> None:
        """Wait until the broker delivers the messages of a channel, or is known to be away."""
        if self._backend.is_remote:
            await self._link.delivers(channel)

    def open_subscriptions(self) -> list["Subscription"]:
        found = {sub: None for subs in self._subscriptions.values() for sub in subs}
        return list(found)

    def end_all(self, subscriptions: Iterable["Subscription"], missed: str | None) -> None:
        """End subscriptions within SPREAD seconds; missed: why they miss events, if they do."""
        for subscription in subscriptions:
            self._end_soon(subscription, missed)

    def _end_soon(self, subscription: "Subscription", missed: str | None) -> None:
        if missed is not None:
            subscription.miss(missed)
        self.loop.call_later(random.uniform(0, SPREAD), subscription.end)

    def _note_gap(self) -> None:
        """The broker was away: who was told that it listens has missed events."""
        listening = [sub for sub in self.open_subscriptions() if sub.is_listening]
        self.end_all(listening, "the connection to the broker was interrupted")

    # --- The end ---------------------------------------------------------------------------

    def end_subscriptions(self) -> None:
        """The server shuts down: end what is open now, and at once what comes later."""
        self.is_closing = True
        self.end_all(self.open_subscriptions(), None)

    def retire(self) -> None:
        """Close without waiting; for a hub that another replaces."""
        self._retiring = self.loop.create_task(self.close(0.0))

    async def close(self, patience: float) -> int:
        """End all subscriptions, send what waits, and close the connections.

        patience: how long sending may take, in seconds.

        Returns how many messages were not sent.
        """
        self.is_closing = True
        with self._lock:
            self._is_closed = True
        self.perform()
        for subscription in self.open_subscriptions():
            subscription.end()
        try:
            async with asyncio.timeout(patience):
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
