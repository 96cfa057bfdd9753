"""Messages that a process sends to the broker, in order and within limits."""

import asyncio
import logging
import random
from collections import deque
from itertools import islice
from typing import Any

from .backend import Backend, BrokerUnavailable, Message

logger = logging.getLogger("aiodjango.broadcast")

# How many messages may wait for the broker, and how many bytes …
LIMIT = 10_000
SIZE_LIMIT = 16 * 1024 * 1024
# … how many are sent at once, …
BATCH = 100
# … and of how many channels a loss is remembered.
LOST_LIMIT = 100_000
# The longest time until the next attempt while the broker is unavailable, in seconds.
RETRY = 1.0
# The time after which tasks that continue are cancelled again, in seconds.
CANCEL_INTERVAL = 1.0


class Outbox:
    """Messages that wait for the broker; on an event loop.

    A message whose sending failed is not sent again, because it could arrive twice. Instead the
    subscribers of its channel learn, when the broker is available again, that they missed events;
    so do those of channels for which there was no room.
    """

    def __init__(self, backend: Backend) -> None:
        # The number of messages that were sent or lost.
        self.done = 0
        self._backend = backend
        self._queue: deque[Message] = deque()
        self._size = 0  # of the messages in the queue, in bytes
        self._lost: dict[str, None] = {}  # channels with lost messages, in order
        self._in_flight: list[Message] = []
        self._has_lost_more = False
        self._is_away = False
        self._task: asyncio.Task[None] | None = None
        self._progress = asyncio.Event()  # after each attempt to send

    @property
    def waiting(self) -> int:
        """The number of messages, those about losses included, that have not been sent."""
        return len(self._queue) + len(self._lost) + len(self._in_flight)

    def post(self, message: Message) -> None:
        """Send a message as soon as possible."""
        if self._is_away or self._is_full:
            self._note_lost(message.channel)
            self.done += 1
        else:
            self._queue.append(message)
            self._size += len(message.data or b"")
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._send())

    async def has_room(self) -> None:
        """Wait until a message can be sent without a loss, or the broker is unavailable."""
        while self._is_full and not self._is_away:
            await self._next_progress()

    @property
    def _is_full(self) -> bool:
        return len(self._queue) >= LIMIT or self._size >= SIZE_LIMIT

    async def flush(self) -> None:
        """Wait until all messages have been sent."""
        while self.waiting and self._task is not None and not self._task.done():
            await self._next_progress()

    async def close(self) -> None:
        if self._task is not None:
            await end_tasks(self._task)

    async def _next_progress(self) -> None:
        self._progress.clear()
        await self._progress.wait()

    async def _send(self) -> None:
        while self.waiting:
            self._in_flight = self._next_batch()
            try:
                await self._backend.send(self._in_flight)
            except Exception as error:
                self._lose(error)
                self._progress.set()
                await asyncio.sleep(RETRY * random.uniform(0.5, 1))  # spread over time
                continue
            self._forget(self._in_flight)
            if self._is_away:
                self._is_away = self._has_lost_more = False
                logger.warning("Events are sent to the broker again.")
            self._progress.set()

    def _next_batch(self) -> list[Message]:
        # Subscribers learn of a loss before they receive later messages.
        if losses := list(islice(self._lost, BATCH)):
            for channel in losses:
                del self._lost[channel]
            return [Message(channel, None) for channel in losses]
        batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
        self._size -= sum(len(message.data or b"") for message in batch)
        return batch

    def _lose(self, error: Exception) -> None:
        if not self._is_away:
            self._is_away = True
            logger.warning(
                "Events cannot be sent to the broker: %s. Until it is available again, only the "
                "subscribers in this process receive them; the others will learn that they missed "
                "events.",
                error,
                exc_info=None if isinstance(error, BrokerUnavailable) else error,
            )
        lost = [*self._in_flight, *self._queue]
        for message in lost:
            self._note_lost(message.channel)
        self._queue.clear()
        self._forget(lost)
        self._size = 0

    def _forget(self, messages: list[Message]) -> None:
        """Count messages as done; those about losses were never posted."""
        self._in_flight = []
        self.done += sum(message.data is not None for message in messages)

    def _note_lost(self, channel: str) -> None:
        if len(self._lost) < LOST_LIMIT:
            self._lost[channel] = None
        elif channel not in self._lost and not self._has_lost_more:
            self._has_lost_more = True
            logger.error(
                "Events for more than %d channels could not be sent: some of their subscribers "
                "will not learn that they missed events.",
                LOST_LIMIT,
            )


async def end_tasks(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel tasks that run the client of a broker, and wait until they have ended.

    One cancel() may be lost: until Python 3.12 `asyncio.wait_for()`, which these clients use,
    returns a result that arrives at the same moment instead.
    """
    while running := [task for task in tasks if not task.done()]:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=CANCEL_INTERVAL)
