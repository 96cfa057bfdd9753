"""What the ORM threads use of asgiref and Django that is not public, with the reason for each."""

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from functools import partial
from typing import Any

from asgiref.sync import AsyncToSync, SyncToAsync, ThreadSensitiveContext, _restore_context

from aiodjango.runtime.bridge import set_main_loop

from .connections import has_unread

# Sets the context variables, asgiref's `Local` among them, as a function in a thread has left them.
# Without it run_in_django() would be sync_to_async(), which takes half as long again as a query.
restore_context = _restore_context

# The context in which sync_to_async() finds its executor. The public way is to enter a
# `ThreadSensitiveContext(executor=…)` for each request: 7 microseconds more for a request without
# the ORM, which takes 35. And tasks that outlive their view could make no database calls.
thread_sensitive_context = SyncToAsync.thread_sensitive_context


def context_of(executor: Executor) -> ThreadSensitiveContext:
    """A value of `thread_sensitive_context` by which sync_to_async() finds an executor."""
    context = ThreadSensitiveContext(executor=executor)
    SyncToAsync.context_to_thread_executor[context] = executor
    return context


def thread_waits_here() -> bool:
    """Whether a thread waits in async_to_sync() for the current task: sync code has to run there.

    sync_to_async() does that too, but does not tell which thread it has chosen.
    """
    return getattr(AsyncToSync.executors, "current", None) is not None


def serve_async_to_sync(loop: asyncio.AbstractEventLoop, tasks: list[asyncio.Task[Any]]) -> None:
    """Let async_to_sync() in this thread run its coroutine on a loop, as a task that is noted.

    tasks: where it is noted.
    """
    set_main_loop(loop, os.getpid())
    SyncToAsync.threadlocal.task_context = tasks


def works_for_event_loop() -> bool:
    """Whether the current thread runs sync code for an event loop of this process."""
    return (
        getattr(SyncToAsync.threadlocal, "main_event_loop_pid", None) == os.getpid()
        or thread_sensitive_context.get(None) is not None
    )


# --- Django's caches make their clients when they need one: here they are made before ---------


def prepare_redis(cache: Any) -> None:
    """Make the client of Django's RedisCache."""
    cache._cache.get_client(write=True)


def prepare_django_redis(cache: Any) -> None:
    """Make the client of django-redis's RedisCache."""
    cache.client.get_client(write=True)


def prepare_memcached(cache: Any) -> None:
    """Make the client of PyMemcacheCache, one that replaces connections that the server closed.

    Clients of Redis do that already. Otherwise each connection fails once after a restart of
    memcached, and after a few failures the client ignores the server for a minute.
    """

    class Client(cache._class):  # type: ignore[misc]
        def add_server(self, *args: Any) -> None:
            super().add_server(*args)
            for client in self.clients.values():
                pool = client.client_pool
                if "get" not in vars(pool):
                    pool.get = partial(_take_open, pool.get)

    cache._class = Client
    cache._cache  # noqa: B018


def _take_open(take: Callable[[], Any]) -> Any:
    client = take()
    if client.sock is not None and has_unread(client.sock):
        client.close()  # it opens another connection
    return client


# --- Django's databases ------------------------------------------------------------------------


def pools_of_django() -> Iterator[dict[Any, Any]]:
    """The connection pools of Django's back ends, by the aliases of databases.

    `close_pool()` of a connection waits for the threads of the pool, which do not exist after a
    fork.
    """
    for vendor in ("postgresql", "oracle"):
        module = sys.modules.get(f"django.db.backends.{vendor}.base")
        if module is not None:
            yield module.DatabaseWrapper._connection_pools
