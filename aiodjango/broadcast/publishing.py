"""`publish()` and `apublish()`."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import connections, transaction

from . import process
from .backend import Message

# The longest name of a channel, in characters.
MAX_NAME = 200


def publish(channel: str, event: Any, *, now: bool = False) -> None:
    """Send an event to all subscribers of a channel, in whatever process they are.

    For synchronous code: views, signals, commands, tasks. Inside a transaction the event is sent
    when the transaction is committed, and not at all when it is rolled back. Never waits for the
    broker.

    channel: text of up to 200 characters.
    event: what `json.dumps()` with Django's `DjangoJSONEncoder` can encode.
    now: send it at once, even inside a transaction.

    Raises TypeError and ValueError for a channel or an event that cannot be sent.
    """
    message = encode(channel, event)
    if now:
        process.send(message)
    elif not is_on_loop() and process.send_in_transaction(message):
        AfterCommit(process.deliver, message)()
    else:
        AfterCommit(process.send, message)()


async def apublish(channel: str, event: Any) -> None:
    """Send an event to all subscribers of a channel, in whatever process they are; at once.

    For coroutines. Waits only while many events wait for a broker that is slow. The parameters and
    errors are those of `publish()`.
    """
    message = encode(channel, event)
    await process.has_room()
    process.send(message)


def encode(channel: str, event: Any) -> Message:
    """Check a channel and encode an event. Raises TypeError and ValueError."""
    check_channel(channel)
    data = json.dumps(event, cls=DjangoJSONEncoder, ensure_ascii=False, allow_nan=False)
    message = Message(channel, data.encode())
    process.check_message(message)
    return message


def check_channel(channel: str) -> None:
    if not isinstance(channel, str):
        raise TypeError(f"The name of a channel must be a string, not {channel!r}.")
    if not channel or len(channel) > MAX_NAME or not channel.isprintable():
        raise ValueError(
            f"The name of a channel must have 1 to {MAX_NAME} printable characters: {channel!r}."
        )


def is_on_loop() -> bool:
    """Whether this thread runs an event loop now."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class AfterCommit:
    """What happens to a message once the open transactions of this thread are committed."""

    def __init__(self, step: Callable[[Message], None], message: Message) -> None:
        self._step = step
        self._open = [
            connection.alias
            for connection in connections.all(initialized_only=True)
            if connection.in_atomic_block
        ]
        self.message = message
        self.is_done = False

    def __call__(self) -> None:
        """Wait for the next commit; take the step after the last."""
        if self._open:
            transaction.on_commit(self, using=self._open.pop())
        else:
            self.is_done = True
            self._step(self.message)
