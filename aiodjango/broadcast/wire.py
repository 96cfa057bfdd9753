"""How a message looks on its way through Redis or PostgreSQL.

"@", the process that sent it, its number, and the event as JSON (or nothing: events were lost).
What does not begin with "@" comes from another program, and is the event as it is.
"""

import itertools
import os
import uuid

from .backend import Message

_process = uuid.uuid4().hex
# PostgreSQL delivers what is the same only once for each transaction: numbers make it different.
_numbers = itertools.count()


def pack(message: Message) -> bytes:
    """Return what is sent for a message."""
    return b"@%b %d %b" % (_process.encode(), next(_numbers), message.data or b"")


def unpack(channel: str, payload: bytes) -> Message | None:
    """Return a message that was received, None for one that this process has sent."""
    if not payload.startswith(b"@"):
        return Message(channel, payload)
    sender, _, rest = payload[1:].partition(b" ")
    if sender == _process.encode():
        return None
    return Message(channel, rest.partition(b" ")[2] or None)


def _begin_anew() -> None:
    global _process
    _process = uuid.uuid4().hex


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
