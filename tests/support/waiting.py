"""Waiting, in tests: for an event, with a deadline that only a test that fails reaches.

A test of what is right does not measure time: a busy machine takes as long as it takes. What is
about speed belongs in benchmarks/. What a test holds back (a view, a query) waits for an event as
well, or for LONGER than the deadline.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

DEADLINE = 120  # seconds
LONGER = 10 * DEADLINE  # what waits so long does not end by itself within a test
PAUSE = 0.01  # seconds, between two looks


async def until(condition: Callable[[], Any]) -> Any:
    """Wait until the condition gives something true, and return that."""
    end = time.monotonic() + DEADLINE
    while not (value := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"{condition} never came true")
        await asyncio.sleep(PAUSE)
    return value


def wait_until(condition: Callable[[], Any]) -> Any:
    """The same, where there is no event loop."""
    end = time.monotonic() + DEADLINE
    while not (value := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"{condition} never came true")
        time.sleep(PAUSE)
    return value
