"""Calls that threads make on an event loop: it is woken once for all that are pending."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Any


class LoopCalls:
    """Calls to be made on one event loop. `make` is for the loop, the others for any thread."""

    def __init__(self) -> None:
        self._calls: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        # Locked while a wake-up is on its way. A lock, because looking at a flag and setting it are
        # two steps, between which another thread can come. No thread ever waits for it.
        self._wake_up = threading.Lock()

    def add(self, function: Callable[..., object], *args: Any) -> None:
        """Call `function(*args)` with the next wake-up."""
        self._calls.append((function, args))

    def wake(self, loop: asyncio.AbstractEventLoop, context: Context | None = None) -> bool:
        """Wake the loop for what was added, unless a wake-up is on its way.

        context: in which the calls are made; None for a copy of the current one.

        Returns False if the loop is closed: no calls are made.
        """
        if self._wake_up.acquire(blocking=False):
            try:
                loop.call_soon_threadsafe(self.make, context=context)
            except RuntimeError:
                self._calls.clear()
                self._wake_up.release()
                return False
        return True

    def make(self) -> None:
        """Make the calls."""
        # Released first: a call that is added from now on is made below, or wakes the loop again.
        if self._wake_up.locked():
            self._wake_up.release()
        while self._calls:
            function, args = self._calls.popleft()
            function(*args)
