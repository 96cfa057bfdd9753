"""Which database connections are used under test: a test's transaction is seen by its own alone."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from asgiref.sync import SyncToAsync
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from aiodjango.orm.context import orm_calls_through

Override = Mapping[str, BaseDatabaseWrapper]

# How long (seconds) a thread may take to change its connections.
PATIENCE = 60


def install(override: Override) -> None:
    """Let this thread use other connections than its own, by their aliases."""
    for alias, connection in override.items():
        connections[alias] = connection


@contextmanager
def shared_connections() -> Iterator[None]:
    """Let async code of the process use the connections of this thread, one call at a time.

    That is the thread in which a test's transaction was begun. No event loop may run in it yet.
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
    """Have the database calls of all async code made on other connections, one at a time.

    asgiref has one thread for the calls of code that is not below `async_to_sync()`. Inside the
    block it has these connections, and makes the calls of coroutine views too.
    """
    executor = SyncToAsync.single_thread_executor
    before = executor.submit(_exchange, override).result(PATIENCE)
    try:
        with orm_calls_through(executor):
            yield
    finally:
        executor.submit(_put_back, override, before).result(PATIENCE)


def _exchange(override: Override) -> Override:
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
