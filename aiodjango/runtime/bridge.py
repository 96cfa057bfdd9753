"""What connects a worker thread with the request that it runs, and with the server's event loop.

A worker thread keeps one context for its life, as under any WSGI server. So what is kept per thread
in context variables, above all by asgiref's `Local` (Django's `caches`), is made once for the
thread and not for each request. The variables that aiohttp's middlewares have set for a request are
added to that context while the thread runs the request.

`async_to_sync()` in sync code runs its coroutine on the server's event loop. asgiref finds that
loop in thread-local state, which it sets itself only in threads that `sync_to_async()` uses. No
worker thread is one of those, so the state is set here before each call.

Why not enter each thread once by `sync_to_async(…, thread_sensitive=False, executor=…)`? That is a
task that waits on the loop as long as the thread lives: `asyncio.run()` and others, which cancel
all tasks to close a loop, would wait for a thread that is stuck. And the state does not last:
each `sync_to_async()` inside a coroutine that the thread waits for replaces it, perhaps by a loop
that is closed soon (`force_new_loop`).

If what is private in asgiref changes (`SyncToAsync.threadlocal`, `AsyncToSync.main_wrap` and its
argument `context`), coroutines run on loops of their own, as under any WSGI server, or are not
cancelled when the server ends.
"""

import asyncio
import contextvars
import inspect
import os
from collections.abc import Iterator
from types import CodeType
from typing import Any

from asgiref.sync import AsyncToSync, SyncToAsync

# The bridge of the thread that runs sync code, also in all coroutines that it waits for.
_bridge: contextvars.ContextVar["Bridge | None"] = contextvars.ContextVar(
    "aiodjango.runtime.bridge", default=None
)
_CODE_OF_TASKS = AsyncToSync.main_wrap.__code__
# Variables whose values belong to one thread: those of asgiref's `Local`, which all have one name,
# and the arithmetic context of `decimal`, an object that threads must not share.
_THREADS_OWN = frozenset(("asgiref.local", "decimal_context"))


class laid_over:
    """A context manager: the variables of `context` are set in the current context inside it.

    (Written with contextlib it would be slower.)
    """

    __slots__ = ("_context", "_tokens")

    def __init__(self, context: contextvars.Context) -> None:
        self._context = context

    def __enter__(self) -> None:
        self._tokens = [
            (variable, variable.set(value))
            for variable, value in self._context.items()
            if variable.name not in _THREADS_OWN
        ]

    def __exit__(self, *exc_info: object) -> None:
        for variable, token in self._tokens:
            variable.reset(token)


def set_main_loop(loop: asyncio.AbstractEventLoop, pid: int) -> None:
    """Let async_to_sync() in the current thread run coroutines on a loop.

    pid: of the process that the loop runs in; async_to_sync() uses the loop in that one only.
    """
    state = SyncToAsync.threadlocal
    state.main_event_loop = loop
    state.main_event_loop_pid = pid


def is_run_by_async_to_sync(code: CodeType) -> bool:
    """Whether a task whose coroutine has this code is one for which async_to_sync() waits."""
    return code is _CODE_OF_TASKS


class Bridge:
    """Connects the worker threads of a gateway to the event loop that it is made on."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        self._cancelled: set[asyncio.Task[Any]] = set()

    # ---- In the threads ----

    def open(self) -> None:
        """Connect the current thread, for what it runs from now on in the current context."""
        set_main_loop(self._loop, self._pid)
        _bridge.set(self)

    # ---- On the event loop ----

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
        # They are not counted when they begin: asgiref registers them only where it has set the
        # state itself.
        for task in asyncio.all_tasks(self._loop):
            coroutine: Any = task.get_coro()
            code = getattr(coroutine, "cr_code", None)
            if code is None or not is_run_by_async_to_sync(code):
                continue  # also what such a coroutine has left running in the background
            # The context of the waiting thread. (Task.get_context() needs Python 3.12.)
            contexts = inspect.getcoroutinelocals(coroutine).get("context")
            if contexts and contexts[0].get(_bridge) is self:
                yield task
