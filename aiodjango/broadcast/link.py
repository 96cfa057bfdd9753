"""The connection on which a hub receives from the broker, and its subscriptions there."""

import asyncio
import contextvars
import logging
import random
from collections.abc import Callable, Container
from itertools import islice

from .backend import Backend, BrokerUnavailable, Message
from .outbox import RETRY, end_tasks

logger = logging.getLogger("aiodjango.broadcast")

# How long the broker may take to confirm subscriptions, in seconds, …
TIMEOUT = 5.0
# … and how many channels one request to it names.
BATCH = 500


class Link:
    """Keeps the subscriptions at the broker equal to those of the hub; on an event loop.

    channels: those with subscribers; `change` is called for each that is added or removed.
    receive: called with each message of another process.
    resume: called when the broker is available again.

    It connects at the first channel, and reconnects without end.
    """

    def __init__(
        self,
        backend: Backend,
        channels: Container[str],
        receive: Callable[[Message], None],
        resume: Callable[[], None],
    ) -> None:
        self._backend = backend
        self._channels = channels
        self.receive = receive
        self._resume = resume
        self._task: asyncio.Task[None] | None = None
        self._both: list[asyncio.Task[None]] = []
        self._is_away = False
        self._opened = asyncio.Event()
        # Channels, in order, to subscribe to or to unsubscribe from.
        self._changed: dict[str, None] = {}
        self._has_changed = asyncio.Event()
        # Channels that were subscribed to, and those of them that the broker has confirmed.
        self._asked: set[str] = set()
        self._confirmed: set[str] = set()
        self._is_confirmed = asyncio.Event()
        self._waiters: dict[str, asyncio.Future[None]] = {}

    def change(self, channel: str) -> None:
        """Note that a channel has got its first subscriber, or has lost its last one."""
        self._changed[channel] = None
        self._has_changed.set()
        if channel not in self._channels:
            self._wake(channel)
        elif self._task is None:
            # In an empty context: the task would keep that of a request alive.
            self._task = asyncio.get_running_loop().create_task(
                self._run(), context=contextvars.Context()
            )

    async def delivers(self, channel: str) -> None:
        """Wait until the broker delivers a channel, or is unavailable."""
        if self._is_away or channel in self._confirmed or channel not in self._channels:
            return
        waiter = self._waiters.get(channel)
        if waiter is None:
            waiter = self._waiters[channel] = asyncio.get_running_loop().create_future()
        await asyncio.shield(waiter)  # others may wait for it too

    async def close(self) -> None:
        if self._task is not None:
            await end_tasks(self._task, *self._both)

    # --- For the back end ------------------------------------------------------------------

    def confirm(self, channel: str) -> None:
        """Note that the broker delivers a channel, or, for "", that it accepts subscriptions."""
        if not channel:
            if self._is_away:
                self._is_away = False
                logger.warning("Events of other processes are received again.")
                self._resume()
            self._opened.set()
        elif channel in self._asked:
            self._confirmed.add(channel)
            self._wake(channel)
            if len(self._confirmed) == len(self._asked):
                self._is_confirmed.set()

    # --- The connection --------------------------------------------------------------------

    async def _run(self) -> None:
        create_task = asyncio.get_running_loop().create_task
        while True:
            # Not a TaskGroup, which cancels its tasks only once: see end_tasks().
            both = self._both = [create_task(self._listen()), create_task(self._adjust())]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            await end_tasks(*both)
            errors = [task.exception() for task in both if not task.cancelled()]
            self._note_loss(next(filter(None, errors), BrokerUnavailable("cancelled")))
            await asyncio.sleep(RETRY * random.uniform(0.5, 1))  # spread over time

    async def _listen(self) -> None:
        await self._backend.listen(self)
        raise BrokerUnavailable("the connection was closed")

    def _note_loss(self, error: BaseException) -> None:
        if not self._is_away:
            self._is_away = True
            logger.warning(
                "The broker is unavailable: %s. Until it is available again, events reach only the "
                "subscribers in the process that publishes them.",
                error,
                exc_info=None if isinstance(error, BrokerUnavailable) else error,
            )
        self._opened.clear()
        self._changed.update(dict.fromkeys(self._asked))
        self._has_changed.set()
        self._asked.clear()
        self._confirmed.clear()
        for channel in list(self._waiters):
            self._wake(channel)

    async def _adjust(self) -> None:
        """Subscribe and unsubscribe; wait for confirmation before the next changes."""
        await self._opened.wait()
        while True:
            await self._has_changed.wait()
            changed = list(islice(self._changed, BATCH))
            for channel in changed:
                del self._changed[channel]
            if not self._changed:
                self._has_changed.clear()
            old = [c for c in changed if c in self._asked and c not in self._channels]
            new = [c for c in changed if c not in self._asked and c in self._channels]
            if old:
                self._asked.difference_update(old)
                self._confirmed.difference_update(old)
                await self._backend.unsubscribe(old)
            if new:
                self._asked.update(new)
                self._is_confirmed.clear()
                try:
                    async with asyncio.timeout(TIMEOUT):
                        await self._backend.subscribe(new)
                        await self._is_confirmed.wait()
                except TimeoutError:
                    raise BrokerUnavailable("subscriptions were not confirmed in time") from None

    def _wake(self, channel: str) -> None:
        waiter = self._waiters.pop(channel, None)
        if waiter is not None:
            waiter.set_result(None)
