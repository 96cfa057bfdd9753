"""What a test publishes, for assertions."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, overload

from django.db import connections

from aiodjango.broadcast import process
from aiodjango.broadcast.backend import Message
from aiodjango.broadcast.publishing import AfterCommit

# The beginning of the channels by which processes tell each other of what concerns aiodjango.
OWN = "aiodjango."

Captured = tuple[str, Any]


class CapturedBroadcasts(Sequence[Captured]):
    """The events published so far, as pairs of channel and event.

    Those that wait for a commit are among them, at the end, unless they are rolled back: so a
    `TestCase`, whose transaction is never committed, sees them.
    """

    def __init__(self) -> None:
        self._sent: list[Message] = []
        self._before = _waiting_for_commit()
        self._is_over = False

    def record(self, message: Message) -> None:
        if not message.channel.startswith(OWN):
            self._sent.append(message)

    def stop(self) -> None:
        self._sent = self._messages()
        self._is_over = True

    def _messages(self) -> list[Message]:
        if self._is_over:
            return self._sent
        waiting = [step.message for step in _waiting_for_commit() if step not in self._before]
        return [*self._sent, *waiting]

    @overload
    def __getitem__(self, index: int) -> Captured: ...
    @overload
    def __getitem__(self, index: slice) -> list[Captured]: ...
    def __getitem__(self, index: int | slice) -> Captured | list[Captured]:
        return [
            (message.channel, json.loads(message.data or b"null")) for message in self._messages()
        ][index]

    def __len__(self) -> int:
        return len(self._messages())

    def __eq__(self, other: object) -> bool:
        return list(self) == other

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(list(self))


@contextmanager
def capture_broadcasts() -> Iterator[CapturedBroadcasts]:
    """Record what is published inside the block; none of it is delivered.

    Gives a sequence of (channel, event), which can be compared with a list. In a `TestCase`:
    `captured = self.enterContext(capture_broadcasts())`.
    """
    captured = CapturedBroadcasts()
    process.captures.append(captured.record)
    try:
        yield captured
    finally:
        process.captures.remove(captured.record)
        captured.stop()


def _waiting_for_commit() -> list[AfterCommit]:
    return [
        entry[1]
        for connection in connections.all(initialized_only=True)
        for entry in connection.run_on_commit  # Django's TestCase reads it in the same way
        if isinstance(entry[1], AfterCommit) and not entry[1].is_done
    ]
