"""The form of a message in Redis and PostgreSQL.

"@", the process that sent it, a number, and the event as JSON (or nothing: events were lost).
Anything that does not begin with "@" is the event itself, sent by another program.
"""

import itertools
import json
import logging
import os
import uuid

from .backend import Message

logger = logging.getLogger("aiodjango.broadcast")

_ORIGIN = uuid.uuid4().hex
# PostgreSQL delivers equal notifications of a transaction only once; the number makes them differ.
_numbers = itertools.count()


def _this_process() -> bytes:
    # Forked processes have the same origin.
    return f"{_ORIGIN}.{os.getpid()}".encode()


def pack(message: Message) -> bytes:
    """Return what is sent for a message."""
    return b"@%b %d %b" % (_this_process(), next(_numbers), message.data or b"")


def unpack(channel: str, payload: bytes) -> Message | None:
    """Return the message in a payload, None if this process has sent it or it is invalid."""
    if payload.startswith(b"@"):
        sender, _, rest = payload[1:].partition(b" ")
        number, separator, data = rest.partition(b" ")
        if separator and number.isdigit():
            return None if sender == _this_process() else Message(channel, data or None)
    try:
        json.loads(payload.decode())
    except ValueError:
        logger.warning("What another program sent to the channel %r is not JSON.", channel)
        return None
    return Message(channel, payload)
