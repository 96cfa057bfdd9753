"""Sees what is executed on the connections of the ORM threads, and whether it may change a session.

Statements are seen by Django's `execute_wrappers`, and what bypasses those (`callproc()`, methods
of the driver such as psycopg's `copy()`) by the cursors' class. What bypasses Django's cursors
altogether, by `connection.connection`, is seen with psycopg 3 alone, which has a cursor factory.
"""

import threading
from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias

from django.db.backends.base.base import BaseDatabaseWrapper

from .statements import may_change_session

Note: TypeAlias = Callable[[BaseDatabaseWrapper], object]

# Of a driver's cursor: what executes nothing.
_PASSIVE = {"arraysize", "close", "closed", "description", "fetchall", "fetchmany", "fetchone"}
_PASSIVE |= {"itersize", "lastrowid", "mogrify", "name", "nextset", "rowcount", "rownumber"}
_PASSIVE |= {"scroll", "setinputsizes", "setoutputsize", "statusmessage"}
_IDLE, _UNKNOWN = 0, 4  # a transaction's status, as libpq and both versions of psycopg number it

# The connections of this thread, and how to note a change. A pool's raw connections go from thread
# to thread, so their cursors can't hold it.
_here = threading.local()


def watch_cursors(connection: BaseDatabaseWrapper, note: Note) -> None:
    """Call `note` with a connection of this thread before its session may be changed."""
    vendor = connection.vendor
    make_cursor, make_debug_cursor = connection.make_cursor, connection.make_debug_cursor
    connect = connection.connect

    def examine(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        if may_change_session(sql, vendor):
            note(connection)
        return execute(sql, params, many, context)

    def connect_and_watch() -> None:
        connect()
        raw = connection.connection
        factory = getattr(raw, "cursor_factory", None)
        # It may have one already, from a pool.
        if hasattr(raw, "pgconn") and not hasattr(factory, "is_watched"):
            raw.cursor_factory = _watched_raw(factory)
            raw.server_cursor_factory = _watched_raw(raw.server_cursor_factory)

    connection.execute_wrappers.append(examine)
    connection.connect = connect_and_watch  # type: ignore[method-assign]
    watched: Any = connection
    watched.make_cursor = lambda cursor: _watch(make_cursor(cursor))
    watched.make_debug_cursor = lambda cursor: _watch(make_debug_cursor(cursor))
    if not hasattr(_here, "notes"):
        _here.notes = {}
    _here.notes[connection.alias] = connection, note


def has_open_transaction(raw: Any) -> bool:
    """Whether the driver knows that a transaction is open, as after a BEGIN by cursor."""
    if (pgconn := getattr(raw, "pgconn", None)) is not None:
        return bool(_IDLE < pgconn.transaction_status < _UNKNOWN)
    if (status := getattr(raw, "get_transaction_status", None)) is not None:  # psycopg2
        return bool(_IDLE < status() < _UNKNOWN)
    try:
        return bool(getattr(raw, "in_transaction", False))  # SQLite
    except Exception:
        return False  # it was closed without Django


def _watch(cursor: Any) -> Any:
    base: Any = type(cursor)
    cursor.__class__ = _watched(base)
    return cursor


@cache
def _watched(base: Any) -> Any:
    """A class of Django's cursors that sees what Django's own lets through to the driver."""

    get_attribute = base.__getattr__

    class WatchedCursor(base):  # type: ignore[misc]
        def callproc(self, *args: Any, **kwargs: Any) -> Any:
            _note(self.db)
            return super().callproc(*args, **kwargs)

        def __getattr__(self, name: str) -> Any:
            if name not in _PASSIVE:
                _note(self.db)
            return get_attribute(self, name)

    return WatchedCursor


@cache
def _watched_raw(base: Any) -> Any:
    """A class of psycopg's cursors that sees what is executed without Django."""

    class WatchedRawCursor(base):  # type: ignore[misc]
        is_watched = True

        def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
            self._examine(query)
            return super().execute(query, *args, **kwargs)

        def executemany(self, query: Any, *args: Any, **kwargs: Any) -> Any:
            self._examine(query)
            return super().executemany(query, *args, **kwargs)

        def stream(self, query: Any, *args: Any, **kwargs: Any) -> Any:
            self._examine(query)
            return super().stream(query, *args, **kwargs)

        def copy(self, *args: Any, **kwargs: Any) -> Any:
            self._examine(None)
            return super().copy(*args, **kwargs)

        def _examine(self, query: Any) -> None:
            if may_change_session(query, "postgresql"):
                for connection, note in getattr(_here, "notes", {}).values():
                    if connection.connection is self.connection:
                        note(connection)

    return WatchedRawCursor


def _note(connection: BaseDatabaseWrapper) -> None:
    watched, note = getattr(_here, "notes", {}).get(connection.alias, (None, None))
    if watched is connection and note is not None:
        note(connection)
