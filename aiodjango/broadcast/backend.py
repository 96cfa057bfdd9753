"""The interface of a back end, and the setting AIO_BROADCAST."""

import inspect
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from aiodjango.conf import broadcast_setting


class Message(NamedTuple):
    """An event for the subscribers of a channel.

    data: the event as JSON, in UTF-8; None tells the subscribers that events were lost.
    """

    channel: str
    data: bytes | None


class BrokerUnavailable(Exception):
    """The broker did not accept messages, or no longer delivers them."""


class Receiver(Protocol):
    """Receives what the broker sends; on the event loop."""

    def confirm(self, channel: str) -> None:
        """The broker has begun to deliver the messages of a channel."""

    def receive(self, message: Message) -> None:
        """A message from the broker has arrived."""


def check_prefix(prefix: object, limit: int = 200) -> None:
    """Raise ValueError for an invalid option `prefix`; limit: its maximum length, in bytes."""
    if not isinstance(prefix, str) or not prefix.isprintable() or len(prefix.encode()) > limit:
        raise ValueError(f"prefix must be printable text of up to {limit} bytes, not {prefix!r}")


class Backend:
    """Carries messages between processes. Each event loop that publishes or subscribes has one.

    location: the address of the broker, in the form that the back end documents.

    The entries of OPTIONS are further keyword arguments of `__init__`.
    """

    # Whether it delivers to other processes.
    is_remote = True
    # Whether the broker sends a process its own messages back. Its own subscribers then receive
    # them from the broker.
    is_echoing = False

    def __init__(self, location: str = "") -> None:
        self.location = location

    def check_message(self, message: Message) -> None:
        """Raise ValueError for a message that the broker cannot carry."""

    def send_in_transaction(self, message: Message, aliases: Collection[str]) -> bool:
        """Send a message on Django's own connection, so that it is delivered at the commit.

        aliases: the databases with an open transaction in this thread.

        Returns whether that was possible. Called from synchronous code.
        """
        return False

    async def send(self, messages: Sequence[Message]) -> None:
        """Send messages to all other processes, in this order.

        Raises BrokerUnavailable, possibly after sending some of the messages.
        """
        raise NotImplementedError

    async def listen(self, receiver: Receiver) -> None:
        """Connect to the broker, and receive messages until the connection is lost.

        Calls `receiver.confirm("")` when the connection is ready for `subscribe`. Cancelled when
        `subscribe` or `unsubscribe` fails.

        Raises BrokerUnavailable when the connection is lost.
        """
        raise NotImplementedError

    async def subscribe(self, channels: Sequence[str]) -> None:
        """Subscribe to channels; `receiver.confirm` is called for each when it is confirmed."""
        raise NotImplementedError

    async def unsubscribe(self, channels: Sequence[str]) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        """Close all connections."""


def backend_class() -> type[Backend]:
    """Return the class that AIO_BROADCAST names. Raises ImproperlyConfigured if it is invalid."""
    path = broadcast_setting()["BACKEND"]
    try:
        found = import_string(path)
    except (ImportError, TypeError, ValueError) as error:  # a relative path is one of the last two
        raise ImproperlyConfigured(
            f"The back end {path!r} in AIO_BROADCAST could not be imported: {error}"
        ) from error
    if not (inspect.isclass(found) and issubclass(found, Backend)):
        raise ImproperlyConfigured(
            f"AIO_BROADCAST names {path!r}, which is not a subclass of "
            "aiodjango.broadcast.backend.Backend."
        )
    return found


def make_backend() -> Backend:
    """Return a new back end by AIO_BROADCAST. Raises ImproperlyConfigured if that is invalid."""
    value = broadcast_setting()
    options = value.get("OPTIONS", {})
    if not isinstance(options, Mapping):
        raise ImproperlyConfigured(
            f"OPTIONS in AIO_BROADCAST must be a dictionary, not {options!r}."
        )
    try:
        return backend_class()(value.get("LOCATION", ""), **options)
    except (TypeError, ValueError) as error:
        raise ImproperlyConfigured(
            f"LOCATION or OPTIONS in AIO_BROADCAST are invalid for {value['BACKEND']}: {error}"
        ) from error
