"""`publish()` and `apublish()`."""

import asyncio
import json
from collections.abc import Callable
from typing import Any, Protocol

from django.core.serializers.json import DjangoJSONEncoder
from django.db import connections, transaction
from django.db.transaction import TransactionManagementError

from . import process
from .backend import Message

# The maximum length of a channel's name, in characters.
MAX_NAME = 200


class Capture(Protocol):
    """A test's record of what is published, instead of its delivery."""

    def record(self, message: Message) -> None: ...

    def wait_for(self, step: "AfterCommit") -> None: ...


captures: list[Capture] = []


def publish(channel: str, event: Any, *, now: bool = False) -> None:
    """Send an event to all subscribers of a channel, in all processes.

    For synchronous code: views, signals, commands, tasks. Inside a transaction the event is sent
    when the transaction is committed, and not at all when it is rolled back. Never waits for the
    broker.

    channel: text of up to 200 characters.
    event: what `json.dumps()` with Django's `DjangoJSONEncoder` can encode.
    now: send it at once, even inside a transaction.

    Raises TypeError and ValueError for an invalid channel or event, and
    TransactionManagementError where the autocommit of a database is off.
    """
    message = encode(channel, event)
    if now or _is_on_loop():
        _send(message)
        return
    aliases = _databases_in_transaction()
    # On a connection of its own the event would overtake earlier ones that are still being sent.
    can_be_sent = not captures and not process.is_sending()
    is_sent = can_be_sent and process.shared_backend().send_in_transaction(message, aliases)
    step = process.deliver if is_sent else _send
    if aliases:
        waiting = AfterCommit(step, message, aliases)
        for capture in captures:
            capture.wait_for(waiting)
    else:
        step(message)


async def apublish(channel: str, event: Any) -> None:
    """Send an event to all subscribers of a channel, in all processes, at once.

    For coroutines. Waits only while many events wait for a slow broker. The parameters and errors
    are those of `publish()`.
    """
    message = encode(channel, event)
    if captures:
        _send(message)
    else:
        await process.asend(message)


def _send(message: Message) -> None:
    for capture in captures:
        capture.record(message)
    if not captures:
        process.send(message)


def encode(channel: str, event: Any) -> Message:
    """Return a message. Raises TypeError and ValueError for an invalid channel or event."""
    check_channel(channel)
    data = json.dumps(event, cls=DjangoJSONEncoder, ensure_ascii=False, allow_nan=False)
    message = Message(channel, data.encode())
    process.shared_backend().check_message(message)
    return message


def check_channel(channel: str) -> None:
    """Raise TypeError or ValueError for an invalid name of a channel."""
    if not isinstance(channel, str):
        raise TypeError(f"The name of a channel must be a string, not {channel!r}.")
    if not channel or len(channel) > MAX_NAME or not channel.isprintable():
        raise ValueError(
            f"The name of a channel must have 1 to {MAX_NAME} printable characters: {channel!r}."
        )


def _is_on_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _databases_in_transaction() -> list[str]:
    """Return the databases with an open transaction in this thread.

    Raises TransactionManagementError for one without autocommit, whose commit cannot be noticed.
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
    """Calls a function with a message when all open transactions have been committed."""

    def __init__(
        self, step: Callable[[Message], None], message: Message, aliases: list[str]
    ) -> None:
        self.message = message
        self._step = step
        self._open = len(aliases)
        self._connections = [connections[alias] for alias in aliases]
        for alias in aliases:
            transaction.on_commit(self, using=alias)

    @property
    def is_waiting(self) -> bool:
        """Whether a transaction is still open and none was rolled back. For any thread."""
        hooks = (entry[1] for each in self._connections for entry in each.run_on_commit)
        return self._open > 0 and sum(hook is self for hook in hooks) == self._open

    def __call__(self) -> None:
        """Count the commit of a transaction."""
        self._open -= 1
        if not self._open:
            self._step(self.message)
