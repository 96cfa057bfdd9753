"""Database connections under test: only the test's own ones see its transaction."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from asgiref.sync import SyncToAsync
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from aiodjango.orm import orm_calls_through

Override = Mapping[str, BaseDatabaseWrapper]

# How long a thread may take to replace its connections, in seconds.
REPLACE_TIMEOUT = 60


def install(override: Override) -> None:
    """Replace connections of this thread, by their aliases."""
    for alias, connection in override.items():
        connections[alias] = connection


@contextmanager
def shared_connections() -> Iterator[None]:
    """Let all async code use the connections of this thread, one call at a time.

    It is the thread that has begun a test's transaction. No event loop may run in it yet.
    """
    override = {connection.alias: connection for connection in connections.all()}
    for connection in override.values():
        connection.inc_thread_sharing()
    try:
        with orm_calls_on(override):
            yield
    finally:
        for connection in override.values():
            connection.dec_thread_sharing()


@contextmanager
def orm_calls_on(override: Override) -> Iterator[None]:
    """Make the database calls of all async code on these connections, one at a time.

    asgiref has one thread for the calls of code outside `async_to_sync()`. Inside the block this
    thread has these connections, and also makes the calls of coroutine views.
    """
    executor = SyncToAsync.single_thread_executor
    before = executor.submit(_replace, override).result(REPLACE_TIMEOUT)
    try:
        with orm_calls_through(executor):
            yield
    finally:
        executor.submit(_put_back, override, before).result(REPLACE_TIMEOUT)


def _replace(override: Override) -> Override:
    before = {connection.alias: connection for connection in connections.all(initialized_only=True)}
    install(override)
    return before


def _put_back(override: Override, before: Override) -> None:
    for connection in connections.all(initialized_only=True):
        if connection.alias not in override:  # pragma: no cover - of a second database
            connection.close()
    for alias in override:
        del connections[alias]
    install(before)
