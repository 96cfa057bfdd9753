"""Sends events to one event stream, a response of aiohttp-sse."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol


class EventStream(Protocol):
    """The part of `aiohttp_sse.EventSourceResponse` that is used."""

    @property
    def prepared(self) -> bool: ...

    async def send(self, data: str) -> Any: ...

    async def wait(self) -> Any:
        """Wait until the client has disconnected, which the next ping detects."""


async def send_to_stream(
    stream: EventStream, next_event: Callable[[], Awaitable[bytes | None]]
) -> None:
    """Send events to a stream until there are no more, or the client disconnects."""
    loop = asyncio.get_running_loop()
    steps = [loop.create_task(_send(stream, next_event)), loop.create_task(stream.wait())]
    try:
        await asyncio.wait(steps, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for step in steps:
            step.cancel()
        await asyncio.wait(steps)
    if not steps[0].cancelled():
        steps[0].result()


async def _send(stream: EventStream, next_event: Callable[[], Awaitable[bytes | None]]) -> None:
    try:
        while (data := await next_event()) is not None:
            await stream.send(data.decode())
    except (ConnectionResetError, TimeoutError):
        pass  # the client has disconnected, or was cut off because it does not read
