"""`publish()` and `apublish()`."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import connections, transaction
from django.db.transaction import TransactionManagementError

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

    Raises TypeError and ValueError for a channel or an event that cannot be sent, and
    TransactionManagementError where the autocommit of a database was switched off.
    """
    message = encode(channel, event)
    if now or is_on_loop():
        process.send(message)
        return
    aliases = _databases_in_transaction()
    is_sent = process.send_in_transaction(message, aliases)
    step = process.deliver if is_sent else process.send
    if aliases:
        process.note_waiting(AfterCommit(step, message, aliases))
    else:
        step(message)


async def apublish(channel: str, event: Any) -> None:
    """Send an event to all subscribers of a channel, in whatever process they are; at once.

    For coroutines. Waits only while many events wait for a broker that is slow. The parameters and
    errors are those of `publish()`.
    """
    await process.asend(encode(channel, event))


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


def _databases_in_transaction() -> list[str]:
    """The databases that have an open transaction in this thread.

    Raises TransactionManagementError for one without autocommit: there is no telling its commit.
    """
    aliases = []
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block:
            aliases.append(connection.alias)
        elif connection.connection is not None and not connection.autocommit:
            raise TransactionManagementError(
                f"publish() cannot wait for the commit on the database {connection.alias!r}, whose "
                "autocommit is off: publish with now=True after the commit, or use "
                "transaction.atomic()."
            )
    return aliases


class AfterCommit:
    """What happens to a message once all transactions that are open have been committed."""

    def __init__(
        self, step: Callable[[Message], None], message: Message, aliases: list[str]
    ) -> None:
        self.message = message
        self._step = step
        self._left = len(aliases)
        self._connections = [connections[alias] for alias in aliases]
        for alias in aliases:
            transaction.on_commit(self, using=alias)

    @property
    def is_waiting(self) -> bool:
        """Whether no transaction was rolled back, and not all were committed; in any thread."""
        hooks = (entry[1] for each in self._connections for entry in each.run_on_commit)
        return self._left > 0 and sum(hook is self for hook in hooks) == self._left

    def __call__(self) -> None:
        """Count the commit of a transaction."""
        self._left -= 1
        if not self._left:
            self._step(self.message)
