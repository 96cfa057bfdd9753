"""Broadcast among all processes of a site, by Redis pub/sub."""

import asyncio
import logging
import random
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from .local import BACKLOG, Broadcast

logger = logging.getLogger(__name__)

PREFIX = "chat:"  # in Redis, pub/sub is the same for all databases: sites need names of their own
GAP = ""  # the channel that says: some events never reached you
OUTBOX = 1000  # events kept for the others while Redis is away
TIMEOUT = 5  # seconds that Redis may take to answer
QUIET = 15  # seconds without a word from Redis until it's asked whether it is there
RETRY = 1  # seconds until the next attempt, at most


class RedisBroadcast(Broadcast):
    """Reaches the listeners of this process directly, and all others through Redis.

    Every process hears all channels and picks those that it has listeners for. Redis stores
    nothing: what is said while a process doesn't hear Redis passes it by. So whenever it hears
    Redis (again), all its subscriptions end, as that of a reader does who was too slow. Browsers
    come back, and find what they missed in the database. Until then each process goes on alone.
    """

    def __init__(self, url: str, backlog: int = BACKLOG) -> None:
        super().__init__(backlog)
        self._redis = Redis.from_url(
            url,
            decode_responses=True,
            socket_timeout=TIMEOUT,
            socket_connect_timeout=TIMEOUT,
            retry=Retry(NoBackoff(), 0),  # we try again ourselves
        )
        self._outbox: asyncio.Queue[tuple[str, str] | None] = asyncio.Queue(OUTBOX)

    async def publish(self, channel: str, event: str) -> None:
        """Never waits for Redis: views should not feel that it is slow or away."""
        self.publish_here(channel, event)
        self._post((channel, event))

    def _post(self, letter: tuple[str, str] | None) -> None:
        if self._outbox.full():
            # Too much to make up for. The others shall look into the database instead.
            while not self._outbox.empty():
                self._outbox.get_nowait()
            self._outbox.put_nowait((GAP, ""))
        self._outbox.put_nowait(letter)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self.closed = False
        # Named now, and not at the import: workers may be forks of a process that has imported all.
        name = uuid.uuid4().hex
        sending = asyncio.create_task(self._send(name))
        listening = asyncio.create_task(self._listen(name))
        try:
            yield
        finally:
            self._post(None)
            await asyncio.wait([sending], timeout=TIMEOUT)
            for task in sending, listening:
                task.cancel()
            await asyncio.wait([sending, listening])
            await self._redis.aclose()

    async def _send(self, name: str) -> None:
        """Pass on what is in the outbox, in order, to the last."""
        while (letter := await self._outbox.get()) is not None:
            channel, event = letter
            while True:
                try:
                    await self._redis.publish(f"{PREFIX}{channel}", f"{name} {event}")
                    break
                except (RedisError, OSError):  # `_listen` has logged it
                    await asyncio.sleep(RETRY)

    async def _listen(self, name: str) -> None:
        """Hear the others, as long as the server runs."""
        away = False
        while True:
            try:
                async with aclosing(self._hear()) as letters:
                    async for channel, sender, event in letters:
                        if away:
                            logger.warning("Redis is back.")
                            away = False
                        if channel == GAP:
                            self.interrupt()
                        elif sender != name:
                            self.publish_here(channel, event)
                        # There may be many at once: those who listen here get their turn.
                        await asyncio.sleep(0)
            except (RedisError, OSError) as error:
                if not away:
                    logger.warning("Redis is away, each process goes on alone: %s", error)
                    away = True
            # Not all at the same time.
            await asyncio.sleep(RETRY * random.uniform(0.5, 1))

    async def _hear(self) -> AsyncGenerator[tuple[str, str, str]]:
        """What Redis has to say: channel, sender and event. A new connection begins with a gap."""
        async with self._redis.pubsub() as pubsub:
            await pubsub.psubscribe(f"{PREFIX}*")
            asked = False
            while True:
                message = await pubsub.get_message(timeout=QUIET)
                if message is None:
                    if asked:
                        raise TimeoutError("it does not answer")
                    await pubsub.ping()
                elif message["type"] == "psubscribe":
                    yield GAP, "", ""
                elif message["type"] == "pmessage":
                    sender, _, event = message["data"].partition(" ")
                    yield message["channel"].removeprefix(PREFIX), sender, event
                asked = message is None
