"""The events that a test publishes, for assertions."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, overload

from aiodjango.broadcast.backend import Message
from aiodjango.broadcast.publishing import AfterCommit, captures

# The prefix of channels that aiodjango uses itself.
OWN = "aiodjango."

Captured = tuple[str, Any]


class CapturedBroadcasts(Sequence[Captured]):
    """The events published so far, as pairs of channel and event.

    Events that wait for a commit come last, unless they were rolled back: a `TestCase`, whose
    transaction is never committed, sees them too.
    """

    def __init__(self) -> None:
        self._sent: list[Message] = []
        self._waiting: list[AfterCommit] = []
        self._is_over = False

    def record(self, message: Message) -> None:
        if not message.channel.startswith(OWN):
            self._sent.append(message)

    def wait_for(self, step: AfterCommit) -> None:
        self._waiting.append(step)

    def stop(self) -> None:
        self._sent = self._messages()
        self._is_over = True

    def _messages(self) -> list[Message]:
        if self._is_over:
            return self._sent
        return [*self._sent, *(step.message for step in self._waiting if step.is_waiting)]

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
    """Record the events that are published inside the block, instead of delivering them.

    Yields a sequence of (channel, event), which can be compared with a list. In a `TestCase`:
    `captured = self.enterContext(capture_broadcasts())`.
    """
    captured = CapturedBroadcasts()
    captures.append(captured)
    try:
        yield captured
    finally:
        # By identity: lists of events are compared by their contents.
        captures[:] = [other for other in captures if other is not captured]
        captured.stop()
