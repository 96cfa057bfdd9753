"""Tasks that run clients of brokers, and end when they are told to."""

import asyncio
from typing import Any

# Seconds after which tasks that go on are cancelled again.
AGAIN = 1.0


async def end_tasks(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel tasks and wait until they have ended.

    One cancel() may be lost: until Python 3.12 `asyncio.wait_for()`, which the clients of brokers
    use, returns a result that arrives at the same moment instead.
    """
    while running := [task for task in tasks if not task.done()]:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=AGAIN)
