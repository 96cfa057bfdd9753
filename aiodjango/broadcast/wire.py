"""How a message looks on its way through Redis or PostgreSQL.

"@", the process that sent it, its number, and the event as JSON (or nothing: events were lost).
What does not begin with "@" comes from another program, and is the event as it is.
"""

import itertools
import json
import logging
import os
import uuid

from .backend import Message

logger = logging.getLogger("aiodjango.broadcast")

_process = uuid.uuid4().hex
# PostgreSQL delivers what is the same only once for each transaction: numbers make it different.
_numbers = itertools.count()


def pack(message: Message) -> bytes:
    """Return what is sent for a message."""
    return b"@%b %d %b" % (_process.encode(), next(_numbers), message.data or b"")


def unpack(channel: str, payload: bytes) -> Message | None:
    """Return a message that was received, None for one that is not for subscribers here.

    This process has sent it, or it is invalid.
    """
    if payload.startswith(b"@"):
        sender, _, rest = payload[1:].partition(b" ")
        number, separator, data = rest.partition(b" ")
        if separator and number.isdigit():
            return None if sender == _process.encode() else Message(channel, data or None)
    try:
        json.loads(payload.decode())
    except ValueError:
        logger.warning("What another program sent to the channel %r is not JSON.", channel)
        return None
    return Message(channel, payload)


def _begin_anew() -> None:
    global _process
    _process = uuid.uuid4().hex


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
