"""The way back: coroutines that sync code in a worker thread runs on the server's event loop.

asgiref's `async_to_sync` looks for such a loop in thread-local state, which asgiref itself sets in
a thread that it enters by `sync_to_async`. Worker threads are entered by nothing, so the state is
set here, before each call: two attributes, a fraction of a microsecond.

Why not enter each thread once by `sync_to_async(…, thread_sensitive=False, executor=…)`? That is a
task that waits on the loop for as long as the thread lives: whoever cancels all tasks to end a
loop, as `asyncio.run()` does, would wait for a thread that is stuck. And the state does not last:
each `sync_to_async` inside a coroutine that the thread waits for overwrites it, with a loop that
may soon be closed (`force_new_loop`).

All that we know of asgiref's inside stands in this module. Should it change there, coroutines run
on loops of their own, as under any WSGI server, or are not found at the end; nothing else breaks.
"""

import asyncio
import contextvars
import inspect
import os
from collections.abc import Iterator
from typing import Any

from asgiref.sync import AsyncToSync, SyncToAsync

# The bridge of the thread that runs sync code; seen in all coroutines that it waits for, too.
_bridge: contextvars.ContextVar["Bridge | None"] = contextvars.ContextVar(
    "aiodjango.runtime.bridge", default=None
)
# What async_to_sync makes a task of.
_MAIN_WRAP = AsyncToSync.main_wrap.__code__


class Bridge:
    """Leads from the worker threads of one gateway to the event loop that it is made on."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        self._cancelled: set[asyncio.Task[Any]] = set()

    # --- In the threads --------------------------------------------------------------------

    def open(self) -> None:
        """Let sync code that this thread runs from now on, in this context, find the loop."""
        state = SyncToAsync.threadlocal
        state.main_event_loop = self._loop
        state.main_event_loop_pid = self._pid
        _bridge.set(self)

    # --- On the loop -----------------------------------------------------------------------

    @property
    def was_cut(self) -> bool:
        """Whether coroutines were cancelled by cut()."""
        return bool(self._cancelled)

    def cut(self) -> None:
        """Cancel the coroutines for which threads wait, each only once."""
        for task in self._tasks():
            if task not in self._cancelled:
                self._cancelled.add(task)
                task.cancel()

    def _tasks(self) -> Iterator[asyncio.Task[Any]]:
        # Not kept count of as they come: asgiref tells of a task only where it has set the state.
        for task in asyncio.all_tasks(self._loop):
            coroutine: Any = task.get_coro()
            if getattr(coroutine, "cr_code", None) is not _MAIN_WRAP:
                continue  # also what such a coroutine has left running in the background
            # The context of the waiting thread. (Task.get_context() needs Python 3.12.)
            contexts = inspect.getcoroutinelocals(coroutine).get("context")
            if contexts and contexts[0].get(_bridge) is self:
                yield task
