"""The database connections of a thread that several pieces of work share.

Django looks after a thread's connections when a request begins and ends there: it closes those past
CONN_MAX_AGE and those that broke, and has CONN_HEALTH_CHECKS done. That may be done in full only
between pieces of work; while one is under way, a connection is closed only if it's broken anyway.
"""

import logging
import select
import time
from collections.abc import Callable, Iterator
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

logger = logging.getLogger("aiodjango.database")


class Connections:
    """The connections of the thread that makes this, to be used in it.

    note_cursor: called with each cursor that is read in parts, as by `aiterator()`.
    """

    def __init__(self, note_cursor: Callable[[Any], None]) -> None:
        self._note_cursor = note_cursor
        self._known: list[BaseDatabaseWrapper] = []
        for alias in connections:
            try:
                self._adopt(alias)
            except Exception:
                # Who uses it will see the error.
                logger.warning("The database %r can't be looked after", alias, exc_info=True)

    def _adopt(self, alias: str) -> None:
        connection = connections[alias]
        self._known.append(connection)
        # There's no other sign that a cursor stays open between two calls.
        chunked_cursor = connection.chunked_cursor

        def noted_chunked_cursor() -> Any:
            cursor = chunked_cursor()
            self._note_cursor(cursor)
            return cursor

        connection.chunked_cursor = noted_chunked_cursor  # type: ignore[method-assign]

    def in_transaction(self) -> bool:
        """Whether a transaction is open that did not end with the call that began it."""
        # A plain loop: this is asked after every call.
        for connection in self._known:
            if connection.connection is not None and _in_transaction(connection):
                return True
        return False

    def is_overdue(self) -> bool:
        """Whether a connection should have been closed, had there been an occasion."""
        now = time.monotonic()
        return any(
            connection.close_at is not None and now >= connection.close_at
            for connection in self._open()
        )

    def is_pooled(self) -> bool:
        """Whether a connection is borrowed from a pool, so that others may wait for it."""
        return any(
            (connection.settings_dict.get("OPTIONS") or {}).get("pool")
            for connection in self._open()
        )

    def close_broken(self) -> None:
        """What can be done while other work is under way: it loses nothing that isn't lost."""
        for connection in self._open():
            if _in_transaction(connection):
                continue
            if not connection.errors_occurred and not _has_news(connection):
                connection.health_check_done = False  # type: ignore[attr-defined]
            elif connection.is_usable():
                connection.errors_occurred = False
                connection.health_check_done = True  # type: ignore[attr-defined]
            else:
                connection.close()

    def close_obsolete(self) -> None:
        """What Django does between two requests."""
        for connection in self._open():
            connection.queries_log.clear()
            if _has_news(connection):
                connection.errors_occurred = True  # so it is looked whether it's usable
            connection.close_if_unusable_or_obsolete()

    def roll_back(self) -> None:
        """End transactions that were left open, by closing their connections."""
        for connection in self._open():
            if _in_transaction(connection):
                connection.close()
                # Django would refuse to open it again: to it, the atomic block goes on.
                self._known.remove(connection)
                del connections[connection.alias]
                self._adopt(connection.alias)

    def close_all(self) -> None:
        connections.close_all()

    def _open(self) -> Iterator[BaseDatabaseWrapper]:
        return (connection for connection in list(self._known) if connection.connection is not None)


def _in_transaction(connection: BaseDatabaseWrapper) -> bool:
    return (
        connection.in_atomic_block
        or connection.autocommit is not connection.settings_dict["AUTOCOMMIT"]
    )


def _has_news(connection: BaseDatabaseWrapper) -> bool:
    """Whether the server has sent what nobody asked for: as a rule, that it hangs up.

    So a connection that was cut while at rest is found at no cost, before a query fails on it.
    """
    try:
        descriptor = connection.connection.fileno()
    except AttributeError:
        return False  # there's no socket (SQLite), or no access to it
    except connection.Database.Error:  # type: ignore[attr-defined]
        return True  # it has been closed
    return has_unread(descriptor)


def has_unread(descriptor: Any) -> bool:
    """Whether something can be read from a socket, which may be its end."""
    if not hasattr(select, "poll"):
        return False  # pragma: no cover - Windows
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
