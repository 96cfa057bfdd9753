"""What a process sends to the broker, in order and bounded."""

import asyncio
import logging
import random
from collections import deque
from itertools import islice

from .backend import Backend, BrokerUnavailable, Message

logger = logging.getLogger("aiodjango.broadcast")

# How many messages may wait for the broker …
LIMIT = 1000
# … and how many are sent at once.
BATCH = 100
# Seconds until the next attempt, at most, while the broker is away.
RETRY = 1.0


class Outbox:
    """Messages on their way to the broker; on an event loop.

    A message that the broker may not have received is never sent again: it could arrive twice.
    Instead the subscribers of its channel are told, once the broker is back, that they missed
    events; so are those of channels for which there was no room.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._queue: deque[Message] = deque()
        self._lost: dict[str, None] = {}  # channels, in order
        self._is_away = False
        self._task: asyncio.Task[None] | None = None
        self._progress = asyncio.Event()  # set whenever something was sent, or could not be

    @property
    def waiting(self) -> int:
        """Messages, and channels to be told of a loss, that have not been sent."""
        return len(self._queue) + len(self._lost)

    def post(self, message: Message) -> None:
        """Send a message as soon as possible."""
        if self._is_away or len(self._queue) >= LIMIT:
            self._lost[message.channel] = None
        else:
            self._queue.append(message)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._send())

    async def has_room(self) -> None:
        """Wait until a message could be sent without a loss, or the broker is away."""
        while len(self._queue) >= LIMIT and not self._is_away:
            await self._next_progress()

    async def flush(self) -> None:
        """Wait until everything was sent."""
        while self.waiting and self._task is not None and not self._task.done():
            await self._next_progress()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _next_progress(self) -> None:
        self._progress.clear()
        await self._progress.wait()

    async def _send(self) -> None:
        while self._queue or self._lost:
            # Subscribers learn of a loss before they get what came after it.
            losses = [Message(channel, None) for channel in islice(self._lost, BATCH)]
            batch = losses or list(islice(self._queue, BATCH))
            try:
                await self._backend.send(batch)
            except BrokerUnavailable as error:
                self._lose(error)
                self._progress.set()
                await asyncio.sleep(RETRY * random.uniform(0.5, 1))  # not all at the same time
                continue
            if losses:
                for message in losses:
                    del self._lost[message.channel]
            else:
                for _ in batch:
                    self._queue.popleft()
            if self._is_away:
                self._is_away = False
                logger.warning("Events are sent to the broker again.")
            self._progress.set()

    def _lose(self, error: Exception) -> None:
        if not self._is_away:
            self._is_away = True
            logger.warning(
                "Events cannot be sent to the broker: %s. Until they can, only the subscribers of "
                "this process receive them; the others will be told that they missed some.",
                error,
            )
        self._lost.update(dict.fromkeys(message.channel for message in self._queue))
        self._queue.clear()
