"""The hub of an event loop: its subscriptions, and the connection by which it hears the others."""

import asyncio
import contextvars
import logging
import random
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from .backend import Backend, BrokerUnavailable, Message
from .outbox import RETRY, Outbox

if TYPE_CHECKING:
    from .subscription import Subscription

logger = logging.getLogger("aiodjango.broadcast")

# How many subscriptions are served before other tasks of the loop get a turn.
SLICE = 100
# How many messages may wait for their subscribers.
BACKLOG = 10_000
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
        self._backend = backend
        self._outbox = Outbox(backend)
        self._subscriptions: dict[str, dict[Subscription, None]] = {}
        self._deliveries: deque[tuple[bytes | None, Iterator[Subscription]]] = deque()
        self._is_delivering = False
        # The connection to the broker.
        self._listening: asyncio.Task[None] | None = None
        self._is_away = False
        self._is_open = False
        self._changed = asyncio.Event()
        self._asked: set[str] = set()
        self._confirmed: set[str] = set()
        self._awaited: dict[str, asyncio.Future[None]] = {}
        # What other threads ask for.
        self._lock = threading.Lock()
        self._calls: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._is_woken = False

    # --- In any thread ---------------------------------------------------------------------

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function on the loop, soon; one wake-up carries what many threads ask for."""
        with self._lock:
            self._calls.append((function, args))
            if self._is_woken:
                return
            self._is_woken = True
        try:
            # In an empty context: that of a request would stay alive with what is started.
            self.loop.call_soon_threadsafe(self._perform, context=contextvars.Context())
        except RuntimeError:  # the loop is closed, and its subscriptions with it
            self._calls.clear()

    # --- Publishing ------------------------------------------------------------------------

    def _perform(self) -> None:
        with self._lock:
            calls, self._calls = self._calls, deque()
            self._is_woken = False
        for function, args in calls:
            function(*args)

    def post(self, message: Message) -> None:
        """Send a message to the other processes."""
        self._outbox.post(message)

    async def has_room(self) -> None:
        """Wait while the broker is slow."""
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
        self._deliveries.append((message.data, iter(tuple(subscriptions))))
        if not self._is_delivering:
            self._is_delivering = True
            self._deliver_some()

    def _deliver_some(self) -> None:
        left = SLICE
        while self._deliveries:
            data, subscriptions = self._deliveries[0]
            for subscription in subscriptions:
                if data is None:
                    self._end_soon(subscription, "events were lost on the way to the broker")
                else:
                    subscription.take(data)
                left -= 1
                if not left:
                    self.loop.call_soon(self._deliver_some)
                    return
            if self._deliveries:
                self._deliveries.popleft()
        self._is_delivering = False

    # --- Subscriptions ---------------------------------------------------------------------

    def add(self, subscription: "Subscription", channel: str) -> None:
        self._subscriptions.setdefault(channel, {})[subscription] = None
        if self._backend.is_remote:
            self._changed.set()
            if self._listening is None:
                self._listening = self.loop.create_task(
                    self._listen(), context=contextvars.Context()
                )

    def remove(self, subscription: "Subscription", channel: str) -> None:
        subscriptions = self._subscriptions.get(channel, {})
        subscriptions.pop(subscription, None)
        if not subscriptions:
            self._subscriptions.pop(channel, None)
            self._changed.set()

    async def is_subscribed(self, channel: str) -> None:
        """Wait until the broker delivers the messages of a channel, or is known to be away."""
        if self._backend.is_remote and not self._is_away and channel not in self._confirmed:
            future = self._awaited.get(channel)
            if future is None:
                future = self._awaited[channel] = self.loop.create_future()
            await asyncio.shield(future)

    def open_subscriptions(self) -> list["Subscription"]:
        found = {sub: None for subs in self._subscriptions.values() for sub in subs}
        return list(found)

    def end_all(self, subscriptions: Iterable["Subscription"], missed: str | None) -> None:
        """End subscriptions within SPREAD seconds; missed: why they miss events, if they do."""
        for subscription in subscriptions:
            self._end_soon(subscription, missed)

    def _end_soon(self, subscription: "Subscription", missed: str | None) -> None:
        self.loop.call_later(random.uniform(0, SPREAD), subscription.end, missed)

    # --- The broker ------------------------------------------------------------------------

    def confirm(self, channel: str) -> None:
        """The broker delivers this channel from now on; "": it takes subscriptions."""
        if not channel:
            self._is_open = True
            self._changed.set()
            return
        if self._is_away:
            self._is_away = False
            logger.warning("Events of other processes are received again.")
        self._confirmed.add(channel)
        for subscription in self._subscriptions.get(channel, ()):
            # One that was told it listens already has missed what came meanwhile.
            if not subscription.is_joining(channel):
                self._end_soon(subscription, "the connection to the broker was interrupted")
        future = self._awaited.pop(channel, None)
        if future is not None:
            future.set_result(None)

    def receive(self, message: Message) -> None:
        """A message of another process has arrived."""
        self.deliver(message)

    async def _listen(self) -> None:
        adjusting = self.loop.create_task(self._adjust())
        try:
            while True:
                try:
                    await self._backend.listen(self)
                except BrokerUnavailable as error:
                    self._note_loss(error)
                await asyncio.sleep(RETRY * random.uniform(0.5, 1))  # not all at the same time
        finally:
            adjusting.cancel()

    def _note_loss(self, error: Exception) -> None:
        if not self._is_away:
            self._is_away = True
            logger.warning(
                "The broker is unavailable: %s. Until it returns, events reach the subscribers of "
                "the process in which they are published.",
                error,
            )
        self._is_open = False
        self._asked.clear()
        self._confirmed.clear()
        for future in self._awaited.values():
            future.set_result(None)
        self._awaited.clear()

    async def _adjust(self) -> None:
        """Keep what the broker is asked for equal to what somebody here listens to."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if not self._is_open:
                continue
            new = self._subscriptions.keys() - self._asked
            old = self._asked - self._subscriptions.keys()
            self._asked |= new
            self._asked -= old
            self._confirmed -= old
            try:
                if old:
                    await self._backend.unsubscribe(sorted(old))
                if new:
                    await self._backend.subscribe(sorted(new))
            except BrokerUnavailable:
                pass  # listen() sees it too

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
        for subscription in self.open_subscriptions():
            subscription.end(None)
        try:
            async with asyncio.timeout(patience):
                await self._outbox.flush()
        except TimeoutError:
            pass
        unsent = self._outbox.waiting
        if unsent:
            logger.error("Events were not sent: the broker is unavailable.")
        await self._outbox.close()
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait([self._listening])
        await self._backend.close()
        return unsent
