"""What the ORM threads use of asgiref and Django that is not public, with the reason for each."""

import asyncio
import os
import sys
from collections.abc import Iterator
from concurrent.futures import Executor
from typing import Any

from asgiref.sync import AsyncToSync, SyncToAsync, ThreadSensitiveContext

# Sets the context variables, asgiref's `Local` among them, as a function in a thread has left them.
# Without it run_in_django() would be sync_to_async(), which takes half as long again as a query.
from asgiref.sync import _restore_context as restore_context

__all__ = [
    "context_of",
    "pools_of_django",
    "restore_context",
    "serve_async_to_sync",
    "thread_sensitive_context",
    "thread_waits_here",
    "works_for_event_loop",
]

# The context in which sync_to_async() looks for its executor. The public way is to enter a
# `ThreadSensitiveContext(executor=…)` for each request: of the 35 microseconds of a request without
# the ORM that takes 7 more. And tasks that a view leaves behind could make no database calls.
thread_sensitive_context = SyncToAsync.thread_sensitive_context


def context_of(executor: Executor) -> ThreadSensitiveContext:
    """A value of `thread_sensitive_context` by which sync_to_async() finds an executor."""
    context = ThreadSensitiveContext(executor=executor)
    SyncToAsync.context_to_thread_executor[context] = executor
    return context


def thread_waits_here() -> bool:
    """Whether a thread waits in async_to_sync() for the current task: sync code has to run in it.

    sync_to_async() finds it too, but does not tell which thread it has chosen.
    """
    return getattr(AsyncToSync.executors, "current", None) is not None


def serve_async_to_sync(loop: asyncio.AbstractEventLoop, tasks: list[asyncio.Task[Any]]) -> None:
    """Let async_to_sync() in this thread run its coroutine on a loop, as a task that is noted.

    tasks: where it is noted.
    """
    SyncToAsync.threadlocal.main_event_loop = loop
    SyncToAsync.threadlocal.main_event_loop_pid = os.getpid()
    SyncToAsync.threadlocal.task_context = tasks


def works_for_event_loop() -> bool:
    """Whether the current thread runs sync code for an event loop of this process."""
    return (
        getattr(SyncToAsync.threadlocal, "main_event_loop_pid", None) == os.getpid()
        or thread_sensitive_context.get(None) is not None
    )


def pools_of_django() -> Iterator[dict[Any, Any]]:
    """The connection pools of Django's back ends, by the aliases of databases.

    `close_pool()` of a connection waits for the threads of the pool, which do not exist after a
    fork.
    """
    for vendor in ("postgresql", "oracle"):
        module = sys.modules.get(f"django.db.backends.{vendor}.base")
        if module is not None:
            yield module.DatabaseWrapper._connection_pools
